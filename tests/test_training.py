"""Exact minimisers of denoising losses: against brute force, against each other; memorisation and collapse as closed forms have them."""

from __future__ import annotations

import numpy as np
import pytest

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.information import expect, mmse
from scorebed.analytic.gaussian.minimiser import affine, graph_polynomial, hats, spline
from scorebed.solvers import EDM, VP
from scorebed.toy.studies.training import collapse, memorisation

LINE = GaussianMixture([0.3, 0.7], [-1.0, 1.2], [0.06, 0.15])
PLANE = GaussianMixture([0.4, 0.6], [[-1.0, 0.0, 0.5], [1.0, 0.5, 0.0]], [[0.2, 0.3, 0.1], [0.1, 0.4, 0.2]])
NODE = VP().node(0.4)


def test_affine_is_least_squares_on_draws() -> None:
    rng = np.random.default_rng(0)
    nodes, weights = [VP().node(0.2), VP().node(0.6)], [1.0, 3.0]
    found = affine(PLANE, nodes, weights)
    x0 = PLANE.sample(200_000, rng)
    x = np.concatenate(
        [n.alpha * x0[i::4] + n.sigma * rng.standard_normal(x0[i::4].shape) for i, n in enumerate([nodes[0], *[nodes[1]] * 3])]
    )
    y = np.concatenate([x0[i::4] for i in range(4)])
    fitted = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y, rcond=None)[0].T
    np.testing.assert_allclose(found.coefficients, fitted, atol=0.02)
    assert found.risk == pytest.approx(float(np.mean(np.sum((found.denoised(x, nodes[0]) - y) ** 2, 1))), rel=0.01)


def test_on_a_gaussian_the_affine_minimiser_is_the_denoiser_and_rank_costs_what_it_leaves_out() -> None:
    one = GaussianMixture([1.0], [[0.5, -1.0, 0.3]], [[0.04, 1.0, 4.0]])
    x = one.sample(5, 0, NODE)
    np.testing.assert_allclose(affine(one, NODE).denoised(x, NODE), one.denoised(x, NODE), atol=1e-12)
    risks = [affine(one, NODE, rank=r).risk for r in (1, 2, 3)]
    gains = NODE.alpha**2 * np.array([0.04, 1.0, 4.0]) ** 2 / (NODE.alpha**2 * np.array([0.04, 1.0, 4.0]) + NODE.sigma**2)
    np.testing.assert_allclose(risks, [5.04 - gains[2], 5.04 - gains[2] - gains[1], 5.04 - gains.sum()], rtol=1e-12)


def test_splines_tend_to_the_exact_denoiser_and_affine_is_one_of_two_knots() -> None:
    best = mmse(LINE, NODE)
    excess = [spline(LINE, NODE, np.linspace(-2.5, 2.5, k)).risk - best for k in (2, 6, 21, 81)]
    assert (np.diff(excess) < 0.0).all()
    assert 0.0 <= excess[-1] < 1e-5
    assert excess[0] + best == pytest.approx(affine(LINE, NODE).risk, rel=1e-9)
    fitted = spline(LINE, NODE, np.linspace(-2.5, 2.5, 9))
    assert fitted.risk == pytest.approx(best + expect(LINE, lambda x: (fitted.denoised(x, NODE) - LINE.denoised(x, NODE))[:, 0] ** 2, NODE))


def test_the_noise_of_the_gradient_is_that_of_draws() -> None:
    knots, rng = np.linspace(-2.0, 2.0, 4), np.random.default_rng(0)
    fitted = spline(LINE, NODE, knots)
    x0 = LINE.sample(200_000, rng)
    x = NODE.alpha * x0 + NODE.sigma * rng.standard_normal(x0.shape)
    g = 2.0 * (fitted.denoised(x, NODE) - x0) * hats(x[:, 0], knots)
    np.testing.assert_allclose(np.abs(g.mean(0)).max(), 0.0, atol=0.01)
    assert fitted.gradient_noise is not None
    np.testing.assert_allclose(np.cov(g.T), fitted.gradient_noise, atol=0.02 * np.abs(fitted.gradient_noise).max())


def test_layers_on_a_graph_close_in_on_the_denoiser() -> None:
    n = 24
    ring = np.roll(np.eye(n), 1, 0) + np.roll(np.eye(n), -1, 0)
    p = 1.2 * np.eye(n) - 0.5 * ring
    cov = np.linalg.inv(p)
    law = GaussianMixture([1.0], np.zeros((1, n)), cov[None])
    node = EDM().node(1.0)
    least = affine(law, node).risk
    excess = [graph_polynomial(cov, p, node, degree).risk - least for degree in (0, 1, 2, 4, 6)]
    assert (np.diff(excess) < 0.0).all()
    assert -1e-9 < excess[-1] < 1e-4 * excess[0]


def test_memorisation_falls_with_data_and_noise_and_rises_with_capacity() -> None:
    table = memorisation(LINE, sizes=(10, 160), sigmas=(0.1, 1.0), capacities=(4, 24), repeats=3).set_index(["n", "sigma", "knots"])
    assert (table.test >= table.best - 1e-12).all()
    assert table.gap[10, 0.1, 24] > table.gap[160, 0.1, 24]
    assert table.gap[10, 0.1, 24] > table.gap[10, 0.1, 4]
    assert table.train[10, 0.1, 24] < table.best[10, 0.1, 24]  # below what the law allows: memorised
    assert table.train[160, 1.0, 4] == pytest.approx(table.test[160, 1.0, 4], rel=0.2)


@pytest.mark.parametrize("fresh", [0.0, 0.2])
def test_collapse_is_its_closed_form(fresh: float) -> None:
    table = collapse(n=30, generations=30, fresh=fresh)
    late = table.iloc[1:]
    assert (np.abs(late.measured - late.closed) < 5.0 * late.error).all(), table
    assert (table.closed.iloc[-1] < 0.5) == (fresh == 0.0)
    with pytest.raises(ValueError, match="fresh = 2"):
        collapse(fresh=2.0)


def test_wrong_use_is_told() -> None:
    for call, words in (
        (lambda: affine(PLANE, NODE, rank=0), "rank = 0"),
        (lambda: affine(PLANE, [NODE, NODE], [1.0]), "2 numbers"),
        (lambda: spline(LINE, NODE, [1.0, 0.0]), "rising"),
        (lambda: graph_polynomial(np.eye(2), np.eye(2), NODE, -1), "degree = -1"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
