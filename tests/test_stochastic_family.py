"""The stochastic solvers: identities to round-off, and orders of paths and transitions exact on Gaussians.

On N(0, v) in y = x/alpha the reverse SDE with noise of relative variance k, dy = (1 + k)(y - D)/rho drho + sqrt(k) dW(rho²), is solved by

    y_t = G(rho_s²) y_s + sqrt(k) ∫ G dW,    G(tau) = ((rho_t² + v)/(tau + v))^{(1+k)/2},

and a solver gives a linear form in y_s and the draws, whose coefficients a run on unit vectors reads off. So transitions (the law of y_t
given y_s) and strong errors are integrals, with no Monte Carlo. The weak law of the house starts at the true marginal, which is less.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad

from scorebed.analytic.output.moments import moments
from scorebed.solvers import EDM, SOLVERS, VE, VP, BrownianNoise, Node, RectifiedFlow, Schedule, Solver, SubVP, sample, trace
from scorebed.solvers.base import solver as make
from scorebed.solvers.grid import karras, uniform_lam
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.weights.exponential import diffuse_by_denoised, eps_of, flow_by_eps
from scorebed.toy.measure.convergence import Order, order_of
from scorebed.toy.properties.cases import ellipsoid, jagged, modes, warped
from scorebed.toy.properties.paths import path_errors, strong_order
from scorebed.toy.properties.registry import Broken

X = np.linspace(-2.0, 2.0, 9)[:, None]
RUNS = ((VP(), 0.9, 0.05), (SubVP(), 0.8, 0.1), (RectifiedFlow(), 0.9, 0.1), (EDM(), 20.0, 0.05))
V = np.array([0.04, 1.0, 4.0])
STEPS = (128, 256, 512)
POINTS, WEIGHTS = np.polynomial.legendre.leggauss(6)


def of(name: str, **options: Any) -> Solver:
    return SOLVERS[name](**options)


def label(value: Any) -> str:
    return value.name if isinstance(value, Solver) else str(value)


def still(x: np.ndarray) -> Noise:
    return lambda s, t: 0.0 * x


def constants(x: np.ndarray, value: dict[tuple[float, float], float]) -> Noise:
    """Noise that is one number per interval, for every state of x."""
    return lambda s, t: 0.0 * x + value[s.lam, t.lam]


# ---------------------------------------------------------------------------------------------------------------------- identities

SAME = [
    (of("ddim_eta", eta=1.0), of("ddpm")),
    (of("ddim_eta", eta=0.0), of("ddim")),
    (of("euler_ancestral"), of("ddpm")),
    (of("euler_ancestral", eta=0.4), of("ddim_eta", eta=0.4)),
    (of("euler_ancestral", eta=0.0), of("euler")),
    (of("sde_dpmpp_1"), of("ddpm")),
    (of("exp_euler_maruyama", frozen="denoised"), of("ddpm")),
    (of("exp_euler_maruyama", frozen="eps"), of("seeds_1")),
    (of("sde_dpm_solver_1"), of("seeds_1")),
    (of("dpmpp_2s_ancestral", eta=0.0), of("dpmpp_2s")),
    (of("dpmpp_sde", eta=0.0), of("dpmpp_2s")),
    (of("dpmpp_sde", eta=0.0, r=0.7), of("dpmpp_2s", r=0.7)),
    (of("churn", S_churn=0.0), of("heun")),
    (of("churn", S_tmax=1e-3), of("heun")),
]


@pytest.mark.parametrize(("one", "two"), SAME, ids=label)
def test_same_samples(one: Solver, two: Solver) -> None:
    for schedule, start, end in RUNS:
        grid = warped(schedule, 7, start, end)
        x = grid[0].sigma * X
        a, b = (sample(each, modes().denoised, x, grid, noise=4, terminal="none") for each in (one, two))
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("sde", "ode"),
    [
        (of("seeds_1"), of("ddim")),
        (of("seeds_2"), of("dpm_solver_2")),
        (of("seeds_2", r=0.7), of("dpm_solver_2", r=0.7)),
        (of("seeds_3"), of("dpm_solver_3")),
    ],
)
def test_without_noise_seeds_is_dpm_solver_with_twice_eps(sde: Solver, ode: Solver) -> None:
    """2 eps for eps is 2 D - x/alpha for D."""
    for schedule, start, end in RUNS:
        grid = jagged(schedule, 12, start, end)
        x = grid[0].sigma * X
        found = sample(sde, modes().denoised, x, grid, noise=still(x), terminal="none")
        twice = sample(ode, lambda y, n: 2.0 * modes().denoised(y, n) - (1.0 / n.alpha) * y, x, grid, terminal="none")
        np.testing.assert_allclose(found, twice, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["seeds_1", "seeds_2", "seeds_3"])
def test_every_stage_of_seeds_lies_on_the_path(name: str) -> None:
    """With eps = 0 the state over alpha is y plus the increment of W since s, at each stage and at the end."""
    s, t = VP().node(0.6), VP().node(0.4)
    seen: list[tuple[Array, Node]] = []

    def remembers(y: Array, node: Node) -> Array:
        seen.append((y, node))
        return (1.0 / node.alpha) * y

    xi = BrownianNoise(5, X.shape, refine=True)
    end, _ = SOLVERS[name].step(remembers, X, s, t, None, xi)
    for y, node in (*seen[1:], (end, t)):
        increment = math.sqrt(s.rho**2 - node.rho**2) * xi(s, node)
        np.testing.assert_allclose(y / node.alpha, X / s.alpha + increment, rtol=1e-11, atol=1e-11)


def test_multistep_methods_start_as_the_one_step_method() -> None:
    s, t = VP().node(0.6), VP().node(0.4)
    for multi, single in (("dpmpp_3m_sde", "ddpm"), ("sde_dpm_solver_2", "sde_dpm_solver_1")):
        a, b = (sample(SOLVERS[name], modes().denoised, X, [s, t], noise=3, terminal="none") for name in (multi, single))
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13)


def test_frozen_score_has_the_closed_form_on_vp() -> None:
    """x_t = e^{B/2} x + 2 (e^{B/2} - 1) score + sqrt(e^B - 1) xi with B the integral of beta over the step (arXiv:2209.11215, eq. 5)."""
    s, t = VP().node(0.5), VP().node(0.42)
    grow = VP().integral(s.t) - VP().integral(t.t)
    exact = math.exp(grow / 2) * X + 2 * math.expm1(grow / 2) * modes().score(X, s) + math.sqrt(math.expm1(grow)) * np.ones_like(X)
    found, _ = SOLVERS["exp_euler_maruyama"].step(modes().denoised, X, s, t, None, lambda a, b: np.ones_like(X))
    np.testing.assert_allclose(found, exact, rtol=1e-12)


@pytest.mark.parametrize("schedule", [VP(), SubVP(), RectifiedFlow(), EDM()], ids=lambda s: type(s).__name__)
def test_euler_maruyama_takes_drift_and_noise_at_the_start(schedule: Schedule) -> None:
    s, t = schedule.node(0.5), schedule.node(0.4)
    drift = schedule.f(0.5) * X - schedule.g2(0.5) * modes().score(X, s)
    found, _ = SOLVERS["euler_maruyama"].step(modes().denoised, X, s, t, None, lambda a, b: np.ones_like(X))
    np.testing.assert_allclose(found, X - 0.1 * drift + math.sqrt(0.1 * schedule.g2(0.5)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_dpmpp_3m_sde_integrates_parabolas_exactly(eta: float) -> None:
    r"""For D = a + b λ + c λ² without noise, x_t = (σ_t/σ_s) e^{−ηh} x + α_t (1 + η) ∫ e^{(1+η)(λ−λ_t)} D dλ, here by quadrature."""

    def curve(lam: float) -> float:
        return 0.3 - 0.7 * lam + 0.9 * lam * lam

    q, r, s, t = jagged(VP(), 3, 0.6, 0.1)
    carry = tuple((node, np.array([curve(node.lam)])) for node in (r, q))
    x = np.array([0.4])
    found, _ = SOLVERS["dpmpp_3m_sde"](eta=eta).step(lambda y, n: np.array([curve(n.lam)]), x, s, t, carry, still(x))
    integral = quad(lambda lam: (1 + eta) * math.exp((1 + eta) * (lam - t.lam)) * curve(lam), s.lam, t.lam, epsabs=0, epsrel=1e-13)[0]
    exact = t.sigma / s.sigma * math.exp(eta * (s.lam - t.lam)) * x + t.alpha * integral
    np.testing.assert_allclose(found, exact, rtol=1e-12)


# ------------------------------------------------------------------------------------------------------------- transitions and paths


def response(made: Solver, grid: list[Node]) -> tuple[np.ndarray, list[tuple[Node, Node]], np.ndarray]:
    """Coefficient of x_s, the intervals of the draws and their coefficients, for the three variances V."""
    drawn = list(trace(made, grid).noises)
    row = {(a.lam, b.lam): i + 1 for i, (a, b) in enumerate(drawn)}
    x = np.zeros((1 + len(drawn), len(V)))
    x[0] = 1.0

    def noise(s: Node, t: Node) -> Array:
        unit = np.zeros_like(x)
        unit[row[s.lam, t.lam]] = 1.0
        return unit

    out = sample(made, lambda y, n: n.alpha * V / (n.alpha**2 * V + n.sigma**2) * y, x, grid, noise=noise, terminal="none")
    return out[0], drawn, out[1:]


def errors(made: Solver, grid: list[Node], k: float) -> tuple[float, float, float]:
    """RMS strong error from the true marginal, and the errors of mean and variance of the transition, for noise of relative variance k."""
    mean, drawn, rows = response(made, grid)
    s, t = grid[0], grid[-1]

    def propagator(tau: Any) -> Any:
        return ((t.rho**2 + V) / (tau + V)) ** (0.5 + 0.5 * k)

    exact = t.alpha / s.alpha * propagator(s.rho**2)
    before, after = s.alpha**2 * V + s.sigma**2, t.alpha**2 * V + t.sigma**2
    path = (mean - exact) ** 2 * before
    for (a, b), row in zip(drawn, rows, strict=True):
        length = -(a.rho**2) * math.expm1(2.0 * (a.lam - b.lam))
        tau = b.rho**2 + 0.5 * length * (1.0 + POINTS[:, None])
        path = path + 0.5 * length * (WEIGHTS[:, None] * (math.sqrt(k) * t.alpha * propagator(tau) - row / math.sqrt(length)) ** 2).sum(0)
    variance = (rows**2).sum(0) - (after - exact**2 * before)
    return tuple(float(np.sqrt(np.mean(e))) for e in (path, (mean - exact) ** 2, variance**2))  # type: ignore[return-value]


def orders(made: Solver, k: float, floor: float = 1e-12) -> list[Order | None]:
    """Strong order and the orders of the transition's mean and variance; None where exact."""
    found = np.array([errors(made, jagged(VP(), n, 0.9, 0.05), k) for n in STEPS])
    return [order_of(STEPS, list(column), floor) if column[-1] > floor else None for column in found.T]


