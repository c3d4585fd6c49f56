"""Processes of papers as instances of the linear ones, each by the identity that shows it; and the Gaussian Schrödinger bridge."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import sympy

from scorebed.analytic import GaussianMixture
from scorebed.analytic.output.moments import moments
from scorebed.analytic.process import LinearLaw, PhaseLaw, PinnedBridge
from scorebed.analytic.process.schrodinger import coupling, fitting, rate, schrodinger_bridge
from scorebed.solvers import SOLVERS, VE, VP, Node, RectifiedFlow, grid, sample, trace
from scorebed.solvers.methods.centred import MeanReverting, ResidualShift, about
from scorebed.solvers.process.bridge import I2SB, BrownianBridge, DiffusionBridge, Interpolant, Relay, Restoration
from scorebed.solvers.process.consecutive import Consecutive
from scorebed.solvers.process.frames import Field, Levels, Rolling
from scorebed.solvers.process.langevin import CLD
from scorebed.solvers.process.momentum_bridge import MomentumBridge
from scorebed.solvers.process.particles import Particles
from scorebed.solvers.process.recipe import Recipe, from_recipe, psld, third_order
from scorebed.toy.measure.friction import forgetting, friction_errors
from scorebed.toy.problems.linear import LinearProblem
from scorebed.toy.problems.uneven import jagged
from scorebed.toy.properties.cases import modes

PIN = np.array([0.7])
X = 0.2 + 0.4 * np.random.default_rng(0).standard_normal((6, 1))


def scalar(process: Any, t: float) -> Node:
    """a and γ of a bridge as the node of a schedule for x − b x1."""
    ((a, _),), ((spread,),) = process.forward(process.node(t))
    return Node(t, a, math.sqrt(spread), math.log(a) - 0.5 * math.log(spread))


@pytest.mark.parametrize("process", [DiffusionBridge(VP()), BrownianBridge(), I2SB(), Interpolant("trigonometric")], ids=repr)
@pytest.mark.parametrize("name", ["dbim_1", "dbim_2"])
def test_dbim_is_ddim_or_its_multistep_in_centred_variables(name: str, process: Any) -> None:
    """x − b x1 = a x0 + γ ε is a schedule's diffusion: DBIM-1 is DDIM there, DBIM-2 exponential Adams in λ."""
    law: Any = PinnedBridge(modes(), PIN, process)
    times = [0.9, 0.7, 0.45, 0.3, 0.1]
    nodes = [process.node(t) for t in times]
    shift = [process.forward(node)[0][0][1] * PIN for node in nodes]
    found = sample(SOLVERS[name], law.denoised, X, nodes, terminal="none")
    plain = [scalar(process, t) for t in times]

    def denoise(y: np.ndarray, node: Node) -> Any:
        i = times.index(node.t)
        return law.denoised(y + shift[i], nodes[i])[0]

    other = "ddim" if name == "dbim_1" else "exp_adams_2"
    if other == "ddim":
        np.testing.assert_allclose(found, sample(SOLVERS[other], denoise, X - shift[0], plain, terminal="none") + shift[-1], atol=1e-12)
        return
    y, past = X - shift[0], None
    for i, (s, t) in enumerate(pairwise(plain)):
        m, h = denoise(y, s), t.lam - s.lam
        slope = 0.0 if past is None else (m - past) / (s.lam - plain[i - 1].lam)
        inner = -math.expm1(-h)  # φ: D the line through the last two, integrated against e^λ
        y, past = t.sigma / s.sigma * y + t.alpha * (inner * m + (h - inner) * slope), m
    np.testing.assert_allclose(found, y + shift[-1], atol=1e-10)


