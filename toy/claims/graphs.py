r"""Claim 59: a system of two diffusions, of the nodes of a graph and of its edges, reversed by partial scores of their joint law."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise, permutations
from typing import Any

import numpy as np

from scorebed.analytic.distance.gaussian import gaussian_w2
from scorebed.analytic.process import LinearLaw
from scorebed.solvers import VE, VP
from scorebed.solvers.process.frames import Frames
from scorebed.toy.claims.registry import Row, below, claim, order
from scorebed.toy.measure.convergence import order_of

Score = Callable[[tuple[Any, ...], Any], tuple[Any, ...]]
_PARTS: tuple[Any, Any] = (VP(), VE())


class _System(Frames):
    """VP for the nodes X and VE for the edges A, at the same time."""

    schedule = _PARTS[0]

    @property
    def frames(self) -> int:
        return len(_PARTS)

    def place(self, t: float) -> list[Any]:
        return [part.node(t) for part in _PARTS]


_SYSTEM = _System()


def _half(z: Any, a: Any, b: Any, xi: Any) -> Any:
    """The linear part from a to b, exactly: x_b = (α_b/α_a) x + α_b sqrt(ρ_a² − ρ_b²) ξ."""
    return (b.alpha / a.alpha) * z + b.alpha * math.sqrt(a.rho**2 - b.rho**2) * xi


def s4(score: Score, z: tuple[Any, ...], times: np.ndarray, noise: Callable[[int], tuple[Any, ...]], r: float = 0.5) -> tuple[Any, ...]:
    """S4 (arXiv:2202.02514, Alg. 1): of one evaluation a Langevin step of length r h σ² and the score's part, g² s Δt, between halves of
    the linear part; 3 draws in each step.

    Returns:
        the state z at the last time, a tuple of its parts.
    """
    for i, (s, t) in enumerate(pairwise(times)):
        m = 0.5 * (s + t)
        at, middle, to = (_SYSTEM.place(float(u)) for u in (s, m, t))
        scores, draws = score(z, _SYSTEM.node(float(s))), [noise(3 * i + j) for j in range(3)]
        out = []
        for k, part in enumerate(_PARTS):
            step = r * (to[k].lam - at[k].lam) * at[k].sigma ** 2
            x = z[k] + step * scores[k] + math.sqrt(2.0 * step) * draws[0][k]
            x = _half(x, at[k], middle[k], draws[1][k]) + part.g2(float(m)) * (s - t) * scores[k]
            out.append(_half(x, middle[k], to[k], draws[2][k]))
        z = tuple(out)
    return z


def _times(n: int) -> np.ndarray:
    return np.linspace(0.9, 0.1, n + 1)


def _gap(law: LinearLaw, score: Score, n: int) -> float:
    """W2 of the output of n steps from the exact law; the method is affine in its state and its draws."""
    times = _times(n)
    first, last = (law.marginal(_SYSTEM.node(t)) for t in (times[0], times[-1]))

    def run(z: tuple[Any, ...], noise: Callable[[int], tuple[Any, ...]]) -> np.ndarray:
        return np.concatenate(s4(score, z, times, noise), -1)

    rows = (np.array([[0.0], [1.0], [0.0]]), np.array([[0.0], [0.0], [1.0]]))
    zero, *basis = run(rows, lambda i: (0.0, 0.0))
    a = np.stack([row - zero for row in basis], 1)
    # one row of the batch for each draw of each part
    count = 2 * 3 * n
    unit = np.eye(count)
    drawn = run((np.zeros((count, 1)), np.zeros((count, 1))), lambda i: (unit[:, 2 * i : 2 * i + 1], unit[:, 2 * i + 1 : 2 * i + 2])) - zero
    return gaussian_w2(a @ first.mean() + zero, a @ first.covariance() @ a.T + drawn.T @ drawn, last.mean(), last.covariance())


def _graphs(symmetric: bool) -> LinearLaw:
    """Graphs of 3 nodes with a number on each node and each edge (01, 02, 12); all orders of the nodes, or one."""
    nodes, edges = np.array([-1.0, 0.2, 1.1]), {(0, 1): 0.9, (0, 2): -0.4, (1, 2): 0.3}
    orders = list(permutations(range(3))) if symmetric else [(0, 1, 2)]
    means = [[*nodes[list(p)], *(edges[min(p[i], p[j]), max(p[i], p[j])] for i, j in edges)] for p in orders]
    return LinearLaw(_SYSTEM, np.full(len(means), 1.0 / len(means)), means, np.full((len(means), 1, 1), 0.05) * np.eye(6))


@claim(
    59,
    paper="GDSS (system of SDEs), S4",
    reference="arXiv:2202.02514",
    statement="The partial scores of the joint law of nodes and edges, VP and VE, reverse the system: S4, whose one evaluation serves "
    "correction and prediction, has weak order 1; on a law that does not know the order of the nodes it commutes with "
    "permutations.",
    control="each part has the score of its own marginal law, and the law knows the order of the nodes",
)
def graphs(broken: bool) -> list[Row]:
    """One correlated pair, exactly; and graphs of three nodes whose nodes are exchanged."""
    law = LinearLaw(_SYSTEM, [1.0], [[0.3, -0.2]], [[[0.5, 0.35], [0.35, 0.4]]])
    apart = LinearLaw(_SYSTEM, [1.0], [[0.3, -0.2]], [[[0.5, 0.0], [0.0, 0.4]]])
    score: Score = (apart if broken else law).score
    counts = (80, 160, 320)
    errors = [_gap(law, score, n) for n in counts]

    some, rng = _graphs(symmetric=not broken), np.random.default_rng(59)
    draws = rng.standard_normal((61, 2, 5, 3))
    # nodes 0 and 2 change places: edges 01 and 12 do
    swap = np.array([2, 1, 0])
    plain = s4(some.score, tuple(draws[60]), _times(20), lambda i: tuple(draws[i]))
    other = s4(some.score, tuple(draws[60][..., swap]), _times(20), lambda i: tuple(draws[i][..., swap]))
    off = max(float(np.abs(p[..., swap] - q).max()) for p, q in zip(plain, other, strict=True))
    return [
        order("weak order in W2", order_of(counts, errors).slope, 1.0),
        below("W2 with 320 steps", errors[-1], 0.02),
        below("largest difference after an exchange of nodes", off, 1e-10),
    ]
