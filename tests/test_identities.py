"""Identities between methods, and each method's coefficients against an independent computation."""

import math
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from scorebed.solvers import EDM, SOLVERS, VP, BrownianNoise, Node, RectifiedFlow, SubVP, grid, sample, trace
from scorebed.solvers.methods.deis import deis_weights
from scorebed.solvers.weights.exponential import phi
from scorebed.solvers.weights.lagrange import lagrange
from scorebed.toy.properties import PROPERTIES
from scorebed.toy.properties.cases import jagged, modes, warped
from tests.test_exponential_family import ONE_EVALUATION

X = np.linspace(-2.0, 2.0, 9)[:, None]
SCHEDULES = (VP(), SubVP(), RectifiedFlow(), EDM(0.01, 10.0))


def run(name: str, nodes: list[Node], x: np.ndarray = X, **options: Any) -> np.ndarray:
    return sample(SOLVERS[name](**options) if options else SOLVERS[name], modes().denoised, x, nodes, terminal="none")


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_euler_in_rho_is_ddim(schedule: Any) -> None:
    nodes = grid.karras(schedule, 7)
    np.testing.assert_allclose(run("euler", nodes), run("ddim", nodes), rtol=1e-11, atol=1e-11)


ONE_STEP = ["ddim", "euler", "heun", "dpm_solver_1", "dpm_solver_2", "dpm_solver_3", "dpmpp_1", "dpmpp_2s", "dpmpp_3s"]
OTHERS = [*ONE_EVALUATION, "deis_rho_kutta", "deis_rho_rk4", "unic_dpmpp_2s"]


@pytest.mark.parametrize("name", [*ONE_STEP, *OTHERS])
def test_only_lam_matters(name: str) -> None:
    """All but tAB-DEIS know the schedule through lam alone: x/alpha comes out the same on every schedule through the same lam."""
    vp = warped(VP(), 8, 0.9, 0.05)
    edm = [EDM().at_lam(node.lam) for node in vp]

    def in_edm(y: np.ndarray, node: Node) -> np.ndarray:
        there = VP().at_lam(node.lam)
        return modes().denoised(there.alpha * y, there)

    scaled = sample(SOLVERS[name], in_edm, X / vp[0].alpha, edm, terminal="none")
    same = np.allclose(run(name, vp) / vp[-1].alpha, scaled, rtol=1e-11, atol=1e-11)
    assert same != ("_tab" in name)


def test_heun_is_the_explicit_trapezoid() -> None:
    nodes = grid.karras(EDM(), 6)
    x = 80.0 * X
    y = x
    for s, t in pairwise(nodes):
        d = (y - modes().denoised(y, s)) / s.sigma
        ahead = y + (t.sigma - s.sigma) * d
        y = y + (t.sigma - s.sigma) / 2 * (d + (ahead - modes().denoised(ahead, t)) / t.sigma)
    np.testing.assert_allclose(run("heun", nodes, x), y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["dpm_solver_2", "dpmpp_2s"])
def test_default_stage_lies_in_the_middle(name: str) -> None:
    nodes = jagged(VP(), 5, 0.9, 0.05)
    stages = trace(SOLVERS[name], nodes).nodes[1::2]
    np.testing.assert_allclose([n.lam for n in stages], [(s.lam + t.lam) / 2 for s, t in pairwise(nodes)], rtol=1e-13)


def test_default_stages_of_the_third_order_solver_lie_at_thirds() -> None:
    nodes = jagged(VP(), 5, 0.9, 0.05)
    found = [n.lam for n in trace(SOLVERS["dpm_solver_3"], nodes).nodes]
    thirds = [s.lam + i / 3 * (t.lam - s.lam) for s, t in pairwise(nodes) for i in range(3)]
    np.testing.assert_allclose(found, thirds, rtol=1e-13)