@pytest.mark.parametrize("schedule", [VP(), VE(0.1, 3.0)], ids=repr)
def test_dbmsolver_is_its_closed_form(schedule: Any) -> None:
    """With SNR = α²/σ² and u = sqrt(SNR/SNR_T − 1): the printed coefficients of the first order, and the arctangents of the second."""
    process = DiffusionBridge(schedule)
    law: Any = PinnedBridge(modes(), PIN, process)
    nodes = [process.node(t) for t in (0.9, 0.5, 0.2)]
    found = sample(SOLVERS["dbmsolver_2"], law.denoised, X, nodes, terminal="none")
    first = sample(SOLVERS["dbmsolver_1"], law.denoised, X, nodes, terminal="none")
    end = schedule.node(1.0)

    def facts(node: Any) -> tuple[float, float, float, float]:
        one = schedule.node(node.t)
        ratio = math.exp(2.0 * (one.lam - end.lam))
        return one.alpha, one.lam, ratio, math.sqrt(ratio - 1.0)

    def plain(x: np.ndarray, m: np.ndarray, s: Any, t: Any) -> np.ndarray:
        (a, _, ratio, u), (a_t, _, ratio_t, u_t) = facts(s), facts(t)
        pull = a_t * (1.0 - 1.0 / ratio_t) * (1.0 - u / u_t)
        away = a_t / end.alpha / ratio_t * (1.0 - u_t / u)
        return np.asarray(a_t / a * ratio / ratio_t * u_t / u * x + pull * m + away * PIN)

    x = y = X
    for s, t in pairwise(nodes):
        m, i = law.denoised(x, s)[0], process.node(0.5 * (s.t + t.t))
        slope = (law.denoised(plain(x, m, s, i), i)[0] - m) / (facts(i)[1] - facts(s)[1])
        (_, lam, _, u), (a_t, lam_t, ratio_t, u_t) = facts(s), facts(t)
        turn = lam_t - lam - 1.0 + u / u_t + (math.atan(u_t) - math.atan(u)) / u_t
        x = plain(x, m, s, t) + a_t * (1.0 - 1.0 / ratio_t) * turn * slope
        y = plain(y, law.denoised(y, s)[0], s, t)
    np.testing.assert_allclose(found, x, rtol=1e-11)
    np.testing.assert_allclose(first, y, rtol=1e-11)


def test_dbmsolver_leaves_the_pin_by_the_exponential_step_of_the_reverse_sde() -> None:
    """x = (σ_t/σ_T) e^{−h} x_T + α_t (1 − e^{−2h}) D + σ_t sqrt(1 − e^{−2h}) ξ,  h = log(α_t/σ_t) − log(α_T/σ_T)."""
    process = DiffusionBridge(VP())
    law: Any = PinnedBridge(modes(), PIN, process)
    s, t = process.node(1.0), process.node(0.6)
    end, one = VP().node(1.0), VP().node(0.6)
    h, x, xi = one.lam - end.lam, np.tile(PIN, (3, 1)), np.array([[0.3], [-1.0], [2.0]])
    expected = one.sigma / end.sigma * math.exp(-h) * x - one.alpha * math.expm1(-2.0 * h) * law.denoised(x, s)[0]
    found = sample(SOLVERS["dbmsolver_1"], law.denoised, x, [s, t], noise=lambda a, b: xi, terminal="none")
    np.testing.assert_allclose(found, expected + one.sigma * math.sqrt(-math.expm1(-2.0 * h)) * xi, rtol=1e-12)


def test_from_the_pin_a_first_step_of_order_one_leaves_order_one() -> None:
    """What a step of length h from the pin leaves of its covariance's h² grows as 1/h along the flow; of dbmsolver_2's h³ little."""
    law = PinnedBridge(GaussianMixture([1.0], [[0.5]], 0.3), [2.0], BrownianBridge())

    def off(name: str, n: int) -> float:
        nodes = grid.uniform(BrownianBridge(), n, 1.0, 0.05)
        return abs(float((moments(trace(SOLVERS[name], nodes), law)[1] - law.marginal(nodes[-1]).covariance())[0, 0]))

    assert math.log2(off("dbim_2", 200) / off("dbim_2", 400)) == pytest.approx(1.0, abs=0.1)
    assert off("dbmsolver_2", 200) < 0.02 * off("dbim_2", 200)


