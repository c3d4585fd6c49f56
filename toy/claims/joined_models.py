r"""Claims 212 and 236: one model for each part of the data, and what joins them."""

from __future__ import annotations

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.solvers import SOLVERS, VP, Denoiser, Node, grid, sample
from scorebed.solvers.model import predicts
from scorebed.toy.claims.common import states
from scorebed.toy.claims.registry import Row, above, below, claim
from scorebed.toy.measure.convergence import rms

SHARDS = (
    GaussianMixture([0.5, 0.5], [[-1.6], [-0.4]], [0.1, 0.05]),
    GaussianMixture([1.0], [[0.9]], 0.3),
    GaussianMixture([1.0], [[1.9]], 0.08),
)
SIZES = np.array([0.5, 0.3, 0.2])


def union(parts: tuple[GaussianMixture, ...], sizes: np.ndarray) -> GaussianMixture:
    """The law of all shards together."""
    weights = np.concatenate([s * p.weights for s, p in zip(sizes / sizes.sum(), parts, strict=True)])
    spreads = np.concatenate([np.broadcast_to(np.ravel(p.covariances), (p.k,)) for p in parts])
    return GaussianMixture(weights, np.concatenate([p.means for p in parts]), spreads)


def routed(parts: tuple[GaussianMixture, ...], sizes: np.ndarray, how: str) -> Denoiser:
    """Σ_i w_i D_i with w_i ∝ n_i p_{i,t}(x) (``exact``), the largest alone (``first``), or equal (``equal``)."""

    @predicts("denoised")
    def joined(x: np.ndarray, node: Node) -> np.ndarray:
        logs = np.stack([np.log(s) + p.log_prob(x, node) for s, p in zip(sizes, parts, strict=True)])
        if how == "equal":
            logs = np.zeros_like(logs)
        if how == "first":
            logs = np.where(logs == logs.max(0), 0.0, -np.inf)
        share = np.exp(logs - logs.max(0))
        share /= share.sum(0)
        return np.asarray(sum(w[:, None] * p.denoised(x, node) for w, p in zip(share, parts, strict=True)))

    return joined


@claim(
    212,
    paper="Compartmentalized diffusion models",
    reference="arXiv:2308.01937",
    statement="Scores of shards joined with weights n_i p_{i,t}(x)/Σ are the score of the union at every t, and leaving a shard out "
    "is training without it; joined in equal parts they are not.",
    control="the parts are equal",
)
def shards(broken: bool) -> list[Row]:
    """Three shards on the line, with the third and without, at four levels and along DDIM."""
    rows = []
    for name, parts, sizes in (("all shards", SHARDS, SIZES), ("the third left out", SHARDS[:2], SIZES[:2])):
        whole, model = union(parts, sizes), routed(parts, sizes, "equal" if broken else "exact")
        nodes = grid.uniform_lam(VP(), 12, end=0.02)
        x = states(whole, nodes[0], 41)
        one, two = (sample(SOLVERS["ddim"], d, x, nodes, terminal="none") for d in (model, whole.denoised))
        levels = [VP().node(t) for t in (0.9, 0.6, 0.3, 0.1)]
        gaps = [float(np.abs(model(states(whole, n), n) - whole.denoised(states(whole, n), n)).max()) for n in levels]
        rows += [below(f"joined against the union's, {name}", max(gaps), 1e-10), below(f"ends of DDIM, {name}", rms(one - two), 1e-9)]
    return rows


@claim(
    236,
    paper="Decentralized diffusion models",
    reference="arXiv:2501.05450",
    statement="The flow of all data is that of the experts weighted by the router's posterior p(k | x_t), exactly; asking the first "
    "expert alone is off where clusters overlap, at large t, and right where they do not.",
    control="the router gives equal weights",
)
def router(broken: bool) -> list[Row]:
    """Experts of three clusters: the ends of Heun against the union's, and the top-1 rule at t = .6 and .01."""
    whole, model = union(SHARDS, SIZES), routed(SHARDS, SIZES, "equal" if broken else "exact")
    nodes = grid.uniform_lam(VP(), 12, end=0.02)
    x = states(whole, nodes[0], 41)
    one, two = (sample(SOLVERS["heun"], d, x, nodes, terminal="none") for d in (model, whole.denoised))
    first = routed(SHARDS, SIZES, "first")

    def off(t: float) -> float:
        node = VP().node(t)
        at = states(whole, node, 201)
        return rms(first(at, node) - whole.denoised(at, node))

    return [
        below("ends of Heun against the union's, RMS", rms(one - two), 1e-9),
        above("RMS error of the first expert alone at t = .6", off(0.6), 0.1, kept=True),
        below("the same at t = .01 over that", off(0.01) / off(0.6), 0.2, "times", kept=True),
    ]
