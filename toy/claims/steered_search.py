r"""Claims 162, 245, 271, 277: choosing among samples, by values, verifiers and goals, and the law that is left."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.tilt import of_class, quadratic
from scorebed.analytic.output.moments import moments
from scorebed.solvers import SOLVERS, VP, RectifiedFlow, grid, sample, trace
from scorebed.solvers.methods.steering.particles import soft_value
from scorebed.solvers.methods.steering.search import best_of, best_of_n_kl, best_of_n_weight, rollover
from scorebed.toy.claims.registry import Row, above, below, claim, near

LINE = GaussianMixture([0.6, 0.4], [[-0.8], [0.9]], [0.2, 0.1])
TILT = quadratic(LINE, 0.5, 1.2)
GRID = np.linspace(-5.0, 5.0, 4001)


@claim(
    162,
    paper="SVDD (soft-value decoding)",
    reference="arXiv:2408.08252",
    statement="Choosing each step's successor among M by e^v, v = log E[e^r | x_t], samples p_0 e^r/Z as M grows, with a bias that falls "
    "with M, without a gradient; the posterior mean's r(D(x_t)) is another v, by Jensen's gap.",
    control="v is constant",
)
def soft_values(broken: bool) -> list[Row]:
    """The mean at M = 1, 4, 16 on a fine chain, from the tilt's own marginal."""
    nodes, mean = grid.uniform_lam(VP(), 24, 0.95, 0.02), float(TILT.law.mean()[0])
    x = np.asarray(TILT.law.sample(700, 8, nodes[0]))

    def value(y: Any, node: Any) -> Any:
        return np.zeros(len(y)) if broken else TILT.value(y, node)

    off = [abs(float(soft_value(SOLVERS["ddpm"], LINE.denoised, value, x, nodes, 2, candidates=m).mean()) - mean) for m in (1, 4, 16)]
    node, at = VP().node(0.3), np.linspace(-1.5, 1.5, 7)[:, None]
    gap = float(np.abs(np.asarray(TILT.reward(LINE.denoised(at, node))) - np.asarray(TILT.value(at, node))).max())
    return [
        above("bias at M = 1 over that at M = 16", off[0] / off[2], 3.0, "times"),
        below("bias at M = 16", off[2], 0.3),
        below("bias at M = 16 over that at M = 4", off[2] / off[1], 0.8, "times"),
        above("Jensen's gap of the posterior mean", gap, 0.05, kept=True),
    ]


@claim(
    245,
    paper="Inference-time scaling by noise search",
    reference="arXiv:2501.09732",
    statement="Best of N on an exact flow has the law p N F(r)^{N−1}: its mean reward is that of the largest order statistic, its KL to p "
    "is log N − (N − 1)/N; where the verifier is not the reward that was meant, more search first helps and then hurts.",
    control="one of the N is taken at random",
)
def best(broken: bool) -> list[Row]:
    """Best of 8 through the exact flow of two modes by the reward x; the true reward −(x − .9)², by quadrature up to N = 4096."""
    s, t = VP().node(0.98), VP().node(1e-3)
    z = LINE.sample(24_000, 3, s)
    rng = np.random.default_rng(0)
    got = best_of(lambda y: LINE.flow(y, s, t), lambda y: rng.random(len(y)) if broken else y[:, 0], z, 8)
    p, f = np.exp(LINE.log_prob(GRID[:, None])), np.asarray(LINE.cdf(GRID))
    w8 = best_of_n_weight(f, 8)
    order_statistic = float(np.trapezoid(GRID * p * w8, GRID))
    u = np.sort(np.asarray(LINE.cdf(got[:, 0])))
    found = np.histogram(u, bins=40, range=(0.0, 1.0))[0] / len(u)
    kl = float(np.sum(np.where(found > 0.0, found * np.log(np.maximum(found, 1e-12) * 40.0), 0.0)))

    def true(n: int) -> float:
        return -float(np.trapezoid((GRID - 0.9) ** 2 * p * (1.0 if broken else best_of_n_weight(f, n)), GRID))

    curve = [true(n) for n in (1, 4, 4096)]
    return [
        near("mean of the best of 8, less the order statistic", float(got.mean()) - order_statistic, 0.0, 0.03),
        near("KL to p, from a histogram, less log N − (N − 1)/N", kl - best_of_n_kl(8), 0.0, 0.06, "nats"),
        above("true reward gained from N = 1 to 4", curve[1] - curve[0], 0.5),
        below("true reward gained from N = 4 to 4096", curve[2] - curve[1], -0.05),
    ]


