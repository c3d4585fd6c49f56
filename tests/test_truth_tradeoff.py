"""Perception against distortion on Gaussians: the curve, and estimates on it and off it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scorebed.analytic import GaussianMixture
from scorebed.analytic.distance.gaussian import gaussian_w2
from scorebed.analytic.distance.tradeoff import gaussian_tradeoff, least_distortion


def test_the_curve_of_one_dimension_is_that_of_the_paper():
    mmse, gap = gaussian_tradeoff(GaussianMixture([1.0], [0.0], 1.0), [[1.0]], 0.5)
    assert mmse == pytest.approx(1 / 3)
    assert gap == pytest.approx(1 - math.sqrt(2 / 3))
    assert least_distortion(0.0, mmse, gap) == pytest.approx(0.36701, abs=1e-5)
    assert least_distortion(gap, mmse, gap) == least_distortion(1.0, mmse, gap) == mmse


def test_no_linear_estimate_lies_below_the_curve():
    """x̂ = B E[x0 | y] + N ξ for 200 matrices B and N."""
    law = GaussianMixture([1.0], [[0.0, 0.0]], [[[1.0, 0.6], [0.6, 0.8]]])
    a, r = np.array([[1.0, 0.4]]), 0.3
    mmse, gap = gaussian_tradeoff(law, a, r)
    left = law.given(a, [0.0], r).covariance()
    mean = law.covariance() - left
    rng = np.random.default_rng(0)
    for _ in range(200):
        b, n = np.eye(2) + 0.5 * rng.standard_normal((2, 2)), 0.3 * rng.standard_normal((2, 2))
        spread = b @ mean @ b.T + n @ n.T
        error = mmse + float(np.trace((b - np.eye(2)) @ mean @ (b - np.eye(2)).T + n @ n.T))
        perception = gaussian_w2(np.zeros(2), spread, np.zeros(2), law.covariance())
        assert error >= least_distortion(perception, mmse, gap) - 1e-9


def test_a_mixture_is_refused():
    with pytest.raises(ValueError, match="k = 2 components"):
        gaussian_tradeoff(GaussianMixture([0.5, 0.5], [-1.0, 1.0], 1.0), [[1.0]], 0.5)
