"""check_loss: gradients are those of exact losses by differences, minimisers are the map, and planted faults are named."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

import scorebed
from scorebed.analytic import GaussianMixture
from scorebed.analytic.distance import mmd2
from scorebed.analytic.process.maps import FlowMap
from scorebed.gpu.losses import KINDS, Generator, ctm
from scorebed.gpu.losses.line import LineWorld
from scorebed.gpu.losses.splines import rows_minimiser
from scorebed.gpu.losses.trajectory import SIGN
from scorebed.gpu.losses.world import GaussianWorld, batch
from scorebed.solvers import EDM, VE, VP, Cosine, RectifiedFlow, grid
from scorebed.toy.check.loss import check_loss
from scorebed.toy.check.loss_gradients import Bench
from scorebed.toy.check.loss_splines import spline_finding
from scorebed.toy.problems.lines import modes

FAULTS = [
    (kind.name, fault)
    for kind in KINDS.values()
    for fault in kind.faults
    if fault != "weight left out" and (kind.name != "ctm_whole" or fault not in KINDS["ctm"].faults)
]


@pytest.mark.parametrize("kind", KINDS)
def test_the_losses_of_the_catalogue_pass_and_their_minimiser_is_what_it_is_said_to_be(kind: str) -> None:
    report = check_loss(kind, samples=128)
    assert report, str(report)
    assert report.of == kind
    assert not report.causes
    if kind == "sds":
        assert report["minimiser"].status == "note"
        assert report.error > 0.3
    elif kind == "consistency_training":
        assert 0.02 < report.bias < 0.2
        assert report["bias"].status == "note"
        assert report["minimiser"].status == "note"
    else:
        assert report.error < (0.01 if KINDS[kind].pooled else 1e-8)


@pytest.mark.parametrize(("kind", "fault"), FAULTS)
def test_a_planted_fault_is_named(kind: str, fault: str) -> None:
    broken = lambda student, b: KINDS[kind].loss(student, b, fault=fault)  # noqa: E731
    report = check_loss(broken, kind, samples=64)
    assert not report, str(report)
    assert report.cause == fault, str(report)
    assert fault in str(report)


# the gradients of the catalogue, against exact losses by differences

LAW = GaussianMixture([1.0], [[0.6, -0.4]], [[0.8, 0.25]])
PROCESS = RectifiedFlow()
GAUSS, WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def expected(function: Any, s: float) -> float:
    """E function(x_s), coordinates independent, by Gauss–Hermite; function of (n, 2) gives (n,)."""
    node = PROCESS.node(s)
    c = np.sqrt(node.alpha**2 * np.array([0.8, 0.25]) + node.sigma**2)
    grid = np.stack(np.meshgrid(GAUSS, GAUSS, indexing="ij"), -1).reshape(-1, 2)
    return float(np.outer(WEIGHTS, WEIGHTS).ravel() @ function(node.alpha * np.array([0.6, -0.4]) + c * grid))


def away(theta: np.ndarray, x: np.ndarray, a: float, b: float) -> Any:
    terms = [np.ones_like(x), x, a + 0 * x, a * x, b * x]
    return sum(p * q for p, q in zip(theta, terms, strict=False))


def differences(loss: Any, theta: np.ndarray, h: float = 1e-4) -> np.ndarray:
    return np.array([(loss(theta + h * e) - loss(theta - h * e)) / (2 * h) for e in np.eye(len(theta))])


@pytest.mark.parametrize(
    "kind", ["consistency_distillation", "consistency_training", "consistency_continuous", "ctm", "ctm_local", "mean_flow", "shortcut"]
)
def test_gradients_of_maps_are_those_of_exact_losses_with_the_target_held(kind: str) -> None:
    """The exact loss is an integral over the law of x in NumPy, with exact maps of ``analytic`` and slopes by differences."""
    bench, f = Bench(PROCESS, lambda s, t: 1.0 + s, 0.5, 256, 0), FlowMap(LAW)
    theta, (s, t), unit, m = bench.thetas(KINDS[kind])[0], bench.pairs[1], bench.longest, PROCESS.node
    mid, h = 0.5 * (s + t), 1e-4

    def student(p: np.ndarray, x: np.ndarray, a: float, b: float = 0.0) -> np.ndarray:
        if KINDS[kind].gives == "velocity":
            return f.average_velocity(x, m(a), m(b)) + away(p, x, a / unit, b / unit)
        return f(x, m(a), m(b)) + (a - b) / unit * away(p, x, a / unit, b / unit)

    def total(p: np.ndarray, x: np.ndarray, b: float) -> np.ndarray:
        v = f.velocity(x, m(s))
        return (student(p, x + h * v, s + h, b) - student(p, x - h * v, s - h, b)) / (2 * h)

    def exact(p: np.ndarray, x: np.ndarray) -> np.ndarray:
        if kind == "consistency_distillation":
            gap = student(p, x, s) - student(theta, f(x, m(s), m(t)), t)
        elif kind == "consistency_training":  # f is affine in the state, so that the mean of f(y, t) is f of that of y
            keep = m(t).sigma / m(s).sigma
            gap = student(p, x, s) - student(theta, keep * x + (m(t).alpha - keep * m(s).alpha) * LAW.denoised(x, m(s)), t)
        elif kind == "consistency_continuous":
            return 2.0 * (student(p, x, s) * total(theta, x, 0.0)).sum(1)
        elif kind in ("ctm", "ctm_local"):
            ends = student(p, x, s, t), student(theta, f(x, m(s), m(mid)), mid, t)
            one, two = ends if kind == "ctm_local" else (student(theta, y, t) for y in ends)
            gap = one - two
        elif kind == "mean_flow":
            gap = student(p, x, s, t) - (f.velocity(x, m(s)) - (s - t) * total(theta, x, t))
        else:
            one = student(theta, x, s, mid)
            gap = student(p, x, s, t) - 0.5 * (one + student(theta, x + (mid - s) * one, mid, t))
            still = student(p, x, s, s) - f.velocity(x, m(s))
            return (gap**2).sum(1) + (still**2).sum(1)
        return (gap**2).sum(1)

    right = (1.0 + s) * differences(lambda p: expected(lambda x: exact(p, x), s), theta)
    found = bench.gradient(KINDS[kind].loss, KINDS[kind], theta, [bench.pairs[1]])
    np.testing.assert_allclose(found, right, rtol=2e-6, atol=2e-6 * np.abs(right).max())


def test_the_parts_of_ctm_have_the_gradients_of_their_formulas() -> None:
    """DSM against E|g − E[x0 | x]|², exact; the adversarial part against −E softplus(l(x̂)) with l held, in NumPy."""
    bench, f, kind = Bench(PROCESS, lambda s, t: 1.0 + s, 0.5, 1 << 12, 0), FlowMap(LAW), KINDS["ctm_whole"]
    theta, (s, t), unit, m = bench.thetas(kind)[0], bench.pairs[1], bench.longest, PROCESS.node
    node, mean, v = m(s), np.array([0.6, -0.4]), np.array([0.8, 0.25])

    def student(p: np.ndarray, x: np.ndarray, a: float, b: float = 0.0) -> np.ndarray:
        return f(x, m(a), m(b)) + (a - b) / unit * away(p, x, a / unit, b / unit)

    def dsm(p: np.ndarray, x: np.ndarray) -> np.ndarray:
        slope = (student(p, x, s, s + 1e-5) - student(p, x, s, s - 1e-5)) / 2e-5
        g = (slope - x / node.sigma) / (-1.0 - node.alpha / node.sigma)  # α' = −1, σ' = 1
        return np.square(g - LAW.denoised(x, node)).sum(1)

    low, high = (student(theta, student(theta, node.alpha * mean + c, s, t), t) for c in (0.0, np.sqrt(node.alpha**2 * v + node.sigma**2)))

    def gan(p: np.ndarray, x: np.ndarray) -> np.ndarray:
        y = student(theta, student(p, x, s, t), t)
        own = -0.5 * ((y - low) / (high - low)) ** 2 - np.log(np.abs(high - low)) - 0.5 * math.log(2 * math.pi)
        return -np.logaddexp(0.0, LAW.log_prob(y) - own.sum(1))

    for part, exact, bound in ((ctm.denoising, dsm, 2e-6), (ctm.adversarial, gan, 0.02)):
        right = (1.0 + s) * differences(lambda p, exact=exact: expected(lambda x: exact(p, x), s), theta)
        found = bench.gradient(part, kind, theta, [bench.pairs[1]])
        np.testing.assert_allclose(found, right, rtol=bound, atol=bound * np.abs(right).max())
    total = sum(bench.gradient(part, kind, theta, bench.pairs) for part in (ctm.trajectory, ctm.denoising, ctm.adversarial))
    np.testing.assert_allclose(bench.gradient(kind.loss, kind, theta, bench.pairs), total, rtol=1e-10)


def normal_kl(m: np.ndarray, v: np.ndarray, n: np.ndarray, w: np.ndarray) -> float:
    return float(0.5 * np.sum(v / w + (n - m) ** 2 / w - 1.0 - np.log(v / w)))


@pytest.mark.parametrize("kind", ["dmd", "sds", "fisher", "gan", "mmd"])
def test_gradients_of_generators_are_those_of_exact_divergences(kind: str) -> None:
    """KL, its part without the entropy, Fisher, 2 JS and MMD² of the noised laws, closed or by quadrature."""
    bench = Bench(PROCESS, lambda s, t: 1.0, 0.5, 1 << 12, 0)
    theta, s = bench.thetas(KINDS[kind])[0], bench.pairs[1][0]
    node, mean, v = PROCESS.node(s), np.array([0.6, -0.4]), np.array([0.8, 0.25])

    def exact(p: np.ndarray) -> float:
        b = np.sqrt(v) + p[1]
        here, there = (
            (node.alpha * (mean + p[0]), node.alpha**2 * b * b + node.sigma**2),
            (node.alpha * mean, node.alpha**2 * v + node.sigma**2),
        )
        if kind == "dmd":
            return normal_kl(*here, *there)
        if kind == "sds":
            return normal_kl(*here, *there) + 0.5 * float(np.log(here[1]).sum())
        if kind == "fisher":
            slope, shift = 1 / there[1] - 1 / here[1], (here[0] - there[0]) / there[1]
            return float(np.sum(shift**2 + slope**2 * here[1]))
        if kind == "mmd":
            return mmd2(GaussianMixture([1.0], [mean + p[0]], [b * b]), GaussianMixture([1.0], [mean], [v]), 1.0)
        grid = np.stack(np.meshgrid(*(np.linspace(-7, 7, 281),) * 2, indexing="ij"), -1)
        q, d = (np.exp(-0.5 * ((grid - m) ** 2 / w).sum(-1)) / (2 * math.pi * math.sqrt(np.prod(w))) for m, w in (here, there))
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = np.nan_to_num(q * np.log(2 * q / (q + d))) + np.nan_to_num(d * np.log(2 * d / (q + d)))
        return float(parts.sum() * 0.05**2)

    right = differences(exact, theta)
    samples = 1 << 11 if kind == "mmd" else 1 << 12
    found = bench.gradient(KINDS[kind].loss, KINDS[kind], theta, [bench.pairs[1]], samples=samples)
    exactly = kind in ("dmd", "sds", "fisher")
    np.testing.assert_allclose(found, right, rtol=1e-7 if exactly else 0.02, atol=(1e-7 if exactly else 0.02) * np.abs(right).max())


@pytest.mark.parametrize("kind", ["sid", "moment_matching", "gan_nonsaturating", "imm"])
def test_gradients_that_hold_a_model_are_those_of_the_exact_expectation(kind: str) -> None:
    """With q, l or the second map held at θ: expectations over the law that p makes, closed or by quadrature."""
    bench = Bench(PROCESS, lambda s, t: 1.0, 0.5, 1 << 12, 0)
    theta, (s, t) = bench.thetas(KINDS[kind])[0], bench.pairs[1]
    node, mean, v, f, unit = PROCESS.node(s), np.array([0.6, -0.4]), np.array([0.8, 0.25]), FlowMap(LAW), bench.longest
    a, b2 = node.alpha, node.sigma**2

    def made(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return mean + p[0], (np.sqrt(v) + p[1]) ** 2

    def denoised(x: np.ndarray, law: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return law[0] + a * law[1] / (a * a * law[1] + b2) * (x - a * law[0])

    def logs(x: np.ndarray, law: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        width = a * a * law[1] + b2
        return (-0.5 * (x - a * law[0]) ** 2 / width - 0.5 * np.log(2 * math.pi * width)).sum(-1)

    def student(p: np.ndarray, start: float) -> tuple[np.ndarray, np.ndarray]:
        n, end = PROCESS.node(start), PROCESS.node(t)
        x = n.alpha * mean + np.outer([0.0, 1.0], np.sqrt(n.alpha**2 * v + n.sigma**2))
        y = f(x, n, end) + (start - t) / unit * away(p, x, start / unit, t / unit)
        return y[0], (y[1] - y[0]) ** 2

    def exact(p: np.ndarray) -> float:
        if kind == "imm":
            one, two = student(p, s), student(theta, 0.5 * (s + t))
            return mmd2(GaussianMixture([1.0], [one[0]], [one[1]]), GaussianMixture([1.0], [two[0]], [two[1]]), 1.0)
        now, then = made(p), made(theta)
        grid = np.stack(np.meshgrid(GAUSS, GAUSS, indexing="ij"), -1).reshape(-1, 2)
        x = a * now[0] + np.sqrt(a * a * now[1] + b2) * grid
        if kind == "sid":
            value = ((denoised(x, (mean, v)) - denoised(x, then)) * (denoised(x, then) - denoised(x, now))).sum(1)
        else:
            value = np.logaddexp(0.0, logs(x, then) - logs(x, (mean, v)))
        return float(np.outer(WEIGHTS, WEIGHTS).ravel() @ value)

    if kind == "moment_matching":  # a direction, and of no function the gradient: E gap and E gap z of what is affine
        fake, slope = made(theta), lambda law: a * law[1] / (a * a * law[1] + b2)
        gap = denoised(a * fake[0], fake) - denoised(a * fake[0], (mean, v))
        right = np.array([gap.sum(), ((slope(fake) - slope((mean, v))) * a * np.sqrt(fake[1])).sum()])
    else:
        right = differences(exact, theta)
    found = bench.gradient(KINDS[kind].loss, KINDS[kind], theta, [bench.pairs[1]], samples=1 << (11 if kind == "imm" else 12))
    bound = 1e-6 if kind in ("sid", "moment_matching") else 0.02
    np.testing.assert_allclose(found, right, rtol=bound, atol=bound * np.abs(right).max())


# losses of others


def unnamed(student: Any, b: Any) -> Any:
    """Consistency training as one writes it, without a word of what it is."""
    f, target = student(b.x, b.s), student(b.y, b.t).detach()
    return (b.weight[:, 0] * ((f - target) ** 2).sum(-1)).mean()


def jvp_loss(student: Any, b: Any, sign: float = 1.0) -> Any:
    """MeanFlow by ``torch.func.jvp``, as the paper's algorithm 1."""
    v = b.eps - b.x0
    u, du = torch.func.jvp(student, (b.x, b.s, b.t), (v, sign * torch.ones_like(b.s), torch.zeros_like(b.t)))
    return b.weight[:, 0] * ((u - (v - (b.s - b.t) * du).detach()) ** 2).sum(-1)


