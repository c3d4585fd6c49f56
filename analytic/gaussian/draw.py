r"""Exact draws of p(x0 | x_t) as a function of normals, the same for the same normals: x0 = g(x, ξ).

The posterior is a mixture with weights and means of each state (``posterior.py``). Coordinate i is drawn by inversion of its law given the
coordinates before it (Rosenblatt, 1952): with Σ_k = L_k L_k^T and z_k the coordinates so far as component k sees them,

    x_i ~ Σ_k γ_k N(m_ki + Σ_{j<i} L_kij z_kj, L_kii²),      γ_k ∝ γ_k N(z_ki)/L_kii after it,      Φ(ξ_i) = its distribution function.

So a step of any length that goes from x_t to x_s through x0 draws from the true p(x_s | x_t), in one evaluation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtr

from scorebed.analytic.gaussian.arrays import rows
from scorebed.analytic.gaussian.posterior import Posterior
from scorebed.analytic.gaussian.product import RotatedProduct
from scorebed.analytic.gaussian.structure import structure
from scorebed.solvers.model import Array, predicts
from scorebed.solvers.schedule import Node

_BISECTIONS = 14


def posterior_draws(law: Any) -> Any:
    """g(x, s, ξ), marked ``predicts("draw")``: draws of p(x0 | x_s = x) of a mixture or a rotated product; x and ξ of shape (..., d)."""

    @predicts("draw")
    def draw(x: Array, s: Node, xi: Array) -> Array:
        flat, restore = rows(x, law.d)
        normals, _ = rows(xi, law.d)
        if normals.shape != flat.shape:
            raise ValueError(f"xi has shape {np.shape(xi)}: give one normal for each number of x, {np.shape(x)}")
        return restore(_drawn(law, flat, s, normals))

    draw.law = law  # type: ignore[attr-defined]
    return draw


def _drawn(law: Any, x: np.ndarray, s: Node, xi: np.ndarray) -> np.ndarray:
    if s.sigma == 0.0:
        return x / s.alpha
    if isinstance(law, RotatedProduct):
        y = x @ law.rotation
        parts = [_drawn(factor, y[:, i : i + 1], s, xi[:, i : i + 1]) for i, factor in enumerate(law.factors)]
        return np.concatenate(parts, axis=1) @ law.rotation.T
    posterior = law.posterior(x, s)
    gamma, means = np.asarray(posterior.weights), np.asarray(posterior.means)
    held = structure(posterior.covariances, law.k, law.d)
    roots = np.linalg.cholesky(np.stack([held.pooled(row) for row in np.eye(law.k)]))
    out, z = np.empty_like(x), np.zeros((len(x), law.k, law.d))
    for i in range(law.d):
        centre = means[:, :, i] + np.einsum("nkj,kj->nk", z[:, :, :i], roots[:, i, :i])
        scale = roots[:, i, i]
        out[:, i] = quantile(gamma, centre, scale, xi[:, i])
        z[:, :, i] = (out[:, i : i + 1] - centre) / scale
        log = -0.5 * np.square(z[:, :, i]) - np.log(scale)
        gamma = gamma * np.exp(log - log.max(1, keepdims=True))
        gamma = gamma / gamma.sum(1, keepdims=True)
    return out


def quantile(gamma: np.ndarray, centre: np.ndarray, scale: np.ndarray, xi: np.ndarray) -> np.ndarray:
    """The y with Σ_k γ_k Φ((y − m_k)/s_k) = Φ(ξ), one row of weights and means (n, K) for each ξ (n,); from the shorter tail."""
    sign = np.where(xi > 0.0, -1.0, 1.0)
    goal = ndtr(-np.abs(xi))
    ends = centre + scale * xi[:, None]
    live = gamma > 0.0
    low, high = np.where(live, ends, np.inf).min(1), np.where(live, ends, -np.inf).max(1)
    y, settled = 0.5 * (low + high), np.zeros(len(xi), dtype=bool)
    for turn in range(60):
        t = (y[:, None] - centre) / scale
        gap = (gamma * ndtr(sign[:, None] * t)).sum(1) - goal
        below = sign * gap < 0.0
        low, high = np.where(below, y, low), np.where(below, high, y)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = y - sign * gap / (gamma * np.exp(-0.5 * t * t) / scale).sum(1) * np.sqrt(2.0 * np.pi)
        new = np.where((step > low) & (step < high) & (turn % _BISECTIONS > 1), step, 0.5 * (low + high))
        new = np.where(settled, y, new)  # a row does not depend on what others still need
        settled |= np.abs(new - y) <= 4e-16 * (1.0 + np.abs(y))
        y = new
        if settled.all():
            break
    return y


def reverse_step(law: Any, x: Array, s: Node, t: Node) -> Posterior:
    r"""The true p(x_t | x_s = x), t cleaner than s, as a mixture: weights (..., K), means (..., K, d), covariances (K, d, d).

    With x0 | x a mixture of N(m_k, S_k) and h = lam_t − lam_s, it is that of N(a x + b m_k, b² S_k + c² I), a = (σ_t/σ_s) e^{−h},
    b = α_t (1 − e^{−2h}), c = σ_t √(1 − e^{−2h}): one component for each mode, for steps of any length.

    Returns:
        the Posterior: weights (..., K), means (..., K, d) and covariances (K, d, d).

    Raises:
        ValueError: t noisier than s, or a law that is no mixture.
    """
    h = t.lam - s.lam
    if not h >= 0.0 or not hasattr(law, "posterior"):
        raise ValueError(f"a reverse step of {law!r} from {s} to {t}: give a GaussianMixture, and a cleaner node to go to")
    spread = -np.expm1(-2.0 * h)
    a, b = t.sigma / s.sigma * float(np.exp(-h)), float(t.alpha * spread)
    posterior = law.posterior(x, s)
    held = structure(posterior.covariances, law.k, law.d)
    own = t.sigma**2 * spread * np.eye(law.d)
    covariances = np.stack([b * b * held.pooled(row) + own for row in np.eye(law.k)])
    return Posterior(posterior.weights, a * x[..., None, :] + b * posterior.means, covariances)