CHURNED = 5.0 / math.log(80.0 / 0.002)
PATHS = [
    # solver, k, order of the transition's mean (None: exact) and variance
    (of("ddpm"), 1.0, None, 1),
    (of("ddim_eta"), 0.25, 1, 1),
    (of("ddim_eta", eta=0.9), 0.81, 1, 1),
    (of("euler_ancestral"), 1.0, None, 1),
    (of("euler_maruyama"), 1.0, 1, 1),
    (of("exp_euler_maruyama"), 1.0, 1, 1),
    (of("sde_dpm_solver_2"), 1.0, 2, 2),
    (of("dpmpp_sde"), 1.0, None, 2),
    (of("dpmpp_sde", eta=0.5), 0.5, 2, 2),
    (of("dpmpp_sde", r=0.7), 1.0, None, 2),
    (of("dpmpp_3m_sde"), 1.0, None, 2),
    (of("seeds_2", r=0.7), 1.0, 2, 2),
    (of("seeds_3"), 1.0, 3, 2),
    (of("dpmpp_2s_ancestral"), 1.0, 1, None),
    (of("dpmpp_2s_ancestral", eta=0.5), 0.25, 1, 1),
    (of("churn", S_tmax=1e9), CHURNED, None, None),
]


@pytest.mark.parametrize(("made", "k", "mean", "variance"), PATHS, ids=label)
def test_paths_and_transitions(made: Solver, k: float, mean: int | None, variance: int | None) -> None:
    """Strong order 1 for all; the splittings, second order in the marginals, are first order in their transitions."""
    strong, of_mean, of_variance = orders(made, k)
    assert strong is not None
    assert strong.inside(1.0, 0.05, 0.15), strong
    if made.name.startswith(("churn", "dpmpp_2s_ancestral")):
        found = min(o.low for o in (of_mean, of_variance) if o is not None)
        assert found < 1.35, (of_mean, of_variance)
        return
    for claim, found_order in ((mean, of_mean), (variance, of_variance)):
        if claim is None:
            assert found_order is None
        else:
            assert found_order is not None
            assert found_order.inside(claim), found_order


