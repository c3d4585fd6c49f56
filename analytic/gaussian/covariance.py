r"""Covariances of K Gaussians, each computed in its own structure, and what becomes of them at a node.

With x_t = alpha x0 + sigma eps a component N(mu, Σ) becomes N(alpha mu, C), C = alpha² Σ + sigma² I. Everything asked of a mixture is built
from

    C^{-1} r,    log det C,    Σ y,    S = sigma² Σ C^{-1} (the covariance of x0 given x_t),    u^T Σ u.

Each structure answers in the precision of what it is given, float64 or ``Extended``; residuals r have shape (components, n, d), and
``pick`` says which components they belong to. Isotropic and diagonal are here; ``lowrank.py``, ``full.py`` and ``rotated.py`` hold the
others.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from scorebed.analytic.gaussian.extended import Extended, Number, like, product

Pick = slice | np.ndarray


class LowRank(NamedTuple):
    """Σ_k = factor_k factor_k^T + diag(diagonal_k), factor (K, d, r), diagonal (K, d)."""

    factor: Any
    diagonal: Any


class AtNode(Protocol):
    """K covariances C = alpha² Σ + sigma² I at one node."""

    singular: bool
    logdet: np.ndarray

    def solve(self, pick: Pick, r: Number) -> tuple[Number, Number]:
        """y = C^{-1} r and q = r·y for r of shape (components, n, d)."""

    def posterior_mean(self, pick: Pick, mu: np.ndarray, x: np.ndarray, r: Number, y: Number) -> Number:
        """E[x0 | x, component] from mu (components, 1, d), x (…, n, d), r = x - alpha mu and y = C^{-1} r."""

    def strain(self, pick: Pick, r: np.ndarray, y: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Multiples of float64's unit round-off that q = r·y (absolute) and y (relative; None for a few) may be wrong by."""

    def posterior(self) -> Any:
        """S = sigma² Σ C^{-1} of every component, in the structure of Σ."""

    def posterior_sum(self, weights: np.ndarray) -> np.ndarray:
        """Σ_k weights_{nk} S_k, dense (n, d, d)."""

    def posterior_times(self, weights: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Σ_k weights_{nk} S_k v_n for vectors v (n, d)."""


class Covariance(Protocol):
    """K covariances Σ."""

    k: int
    d: int
    wide: bool  # whether pairs of a state and a component can be gathered cheaply (parameters of size d, not d² or d r)

    def at(self, alpha: float, sigma: float) -> AtNode: ...
    def raw(self) -> Any:
        """The constructor's argument."""

    def marginal(self, alpha: float, sigma: float) -> Any:
        """alpha² Σ + sigma² I in this structure, as a constructor's argument."""

    def along(self, directions: np.ndarray) -> np.ndarray:
        """u^T Σ_k u, shape (m, K), for rows u of ``directions`` (m, d)."""

    def pooled(self, weights: np.ndarray) -> np.ndarray:
        """Σ_k weights_k Σ_k, dense (d, d)."""

    def colour(self, pick: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One draw of N(0, Σ_k) for each k in ``pick``, shape (n, d)."""

    def eigen(self, k: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Eigenvalues (d,) and eigenvectors (columns; None for the standard basis) of Σ_k."""


def noisy(base: Number, alpha: float, sigma: float) -> Extended:
    """alpha² base + sigma², exactly rounded to twice float64."""
    squares = product(np.float64(alpha), np.float64(alpha)), product(np.float64(sigma), np.float64(sigma))
    return squares[0] * (base if isinstance(base, Extended) else Extended(base)) + squares[1]


def weighted_sum(weights: np.ndarray, stack: np.ndarray) -> np.ndarray:
    """Σ_k weights_{nk} stack_k for stack (K, d, d)."""
    return (weights @ stack.reshape(len(stack), -1)).reshape(len(weights), *stack.shape[1:])


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
        with np.errstate(divide="ignore", invalid="ignore"):
            self.logdet = self._logdet()
            self.keep = noisy(source.variance, 0.0, sigma) / self.c  # sigma²/c
            self.gain = product(np.float64(alpha), source.variance) / self.c
            self.s = source.variance * self.keep.hi

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
        return self._spread(like(self.keep, y), pick) * mu + self._spread(like(self.gain, y), pick) * x

    def strain(self, pick: Pick, r: np.ndarray, y: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        return q, None

    def posterior(self) -> np.ndarray:
        return self.s

    def posterior_sum(self, weights: np.ndarray) -> np.ndarray:
        return self._total(weights, self.s)[:, :, None] * np.eye(self.d)

    def posterior_times(self, weights: np.ndarray, v: np.ndarray) -> np.ndarray:
        return self._total(weights, self.s) * v

    def rough(self, x: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x - centre)^T C^{-1} (x - centre) by matrix products, (n, K), and the size of the terms that cancelled in it, (n,)."""
        inverse = 1.0 / self.c.hi
        own = (np.square(centres) * inverse).sum(-1)
        squares = np.square(x) @ inverse.T
        return squares - 2.0 * (x @ (centres * inverse).T) + own, squares.max(1) + own.max()

    def blend_score(self, weights: np.ndarray, x: np.ndarray, centres: np.ndarray) -> np.ndarray:
        """Σ_k weights_{nk} C_k^{-1} (centre_k - x), by matrix products."""
        inverse = 1.0 / self.c.hi
        return self._fold(weights, inverse, centres) - self._total(weights, inverse) * x

    def blend_mean(self, weights: np.ndarray, x: np.ndarray, mu: np.ndarray) -> np.ndarray:
        """Σ_k weights_{nk} E[x0 | x, k], by matrix products."""
        return self._fold(weights, self.keep.hi, mu) + self._total(weights, self.gain.hi) * x


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

    def rough(self, x: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        own, squares = np.square(centres).sum(-1), np.square(x).sum(-1)
        out = x @ centres.T
        out *= -2.0
        out += squares[:, None]
        out += own
        out /= self.c.hi
        return out, (squares + own.max()) / self.c.hi.min()
