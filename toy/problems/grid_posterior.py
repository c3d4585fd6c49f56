r"""Posteriors on a grid of the plane, where A is not linear or the prior no mixture: p(x0 | y) ∝ p(x0) p(y | x0) at its points.

The grid's law is handed on as a mixture of narrow Gaussians, one per point that matters, so that every distance to a mixture serves. What
the grid costs is told: the change of mean and covariance when every other point is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scorebed.analytic import GaussianMixture

_LEAST = 1e-9  # of the largest weight: points below it are left out


@dataclass(frozen=True)
class GridPosterior:
    """Points (n, 2), weights (n,) and the spacing of a grid.

    Attributes:
        evidence: log p(y), by the sum over the grid.
        error: the largest change of mean and covariance when half of the points along each axis are left out.
    """

    points: np.ndarray
    weights: np.ndarray
    spacing: float
    evidence: float
    error: float

    def mean(self) -> np.ndarray:
        return self.weights @ self.points

    def covariance(self) -> np.ndarray:
        rest = self.points - self.mean()
        return (rest.T * self.weights) @ rest

    def law(self) -> GaussianMixture:
        """Σ w_i N(x_i, (spacing/2)² I) over the points that matter."""
        keep = self.weights > _LEAST * self.weights.max()
        w = self.weights[keep]
        return GaussianMixture(w / w.sum(), self.points[keep], (0.5 * self.spacing) ** 2)

    def sample(self, n: int, rng: np.random.Generator | int) -> np.ndarray:
        """n points, uniform within their cells, (n, 2)."""
        rng = np.random.default_rng(rng)
        pick = rng.choice(len(self.weights), size=n, p=self.weights)
        return self.points[pick] + self.spacing * (rng.random((n, 2)) - 0.5)


def grid_posterior(
    log_prior: Callable[[np.ndarray], np.ndarray],
    log_likelihood: Callable[[np.ndarray], np.ndarray],
    low: float,
    high: float,
    n: int = 401,
) -> GridPosterior:
    """The posterior on n × n points of [low, high]².

    Returns:
        the GridPosterior: points, weights, spacing, evidence and largest gap.

    Raises:
        ValueError: no mass on the grid, or mass at its border (the box is too small).
    """
    axis = np.linspace(low, high, n)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    log = np.asarray(log_prior(points), np.float64) + np.asarray(log_likelihood(points), np.float64)
    top = log.max()
    if not np.isfinite(top):
        raise ValueError(f"no point of [{low}, {high}]² has prior and likelihood: move or widen the grid")
    mass = np.exp(log - top)
    spacing = float(axis[1] - axis[0])
    table = (mass / mass.sum()).reshape(n, n)
    border = max(table[0].sum(), table[-1].sum(), table[:, 0].sum(), table[:, -1].sum())
    if border * n > 1e-2:
        raise ValueError(f"mass {border:.2g} at the border of [{low}, {high}]²: widen the grid")
    made = GridPosterior(points, table.ravel(), spacing, float(np.log(mass.sum()) + top + 2 * np.log(spacing)), 0.0)
    half = table[::2, ::2].ravel()
    coarse = GridPosterior(points.reshape(n, n, 2)[::2, ::2].reshape(-1, 2), half / half.sum(), 2 * spacing, 0.0, 0.0)
    gaps = np.abs(made.mean() - coarse.mean()).max(), np.abs(made.covariance() - coarse.covariance()).max()
    return GridPosterior(made.points, made.weights, spacing, made.evidence, float(max(gaps)))
