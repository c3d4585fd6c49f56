"""What people do with exact scores and solvers: problems, orders of convergence, studies, figures, and the command ``scorebed``.

    from scorebed.toy import PROBLEMS, run_study, summarise
    rows = run_study(["product2d"], ["heun", "dpmpp_2m"])
    for line in summarise(rows, (10, 20)):
        print(line.solver, line.order, line.errors, line.verdict)

Figures are functions of ``toy.figures.plots`` (curves, from rows) and ``toy.figures.scenes`` (single runs, from a problem).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scorebed.toy.measure.convergence import Order, global_errors, order_of
    from scorebed.toy.problems.euclidean import EuclideanProblem
    from scorebed.toy.problems.on_space import SpaceProblem
    from scorebed.toy.problems.problem import Problem
    from scorebed.toy.problems.reference import Reference, integrate
    from scorebed.toy.problems.registry import PROBLEMS
    from scorebed.toy.store.database import Store
    from scorebed.toy.studies.rows import Row, read
    from scorebed.toy.studies.study import run_study
    from scorebed.toy.studies.tables import Summary, summarise

__all__ = [
    "PROBLEMS",
    "EuclideanProblem",
    "Order",
    "Problem",
    "Reference",
    "Row",
    "SpaceProblem",
    "Store",
    "Summary",
    "global_errors",
    "integrate",
    "order_of",
    "read",
    "run_study",
    "summarise",
]

_HOME = {
    "measure.convergence": ("Order", "global_errors", "order_of"),
    "problems.euclidean": ("EuclideanProblem",),
    "problems.on_space": ("SpaceProblem",),
    "problems.problem": ("Problem",),
    "problems.registry": ("PROBLEMS",),
    "problems.reference": ("Reference", "integrate"),
    "store.database": ("Store",),
    "studies.rows": ("Row", "read"),
    "studies.study": ("run_study",),
    "studies.tables": ("Summary", "summarise"),
}


def __getattr__(name: str) -> Any:
    # only when asked for: pandas, SciPy's integrators and matplotlib take a second, which the properties need not pay
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(f"scorebed.toy.{module}"), name)
    raise AttributeError(f"module 'toy' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
