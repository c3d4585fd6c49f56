r"""The Schrödinger bridge between two Gaussians, and the iterations that go to it (Janati et al., arXiv:2006.02572; Bunne et al.,
arXiv:2202.05722).

Among all laws of paths with ends N(a, A) at t = 0 and N(b, B) at t = 1 the one nearest to a Brownian motion of variance ε is a Brownian
bridge between ends that are jointly Gaussian, with

    Cov(x0, x1) = ½ A^{1/2} (4 A^{1/2} B A^{1/2} + ε²)^{1/2} A^{-1/2} − ½ ε.

Its precision is [[P, −1/ε], [−1/ε, R]], and proportional fitting (Sinkhorn's iteration) sets P = A^{-1} + R^{-1}/ε², then
R = B^{-1} + P^{-1}/ε²: near the end errors fall by κ⁴ in each round, κ the largest canonical correlation of the two ends.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from scorebed.analytic.gaussian.arrays import finite
from scorebed.analytic.process.linear import LinearLaw
from scorebed.solvers.process.bridge import BrownianBridge


def _power(m: np.ndarray, p: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(m)
    return np.asarray((vectors * values**p) @ vectors.T)


def _covariances(start: Any, end: Any, epsilon: float) -> tuple[np.ndarray, np.ndarray, float]:
    a, b, eps = finite("start", start, 2), finite("end", end, 2), float(epsilon)
    if a.shape != b.shape or min(np.linalg.eigvalsh(a).min(), np.linalg.eigvalsh(b).min()) <= 0.0:
        raise ValueError(f"start {a.shape} and end {b.shape} must be covariances of one size, positive definite")
    if not (math.isfinite(eps) and eps > 0.0):
        raise ValueError(f"epsilon = {epsilon!r} must be positive and finite")
    return a, b, eps


def coupling(start: Any, end: Any, epsilon: float) -> np.ndarray:
    """Cov(x0, x1) of the bridge between covariances ``start`` A and ``end`` B, (d, d).

    Returns:
        (d, d) cross-covariance of x0 and x1.

    Raises:
        ValueError: what is no covariance, or ``epsilon`` that is not positive.
    """
    a, b, eps = _covariances(start, end, epsilon)
    root = _power(a, 0.5)
    inner = _power(4.0 * root @ b @ root + eps**2 * np.eye(len(a)), 0.5)
    return np.asarray(0.5 * root @ inner @ _power(a, -0.5) - 0.5 * eps * np.eye(len(a)))


def fitting(start: Any, end: Any, epsilon: float, rounds: int) -> list[np.ndarray]:
    """Cov(x0, x1) after each of the rounds of proportional fitting, begun at the Brownian motion from N(·, A)."""
    a, b, eps = _covariances(start, end, epsilon)
    r, out = np.eye(len(a)) / eps, []
    for _ in range(rounds):
        p = np.linalg.inv(a) + np.linalg.inv(r) / eps**2
        r = np.linalg.inv(b) + np.linalg.inv(p) / eps**2
        n = len(a)
        precision = np.block([[p, -np.eye(n) / eps], [-np.eye(n) / eps, r]])
        out.append(np.linalg.inv(precision)[:n, n:])
    return out


def rate(start: Any, end: Any, epsilon: float) -> float:
    """κ⁴, by which the error of ``fitting`` falls in each round near its end."""
    a, b, _ = _covariances(start, end, epsilon)
    c = coupling(a, b, epsilon)
    squares = np.linalg.eigvals(np.linalg.solve(a, c) @ np.linalg.solve(b, c.T)).real
    return float(squares.max()) ** 2


def schrodinger_bridge(start: tuple[Any, Any], end: tuple[Any, Any], epsilon: float) -> LinearLaw:
    """The bridge from N(a, A) at t = 0 to N(b, B) at t = 1, ``start`` (a, A) and ``end`` (b, B), as the law of a Brownian bridge's ends."""
    (mean_a, a), (mean_b, b) = start, end
    c = coupling(a, b, epsilon)
    joint = np.block([[np.asarray(a, dtype=float), c], [c.T, np.asarray(b, dtype=float)]])
    return LinearLaw(BrownianBridge(math.sqrt(epsilon)), [1.0], np.concatenate([mean_a, mean_b])[None], joint[None])
