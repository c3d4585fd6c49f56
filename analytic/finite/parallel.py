r"""What drawing tokens at once costs: the conditional total correlation of a step, on a table.

    C(s → t) = E_{x_s} [ Σ_i H(x_t^i | x_s) − H(x_t | x_s) ]

is KL from the exact joint law of (x_s, x_t) to that in which every token of x_t is drawn from its own conditional: no one-stage method that
draws tokens at once can lose less. From the mask to the data in one step it is the total correlation of the table.
"""

from __future__ import annotations

import numpy as np

from scorebed.analytic.finite.table import TableLaw, entropy, total_correlation
from scorebed.solvers.process import Instant


def reverse_joint(law: TableLaw, s: Instant, t: Instant) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """p_s over its states (R,), these (R, L), and P(x_t | x_s) of each, (R,) + (A,) * L; ``t`` is cleaner."""
    here, there, k = law.marginal(s), law.marginal(t), law.process.between(t, s)
    states = np.argwhere(here > 0.0)
    rows = []
    for x in states:
        joint = there
        for i, value in enumerate(x):
            joint = joint * k[:, value].reshape(tuple(-1 if j == i else 1 for j in range(law.d)))
        rows.append(joint / joint.sum())
    return here[here > 0.0], states, np.stack(rows)


def step_correlation(law: TableLaw, s: Instant, t: Instant) -> float:
    """C(s → t), in nats."""
    weight, _, tables = reverse_joint(law, s, t)
    return float(sum(w * total_correlation(table) for w, table in zip(weight, tables, strict=True)))


def revealing_cost(law: TableLaw) -> np.ndarray:
    """Σ over a random order of H(token | those before it): entry l is the mean entropy of one more token when l are known, (L,).

    Showing tokens l … m − 1 of a random order at once costs Σ_{l ≤ j < m} (h_l − h_j), from which ``best_partition`` chooses.

    Returns:
        (L,) mean entropies in nats.
    """
    d = law.d
    masks = [[i for i in range(d) if code >> i & 1] for code in range(1 << d)]
    h = {tuple(kept): entropy(law.table.sum(tuple(j for j in range(d) if j not in kept))) for kept in masks}
    out, count = np.zeros(d), np.zeros(d)
    for kept in masks:
        for i in (j for j in range(d) if j not in kept):
            out[len(kept)] += h[tuple(sorted([*kept, i]))] - h[tuple(kept)]
            count[len(kept)] += 1
    return out / count


def best_partition(h: np.ndarray, steps: int) -> tuple[list[int], float]:
    """How many tokens to show in each of ``steps`` steps, and what that costs in nats, by dynamic programming (ARDM, arXiv:2110.02037).

    Args:
        h: the mean entropy of one more token when l are known, (L,), as ``revealing_cost`` gives it.
        steps: from 1 to L.

    Returns:
        (sizes, cost): tokens to show in each step and the least cost in nats.

    Raises:
        ValueError: another number of steps.
    """
    d = len(h)
    if not 1 <= steps <= d:
        raise ValueError(f"steps = {steps!r}: give 1 to {d}, no step shows nothing")
    cost = [[float(sum(h[a] - h[j] for j in range(a, b))) for b in range(d + 1)] for a in range(d + 1)]
    first: list[tuple[float, list[int]]] = [(0.0, []), *((np.inf, list[int]()) for _ in range(d))]
    best = [first]
    for _ in range(steps):
        last = best[-1]
        row = [(np.inf, list[int]())]
        for b in range(1, d + 1):
            value, a = min((last[a][0] + cost[a][b], a) for a in range(b))
            row.append((value, [*last[a][1], b - a]))
        best.append(row)
    value, sizes = best[-1][d]
    return sizes, value
