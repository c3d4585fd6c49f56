r"""Diagonal covariances in one basis that all components share: Σ_k = Q diag(v_k) Q^T, Q orthogonal (d, d), v (K, d).

An isotropic mixture stays one of these under any linear observation (``condition.py``), so a smoothed data set conditioned on blurred or
projected data costs what a diagonal one costs. With z = Q^T r and c = alpha² v + sigma²,

    C^{-1} r = Q (z/c),   log det C = Σ log c,   S = sigma² Σ C^{-1} = Q diag(sigma² v/c) Q^T.

Q is made orthogonal to 32 digits. Where c spans many decades a rotation in float64 loses them, and ``strain`` says so, as for full ones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from scorebed.analytic.gaussian.covariance import Cloud, Pick
from scorebed.analytic.gaussian.diagonal import Diagonal
from scorebed.analytic.gaussian.extended import Extended, Number, like, matmul
from scorebed.analytic.gaussian.full import orthogonal


class Rotated(NamedTuple):
    """Σ_k = basis diag(variance_k) basis^T, basis orthogonal (d, d), variance (K, d)."""

    basis: Any
    variance: Any


class RotatedDiagonal:
    """K covariances Q diag(v_k) Q^T."""

    wide = True

    def __init__(self, basis: np.ndarray, variance: np.ndarray) -> None:
        gap = np.abs(basis.T @ basis - np.eye(len(basis))).max(initial=0.0)
        if gap > 1e-10:
            raise ValueError(f"covariances.basis is not orthogonal: Q^T Q differs from I by up to {gap:.3g}; its columns are unit axes")
        self.basis = orthogonal(Extended(basis), 2)
        self.inner = Diagonal(variance)
        self.variance, self.k, self.d = variance, self.inner.k, self.inner.d

    def at(self, alpha: float, sigma: float) -> RotatedAt:
        return RotatedAt(self, alpha, sigma)

    def raw(self) -> Rotated:
        return Rotated(self.basis.hi, self.variance)

    def marginal(self, alpha: float, sigma: float) -> Rotated:
        return Rotated(self.basis.hi, self.inner.marginal(alpha, sigma))

    def along(self, directions: np.ndarray) -> np.ndarray:
        return self.inner.along(directions @ self.basis.hi)

    def pooled(self, weights: np.ndarray) -> np.ndarray:
        q = self.basis.hi
        return (q * (weights @ self.variance)) @ q.T

    def colour(self, pick: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self.inner.colour(pick, rng) @ self.basis.hi.T

    def eigen(self, k: int) -> tuple[np.ndarray, np.ndarray | None]:
        return self.variance[k], self.basis.hi


class RotatedAt:
    """The same at one node; what is asked of the axes is asked of the diagonal ones in turned coordinates."""

    def __init__(self, source: RotatedDiagonal, alpha: float, sigma: float) -> None:
        self.source, self.q, self.d = source, source.basis, source.d
        inner: Any = source.inner.at(alpha, sigma)
        self.inner = inner
        self.singular, self.logdet = self.inner.singular, self.inner.logdet
        self.least = self.inner.c.hi.min(-1)

    def _turn(self, r: Number) -> Number:
        return matmul(r, like(self.q, r))

    def _back(self, z: Number) -> Number:
        return matmul(z, like(self.q, z).swapaxes(-1, -2))

    def solve(self, pick: Pick, r: Number) -> tuple[Number, Number]:
        y, q = self.inner.solve(pick, self._turn(r))
        return self._back(y), q

    def posterior_mean(self, pick: Pick, mu: np.ndarray, x: np.ndarray, r: Number, y: Number) -> Number:
        q = like(self.q, r)
        return self._back(self.inner.posterior_mean(pick, matmul(mu, q), matmul(x, q), r, y))

    def strain(self, pick: Pick, r: np.ndarray, y: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        size, solved = np.sqrt(np.square(r).sum(-1)), np.sqrt(np.square(y).sum(-1))
        return size * solved, np.maximum(size / (self.least[pick][:, None] * solved), size * solved / (1.0 + np.abs(q)))

    def posterior(self) -> Rotated:
        return Rotated(self.q.hi, self.inner.s)

    def posterior_sum(self, weights: np.ndarray) -> np.ndarray:
        return (self.q.hi * (weights @ self.inner.s)[:, None, :]) @ self.q.hi.T

    def posterior_times(self, weights: np.ndarray, v: np.ndarray) -> np.ndarray:
        return self._back(self.inner.posterior_times(weights, self._turn(v)))

    def rough(self, x: np.ndarray, cloud: Cloud) -> tuple[np.ndarray, np.ndarray]:
        alpha = self.inner.alpha
        return self.inner.squares(self._turn(x - alpha * cloud.origin), self._turn(alpha * cloud.points))

    def blend_score(self, weights: np.ndarray, x: np.ndarray, mu: np.ndarray) -> np.ndarray:
        return self._back(self.inner.blend_score(weights, self._turn(x), self._turn(mu)))

    def blend_mean(self, weights: np.ndarray, x: np.ndarray, mu: np.ndarray) -> np.ndarray:
        return self._back(self.inner.blend_mean(weights, self._turn(x), self._turn(mu)))
