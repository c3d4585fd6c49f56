r"""Optimal transport: between laws on the line, and from noise N(0, s² I) to finitely many points (semi-discrete).

On the line the map is monotone, T = Q_b ∘ F_a. To points y_j with weights w_j it sends x to the y_j of its power cell

    C_j = {x : |x − y_j|² − ψ_j ≤ |x − y_i|² − ψ_i for all i},      P(C_j) = w_j,

and ψ maximises the concave Σ_j w_j ψ_j + E min_j(|x − y_j|² − ψ_j), whose gradient is w − P(C) (Aurenhammer, Hoffmann & Aronov, 1998).
In one dimension, and in the plane line by line, cells are intervals, and their masses differences of Φ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr

from scorebed.analytic.gaussian.arrays import finite
from scorebed.analytic.gaussian.mixture import GaussianMixture


def monotone(a: GaussianMixture, b: GaussianMixture, x: Any) -> np.ndarray:
    """T(x) = Q_b(F_a(x)), elementwise: the optimal map between two mixtures on the line, from the shorter tail.

    Returns:
        T(x), of the shape of x.

    Raises:
        ValueError: laws that are not on the line.
    """
    points = np.asarray(x, np.float64)
    below, above = np.asarray(a.cdf(points)), np.asarray(a.sf(points))
    left = below < 0.5
    low, high = np.asarray(b.quantile(np.where(left, below, 0.5))), np.asarray(b.isf(np.where(left, 0.5, above)))
    return np.where(left, low, high)


@dataclass(frozen=True)
class Cells:
    """Power cells of points y (m, d) under N(0, s² I): potentials (m,) and the masses (m,) that they give."""

    points: np.ndarray
    potentials: np.ndarray
    masses: np.ndarray

    def __call__(self, x: Any) -> np.ndarray:
        """The point that each x (..., d) is sent to."""
        return np.asarray(self.points[self.index(x)])

    def index(self, x: Any) -> np.ndarray:
        """Its number, (...)."""
        apart = np.square(np.asarray(x, np.float64)[..., None, :] - self.points).sum(-1) - self.potentials
        return np.asarray(np.argmin(apart, axis=-1))


def semidiscrete(points: Any, weights: Any = None, scale: float = 1.0, lines: int = 600) -> Cells:
    """The optimal map from N(0, scale² I) to points (m, d), d = 1 or 2, of these weights (equal ones by default).

    Returns:
        the Cells: points, potentials and the mass of each cell.

    Raises:
        ValueError: another dimension, weights that are no positive distribution, two points that are the same.
    """
    y = finite("points", points, 2)
    m, d = y.shape
    w = np.full(m, 1.0 / m) if weights is None else finite("weights", weights, 1)
    if d not in (1, 2):
        raise ValueError(f"points lie in {d} dimensions: masses of cells are closed in 1 and 2")
    if len(w) != m or np.any(w <= 0.0) or abs(w.sum() - 1.0) > 1e-9:
        raise ValueError(f"weights = {w}: give {m} positive numbers that sum to 1")
    if len(np.unique(y, axis=0)) < m:
        raise ValueError("two of the points are the same: give each once, with the sum of their weights")
    near = y - y.mean(0)
    ratio = max(float(np.sqrt(np.square(near).mean())) / scale, 1e-300)
    psi = np.square(y).sum(1) - np.square(near).sum(1) / ratio  # the Voronoi cells of the points moved into the noise: none is empty
    mass = _masses(y, psi, scale, lines)
    h = 1e-6 * scale**2
    for _ in range(100):
        if np.abs(mass - w).max() < 1e-12:
            break
        slopes = np.stack([(_masses(y, psi + h * e, scale, lines) - _masses(y, psi - h * e, scale, lines)) / (2 * h) for e in np.eye(m)], 1)
        move = np.linalg.lstsq(slopes, w - mass, rcond=1e-11)[0]
        for damp in 0.5 ** np.arange(12):  # no cell may vanish (Kitagawa, Mérigot & Thibert, 2019)
            tried = _masses(y, psi + damp * move, scale, lines)
            if tried.min() > 0.25 * min(float(w.min()), float(mass.min())) and np.abs(tried - w).max() < np.abs(mass - w).max() * (
                1.0 - 0.3 * damp
            ):
                break
        psi, mass = psi + damp * move, tried
        psi = psi - psi.mean()
    return Cells(y, psi, mass)


def _masses(y: np.ndarray, psi: np.ndarray, scale: float, lines: int) -> np.ndarray:
    """P(C_j), (m,)."""
    b = psi - np.square(y).sum(1)  # C_j maximises 2 x·y_j + b_j
    if y.shape[1] == 1:
        return _intervals(2.0 * y[:, 0], b[None], scale)[0]
    z = np.linspace(-8.5, 8.5, lines)
    weight = np.exp(-0.5 * z * z)
    each = _intervals(2.0 * y[:, 1], 2.0 * scale * z[:, None] * y[:, 0] + b, scale)
    return np.asarray(weight @ each / weight.sum())


def _intervals(slope: np.ndarray, b: np.ndarray, scale: float) -> np.ndarray:
    """Masses (lines, m) of where slope_j x + b_j is the largest, x ~ N(0, scale²)."""
    gap = slope[:, None] - slope[None]  # of j over i
    with np.errstate(divide="ignore", invalid="ignore"):
        cross = (b[:, None, :] - b[:, :, None]) / gap[None]  # x where j and i are equal
        low = np.where(gap[None] > 0.0, cross, -np.inf).max(2)
        high = np.where(gap[None] < 0.0, cross, np.inf).min(2)
    beaten = ((gap[None] == 0.0) & (b[:, None, :] > b[:, :, None])).any(2)
    mass = ndtr(high / scale) - ndtr(low / scale)
    return np.where(beaten | (high <= low), 0.0, mass)
