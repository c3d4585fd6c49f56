"""The problems of the studies, by name: those that the files of this folder list as ``PROBLEMS``."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from scorebed.toy import problems
from scorebed.toy.problems.problem import BaseProblem

_ORDER = ("lines", "products", "digits", "spaces")
"""Files whose problems come first in tables; others follow by name."""


def _files() -> list[str]:
    names = [file.name for file in iter_modules(problems.__path__) if file.name != __name__.rpartition(".")[2]]
    return sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


def collect() -> dict[str, BaseProblem]:
    """The problems of all files of the folder."""
    return {p.name: p for name in _files() for p in getattr(import_module(f"{problems.__name__}.{name}"), "PROBLEMS", ())}


PROBLEMS = collect()
"""By name. A file with a tuple ``PROBLEMS`` is found; ``PROBLEMS["mine"] = EuclideanProblem(name="mine", …)`` adds one for the moment."""
PLAIN = tuple(name for name, p in PROBLEMS.items() if p.process.kind == "gaussian" and p.law_kind == "law")
"""The problems of R^d, which a study takes that names none."""
