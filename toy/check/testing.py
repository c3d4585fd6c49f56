"""For other projects' tests, in one line: ``test_mine = solver_test(my_sampler, order=2)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scorebed.toy.check.solver import check_solver


def solver_test(candidate: Any, **how: Any) -> Callable[[], None]:
    """A test function that fails with the whole report as its message where ``check_solver(candidate, **how)`` does not pass."""

    def test() -> None:
        report = check_solver(candidate, **how)
        assert report.passed, f"\n{report}"

    test.__doc__ = f"check_solver on {how.get('name') or getattr(candidate, 'name', getattr(candidate, '__name__', candidate))}."
    return test
