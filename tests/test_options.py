"""Numeric options out of range are refused by name, and every numeric option of every solver declares its range."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from scorebed.solvers import SOLVERS, VP, Node, Solver, methods_on, sample
from scorebed.solvers.base import solver as make
from scorebed.solvers.methods.momentum import heavy_ball
from scorebed.solvers.methods.reversible import rex
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.ranges import Interval, allowed, interval, within
from scorebed.toy.properties.cases import jagged, modes
from scorebed.toy.properties.exact import other_values

X = np.linspace(-2.0, 2.0, 5)[:, None]
GRID = jagged(VP(), 4, 0.9, 0.05)
FLAT = [s for s in methods_on().values() if s.nonlinear != "moves in a Space"]


def numeric(solver: Solver) -> list[str]:
    return [name for name, value in solver.options.items() if isinstance(value, (int, float)) and not isinstance(value, bool)]


OPTIONS = [(solver, name) for solver in FLAT for name in numeric(solver)]
EACH = pytest.mark.parametrize(("made", "name"), OPTIONS, ids=[f"{solver.name}-{name}" for solver, name in OPTIONS])


def outside(range_: Interval) -> list[Any]:
    """Values just out of the interval and far out of it."""
    below = [range_.low - 1.0, math.nextafter(range_.low, -math.inf)] if "[" in range_.text else [range_.low - 1.0, range_.low]
    above: list[float] = []
    if math.isfinite(range_.high):
        above = [range_.high + 1.0, math.nextafter(range_.high, math.inf) if "]" in range_.text else range_.high]
    values: list[Any] = [*below, *above, "much", True]
    return [*(int(v) if isinstance(v, float) and v == int(v) else v for v in values), 2.5] if range_.whole else values


@EACH
def test_out_of_range_is_refused_by_name(made: Solver, name: str) -> None:
    range_ = allowed(made.step)[name]
    for value in outside(range_):
        with pytest.raises(ValueError, match=rf"{made.name}: {name} = .* must lie in") as told:
            sample(made(**{name: value}), modes().denoised, X, GRID, noise=1)
        assert range_.text in str(told.value)
        assert repr(value) in str(told.value)


@EACH
def test_inside_the_range_a_run_is_finite(made: Solver, name: str) -> None:
    """Close to the ends too, where a bound is one of what the formula can do and not of what is wise."""
    range_ = allowed(made.step)[name]
    high = range_.high if math.isfinite(range_.high) else range_.low + 3.0
    tolerance = name in ("rtol", "atol")
    inner = [1e-3] if tolerance else [range_.low + q * (high - range_.low) for q in (0.02, 0.45, 0.98)]
    for value in [max(1, int(value)) + int(range_.low) // 2 for value in inner] if range_.whole else inner:
        assert value in range_
        assert np.isfinite(sample(made(**{name: value}), modes().denoised, X, GRID, noise=1)).all()


@pytest.mark.parametrize("made", FLAT, ids=lambda s: s.name)
def test_defaults_and_other_values_lie_inside(made: Solver) -> None:
    ranges = allowed(made.step)
    assert set(ranges) == set(numeric(made))
    for name, range_ in ranges.items():
        assert made.options[name] in range_
        assert other_values(made)[name] in range_


@pytest.mark.parametrize(
    ("text", "inside", "without"),
    [
        ("(0, 1)", [0.5, 1e-300], [0.0, 1.0, -1.0, True, "a", None, math.nan]),
        ("[0, 1]", [0, 1, 0.0, 1.0], [-1e-9, 1.0000001]),
        ("[0, inf)", [0.0, 1e300], [math.inf, -1.0]),
        ("integer [2, inf)", [2, 7, np.int64(3)], [1, 2.0, True]),
    ],
)
def test_intervals(text: str, inside: list[Any], without: list[Any]) -> None:
    assert all(value in interval(text) for value in inside)
    assert not any(value in interval(text) for value in without)


def test_a_range_that_is_none_is_refused_where_it_is_declared() -> None:
    for text in ("0..1", "(0 1)", "real [0, 1]", "{0, 1}"):
        with pytest.raises(ValueError, match="write it as"):
            interval(text)


def test_a_range_holds_for_options_given_twice_and_for_direct_calls() -> None:
    @make(order=1, reference="a sample", register=False)
    @within(a="(0, 1)")
    def mine(
        denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, a: float = 0.5, b: float = 2.0
    ) -> tuple[Array, Any]:
        return a * b * x, None

    assert mine(a=0.25).step(None, 8.0, GRID[0], GRID[1], None, None)[0] == 4.0
    with pytest.raises(ValueError, match=r"mine: a = 1\.0 must lie in \(0, 1\)"):
        mine(a=0.25)(a=1.0).step(None, 8.0, GRID[0], GRID[1], None, None)
    assert mine.options == {"a": 0.5, "b": 2.0}


def test_what_belongs_together() -> None:
    for options, message in (
        ({"c2": 0.5, "c3": 0.5}, "give c3 other than c2"),
        ({"c2": 2.0 / 3.0}, "c2 other than 2/3"),
    ):
        with pytest.raises(ValueError, match=message):
            sample(SOLVERS["exp_rk_3"](**options), modes().denoised, X, GRID)
    with pytest.raises(ValueError, match=r"S_tmin = 3\.0 must not exceed S_tmax = 2\.0"):
        sample(SOLVERS["churn"](S_tmin=3.0, S_tmax=2.0), modes().denoised, X, GRID)
    with pytest.raises(ValueError, match="neither may be negative, and one must be positive"):
        sample(SOLVERS["bogacki_shampine"](rtol=0.0, atol=0.0), modes().denoised, X, GRID)
    with pytest.raises(ValueError, match=r"beta = 2\.0 must lie in \(0, 2\)"):
        heavy_ball(SOLVERS["heun"], 2.0)
    with pytest.raises(ValueError, match=r"zeta = 1\.5 must lie in \(0, 1\]"):
        rex(SOLVERS["heun"], 1.5)


@EACH
def test_numbers_of_numpy_are_those_of_python(made: Solver, name: str) -> None:
    """float32 times np.float64 is float64: coefficients are Python floats whatever was given."""
    value = made.options[name]
    one = made(**{name: np.int64(value) if isinstance(value, int) else np.float64(value)})
    assert type(one.options[name]) is type(value)
    assert one.name == made(**{name: value}).name
