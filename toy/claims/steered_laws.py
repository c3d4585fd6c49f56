r"""Claims 10, 21, 229, 237, 263: densities along paths, rewards, policies and minorities, against exact laws."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.tilt import quadratic
from scorebed.analytic.output.moments import moments, output_map
from scorebed.solvers import SOLVERS, VP, BrownianNoise, Node, grid, sample, trace
from scorebed.solvers.methods.steering.superdiff import along, superdiff
from scorebed.toy.claims.registry import Row, above, below, claim, near

Floats = np.ndarray


def _line(mean: float, variance: float) -> GaussianMixture:
    return GaussianMixture([1.0], [[mean]], variance)


@claim(
    10,
    paper="SuperDiff (Itô density estimator)",
    reference="arXiv:2412.17762",
    statement="d log q = ⟨s, dy⟩ − ½ |s|² dτ along any path with the noise of the process, without a divergence, to strong order ½; OR by "
    "these densities samples the mixture; AND keeps the log-densities equal.",
    control="the square is left out, and the weights are always equal",
    when="(of AND) the Laplacians of the log-densities agree: its weights meet the noise and take it out of s_1 − s_2, where Itô's formula "
    "counts on it; between variances .1 and .2 the true ratio drifts off",
)
def superposition(broken: bool) -> list[Row]:
    """Errors at 20 and 320 steps of refined paths; the mass that OR gives; the true log-ratio after AND."""
    two, noise, errors = GaussianMixture([0.5, 0.5], [[-1.0], [0.2]], [0.1, 0.3]), BrownianNoise(3, (60, 1), refine=True), []
    for n in (16, 64):
        nodes = grid.uniform_lam(VP(), n, 0.8, 0.1)
        x = two.sample(60, 1, nodes[0])
        run = sample(SOLVERS["ddpm"], two.denoised, x, nodes, noise=noise, terminal="none", record=True)
        truth = two.log_prob(run.x, nodes[-1]) - two.log_prob(x, nodes[0]) + math.log(nodes[-1].alpha / nodes[0].alpha)
        made = along(two.denoised, run.xs, nodes)
        if broken:
            for (a, b), y in zip(pairwise(nodes), run.xs, strict=False):
                made = made + 0.5 * (a.rho**2 - b.rho**2) * (((two.denoised(y, a) - y / a.alpha) / a.rho**2) ** 2).sum(1)
        errors.append(float(np.sqrt(np.mean((made - truth) ** 2))))
    left, nodes = _line(-1.0, 0.1), grid.uniform_lam(VP(), 60, 0.98, 0.05)
    x = nodes[0].sigma * np.random.default_rng(2).standard_normal((400, 1))
    keyed = BrownianNoise(4, x.shape)

    def ratio(variance: float) -> float:
        right = _line(0.9, variance)
        x1 = superdiff([left.denoised, right.denoised], x[:150], nodes, keyed.take(range(150)), mode="or" if broken else "and").x
        return float(np.median(np.abs(left.log_prob(x1, nodes[-1]) - right.log_prob(x1, nodes[-1]))))

    both = superdiff([left.denoised, _line(0.9, 0.2).denoised], x, nodes, keyed, weights=[0.5, 0.5] if broken else [0.2, 0.8])
    return [
        near("strong order of the estimate", math.log(errors[0] / errors[1]) / math.log(4.0), 0.5, 0.25, "order"),
        near("mass of OR left of 0, weight .2", float((both.x < 0.0).mean()), 0.2, 0.07),
        below("log-ratio of AND, equal variances", ratio(0.1), 0.05, "nats"),
        below("log-ratio of AND, variances .1 and .2", ratio(0.2), 0.05, "nats", printed=True),
    ]


@claim(
    21,
    paper="Overview: guided generation",
    reference="arXiv:2404.07771",
    statement="For x = A z and a noisy linear reward y the sampler of p(x | y = a) is closed: the mean reward rises with a by the factor "
    "of shrinkage, samples stay in the span of A, and beyond the range of the data they leave its bulk quadratically in a.",
    control="the reward is not conditioned on, and the law has some width off the span",
)
def reward_conditioned(broken: bool) -> list[Row]:
    """Three dimensions, a span of two, reward θ·x of noise variance .2, targets of 1 and 5 standard deviations."""
    a = np.array([[1.0, 0.0], [0.5, 1.0], [0.0, 0.7]])
    covariance, theta, noise = a @ a.T + (0.1 * np.eye(3) if broken else 0.0), np.array([0.6, 0.3, -0.4]), 0.2
    law, off = GaussianMixture([1.0], np.zeros((1, 3)), covariance[None]), np.linalg.svd(a.T)[2][-1]
    spread = float(theta @ covariance @ theta)
    node, x = VP().node(0.4), np.random.default_rng(1).standard_normal((5, 3))

    def given(target: float) -> GaussianMixture:
        return law if broken else law.given(theta[None], np.array([target]), noise)

    means = [given(k * math.sqrt(spread)).mean() for k in (1.0, 5.0)]
    inverse = np.linalg.pinv(covariance)
    sizes = [float(m @ inverse @ m) for m in means]
    slope = float(theta @ (means[1] - means[0])) / (4.0 * math.sqrt(spread))
    return [
        near("rise of the reward, over the shrinkage", slope * (spread + noise) / spread, 1.0, 1e-9, "times"),
        below("part of the denoised off the span", float(np.abs(given(1.0).denoised(x, node) @ off).max()), 1e-10),
        near("growth of the Mahalanobis size from 1 to 5 std", sizes[1] / sizes[0] if sizes[0] else 0.0, 25.0, 1e-6, "times"),
        above("size at 5 std, over the bulk's", sizes[1] / 2.0, 3.0),
    ]


@claim(
    229,
    paper="Large-scale RL for diffusion (policy gradients, KL to the base)",
    reference="arXiv:2401.12244",
    statement="The score-function gradient of the denoising chain is unbiased, exactly so on a linear Gaussian chain; KL on paths has the "
    "optimum p_0 e^{r/β}/Z of the terminal law only once the start is free: from the base's start at T the mean moves by "
    "the posterior variance alone.",
    control="the std of the step is that of its other end, and the start is that of the tilt",
)
def policy(broken: bool) -> list[Row]:
    """The gradient of E[x0] in a shift of D, all of it by the Plan; the terminal mean under Doob's transform from the base's start."""
    law, nodes = _line(0.3, 0.5), grid.uniform_lam(VP(), 12, 0.9, 0.05)

    def affine(shift: float) -> Any:
        def at(node: Node) -> tuple[Floats, Floats]:
            c = node.alpha**2 * 0.5 + node.sigma**2
            return np.array([[node.alpha * 0.5 / c]]), np.array([node.sigma**2 * 0.3 / c + shift])

        return at

    plan = trace(SOLVERS["ddpm"], nodes)
    exact = float(output_map(plan, affine(1.0), 1)[1][0] - output_map(plan, affine(0.0), 1)[1][0])
    draws = output_map(plan, affine(0.0), 1)[2][0]  # of the output on each draw: E[x0 ξ_i]
    estimate = 0.0
    for (s, t), share in zip(pairwise(nodes), draws, strict=True):
        gone = -math.expm1(2.0 * (s.lam - t.lam))
        std = (s if broken else t).sigma * math.sqrt(gone)
        estimate += t.alpha * gone / std * float(share)  # ∂ mean/∂ shift over std, times E[x0 ξ]
    q = 1.5
    tilt, start = quadratic(law, 0.0, q).law, VP().node(0.35)
    s2 = 0.5 * start.sigma**2 / (start.alpha**2 * 0.5 + start.sigma**2)
    begin = tilt if broken else law
    ends = []
    for n in (60, 120):
        fine = grid.uniform_lam(VP(), n, 0.35, 1e-3)
        marginal = begin.marginal(fine[0])
        ends.append(float(moments(trace(SOLVERS["ddpm"], fine, "denoise"), tilt, marginal.mean(), marginal.covariance())[0][0]))
    moved = 2.0 * ends[1] - ends[0] - 0.3
    return [
        near("score-function gradient over the exact one", estimate / exact, 1.0, 1e-9, "times"),
        near("mean moved from the base's start, over S q", moved / (s2 * q), 1.0, 0.01, "times"),
        below("the same, over what the tilt moves", moved / (0.5 * q), 0.9, "times"),
    ]


def _modes(rare: float) -> GaussianMixture:
    return GaussianMixture([1.0 - rare, rare], [[-1.0], [1.0]], 0.04)


def _score(law: GaussianMixture, x0: Floats, node: Node, points: int = 60) -> Floats:
    """E |x0 − D(x_t)|² over the noise, by Gauss-Hermite, for x0 (n, 1)."""
    z, w = np.polynomial.hermite_e.hermegauss(points)
    x = node.alpha * x0 + node.sigma * z[None]
    d = law.denoised(x.reshape(-1, 1), node).reshape(x.shape)
    return np.asarray((x0 - d) ** 2 @ (w / w.sum()))


@claim(
    237,
    paper="Self-guided generation of minority samples",
    reference="arXiv:2407.11555",
    statement="The loss of reconstructing D(x_t) after noise is added again goes with −log p of the sample, in rank; "
    "tilting by it raises the mass of the rare mode.",
    control="each sample is given the loss of its mirror image, in the other mode",
)
def self_guided(broken: bool) -> list[Row]:
    """Modes of .9 and .1: rank correlation over draws of p, and the mass of the rare one under p e^{γ loss}."""
    law, node, sign = _modes(0.1), VP().node(0.5), -1.0 if broken else 1.0
    x, at = np.asarray(law.quantile((np.arange(60) + 0.5) / 60))[:, None], np.linspace(-2.0, 2.0, 401)[:, None]
    rank = float(spearmanr(_score(law, sign * x, node), -law.log_prob(x)).statistic)
    p = np.exp(law.log_prob(at)) * np.exp(0.8 * _score(law, sign * at, node, 30))
    rare = float(p[at[:, 0] > 0.0].sum() / p.sum())
    return [
        above("rank correlation of the loss with −log p", rank, 0.3),
        above("mass of the rare mode under the tilt, over its own", rare / 0.1, 1.5, "times"),
    ]


@claim(
    263,
    paper="Minority guidance",
    reference="arXiv:2301.12334",
    statement="E|x0 − D(x_t)|² given x0 is larger in a rarer mode, and the more so the rarer it is; the law tilted by it has more of the "
    "rare mode and stays on the modes.",
    control="both modes are equally frequent",
)
def minority(broken: bool) -> list[Row]:
    """Two equal modes but for their weights .2 and .05: the score at their centres by quadrature, and the tilt e^{score}."""
    node, centres = VP().node(0.5), np.array([[-1.0], [1.0]])
    ratios = []
    for rare in (0.2, 0.05):
        scores = _score(_modes(0.5 if broken else rare), centres, node)
        ratios.append(float(scores[1] / scores[0]))
    at, law = np.linspace(-2.0, 2.0, 401)[:, None], _modes(0.5 if broken else 0.05)
    p = np.exp(law.log_prob(at))
    tilted = p * np.exp(_score(law, at, node, 30))
    share = [float(one[at[:, 0] > 0.0].sum() / one.sum()) for one in (p, tilted)]
    near_modes = np.abs(np.abs(at[:, 0]) - 1.0) < 0.8
    return [
        above("score of the rare mode over the frequent one's, weight .2", ratios[0], 2.0, "times"),
        above("the same at .05, over that at .2", ratios[1] / ratios[0], 1.5, "times"),
        above("mass of the rare mode under the tilt, over its own", share[1] / share[0], 1.5, "times"),
        above("mass near the modes under the tilt", float(tilted[near_modes].sum() / tilted.sum()), 0.98, kept=True),
    ]
