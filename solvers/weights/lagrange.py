"""Lagrange polynomials."""

from __future__ import annotations

import math
from collections.abc import Sequence


def lagrange(times: Sequence[float], j: int, t: float) -> float:
    """ℓ_j(t) = Π_{k≠j} (t − t_k)/(t_j − t_k)."""
    return math.prod((t - times[k]) / (times[j] - times[k]) for k in range(len(times)) if k != j)


def monomials(times: Sequence[float], j: int) -> list[float]:
    """The coefficients c of ℓ_j(t) = Σ_k c_k t^k."""
    c = [1.0]
    for k, u in enumerate(times):
        if k != j:
            c = [(low - u * high) / (times[j] - u) for low, high in zip([0.0, *c], [*c, 0.0], strict=True)]
    return c
