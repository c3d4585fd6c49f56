"""Measuring an order: slopes of known errors, what is left out, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scorebed.analytic import GaussianMixture
from scorebed.solvers import SOLVERS, VP
from scorebed.solvers.grid import uniform_lam
from scorebed.toy.measure.convergence import Order, global_errors, order_of, rms

STEPS = [10, 20, 40, 80, 160]


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 3.0])
def test_a_pure_power_has_its_exponent_as_order(p: float) -> None:
    order = order_of(STEPS, [7.0 * n**-p for n in STEPS])
    assert order.slope == pytest.approx(p, abs=1e-12)
    assert order.low == pytest.approx(p, abs=1e-12)
    assert order.high == pytest.approx(p, abs=1e-12)


def test_only_the_finest_refinements_count_and_their_order_does_not() -> None:
    errors = [1.0, 1.0, *(n**-2.0 for n in STEPS[2:])]
    shuffled = [3, 0, 4, 2, 1]
    assert order_of(STEPS, errors).slope == pytest.approx(2.0, abs=1e-12)
    assert order_of([STEPS[i] for i in shuffled], [errors[i] for i in shuffled]) == order_of(STEPS, errors)
    assert abs(order_of(STEPS, errors, finest=5).slope - 2.0) > 1.0


def test_the_range_holds_the_single_slopes() -> None:
    order = order_of([10, 20, 40], [1.0, 2.0**-1.5, 2.0**-4.0])
    assert (order.low, order.high) == (pytest.approx(1.5), pytest.approx(2.5))
    assert order.slope == pytest.approx(2.0)
    assert str(order) == "2.00 [1.50, 2.50]"


def test_errors_at_the_floor_are_left_out() -> None:
    errors = [n**-3.0 + 1e-6 for n in STEPS]
    assert order_of(STEPS, errors).slope < 2.6
    assert order_of(STEPS, [n**-3.0 if n < 80 else 1e-9 for n in STEPS], floor=1e-8).slope == pytest.approx(3.0, abs=1e-12)


def test_nothing_above_the_floor_is_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match="above the floor 1"):
        order_of(STEPS, [n**-2.0 for n in STEPS], floor=1.0)
    with pytest.raises(ValueError, match="not all finite"):
        order_of(STEPS, [1.0, 0.5, math.nan, 0.1, 0.05])


@pytest.mark.parametrize(("slope", "inside"), [(1.84, False), (1.86, True), (2.0, True), (2.34, True), (2.36, False)])
def test_the_window_of_the_laws(slope: float, inside: bool) -> None:
    assert Order(slope, slope, slope).inside(2) is inside


def test_rms_is_over_all_entries() -> None:
    assert rms(np.array([[3.0, 4.0], [0.0, 0.0]])) == pytest.approx(2.5)


def test_global_errors_are_those_of_the_end_state_without_a_terminal_rule() -> None:
    law = GaussianMixture([1.0], [[0.3]], 0.25)
    grids = [uniform_lam(VP(), n) for n in (20, 40, 80)]
    x = law.sample(20, np.random.default_rng(0), grids[0][0])
    exact = law.flow(x, grids[0][0], grids[0][-1])
    errors = global_errors(SOLVERS["heun"], law.denoised, x, exact, grids)
    assert order_of([20, 40, 80], errors).inside(2)
