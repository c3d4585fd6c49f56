"""Claims 11, 232, 294: what one-step generators are trained by, in closed form on the line."""

from __future__ import annotations

import math

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.distance import mmd2
from scorebed.analytic.distance.divergence import divergence, gradient, log_density, score_and_derivatives
from scorebed.analytic.gaussian.line_quadrature import nodes as gauss
from scorebed.analytic.gaussian.line_quadrature import panels
from scorebed.solvers import VP, Node, grid
from scorebed.toy.claims.registry import Row, above, below, claim
from scorebed.toy.problems.lines import modes

Q = GaussianMixture([0.6, 0.4], [-1.0, 1.4], [0.3, 0.25])


def blurred(law: GaussianMixture, variance: float) -> GaussianMixture:
    """The law plus noise of this variance."""
    return law.marginal(Node(0.0, 1.0, math.sqrt(variance), -0.5 * math.log(variance)))


@claim(
    11,
    paper="MMD-DDM",
    reference="arXiv:2301.07969",
    statement="MMD² between a mixture and a two-step DDIM sampler is its closed form; its gradient through the sampler is E[G · "
    "∂_θ x]; descending "
    "in the coefficients of the steps lowers it at the same number of evaluations.",
    control="the gradient misses the factor 2, and ascends",
)
def finetuned(broken: bool) -> list[Row]:
    """A factor on D in each of two steps from N(0, 1)-like starts to three modes, on 401 equally likely points."""
    steps = grid.uniform_lam(VP(), 2, 0.95, 0.05)
    u = (np.arange(401) + 0.5) / 401
    start = np.asarray(modes().marginal(steps[0]).quantile(u))
    end, h = modes().marginal(steps[-1]), 0.5

    def run(c: np.ndarray) -> np.ndarray:
        x = start
        for s, t, factor in zip(steps[:-1], steps[1:], c, strict=True):
            keep = t.sigma / s.sigma
            x = keep * x + factor * (t.alpha - keep * s.alpha) * np.asarray(modes().denoised(x[:, None], s))[:, 0]
        return x

    def loss(c: np.ndarray) -> float:
        return mmd2(run(c)[:, None], end, h, unbiased=False)

    def slope(c: np.ndarray) -> np.ndarray:
        x, eye = run(c), 1e-6 * np.eye(2)
        apart = x[:, None] - x
        own = -(apart / h**2 * np.exp(-0.5 * (apart / h) ** 2)).mean(1)  # of E k(x, x') over the points
        wide = GaussianMixture(end.weights, end.means, np.asarray(end.covariances).reshape(-1) + h * h)
        line = wide.line()
        theirs = math.sqrt(2 * math.pi) * h * np.exp(log_density(line, x)) * score_and_derivatives(line, x)[0]
        moved = [(run(c + e) - run(c - e)) / 2e-6 for e in eye]
        return (1.0 if broken else 2.0) * np.array([float(np.mean((own - theirs) * m)) for m in moved])

    c, one = np.ones(2), 1e-5 * np.eye(2)
    exact = np.array([(loss(c + e) - loss(c - e)) / 2e-5 for e in one])
    off = float(np.linalg.norm(slope(c) - exact) / np.linalg.norm(exact))
    before = loss(c)
    for _ in range(40):
        c = c - (-1.0 if broken else 1.0) * 0.5 * slope(c)
    draws = modes().sample(1500, 0, steps[-1])
    plain = mmd2(run(np.ones(2))[:, None], draws, h, unbiased=True)
    return [
        below("gradient through the sampler against differences", off, 1e-4),
        below("MMD² after 40 steps of descent over before", loss(c) / before, 0.5, "of it"),
        below("MMD² of 1,500 draws, unbiased, against the closed form", abs(plain - before), 0.02, kept=True),
    ]


@claim(
    232,
    paper="MVDream",
    reference="arXiv:2308.16512",
    statement="SDS drives a sample to a stationary point of the averaged log p_t: its spread is 0. With a prior of each view "
    "alone inconsistent "
    "pairs are stationary too; with the joint prior of the views they are not.",
    control="each view has its own prior",
)
def joint(broken: bool) -> list[Row]:
    """Two views that agree but for a little, each with two modes; ascent of the mean of log p_t over four levels."""
    together = GaussianMixture([0.5, 0.5], [[1.0, 1.0], [-1.0, -1.0]], np.array([[[0.1, 0.09], [0.09, 0.1]]] * 2))
    alone = GaussianMixture([0.5, 0.5], [1.0, -1.0], [0.1, 0.1])
    levels = [VP().node(t) for t in (0.1, 0.2, 0.3, 0.4)]

    def ascent(x: np.ndarray, marginal: bool) -> np.ndarray:
        for _ in range(700):
            slopes = [
                (
                    np.concatenate([np.asarray(alone.score(n.alpha * x[:, k : k + 1], n)) for k in (0, 1)], 1)
                    if marginal
                    else together.score(n.alpha * x, n)
                )
                for n in levels
            ]
            x = x + 0.03 * np.mean([n.alpha * np.asarray(s) for n, s in zip(levels, slopes, strict=True)], axis=0)
        return x

    starts = np.array([[0.9, -0.7], [0.7, -0.9], [0.8, -0.5]])
    end = ascent(starts, broken)
    near_mode = ascent(together.sample(30, 0), broken)
    spread = min(float(near_mode[near_mode[:, 0] > 0.3].std(0).max()), 1.0)
    return [
        below("disagreement of the views from inconsistent starts", float(np.abs(end[:, 0] - end[:, 1]).max()), 0.1),
        below("spread of 30 samples about the mode that they reach", spread, 0.01, kept=True),
    ]


@claim(
    294,
    paper="NitroFusion (discriminators at many noise levels)",
    reference="arXiv:2412.02030",
    statement="With the best discriminators p_t/(p_t + q_t) the adversarial loss is Σ 2 JS(p_t, q_t) − 2 log 2; on laws that do "
    "not overlap its "
    "gradient vanishes at t = 0, and not at the levels above.",
    control="one discriminator, at t = 0",
)
def levels(broken: bool) -> list[Row]:
    """Two narrow normals four units apart, and levels of noise of variance up to 4."""
    q, p = (GaussianMixture([1.0], [m], [0.01]) for m in (-2.0, 2.0))
    noises = (0.0,) if broken else (0.0, 0.5, 1.0, 4.0)
    losses, slopes = [], []
    noised = [(q, p) if v == 0.0 else (blurred(q, v), blurred(p, v)) for v in noises]
    for a, b in noised:
        x, w = gauss(panels(a.line(), b.line()))
        la, lb = log_density(a.line(), x), log_density(b.line(), x)
        best = np.logaddexp(la, lb)
        losses.append(float(w @ (np.exp(lb) * (lb - best) + np.exp(la) * (la - best))))
        slopes.append(abs(float(w @ (np.exp(la) * gradient(a, b, x, "js")))))
    exact = [2.0 * divergence(a, b, "js") - 2.0 * math.log(2.0) for a, b in noised]
    return [
        below(
            "loss at the best discriminators against Σ 2 JS − 2 log 2", float(np.abs(np.subtract(losses, exact)).max()), 1e-10, kept=True
        ),
        below("gradient of the level t = 0", slopes[0], 1e-10, kept=True),
        above("gradient of all levels together", float(np.sum(slopes)), 0.1),
    ]
