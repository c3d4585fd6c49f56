"""Linear processes and their laws: transfers against an integration of the rates, models against the posterior, flows against the rates."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from scorebed.analytic import GaussianMixture
from scorebed.analytic.process import Joint, LinearLaw, PhaseLaw, PinnedBridge, transition
from scorebed.solvers import EDM, SCHEDULES, SOLVERS, VE, VP, RectifiedFlow, grid, sample, trace
from scorebed.solvers.methods.centred import MeanReverting, ResidualShift
from scorebed.solvers.process.bridge import I2SB, BrownianBridge, DiffusionBridge, Interpolant, Relay, Restoration
from scorebed.solvers.process.consecutive import Consecutive
from scorebed.solvers.process.frames import Field, Levels, Rolling
from scorebed.solvers.process.langevin import CLD, covariance, motion, turning
from scorebed.solvers.process.linear import LinearProcess, Transfer
from scorebed.solvers.process.momentum_bridge import MomentumBridge
from scorebed.solvers.process.particles import Particles
from scorebed.solvers.process.recipe import Recipe, psld, third_order
from scorebed.solvers.state import parts
from scorebed.solvers.weights.multistep import lam_weights
from scorebed.toy.problems.linear import integrated

PROCESSES: dict[str, Any] = {
    "CLD": CLD(),
    "heavy CLD": CLD(beta=7.0, mass=2.0, gamma=1.0),
    "bridge": BrownianBridge(),
    "wide bridge": BrownianBridge(kappa=2.5),
    "PSLD": psld(),
    "third order": third_order(),
    "VP bridge": DiffusionBridge(VP()),
    "VE bridge": DiffusionBridge(VE(0.1, 3.0)),
    "I2SB": I2SB(),
    "IR-SDE": Restoration(MeanReverting()),
    "ResShift": Restoration(ResidualShift()),
    "relay": Relay(VP(), t_max=0.7),
    "consecutive": Consecutive(0.7, (0.9,)),
    "interpolant": Interpolant(spread=0.5),
    "trigonometric interpolant": Interpolant("trigonometric"),
    "levels": Levels(VP(), (0.5, -0.3)),
    "rolling": Rolling(RectifiedFlow(1e-3, 0.99), 3, 0.5),
    "field": Field(VP(), ((1.0, 0.5), (0.5, 1.0))),
    "particles": Particles(3, 0.8, 1.3),
    **{name: kind() for name, kind in SCHEDULES.items()},
}
MODES = GaussianMixture([0.3, 0.5, 0.2], [[-1.5, 0.3], [0.2, -0.4], [1.8, 1.0]], [[[0.3, 0.1], [0.1, 0.2]]] * 3)
ONE = GaussianMixture([1.0], [[0.5, -1.0]], [[[1.0, 0.3], [0.3, 0.2]]])


def laws() -> dict[str, LinearLaw]:
    bridge, cld = BrownianBridge(kappa=0.8), CLD(gamma=0.5)
    return {
        "phase": PhaseLaw(MODES, cld),
        "phase, one": PhaseLaw(ONE, cld),
        "bridge": PinnedBridge(MODES, [0.8, -0.3], bridge),
        "bridge, one": PinnedBridge(ONE, [0.8, -0.3], bridge),
    }


def ends(process: Any) -> tuple[Any, Any]:
    return process.node(0.8 * process.t_max), process.node(max(0.05 * process.t_max, process.t_min))


def dense(transfer: Transfer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b, c = (np.array(m) for m in transfer)
    return a, b, c


# transfers


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0, 2.0])
@pytest.mark.parametrize("name", list(PROCESSES))
def test_transfers_are_the_integrals_of_the_rates(name: str, eta: float) -> None:
    """dz = (P z + Q m) dt + G dW for the mean, and its covariance, by an integration that knows nothing of the transfers."""
    process: LinearProcess = PROCESSES[name]
    s, t = ends(process)
    n, m = len(process.state), np.linspace(0.7, -1.1, len(process.gives))
    z = np.linspace(1.3, 0.4, n)

    def rates(time: float, y: np.ndarray) -> np.ndarray:
        p, q, g = dense(process.rates(process.node(time), eta))  # type: ignore[attr-defined]
        mean, spread = y[:n], y[n:].reshape(n, n)
        return np.concatenate([p @ mean + q @ m, (p @ spread + spread @ p.T - g @ g.T).ravel()])

    found = solve_ivp(rates, (s.t, t.t), np.concatenate([z, np.zeros(n * n)]), method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    a, b, c = dense(s.to(t, eta))
    np.testing.assert_allclose(a @ z + b @ m, found[:n], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(c @ c.T, found[n:].reshape(n, n), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("name", list(PROCESSES))
def test_transfers_compose_and_carry_the_forward_law_along(name: str, eta: float) -> None:
    process = PROCESSES[name]
    s, t = ends(process)
    u = s.toward(t, 0.4)
    (a, b, c), (a1, b1, c1), (a2, b2, c2) = (dense(x.to(y, eta)) for x, y in ((s, t), (s, u), (u, t)))
    np.testing.assert_allclose(a2 @ a1, a, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(a2 @ b1 + b2, b, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(a2 @ c1 @ c1.T @ a2.T + c2 @ c2.T, c @ c.T, rtol=1e-9, atol=1e-12)
    (mean_s, spread_s), (mean_t, spread_t) = (tuple(np.array(m) for m in process.forward(node)) for node in (s, t))
    np.testing.assert_allclose(a @ mean_s + b, mean_t, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(a @ spread_s @ a.T + c @ c.T, spread_t, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("eta", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("name", list(PROCESSES))
def test_flow_and_sde_keep_the_marginals_and_no_term_of_theirs_can_be_left_out(name: str, eta: float) -> None:
    """dA/dt = P A + Q and dΣ/dt = P Σ + Σ Pᵀ − G Gᵀ by differences of the forward law, and so forwards in t with + G Gᵀ; without the
    score's ½ (1 + η) G Gᵀ Σ^{-1}, the noise, or m, they are not kept."""
    process = PROCESSES[name]
    node = process.node(0.5 * ends(process)[0].t)
    h = 1e-4 * node.t
    (a, spread), (up, spread_up), (down, spread_down) = (
        tuple(np.array(m) for m in process.forward(process.node(node.t + step))) for step in (0.0, h, -h)
    )
    moves, widens = (up - down) / (2.0 * h), (spread_up - spread_down) / (2.0 * h)
    (p, q, g), (f, drift, noise) = dense(process.rates(node, eta)), dense(process.noising(node))

    def off(p: np.ndarray, q: np.ndarray, fresh: np.ndarray) -> float:
        sums = ((p @ a, q, -moves), (p @ spread, spread @ p.T, fresh, -widens))
        return max(float(np.abs(sum(terms)).max() / max(np.abs(terms).max(), 1e-9)) for terms in sums)

    assert off(p, q, -g @ g.T) < 1e-6
    assert off(f, drift, noise @ noise.T) < 1e-6
    score = 0.5 * (1.0 + eta) * noise @ noise.T @ np.linalg.inv(spread)
    broken = [(p - score, q, -g @ g.T), (p, 0.9 * q, -g @ g.T), (f, drift, 0.9 * noise @ noise.T)]
    for without in [*broken, (p, q, 0.0 * g)] if eta else broken:
        assert off(*without) > 1e-3


