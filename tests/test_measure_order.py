"""Measuring an order: slope, floor, stall, growth, what is raised, and the names of the conditions."""

from __future__ import annotations

import math

import pytest

from scorebed.toy.measure.order import Conditions, before_stall, measure_order

STEPS = (8, 16, 32, 64, 128, 256)


@pytest.mark.parametrize("order", [1.0, 2.0, 3.5])
def test_the_slope_is_the_order(order: float) -> None:
    result = measure_order(lambda n: (n**-order, 2 * n), conditions=Conditions(grid="powers"), steps=STEPS)
    assert result.order is not None
    assert result.order.slope == pytest.approx(order)
    assert result.nfe == tuple(2 * n for n in STEPS)
    assert result.conditions.window == (64, 128, 256)
    assert result.conditions.grid == "powers"
    assert result.inside(order)
    assert result.reaches(order)
    assert not result.reaches(order + 0.2)
    assert (result.stalls, result.grows, result.exact) == (False, False, False)


def test_round_off_is_no_part_of_the_slope() -> None:
    result = measure_order(lambda n: max(float(n) ** -4, 1e-8), conditions=Conditions(floor=2e-8), steps=STEPS)
    assert result.order is not None
    assert result.order.slope == pytest.approx(4.0)
    assert result.conditions.window == (16, 32, 64)
    assert not result.stalls
    nothing = measure_order(lambda n: 1e-16, steps=STEPS)
    assert nothing.exact
    assert nothing.order is None
    assert nothing.reaches(7.0)


@pytest.mark.parametrize(("second", "least"), [(1e-15, 2.0), (1e-13, 0.0)], ids=["below the floor", "above it"])
def test_an_error_that_sinks_below_the_floor_at_once_fell_that_fast_at_least(second: float, least: float) -> None:
    """From 1e-12 to a floor of 1e-14 in ten times the steps, by a slope of 2 or more."""
    result = measure_order(lambda n: 1e-12 if n == 10 else second, conditions=Conditions(floor=1e-14), steps=(10, 100, 1000))
    assert result.sinks == pytest.approx(least)
    assert result.reaches(2.0) == (second < 1e-14)
    assert not result.reaches(2.5)


def test_a_stall_is_named_and_the_order_before_it_kept() -> None:
    result = measure_order(lambda n: n**-2.0 + 1e-3, steps=STEPS)
    assert result.stalls
    assert result.order is not None
    assert result.before is not None
    assert result.order.slope < 1.0 < 1.3 < result.before.slope
    assert "before it stalls" in str(result)
    fast = measure_order(lambda n: n**-5.0 + 0.01 * n**-2.0, steps=STEPS)  # a steep beginning is no stall
    assert not fast.stalls
    assert before_stall(STEPS[:3], [1.0, 0.5, 0.5]) == 3


def test_growth_and_what_is_not_finite() -> None:
    growing = measure_order(lambda n: 1e-3 * n**2.6, steps=STEPS)
    assert growing.grows
    assert growing.order is not None
    assert growing.order.slope == pytest.approx(-2.6)
    broken = measure_order(lambda n: math.nan if n == 32 else 1.0 / n, steps=STEPS)
    assert broken.steps == (8, 16, 32)
    assert not broken.finite
    assert broken.order is None
    assert not broken.reaches(0.1)


def test_refining_goes_on_until_it_is_enough() -> None:
    seen = []

    def error(n: int) -> float:
        seen.append(n)
        return n**-2.0 + 10.0 * n**-4.0

    result = measure_order(error, steps=(4, 8), finer=(16, 32, 64, 128), enough=lambda r: r.inside(2.0, above=0.05), finest=2)
    assert seen == [4, 8, 16, 32]
    assert result.inside(2.0, above=0.05)


def test_what_is_raised_late_is_part_of_the_result() -> None:
    def error(n: int) -> float:
        if n >= 32:
            raise FloatingPointError("nothing is left")
        return 1.0 / n

    result = measure_order(error, steps=STEPS)
    assert result.stopped == "FloatingPointError at 32 steps: nothing is left"
    assert not result.reaches(1.0)
    with pytest.raises(FloatingPointError):
        measure_order(error, steps=(32, 64))


def test_conditions_differ_by_name() -> None:
    one = Conditions(target="3 modes", grid="Karras", floor=1e-12)
    other = Conditions(target="3 modes", grid="uneven", dtype="float32", start="gentle", floor=1e-6, window=(8, 16))
    assert one.differs(other) == ("grid", "dtype", "start")
    assert str(other) == "3 modes, uneven, float32, gentle start"
    assert str(one) == "3 modes, Karras, float64"