def test_one_normal_for_stage_and_step_gains_dbmsolver_no_order_off_the_pin() -> None:
    """x1 = s_t x + α_t (1 − e^{−2h}) (D + (D_i − D)/2r) + noise, r = ½: the variance errs by h² as without a stage; by h³ on one path."""
    process, end = DiffusionBridge(VP()), VP().node(1.0)
    law = PinnedBridge(GaussianMixture([1.0], [[0.5]], 0.3), [2.0], process)

    def off(h: float) -> list[float]:
        """Of the first-order step, of the second-order one with one normal, and with the normals of one Brownian path."""
        i, t = VP().at_lam(end.lam + 0.5 * h), VP().at_lam(end.lam + h)
        spread, inner = t.sigma * math.sqrt(-math.expm1(-2.0 * h)), i.sigma * math.sqrt(-math.expm1(-h))
        slope = -t.alpha * math.expm1(-2.0 * h) * float(law.affine(process.node(i.t))[0][0, 0]) * inner  # of x1 in the stage's normal
        kept = t.sigma / i.sigma * math.exp(-0.5 * h) * inner
        exact = float(law.marginal(process.node(t.t)).covariance()[0, 0])
        path = (kept + slope) ** 2 + t.sigma**2 * -math.expm1(-h)
        return [abs(v - exact) for v in (spread**2, (spread + slope) ** 2, path)]

    slopes = [math.log2(a / b) for a, b in zip(off(0.1), off(0.05), strict=True)]
    assert slopes == pytest.approx([2.0, 2.0, 3.0], abs=0.1)


def test_with_no_stops_consecutive_bridges_are_one() -> None:
    one, many = BrownianBridge(1.3), Consecutive(1.3, ())
    for eta in (0.0, 0.7, 1.0):
        for a, b in zip(one.node(0.8).to(one.node(0.2), eta), many.node(0.8).to(many.node(0.2), eta), strict=True):
            np.testing.assert_array_equal(a, b)


def test_consecutive_bridges_pass_through_their_stops_and_forget_there() -> None:
    """Marginals at the stops; a step across one is the steps to it and from it; DDPM carries the law whether it stops there or not."""
    process = Consecutive(0.8, (0.3, 0.6))
    law = LinearLaw(process, [1.0], [[0.4, -1.0, 0.5, 2.0]], np.diag([0.2, 0.3, 0.1, 0.0])[None])
    for j, t in enumerate((0.0, 0.3, 0.6, 1.0)):
        (row,), ((spread,),) = process.forward(process.node(t))
        assert spread == 0.0
        np.testing.assert_array_equal(row, np.eye(4)[j])
    (row,), ((spread,),) = process.forward(process.node(0.45))
    assert (row, spread) == (pytest.approx((0.0, 0.5, 0.5, 0.0)), pytest.approx(0.64 * 0.3 / 4.0))
    s, stop, t = (process.node(u) for u in (0.7, 0.6, 0.2))
    (a1, b1, c1), (a2, b2, c2) = (tuple(np.array(m) for m in step) for step in (s.to(stop, 1.0), stop.to(t, 1.0)))
    a, b, c = (np.array(m) for m in s.to(t, 1.0))
    np.testing.assert_allclose([a2 @ a1, a2 @ c1], [a, 0.0 * c])
    np.testing.assert_allclose(a2 @ b1 + b2 - b, [[0.0, 0.0, 0.0, 0.0]], atol=1e-15)
    assert c2 @ c2.T == pytest.approx(c @ c.T)
    for times in ([1.0, 0.8, 0.6, 0.4, 0.3, 0.1], [1.0, 0.8, 0.5, 0.1]):  # each stretch pinned at its stop, where nothing is left of before
        point = LinearLaw(process, [1.0], law.means, np.zeros((1, 4, 4)))
        mean, covariance = moments(trace(SOLVERS["ddpm"], [process.node(u) for u in times]), point)
        end = point.marginal(process.node(0.1))
        np.testing.assert_allclose(mean, end.mean(), rtol=1e-12)
        np.testing.assert_allclose(covariance, end.covariance(), rtol=1e-12)
    for eta in (0.0, 0.5):
        with pytest.raises(ValueError, match=r"across a stop: stop there, or use eta = 1"):
            s.to(t, eta)
    with pytest.raises(ValueError, match=r"stops = \(0.7, 0.3\) must rise between 0 and 1"):
        Consecutive(1.0, (0.7, 0.3))


