r"""Claims 30, 204, 206, 208: a model that is a little wrong, rounded, truncated, early or small, and what of it is left at the end.

The output of a Plan is x_N = A x_T + Σ_i w_i δ_i to first order in errors δ_i of its evaluations, so every budget is a sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.output.moments import moments
from scorebed.solvers import EDM, SOLVERS, VP, Denoiser, Node, grid, sample, trace
from scorebed.toy.claims.common import states
from scorebed.toy.claims.registry import Row, above, below, claim, order
from scorebed.toy.measure.convergence import order_of, rms
from scorebed.toy.problems.lines import modes

PLAIN = GaussianMixture([1.0], [[0.3]], 0.5)
FAMILIES = ("ddim", "euler", "dpm_solver_2", "dpmpp_2m")


def rounded(denoise: Denoiser, step: float) -> Denoiser:
    """The answer to the nearest multiple of ``step``."""
    return lambda x, node: step * np.round(denoise(x, node) / step)


@claim(
    30,
    paper="QuEST (low-bit quantisation)",
    reference="arXiv:2402.03666",
    statement="What rounding the denoiser does to the output of DDIM is what the variational equation carries along; and one time "
    "embedding for neighbouring times is the score at a shifted time, a bias of first order in the shift.",
    control="the variational equation is not carried: the errors of the steps are added as they are, and embeddings are exact",
)
def quantised(broken: bool) -> list[Row]:
    """Three modes, 12 steps of DDIM, answers in units of 1e-3; times shifted by 1 to 8 per mille."""
    target, nodes = modes(), grid.uniform_lam(VP(), 12, end=0.02)
    x, step = states(target, nodes[0]), 1e-3
    exact = sample(SOLVERS["ddim"], target.denoised, x, nodes, terminal="none")
    found = sample(SOLVERS["ddim"], rounded(target.denoised, step), x, nodes, terminal="none")
    z, error, h = x, np.zeros_like(x), 1e-5
    for s, t in pairwise(nodes):
        carry, gain = t.sigma / s.sigma, t.alpha - s.alpha * t.sigma / s.sigma
        clean = target.denoised(z, s)
        slope = (target.denoised(z + h, s) - target.denoised(z - h, s)) / (2.0 * h)
        seen = z + error
        fresh = step * np.round(target.denoised(seen, s) / step) - target.denoised(seen, s)
        error = (0.0 if broken else carry + gain * slope) * error + gain * fresh + (error if broken else 0.0)
        z = carry * z + gain * clean
    shifts = (1e-3, 2e-3, 4e-3, 8e-3)

    def late(by: float) -> float:
        """RMS change of the output where the model is told a time that is ``by`` of it too large."""

        def told(y: np.ndarray, node: Node) -> np.ndarray:
            return np.asarray(target.denoised(y, VP().node(min(1.0, node.t * (1.0 + (0.0 if broken else by))))))

        return rms(sample(SOLVERS["ddim"], told, x, nodes, terminal="none") - exact)

    biases = [max(late(by), 1e-12) for by in shifts]
    return [
        below("RMS distance of prediction and change over the change", rms(found - exact - error) / rms(found - exact), 0.05),
        order("order of the bias in the shift of time", order_of([round(1.0 / by) for by in shifts], biases).slope, 1.0),
    ]


@claim(
    204,
    paper="DiffMoE (a pool over the batch)",
    reference="arXiv:2503.14487",
    statement="Of (sample, component) pairs the kN heaviest of the whole batch leave out less responsibility than the k heaviest of "
    "each sample, at the same cost; the error of the denoiser is at most the mass left out times the diameter of the means.",
    control="the lightest pairs are taken",
)
def pool(broken: bool) -> list[Row]:
    """24 components in the plane, 3 kept for each of 400 states, at four levels of noise."""
    rng = np.random.default_rng(0)
    law = GaussianMixture(np.full(24, 1 / 24), rng.normal(size=(24, 2)), 0.02)
    size, k, rows = 400, 3, []
    for sigma in (0.1, 0.3, 0.8, 2.0):
        node = EDM().at_lam(-math.log(sigma))
        x = law.sample(size, 1) + sigma * rng.standard_normal((size, 2))
        parts = law.posterior(x, node)
        share = np.asarray(parts.weights)
        score = -share if broken else share
        each = np.argsort(score, 1)[:, -k:]
        alone = 1.0 - np.take_along_axis(share, each, 1).sum(1)
        keep = np.zeros_like(share, dtype=bool)
        keep.ravel()[np.argsort(score.ravel())[-k * size :]] = True
        left = 1.0 - (share * keep).sum(1)
        means = np.asarray(parts.means)
        off = np.linalg.norm(np.einsum("nk,nkd->nd", share * ~keep, means), axis=1)
        diameter = max(
            float(np.linalg.norm(means[:, :, None] - means[:, None], axis=-1).max()), float(np.linalg.norm(means, axis=-1).max())
        )
        rows.append((float(left.mean()), float(alone.mean()), float((off - left * diameter).max())))
    gains = [one - other for other, one, _ in rows]
    return [
        above("least gain of the pool in mass left out", min(gains), 0.0),
        above("largest gain", max(gains), 0.002),
        below("mass left out by the pool at sigma = .1", rows[0][0], 0.05),
        below("error beyond mass × diameter", max(r[2] for r in rows), 1e-12, kept=True),
    ]


def weights(name: str, nodes: Sequence[Node]) -> np.ndarray:
    """w_i of the evaluations of a method on ``PLAIN``, by moving one answer after the other."""
    plan = trace(SOLVERS[name], nodes)
    own = PLAIN.covariance()[0, 0]

    def end(moved: int) -> float:
        count = iter(range(plan.nfe))

        def affine(node: Node) -> tuple[np.ndarray, np.ndarray]:
            gain = node.alpha * own / (node.alpha**2 * own + node.sigma**2)
            shift = PLAIN.mean() * (1.0 - gain * node.alpha)
            return np.array([[gain]]), shift + (1.0 if next(count) == moved else 0.0)

        return float(moments(plan, PLAIN, affine=affine)[0][0])

    plain = end(-1)
    return np.array([end(i) - plain for i in range(plan.nfe)])


@claim(
    206,
    paper="Adaptive score estimation (early exit)",
    reference="arXiv:2408.05927",
    statement="With an accurate and a cheap model at hand, asking the accurate one where the output is most sensitive to the answer "
    "leaves less error than asking it as often at regular times, for Euler, DDIM and DPM solvers alike; the total is at "
    "most the sum of sensitivity times error.",
    control="the accurate model is asked where the output is least sensitive",
)
def early_exit(broken: bool) -> list[Row]:
    """Twelve evaluations, four by a model that is exact and the others by one that is off by .1."""
    rows, nodes = [], grid.uniform_lam(VP(), 12, end=0.02)
    for name in FAMILIES:
        w = weights(name, nodes if name != "dpm_solver_2" else nodes[::2])
        count = len(w) // 3
        ranked = np.argsort(np.abs(w))
        best, even = np.full(len(w), 0.1), np.full(len(w), 0.1)
        best[ranked[:count] if broken else ranked[-count:]] = 0.0
        even[:: len(w) // count][:count] = 0.0
        rows.append(below(f"error of the sensitive choice over the even one, {name}", abs(w @ best) / abs(w @ even), 0.9, "times"))
    return rows


@claim(
    208,
    paper="Scaling properties of latent diffusion models",
    reference="arXiv:2404.01367",
    statement="The error is a floor of the model's size and C h^p of the steps that a budget buys: below a crossover a smaller model "
    "with more steps wins, above it the larger one, whatever the order of the sampler.",
    control="the smaller model has the larger one's floor",
)
def sizes(broken: bool) -> list[Row]:
    """Models of cost 1 and 4 with spreads off by 4 % and .2 %, DDIM and DPM-Solver++(2M), by W2 on one Gaussian."""
    own = math.sqrt(float(PLAIN.covariance()[0, 0]))

    def error(name: str, steps: int, floor: float) -> float:
        """| std of the output − true std | where the model takes the data to be wider by ``floor``."""
        wrong = GaussianMixture([1.0], PLAIN.means, PLAIN.covariance()[0, 0] * (1.0 + floor) ** 2)
        nodes = grid.uniform_lam(VP(), steps, end=0.002)
        spread = moments(trace(SOLVERS[name], nodes, terminal="denoise"), wrong, np.zeros(1), np.eye(1))[1]
        return abs(math.sqrt(float(spread[0, 0])) - own)

    rows, cheap = [], 0.002 if broken else 0.04
    for name, small, large in (("ddim", 24, 2000), ("dpmpp_2m", 12, 400)):
        one, two = (error(name, b, cheap) / error(name, b // 4, 0.002) for b in (small, large))
        rows += [
            below(f"small over large model at a budget of {small}, {name}", one, 0.9, "times", kept=True),
            above(f"small over large model at a budget of {large}, {name}", two, 1.5, "times"),
        ]
    return rows