def test_a_loss_is_recognised_by_its_gradient() -> None:
    report = check_loss(unnamed, samples=64)
    assert report, str(report)
    assert report.of == "consistency_training"
    assert "by its gradient" in report["kind"].measured
    broken = check_loss(lambda st, b: ((st(b.x, b.s) - st(b.y, b.t)) ** 2).sum(-1) * b.weight[:, 0], samples=64)
    assert (broken.of, broken.cause) == ("consistency_training", "missing stop-gradient")


def test_the_published_form_of_mean_flow_passes_and_its_faults_are_named() -> None:
    assert check_loss(jvp_loss, "mean_flow", samples=64)
    assert check_loss(lambda st, b: jvp_loss(st, b, -1.0), "mean_flow", samples=64).cause == "wrong sign of the time derivative"


def test_a_weighting_of_its_own_is_noted_and_fails_nothing() -> None:
    report = check_loss(
        lambda st, b: (1.0 + b.s[:, 0] ** 2) * ((st(b.x, b.s) - st(b.y, b.t).detach()) ** 2).sum(-1), "consistency_training"
    )
    assert report
    assert report["weighting"].status == "note"
    none = check_loss(lambda st, b: KINDS["ctm"].loss(st, b, fault="weight left out"), "ctm", samples=64)
    assert none
    assert "not used" in str(none)