def test_every_bridge_of_the_chain_is_sampled_by_every_sampler_of_bridges() -> None:
    """From the far point through the middle one: DBIM, DBMSolver and DDPM, each against the law of the frame between."""
    process = Consecutive(0.5, (0.5,))
    law = LinearLaw(process, [1.0], [[0.2, -0.4, 1.1]], np.diag([0.25, 0.0, 0.0])[None])
    nodes = [process.node(t) for t in (1.0, 0.75, *np.linspace(0.5, 0.02, 200))]
    for name in ("ddpm", "dbim_2", "dbmsolver_2", "gddim"):
        mean, covariance = moments(trace(SOLVERS[name], nodes), law)
        end = law.marginal(nodes[-1])
        np.testing.assert_allclose(mean, end.mean(), atol=2e-3)
        np.testing.assert_allclose(covariance, end.covariance(), rtol=3e-2)


def test_a_relay_is_the_schedules_diffusion_of_what_moves_from_one_end_to_the_other() -> None:
    """x_t = α ((1 − η) x0 + η x1) + σ ε; the flow keeps ε as DDIM does; it begins at N(α x1, σ²), where x0 has no share."""
    process = Relay(VP(), t_max=0.6)
    s, t = process.node(0.6), process.node(0.2)
    one, two = VP().node(0.6), VP().node(0.2)
    (row,), ((spread,),) = process.forward(t)
    assert (*row, spread) == pytest.approx((two.alpha * 2.0 / 3.0, two.alpha / 3.0, two.sigma**2))
    assert process.forward(s)[0][0] == (0.0, one.alpha)
    (a,), (b,), (c,) = s.to(t)
    kept = two.sigma / one.sigma
    assert (a[0], *b, c[0]) == pytest.approx((kept, two.alpha * 2.0 / 3.0, two.alpha / 3.0 - kept * one.alpha, 0.0))
    law = LinearLaw(process, [1.0], [[0.5, 0.55]], [[[0.6, 0.42], [0.42, 0.344]]])
    for name, claim in (("ddim", 1.0), ("ddpm", 1.0), ("dbim_2", 2.0), ("dbmsolver_2", 2.0), ("heun_t", 2.0)):
        errors = []
        for n in (150, 300):
            nodes = grid.uniform(process, n, 0.6, 0.01)
            covariance = moments(trace(SOLVERS[name], nodes), law)[1]
            errors.append(abs(float((covariance - law.marginal(nodes[-1]).covariance())[0, 0])))
        assert math.log2(errors[0] / errors[1]) == pytest.approx(claim, abs=0.2), name


@pytest.mark.parametrize("schedule", [MeanReverting(0.5), ResidualShift(1.0)], ids=["IR-SDE", "ResShift, RDDM"])
def test_restorations_are_diffusions_about_the_degraded_input(schedule: Any) -> None:
    process = Restoration(schedule)
    law: Any = PinnedBridge(modes(), PIN, process)
    two, plain = (grid.uniform(p, 6, 0.9 * p.t_max, 0.1) for p in (process, schedule))

    def denoise(y: np.ndarray, node: Any) -> Any:
        return law.denoised(y, process.node(node.t))[0]

    def noise(s: Any, t: Any) -> np.ndarray:
        return np.random.default_rng(round(1e6 * t.t)).standard_normal(X.shape)

    for name in ("ddim", "ddpm", "euler_maruyama", "rk4_t"):
        one = sample(SOLVERS[name], law.denoised, X, two, noise=noise, terminal="none")
        other = sample(about(SOLVERS[name], PIN), denoise, X, plain, noise=noise, terminal="none")
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)


