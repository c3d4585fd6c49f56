r"""Products of 1-D mixtures, rotated: x = R y with independent y_i ~ Σ_k w_ik N(m_ik, v_ik) and R orthogonal.

The noise is rotation invariant, so every marginal is again such a product, everything is computed coordinate by coordinate, and the
probability-flow map is exact in any dimension, with up to K^d modes:

    x_t = R (F_{1,t}^{-1} F_{1,s} y_1, …, F_{d,t}^{-1} F_{d,s} y_d),   y = R^T x_s,
    score = R (score_i(y_i)),   denoised = R (denoised_i(y_i)),   Cov[x0 | x] = R diag(Var[y_i0 | y_i]) R^T.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, partial, reduce
from typing import Any

import numpy as np

from scorebed.analytic.gaussian.arrays import finite, rows
from scorebed.analytic.gaussian.covariance import noisy
from scorebed.analytic.gaussian.evaluate import LEADERS, NEVER, Q_LIMIT, below, no_density, normalise
from scorebed.analytic.gaussian.extended import Extended, Number, difference, like, product, two_prod, value
from scorebed.analytic.gaussian.mixture import CLEAN, GaussianMixture, noise_of
from scorebed.analytic.gaussian.nodes import Nodes
from scorebed.solvers.model import Array, pointwise, predicts
from scorebed.solvers.schedule import Node

_EXPANSION = 1 << 22  # numbers in the largest mixture() made
_BLOCK = 1 << 19


class RotatedProduct:
    """The law of R y, y_i ~ factors[i] independent.

    Args:
        rotation: orthogonal (d, d); its columns are the axes of the factors.
        factors: d mixtures in one dimension.

    Raises:
        ValueError: a rotation that is not orthogonal, a number of factors other than d, a factor that is not in one dimension.
    """

    def __init__(self, rotation: Any, factors: Sequence[GaussianMixture]) -> None:
        self.rotation = finite("rotation", rotation, 2)
        self.factors = tuple(factors)
        self.d = len(self.rotation)
        if self.rotation.shape != (self.d, self.d) or np.abs(self.rotation.T @ self.rotation - np.eye(self.d)).max(initial=0.0) > 1e-10:
            raise ValueError(f"rotation of shape {self.rotation.shape} is not orthogonal: give a square matrix with R^T R = I within 1e-10")
        if len(self.factors) != self.d or any(f.d != 1 for f in self.factors):
            raise ValueError(f"factors has dimensions {[f.d for f in self.factors]}: give {self.d} mixtures in 1 dimension")
        self.k = math.prod(f.k for f in self.factors)
        widest = max(f.k for f in self.factors)
        table = np.zeros((3, widest, self.d))
        table[2] = 1.0
        for i, f in enumerate(self.factors):
            table[:, : f.k, i] = f.weights, f.means[:, 0], f.structure.along(np.ones((1, 1)))[0]
        self._weights, self._means, self._variances = table
        self._nodes: Nodes[_Coordinates] = Nodes(table.size)

    def __repr__(self) -> str:
        return f"RotatedProduct(d={self.d}, k={self.k})"

    def _step(self) -> int:
        return max(1, _BLOCK // self._means.size)

    def _coordinates(self, x: np.ndarray, node: Node, kind: str) -> np.ndarray:
        """log p_i, score_i, denoised_i or Var[y_i0 | y_i] of every coordinate, (n, d)."""
        here = self._nodes.at(*noise_of(node), partial(_Coordinates, self._weights, self._means, self._variances))
        out = np.empty(x.shape)
        with np.errstate(all="ignore"):
            for i in range(0, len(x), self._step()):
                out[i : i + self._step()] = here.all(x[i : i + self._step()] @ self.rotation, kind)
        return out

    def log_prob(self, x: Array, node: Node | None = None) -> Array:
        """log p_t(x), shape (...); of the law itself without a node."""
        flat, restore = rows(x, self.d)
        return restore(self._coordinates(flat, node or CLEAN, "log_prob").sum(1))

    @predicts("score")
    def score(self, x: Array, node: Node) -> Array:
        """∇ log p_t(x), shape (..., d)."""
        flat, restore = rows(x, self.d)
        return restore(self._coordinates(flat, node, "score") @ self.rotation.T)

    @predicts("eps")
    def eps(self, x: Array, node: Node) -> Array:
        """E[eps | x] = -sigma ∇ log p_t(x), shape (..., d); 0 where sigma = 0."""
        flat, restore = rows(x, self.d)
        return restore(-node.sigma * (self._coordinates(flat, node, "score") @ self.rotation.T) if node.sigma else np.zeros_like(flat))

    @predicts("denoised")
    @pointwise
    def denoised(self, x: Array, node: Node) -> Array:
        """E[x0 | x], shape (..., d); x / alpha where sigma = 0."""
        flat, restore = rows(x, self.d)
        if noise_of(node)[1] == 0.0:
            return restore(flat / node.alpha)
        return restore(self._coordinates(flat, node, "denoised") @ self.rotation.T)

    def posterior_covariance(self, x: Array, node: Node) -> Array:
        """Cov[x0 | x], shape (..., d, d)."""
        flat, restore = rows(x, self.d)
        if noise_of(node)[1] == 0.0:
            return restore(np.zeros((len(flat), self.d, self.d)))
        return restore((self.rotation * self._coordinates(flat, node, "variance")[:, None, :]) @ self.rotation.T)

    def vjp(self, x: Array, node: Node, v: Array) -> Array:
        """J^T v with J = ∂ denoised / ∂ x = (alpha/sigma²) Cov[x0 | x], for vectors v of the shape of x, (..., d).

        Returns:
            J^T v, shape (..., d).

        Raises:
            ValueError: v of another shape than x.
        """
        flat, restore = rows(x, self.d)
        vectors = rows(v, self.d)[0]
        if vectors.shape != flat.shape:
            raise ValueError(f"v holds {len(vectors)} vectors, but x {len(flat)} states: give one vector for each state")
        alpha, sigma = noise_of(node)
        if sigma == 0.0:
            return restore(vectors / alpha)
        slopes = alpha / sigma**2 * self._coordinates(flat, node, "variance")
        return restore((slopes * (vectors @ self.rotation)) @ self.rotation.T)

    def given(self, A: Any, y: Any, R: Any) -> GaussianMixture:
        """p(x0 | y) for y = A x0 + n, n ~ N(0, R), as a mixture of all components."""
        return self.mixture().given(A, y, R)

    def mean(self) -> np.ndarray:
        """E[x0], shape (d,)."""
        return self.rotation @ np.array([f.mean()[0] for f in self.factors])

    def covariance(self) -> np.ndarray:
        """Cov[x0], shape (d, d)."""
        return (self.rotation * np.array([f.covariance()[0, 0] for f in self.factors])) @ self.rotation.T

    def sample(self, n: int, rng: np.random.Generator | int, node: Node | None = None) -> np.ndarray:
        """``n`` independent draws, shape (n, d), of the law or of its marginal at a node."""
        rng = np.random.default_rng(rng)
        return np.concatenate([f.sample(n, rng, node) for f in self.factors], axis=1) @ self.rotation.T

    def marginal(self, node: Node) -> RotatedProduct:
        """The law of x_t."""
        return RotatedProduct(self.rotation, [f.marginal(node) for f in self.factors])

    def flow(self, x: Array, s: Node, t: Node) -> Array:
        """The exact probability-flow map from node ``s`` to node ``t``, either way, shape (..., d)."""
        flat, restore = rows(x, self.d)
        if noise_of(s) == noise_of(t):
            return restore(flat.copy())
        y = flat @ self.rotation
        for i, f in enumerate(self.factors):
            y[:, i] = f.flow(y[:, i : i + 1], s, t)[:, 0]
        return restore(y @ self.rotation.T)

    def mixture(self) -> GaussianMixture:
        """The same law written out with its K^d components.

        Returns:
            the GaussianMixture of K^d components.

        Raises:
            ValueError: more components than can be held.
        """
        shared = bool(np.all(self._variances[self._weights > 0.0] == self._variances[self._weights > 0.0][0]))
        if self.k * self.d * (1 if shared else self.d) > _EXPANSION:
            raise ValueError(f"mixture() would have {self.k} components in {self.d} dimensions: ask this law itself instead")
        weights = reduce(np.multiply.outer, [f.weights for f in self.factors]).reshape(-1)
        index = np.indices([f.k for f in self.factors]).reshape(self.d, -1)
        means = np.stack([self._means[index[i], i] for i in range(self.d)], axis=1) @ self.rotation.T
        if shared:
            return GaussianMixture(weights / weights.sum(), means, float(self._variances[self._weights > 0.0][0]))
        variances = np.stack([self._variances[index[i], i] for i in range(self.d)], axis=1)
        return GaussianMixture(weights / weights.sum(), means, (self.rotation * variances[:, None, :]) @ self.rotation.T)


class _Coordinates:
    """d mixtures in one dimension side by side at one node: parameters (K, d), points (n, d)."""

    def __init__(self, weights: np.ndarray, means: np.ndarray, variances: np.ndarray, alpha: float, sigma: float) -> None:
        self.means, self.variances, self.alpha, self.sigma = means, variances, alpha, sigma
        self.c = noisy(variances, alpha, sigma)
        if np.any(self.c.hi <= 0.0):
            raise no_density(alpha, sigma)
        self.centres = two_prod(np.float64(alpha), means)
        with np.errstate(divide="ignore"):
            self.offset = np.maximum(np.log(weights), NEVER) - 0.5 * self.c.log()
        self.keep, self.gain = sigma * sigma / self.c.hi, alpha * variances / self.c.hi

    @cached_property
    def extended(self) -> tuple[Extended, Extended]:
        """``keep``, sigma²/c, and ``gain``, alpha variance/c, for the states that need them in extended precision."""
        return noisy(self.variances, 0.0, self.sigma) / self.c, product(np.float64(self.alpha), self.variances) / self.c

    def all(self, y: np.ndarray, kind: str) -> np.ndarray:
        """``kind`` at the points y (n, d): float64 first, and again in extended precision where that would show."""
        needs, out = self._at(y, np.s_[:, None, :], kind, extended=kind == "variance")
        if needs is not None and needs.any():
            i = np.nonzero(needs)[1]
            out[needs] = self._at(y[needs], np.s_[:, i], kind, extended=True)[1]
        return out

    def _at(self, y: np.ndarray, pick: Any, kind: str, extended: bool) -> tuple[np.ndarray | None, np.ndarray]:
        """Which points float64 cannot serve, None where it serves all, and ``kind`` at points y with the parameters ``pick``."""
        p, e = self.centres[0][pick], self.centres[1][pick]
        r: Number = difference(y, p) - e if extended else (y - p) - e
        c = like(self.c, r)[pick]
        q = r * r / c
        logits = q * -0.5 + self.offset[pick]
        needs = None
        if extended:
            delta, top = below(logits)
        else:
            top = logits.max(0)
            delta = logits - top
            if not q.max(initial=0.0) <= Q_LIMIT:
                leads = delta > -LEADERS
                needs = (np.where(leads, q, 0.0).max(0) > Q_LIMIT) & (leads.sum(0) > 1)
        log_density, weights = normalise(delta, top)
        if kind == "log_prob":
            return needs, log_density - 0.5 * math.log(2.0 * math.pi)
        if kind == "score":
            return needs, -(weights * value(r / c)).sum(0)
        keep, gain = self.extended if extended else (self.keep, self.gain)
        m = keep[pick] * self.means[pick] + gain[pick] * y
        if kind == "denoised":
            return needs, (weights * value(m)).sum(0)
        apart = value(m - (m * weights).sum(0))
        own = (self.variances * self.keep)[pick]
        return needs, (weights * (own + apart * apart)).sum(0)
