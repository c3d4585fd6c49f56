r"""Forward maps that are not linear, on the line, where their truth is a quantile function.

``Encoded``       z_t = α F(x) + σ ε with F the monotone map of a law onto another, whose reverse is known: neural diffusion models
                  (Bartosh et al., arXiv:2310.08337). Where F makes the law Gaussian the reverse is linear.
``MonotonePath``  z_t = α x + σ T(x), T the monotone map onto the noise: a flow without noise of its own and without curvature, the end of
                  neural flow diffusion models (arXiv:2404.12940) and of rounds of rectified flows. x and T(x) stay what they are along
                  every path, so that one step of DDIM is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from scorebed.analytic.gaussian.arrays import rows
from scorebed.solvers.model import Array
from scorebed.solvers.schedule import Node

_MOST = 80


def between(rises: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The zero of an increasing function between ``low`` and ``high``, elementwise, by Ridders' method, which halves at least."""
    low, high, last = low.copy(), high.copy(), np.full_like(low, np.inf)
    under, over = rises(low), rises(high)
    for _ in range(_MOST):
        middle = low + 0.5 * (high - low)
        value = rises(middle)
        root = np.sqrt(value * value - np.minimum(under, 0.0) * np.maximum(over, 0.0))
        step = np.divide(value, root, out=np.zeros_like(value), where=root > 0.0)
        found = np.clip(middle - (middle - low) * step, low, high)
        if np.all(np.abs(found - last) <= 4e-16 * np.abs(found) + 1e-300):
            break
        last, there = found, rises(found)
        swap = found < middle
        a, b = np.where(swap, found, middle), np.where(swap, middle, found)
        fa, fb = np.where(swap, there, value), np.where(swap, value, there)
        low, under = np.where(fb <= 0.0, b, np.where(fa <= 0.0, a, low)), np.where(fb <= 0.0, fb, np.where(fa <= 0.0, fa, under))
        high, over = np.where(fa > 0.0, a, np.where(fb > 0.0, b, high)), np.where(fa > 0.0, fa, np.where(fb > 0.0, fb, over))
    return last


def carried(x: np.ndarray, one: Any, other: Any) -> np.ndarray:
    """The monotone map of the law ``one`` onto ``other``: the point with as much below it, told by the smaller tail."""
    below = np.asarray(one.cdf(x))
    left = below < 0.5
    right = np.asarray(one.sf(np.where(left, 0.0, x)))
    return np.where(left, other.quantile(np.where(left, below, 0.25)), other.isf(np.where(left, 0.25, right)))


class Encoded:
    """``data`` on the line, seen through F onto ``code``: x = F^{-1}(z_0), and z_t is the diffusion of ``code``.

    Args:
        data: a law of one dimension with ``cdf``, ``sf``, ``quantile`` and ``isf``; code: another, with a ``flow``.

    Raises:
        ValueError: a law of more dimensions than one.
    """

    def __init__(self, data: Any, code: Any) -> None:
        self.data, self.code = _lines(data, code)

    def encode(self, x: Array) -> Array:
        """F(x)."""
        flat, restore = rows(x, 1)
        return restore(carried(flat, self.data, self.code))

    def decode(self, z: Array) -> Array:
        """F^{-1}(z)."""
        flat, restore = rows(z, 1)
        return restore(carried(flat, self.code, self.data))

    def denoised(self, z: Array, node: Node) -> Array:
        """E[F(x) | z_t], the model."""
        return self.code.denoised(z, node)

    def flow(self, z: Array, s: Node, t: Node) -> Array:
        """Where the probability flow carries z from s to t."""
        return self.code.flow(z, s, t)

    def clean(self, z: Array, node: Node, points: int = 2000) -> Array:
        """E[x | z_t] ∝ ∫ x p(x) exp(−(z − α F(x))²/2σ²) dx, by the trapezium rule on ``points`` from tail to tail of the data.

        Returns:
            E[x | z_t], of the shape of z.

        Raises:
            ValueError: σ = 0, where it is ``decode``.
        """
        if not node.sigma > 0.0:
            raise ValueError(f"sigma = {node.sigma!r}: without noise x is decode(z)")
        flat, restore = rows(z, 1)
        low, high = (float(np.ravel(tail(np.array([1e-15])))[0]) for tail in (self.data.quantile, self.data.isf))
        x = np.linspace(low, high, points)[:, None]
        log = self.data.log_prob(x) - 0.5 * np.square((flat - node.alpha * self.encode(x)[:, 0]) / node.sigma)
        share = np.exp(log - log.max(1, keepdims=True))
        return restore(share @ x / share.sum(1, keepdims=True))


class MonotonePath:
    """z_t = α Q(u) + σ N(u), Q and N the quantile functions of ``data`` and ``noise``, u uniform.

    Args:
        data, noise: laws of one dimension with ``cdf``, ``sf``, ``quantile`` and ``isf``.

    Raises:
        ValueError: a law of more dimensions than one.
    """

    def __init__(self, data: Any, noise: Any) -> None:
        self.data, self.noise = _lines(data, noise)
        self.d, self.k = 1, 2

    def ends(self, z: Array, node: Node) -> tuple[np.ndarray, np.ndarray]:
        """(x0, noise) of the path that is at z, of the shape of z."""
        flat = np.asarray(z, dtype=float)
        low = np.full(flat.shape, float(np.ravel(self.noise.quantile(np.array([1e-300])))[0]))
        high = np.full(flat.shape, float(np.ravel(self.noise.isf(np.array([1e-300])))[0]))
        end = between(lambda y: node.alpha * carried(y, self.noise, self.data) + node.sigma * y - flat, low, high)
        return carried(end, self.noise, self.data), end

    def denoised(self, z: Array, node: Node) -> Array:
        """x0 of the path that is at z: E[x0 | z_t], for the path says it all."""
        return self.ends(z, node)[0]

    def flow(self, z: Array, s: Node, t: Node) -> Array:
        """Where the path that is at z at s is at t."""
        x0, noise = self.ends(z, s)
        return t.alpha * x0 + t.sigma * noise

    def quantile(self, u: Array, node: Node) -> np.ndarray:
        """The z with P(z_t ≤ z) = u."""
        return np.asarray(node.alpha * self.data.quantile(u) + node.sigma * self.noise.quantile(u))

    def sample(self, n: int, rng: np.random.Generator | int, node: Node) -> np.ndarray:
        """n draws of z_t, (n, 1)."""
        return self.quantile(np.random.default_rng(rng).uniform(size=(n, 1)), node)

    def mean(self) -> np.ndarray:
        """Of the data, (1,)."""
        return np.asarray(self.data.mean())

    def covariance(self) -> np.ndarray:
        """Of the data, (1, 1)."""
        return np.asarray(self.data.covariance())


def _lines(*laws: Any) -> tuple[Any, ...]:
    for law in laws:
        if law.d != 1:
            raise ValueError(f"a law of {law.d} dimensions: monotone maps are of the line, give laws of one dimension")
    return laws
