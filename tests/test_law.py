"""The exact law of a stochastic solver's output in one dimension: against exact moments, against samples, against itself."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scorebed.analytic import GaussianMixture
from scorebed.analytic.output import moments
from scorebed.solvers import SOLVERS, VP, NotLinear, RectifiedFlow, grid, sample, trace
from scorebed.solvers.base import solver
from scorebed.toy.figures.output_law import figure
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.measure.output_law import law, transfer_matrix, weak_errors

TARGET = GaussianMixture([0.3, 0.7], [[-1.0], [1.2]], [0.04, 0.15])
NORMAL = GaussianMixture([1.0], [[0.4]], [0.3])
KINDS = [
    "ddpm",
    "exp_euler_maruyama",
    "churn",
    "dpmpp_2s_ancestral",
    "pc_langevin",
    "restart",
    "stochastic_heun",
    "dpmpp_2m_sde",
    "seeds_2",
]
"""One noise at the end, one at the beginning, noise inside a step with and without fresh noise after it, memory of the last state."""


@pytest.mark.parametrize("name", KINDS)
def test_moments_on_a_gaussian_are_those_of_the_plan(name: str) -> None:
    nodes = grid.uniform_lam(VP(), 6, start=0.9, end=0.1)
    found = law(SOLVERS[name], NORMAL, nodes)
    mean, covariance = moments.moments(trace(SOLVERS[name], nodes), NORMAL)
    assert abs(found.mean - mean.item()) < 1e-7
    assert abs(found.variance - covariance.item()) < 1e-7
    x = mean.item() + math.sqrt(covariance.item()) * np.linspace(-4, 4, 9)
    exact = np.exp(-0.5 * (x - mean.item()) ** 2 / covariance.item()) / math.sqrt(2 * math.pi * covariance.item())
    np.testing.assert_allclose(found.density(x), exact, atol=2e-5)


def test_two_million_samples_agree() -> None:
    nodes, n, each = grid.uniform_lam(VP(), 3, start=0.8, end=0.15), 2_000_000, 500_000
    found, points = law(SOLVERS["ddpm"], TARGET, nodes), np.linspace(-1.8, 2.2, 17)
    sums, below = np.zeros(4), np.zeros(len(points))
    for i in range(n // each):
        start = TARGET.sample(each, np.random.default_rng(i), nodes[0])
        x = sample(SOLVERS["ddpm"], TARGET.denoised, start, nodes, noise=100 + i, terminal="none")[:, 0]
        sums += [float((x**k).sum()) for k in range(1, 5)]
        below += np.searchsorted(np.sort(x), points)
    for k in range(1, 5):
        spread = math.sqrt(found.moment(2 * k) - found.moment(k) ** 2)
        assert abs(sums[k - 1] / n - found.moment(k)) < 4 * spread / math.sqrt(n)
    cdf = found.cdf(points)
    assert (np.abs(below / n - cdf) < 4.5 * np.sqrt(cdf * (1 - cdf) / n) + 1e-7).all()


def test_a_wrong_coefficient_is_seen() -> None:
    @solver(order=1, weak=1.0, reference="ddpm with its noise 1 % too large", register=False)
    def loud(denoise, x, s, t, carry, noise):  # type: ignore[no-untyped-def]
        still, _ = SOLVERS["ddpm"].step(denoise, x, s, t, carry, lambda s, t: 0.01 * noise(s, t))
        moved, _ = SOLVERS["ddpm"].step(denoise, x, s, t, carry, noise)
        quiet, _ = SOLVERS["ddpm"].step(denoise, x, s, t, carry, lambda s, t: 0.0 * noise(s, t))
        return moved + (still - quiet), carry

    nodes = grid.uniform_lam(VP(), 3, start=0.8, end=0.15)
    x = np.linspace(-1.8, 2.2, 17)
    assert np.abs(law(loud, TARGET, nodes).cdf(x) - law(SOLVERS["ddpm"], TARGET, nodes).cdf(x)).max() > 3e-4


@pytest.mark.parametrize("terminal", ["none", "denoise"])
def test_density_and_distribution_function_belong_together(terminal: str) -> None:
    nodes = grid.uniform(RectifiedFlow(), 8, start=0.9, end=0.1)
    found = law(SOLVERS["ddpm"], TARGET, nodes, terminal=terminal)
    x = np.linspace(-3.0, 4.0, 4001)
    density = found.density(x)
    assert abs(np.trapezoid(density, x) - 1.0) < 2e-3 if terminal == "denoise" else 1e-9
    cdf = np.concatenate([[0.0], np.cumsum(0.5 * np.diff(x) * (density[1:] + density[:-1]))])
    np.testing.assert_allclose(found.cdf(x), cdf, atol=2e-3)
    assert abs(found.expect(np.ones_like) - 1.0) < 1e-12


def test_the_prior_is_another_beginning() -> None:
    nodes = grid.uniform_lam(VP(), 6, start=0.5, end=0.1)
    exact, prior = (law(SOLVERS["ddpm"], TARGET, nodes, initial=initial) for initial in ("exact", "prior"))
    assert abs(exact.mean - prior.mean) > 1e-2


@pytest.mark.parametrize("terminal", ["none", "denoise"])
@pytest.mark.parametrize("name", ["heun", "unipc_3"])
def test_without_noise_the_law_is_the_initial_one_moved(name: str, terminal: str) -> None:
    """However steep the map between the modes: E f against a fine quadrature of the initial law through ``sample``."""
    nodes = grid.uniform_lam(VP(), 40, end=0.03)
    found, line = law(SOLVERS[name], TARGET, nodes, terminal=terminal), TARGET.line(nodes[0])
    x = np.linspace((line.means - 9 * line.scales).min(), (line.means + 9 * line.scales).max(), 30_001)
    w = np.exp(np.asarray(TARGET.log_prob(x[:, None], nodes[0])))
    y = sample(SOLVERS[name], TARGET.denoised, x[:, None], nodes, terminal=terminal)[:, 0]
    for k in range(1, 5):
        assert found.moment(k) == pytest.approx(float(w @ y**k / w.sum()), abs=2e-7)
    assert (np.diff(y) > 0).all()
    below = (np.cumsum(w) - 0.5 * w) / w.sum()
    np.testing.assert_allclose(found.cdf(y[::300]), below[::300], atol=2e-6)


@pytest.mark.parametrize(("name", "order"), [("ddpm", 1.0), ("dpmpp_2s_ancestral", 2.0), ("heun", 2.0), ("rk4", 4.0)])
def test_weak_orders(name: str, order: float) -> None:
    grids = [grid.uniform_lam(VP(), n, end=0.05) for n in (20, 40, 80)]
    table = weak_errors(SOLVERS[name], TARGET, grids, (2,))
    for _, rows in table.groupby("quantity"):
        assert order_of(list(rows.steps), list(rows.error)).inside(order)


def test_what_has_no_law_here_says_why() -> None:
    nodes = grid.uniform_lam(VP(), 6, start=0.8, end=0.15)
    with pytest.raises(ValueError, match="more than two dimensions"):
        law(SOLVERS["dpmpp_3m_sde"], TARGET, nodes)
    with pytest.raises(NotLinear):
        law(SOLVERS["dormand_prince"], TARGET, nodes)
    with pytest.raises(ValueError, match="d = 2"):
        law(SOLVERS["ddpm"], GaussianMixture([1.0], [[0.0, 0.0]], [1.0]), nodes)
    with pytest.raises(ValueError, match="initial = 'normal'"):
        law(SOLVERS["ddpm"], TARGET, nodes, initial="normal")  # type: ignore[arg-type]


def test_the_figure_names_each_solver() -> None:
    grids = [grid.uniform_lam(VP(), n, start=0.8, end=0.15) for n in (4, 8)]
    drawn = figure([SOLVERS["ddpm"], SOLVERS["exp_euler_maruyama"]], TARGET, grids)
    shown = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert shown[0] == "exact"
    assert shown[1].startswith("ddpm (slope ")


def test_a_transfer_matrix_moves_a_law_as_the_convolution_does():
    """N(m, v) through x → N(0.8 x + 0.1, s²) is N(0.8 m + 0.1, 0.64 v + s²), to round-off on a grid that is fine against s."""
    x = np.linspace(-8.0, 8.0, 401)
    start, end = (GaussianMixture([1.0], [[m]], v) for m, v in ((0.5, 0.6), (0.5, 0.384 + 0.09)))
    p, exact = (np.exp(law.log_prob(x[:, None])) * (x[1] - x[0]) for law in (start, end))
    np.testing.assert_allclose(p @ transfer_matrix(x, 0.8 * x + 0.1, 0.3), exact, atol=1e-13)
    np.testing.assert_array_equal(transfer_matrix(x, x, 0.0), np.eye(401))