@claim(
    271,
    paper="GoalFlow",
    reference="arXiv:2503.05689",
    statement="Given its goal a flow is nearer to straight: the error of one step and the curvature of its paths fall; "
    "choosing the best of N by a score changes the law to p N F^{N−1}.",
    control="the goal is not given",
)
def goals(broken: bool) -> list[Row]:
    """Three goals a unit apart with std .1 around: one step from t = 1 against the flow of the same law, and the bend of paths."""
    whole = GaussianMixture([0.3, 0.4, 0.3], [[-1.0], [0.0], [1.0]], 0.01)
    given = whole if broken else of_class(whole, [2]).law
    schedule = RectifiedFlow()
    s, t = schedule.node(0.999), schedule.node(1e-3)

    def one_step(law: GaussianMixture) -> float:
        z = law.sample(400, 1, s)
        return float(np.sqrt(np.mean((law.denoised(z, s) - law.flow(z, s, t)) ** 2)))

    def bend(law: GaussianMixture) -> float:
        z = law.sample(100, 2, s)
        marks = [s, *(schedule.node(float(one)) for one in np.linspace(0.95, 0.05, 10)), t]
        paths = np.stack([law.flow(z, s, node) for node in marks])
        tau = np.array([node.t for node in marks])[:, None, None]
        chord = paths[-1] + (paths[0] - paths[-1]) * (tau - tau[-1]) / (tau[0] - tau[-1])
        return float(np.sqrt(np.mean((paths - chord) ** 2)))

    p, w = np.exp(whole.log_prob(GRID[:, None])), best_of_n_weight(whole.cdf(GRID), 4)
    return [
        below("one-step error, given over not given", one_step(given) / one_step(whole), 0.2, "times"),
        below("bend of the paths, given over not given", bend(given) / bend(whole), 0.5, "times"),
        above("mass of the right goal, best of 4", float(np.trapezoid(np.where(GRID > 0.5, p * w, 0.0), GRID)), 0.7, kept=True),
    ]


@claim(
    277,
    paper="Inference-time scaling for flow models",
    reference="arXiv:2503.19385",
    statement="A flow's velocity gives its score, and dx = (v − ½ g² ∇log p) dt + g dW keeps every marginal for any g; roll-over budgets "
    "never spend more than they have, and raise the reward, but greedily: what they sample is no tilt of p.",
    control="the noise comes without its drift, and the first candidate is taken",
)
def inference_time(broken: bool) -> list[Row]:
    """Variances of 400 steps of Flow-SDE at a = .4 and 1 on a Gaussian, exact; 300 particles of budget 4 on two modes."""
    law, nodes = GaussianMixture([1.0], [[0.0]], 0.5), grid.uniform_lam(RectifiedFlow(), 400, 0.99, 0.01)
    end = float(law.marginal(nodes[-1]).covariance()[0, 0])

    def variance(a: float) -> float:
        plan = trace(SOLVERS["flow_sde"](a=a), nodes)
        if not broken:
            return float(moments(plan, law)[1][0, 0])
        spread = law.marginal(nodes[0]).covariance()[0, 0]
        for s, t in pairwise(nodes):  # DDIM, and the noise beside it
            slope = sample(SOLVERS["ddim"], law.denoised, np.ones((1, 1)), [s, t], terminal="none")[0, 0]
            spread = slope**2 * spread + a * a * s.rho * (s.t - t.t)
        return float(spread)

    coarse = grid.uniform_lam(VP(), 8, 0.95, 0.02)

    def reward(x: Any, node: Any) -> Any:
        return np.asarray(TILT.reward(LINE.denoised(x, node)))

    x = LINE.sample(300, 4, coarse[0])
    rolled = [rollover(SOLVERS["ddpm"], LINE.denoised, reward, x, coarse, 1 if broken else b, 5) for b in (4, 1)]
    means = [float(np.mean(TILT.reward(r.x))) for r in rolled]
    meant = float(np.mean(TILT.reward(TILT.law.sample(4000, 1))))
    return [
        *(near(f"variance at a = {a}, over the data's", math.sqrt(variance(a) / end), 1.0, 0.01, "times") for a in (0.4, 1.0)),
        above("mean reward gained by a budget of 4", means[0] - means[1], 0.3),
        below("evaluations over the budget", float(rolled[0].nfe.max()) - 32.0, 0.0, kept=True),
        above("mean reward beyond the tilt's", means[0] - meant, 0.1),
    ]
