r"""The exact error of a deterministic or stochastic Plan on one Gaussian, state by state: E|x_out − φ(x_T)|², without a run.

Along an eigendirection of variance v the flow is x_t = α_t μ + (R_t/R_s)(x_s − α_s μ), R² = α² v + σ², and a Plan with the exact denoiser
is x_t = b + a x_s + Σ_k c_k ξ_k. For x_s from the marginal at the first node,

    E|x_out − φ(x_s)|² = (b + a α_s μ − α_t μ)² + (a − R_t/R_s)² R_s² + Σ_k c_k².

Everything that is a Plan has it: cached, late, parallel and tuned ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from scorebed.analytic.output.moments import Program, direction_rows


def flow_error(plan: Program, variances: Sequence[float] | np.ndarray, mean: Sequence[float] | np.ndarray | float = 0.0) -> np.ndarray:
    """sqrt(E|x_out − φ(x_T)|²) along each eigendirection of N(mean, Σ), shape (d,); its root mean square is that of the whole state.

    Args:
        plan: as ``solvers.trace`` makes it, or what ``solvers.reuse`` makes of that; on a schedule.
        variances: eigenvalues of Σ, (d,).
        mean: in the eigenbasis, (d,) or a number.

    Raises:
        ValueError: variances that are negative or not finite.
    """
    v = np.asarray(variances, dtype=float)
    if v.ndim != 1 or not v.size or not np.isfinite(v).all() or (v < 0.0).any():
        raise ValueError(f"variances = {variances!r} must be a list of finite eigenvalues of a covariance, none negative")
    mu = np.broadcast_to(np.asarray(mean, dtype=float), v.shape)
    s, t = plan.grid[0], plan.grid[-1]
    rows = direction_rows(plan, v, mu)
    before, after = np.sqrt(s.alpha**2 * v + s.sigma**2), np.sqrt(t.alpha**2 * v + t.sigma**2)
    bias = rows[0] + rows[1] * s.alpha * mu - t.alpha * mu
    return np.asarray(np.sqrt(bias**2 + (rows[1] * before - after) ** 2 + np.square(rows[2:]).sum(0)))


def flow_rms(plan: Program, variances: Any, mean: Any = 0.0) -> float:
    """sqrt(E|x_out − φ(x_T)|²/d): one number for ``flow_error``."""
    return math.sqrt(float(np.mean(np.square(flow_error(plan, variances, mean)))))


def plan_distance(plan: Program, other: Program, variances: Any, mean: Any = 0.0) -> float:
    """sqrt(E|x − x'|²/d) between the outputs of two Plans from the same start with the same draws: what a cache costs, exactly.

    Args:
        plan, other: with the same first and last node and as many draws.

    Raises:
        ValueError: other ends or another number of draws.
    """
    if (plan.grid[0], plan.grid[-1]) != (other.grid[0], other.grid[-1]):
        raise ValueError("plan and other run between different nodes: give Plans with the same first and last node")
    v = np.asarray(variances, dtype=float)
    mu = np.broadcast_to(np.asarray(mean, dtype=float), v.shape)
    a, b = direction_rows(plan, v, mu), direction_rows(other, v, mu)
    if len(a) != len(b):
        raise ValueError(f"plan draws {len(a) - 2} times and other {len(b) - 2} times: their outputs have no common draws")
    s, gap = plan.grid[0], a - b
    square = (gap[0] + gap[1] * s.alpha * mu) ** 2 + gap[1] ** 2 * (s.alpha**2 * v + s.sigma**2) + np.square(gap[2:]).sum(0)
    return math.sqrt(float(np.mean(square)))
