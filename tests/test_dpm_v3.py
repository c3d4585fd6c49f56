"""DPM-Solver-v3: its special cases, exactness where its statistics are exact, its statistics against their definitions."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad, solve_ivp

from scorebed.analytic import GaussianMixture, LowRank
from scorebed.analytic.gaussian.statistics import Tabulated, denoised_rate, model_statistics
from scorebed.solvers import EDM, SOLVERS, VP, Node, NotLinear, RectifiedFlow, grid, sample, trace
from scorebed.solvers.methods.dpm_solver_v3 import Isotropic, dpm_solver_v3, integrals
from scorebed.solvers.weights.exponential import eps_of, phi
from scorebed.solvers.weights.multistep import lam_weights
from scorebed.toy.measure.convergence import global_errors, order_of, rms
from scorebed.toy.properties.cases import ellipsoid, jagged, modes, warped

X = np.linspace(-2.0, 2.0, 9)[:, None]
X3 = np.linspace(-2.0, 2.0, 9)[:, None] * np.array([1.0, -0.4, 0.7])


class Constant:
    """l, s and b that do not depend on lam."""

    def __init__(self, l: float, s: float, b: float = 0.0) -> None:
        self.numbers, self.linear = (l, s, b), b == 0.0

    def l(self, lam: np.ndarray) -> np.ndarray:  # noqa: E743
        return np.full_like(lam, self.numbers[0])

    def s(self, lam: np.ndarray) -> np.ndarray:
        return np.full_like(lam, self.numbers[1])

    def b(self, lam: np.ndarray) -> np.ndarray:
        return np.full_like(lam, self.numbers[2])


@pytest.fixture(scope="module")
def curves() -> Tabulated:
    """The paper's statistics of the three modes."""
    return model_statistics(modes(), -5.5, 5.5)


@pytest.fixture(scope="module")
def shared_curves() -> Tabulated:
    """The same without b."""
    return model_statistics(modes(), -5.5, 5.5, shared=True)


# The solver


