r"""Claims 25, 58, 238, 257, 274, 278, 280: what students of few steps are taught, on the line, where every teacher is exact."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtri

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.draw import posterior_draws
from scorebed.analytic.process.maps import FlowMap
from scorebed.solvers import SOLVERS, VP, Node, RectifiedFlow, Schedule, grid, sample
from scorebed.solvers.model import predicts
from scorebed.toy.claims.common import states
from scorebed.toy.claims.registry import Row, above, below, claim, near
from scorebed.toy.measure.convergence import rms
from scorebed.toy.problems.lines import modes


@claim(
    25,
    paper="TAD-SR",
    reference="arXiv:2408.07476",
    statement="Between a law and a generator that errs in fine directions the difference of noised scores is seen at small t; at "
    "large t it shrinks with the signal-to-noise ratio, per direction as α²(c' − c)/((α²c + σ²)(α²c' + σ²)).",
    control="the generator errs in the coarse direction",
)
def fine_directions(broken: bool) -> list[Row]:
    """Variances 4 and .01, one of them off by 30 %; the scores' slopes from the laws themselves."""
    true = np.array([4.0, 0.01])
    wrong = true * (np.array([1.3, 1.0]) if broken else np.array([1.0, 1.3]))
    laws = [GaussianMixture([1.0], [[0.0, 0.0]], [np.diag(c)]) for c in (true, wrong)]

    def gap(t: float) -> tuple[float, float]:
        """Of the scores over the larger one, at one standard deviation along the erring direction, and its distance from the formula."""
        node = VP().node(t)
        axis = 0 if broken else 1
        seen = node.alpha**2 * true + node.sigma**2
        x = np.zeros((1, 2))
        x[0, axis] = math.sqrt(seen[axis])
        one, two = (float(law.score(x, node)[0, axis]) for law in laws)
        other = node.alpha**2 * wrong[axis] + node.sigma**2
        closed = node.alpha**2 * (wrong[axis] - true[axis]) / (seen[axis] * other) * x[0, axis]
        return abs(two - one) / abs(one), abs(two - one - closed)

    return [
        above("relative gap at t = .01", gap(0.01)[0], 0.1, kept=True),
        below("relative gap at t = .3 over that at .01", gap(0.3)[0] / gap(0.01)[0], 0.2, "times"),
        below("gap against the closed form", max(gap(t)[1] for t in (0.01, 0.1, 0.3, 0.8)), 1e-10, kept=True),
    ]


@claim(
    58,
    paper="SCott (stochastic consistency distillation)",
    reference="arXiv:2403.01505",
    statement="With an L2 metric and targets one step along the reverse SDE the fixed point is the posterior mean, a martingale, and "
    "not the flow's end: one step of it samples too little variance; with the noise turned down it tends to the flow's map.",
    control="the targets are one step along the flow",
)
def stochastic_targets(broken: bool) -> list[Row]:
    """N(0, 1) under VP, where f is linear: gains backwards over 400 steps of noise η, by exact transfers."""
    flow, law = VP(), GaussianMixture([1.0], [[0.0]], 1.0)
    nodes = grid.uniform_lam(flow, 400, end=1e-3)

    def gain(eta: float) -> float:
        """f(x_T) = gain x_T, from f = x/α at the cleanest node and f(x_s) = E[f(x_t) | x_s]."""
        g = 1.0 / nodes[-1].alpha
        for s, t in zip(nodes[-2::-1], nodes[:0:-1], strict=True):
            a, b, _ = (m[0][0] for m in s.to(t, eta))
            slope = s.alpha / (s.alpha**2 + s.sigma**2)
            g *= a + b * slope
        return g

    top = nodes[0]
    noise = 0.0 if broken else 1.0
    mean = float(np.asarray(law.denoised(np.ones((1, 1)), top))[0, 0])
    slopes = {eta: gain(eta * noise) for eta in (1.0, 0.1, 0.01)}
    return [
        near("fixed point at η = 1 over E[x0 | x_T]", slopes[1.0] / mean, 1.0, 0.02, "times"),
        below("variance that one step of it samples", slopes[1.0] ** 2, 0.01),
        near("fixed point at η = .01, over the flow's map", slopes[0.01], 1.0, 0.08, kept=True),
        above("how much the gain falls from η = .01 to .1", slopes[0.01] - slopes[0.1], 0.2),
    ]


