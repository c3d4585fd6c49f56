r"""Covariances of K Gaussians, each computed in its own structure, and what becomes of them at a node.

With x_t = alpha x0 + sigma eps a component N(mu, Σ) becomes N(alpha mu, C), C = alpha² Σ + sigma² I. Everything asked of a mixture is built
from

    C^{-1} r,    log det C,    Σ y,    S = sigma² Σ C^{-1} (the covariance of x0 given x_t),    u^T Σ u.

Each structure answers in the precision of what it is given, float64 or ``Extended``; residuals r have shape (components, n, d), and
``pick`` says which components they belong to. What is asked is here; ``diagonal.py``, ``lowrank.py``, ``full.py`` and ``rotated.py`` hold
the structures.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from scorebed.analytic.gaussian.extended import Extended, Number, renormal, two_prod, two_sum

Pick = slice | np.ndarray


class LowRank(NamedTuple):
    """Σ_k = factor_k factor_k^T + diag(diagonal_k), factor (K, d, r), diagonal (K, d)."""

    factor: Any
    diagonal: Any


class Cloud:
    """The means of very many components about their own mean, an origin that makes products of them small."""

    def __init__(self, means: np.ndarray) -> None:
        self.origin = means.mean(0)
        self.points = means - self.origin
        self.sizes = np.square(self.points).sum(-1)


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
    (a, a_low), (s, s_low) = two_prod(alpha, alpha), two_prod(sigma, sigma)
    if isinstance(base, Extended):
        return Extended(a, a_low) * base + Extended(s, s_low)
    p, e = two_prod(np.asarray(base, np.float64), a)
    total, f = two_sum(p, s)
    return Extended(*renormal(total, f + (e + (base * a_low + s_low))))


def weighted_sum(weights: np.ndarray, stack: np.ndarray) -> np.ndarray:
    """Σ_k weights_{nk} stack_k for stack (K, d, d)."""
    return (weights @ stack.reshape(len(stack), -1)).reshape(len(weights), *stack.shape[1:])