def test_posteriors_are_those_that_papers_print() -> None:
    """BBDM, eq. 12-13; I2SB, eq. 11; ResShift, eq. 8: means and variances of x_t given x_s, x0 and x1."""
    bridge = BrownianBridge(math.sqrt(2.0))
    s, t = 0.7, 0.4
    (a,), (b,), (c,) = bridge.node(s).to(bridge.node(t), 1.0)
    delta_s, delta_t = 2.0 * (s - s * s), 2.0 * (t - t * t)
    step = delta_s - delta_t * ((1.0 - s) / (1.0 - t)) ** 2
    assert a[0] == pytest.approx(delta_t / delta_s * (1.0 - s) / (1.0 - t), rel=1e-13)
    assert b[0] == pytest.approx((1.0 - t) * step / delta_s, rel=1e-13)
    assert c[0] ** 2 == pytest.approx(step * delta_t / delta_s, rel=1e-13)
    i2sb = I2SB()
    (a,), (b,), (c,) = i2sb.node(s).to(i2sb.node(t), 1.0)
    var_s, var_t = (i2sb.shares(u).q for u in (s, t))
    assert (a[0], b[0], b[1]) == pytest.approx((var_t / var_s, 1.0 - var_t / var_s, 0.0), abs=1e-13)
    assert c[0] ** 2 == pytest.approx(var_t * (var_s - var_t) / var_s, rel=1e-13)


def test_cld_is_psld_without_friction_on_x_and_both_are_recipes() -> None:
    cld = CLD(beta=4.0, mass=0.25)
    for other in (
        psld(0.0, 4.0, 8.0),
        from_recipe(((0.0, 0.0), (0.0, 4.0)), ((0.0, -4.0), (4.0, 0.0)), ((1.0, 0.0), (0.0, 0.25)), gamma=(0.01,)),
    ):
        s, t = (other.node(u) for u in (0.6, 0.2))
        for eta in (0.0, 1.0):
            for one, two in zip(other.transfer(s, t, eta), cld.transfer(cld.node(0.6), cld.node(0.2), eta), strict=True):
                np.testing.assert_allclose(one, two, atol=1e-11)


def test_every_recipe_is_stationary_symbolically() -> None:
    """F S + S Fᵀ + 2 D = 0 with F = −(D + Q) S^{-1}, for symbols; and not where a term of F is left out."""
    d = sympy.Matrix(2, 2, sympy.symbols("a b b c"))
    q = sympy.Matrix([[0, sympy.Symbol("q")], [-sympy.Symbol("q"), 0]])
    s = sympy.Matrix([[1, sympy.Symbol("r")], [sympy.Symbol("r"), sympy.Symbol("m")]])
    f = -(d + q) * s.inv()
    assert sympy.simplify(f * s + s * f.T + 2 * d) == sympy.zeros(2, 2)
    for broken in (-d * s.inv() * sympy.Rational(1, 2), -(d + q)):
        assert sympy.simplify(broken * s + s * broken.T + 2 * d) != sympy.zeros(2, 2)
    gamma, nu, beta, m = sympy.symbols("Gamma nu beta M", positive=True)
    f = beta / 2 * sympy.Matrix([[-gamma, 1 / m], [-1, -nu]])
    spread, noise = sympy.diag(1, m), beta * sympy.diag(gamma, m * nu)
    assert sympy.simplify(f * spread + spread * f.T + noise) == sympy.zeros(2, 2)


