r"""How large a weight of the likelihood DPS bears before its steps grow, in closed form on Gaussians.

Along a direction of prior variance v that A sees with singular value a, D has the slope k = α v/(α² v + σ²), and DPS's model, with
weight w,

    D̃:  k (1 − w (σ²/α) k a²/r²),        DDIM:  x_t = κ x_s + …,  κ = σ_t/σ_s + c k − w c k² (σ_s²/α_s) a²/r²,  c = α_t − σ_t α_s/σ_s,

so that |κ| ≤ 1 as long as w ≤ (1 + σ_t/σ_s + c k)/(c k² (σ_s²/α_s) a²/r²). The bound goes with r²: without noise in y no weight is
stable on a fixed grid, and a step may be no longer than about r² allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pandas as pd

from scorebed.solvers import Node, Schedule, grid


def dps_factor(weight: float, variance: float, a: float, r2: float, s: Node, t: Node) -> float:
    """κ of one DDIM step of DPS."""
    c = t.alpha - t.sigma * s.alpha / s.sigma
    k = s.alpha * variance / (s.alpha**2 * variance + s.sigma**2)
    return t.sigma / s.sigma + c * k - weight * c * k * k * (s.sigma**2 / s.alpha) * a * a / r2


def dps_limit(variance: float, a: float, r2: float, nodes: Sequence[Node]) -> float:
    """The largest weight with |κ| ≤ 1 at every step of the grid."""
    limits = []
    for s, t in pairwise(nodes):
        still, one = dps_factor(0.0, variance, a, r2, s, t), dps_factor(1.0, variance, a, r2, s, t)
        limits.append((1.0 + still) / (still - one))
    return min(limits)


def dps_limits(
    schedule: Schedule, noises: Sequence[float], steps: Sequence[int], variance: float = 1.0, a: float = 1.0, end: float = 1e-3
) -> pd.DataFrame:
    """The limit for every variance r² of the noise and number of steps, on grids uniform in lam: columns r2, steps, limit."""
    rows = [(r2, n, dps_limit(variance, a, r2, grid.uniform_lam(schedule, n, end=end))) for r2 in noises for n in steps]
    return pd.DataFrame(rows, columns=["r2", "steps", "limit"])
