"""The problems of the studies, by name: those that each family's file lists."""

from __future__ import annotations

from scorebed.toy.problems import digits, lines, products, spaces
from scorebed.toy.problems.problem import BaseProblem

PROBLEMS: dict[str, BaseProblem] = {p.name: p for family in (lines, products, digits, spaces) for p in family.PROBLEMS}
"""By name. ``PROBLEMS["mine"] = EuclideanProblem(name="mine", …)`` adds one."""
PLAIN = tuple(p.name for family in (lines, products, digits) for p in family.PROBLEMS)
"""The problems of R^d, which a study takes that names none."""