@pytest.mark.parametrize("process", [EDM(), VE(), VP()], ids=["EDM", "VE", "VP"])
def test_on_other_processes(process: Any) -> None:
    assert check_loss("consistency_distillation", process=process, samples=64)
    assert check_loss("dmd", process=process, samples=64)


def test_what_everything_detached_or_turned_does() -> None:
    still = check_loss(lambda st, b: (st(b.x, b.s).detach() ** 2).sum(-1) + 0.0 * st.theta.sum(), "consistency_training", samples=64)
    assert still.cause == "detached: no gradient reaches the student"
    turned = check_loss(lambda st, b: -KINDS["ctm"].loss(st, b), "ctm", samples=64)
    assert turned.cause == "wrong sign of the loss"
    assert turned["descent"].status == "fail"
    other = check_loss(lambda st, b: st(b.x, b.s).square().sum(-1), "consistency_training", samples=64)
    assert other.cause is not None
    assert other.cause.startswith("unknown")


@pytest.mark.parametrize("kind", KINDS)
def test_a_tiny_network_comes_nearer_to_the_closed_optimum(kind: str) -> None:
    steps = 300 if kind == "ctm_whole" else 60  # one sample's noise, in two of its parts
    before, after = Bench(PROCESS, None, 0.5, 64, 0).train(KINDS[kind].loss, KINDS[kind], steps)
    assert after < 0.8 * before


