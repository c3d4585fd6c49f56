r"""Wasserstein-2 (Bures) and KL between Gaussians, accurate also where the two are nearly equal.

W2² = |m_a - m_b|² + B²,  B² = tr A + tr B - 2 tr (A^{1/2} B A^{1/2})^{1/2}. That formula loses everything below 1e-8. Two that do not:

    B = min_U |A^{1/2} - B^{1/2} U|_F over orthogonal U, the polar factor of B^{1/2} A^{1/2}          (any A, B; right to 1e-16 of
    |A^{1/2}|) B² = tr(Y A Y), where Y A + A Y + Y A Y = B - A and I + Y is the optimal map                    (B near A; right in relative
    terms)

The second is solved by iterating the Lyapunov equation Y A + A Y = (B - A) - Y A Y in the eigenbasis of A.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.linalg import polar, solve_triangular

from scorebed.analytic.gaussian.arrays import finite

_NEAR = 0.1  # |Y| below which the iteration is used; it gains a digit or more a turn


def gaussian_w2(mean_a: Any, cov_a: Any, mean_b: Any, cov_b: Any) -> float:
    """W2 between N(mean_a, cov_a) and N(mean_b, cov_b); means (d,), covariances (d, d).

    Returns:
        W2 distance, 0 or more.

    Raises:
        ValueError: shapes that do not match, nan or inf, a covariance not symmetric or not positive semidefinite.
    """
    a, b = finite("mean_a", mean_a, 1), finite("mean_b", mean_b, 1)
    if a.shape != b.shape:
        raise ValueError(f"mean_a has shape {a.shape}, mean_b {b.shape}: give two of the same shape")
    first, second = _checked("cov_a", cov_a, len(a)), _checked("cov_b", cov_b, len(a))
    return math.hypot(float(np.linalg.norm(a - b)), _bures(first, second))


def gaussian_kl(mean_a: Any, cov_a: Any, mean_b: Any, cov_b: Any) -> float:
    """KL(N(mean_a, cov_a) ‖ N(mean_b, cov_b)) = ½ Σ_i (m_i − log(1 + m_i)) + ½ |L^{-1} (mean_a − mean_b)|², with L L^T = cov_b and m the
    eigenvalues of L^{-1} (cov_a − cov_b) L^{-T}; means (d,), covariances (d, d). inf where cov_a is singular.

    Returns:
        KL divergence in nats, 0 or more; inf where cov_a is singular.

    Raises:
        ValueError: shapes that do not match, nan or inf, a covariance not symmetric or not positive semidefinite, a singular cov_b.
    """
    a, b = finite("mean_a", mean_a, 1), finite("mean_b", mean_b, 1)
    if a.shape != b.shape:
        raise ValueError(f"mean_a has shape {a.shape}, mean_b {b.shape}: give two of the same shape")
    first, second = _checked("cov_a", cov_a, len(a)), _checked("cov_b", cov_b, len(a))
    try:
        root = np.linalg.cholesky(second)
    except np.linalg.LinAlgError:
        raise ValueError("cov_b is singular: the first law must have a density in the second") from None
    off = solve_triangular(root, solve_triangular(root, first - second, lower=True).T, lower=True)
    ratios = np.maximum(np.linalg.eigvalsh(0.5 * (off + off.T)), -1.0)
    with np.errstate(divide="ignore"):
        spread = float(np.sum(ratios - np.log1p(ratios)))
    return 0.5 * (spread + float(np.sum(np.square(solve_triangular(root, a - b, lower=True)))))


def _checked(name: str, value: Any, d: int) -> np.ndarray:
    out = finite(name, value, 2)
    if out.shape != (d, d):
        raise ValueError(f"{name} has shape {out.shape}: give ({d}, {d})")
    size = np.abs(out).max(initial=0.0)
    if np.abs(out - out.T).max(initial=0.0) > 1e-8 * size:
        raise ValueError(f"{name} is not symmetric")
    out = 0.5 * (out + out.T)
    if np.linalg.eigvalsh(out)[0] < -1e-8 * size:
        raise ValueError(f"{name} is not positive semidefinite: its smallest eigenvalue is {np.linalg.eigvalsh(out)[0]:.6g}")
    return out


def _bures(a: np.ndarray, b: np.ndarray) -> float:
    near = _bures_near(a, b)
    if near is not None:
        return near
    root_a, root_b = _root(a), _root(b)
    turn, _ = polar(root_b @ root_a)
    return float(np.linalg.norm(root_a - turn.T @ root_b))


def _bures_near(a: np.ndarray, b: np.ndarray) -> float | None:
    """The Bures distance by the iteration, or None where it does not settle."""
    spectrum, q = np.linalg.eigh(a)
    apart = q.T @ (b - a) @ q
    if not np.any(apart):
        return 0.0
    sums = spectrum[:, None] + spectrum
    if spectrum[0] <= 1e-12 * spectrum[-1]:
        return None
    first = y = apart / sums
    if np.linalg.norm(y) > _NEAR:
        return None
    for _ in range(60):
        new = first - (y * spectrum) @ y / sums
        done = np.linalg.norm(new - y) <= 1e-16 * np.linalg.norm(y)
        y = new
        if done:
            break
    return float(np.linalg.norm(y * np.sqrt(spectrum)))


def _root(a: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(a)
    least = len(a) * np.finfo(float).eps * values[-1]  # of what is less nothing is known, and its root would be 1e-8, not 1e-16
    return (vectors * np.sqrt(np.where(values > least, values, 0.0))) @ vectors.T
