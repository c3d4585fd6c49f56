r"""Claims 83, 128, 258: categories as points of R^d, noised by Gaussians, and read off by the nearest point."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from scipy.special import ndtr

from scorebed.analytic import GaussianMixture
from scorebed.analytic.finite.embedded import bit_points, level_points, onehot_points
from scorebed.solvers import SOLVERS, VP, Node, grid, sample
from scorebed.toy.claims.registry import Row, above, below, claim

TINY = 1e-8
"""The variance of an atom, where a sampler has to end on it."""


def level(rho: float) -> Node:
    """The node of VP with σ/α = rho."""
    return VP().at_lam(-math.log(rho))


def recovered(points: np.ndarray, node: Node, n: int = 4000) -> float:
    """How often the likeliest point of x_t is the one that was noised, points equally likely, by the exact posterior."""
    law, rng = GaussianMixture(np.full(len(points), 1.0 / len(points)), points, 0.0), np.random.default_rng(0)
    k = np.arange(n) % len(points)
    x = node.alpha * points[k] + node.sigma * rng.standard_normal((n, points.shape[1]))
    return float((np.asarray(law.posterior(x, node).weights).argmax(1) == k).mean())


@claim(
    83,
    paper="Difformer",
    reference="arXiv:2212.09412",
    statement="The posterior of a token is a softmax over embeddings. Two tokens are told apart with probability Φ(α r/2σ), and in "
    "many dimensions nearly surely at levels where a plane of them is lost; without an anchor the loss is least where "
    "embeddings collapse.",
    control="r is taken for half of it, and embeddings are anchored",
)
def embeddings(broken: bool) -> list[Row]:
    """Two tokens at three levels; a hundred tokens in 2 and in 128 dimensions at σ = 2 α; the least loss at two scales."""
    rng, half = np.random.default_rng(1), 1.0 if broken else 0.5
    pair, off = np.array([[-0.8], [0.8]]), 0.0
    for rho in (0.5, 1.0, 2.0):
        off = max(off, abs(recovered(pair, level(rho), 20_000) - float(ndtr(half * 1.6 / rho))))
    many = {d: recovered(rng.standard_normal((100, d)), level(2.0), 200) for d in (2, 128)}

    def least(scale: float) -> float:
        """E |E[e | x_t] − e|² of two tokens."""
        node, points = level(1.0), scale * pair
        law = GaussianMixture([0.5, 0.5], points, 0.0)
        z = np.linspace(-6.0, 6.0, 2001)
        x = (node.alpha * points[1, 0] + node.sigma * z)[:, None]
        weight = np.exp(-0.5 * z * z)
        return float(np.sum(weight * (np.asarray(law.denoised(x, node))[:, 0] - points[1, 0]) ** 2) / weight.sum())

    return [
        below("frequency of the right token against Φ(α r/2σ)", off, 0.01),
        above("a hundred tokens in 128 dimensions: recovered at σ = 2 α", many[128], 0.97, kept=True),
        below("the same in the plane", many[2], 0.3, kept=True),
        below("least loss with embeddings of a tenth of the size", 1.0 if broken else least(0.1) / least(1.0), 0.1, "times"),
    ]


FORMS = {"one-hot": onehot_points(4), "bits": bit_points(4), "integers": 1.5 * level_points(4)}


@claim(
    128,
    paper="DiffuseSG",
    reference="arXiv:2401.01130",
    statement="Four categories as one-hot vectors, as two bits or as integers are recovered at every level with a probability in "
    "closed form; with the exact posterior all three sample the right law in the limit, and at few steps by different "
    "amounts.",
    control="the forms stand for each other's formula, and the posterior is that of equal weights",
)
def encodings(broken: bool) -> list[Row]:
    """Recovery at σ = .6 α; weights .5, .25, .15, .1 by DPM-Solver++(2M) at 4 and 60 steps, 6,000 runs."""
    node, rho, weights = level(0.6), 0.6, np.array([0.5, 0.25, 0.15, 0.1])
    z = np.linspace(-8.0, 8.0, 4001)
    hot = float(np.trapezoid(ndtr(z + 1.0 / rho) ** 3 * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi), z))
    closed = {
        "one-hot": hot,
        "bits": float(ndtr(1.0 / rho)) ** 2,
        "integers": 0.5 * float(ndtr(0.5 / rho)) + 0.5 * (2.0 * float(ndtr(0.5 / rho)) - 1.0),
    }
    if broken:
        closed = dict(zip(closed, [*list(closed.values())[1:], closed["one-hot"]], strict=True))

    def off(points: np.ndarray, steps: int) -> float:
        """Total variation of the nearest point's law."""
        law = GaussianMixture(np.full(4, 0.25) if broken else weights, points, TINY)
        nodes = grid.uniform_lam(VP(), steps, end=0.01)
        x = nodes[0].sigma * np.random.default_rng(2).standard_normal((6000, points.shape[1]))
        end = sample(SOLVERS["dpmpp_2m"], law.denoised, x, nodes, terminal="denoise")
        nearest = np.linalg.norm(end[:, None] - points, axis=-1).argmin(1)
        return 0.5 * float(np.abs(np.bincount(nearest, minlength=4) / len(end) - weights).sum())

    few = {name: off(points, 4) for name, points in FORMS.items()}
    return [
        *(below(f"recovery against its formula, {n}", abs(recovered(p, node, 40_000) - closed[n]), 0.01) for n, p in FORMS.items()),
        *(below(f"TV at 60 steps, {n}", off(p, 60), 0.03) for n, p in FORMS.items()),
        above("TV at 4 steps: largest over least", max(few.values()) / max(min(few.values()), 0.01), 1.5, "times"),
    ]