def test_a_spline_student_finds_the_curved_map_with_a_teacher_and_a_posterior_mean_with_one_sample() -> None:
    """On three modes: the zero of the distillation gradient is the flow; of training, one level up, α-scaled E[y | x] in closed form."""
    nodes, law = grid.uniform_lam(VP(), 2, 0.8, 0.3), modes()
    s, t = nodes[1], nodes[2]
    x = np.asarray(law.marginal(s).quantile(np.linspace(0.05, 0.95, 31)))[:, None]
    taught, sampled = (
        rows_minimiser(KINDS[kind].loss, "endpoint", LineWorld.of(VP(), law), nodes)(torch.as_tensor(x), s.t).detach().numpy()
        for kind in ("consistency_distillation", "consistency_training")
    )
    keep = t.sigma / s.sigma
    np.testing.assert_allclose(taught, law.flow(x, s, t) / t.alpha, atol=0.03)
    np.testing.assert_allclose(sampled, (keep * x + (t.alpha - keep * s.alpha) * law.denoised(x, s)) / t.alpha, atol=0.06)


@pytest.mark.parametrize("kind", [k for k in KINDS if KINDS[k].gives != "generator"] + ["dmd", "gan"])
def test_a_student_of_splines_has_its_zero_at_the_curved_map(kind: str) -> None:
    found = spline_finding(KINDS[kind].loss, KINDS[kind])
    expected = {"imm": "skip", "ctm_whole": "skip", "consistency_training": "note"}
    assert found.status == expected.get(kind, "pass"), found