@pytest.mark.parametrize("name", [name for name in PROCESSES if name != "rolling"])  # whose speed jumps
def test_weights_integrate_polynomials_of_the_clock(name: str) -> None:
    """Σ_j W_j q(clock_j) is ∫ K q for q of degree 1, by many small steps with q frozen at their middles (Richardson's third power)."""
    process = PROCESSES[name]
    first, last = ends(process)
    r, s, t = (first.toward(last, share) for share in (0.0, 0.4, 0.7))
    weights = [np.array(w) for w in process.weights([s, r], s, t)]
    np.testing.assert_allclose(sum(weights), np.array(s.to(t).b), rtol=1e-12, atol=1e-13)

    def frozen(n: int) -> np.ndarray:
        nodes = [s.toward(t, i / n) for i in range(n + 1)]
        out = np.zeros_like(weights[0])
        for one, two in pairwise(nodes):
            middle = 0.5 * (one.clock + two.clock) - s.clock
            a, b, _ = dense(one.to(two))
            out = a @ out + b * middle
        return out

    coarse, fine = frozen(60), frozen(120)
    np.testing.assert_allclose(weights[1] * (r.clock - s.clock), fine + (fine - coarse) / 3.0, rtol=2e-6, atol=1e-8)


@pytest.mark.parametrize("schedule", [VP(), EDM(), RectifiedFlow()])
def test_on_a_schedule_the_weights_are_those_of_the_exponential_methods(schedule: Any) -> None:
    r, s, t = (schedule.at_lam(lam) for lam in (-0.3, 0.1, 0.9))
    found = [w[0][0] for w in schedule.weights([s, r], s, t)]
    np.testing.assert_allclose(found, [w * s.to(t).b[0][0] for w in lam_weights([s, r], s, t)], rtol=1e-13)


