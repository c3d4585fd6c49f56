r"""Claims 124, 133, 151: laws on finite states and on sets of coordinates, and the chains between them."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
from scipy.linalg import expm
from scipy.stats import binom

from scorebed.analytic.distance import gaussian_kl
from scorebed.toy.claims.registry import Row, above, below, claim, near

COUNTS = np.array([0.1, 0.05, 0.3, 0.05, 0.2, 0.0, 0.3])


@claim(
    124,
    paper="Blackout diffusion",
    reference="arXiv:2305.11089",
    statement="A pure death process x_t ~ Binomial(x0, e^{−t}) is turned round by births at the rate (E[x0 | x_t] − x_t) e^{−t}/(1 − "
    "e^{−t}); given x0 the bridge is binomial for any step, so that the chain from black has the law of the data but for "
    "P(x_T > 0).",
    control="the mean of x0 stands in for E[x0 | x_t]",
)
def blackout(broken: bool) -> list[Row]:
    """Counts up to 6: the master equation at three times by central differences; bridges of one and of four steps."""
    n = len(COUNTS)
    x = np.arange(n)

    def kernel(t: float) -> np.ndarray:
        """p(x_t = j | x_0 = i)."""
        return np.asarray(binom.pmf(x[None, :], x[:, None], np.exp(-t)))

    def births(t: float) -> np.ndarray:
        p = COUNTS @ kernel(t)
        mean = (COUNTS * x) @ kernel(t) / p
        if broken:
            mean = np.full(n, float(COUNTS @ x))
        return np.maximum(0.0, mean - x) * np.exp(-t) / (1.0 - np.exp(-t))

    off, h = 0.0, 1e-5
    for t in (0.2, 0.8, 2.0):
        p, rate = COUNTS @ kernel(t), births(t)
        flow = p * rate
        backward = np.concatenate([[0.0], flow[:-1]]) - flow
        off = max(off, float(np.abs(backward + COUNTS @ (kernel(t + h) - kernel(t - h)) / (2.0 * h)).max()))

    def sampled(times: list[float]) -> np.ndarray:
        """From black: x_s = x_t + Binomial(x0 − x_t, (e^{−s} − e^{−t})/(1 − e^{−t})) with x0 ~ p(x0 | x_t)."""
        law = np.eye(n)[0]
        for t, s in pairwise(times):
            joint = COUNTS[:, None] * kernel(t)
            share = (np.exp(-s) - np.exp(-t)) / (1.0 - np.exp(-t))
            total = joint.sum(0)
            posterior = np.repeat(COUNTS[:, None], n, 1) if broken else joint / np.where(total > 0.0, total, 1.0)
            step = np.zeros((n, n))
            for a in range(n):
                for b in range(a, n):
                    step[a, : b - a + 1 + a] += posterior[b, a] * np.concatenate(
                        [np.zeros(a), binom.pmf(np.arange(b - a + 1), b - a, share)]
                    )
            law = law @ step
        return law

    gap = {len(times) - 1: 0.5 * float(np.abs(sampled(times) - COUNTS).sum()) for times in ([9.0, 0.0], [9.0, 1.5, 0.7, 0.3, 0.0])}
    start = 1.0 - float((COUNTS @ kernel(9.0))[0])
    return [
        below("births against the master equation, run backwards", off, 1e-8),
        *(
            below(f"TV of the chain from black, {k} steps, over P(x_T > 0)", v / start, 1.0 + 1e-9, "times")
            for k, v in gap.items()
            if k > 1
        ),
        below("TV of one step from black over P(x_T > 0)", gap[1] / start, 1.0 + 1e-9, "times", kept=True),
    ]


def block(m: np.ndarray, rows: list[int], columns: list[int]) -> np.ndarray:
    """The rows and columns of a matrix."""
    return np.asarray(m[np.array(rows, dtype=int)][:, np.array(columns, dtype=int)])


@claim(
    133,
    paper="D-JEPA",
    reference="arXiv:2410.03755",
    statement="Tokens drawn set by set, each of a set by itself given the sets before, cost in KL the sum of the conditional total "
    "correlations, which are log-determinants on Gaussians; the best sets of a given number are those with the least sum.",
    control="the sets before are not given",
)
def set_by_set(broken: bool) -> list[Row]:
    """Six coordinates of a chain of correlation .8 in three sets of two: KL of the built law, and all ninety partitions."""
    spread = 0.8 ** np.abs(np.subtract.outer(np.arange(6), np.arange(6)))

    def given(rows: list[int], past: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Gain and covariance of ``rows`` given ``past``."""
        if not past:
            return np.zeros((len(rows), 0)), block(spread, rows, rows)
        gain = block(spread, rows, past) @ np.linalg.inv(block(spread, past, past))
        return gain, block(spread, rows, rows) - gain @ block(spread, past, rows)

    def cost(sets: list[list[int]]) -> float:
        total = 0.0
        past: list[int] = []
        for rows in sets:
            own = given(rows, past)[1]
            total += 0.5 * float(np.sum(np.log(np.diag(own))) - np.linalg.slogdet(own)[1])
            past = past + rows
        return total

    def built(sets: list[list[int]]) -> float:
        """KL(p ‖ q) of the law q that is drawn."""
        q = np.zeros((6, 6))
        past: list[int] = []
        for rows in sets:
            gain, own = given(rows, [] if broken else past)
            if broken:
                gain = np.zeros((len(rows), len(past)))
            before, here = np.array(past, dtype=int), np.array(rows)
            cross = gain @ block(q, past, past)
            q[here[:, None], before] = cross
            q[before[:, None], here] = cross.T
            q[here[:, None], here] = np.diag(np.diag(own)) + cross @ gain.T
            past = past + rows
        return gaussian_kl(np.zeros(6), spread, np.zeros(6), q)

    near_sets, far_sets = [[0, 1], [2, 3], [4, 5]], [[0, 3], [1, 4], [2, 5]]
    every = {tuple(sorted(p[:2])) + tuple(sorted(p[2:4])) + tuple(sorted(p[4:])) for p in permutations(range(6))}
    best = min(cost([list(p[:2]), list(p[2:4]), list(p[4:])]) for p in every)
    return [
        near("KL of the drawn law over the sum, neighbours together", built(near_sets) / cost(near_sets), 1.0, 1e-9, "times"),
        near("KL of the drawn law over the sum, neighbours apart", built(far_sets) / cost(far_sets), 1.0, 1e-9, "times"),
        above("neighbours together over the best of ninety", cost(near_sets) / best, 3.0, "times", kept=True),
    ]


@claim(
    151,
    paper="Discrete Markov bridge",
    reference="arXiv:2505.19752",
    statement="With the states sorted by p/q the matrix H = U Λ U^{-1}, U of ones above the diagonal and Λ_k = log(P_k/Q_k) of the "
    "cumulative sums, is a rate matrix with q e^H = p, for any p and q.",
    control="the states are not sorted",
)
def bridge(broken: bool) -> list[Row]:
    """Random p and q on twelve states."""
    rng = np.random.default_rng(4)
    p, q = rng.dirichlet(np.ones(12)), rng.dirichlet(np.ones(12))
    order = np.arange(12) if broken else np.argsort(p / q)
    p, q = p[order], q[order]
    u = np.triu(np.ones((12, 12)))
    h = u @ np.diag(np.log(np.cumsum(p) / np.cumsum(q))) @ np.linalg.inv(u)
    off = h - np.diag(np.diag(h))
    return [
        below("q e^H against p", float(np.abs(q @ expm(h) - p).max()), 1e-12, kept=True),
        above("least rate", float(off.min()), -1e-12),
        below("row sums", float(np.abs(h.sum(1)).max()), 1e-10, kept=True),
    ]