def test_third_order_dynamics_and_particles_are_stationary_symbolically() -> None:
    """F S + S Fᵀ + G Gᵀ = 0 in the symbols of their coefficients, read off their own matrices; not without the coupling's other half."""
    c, x, a, b, g = sympy.symbols("c xi a b g", positive=True)
    force = sympy.Matrix([[0, 1, 0], [-1, 0, c], [0, -c, -x]])
    noise = sympy.diag(0, 0, 2 * x)
    made = third_order(1.0, 1.3, 2.7)
    np.testing.assert_allclose(np.array(force.subs({c: 1.3, x: 2.7}), dtype=float), made.force)
    np.testing.assert_allclose(np.array(noise.subs({c: 1.3, x: 2.7}), dtype=float), made.diffusion)
    assert force + force.T + noise == sympy.zeros(3, 3)
    broken = sympy.Matrix([[0, 1, 0], [-1, 0, c], [0, 0, -x]])
    assert broken + broken.T + noise != sympy.zeros(3, 3)
    ones, n = sympy.ones(3, 3) / 3, sympy.eye(3)
    force, spread = -(a + b) * n + b * ones, g**2 / (2 * a) * ones + g**2 / (2 * (a + b)) * (n - ones)
    assert sympy.simplify(force * spread + spread * force.T + g**2 * n) == sympy.zeros(3, 3)
    particles = Particles(3, 0.8, 1.3, 0.7)
    f, _, noises = (np.array(m) for m in particles.noising(particles.node(1.0)))
    np.testing.assert_allclose(f, np.array(force.subs({a: 0.8, b: 1.3}), dtype=float), atol=1e-12)
    np.testing.assert_allclose(noises @ noises.T, 0.49 * np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in ("MuLAN", "rolling", "function space") for name in ("ddim", "ddpm")]
    + [("MuLAN", "exp_adams_2"), ("rolling", "heun_t"), ("function space", "heun_t"), ("function space", "exp_adams_2")],
)  # exp_adams_2 where the frames' λ run alike, heun_t where their times do
def test_levels_of_their_own_are_the_schedule_frame_by_frame(kind: str, name: str) -> None:
    """On frames that know nothing of each other: each is sampled as on its own nodes of the schedule, α(τ_k) and σ(τ_k), to round-off; and
    noise of covariance K is white noise in whitened frames."""
    schedule: Any = VP() if kind != "rolling" else RectifiedFlow(1e-3, 0.99)
    process: Any = {
        "MuLAN": Levels(schedule, (0.6, 0.0, -0.4)),
        "rolling": Rolling(schedule, 3, 0.1),
        "function space": Field(schedule, ((2.0, 0.5), (0.5, 1.0))),
    }[kind]
    count, white = process.frames, np.eye(process.frames)
    if kind == "function space":
        white = np.linalg.inv(np.linalg.cholesky(np.array(process.kernel)))
    unwhite, base = np.linalg.inv(white), [GaussianMixture([1.0], [[0.3 * k - 0.2]], 0.2 + 0.3 * k) for k in range(count)]
    means, spread = unwhite @ [float(b.mean()[0]) for b in base], np.diag([0.2 + 0.3 * k for k in range(count)])
    law = LinearLaw(process, [1.0], means[None], (unwhite @ spread @ unwhite.T)[None])
    high, low = (0.7, 0.3) if kind == "rolling" else (0.8, 0.05)
    nodes = grid.uniform_lam(process, 5, high, low) if kind != "rolling" else grid.uniform(process, 5, high, low)
    z = law.sample(3, 0, nodes[0])
    normals = np.random.default_rng(1).standard_normal((len(nodes), count, 3, 1))

    def run(model: Any, x: Any, path: Any, draw: Any) -> Any:
        rows = {node.t: i for i, node in enumerate(path)}
        return sample(SOLVERS[name], model, x, path, noise=lambda s, t: draw(normals[rows[s.t]]), terminal="none")

    whitened, start = (
        np.einsum("ij,jnd->ind", white, np.stack(states)) for states in (run(law.denoised, z, nodes, lambda row: tuple(row)), z)
    )
    for k in range(count):
        own = [process.place(node.t)[k] for node in nodes]
        alone = run(base[k].denoised, start[k], own, lambda row, k=k: row[k])
        np.testing.assert_allclose(whitened[k], alone, rtol=1e-9, atol=1e-10)


def test_a_frame_of_a_pyramid_waits_until_its_time() -> None:
    """With a large lag the last frame stands at pure noise while the first is made, and the first is done while the last is."""
    process = Rolling(RectifiedFlow(1e-3, 0.99), 3, 5.0)
    early, late = process.node(0.9 * process.t_max), process.node(0.1 * process.t_max)
    assert process.place(early.t)[-1].t == process.t_max
    assert process.place(late.t)[0].t == process.t_min
    a, b, c = early.to(process.node(0.88), 1.0)
    assert (a[2][2], b[2][2], c[2][2]) == (1.0, 0.0, 0.0)