def reverse(target: GaussianMixture, steps: int, gaussian: bool, n: int = 4000) -> np.ndarray:
    """Ends of a run of few long reverse steps, by exact draws of p(x0 | x_s) or by their mean."""
    nodes = grid.uniform_lam(VP(), steps, end=0.02)
    x = states(target, nodes[0], n)
    if gaussian:
        end = sample(SOLVERS["ddpm"], target.denoised, x, nodes, noise=3, terminal="none")
    else:
        end = sample(SOLVERS["long_reverse"], posterior_draws(target), x, nodes, noise=3, terminal="none")
    law = target.marginal(nodes[-1])
    u = (np.arange(n) + 0.5) / n
    return np.abs(np.sort(np.asarray(law.cdf(end[:, 0]))) - u)


@claim(
    238,
    paper="EMDM",
    reference="arXiv:2312.02256",
    statement="The true reverse law of a long step is a mixture: a sampler of it has the law of the data after any number of steps, "
    "one with a Gaussian in its place needs many.",
    control="the Gaussian stands in throughout",
)
def long_steps(broken: bool) -> list[Row]:
    """Three modes on the line, 4,000 runs of 1, 2 and 4 steps; Kolmogorov's distance, whose 1 % point by chance is .026."""
    target = modes()
    return [
        *(below(f"distance of exact draws, {n} steps", float(reverse(target, n, broken).max()), 0.026) for n in (1, 2, 4)),
        above("distance of the Gaussian reverse, 4 steps", float(reverse(target, 4, True).max()), 0.1, kept=True),
    ]


@claim(
    257,
    paper="Nested diffusion (anytime generation)",
    reference="arXiv:2305.19066",
    statement="With an exact inner sampler of p(x0 | x_t) every x0 on the way has the law of the data, whatever the outer steps; the "
    "usual intermediate E[x0 | x_t] lacks the variance that x_t leaves open.",
    control="the intermediate is E[x0 | x_t]",
)
def nested(broken: bool) -> list[Row]:
    """Variance of the intermediates at three levels, by quadrature over x_t; and the formula Var x0 − E Var[x0 | x_t]."""
    target, rows = modes(), []
    whole = float(target.covariance()[0, 0])
    for t in (0.7, 0.4, 0.2):
        node = VP().node(t)
        x = states(target, node, 4001)
        mean = np.asarray(target.denoised(x, node))[:, 0]
        left = np.asarray(target.posterior_covariance(x, node)).reshape(len(x))
        drawn = float(mean.var() + (0.0 if broken else left.mean()))
        rows.append(near(f"variance of the intermediate at t = {t:g} over the data's", drawn / whole, 1.0, 0.01, "times"))
        rows.append(near(f"Var D + E Var over Var x0 at t = {t:g}", float(mean.var() + left.mean()) / whole, 1.0, 0.01, "times", kept=True))
    return rows


@claim(
    274,
    paper="Rectified diffusion",
    reference="arXiv:2410.07303",
    statement="Where the pairs (x0, ε) make x_t = α x0 + σ ε with one ε along each path, DDIM is exact in one step, on VP, sub-VP and "
    "rectified flow alike: what counts is straightness in (x/α, σ/α), not in x.",
    control="pairs are independent, so that E[ε | x_t] turns along the path",
)
def first_order(broken: bool) -> list[Row]:
    """Exact pairs of three modes on the line, one DDIM step on two schedules; and how far x itself is from straight on VP."""
    target, rows = modes(), []
    u = (np.arange(801) + 0.5) / 801

    noise, data = ndtri(u), np.asarray(target.quantile(u))
    schedules: tuple[tuple[str, Schedule, float, float], ...] = (
        ("VP", VP(), 0.8, 0.02),
        ("rectified flow", RectifiedFlow(1e-3, 0.999), 0.9, 0.02),
    )
    for name, schedule, start, end in schedules:
        s, t = schedule.node(start), schedule.node(end)
        at = s.alpha * data + s.sigma * noise  # increasing in u: pairs cannot cross

        @predicts("denoised")
        def told(x: np.ndarray, node: Node) -> np.ndarray:
            path = node.alpha * data + node.sigma * noise
            return np.interp(x, path, data)

        model = target.denoised if broken else told
        x = at[1:-1, None]
        one = sample(SOLVERS["ddim"], model, x, [s, t], terminal="none")
        goal = (t.alpha * data + t.sigma * noise)[1:-1, None]
        rows.append(below(f"one step of DDIM against the pairs' path, {name}", rms(one - goal), 1e-8))
    s, m, t = (VP().node(v) for v in (0.8, 0.41, 0.02))
    bend = [n.alpha * data + n.sigma * noise for n in (s, m, t)]
    rows.append(
        above("bend of x on VP, over its length", rms(bend[1] - 0.5 * (bend[0] + bend[2])) / rms(bend[0] - bend[2]), 0.05, kept=True)
    )
    return rows