@pytest.mark.parametrize(("l", "s"), [(1.0, 0.0), (0.0, -1.0)])
def test_first_order_in_either_old_parameterisation_is_ddim(l: float, s: float) -> None:
    nodes = jagged(VP(), 6, 0.9, 0.02)
    found = sample(dpm_solver_v3(Constant(l, s), 1), modes().denoised, X, nodes, terminal="none")
    np.testing.assert_allclose(found, sample(SOLVERS["ddim"], modes().denoised, X, nodes, terminal="none"), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("statistics", [Constant(1.0, 0.0), Isotropic(0.0)])
@pytest.mark.parametrize("order", [2, 3])
def test_data_prediction_is_the_exponential_adams_method(statistics: Any, order: int) -> None:
    """l = 1, s = b = 0: DPM-Solver++(3M), and at order 2 the same with the line in λ."""
    nodes = jagged(VP(), 5, 0.9, 0.1)
    states = [X + 0.1 * i for i in range(order)]
    d = [modes().denoised(x, node) for x, node in zip(states, nodes, strict=False)]
    s, t, x = nodes[order - 1], nodes[order], states[-1]
    past = tuple((node, -1.0 * value) for node, value in zip(nodes, d, strict=False))[: order - 1][::-1]
    found, _ = dpm_solver_v3(statistics, order).step(modes().denoised, x, s, t, past, None)
    weights = lam_weights(nodes[:order][::-1], s, t)
    mean = sum(w * value for w, value in zip(weights, d[::-1], strict=True))
    np.testing.assert_allclose(found, t.sigma / s.sigma * x - t.alpha * math.expm1(s.lam - t.lam) * mean, rtol=1e-12, atol=1e-12)


def test_noise_prediction_expands_eps_in_lam() -> None:
    """l = 0, s = −1, b = 0: x_t = (α_t/α_s) x − σ_t h (φ₁(h) ε_s + h φ₂(h) (ε_s − ε_r)/(λ_s − λ_r))."""
    r, s, t = jagged(VP(), 2, 0.7, 0.2)
    h = t.lam - s.lam
    eps_r, eps_s = modes().eps(X + 0.1, r), modes().eps(X, s)
    found, _ = dpm_solver_v3(Constant(0.0, -1.0), 2).step(modes().denoised, X, s, t, ((r, r.rho * eps_r),), None)
    line = phi(1, h) * eps_s + h * phi(2, h) * (eps_s - eps_r) / (s.lam - r.lam)
    np.testing.assert_allclose(found, t.alpha / s.alpha * X - t.sigma * h * line, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("variable", ["lam", "exp_lam"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_exact_on_the_gaussian_of_the_statistics(n: int, order: int, variable: Any) -> None:
    """On N(m, v I), whatever m, with any number of steps in any direction."""
    target = GaussianMixture([1.0], np.array([[0.5, -1.0, 2.0]]), np.array([1.7]))
    solver = dpm_solver_v3(Isotropic(1.7), order, variable=variable)
    for nodes in (warped(VP(), n, 0.95, 0.01), warped(RectifiedFlow(), n, 0.05, 0.95), grid.karras(EDM(), n)):
        found, exact = sample(solver, target.denoised, X3, nodes, terminal="none"), target.flow(X3, nodes[0], nodes[-1])
        np.testing.assert_allclose(found, exact, rtol=1e-11, atol=1e-11 * np.abs(exact).max())


def test_another_variance_is_not_exact() -> None:
    target = GaussianMixture([1.0], np.array([[0.5]]), np.array([1.7]))
    nodes = warped(VP(), 3, 0.95, 0.01)
    found = sample(dpm_solver_v3(Isotropic(1.6), 1), target.denoised, X, nodes, terminal="none")
    assert rms(found - target.flow(X, nodes[0], nodes[-1])) > 1e-3


@pytest.mark.parametrize("order", [1, 2, 3])
def test_exact_on_an_anisotropic_gaussian_with_statistics_per_coordinate(order: int) -> None:
    statistics = model_statistics(ellipsoid(), -5.0, 5.0, samples=32)
    nodes = jagged(VP(), 4, 0.9, 0.02)
    solver = dpm_solver_v3(statistics, order)
    found = sample(solver, ellipsoid().denoised, X3, nodes, terminal="none")
    np.testing.assert_allclose(found, ellipsoid().flow(X3, nodes[0], nodes[-1]), rtol=1e-9, atol=1e-9)
    with pytest.raises(NotLinear, match="differ from coordinate to coordinate"):
        trace(solver, nodes)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_order_with_fitted_statistics(curves: Tabulated, shared_curves: Tabulated, order: int, shared: bool) -> None:
    steps = (24, 48, 96)
    grids = [jagged(VP(), n, 0.9, 0.02) for n in steps]
    exact = modes().flow(X, grids[0][0], grids[0][-1])
    solver = dpm_solver_v3(shared_curves if shared else curves, order)
    found = order_of(steps, global_errors(solver, modes().denoised, X, exact, grids))
    assert found.inside(order), found


def test_fitted_statistics_make_first_order_four_times_better_than_ddim(curves: Tabulated) -> None:
    """The paper's appendix G finds its first order better than DDIM; on the three modes it is so by a factor above 4."""
    for n in (6, 12, 24, 48):
        nodes = grid.uniform_lam(VP(), n, 0.99, 0.01)
        exact = modes().flow(X, nodes[0], nodes[-1])
        fitted, ddim = (
            rms(sample(solver, modes().denoised, X, nodes, terminal="none") - exact)
            for solver in (dpm_solver_v3(curves, 1), SOLVERS["ddim"])
        )
        assert ddim > 4.0 * fitted


def test_local_error_has_mean_zero(curves: Tabulated) -> None:
    """Theorem 3.2: with the statistics of the model, E[x̂_t − x_t] = 0 over the law at s; with any s and b it is not."""
    s, t = VP().node(0.5), VP().node(0.3)
    x = np.linspace(-8.0, 8.0, 4001)[:, None]
    density = np.exp(modes().log_prob(x, s))[:, None]
    assert density.sum() * 0.004 == pytest.approx(1.0, abs=1e-12)

    def bias(statistics: Any) -> float:
        found = sample(dpm_solver_v3(statistics, 1), modes().denoised, x, [s, t], terminal="none")
        return abs(float(((found - modes().flow(x, s, t)) * density).sum())) * 0.004

    assert bias(curves) < 1e-8
    assert bias(Constant(0.5, 1.0)) > 1e-4


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_statistics_per_coordinate_keep_library_and_dtype(kind: str) -> None:
    statistics = model_statistics(ellipsoid(), -5.0, 5.0, samples=32)
    nodes = jagged(VP(), 4, 0.9, 0.05)
    x = X3.astype(np.float32) if kind == "numpy" else torch.tensor(X3, dtype=torch.float32)
    found = sample(dpm_solver_v3(statistics, 3), ellipsoid().denoised, x, nodes, terminal="none")
    assert type(found) is type(x)
    assert found.dtype == x.dtype
    np.testing.assert_allclose(np.asarray(found), ellipsoid().flow(X3, nodes[0], nodes[-1]), rtol=1e-4, atol=1e-4)


def test_shared_statistics_unroll_to_a_plan() -> None:
    statistics = model_statistics(ellipsoid(), -5.0, 5.0, shared=True, samples=32)
    nodes = jagged(VP(), 6, 0.9, 0.05)
    solver = dpm_solver_v3(statistics, 3)
    plan = trace(solver, nodes)
    assert (plan.nfe, plan.history) == (8, 2)
    np.testing.assert_allclose(
        plan.run(ellipsoid().denoised, X3), sample(solver, ellipsoid().denoised, X3, nodes, terminal="none"), rtol=1e-12
    )


@pytest.mark.parametrize("order", [0, 4, "2"])
def test_unknown_order(order: Any) -> None:
    with pytest.raises(ValueError, match=r"order = .* is not known"):
        dpm_solver_v3(Isotropic(), order)


@pytest.mark.parametrize("variance", [-1.0, math.inf, math.nan])
def test_bad_variance(variance: float) -> None:
    with pytest.raises(ValueError, match="variance"):
        Isotropic(variance)


@pytest.mark.parametrize(("start", "end"), [(-1.3, 0.4), (3.0, -6.0), (-5.0, 5.5)])
def test_integrals_against_adaptive_quadrature(start: float, end: float) -> None:
    """L and S in closed form, ∫ e^{L+S} dλ by quad, B for b = 1 and s constant."""
    q, v = integrals(Isotropic(0.7), start, end), 0.7

    def log_l(lam: float) -> float:
        return -math.log1p(v * math.exp(2.0 * lam))

    def kernel(lam: float) -> float:
        return math.exp(lam - start + 0.5 * (log_l(lam) - log_l(start)) + log_l(lam) - log_l(start))

    assert float(q.end[0][0]) == pytest.approx(end - start + 0.5 * (log_l(end) - log_l(start)), rel=1e-12, abs=1e-12)
    assert float(q.end[1][0]) == pytest.approx(log_l(end) - log_l(start), rel=1e-12)
    exact = quad(kernel, start, end, epsabs=0, epsrel=1e-13, limit=200)[0]
    assert float((q.weights * q.kernel).sum()) == pytest.approx(exact, rel=1e-11)
    q = integrals(Constant(0.3, -0.4, 1.0), start, end)
    assert float(q.end[2][0]) == pytest.approx(math.expm1(0.4 * (end - start)) / 0.4, rel=1e-12)
    np.testing.assert_allclose(q.bias[:, 0], np.expm1(0.4 * (q.lam - start)) / 0.4, rtol=1e-10)


# The statistics


def flow(target: GaussianMixture, x: np.ndarray, s: Node, lam: float) -> tuple[np.ndarray, Node]:
    """States and node at ``lam`` on the probability flow through x, by DOP853."""

    def rate(lam: float, z: np.ndarray) -> np.ndarray:
        node = EDM().at_lam(lam)
        return (target.denoised(z.reshape(x.shape), node) - z.reshape(x.shape)).ravel()

    z = solve_ivp(rate, (s.lam, lam), x.ravel(), method="DOP853", rtol=1e-13, atol=1e-14).y[:, -1]
    return z.reshape(x.shape), EDM().at_lam(lam)


MIXTURES = {
    "full": np.array([[[0.3, 0.1], [0.1, 0.2]], [[0.1, 0.0], [0.0, 0.4]]]),
    "diagonal": np.array([[0.3, 0.1], [0.05, 0.6]]),
    "isotropic": np.array([0.3, 0.1]),
    "points": np.zeros(2),
    "low rank": LowRank(np.array([[[0.5], [0.2]], [[-0.3], [0.4]]]), np.array([[0.1, 0.2], [0.3, 0.1]])),
}


@pytest.mark.parametrize("kind", MIXTURES)
def test_rate_of_the_denoiser_along_the_flow(kind: str) -> None:
    target = GaussianMixture([0.3, 0.7], np.array([[-1.0, 0.5], [0.7, 0.2]]), MIXTURES[kind])
    s, x, h = EDM().node(1.1), np.array([[0.3, -1.0], [2.0, 0.4], [-0.2, 0.3]]), 1e-3
    ahead = {k: target.denoised(*flow(target, x, s, s.lam + k * h)) for k in (-2, -1, 1, 2)}
    difference = (8.0 * (ahead[1] - ahead[-1]) - (ahead[2] - ahead[-2])) / (12.0 * h)
    np.testing.assert_allclose(denoised_rate(target, x, s), difference, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shared", [False, True])
def test_an_isotropic_gaussian_has_the_closed_form(shared: bool) -> None:
    target = GaussianMixture([1.0], np.array([[0.4, -1.1]]), np.array([1.7]))
    found, exact, lam = model_statistics(target, -4.0, 4.0, shared=shared, samples=16), Isotropic(1.7), np.linspace(-3.9, 3.9, 21)
    pick = (slice(None),) if shared else (slice(None), 0)
    np.testing.assert_allclose(found.l(lam)[pick], exact.l(lam), atol=1e-12)
    if shared:  # per coordinate f is a constant, and b takes the part of s
        np.testing.assert_allclose(found.s(lam), exact.s(lam), rtol=1e-6, atol=1e-6)
        assert not found.b(lam).any()


@pytest.mark.parametrize("lam", [-1.5, 0.0, 1.2])
def test_statistics_by_their_definitions(curves: Tabulated, lam: float) -> None:
    """l = E[σ ∂eps/∂x], and s, b are the regression of ḟ on f, with ḟ by differences along the exact flow."""
    node, h, at = EDM().at_lam(lam), 1e-3, np.array([lam])
    x = np.linspace(-8.0, 8.0, 4001)[:, None] * (1.0 + node.sigma)
    weights = np.exp(modes().log_prob(x, node))[:, None]
    weights /= weights.sum()
    slope = (modes().eps(x + 1e-5, node) - modes().eps(x - 1e-5, node)) / 2e-5
    assert float(curves.l(at)[0]) == pytest.approx(float((weights * node.sigma * slope).sum()), abs=1e-8)

    def f(k: int) -> np.ndarray:
        there = EDM().at_lam(lam + k * h)
        y = modes().flow(x, node, there)
        return there.sigma * eps_of(y, modes().denoised(y, there), there) - float(curves.l(np.array([there.lam]))[0]) * y

    rate = (8.0 * (f(1) - f(-1)) - (f(2) - f(-2))) / (12.0 * h)
    design = np.column_stack([f(0), np.ones(len(x))]) * np.sqrt(weights)
    s, b = np.linalg.lstsq(design, (rate * np.sqrt(weights))[:, 0], rcond=None)[0]
    assert float(curves.s(at)[0]) == pytest.approx(s, abs=1e-6)
    assert float(curves.b(at)[0]) == pytest.approx(b, abs=1e-7)


def test_draws_tend_to_the_expectation() -> None:
    """The same product of the three modes with itself, whose statistics in each coordinate are those of one, by draws."""
    one = modes()
    weights = np.outer(one.weights, one.weights).ravel()
    means = np.array([[a[0], b[0]] for a in one.means for b in one.means])
    variances = np.array([[a, b] for a in one.covariances.ravel() for b in one.covariances.ravel()])
    exact = model_statistics(one, -1.0, 1.0, points=12)
    drawn = model_statistics(GaussianMixture(weights, means, variances), -1.0, 1.0, points=12, samples=4000)
    lam = np.linspace(-0.9, 0.9, 5)
    np.testing.assert_allclose(drawn.l(lam), np.column_stack([exact.l(lam)] * 2), atol=0.02)
    np.testing.assert_allclose(drawn.s(lam), np.column_stack([exact.s(lam)] * 2), atol=0.15)
    np.testing.assert_allclose(drawn.b(lam), np.column_stack([exact.b(lam)] * 2), atol=0.1)


def test_the_tabulated_range_is_kept(curves: Tabulated) -> None:
    with pytest.raises(ValueError, match="not in the tabulated range"):
        curves.l(np.array([6.0]))
    for bad in ({"low": 1.0, "high": 1.0}, {"low": -math.inf, "high": 1.0}, {"low": 0.0, "high": 1.0, "points": 2}):
        with pytest.raises(ValueError, match=r"low|points"):
            model_statistics(modes(), **bad)


def test_steps_agree_with_the_formula_of_the_paper() -> None:
    """Eq. 20, the improved DDIM, with its integrals by quad."""
    statistics, nodes, x = Isotropic(0.6), jagged(VP(), 3, 0.8, 0.1), X

    def linear(lam: float) -> float:
        return float(statistics.l(np.array([lam]))[0])

    def scaling(lam: float) -> float:
        return float(statistics.s(np.array([lam]))[0])

    for a, b in pairwise(nodes):
        keep = math.exp(-quad(linear, a.lam, b.lam)[0])
        weight = quad(lambda lam, a=a: math.exp(quad(lambda u: linear(u) + scaling(u), a.lam, lam)[0]), a.lam, b.lam)[0]
        eps = modes().eps(x, a)
        x = b.alpha / a.alpha * keep * (1.0 + linear(a.lam) * weight) * x - b.alpha * keep * a.rho * weight * eps
    found = sample(dpm_solver_v3(statistics, 1), modes().denoised, X, nodes, terminal="none")
    np.testing.assert_allclose(found, x, rtol=1e-10, atol=1e-10)
