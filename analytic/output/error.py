r"""The exact error of a deterministic or stochastic Plan on one Gaussian, state by state: E|x_out − φ(x_T)|², without a run.

Along an eigendirection of variance v the flow is x_t = α_t μ + (R_t/R_s)(x_s − α_s μ), R² = α² v + σ², and a Plan with the exact denoiser
is x_t = b + a x_s + Σ_k c_k ξ_k. For x_s from the marginal at the first node,

    E|x_out − φ(x_s)|² = (b + a α_s μ − α_t μ)² + (a − R_t/R_s)² R_s² + Σ_k c_k².

Everything that is a Plan has it: cached, late, parallel and tuned ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.analytic.output.moments import Program, direction_rows


def flow_error(plan: Program, variances: Sequence[float] | np.ndarray, mean: Sequence[float] | np.ndarray | float = 0.0) -> np.ndarray:
    """sqrt(E|x_out − φ(x_T)|²) along each eigendirection of N(mean, Σ), shape (d,); its root mean square is that of the whole state.

    Args:
        plan: as ``solvers.trace`` makes it, or what ``solvers.reuse`` makes of that; on a schedule.
        variances: eigenvalues of Σ, (d,).
        mean: in the eigenbasis, (d,) or a number.

    Returns:
        (d,) root mean square errors, one for each eigendirection.

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
        variances, mean: of the data, N(mean, diag(variances)) in d dimensions.

    Returns:
        root mean square distance per coordinate, 0 or more.

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


def sensitivity(plan: Program, variances: Any) -> np.ndarray:
    """∂x_out/∂D_k: what becomes at the output of a unit error in evaluation k, later evaluations included, along each eigendirection of
    N(0, diag(variances)); shape (evaluations, d). The errors δ_k of a worse model make Σ_k (∂x_out/∂D_k) δ_k, exactly.

    Args:
        plan: on a schedule.
        variances: eigenvalues of the covariance of the data, (d,).

    Returns:
        (evaluations, d) derivatives, rows in order of evaluation.
    """
    v = np.asarray(variances, dtype=float)
    made: list[np.ndarray] = []

    def evaluate(x: np.ndarray, node: Any) -> np.ndarray:
        rows = x * (node.alpha * v / (node.alpha**2 * v + node.sigma**2))
        made.append(np.eye(1, len(made) + 1, len(made))[0])
        return _padded(rows, len(made)) + made[-1][:, None] * np.ones_like(v)

    def combine(terms: list[tuple[float, np.ndarray]]) -> np.ndarray:
        wide = max((len(rows) for _, rows in terms), default=0)
        return np.asarray(sum((c * _padded(rows, wide) for c, rows in terms), np.zeros((wide, len(v)))))

    empty = np.zeros((0, len(v)))
    return _padded(np.asarray(plan.fold(empty, evaluate, lambda s, t: empty, combine)), len(made))


def _padded(rows: np.ndarray, count: int) -> np.ndarray:
    return rows if len(rows) == count else np.vstack([rows, np.zeros((count - len(rows), rows.shape[1]))])


def propagated(delta: Any, variances: Any, first: Any, last: Any, panels: int = 64) -> np.ndarray:
    """∫ Φ(λ) δ dλ: the error at the end of the exact flow with D + δ(node) in the place of D, exactly where δ does not depend on x, to
    first order in it where it does: Gronwall's inequality with equality.

    In y = x/α the flow is dy/dλ = D − y, and a disturbance at λ grows by Φ = R(λ_end)/R(λ), R² = v + ρ².

    Args:
        delta: node -> δ along each eigendirection, (d,).
        variances: eigenvalues of the covariance of the data.
        first, last: nodes of a schedule.
        panels: of the quadrature, of 8 Gauss-Legendre points each.

    Returns:
        (d,) error at ``last``, one entry for each eigendirection.
    """
    v = np.asarray(variances, dtype=float)
    points, weights = np.polynomial.legendre.leggauss(8)
    edges = np.linspace(first.lam, last.lam, panels + 1)
    total = np.zeros_like(v)
    for low, high in pairwise(edges):
        for p, w in zip(points, weights, strict=True):
            node = first.process.at_lam(float(low + 0.5 * (high - low) * (1.0 + p)))
            total = total + 0.5 * (high - low) * w * np.sqrt((v + last.rho**2) / (v + node.rho**2)) * np.asarray(delta(node))
    return np.asarray(last.alpha * total)