def test_dpm_solver_2_in_the_middle_is_one_shot_of_the_stage() -> None:
    """At r = 1/2 the update is the DDIM step with the stage's eps alone (arXiv:2206.00927, Alg. 1)."""
    nodes = jagged(VP(), 5, 0.9, 0.05)
    x = X
    for s, t in pairwise(nodes):
        i, h = s.toward(t, 0.5), t.lam - s.lam
        eps = (x - s.alpha * modes().denoised(x, s)) / s.sigma
        u = i.alpha / s.alpha * x - i.sigma * math.expm1(h / 2) * eps
        x = t.alpha / s.alpha * x - t.sigma * math.expm1(h) * (u - i.alpha * modes().denoised(u, i)) / i.sigma
    np.testing.assert_allclose(run("dpm_solver_2", nodes), x, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_deis_weights_are_the_integrals_in_t(schedule: Any) -> None:
    """C_j = ∫ ℓ_j(τ) ρ'(τ) dτ with ρ' = g²/(2 α² ρ), by adaptive quadrature."""
    nodes = grid.uniform(schedule, 9, schedule.node(schedule.t_max * 0.9).t, schedule.t_max * 0.1)
    r2, r1, s, t = nodes[3:7]
    times = [s.t, r1.t, r2.t]

    def speed(u: float) -> float:
        node = schedule.node(u)
        return schedule.g2(u) / (2.0 * node.alpha**2 * node.rho)

    exact = [quad(lambda u, j=j: lagrange(times, j, u) * speed(u), s.t, t.t, epsabs=0, epsrel=1e-13)[0] for j in range(3)]
    np.testing.assert_allclose(deis_weights(times, s, t), np.array(exact) / (t.rho - s.rho), rtol=1e-10)


def test_ipndm_2_has_the_classical_weights_on_equal_steps_of_rho() -> None:
    nodes = grid.uniform(EDM(), 6, 5.0, 0.1)
    xs = sample(SOLVERS["ipndm_2"], modes().denoised, X, nodes, terminal="none", record=True).xs
    eps = [(x - n.alpha * modes().denoised(x, n)) / n.sigma for x, n in zip(xs, nodes, strict=True)]
    for i in range(1, 6):
        s, t = nodes[i], nodes[i + 1]
        exact = t.alpha / s.alpha * xs[i] + t.alpha * (t.rho - s.rho) * (1.5 * eps[i] - 0.5 * eps[i - 1])
        np.testing.assert_allclose(xs[i + 1], exact, rtol=1e-12, atol=1e-12)


def test_dpmpp_2m_extrapolates_by_half_on_equal_steps() -> None:
    nodes = grid.uniform_lam(VP(), 6, 0.9, 0.1)
    xs = sample(SOLVERS["dpmpp_2m"], modes().denoised, X, nodes, terminal="none", record=True).xs
    d = [modes().denoised(x, n) for x, n in zip(xs, nodes, strict=True)]
    for i in range(1, 6):
        s, t = nodes[i], nodes[i + 1]
        exact = t.sigma / s.sigma * xs[i] - t.alpha * math.expm1(s.lam - t.lam) * (1.5 * d[i] - 0.5 * d[i - 1])
        np.testing.assert_allclose(xs[i + 1], exact, rtol=1e-12, atol=1e-12)


def test_ddpm_draws_from_the_posterior_of_the_forward_chain() -> None:
    """q(x_t | x_s, x0 = D) by Bayes' rule from x_s | x_t ~ N(a x_t, c), a = α_s/α_t, c = σ_s² − a² σ_t²."""
    s, t = VP().node(0.6), VP().node(0.5)
    xi = BrownianNoise(11, X.shape)
    a = s.alpha / t.alpha
    c = s.sigma**2 - a**2 * t.sigma**2
    precision = a**2 / c + 1.0 / t.sigma**2
    mean = (a / c * X + t.alpha / t.sigma**2 * modes().denoised(X, s)) / precision
    found = sample(SOLVERS["ddpm"], modes().denoised, X, [s, t], noise=xi, terminal="none")
    np.testing.assert_allclose(found, mean + xi(s, t) / math.sqrt(precision), rtol=1e-12, atol=1e-12)


def test_dpmpp_2m_sde_starts_as_ddpm() -> None:
    nodes = jagged(VP(), 1, 0.6, 0.4)
    one, two = (sample(SOLVERS[n], modes().denoised, X, nodes, noise=3, terminal="none") for n in ("ddpm", "dpmpp_2m_sde"))
    np.testing.assert_array_equal(one, two)


def test_dpmpp_2m_sde_without_noise_steps_as_dpmpp_2m() -> None:
    """But for the first step, which the ODE method leaves to its start."""
    r, s, t = jagged(VP(), 2, 0.6, 0.4)
    memory = ((r, modes().denoised(X, r)),)
    one, _ = SOLVERS["dpmpp_2m"].step(modes().denoised, X, s, t, memory, BrownianNoise(0, X.shape))
    two, _ = SOLVERS["dpmpp_2m_sde"](eta=0.0).step(modes().denoised, X, s, t, memory, BrownianNoise(0, X.shape))
    np.testing.assert_allclose(one, two, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("eta", [0.5, 1.3])
def test_dpmpp_2m_sde_has_weak_order_two_at_any_noise(eta: float) -> None:
    PROPERTIES["weak_order"](SOLVERS["dpmpp_2m_sde"](eta=eta))


@given(st.integers(1, 4), st.floats(-60.0, 60.0))
def test_phi_functions(k: int, z: float) -> None:
    with mpmath.workdps(60):
        exact = mpmath.nsum(lambda j: mpmath.mpf(z) ** j / mpmath.factorial(j + k), [0, 400]) if abs(z) < 1e-3 else None
        if exact is None:
            exact = (mpmath.exp(z) - mpmath.fsum(mpmath.mpf(z) ** j / mpmath.factorial(j) for j in range(k))) / mpmath.mpf(z) ** k
        assert abs(phi(k, z) / exact - 1) < 5e-15
