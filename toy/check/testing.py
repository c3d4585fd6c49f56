"""For other projects' tests: ``test_mine = solver_test(my_sampler, order=2)``, or one test id per check by ``solver_tests``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from scorebed.toy.check.solver import CHECKS, check_solver, known


def solver_test(candidate: Any, **how: Any) -> Callable[[], None]:
    """A test function that fails where ``check_solver(candidate, **how)`` does not pass: in the first line what is wrong, then the report.

    Returns:
        a test function without arguments.

    Raises:
        ValueError: an unknown check in ``only``.
    """
    known("only", how.get("only") or (), CHECKS)

    def test() -> None:
        report = check_solver(candidate, **how)
        assert report.passed, f"{report.verdict}\n{report}"

    test.__doc__ = f"check_solver on {_name(candidate, how)}."
    return test


def solver_tests(candidate: Any, *, xfail: Mapping[str, str] | None = None, **how: Any) -> Callable[[str], None]:
    """One test for each check, with its name as the id: ``pytest -k "order and not bad"`` picks among them.

    Args:
        xfail: checks that are expected to fail, with the reason; one that passes all the same is a failure.
        how: of ``check_solver``; ``only`` leaves the others out.

    Returns:
        a test function parametrised by the check's name.

    Raises:
        ValueError: an unknown check in ``only`` or ``xfail``.
    """
    import pytest

    expected = dict(xfail or {})
    wanted = tuple(how.pop("only", None) or (c for c in CHECKS if c != "rank" and (c != "same as" or how.get("same_as"))))
    known("only", wanted, CHECKS)
    known("xfail", list(expected), CHECKS)

    @pytest.mark.parametrize(
        "check", [pytest.param(c, marks=[pytest.mark.xfail(reason=expected[c], strict=True)] if c in expected else []) for c in wanted]
    )
    def test(check: str) -> None:
        report = check_solver(candidate, only=(check,), **how)
        assert report.passed, f"{report.verdict}\n{report}"

    test.__doc__ = f"check_solver on {_name(candidate, how)}, check by check."
    return test


def _name(candidate: Any, how: Mapping[str, Any]) -> str:
    return str(how.get("name") or getattr(candidate, "name", getattr(candidate, "__name__", candidate)))
