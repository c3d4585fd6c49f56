"""check_solver: one call that tells whether a sampler is right.

from scorebed.toy.check import check_solver
print(check_solver(my_sampler, order=2))

from scorebed.toy.check import solver_test, solver_tests          # in a test file of another project
test_mine = solver_test(my_sampler, order=2)                      # one test
test_each = solver_tests(my_sampler, order=2)                     # one test id per check
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scorebed.toy.check.finding import Finding
    from scorebed.toy.check.report import Report
    from scorebed.toy.check.solver import check_solver
    from scorebed.toy.check.testing import solver_test, solver_tests
    from scorebed.toy.foreign import Candidate, Interface, Outcome, Own, Refused, as_candidate

__all__ = [
    "Candidate",
    "Finding",
    "Interface",
    "Outcome",
    "Own",
    "Refused",
    "Report",
    "as_candidate",
    "check_solver",
    "solver_test",
    "solver_tests",
]

_HOME = {
    "check.finding": ("Finding",),
    "check.report": ("Report",),
    "check.solver": ("check_solver",),
    "check.testing": ("solver_test", "solver_tests"),
    "foreign": ("Candidate", "Interface", "Outcome", "Own", "Refused", "as_candidate"),
}


def __getattr__(name: str) -> Any:
    # only when asked for: a finding costs nothing, and check_solver brings the methods along
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(f"scorebed.toy.{module}"), name)
    raise AttributeError(f"module 'scorebed.toy.check' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