@pytest.mark.parametrize(("kind", "fault"), [("consistency_continuous", "derivative along the velocity left out"), ("mean_flow", SIGN)])
def test_a_fault_moves_the_zero_of_a_student_of_splines(kind: str, fault: str) -> None:
    found = spline_finding(lambda student, b: KINDS[kind].loss(student, b, fault=fault), KINDS[kind])
    assert found.status == "fail", found


def test_a_loss_that_cannot_be_run_with_splines_says_why() -> None:
    found = spline_finding(lambda student, b: b.nothing, KINDS["ctm"])
    assert (found.status, found.measured.split(":")[0]) == ("fail", "AttributeError")


def test_the_world_of_a_mixture_is_that_of_numpy_and_its_derivatives_are_its_own() -> None:
    law, node, end = modes(), PROCESS.node(0.6), PROCESS.node(0.2)
    world, x = LineWorld.of(PROCESS, law), torch.linspace(-2.0, 2.0, 9, dtype=torch.float64)[:, None].requires_grad_()
    for found, exact in (
        (world.log_prob(x, 0.6)[:, 0], law.log_prob(x.detach().numpy(), node)),
        (world.score(x, 0.6), law.score(x.detach().numpy(), node)),
        (world.denoised(x, 0.6), law.denoised(x.detach().numpy(), node)),
        (world.velocity(x, 0.6), FlowMap(law).velocity(x.detach().numpy(), node)),
        (world.flow(x, 0.6, 0.2), law.flow(x.detach().numpy(), node, end)),
    ):
        np.testing.assert_allclose(found.detach().numpy(), exact, rtol=1e-10, atol=1e-12)
    (slope,) = torch.autograd.grad(world.flow(x, 0.6, 0.2).sum(), x)
    np.testing.assert_allclose(slope.numpy(), FlowMap(law).jvp(x.detach().numpy(), node, end, np.ones((9, 1))), rtol=1e-10)
    (slope,) = torch.autograd.grad(world.log_prob(x, 0.6).sum(), x)
    torch.testing.assert_close(slope, world.score(x, 0.6).detach(), rtol=1e-10, atol=1e-12)