@claim(
    258,
    paper="Analog bits",
    reference="arXiv:2208.04202",
    statement="For an even bit E[x0 | x_t] = tanh(α x_t/σ²). With the exact model thresholded samples have the law of the bits, "
    "correlated ones too; the asymmetric step to t − δ in place of t is another coefficient, which changes the law that is "
    "sampled.",
    control="the steps are asymmetric throughout, and σ stands for σ²",
)
def analog(broken: bool) -> list[Row]:
    """One bit at three levels; two bits of correlation .6 and uneven weights by DDIM at 80 steps, 6,000 runs."""
    bit, off = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.0), 0.0
    for rho in (0.4, 1.0, 3.0):
        node, x = level(rho), np.linspace(-2.0, 2.0, 21)[:, None]
        power = 1.0 if broken else 2.0
        off = max(off, float(np.abs(bit.denoised(x, node) - np.tanh(node.alpha * x / node.sigma**power)).max()))
    weights = np.array([0.55, 0.1, 0.05, 0.3])
    law = GaussianMixture(weights, FORMS["bits"], TINY)
    nodes = grid.GRIDS["uniform"](VP(), 80)
    x = nodes[0].sigma * np.random.default_rng(0).standard_normal((6000, 2))

    def bits(late: float) -> float:
        """TV where every step goes to its node, as if it came from one ``late`` of time further on."""
        y = x
        for s, t in pairwise(nodes):
            seen = VP().node(min(1.0, s.t + late))
            clean = law.denoised(y, seen)
            eps = (y - seen.alpha * clean) / seen.sigma
            y = t.alpha * clean + t.sigma * eps
        index = (2 * (y[:, 0] > 0) + (y[:, 1] > 0)).astype(int)
        return 0.5 * float(np.abs(np.bincount(index, minlength=4) / len(y) - weights).sum())

    return [
        below("E[x0 | x_t] against tanh(α x_t/σ²)", off, 1e-12),
        below("TV of the thresholded law, 80 steps", bits(0.1 if broken else 0.0), 0.03),
        above("TV with asymmetric steps, δ = .1", bits(0.1), 0.05, kept=True),
    ]