def test_what_touches_alpha_and_sigma_nowhere_is_on_every_linear_process() -> None:
    """No method of schedules alone runs in phase space: each asks a node for what is not there."""
    nodes, tried = grid.uniform(CLD(), 5, 0.9, 0.1), 0
    for solver in SOLVERS.values():
        if solver.on == ("gaussian",) and solver.takes == "denoised" and solver.nonlinear is None:
            with pytest.raises((AttributeError, TypeError, ValueError)):
                trace(replace(solver, on=("phase",), start=None, starts=0), nodes)
            tried += 1
    assert tried > 50


def test_pinned_accelerations_are_those_of_the_cheapest_control() -> None:
    process = MomentumBridge(g=1.5)
    node = process.node(0.4)
    p, q, g = (np.array(m) for m in process.rates(node))
    np.testing.assert_allclose(p[1], np.array([6.0 / 0.16, 4.0 / 0.4]), rtol=1e-10)  # dt is minus the time of the control
    np.testing.assert_allclose(q[1], np.array([-6.0 / 0.16, 2.0 / 0.4]), rtol=1e-9)
    np.testing.assert_allclose(p[0], [0.0, -1.0], atol=1e-9)
    assert g[1, 1] == pytest.approx(1.5)
    law = LinearLaw(process, [1.0], [[0.5, -0.2]], [[[0.3, 0.05], [0.05, 0.2]]])
    nodes = grid.uniform_lam(process, 300)
    mean, covariance = moments(trace(SOLVERS["ddpm"], nodes), law)
    end = law.marginal(nodes[-1])
    np.testing.assert_allclose(mean, end.mean(), atol=1e-2)
    np.testing.assert_allclose(covariance, end.covariance(), atol=2e-2)


# Schrödinger bridges

A, B = np.array([[1.0, 0.3], [0.3, 0.5]]), np.array([[0.6, -0.2], [-0.2, 0.9]])


def test_fitting_goes_to_the_closed_form_at_its_rate() -> None:
    exact, found = coupling(A, B, 0.5), fitting(A, B, 0.5, 40)
    np.testing.assert_allclose(found[-1], exact, atol=1e-12)
    errors = [np.abs(c - exact).max() for c in found]
    assert errors[6] / errors[5] == pytest.approx(rate(A, B, 0.5), rel=0.02)
    assert rate(A, B, 0.1) > rate(A, B, 1.0), "less noise, slower"


def test_its_ends_are_the_marginals_and_without_noise_it_is_optimal_transport() -> None:
    law = schrodinger_bridge(([0.2, 0.0], A), ([1.0, -1.0], B), 0.3)
    process = law.process
    for t, mean, spread in ((0.0, [0.2, 0.0], A), (1.0, [1.0, -1.0], B)):
        marginal = law.marginal(process.node(t))
        np.testing.assert_allclose(marginal.mean(), mean, atol=1e-12)
        np.testing.assert_allclose(marginal.covariance(), spread, atol=1e-12)
    c, values = coupling(A, B, 1e-6), np.linalg.eigvals(A @ B).real
    assert np.trace(c) == pytest.approx(np.sqrt(values).sum(), abs=1e-5)  # tr Cov of the optimal map: tr (A^{1/2} B A^{1/2})^{1/2}


def test_ddpm_carries_one_end_to_the_other() -> None:
    law = schrodinger_bridge(([0.2, 0.0], A), ([1.0, -1.0], B), 0.4)
    nodes = grid.uniform(law.process, 400, 1.0, 1e-3)
    mean, covariance = moments(trace(SOLVERS["ddpm"], nodes), law)
    np.testing.assert_allclose(mean, [0.2, 0.0], atol=5e-3)
    np.testing.assert_allclose(covariance, A, atol=1e-2)


