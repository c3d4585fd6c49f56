"""Tilts, products, powers and the law of guided fields, against quadrature, Bayes' rule and the exact moments of fine runs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from scorebed import SOLVERS, VP, GaussianMixture, grid, trace
from scorebed.analytic.gaussian.tilt import full, geometric, of_class, power, product, quadratic, union
from scorebed.analytic.output.guided import guided_law
from scorebed.analytic.output.moments import moments
from scorebed.solvers.guide import mix

LINE = GaussianMixture([0.3, 0.7], [[-1.0], [0.8]], [0.1, 0.3])
PLANE = GaussianMixture([0.4, 0.6], [[-1.0, 0.2], [0.8, -0.3]], [[[0.3, 0.1], [0.1, 0.2]], [[0.2, 0.0], [0.0, 0.4]]])
X = np.linspace(-9.0, 9.0, 6001)[:, None]
DX = float(X[1, 0] - X[0, 0])
NODE = VP().node(0.4)


def integral(f: np.ndarray) -> float:
    return float(f.sum() * DX)


@pytest.mark.parametrize(("p", "q", "c"), [(0.7, 0.0, 0.0), (0.0, 1.5, -0.3), (-0.8, -0.4, 0.1), (20.0, 9.0, 0.0)])
def test_quadratic_tilts_are_the_law_times_the_exponential(p: float, q: float, c: float) -> None:
    tilt = quadratic(LINE, p, q, c)
    r = c + q * X[:, 0] - 0.5 * p * X[:, 0] ** 2
    wanted = np.exp(LINE.log_prob(X) + r)
    assert tilt.log_normaliser == pytest.approx(math.log(integral(wanted)), abs=1e-10)
    np.testing.assert_allclose(np.exp(tilt.law.log_prob(X)), wanted / integral(wanted), atol=1e-10)
    np.testing.assert_allclose(tilt.reward(X[2500:3500]), r[2500:3500], atol=1e-8)


def test_values_are_conditional_expectations() -> None:
    """log E[e^r | x_t] by quadrature over x0, and its gradient by differences."""
    tilt = quadratic(LINE, 0.5, 1.0)
    x = np.array([[-0.7], [0.1], [1.2]])
    r = X[:, 0] - 0.25 * X[:, 0] ** 2
    for i in range(3):
        joint = np.exp(LINE.log_prob(X) - 0.5 * ((x[i, 0] - NODE.alpha * X[:, 0]) / NODE.sigma) ** 2)
        assert tilt.value(x, NODE)[i] == pytest.approx(math.log(integral(joint * np.exp(r)) / integral(joint)), abs=1e-9)
    step = 1e-5
    slope = (tilt.value(x + step, NODE) - tilt.value(x - step, NODE)) / (2.0 * step)
    np.testing.assert_allclose(tilt.gradient(x, NODE)[:, 0], slope, rtol=1e-7)


def test_in_the_plane_and_for_point_masses() -> None:
    """Weights and moments against importance weights; a singular covariance stays where it is."""
    p, q = np.array([[0.5, 0.2], [0.2, 1.0]]), np.array([0.3, -0.5])
    tilt = quadratic(PLANE, p, q)
    x = PLANE.sample(400_000, 1)
    w = np.exp(x @ q - 0.5 * np.einsum("ni,ij,nj->n", x, p, x))
    assert tilt.log_normaliser == pytest.approx(math.log(w.mean()), abs=5e-3)
    np.testing.assert_allclose(tilt.law.mean(), (w[:, None] * x).sum(0) / w.sum(), atol=5e-3)
    points = GaussianMixture([0.5, 0.5], [[0.0, 0.0], [1.0, 2.0]], 0.0)
    moved = quadratic(points, 0.0, [1.0, 0.0])
    np.testing.assert_allclose(moved.law.weights, [1.0 / (1.0 + math.e), math.e / (1.0 + math.e)])
    np.testing.assert_allclose(moved.law.means, points.means)


def test_classes_have_the_posterior_of_the_class_as_their_value() -> None:
    tilt = of_class(PLANE, [1])
    x = PLANE.sample(5, 3, NODE)
    np.testing.assert_allclose(np.exp(tilt.value(x, NODE)), PLANE.posterior(x, NODE).weights[:, 1], rtol=1e-10)
    np.testing.assert_allclose(tilt.gradient(x, NODE), tilt.law.score(x, NODE) - PLANE.score(x, NODE))
    assert tilt.log_normaliser == pytest.approx(math.log(0.6))


def test_products_powers_and_unions() -> None:
    other = GaussianMixture([0.5, 0.5], [[0.0], [1.5]], [0.4, 0.2])
    for tilt, wanted in (
        (product(LINE, other), np.exp(LINE.log_prob(X) + other.log_prob(X))),
        (power(LINE, 3), np.exp(3.0 * LINE.log_prob(X))),
    ):
        assert tilt.log_normaliser == pytest.approx(math.log(integral(wanted)), abs=1e-10)
        np.testing.assert_allclose(np.exp(tilt.law.log_prob(X)), wanted / integral(wanted), atol=1e-10)
    both = union([LINE, other], [0.25, 0.75])
    np.testing.assert_allclose(np.exp(both.log_prob(X)), 0.25 * np.exp(LINE.log_prob(X)) + 0.75 * np.exp(other.log_prob(X)))
    narrow, wide = GaussianMixture([1.0], [[0.5]], 0.2), GaussianMixture([1.0], [[0.0]], 1.0)
    wanted = np.exp(3.0 * narrow.log_prob(X) - 2.0 * wide.log_prob(X))
    np.testing.assert_allclose(np.exp(geometric([narrow, wide], [3.0, -2.0]).log_prob(X)), wanted / integral(wanted), atol=1e-10)


@pytest.mark.parametrize(("eta", "method", "end"), [(0.0, "ddim", 0.05), (1.0, "ddpm", 0.05)])
def test_the_law_of_guidance_is_the_limit_of_its_runs(eta: float, method: str, end: float) -> None:
    """Exact moments of 500 to 2000 guided steps, extrapolated twice, in each direction; different means included."""
    w, given, null = 2.5, GaussianMixture([1.0], [[1.0]], 0.2), GaussianMixture([1.0], [[-0.3]], 1.1)

    def affine(node: Any) -> tuple[np.ndarray, np.ndarray]:
        parts = []
        for law in (given, null):
            m, v = float(law.means[0, 0]), float(full(law)[0, 0, 0])
            total = node.alpha**2 * v + node.sigma**2
            parts.append((node.alpha * v / total, node.sigma**2 * m / total))
        a, b = (mix(c, u, w) for c, u in zip(*parts, strict=True))
        return np.array([[a]]), np.array([b])

    ends = []
    for n in (500, 1000, 2000):
        nodes = grid.uniform_lam(VP(), n, 0.9, end)
        plan = trace(SOLVERS[method], nodes)
        mean, covariance = moments(plan, given, [0.0], [[nodes[0].sigma ** 2]], affine=affine)
        ends.append(np.array([mean[0], covariance[0, 0]]))
    found = guided_law([(w, 1.0, 0.2), (1.0 - w, -0.3, 1.1)], nodes[0], nodes[-1], eta)
    first, second = 2.0 * ends[1] - ends[0], 2.0 * ends[2] - ends[1]
    np.testing.assert_allclose(found, (4.0 * second - first) / 3.0, rtol=1e-7)


def test_unguided_it_is_the_marginal() -> None:
    s, t = VP().node(0.9), VP().node(0.03)
    start = (s.alpha * 0.4, s.alpha**2 * 0.3 + s.sigma**2)
    for eta in (0.0, 0.7, 1.0):
        mean, variance = guided_law([(1.0, 0.4, 0.3)], s, t, eta, start)
        assert mean == pytest.approx(t.alpha * 0.4, rel=1e-10)
        assert variance == pytest.approx(t.alpha**2 * 0.3 + t.sigma**2, rel=1e-10)


def test_wrong_use_is_told() -> None:
    with pytest.raises(ValueError, match="not integrable"):
        quadratic(LINE, -20.0)
    with pytest.raises(ValueError, match="members"):
        of_class(LINE, [2])
    with pytest.raises(ValueError, match="whole number"):
        power(LINE, 0)
    with pytest.raises(ValueError, match="no such law exists"):
        geometric([GaussianMixture([1.0], [[0.0]], 1.0), GaussianMixture([1.0], [[0.0]], 0.2)], [2.0, -1.0])
    with pytest.raises(ValueError, match="same dimension"):
        product(LINE, PLANE)
    with pytest.raises(ValueError, match="from noise to data"):
        guided_law([(1.0, 0.0, 1.0)], VP().node(0.1), VP().node(0.5))
