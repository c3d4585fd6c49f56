"""The pytest plugin: ``pytest --scorebed`` checks every sampler that is marked, and fixtures hand out exact problems.

    import scorebed

    @scorebed.property(order=2)
    def my_sampler(denoise, x, nodes): ...

A marked sampler stays the function that it was. With ``--scorebed`` it becomes one test for each check of ``check_solver``, named
``my_sampler[order]`` and so on; without, nothing is collected. The fixtures need no option:

    def test_mine(scorebed_problem):                  # once for each exact problem of R^d
        nodes = scorebed_problem.nodes(20)
        ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import pytest

MARK = "__scorebed__"
F = TypeVar("F", bound=Callable[..., Any])
EXACT = ("mixture1d", "product2d", "product8d", "manifold")
"""The problems of the fixture ``scorebed_problem``: those with closed flow maps."""


def property(*, only: tuple[str, ...] | None = None, xfail: Mapping[str, str] | None = None, **how: Any) -> Callable[[F], F]:
    """Mark a sampler for ``pytest --scorebed``.

    Args:
        only: the checks to make; None makes all.
        xfail: checks that are expected to fail, with the reason; one that passes all the same is a failure.
        how: of ``check_solver``: ``order``, ``weak``, ``kind``, ``library``, ….

    Returns:
        A decorator that leaves the function as it is.
    """

    def mark(function: F) -> F:
        setattr(function, MARK, {"only": only, "xfail": dict(xfail or {}), **how})
        return function

    return mark


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option ``--scorebed``."""
    group = parser.getgroup("scorebed", "samplers against exact truth")
    group.addoption("--scorebed", action="store_true", default=False, help="check every sampler that is marked with @scorebed.property")


def pytest_pycollect_makeitem(collector: Any, name: str, obj: Any) -> list[pytest.Item] | None:
    """One item for each check of a marked sampler."""
    marked = getattr(obj, MARK, None) if callable(obj) else None
    if not isinstance(marked, dict) or not collector.config.getoption("--scorebed"):
        return None
    from scorebed.toy.check.solver import CHECKS, known

    how = {key: value for key, value in marked.items() if key not in ("only", "xfail")}
    wanted = marked["only"] or tuple(c for c in CHECKS if c != "rank" and (c != "same as" or how.get("same_as")))
    known("only", wanted, CHECKS)
    known("xfail", list(marked["xfail"]), CHECKS)
    return list(_items(collector, name, sampler=obj, wanted=wanted, xfail=marked["xfail"], how=how))


def _items(
    collector: Any, name: str, *, sampler: Any, wanted: tuple[str, ...], xfail: Mapping[str, str], how: Mapping[str, Any]
) -> Iterator[pytest.Item]:
    for check in wanted:
        item = CheckItem.from_parent(collector, name=f"{name}[{check}]", sampler=sampler, check=check, how=how)
        if check in xfail:
            item.add_marker(pytest.mark.xfail(reason=xfail[check], strict=True))
        yield item


class CheckItem(pytest.Item):
    """One check of one sampler."""

    def __init__(self, *, sampler: Any, check: str, how: Mapping[str, Any], **rest: Any) -> None:
        super().__init__(**rest)
        self.sampler, self.check, self.how = sampler, check, dict(how)

    def runtest(self) -> None:
        """Make the check."""
        from scorebed.toy.check.solver import check_solver

        report = check_solver(self.sampler, only=(self.check,), **self.how)
        if not report.passed:
            raise AssertionError(f"{report.verdict}\n{report}")

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """The report and nothing of this file, where the check fails."""
        return str(excinfo.value) if isinstance(excinfo.value, AssertionError) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Where it stands, and its name in the summary."""
        return self.path, None, self.name


@pytest.fixture(params=EXACT)
def scorebed_problem(request: pytest.FixtureRequest) -> Any:
    """An exact problem: ``target`` (a law with score, denoised, flow), ``nodes(n)``, ``draw(n, seed)``, ``exact(x, s, t)``."""
    from scorebed.toy.problems.registry import PROBLEMS

    return PROBLEMS[request.param]
