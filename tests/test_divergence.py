"""Divergences on the line and their gradients against differences, and optimal transport against what it must be."""

from __future__ import annotations

import numpy as np
import pytest

from scorebed.analytic import GaussianMixture
from scorebed.analytic.distance import mmd2, wasserstein
from scorebed.analytic.distance.divergence import DIVERGENCES, divergence, gradient
from scorebed.analytic.distance.transport import monotone, semidiscrete
from scorebed.toy.problems.lines import modes

P = GaussianMixture([0.3, 0.7], [-1.2, 1.0], [0.25, 0.3])
Z = GaussianMixture([0.4, 0.6], [-1.0, 0.8], [0.3, 0.2])


def made(a: float, b: float) -> GaussianMixture:
    """The law of a z + b."""
    return GaussianMixture(Z.weights, a * Z.means[:, 0] + b, a * a * np.array([0.3, 0.2]))


@pytest.mark.parametrize("kind", [*DIVERGENCES, "mmd2"])
def test_gradients_are_the_derivatives_along_a_generator(kind: str) -> None:
    z = np.linspace(-6.0, 6.0, 20_001)
    weight = np.exp(np.asarray(Z.log_prob(z[:, None]))) * (z[1] - z[0])

    def value(a: float, b: float) -> float:
        return mmd2(made(a, b), P, 1.0) if kind == "mmd2" else divergence(made(a, b), P, kind)

    slope, h = gradient(made(1.1, 0.2), P, 1.1 * z + 0.2, kind), 1e-4
    for found, exact in (
        (weight @ (slope * z), (value(1.1 + h, 0.2) - value(1.1 - h, 0.2)) / (2 * h)),
        (weight @ slope, (value(1.1, 0.2 + h) - value(1.1, 0.2 - h)) / (2 * h)),
    ):
        assert found == pytest.approx(exact, rel=1e-5)


def test_closed_values_of_two_normals_and_of_equal_laws() -> None:
    q, p = (GaussianMixture([1.0], [m], [v]) for m, v in ((0.3, 0.5), (-0.2, 0.8)))
    assert divergence(q, p, "kl") == pytest.approx(0.5 * (0.5 / 0.8 + 0.25 / 0.8 - 1.0 - np.log(0.5 / 0.8)), rel=1e-12)
    assert divergence(q, p, "reverse_kl") == pytest.approx(divergence(p, q, "kl"), rel=1e-12)
    slope, shift = 1 / 0.8 - 1 / 0.5, 0.5 / 0.8
    assert divergence(q, p, "fisher") == pytest.approx(shift**2 + slope**2 * 0.5, rel=1e-12)
    for kind in DIVERGENCES:
        assert abs(divergence(P, P, kind)) < 1e-13
        assert np.abs(gradient(P, P, np.linspace(-3, 3, 7), kind)).max() < 1e-12


def test_the_monotone_map_is_the_best_one() -> None:
    u = (np.arange(4001) + 0.5) / 4001
    x = np.asarray(P.quantile(u))
    y = monotone(P, modes(), x)
    np.testing.assert_allclose(modes().cdf(y), P.cdf(x), atol=1e-12)
    assert np.sqrt(np.mean((y - x) ** 2)) == pytest.approx(wasserstein(P, modes(), 2), rel=1e-3)


@pytest.mark.parametrize("d", [1, 2])
def test_cells_have_the_masses_that_were_asked_for_and_are_those_of_samples(d: int) -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((6, d)) * 1.5 + 2.0
    weights = rng.dirichlet(np.full(6, 4.0))
    cells = semidiscrete(points, weights, scale=1.3)
    np.testing.assert_allclose(cells.masses, weights, atol=1e-11)
    x = 1.3 * rng.standard_normal((100_000, d))
    np.testing.assert_allclose(np.bincount(cells.index(x), minlength=6) / 100_000, weights, atol=0.006)
    assert np.isin(cells(x[:20]).ravel(), points.ravel()).all()
    if d == 1:  # quantiles
        order = np.argsort(points[:, 0])
        cuts = 1.3 * np.asarray(GaussianMixture([1.0], [0.0], 1.0).quantile(np.cumsum(weights[order])[:-1]))
        np.testing.assert_array_equal(cells.index(x), order[np.searchsorted(cuts, x[:, 0])])


def test_arguments_without_an_answer_are_refused() -> None:
    plane = GaussianMixture([1.0], [[0.0, 0.0]], 1.0)
    for wrong, words in (
        (lambda: divergence(P, P, "hellinger"), "kind = 'hellinger'"),
        (lambda: divergence(P, GaussianMixture([1.0], [0.0], 0.0)), "point mass"),
        (lambda: divergence(P, np.zeros(3)), "samples have no density"),
        (lambda: divergence(plane, plane), "d = 2"),
        (lambda: semidiscrete(np.zeros((2, 3))), "3 dimensions"),
        (lambda: semidiscrete(np.zeros((2, 1))), "the same"),
        (lambda: semidiscrete(np.eye(2), [0.5, 0.6]), "sum to 1"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong()
