r"""Flat space: straight lines, x + v, and transport by doing nothing. What the spaces with a boundary share."""

from __future__ import annotations

import numpy as np

from scorebed.solvers.model import Array
from scorebed.solvers.space.base import Space, dimension
from scorebed.solvers.space.xp import dot, namespace, norm


class Flat(Space):
    """A piece of R^d with the metric of R^d; points are vectors (..., d)."""

    def exp(self, x: Array, v: Array) -> Array:
        """x + v."""
        return x + v

    def log(self, x: Array, y: Array) -> Array:
        """y − x."""
        return y - x

    def distance(self, x: Array, y: Array) -> Array:
        """|y − x|."""
        return norm(y - x)[..., 0]

    def transport(self, x: Array, y: Array, v: Array) -> Array:
        """v."""
        return v

    def tangent(self, x: Array, v: Array) -> Array:
        """v: at the boundary too, the directions are those of the interior."""
        return v

    def inner(self, x: Array, u: Array, v: Array) -> Array:
        """u · v."""
        return dot(u, v)[..., 0]

    def norm(self, x: Array, v: Array) -> Array:
        """|v|."""
        return norm(v)[..., 0]

    def noise(self, x: Array, z: Array) -> Array:
        """z."""
        return z

    def ricci(self, x: Array, v: Array) -> Array:
        """0."""
        return 0.0 * v


class Euclidean(Flat):
    """R^d."""

    compact = False

    def __init__(self, d: int) -> None:
        self.dim = dimension(d)
        self.shape = (self.dim,)
        self.name = f"Euclidean({d})"

    @property
    def origin(self) -> np.ndarray:
        """0."""
        return np.zeros(self.dim)

    def project(self, x: Array) -> Array:
        """x."""
        return x

    def deviation(self, x: Array) -> Array:
        """0, nan where x is nan."""
        return namespace(x).abs(x - x).sum(axis=-1)

    def reference(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """The standard normal."""
        return rng.standard_normal((n, self.dim))
