"""Claims 43, 79: parts of a network, regions of a picture and samples of a batch that are held while others go on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.solvers import VP, Node
from scorebed.solvers.grid import uniform_lam
from scorebed.solvers.weights.exponential import eps_of, flow_by_denoised, flow_by_eps
from scorebed.toy.claims.registry import Row, above, below, claim, order
from scorebed.toy.measure.convergence import order_of, rms
from scorebed.toy.problems.products import product8d
from scorebed.toy.properties.cases import cases, modes

CASE, LAW = cases()[0], modes()


def _encoded(keys: Sequence[int], nodes: Sequence[Node], x: np.ndarray, whole: bool) -> np.ndarray:
    """DDIM with D = Σ_k r_k m_k(x, t), the responsibilities r (the encoder) made at the key steps alone, or all of D."""
    line = LAW.line()
    means, variances = np.asarray(line.means), np.asarray(line.scales) ** 2
    weights = np.exp(np.asarray(line.weights)) if np.min(line.weights) < 0 else np.asarray(line.weights)
    held: Any = None
    for i, (s, t) in enumerate(pairwise(nodes)):
        c = s.alpha**2 * variances + s.sigma**2
        local = means + s.alpha * variances / c * (x - s.alpha * means)
        if i in keys:
            logs = np.log(weights) - 0.5 * (x - s.alpha * means) ** 2 / c - 0.5 * np.log(c)
            r = np.exp(logs - logs.max(1, keepdims=True))
            r /= r.sum(1, keepdims=True)
            held = (r * local).sum(1, keepdims=True) if whole else r
        d = held if whole else (held * local).sum(1, keepdims=True)
        x = flow_by_denoised(x, d, s, t)
    return x


@claim(
    43,
    paper="Faster Diffusion (encoder propagation)",
    reference="arXiv:2312.09608",
    statement="A network of a slow encoder and a decoder that knows its own time may hold the encoder between key steps: the run stays "
    "of first order, errs less than with all of the output held, and key steps where the features change beat uniform ones.",
    control="the decoder is held with the encoder, and key steps are where features change least",
)
def encoder(broken: bool) -> list[Row]:
    """Two modes; the encoder gives responsibilities, the decoder the means of the components."""

    def error(n: int, keys: Sequence[int], whole: bool) -> float:
        nodes = uniform_lam(VP(), n, 0.9, 0.05)
        x = CASE.states(nodes[0])
        return rms(_encoded(keys, nodes, x, whole) - LAW.flow(x, nodes[0], nodes[-1]))

    counts, n, keys = (64, 128, 256), 96, 12
    slope = order_of(counts, [error(k, range(0, k, 2), broken) for k in counts]).slope
    uniform = range(0, n, n // keys)
    nodes = uniform_lam(VP(), n, 0.9, 0.05)
    x = CASE.states(nodes[0])
    d = [np.asarray(LAW.denoised(LAW.flow(x, nodes[0], node), node)) for node in nodes]
    change = np.array([rms(b - a) for a, b in pairwise(d)])
    density = (1.0 / (change + 0.2 * change.max())) if broken else np.sqrt(change + 1e-12)
    share = np.concatenate([[0.0], np.cumsum(density)]) / density.sum()
    placed = sorted({0, *(int(np.searchsorted(share, k / keys)) for k in range(keys))})
    return [
        order("order with the encoder held at every second step", slope, 1, kept=True),
        below("encoder held over all held, at 12 key steps of 96", error(n, uniform, broken) / error(n, uniform, True), 0.8),
        below("key steps by change over uniform ones", error(n, placed, False) / error(n, uniform, False), 0.9),
    ]


@claim(
    79,
    paper="Region-adaptive sampling (RAS)",
    reference="arXiv:2502.10389",
    statement="Coordinates that are not renewed keep their eps: a held one errs by O(h · age). Renewing those whose eps has changed most "
    "by now beats random ones at an equal budget, and full renewals bound the drift; judged by the last change that is known, some starve.",
    control="those whose eps has changed least are renewed",
)
def regions(broken: bool) -> list[Row]:
    """Eight independent pairs of modes of unequal width, in their own coordinates; half are renewed at every step."""
    factors = product8d().factors
    rng = np.random.default_rng(0)

    def run(n: int, choose: str, full: int = 0) -> float:
        nodes = uniform_lam(VP(), n, 0.9, 0.05)
        start = np.random.default_rng(3).standard_normal((24, 8))
        x, held, change, age = start, None, np.ones((24, 8)), np.zeros((24, 8))
        for i, (s, t) in enumerate(pairwise(nodes)):
            eps = np.hstack([eps_of(x[:, [k]], f.denoised(x[:, [k]], s), s) for k, f in enumerate(factors)])
            if held is None or (full and i % full == 0):
                fresh = np.ones_like(change, bool)
            else:
                now = np.abs(eps - held)
                score = {"change": now, "least": -now, "last": change * (age + 1.0), "random": rng.random((24, 8)), "turns": age}[choose]
                fresh = np.argsort(np.argsort(-score, axis=1), axis=1) < 4
            before = eps if held is None else held
            change = np.where(fresh, np.abs(eps - before) / (age + 1.0), change)
            held, age = np.where(fresh, eps, before), np.where(fresh, 0.0, age + 1.0)
            x = flow_by_eps(x, held, s, t)
        exact = np.hstack([f.flow(start[:, [k]], nodes[0], nodes[-1]) for k, f in enumerate(factors)])
        return rms(x - exact)

    counts = (64, 128, 256)
    slope = order_of(counts, [run(n, "turns") for n in counts]).slope
    chosen = "least" if broken else "change"
    return [
        order("order with the coordinates renewed in turns", slope, 1, kept=True),
        below("error with the most changed renewed over random ones, 32 steps", run(32, chosen) / run(32, "random"), 0.9),
        above("the same by the last change that is known", run(32, "last") / run(32, "random"), 1.0, kept=True),
        below("error of the least changed, with full renewals over without", run(32, "least", 4) / run(32, "least"), 0.8, kept=True),
    ]