@pytest.mark.parametrize("clock", [1e-6, 1e-3, 0.3, 0.49, 0.51, 2.0, -1e-3, -0.6])
def test_the_covariance_of_the_motion_keeps_its_digits(clock: float) -> None:
    """∫ e^{Fr} G Gᵀ e^{Fᵀr} dr with G = (0, 2), by quadrature of a polynomial times an exponential."""
    points, weights = np.polynomial.legendre.leggauss(40)
    r = 0.5 * clock * (1.0 + points)
    kicks = np.array([[motion(float(x))[0][1], motion(float(x))[1][1]] for x in r])
    expected = np.einsum("p,pi,pj->ij", 2.0 * clock * weights, kicks, kicks)
    np.testing.assert_allclose(np.array(covariance(clock)), expected, rtol=1e-12)


def test_the_root_turns_by_the_logarithm_of_small_clocks() -> None:
    """Near the data sqrt(det Σ)/Σ_xx is sqrt(3)/(2ς)."""
    assert turning(covariance, 1e-6, 1e-5) == pytest.approx(-0.5 * math.sqrt(3.0) * math.log(10.0), rel=1e-4)


# laws


@pytest.mark.parametrize("name", list(laws()))
def test_the_model_is_the_score_and_the_mean_of_the_posterior(name: str) -> None:
    """Tweedie, Σ_t ∇log p = A m − z, and E[m | z] = Σ_k p(k | z) m_k."""
    law = laws()[name]
    for node in ends(law.process):
        z = law.sample(9, np.random.default_rng(1), node)
        a, spread = (np.array(m) for m in law.process.forward(node))
        m, score = (np.stack(parts(value)) for value in (law.denoised(z, node), law.score(z, node)))
        pull = np.einsum("ij,jnd->ind", a, m) - np.stack(parts(z))
        np.testing.assert_allclose(np.einsum("ij,jnd->ind", spread, score), pull, rtol=1e-9, atol=1e-11)
        share, means, covariances = law.posterior(z, node)
        np.testing.assert_allclose(share.sum(-1), 1.0, rtol=1e-12)
        np.testing.assert_allclose(np.einsum("nk,nki->ni", share, means), np.hstack(list(m)), rtol=1e-9, atol=1e-12)
        assert np.linalg.eigvalsh(covariances).min() > -1e-12


