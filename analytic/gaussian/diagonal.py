"""Isotropic and diagonal covariances, and what becomes of them at a node: everything goes coordinate by coordinate."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from scorebed.analytic.gaussian.covariance import AtNode, Cloud, Pick, noisy
from scorebed.analytic.gaussian.extended import Extended, Number, like, product


class Isotropic:
    """Σ_k = variance_k I."""

    wide = True

    def __init__(self, variance: np.ndarray, d: int) -> None:
        self.variance, self.k, self.d = variance, len(variance), d

    def at(self, alpha: float, sigma: float) -> AtNode:
        return _IsotropicAt(self, alpha, sigma)

    def raw(self) -> np.ndarray:
        return self.variance

    def marginal(self, alpha: float, sigma: float) -> np.ndarray:
        return noisy(self.variance, alpha, sigma).hi

    def along(self, directions: np.ndarray) -> np.ndarray:
        return np.square(directions).sum(-1)[:, None] * self.variance

    def pooled(self, weights: np.ndarray) -> np.ndarray:
        return weights @ self.variance * np.eye(self.d)

    def colour(self, pick: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal((len(pick), self.d)) * np.sqrt(self.variance)[pick, None]

    def eigen(self, k: int) -> tuple[np.ndarray, np.ndarray | None]:
        return np.full(self.d, self.variance[k]), None


class Diagonal:
    """Σ_k = diag(variance_k)."""

    wide = True

    def __init__(self, variance: np.ndarray) -> None:
        self.variance = variance
        self.k, self.d = variance.shape

    def at(self, alpha: float, sigma: float) -> AtNode:
        return _DiagonalAt(self, alpha, sigma)

    def raw(self) -> np.ndarray:
        return self.variance

    def marginal(self, alpha: float, sigma: float) -> np.ndarray:
        return noisy(self.variance, alpha, sigma).hi

    def along(self, directions: np.ndarray) -> np.ndarray:
        return np.square(directions) @ self.variance.T

    def pooled(self, weights: np.ndarray) -> np.ndarray:
        return np.diag(weights @ self.variance)

    def colour(self, pick: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal((len(pick), self.d)) * np.sqrt(self.variance)[pick]

    def eigen(self, k: int) -> tuple[np.ndarray, np.ndarray | None]:
        return self.variance[k], None


class _DiagonalAt:
    """C_k = diag(c_k): S = sigma² variance / c, E[x0 | x, k] = (sigma²/c) mu + (alpha variance/c) x, both free of cancellation."""

    def __init__(self, source: Any, alpha: float, sigma: float) -> None:
        self.d = source.d
        self.c = noisy(source.variance, alpha, sigma)
        self.singular = bool(np.any(self.c.hi <= 0.0))
        self.alpha, self.sigma, self.variance = alpha, sigma, source.variance
        with np.errstate(divide="ignore", invalid="ignore"):
            self.logdet = self._logdet()
            self.keep = sigma * sigma / self.c.hi
            self.gain = alpha * source.variance / self.c.hi
            self.s = source.variance * self.keep

    @cached_property
    def extended(self) -> tuple[Extended, Extended]:
        """``keep``, sigma²/c, and ``gain``, alpha variance/c, for the states that need them in extended precision."""
        return noisy(self.variance, 0.0, self.sigma) / self.c, product(np.float64(self.alpha), self.variance) / self.c

    def _logdet(self) -> np.ndarray:
        return self.c.log().sum(-1)

    def _spread(self, parameter: Number, pick: Pick) -> Number:
        return parameter[pick][:, None, :]

    def _fold(self, weights: np.ndarray, parameter: np.ndarray, mu: np.ndarray) -> np.ndarray:
        """Σ_k weights_{nk} parameter_k mu_k."""
        return weights @ (parameter * mu)

    def _total(self, weights: np.ndarray, parameter: np.ndarray) -> np.ndarray:
        """Σ_k weights_{nk} parameter_k, to be multiplied with states."""
        return weights @ parameter

    def solve(self, pick: Pick, r: Number) -> tuple[Number, Number]:
        y = r / self._spread(like(self.c, r), pick)
        return y, (r * y).sum(-1)

    def posterior_mean(self, pick: Pick, mu: np.ndarray, x: np.ndarray, r: Number, y: Number) -> Number:
        keep, gain = self.extended if isinstance(y, Extended) else (self.keep, self.gain)
        return self._spread(keep, pick) * mu + self._spread(gain, pick) * x

    def strain(self, pick: Pick, r: np.ndarray, y: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        return q, None

    def posterior(self) -> np.ndarray:
        return self.s

    def posterior_sum(self, weights: np.ndarray) -> np.ndarray:
        return self._total(weights, self.s)[:, :, None] * np.eye(self.d)

    def posterior_times(self, weights: np.ndarray, v: np.ndarray) -> np.ndarray:
        return self._total(weights, self.s) * v

    def rough(self, x: np.ndarray, cloud: Cloud) -> tuple[np.ndarray, np.ndarray]:
        """r^T C^{-1} r, r = x - alpha mu, by matrix products, (n, K), and the size of the terms that cancelled in it, (n,)."""
        return self.squares(x - self.alpha * cloud.origin, self.alpha * cloud.points)

    def squares(self, x: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same about an origin, for ``centres`` (K, d)."""
        inverse = 1.0 / self.c.hi
        own = (np.square(centres) * inverse).sum(-1)
        squares = np.square(x) @ inverse.T
        return squares - 2.0 * (x @ (centres * inverse).T) + own, squares.max(1) + own.max()

    def blend_score(self, weights: np.ndarray, x: np.ndarray, mu: np.ndarray) -> np.ndarray:
        """Σ_k weights_{nk} C_k^{-1} (alpha mu_k - x), by matrix products."""
        inverse = 1.0 / self.c.hi
        return self.alpha * self._fold(weights, inverse, mu) - self._total(weights, inverse) * x

    def blend_mean(self, weights: np.ndarray, x: np.ndarray, mu: np.ndarray) -> np.ndarray:
        """Σ_k weights_{nk} E[x0 | x, k], by matrix products."""
        return self._fold(weights, self.keep, mu) + self._total(weights, self.gain) * x


class _IsotropicAt(_DiagonalAt):
    """C_k = c_k I."""

    def _logdet(self) -> np.ndarray:
        return self.d * self.c.log()

    def _spread(self, parameter: Number, pick: Pick) -> Number:
        return parameter[pick][:, None, None]

    def _fold(self, weights: np.ndarray, parameter: np.ndarray, mu: np.ndarray) -> np.ndarray:
        return (weights * parameter) @ mu

    def _total(self, weights: np.ndarray, parameter: np.ndarray) -> np.ndarray:
        return (weights @ parameter)[:, None]

    def posterior_sum(self, weights: np.ndarray) -> np.ndarray:
        return (weights @ self.s)[:, None, None] * np.eye(self.d)

    def rough(self, x: np.ndarray, cloud: Cloud) -> tuple[np.ndarray, np.ndarray]:
        x = x - self.alpha * cloud.origin
        own, squares = self.alpha**2 * cloud.sizes, np.square(x).sum(-1)
        out = x @ cloud.points.T
        out *= -2.0 * self.alpha
        out += squares[:, None]
        out += own
        out /= self.c.hi
        return out, (squares + own.max()) / self.c.hi.min()
