"""Laws of grids: exact ends, strict monotony, even spacing in the variable of the name, and refusal of everything else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorebed.solvers import EDM, GRIDS, SCHEDULES, VE, VP, Cosine, Node, RectifiedFlow, Schedule, SubVP
from scorebed.solvers.grid import check, from_times, karras, quadratic, uniform, uniform_lam
from scorebed.toy.properties.strategies import grids, schedules

VARIABLE: dict[str, Callable[[Node], float]] = {
    "uniform": lambda node: node.t,
    "quadratic": lambda node: math.sqrt(node.t),
    "uniform_lam": lambda node: node.lam,
    "karras": lambda node: node.rho ** (1.0 / 7.0),
}
"""The variable in which each kind of grid has equal steps."""


def test_every_kind_has_its_law() -> None:
    """Here, or in ``test_spacing``, which holds those of ``solvers.spacing``."""
    assert set(VARIABLE) == {name for name, kind in GRIDS.items() if kind.__module__ == "scorebed.solvers.grid"} - {"exponential"}


@st.composite
def spans(draw: st.DrawFn) -> tuple[Schedule, float, float]:
    """A schedule with a start and an end well apart, in either order."""
    schedule = draw(schedules())
    a, b = draw(st.floats(0.0, 0.4)), draw(st.floats(0.5, 1.0))
    times = [schedule.t_min + u * (schedule.t_max - schedule.t_min) for u in (a, b)]
    if draw(st.booleans()):
        times.reverse()
    return schedule, times[0], times[1]


def check_run(grid: list[Node], schedule: Schedule, n: int, start: float, end: float) -> None:
    """n steps on the schedule, from one end to the other exactly, each of them onward."""
    assert len(grid) == n + 1
    assert grid[0] == schedule.node(start)
    assert grid[-1] == schedule.node(end)
    assert all(node.schedule is schedule for node in grid)
    sign = 1.0 if start > end else -1.0
    assert np.all(np.diff([node.lam for node in grid]) * sign > 0.0)
    assert np.all(np.diff([node.t for node in grid]) * sign < 0.0)


def check_law(grid: list[Node], kind: str, schedule: Schedule, n: int, start: float, end: float) -> None:
    check_run(grid, schedule, n, start, end)
    values = np.array([VARIABLE[kind](node) for node in grid])
    even = np.linspace(values[0], values[-1], n + 1)
    np.testing.assert_allclose(values, even, rtol=0.0, atol=1e-12 * np.abs(values).max())


@pytest.mark.parametrize("n", [1, 2, 3, 17, 250])
@pytest.mark.parametrize("kind", list(VARIABLE))
@pytest.mark.parametrize("name", list(SCHEDULES))
def test_default_grids_run_from_noise_to_data(name: str, kind: str, n: int) -> None:
    schedule = SCHEDULES[name]()
    check_law(GRIDS[kind](schedule, n), kind, schedule, n, schedule.t_max, schedule.t_min)


@given(spans(), st.sampled_from(sorted(VARIABLE)), st.integers(1, 40))
def test_grids_between_any_two_times(span: tuple[Schedule, float, float], kind: str, n: int) -> None:
    schedule, start, end = span
    check_law(GRIDS[kind](schedule, n, start, end), kind, schedule, n, start, end)


@pytest.mark.parametrize("rho", [0.5, 1, 3.0, 20.0])
def test_karras_rho_is_the_exponent(rho: float) -> None:
    steps = np.diff([node.rho ** (1.0 / rho) for node in karras(VP(), 9, rho=rho)])
    np.testing.assert_allclose(steps, steps[0], rtol=1e-10)
    if rho != 7.0:
        assert karras(VP(), 9, rho=rho)[4] != karras(VP(), 9)[4]


def test_karras_on_edm_is_the_paper_formula() -> None:
    """arXiv:2206.00364, eq. 5, with the defaults of the paper."""
    n, rho, low, high = 18, 7.0, 0.002, 80.0
    sigmas = [(high ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho for i in range(n)]
    found = karras(EDM(low, high), n - 1)
    np.testing.assert_allclose([node.sigma for node in found], sigmas, rtol=1e-12)


def test_the_kinds_differ() -> None:
    middles = {GRIDS[kind](VP(), 2)[1].t for kind in GRIDS if kind != "exponential"}
    assert len(middles) == len(GRIDS) - 1


@given(schedules(), st.lists(st.floats(0.0, 1.0), min_size=2, max_size=9, unique_by=lambda u: round(u, 6)), st.booleans())
def test_own_times_are_kept(schedule: Schedule, shares: list[float], forward: bool) -> None:
    times = sorted((schedule.t_min + u * (schedule.t_max - schedule.t_min) for u in shares), reverse=not forward)
    grid = from_times(schedule, np.array(times))
    assert [node.t for node in grid] == times
    assert all(type(node.t) is float for node in grid)
    assert from_times(schedule, iter(times)) == grid


@given(grids(towards="either", max_steps=6))
def test_check_gives_the_nodes_back(grid: list[Node]) -> None:
    assert check(grid) == grid
    assert check(tuple(grid)) == grid
    assert check(node for node in grid) == grid
    assert check(grid) is not grid
    assert all(a is b for a, b in zip(check(grid), grid, strict=True))


@given(grids(min_steps=2, max_steps=6, towards="either"), st.data())
def test_check_finds_the_step_that_is_not_monotone(grid: list[Node], data: st.DataObject) -> None:
    i = data.draw(st.integers(0, len(grid) - 2))
    doubled = [*grid[: i + 1], grid[i], *grid[i + 1 :]]
    with pytest.raises(ValueError, match=f"between nodes {i} and {i + 1}:"):
        check(doubled)
    swapped = list(grid)
    swapped[i], swapped[i + 1] = swapped[i + 1], swapped[i]
    with pytest.raises(ValueError, match="not strictly monotone between nodes"):
        check([*swapped, swapped[-1]] if len(grid) == 2 else swapped)


def test_numpy_integers_count_steps() -> None:
    assert uniform(VP(), np.int64(4)) == uniform(VP(), 4)


@pytest.mark.parametrize("kind", list(VARIABLE))
@pytest.mark.parametrize("n", [0, -1, -7, 2.0, 2.5, math.nan, True, False, "3", None, np.float64(3.0), [3]])
def test_bad_numbers_of_steps_are_refused(kind: str, n: Any) -> None:
    with pytest.raises(ValueError, match="is not a number of steps") as caught:
        GRIDS[kind](VP(), n)
    assert f"n = {n!r}" in str(caught.value)


@pytest.mark.parametrize("kind", list(VARIABLE))
@pytest.mark.parametrize("name", list(SCHEDULES))
def test_starts_and_ends_out_of_range_are_refused(name: str, kind: str) -> None:
    schedule = SCHEDULES[name]()
    for bad in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"t = {bad} is outside {name}"):
            GRIDS[kind](schedule, 4, end=bad)
        with pytest.raises(ValueError, match=f"t = {bad} is outside {name}"):
            GRIDS[kind](schedule, 4, start=bad)
    if name != "EDM":
        with pytest.raises(ValueError, match=f"t = 1.1 is outside {name}"):
            GRIDS[kind](schedule, 4, start=1.1)


@pytest.mark.parametrize("kind", list(VARIABLE))
def test_grids_of_no_length_are_refused(kind: str) -> None:
    for n in (1, 4):
        with pytest.raises(ValueError, match="not strictly monotone between nodes 0 and 1"):
            GRIDS[kind](VP(), n, start=0.5, end=0.5)


@pytest.mark.parametrize("kind", list(VARIABLE))
@pytest.mark.parametrize("schedule", [VP(), SubVP(), Cosine(), EDM(), RectifiedFlow()], ids=lambda s: type(s).__name__)
def test_grids_stop_short_of_sigma_zero(schedule: Schedule, kind: str) -> None:
    with pytest.raises(ValueError, match=r"grid\[1\] = .* needs finite values with alpha > 0 and sigma > 0: stop short"):
        GRIDS[kind](schedule, 3, end=0.0)


@pytest.mark.parametrize("kind", list(VARIABLE))
@pytest.mark.parametrize("schedule", [Cosine(), RectifiedFlow()], ids=lambda s: type(s).__name__)
def test_grids_stop_short_of_alpha_zero(schedule: Schedule, kind: str) -> None:
    with pytest.raises(ValueError, match=r"grid\[0\] = .* needs finite values with alpha > 0"):
        GRIDS[kind](schedule, 3, start=1.0)


@pytest.mark.parametrize("rho", [0.0, -7.0, math.nan, math.inf])
def test_bad_karras_exponents_are_refused(rho: float) -> None:
    with pytest.raises(ValueError, match=f"rho = {rho} must be positive and finite"):
        karras(EDM(), 5, rho=rho)


@pytest.mark.parametrize("bad", ["VP", VP, EDM, None, 0.5], ids=str)
@pytest.mark.parametrize("make", [*(GRIDS[kind] for kind in VARIABLE), lambda s, n: from_times(s, [0.9, 0.1])])
def test_what_is_not_a_schedule_is_refused(make: Callable[..., Any], bad: Any) -> None:
    with pytest.raises(TypeError, match="is not a schedule: give an instance"):
        make(bad, 4)


good = uniform(VP(), 4)


@pytest.mark.parametrize(
    ("nodes", "error", "culprit"),
    [
        ([], ValueError, r"0 node\(s\)"),
        ([good[0]], ValueError, r"1 node\(s\)"),
        ("a grid", TypeError, "is not a list of nodes"),
        (3, TypeError, "grid = 3 is not a list of nodes"),
        (None, TypeError, "grid = None is not a list of nodes"),
        (VP(), TypeError, r"grid = VP\(.* is not a list of nodes"),
        ([0.9, 0.5, 0.1], TypeError, r"grid\[0\] = 0.9 is not a Node: make the grid with solvers.grid.from_times"),
        (np.linspace(1.0, 0.1, 4), TypeError, r"grid\[0\] = .*1.0.* is not a Node"),
        ([*good[:2], None], TypeError, r"grid\[2\] = None is not a Node"),
        ([*good[:3], good[2]], ValueError, "between nodes 2 and 3"),
        ([*good[:3], good[1]], ValueError, "between nodes 2 and 3"),
        ([*good[:2], EDM().node(0.1)], ValueError, r"grid\[2\] belongs to EDM\(.* grid\[0\] to VP\("),
        ([*good[:2], VP(beta_max=10.0).node(0.1)], ValueError, r"grid\[2\] belongs to VP\("),
        ([*good[:2], VP().node(0.0)], ValueError, r"grid\[2\] = .* stop short"),
        ([Cosine().node(1.0), Cosine().node(0.5)], ValueError, r"grid\[0\] = .* alpha > 0"),
        ([good[0], Node(0.5, math.nan, 0.5, 0.1)], ValueError, r"grid\[1\] = .* finite"),
        ([good[0], Node(0.5, 0.8, -0.6, 0.1)], ValueError, r"grid\[1\] = .* sigma > 0"),
        ([Node(0.9, 0.5, 0.5, 0.0), Node(0.5, 0.8, 0.6, 0.1)], ValueError, r"grid\[1\] = .* lam other than log\(alpha/sigma\)"),
        ([Node(0.5, 0.5, 0.5, 0.0), Node(0.9, 0.8, 0.6, math.log(0.8 / 0.6))], ValueError, "between nodes 0 and 1: t 0.5 -> 0.9"),
    ],
)
def test_what_is_not_a_grid_is_refused(nodes: Any, error: type[Exception], culprit: str) -> None:
    with pytest.raises(error, match=culprit):
        check(nodes)


@pytest.mark.parametrize(
    ("times", "culprit"),
    [
        ([], r"0 node\(s\)"),
        ([0.5], r"1 node\(s\)"),
        ([0.9, 0.5, 0.5, 0.1], "between nodes 1 and 2"),
        ([0.9, 0.1, 0.5], "between nodes 1 and 2"),
        ([0.9, math.nan, 0.1], "t = nan is outside VP"),
        ([1.5, 0.5], "t = 1.5 is outside VP"),
        ([0.5, 0.0], r"grid\[1\]"),
    ],
)
def test_bad_times_are_refused(times: list[float], culprit: str) -> None:
    with pytest.raises(ValueError, match=culprit):
        from_times(VP(), times)


def test_ve_may_end_at_time_zero() -> None:
    for kind in (uniform, quadratic, uniform_lam, karras):
        assert kind(VE(), 5)[-1].sigma == pytest.approx(0.01, rel=1e-14)