@claim(
    278,
    paper="OFTSR",
    reference="arXiv:2412.09465",
    statement="A one-step student x_0 + τ v(x_0, τ) that satisfies d/dτ [τ v] = teacher's velocity follows the teacher's whole path, "
    "and a single call trades squared error for distance from the law as τ goes to 1.",
    control="the student is the straight line to the end",
)
def tunable(broken: bool) -> list[Row]:
    """Super-resolution on the line: x0 from a blurred y by the flow of p(x0 | y) from its noised mean; ends at four τ."""
    law = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.05).given(np.eye(1), np.array([0.15]), 0.6)
    flow, exact = RectifiedFlow(1e-3, 0.999), FlowMap(law)
    top = flow.node(0.999)
    x = states(law, top, 401)
    taus = np.linspace(0.0, 1.0, 65)
    nodes = [flow.node(0.999 - 0.998 * v) for v in taus]
    path = np.stack([np.asarray(exact(x, top, node)) for node in nodes])
    student = np.stack([x + v * (path[-1] - x) for v in taus]) if broken else path
    slope = (student[2:] - student[:-2]) / (taus[2] - taus[0])
    teacher = np.stack([-0.998 * np.asarray(exact.velocity(z, node)) for z, node in zip(student[1:-1], nodes[1:-1], strict=True)])
    estimate = [np.asarray(law.denoised(z, node))[:, 0] for z, node in zip(path[:-1:8], nodes[:-1:8], strict=True)]
    middle, whole = float(law.mean()[0]), float(law.covariance()[0, 0])
    errors = [float(np.mean((e - middle) ** 2)) + whole for e in estimate]
    spreads = [abs(float(e.std()) - math.sqrt(whole)) for e in estimate]
    return [
        below("slope of τ v against the teacher's velocity, RMS", rms(slope - teacher), 5e-3),
        above("least increase of the squared error in τ", float(np.diff(errors).min()), 0.0, kept=True),
        below("largest increase of the distance of the spread", float(np.diff(spreads).max()), 0.0, kept=True),
    ]


@claim(
    280,
    paper="Multi-student distillation",
    reference="arXiv:2410.23274",
    statement="Students of limited capacity, one for each part of the conditions, lose less than one for all; they are equal only "
    "where the maps of the parts coincide.",
    control="the parts have the same law",
)
def many_students(broken: bool) -> list[Row]:
    """Affine students of the exact noise-to-data maps of two conditions, by least squares, shared and apart."""
    u = (np.arange(2000) + 0.5) / 2000

    z = ndtri(u)
    laws = [GaussianMixture([0.5, 0.5], [[-1.5], [0.5]], 0.1), GaussianMixture([1.0], [[1.2]], 0.4)]
    maps = [np.asarray(laws[0 if broken else i].quantile(u)) for i in (0, 1)]

    def loss(targets: list[np.ndarray]) -> float:
        """Least mean square of an affine map of z."""
        x, y = np.tile(z, len(targets)), np.concatenate(targets)
        design = np.stack([x, np.ones_like(x)], 1)
        return float(np.mean((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2))

    apart = 0.5 * (loss(maps[:1]) + loss(maps[1:]))
    return [
        below("loss of two students over that of one", apart / loss(maps), 0.9, "times"),
        above("what a shared student loses", loss(maps) - apart, 0.05),
    ]
