r"""Student's kernel in the place of the Gaussian one: PFGM++ (Xu et al., arXiv:2302.04265).

The electric field at distance r from charges w_k at y_k of R^d, in D dimensions more, has the kernel

    p_r(x | y) ∝ (|x − y|² + r²)^{−(d + D)/2},      r = σ √D,

which is Student's: x_t = α x0 + σ T with T of D degrees of freedom. The field lines dx/dr = E_x/E_r are those of dx/dσ = (x − D(x, σ))/σ
with the posterior mean of that kernel, so that every method for the probability flow runs on it unchanged, and on the line they are
quantile functions. As D → ∞ the kernel is Gaussian, at the rate 1/D; D = 1 is PFGM. The score is not Tweedie's: a method that adds
Gaussian noise leaves this process.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import gammaln, stdtr

from scorebed.analytic.gaussian.arrays import finite, rows
from scorebed.analytic.process.monotone import between
from scorebed.solvers.model import Array
from scorebed.solvers.schedule import Node


class StudentMixture:
    """Σ_k weights_k δ(points_k) under Student's kernel.

    Args:
        weights: (K,), positive; they are divided by their sum.
        points: (K, d).
        degrees: D, the dimensions that the field has beside those of the data.

    Raises:
        ValueError: weights that are not positive, points of another number, or D that is not positive.
    """

    def __init__(self, weights: Any, points: Any, degrees: float) -> None:
        self.points, w = finite("points", points, 2), finite("weights", weights, 1)
        if len(w) != len(self.points) or not (w > 0.0).all():
            raise ValueError(f"weights {w.shape} must be positive numbers, one for each of {len(self.points)} points")
        self.degrees = float(degrees)
        if not (np.isfinite(self.degrees) and self.degrees > 0.0):
            raise ValueError(f"degrees = {degrees!r} must be positive and finite; for a Gaussian kernel give a GaussianMixture")
        self.weights = w / w.sum()
        self.k, self.d = self.points.shape

    def _at(self, x: np.ndarray, node: Node) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x − α y_k, |x − α y_k|² + r², and log w_k of the posterior up to a constant; (n, K, d) and twice (n, K)."""
        off = x[:, None, :] - node.alpha * self.points
        square = np.square(off).sum(-1) + self.degrees * node.sigma**2
        return off, square, np.log(self.weights) - 0.5 * (self.d + self.degrees) * np.log(square)

    def _shares(self, log: np.ndarray) -> np.ndarray:
        share = np.exp(log - log.max(1, keepdims=True))
        return np.asarray(share / share.sum(1, keepdims=True))

    def posterior(self, x: Array, node: Node) -> np.ndarray:
        """P(x0 = y_k | x_t), (..., K)."""
        flat, _ = rows(x, self.d)
        return self._shares(self._at(flat, node)[2]).reshape(*np.shape(x)[:-1], self.k)

    def denoised(self, x: Array, node: Node) -> Array:
        """E[x0 | x_t], the model of the flow."""
        flat, restore = rows(x, self.d)
        return restore(self._shares(self._at(flat, node)[2]) @ self.points)

    def score(self, x: Array, node: Node) -> Array:
        """∇ log p_t(x) = −(d + D) Σ_k p(k | x) (x − α y_k)/(|x − α y_k|² + r²)."""
        flat, restore = rows(x, self.d)
        off, square, log = self._at(flat, node)
        return restore(-(self.d + self.degrees) * np.einsum("nk,nkd->nd", self._shares(log) / square, off))

    def log_prob(self, x: Array, node: Node) -> np.ndarray:
        """log p_t(x), shape (...)."""
        flat, _ = rows(x, self.d)
        log = self._at(flat, node)[2]
        top = log.max(1)
        n, scale = self.degrees, 0.5 * self.degrees * np.log(self.degrees * node.sigma**2)
        norm = gammaln(0.5 * (n + self.d)) - gammaln(0.5 * n) - 0.5 * self.d * np.log(np.pi) + scale
        return np.asarray((norm + top + np.log(np.exp(log - top[:, None]).sum(1))).reshape(np.shape(x)[:-1]))

    def field(self, x: Array, r: float) -> tuple[np.ndarray, np.ndarray]:
        """(E_x, E_r) of the charges at x and the distance r, (..., d) and (...), up to the constant of the sphere.

        Returns:
            (E_x (..., d), E_r (...)).

        Raises:
            ValueError: r that is not positive.
        """
        if not r > 0.0:
            raise ValueError(f"r = {r!r} must be positive: the charges lie at r = 0")
        flat, _ = rows(x, self.d)
        off = flat[:, None, :] - self.points
        pull = self.weights * (np.square(off).sum(-1) + r * r) ** (-0.5 * (self.d + self.degrees))
        return np.einsum("nk,nkd->nd", pull, off).reshape(np.shape(x)), (r * pull.sum(1)).reshape(np.shape(x)[:-1])

    def _line(self, name: str) -> None:
        if self.d != 1:
            raise ValueError(f"the law lives in {self.d} dimensions: its {name} is closed on the line, integrate the flow")

    def cdf(self, x: Array, node: Node) -> np.ndarray:
        """P(x_t ≤ x) on the line, of the shape of x.

        Returns:
            probabilities, of the shape of x.

        Raises:
            ValueError: more than one dimension.
        """
        self._line("distribution function")
        z = (np.asarray(x, dtype=float)[..., None] - node.alpha * self.points[:, 0]) / node.sigma
        return np.asarray(stdtr(self.degrees, z) @ self.weights)

    def flow(self, x: Array, s: Node, t: Node) -> Array:
        """Where the flow carries x from s to t on the line: the point with as much of the law below it, told by the smaller tail.

        Returns:
            states at t, of the shape of x.

        Raises:
            ValueError: more than one dimension.
        """
        self._line("flow")
        flat, restore = rows(x, 1)
        z = (flat - s.alpha * self.points[:, 0]) / s.sigma
        left = stdtr(self.degrees, z) @ self.weights < 0.5
        sign = np.where(left, 1.0, -1.0)[:, None]  # of the right half by its mirror image
        mass = stdtr(self.degrees, sign * z) @ self.weights

        def tail(y: np.ndarray) -> np.ndarray:
            off = (y[:, None] - t.alpha * self.points[:, 0]) / t.sigma
            return np.asarray(sign[:, 0] * (stdtr(self.degrees, sign * off) @ self.weights - mass))

        ends = t.alpha * self.points[:, 0] + t.sigma * z  # where each component alone carries x: around the answer
        return restore(between(tail, ends.min(1), ends.max(1))[:, None])

    def sample(self, n: int, rng: np.random.Generator | int, node: Node | None = None) -> np.ndarray:
        """n draws of x0, or of x_t at a node: T = Z sqrt(D/χ²_D); shape (n, d)."""
        rng = np.random.default_rng(rng)
        x = self.points[rng.choice(self.k, size=n, p=self.weights)]
        if node is None:
            return x
        width = np.sqrt(self.degrees / rng.chisquare(self.degrees, size=(n, 1)))
        return np.asarray(node.alpha * x + node.sigma * width * rng.standard_normal(x.shape))

    def mean(self) -> np.ndarray:
        """Of the data, (d,)."""
        return np.asarray(self.weights @ self.points)

    def covariance(self) -> np.ndarray:
        """Of the data, (d, d)."""
        off = self.points - self.mean()
        return np.asarray((off.T * self.weights) @ off)