def marginal_order(made: Solver, steps: tuple[int, ...] = STEPS) -> Order:
    found = []
    for n in steps:
        grid = karras(EDM(), n, 10.0, 0.05)
        covariance = moments(trace(made, grid), ellipsoid())[1]
        found.append(float(np.abs(covariance - ellipsoid().marginal(grid[-1]).covariance()).max()))
    return order_of(steps, found)


def test_independent_noises_for_stage_and_step_lose_the_second_order() -> None:
    @make(order=1, weak=1, strong=1, reference="a broken copy", register=False)
    def independent(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
        i = s.toward(t, 0.5)
        u = diffuse_by_denoised(x, denoise(x, s), noise(s, i), s, i)
        return diffuse_by_denoised(x, denoise(u, i), noise(i, t), s, t), None

    assert marginal_order(independent).inside(1.0)
    assert marginal_order(SOLVERS["dpmpp_sde"]).inside(2.0)


def test_published_noise_of_seeds_2_has_weak_order_one_off_the_middle() -> None:
    """The authors' code gives z_1 the part e^{2h} - e^{2ch} of the variance and z_2 the rest, which is right for c = 1/2 only."""

    @make(order=1, weak=1, strong=1, reference="a broken copy", register=False)
    def published(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, c: float = 0.7) -> tuple[Array, Any]:
        i, h = s.toward(t, c), t.lam - s.lam
        z_1, z_2 = noise(s, i), noise(i, t)
        eps = eps_of(x, denoise(x, s), s)
        u = flow_by_eps(x, 2.0 * eps, s, i) + i.sigma * math.sqrt(math.expm1(2.0 * c * h)) * z_1
        middle = eps + (0.5 / c) * (eps_of(u, denoise(u, i), i) - eps)
        fresh = math.exp(c * h) * math.sqrt(math.expm1(2.0 * (1.0 - c) * h)) * z_1 + math.sqrt(math.expm1(2.0 * c * h)) * z_2
        return flow_by_eps(x, 2.0 * middle, s, t) + t.sigma * fresh, None

    grid = jagged(VP(), 9, 0.5, 0.1)
    x = grid[0].sigma * X
    a, b = (sample(m, modes().denoised, x, grid, noise=2, terminal="none") for m in (published(c=0.5), SOLVERS["seeds_2"]))
    np.testing.assert_allclose(a, b, rtol=1e-12)
    assert marginal_order(published).inside(1.0)
    assert marginal_order(SOLVERS["seeds_2"](r=0.7)).inside(2.0)


# ------------------------------------------------------------------------------------------------------------ weak order on a mixture


def chain(made: Solver, nodes: list[Node], points: int = 350, normals: int = 5) -> float:
    """Error of E cos 2x and the first four moments after a chain from its true law; exact kernels, early draws by quadrature."""
    node, z, w = nodes[0], *np.polynomial.hermite_e.hermegauss(normals)
    w = w / w.sum()

    def points_at(node: Node) -> np.ndarray:
        scale = math.sqrt(node.alpha**2 * modes().covariance()[0, 0] + node.sigma**2)
        return node.alpha * modes().mean()[0] + scale * np.linspace(-7.5, 7.5, points)

    def density(node: Node, x: np.ndarray) -> np.ndarray:
        return np.exp(modes().log_prob(x[:, None], node))

    x = points_at(node)
    p = density(node, x)
    for s, t in pairwise(nodes):
        parts = sorted({(a.lam, b.lam) for a, b in trace(made, [s, t]).noises})

        def moved(draws: tuple[float, ...], s: Node = s, t: Node = t, x: np.ndarray = x, parts: list[Any] = parts) -> np.ndarray:
            value = dict(zip(parts, draws, strict=True))
            return made.step(modes().denoised, x[:, None], s, t, None, constants(x[:, None], value))[0][:, 0]

        y, law = points_at(t), np.zeros(points)
        for index in itertools.product(range(normals), repeat=len(parts) - 1):
            early = tuple(float(z[i]) for i in index)
            mean = moved((*early, 0.0))
            width = float((moved((*early, 1.0)) - mean).mean())
            kernel = np.exp(-0.5 * ((y[:, None] - mean) / width) ** 2) / (width * math.sqrt(2.0 * math.pi))
            law += math.prod(w[i] for i in index) * (kernel @ p) * (x[1] - x[0])
        x, p = y, law
    assert abs(p.sum() * (x[1] - x[0]) - 1.0) < 1e-8
    tests: list[Callable[[np.ndarray], np.ndarray]] = [lambda u: u, np.square, lambda u: u**3, lambda u: u**4, lambda u: np.cos(2.0 * u)]
    return math.sqrt(sum(float(f(x) @ (p - density(nodes[-1], x)) * (x[1] - x[0])) ** 2 for f in tests))


@pytest.mark.parametrize(
    ("made", "start", "claim"),
    [(of("ddim_eta"), 0.5, 1), (of("dpmpp_2s_ancestral"), 0.5, 2), (of("dpmpp_sde"), 0.5, 2), (of("seeds_2", r=0.7), 0.4, 2)],
)
def test_weak_order_on_a_mixture(made: Solver, start: float, claim: int) -> None:
    """Where the drift is not linear the second derivative of D meets the noise of the stage."""
    steps = (8, 16, 32)
    found = order_of(steps, [chain(made, jagged(VP(), n, start, 0.2)) for n in steps])
    assert found.inside(claim, 0.2, 0.35), found


# ---------------------------------------------------------------------------------------------------------------------------- churn


@pytest.mark.parametrize("grid", [uniform_lam(EDM(), 64), karras(EDM(), 300)], ids=["uniform_lam", "karras"])
def test_churn_adds_up_on_any_grid_of_the_papers_range(grid: list[Node]) -> None:
    nodes = trace(SOLVERS["churn"](S_churn=3.0, S_tmax=1e9), grid).nodes[::2]
    gammas = [hat.rho / s.rho - 1.0 for hat, s in zip(nodes, grid[:-1], strict=True)]
    assert gammas[0] == pytest.approx(0.0, abs=1e-12)  # nothing above the schedule
    assert math.fsum(gammas[1:]) == pytest.approx(3.0 * (grid[1].lam - grid[-1].lam) / (grid[0].lam - grid[-1].lam), rel=1e-9)


def test_churn_keeps_to_its_window_its_cap_and_the_schedule() -> None:
    grid = uniform_lam(VP(), 10)
    plan = trace(SOLVERS["churn"](S_churn=1e3, S_tmin=0.3, S_tmax=4.0), grid)
    assert all(-math.log(4.0) - 1e-12 <= a.lam < b.lam <= -math.log(0.3) + 1e-12 for a, b in plan.noises)
    ratios = [hat.rho / s.rho for hat, s in zip(plan.nodes[::2], grid[:-1], strict=True)]
    assert max(ratios) == pytest.approx(math.sqrt(2.0), rel=1e-12)
    for schedule in (VP(), VE(), SubVP()):
        everywhere = trace(SOLVERS["churn"](S_churn=1e3, S_tmax=1e9), uniform_lam(schedule, 10))
        assert min(node.lam for node in everywhere.nodes) >= schedule.node(schedule.t_max).lam


def test_extra_noise_of_churn_does_not_converge() -> None:
    assert marginal_order(SOLVERS["churn"](S_noise=1.003)).slope < 0.3
    assert marginal_order(SOLVERS["churn"]).inside(2.0)


def test_strong_order_agrees_with_the_exact_solution_and_sees_a_broken_path() -> None:
    """X_n against X_2n shrinks as X_n against the exact solution; noise of the wrong part of the step halves the order."""

    @make(order=1, weak=1, strong=1, reference="a broken copy", register=False)
    def swapped(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
        i = s.toward(t, 0.5)
        xi = math.sqrt(0.5) * noise(s, i) - math.sqrt(0.5) * noise(i, t)
        return diffuse_by_denoised(x, denoise(x, s), xi, s, t), None

    with pytest.raises(Broken, match="strong order"):
        strong_order.check(swapped)
    pairs = order_of((32, 64), path_errors(SOLVERS["seeds_3"], (32, 64)))
    exact = order_of((32, 64), [errors(SOLVERS["seeds_3"], jagged(VP(), n, 0.9, 0.05), 1.0)[0] for n in (32, 64)])
    assert pairs.slope == pytest.approx(exact.slope, abs=0.1)


# --------------------------------------------------------------------------------------------------------------------- clear refusals


def test_methods_of_t_ask_for_a_schedule() -> None:
    s, t = Node(0.5, 0.8, 0.6, math.log(0.8 / 0.6)), Node(0.4, 0.9, 0.4, math.log(0.9 / 0.4))
    for name in ("euler_maruyama", "exp_euler_maruyama", "seeds_2", "dpmpp_sde", "churn"):
        with pytest.raises(ValueError, match=r"schedule|process=None"):
            SOLVERS[name].step(modes().denoised, X, s, t, None, still(X))


def test_more_noise_than_there_is_becomes_all_of_it() -> None:
    """eta > 1 on a long step: rho_down = 0, x_t = alpha_t D + sigma_t xi for all three ancestral forms."""
    schedule: Schedule = VP()
    s, t = schedule.node(0.9), schedule.node(0.3)
    exact = t.alpha * modes().denoised(X, s) + t.sigma * np.ones_like(X)
    for name in ("ddim_eta", "euler_ancestral", "dpmpp_2s_ancestral"):
        found, _ = SOLVERS[name](eta=1.5).step(modes().denoised, X, s, t, None, lambda a, b: np.ones_like(X))
        np.testing.assert_allclose(found, exact, rtol=1e-9, err_msg=name)
