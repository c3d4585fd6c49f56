"""The weight that DPS bears: the closed form is the slope of the method's own step, and the runs grow beyond it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.regression import ExactModel
from scorebed.solvers import SOLVERS, VP, grid, sample
from scorebed.solvers.inverse import METHODS, Conditioned, Linear, Sequential
from scorebed.toy.studies.posterior_stability import dps_factor, dps_limit, dps_limits

VAR, A, R2 = 0.7, 1.3, 0.02
SEEN = Conditioned(ExactModel(GaussianMixture([1.0], [[0.2]], VAR)), Linear([[A]], R2), np.array([0.5]))
NODES = grid.uniform_lam(VP(), 30, end=1e-3)


def slope(weight, nodes):
    model = METHODS["dps"].make(SEEN, Sequential(0, (2, 1)), weight=weight)
    x = sample(SOLVERS["ddim"], model, np.array([[0.0], [1.0]]), nodes, terminal="none")
    return float(x[1, 0] - x[0, 0])


@pytest.mark.parametrize("weight", [0.0, 0.5, 3.0])
def test_the_factor_is_the_slope_of_a_step(weight):
    for s, t in list(pairwise(NODES))[::6]:
        assert dps_factor(weight, VAR, A, R2, s, t) == pytest.approx(slope(weight, [s, t]), rel=1e-9, abs=1e-9)


def test_at_the_limit_the_worst_step_turns_a_state_around_and_beyond_it_grows():
    limit = dps_limit(VAR, A, R2, NODES)
    slopes = [slope(limit, [s, t]) for s, t in pairwise(NODES)]
    assert min(slopes) == pytest.approx(-1.0, abs=1e-9)
    assert max(np.abs(slopes)) <= 1.0 + 1e-9
    assert abs(slope(20.0 * limit, NODES)) > 1e6 > 1.0 > abs(slope(0.9 * limit, NODES))


def test_the_limit_goes_with_the_noise_and_with_the_number_of_steps():
    table = dps_limits(VP(), (1e-1, 1e-2, 1e-3), (50, 100)).set_index(["r2", "steps"]).limit
    assert table[1e-2, 50] / table[1e-1, 50] == pytest.approx(0.1, rel=1e-9)
    assert 1.7 < table[1e-1, 100] / table[1e-1, 50] < 2.5
    assert table[1e-3, 50] < 1.0