def test_the_best_friction_depends_on_the_spectrum() -> None:
    """Critical damping forgets fastest; in runs of 20 steps wide data wants it, narrow data less friction, and a mixed spectrum between."""
    frictions = (0.5, 1.0, 2.0, 4.0)
    assert [forgetting(f) for f in frictions] == pytest.approx([0.25, 0.5, 1.0, 2.0 - math.sqrt(3.0)], abs=1e-7)
    wide, narrow, both = (frictions[int(friction_errors(v, frictions).argmin())] for v in ([4.0], [0.05], [4.0, 1.0, 0.25, 0.05]))
    assert (wide, narrow, both) == (2.0, 0.5, 1.0)


def test_what_is_no_bridge_is_refused() -> None:
    for refused, message in (
        (lambda: coupling(A, -B, 0.5), "must be covariances of one size"),
        (lambda: coupling(A, B, 0.0), "epsilon = 0.0 must be positive"),
        (lambda: MomentumBridge(begin=((1.0, 2.0), (2.0, 1.0))), "must be a covariance of x and v"),
        (lambda: Recipe(((-1.0,),), ((-2.0,),)), "positive semi-definite"),
        (lambda: Recipe(((-1.0, 0.0),), ((2.0,),)), "must be finite square matrices"),
        (lambda: from_recipe(((1.0,),), ((1.0,),)), "must be antisymmetric"),
        (lambda: Interpolant("cubic"), "path = 'cubic' must be one of"),  # type: ignore[arg-type]
        (lambda: Recipe(((1.0,),), ((2.0,),)).stationary, "forgets nothing"),
    ):
        with pytest.raises(ValueError, match=message):
            refused()


def test_the_hybrid_of_bridges_has_no_order_one_from_the_pin() -> None:
    """Its share of the flow is singular there: what the first steps do wrong is forgotten only by its share of the noise."""
    law = PinnedBridge(GaussianMixture([1.0], [[0.5]], [0.3]), [2.0], BrownianBridge())

    def slope(start: float) -> float:
        errors = []
        for n in (256, 512):
            nodes = grid.uniform(BrownianBridge(), n, start, 0.05)
            _, covariance = moments(trace(SOLVERS["ddbm_hybrid"], nodes), law)
            errors.append(abs(float(covariance[0, 0] - law.marginal(nodes[-1]).covariance()[0, 0])))
        return math.log2(errors[0] / errors[1])

    assert slope(1.0) < 0.5
    assert slope(0.9) == pytest.approx(1.0, abs=0.1)


def palindrome(gamma: float, variance: float) -> LinearProblem:
    """N(0.7, variance) with velocities of variance gamma M."""
    process = CLD(gamma=gamma)
    data = GaussianMixture([1.0], [[0.7]], variance)
    return LinearProblem(name="one", make=lambda: PhaseLaw(data, process), process=process, grid=jagged, start=0.9, end=0.1)


def test_palindromes_are_of_order_two_where_the_force_on_v_is_free_of_v() -> None:
    """With b = ∂B/∂v two half steps of Euler give (1 + hb/2)² for e^{hb}, h²b²/4 too little; b = 0 where Cov(v | x) = M, as in the end."""
    b, h, v, m = sympy.symbols("b h v M", positive=True)
    assert sympy.series(sympy.exp(h * b) - (1 + h * b / 2) ** 2, h, 0, 3).removeO() == h**2 * b**2 / 4
    gamma = sympy.Symbol("Gamma", positive=True)  # backwards in time B = −F z + G Gᵀ (s + ½ S⁻¹ z) in v, with F_vv = −Γ/M, G Gᵀ = 2Γ
    assert sympy.solve(gamma / m + 2 * gamma * (-1 / v + 1 / (2 * m)), v) == [m]
    still, moving = palindrome(1.0, 1.0), palindrome(1.0, 0.3)
    for name in ("baoab", "nvv", "rvv"):
        for problem, n, order in ((still, 50, 2.0), (moving, 200, 1.0)):
            errors = [problem.law_error(SOLVERS[name], problem.nodes(k)).error for k in (n, 2 * n)]
            assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15), name