def test_noise_tells_a_teacher_from_one_sample() -> None:
    """At the exact map a loss with a teacher has no noise; one with a single sample's target has."""
    by_teacher, by_sample = (check_loss(k, samples=64)["noise"].measured for k in ("consistency_distillation", "consistency_training"))
    assert float(by_teacher.split()[1]) < 1e-9
    assert float(by_sample.split()[1]) > 0.1


def test_a_loss_that_does_not_run_is_said() -> None:
    for loss, words in (
        (lambda st, b: st(b.x, b.s), "returned shape"),
        (lambda st, b: 3.0, "returned a float"),
        (lambda st, b: st(b.x, b.s).sum() * math.nan, "nan or inf"),
        (lambda st, b: b.nothing, "nothing"),
    ):
        report = check_loss(loss, "consistency_training")
        assert not report
        assert words in report["runs"].measured
    assert json.loads(json.dumps(check_loss("ctm", samples=64).as_dict()))["passed"] is True


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"loss": 3}, TypeError, "loss = 3 is not callable"),
        ({"loss": "nothing"}, ValueError, "loss = 'nothing' is not known"),
        ({"loss": unnamed, "kind": "nothing"}, ValueError, "kind = 'nothing' is not known"),
        ({"loss": "ctm", "process": Cosine()}, TypeError, "give RectifiedFlow"),
        ({"loss": "ctm", "spacing": 0.0}, ValueError, "spacing = 0.0"),
        ({"loss": "ctm", "samples": 64.5}, ValueError, "samples = 64.5"),
        ({"loss": "ctm", "weight": 3.0}, TypeError, "weight = 3.0 is not callable"),
        ({"loss": lambda st, b: None}, ValueError, "runs as none of"),
    ],
)
def test_bad_input_is_refused(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        check_loss(**arguments)


def test_it_is_exported_and_batches_have_exact_moments() -> None:
    assert scorebed.check_loss is check_loss
    world = GaussianWorld(PROCESS, [0.6, -0.4], [0.8, 0.25])
    b = batch(world, [(0.7, 0.4)], 64, 0, lambda s, t: 1.0)
    z = torch.cat([(b.x0 - world.mean) / torch.sqrt(world.variance), b.eps, b.z], 1)
    np.testing.assert_allclose((z.T @ z / 64).numpy(), np.eye(6), atol=1e-12)
    torch.testing.assert_close(b.velocity, b.eps - b.x0)
    made = Generator(world).made
    torch.testing.assert_close(made.variance, world.variance)