@pytest.mark.parametrize("name", list(laws()))
def test_the_score_is_the_gradient_of_the_density(name: str) -> None:
    law = laws()[name]
    node = ends(law.process)[0]
    z = law.sample(3, np.random.default_rng(1), node)
    flat, h = np.concatenate(parts(z), axis=1), 1e-5
    for i in range(flat.shape[1]):
        move = h * np.eye(flat.shape[1])[i]
        up, down = (law.log_prob(law._split(flat + sign * move, parts(z)[0].shape, flat), node) for sign in (1.0, -1.0))
        np.testing.assert_allclose((up - down) / (2.0 * h), np.hstack(parts(law.score(z, node)))[:, i], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(law.log_prob(z, node), law.marginal(node).log_prob(flat), rtol=1e-10)


@pytest.mark.parametrize("name", ["phase, one", "bridge, one"])
def test_closed_flows_are_the_integrals_of_the_rates(name: str) -> None:
    law = laws()[name]
    s, t = ends(law.process)
    z = law.sample(4, np.random.default_rng(2), s)
    found, expected = law.flow(z, s, t), integrated(law.process, law.denoised, z, s, t, 1e-12)  # type: ignore[attr-defined]
    for a, b in zip(parts(found), parts(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9)
    affine, offset = law.affine(s)
    np.testing.assert_allclose(np.hstack(parts(law.denoised(z, s))), np.hstack(parts(z)) @ affine.T + offset, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["CLD", "PSLD", "third order", "VP bridge", "IR-SDE", "relay", "levels", "field", "particles", "Cosine"])
def test_the_flow_of_any_gaussian_is_closed(name: str) -> None:
    process = PROCESSES[name]
    g, rng = 2 * len(process.gives), np.random.default_rng(3)
    root = rng.standard_normal((g, g))
    law = LinearLaw(process, [1.0], rng.standard_normal((1, g)), (0.3 * root @ root.T / g + 0.1 * np.eye(g))[None])
    s, t = ends(process)
    z = law.sample(3, rng, s)
    found, expected = law.flow(z, s, t), integrated(process, law.denoised, z, s, t, 1e-11)
    back = law.flow(found, t, s)
    for a, b, c, d in zip(parts(found), parts(expected), parts(back), parts(z), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(c, d, rtol=1e-9, atol=1e-10)
    with pytest.raises(ValueError, match="k = 2 components: its flow is closed for one Gaussian"):
        LinearLaw(process, [0.5, 0.5], np.zeros((2, g)), np.stack([np.eye(g)] * 2)).flow(z, s, t)


def test_in_phase_space_the_flow_is_the_turning_root() -> None:
    """One flow by two ways: collocation, and the scalar quadrature of the angle by which the root of the covariance turns."""
    law = laws()["phase, one"]
    s, t = ends(law.process)
    z = law.sample(5, 0, s)
    for a, b in zip(law.flow(z, s, t), LinearLaw.flow(law, z, s, t), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)


# what is known at several times


@pytest.mark.parametrize("name", list(laws()))
def test_joint_laws_have_the_marginals_posteriors_and_transitions(name: str) -> None:
    """Blocks are marginals; p(m | z) is the posterior; Bayes' rule both ways in time; the past adds nothing to the last state and m."""
    law = laws()[name]
    s, t = ends(law.process)
    u = s.toward(t, 0.5)
    joint, z = Joint(law, [s, u, t]), law.sample(1, np.random.default_rng(4), s)
    point = tuple(part[0] for part in parts(z))
    for i, node in enumerate((s, u, t)):
        one, other = joint.marginal(i), law.marginal(node)
        np.testing.assert_allclose(one.mean(), other.mean(), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(one.covariance(), other.covariance(), rtol=1e-9, atol=1e-12)
    share, means, covariances = law.posterior(z, s)
    found = joint.given({0: point}, -1)
    np.testing.assert_allclose(found.weights, share[0], rtol=1e-8)
    np.testing.assert_allclose(found.means, means[0], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose([np.diag(c) for c in np.asarray(covariances)], _variances(found), atol=1e-9)
    y = law.sample(1, np.random.default_rng(5), t)
    after = tuple(part[0] for part in parts(y))
    row, col = np.concatenate(point), np.concatenate(after)
    ways = (
        transition(law, s, t, point).log_prob(col) + law.log_prob(z, s)[0],
        transition(law, t, s, after).log_prob(row) + law.log_prob(y, t)[0],
    )
    np.testing.assert_allclose(float(ways[0]), float(ways[1]), rtol=1e-8)
    middle = tuple(part[0] for part in parts(law.sample(1, np.random.default_rng(6), u)))
    m = law.ends.sample(1, 7)[0]
    both, last = joint.given({0: point, 1: middle, -1: m}, 2), joint.given({1: middle, -1: m}, 2)
    np.testing.assert_allclose(both.mean(), last.mean(), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(both.covariance(), last.covariance(), rtol=1e-6, atol=1e-10)


def _variances(law: GaussianMixture) -> list[np.ndarray]:
    """The diagonal of each component's covariance."""
    out = []
    for k in range(law.k):
        values, vectors = law.structure.eigen(k)
        out.append(values if vectors is None else np.square(vectors) @ values)
    return out


@pytest.mark.parametrize("schedule", [VP(), VE(0.1, 3.0)], ids=repr)
def test_bridges_are_their_diffusion_with_the_end_known(schedule: Any) -> None:
    """DDBM's marginals and transitions by Schur complements of the diffusion that it pins: Doob's transform without its drift."""
    process, x0, x1 = DiffusionBridge(schedule), 0.7, -0.4
    law = LinearLaw(schedule, [1.0], [[0.2]], [[[0.5]]])
    joint = Joint(law, [schedule.node(t) for t in (1.0, 0.7, 0.3)])
    for i, t in ((1, 0.7), (2, 0.3)):
        found = joint.given({0: np.array([x1]), -1: np.array([x0])}, i)
        (row,), ((spread,),) = process.forward(process.node(t))
        assert float(found.mean()[0]) == pytest.approx(row[0] * x0 + row[1] * x1, rel=1e-9)
        assert float(found.covariance()[0, 0]) == pytest.approx(spread, rel=1e-8)
    (a,), (b,), (c,) = process.node(0.7).to(process.node(0.3), 1.0)
    found = joint.given({0: np.array([x1]), 1: np.array([0.9]), -1: np.array([x0])}, 2)
    assert float(found.mean()[0]) == pytest.approx(a[0] * 0.9 + b[0] * x0 + b[1] * x1, rel=1e-9)
    assert float(found.covariance()[0, 0]) == pytest.approx(c[0] ** 2, rel=1e-8)


def test_bridges_in_phase_space_are_free_motion_with_its_end_known() -> None:
    free = Recipe(((0.0, 1.0), (0.0, 0.0)), ((0.0, 0.0), (0.0, 2.25)), gamma=(1.0,), t_max=1.0)
    joint = Joint(LinearLaw(free, [1.0], np.zeros((1, 2)), np.array([[[1.0, 0.2], [0.2, 0.8]]])), [free.node(1.0), free.node(0.6)])
    process, m = MomentumBridge(g=1.5, begin=((1.0, 0.2), (0.2, 0.8))), np.array([0.7, -0.4])
    found, (a, spread) = joint.given({0: m}, 1), process.forward(process.node(0.4))
    np.testing.assert_allclose(found.mean(), np.array(a) @ m, rtol=1e-9)
    np.testing.assert_allclose(found.covariance(), spread, rtol=1e-8)


def test_joint_laws_refuse_what_they_cannot_tell() -> None:
    law = laws()["phase"]
    s, t = ends(law.process)
    with pytest.raises(ValueError, match="give some, from noise to data"):
        Joint(law, [t, s])
    with pytest.raises(IndexError, match="i = 2: give 0 to 1 for a node, or -1"):
        Joint(law, [s, t]).at(2)
    with pytest.raises(ValueError, match="what is known has 2 numbers, its places are 4"):
        Joint(law, [s, t]).given({0: np.zeros(2)}, 1)


def test_at_the_pinned_end_nothing_is_known_of_the_data() -> None:
    law = laws()["bridge"]
    x0, x1 = law.denoised(np.full((2, 2), [0.8, -0.3]), law.process.node(1.0))
    np.testing.assert_allclose(x0, [MODES.mean()] * 2)
    np.testing.assert_allclose(x1, [[0.8, -0.3]] * 2)


# refusals


def test_what_a_process_cannot_do_is_refused_by_name() -> None:
    cld, bridge = CLD(), BrownianBridge()
    x, model, nodes = np.ones((2, 2)), lambda z, node: z, grid.uniform(CLD(), 3)
    for refused, message in (
        (lambda: sample(SOLVERS["ddim"], model, x, nodes), "x is a ndarray: give the tuple \\(x, v\\) of arrays"),
        (lambda: sample(SOLVERS["ddim"], model, (x, np.ones((2, 3))), nodes), "v has shape \\(2, 3\\), the state has \\(2, 2\\)"),
        (lambda: sample(SOLVERS["ddim"], lambda z, node: z[0], (x, x), nodes), "denoise.* is a ndarray, the state is a tuple of 2"),
        (
            lambda: sample(SOLVERS["heun"], model, (x, x), nodes),
            "heun is made for gaussian processes, .* on a phase process",
        ),
        (lambda: cld.node(0.5).to(cld.node(0.2), -0.5), "eta = -0.5 must be finite and at least 0"),
        (lambda: cld.node(0.2).to(cld.node(0.5), 1.0), "the reverse SDE runs towards the data"),
        (lambda: bridge.node(1.0).to(bridge.node(0.5)), "no step with eta = 0 leaves t = 1"),
        (lambda: bridge.node(0.5).to(bridge.node(0.2), 1.0)(x, (x, x)), "this transfer adds noise: give the draws"),
        (lambda: CLD(mass=0.0), "CLD: mass = 0.0 must be positive"),
        (lambda: BrownianBridge(t_max=1.5), "BrownianBridge: t_max = 1.5 must not exceed 1"),
        (lambda: grid.karras(CLD(), 3), "is not a schedule"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            refused()


def test_plans_of_phase_space_have_two_of_everything() -> None:
    plan = trace(SOLVERS["ddpm"], grid.uniform(CLD(), 3), "denoise")
    assert (plan.nfe, len(plan.noises), plan.components) == (4, 3, 2)
    assert plan.inputs.shape == (4, 2, 2 + 8 + 6)
    assert plan.output.shape == (2, 2 + 8 + 6)
