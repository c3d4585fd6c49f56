r"""The flat torus (R / 2πZ)^d with coordinates in [−π, π)."""

from __future__ import annotations

from math import pi

import numpy as np

from scorebed.solvers.model import Array
from scorebed.solvers.space.base import dimension
from scorebed.solvers.space.euclidean import Flat
from scorebed.solvers.space.xp import namespace, norm


def wrap(x: Array) -> Array:
    """x modulo 2π in [−π, π); x itself where it is there already, so that small angles keep their digits."""
    xp = namespace(x)
    inside = (x >= -pi) & (x < pi)
    y = x - 2.0 * pi * xp.floor((x + pi) / (2.0 * pi))
    y = xp.where((y >= pi) | (y < -pi), -pi, y)
    return xp.where(inside, x, y)


class Torus(Flat):
    """(R / 2πZ)^d; points (..., d) in [−π, π), tangent vectors in R^d."""

    def __init__(self, d: int) -> None:
        self.dim = dimension(d)
        self.shape = (self.dim,)
        self.name = f"Torus({d})"

    @property
    def origin(self) -> np.ndarray:
        """0."""
        return np.zeros(self.dim)

    def edges(self) -> np.ndarray:
        """0, and two points of its cut locus."""
        return np.stack([self.origin, np.full(self.dim, -pi), -pi * np.eye(self.dim)[0]])

    def exp(self, x: Array, v: Array) -> Array:
        """x + v modulo 2π. v is wrapped first, so that a long v costs no digits of x."""
        return wrap(x + wrap(v))

    def log(self, x: Array, y: Array) -> Array:
        """y − x modulo 2π in [−π, π)^d; for opposite coordinates −π."""
        return wrap(y - x)

    def distance(self, x: Array, y: Array) -> Array:
        """|log(x, y)|, at most π √d."""
        return norm(wrap(y - x))[..., 0]

    def project(self, x: Array) -> Array:
        """The representative in [−π, π)^d."""
        return wrap(x)

    def deviation(self, x: Array) -> Array:
        """How far the largest coordinate is outside [−π, π]."""
        xp = namespace(x)
        return xp.amax(xp.clip(xp.abs(x) - pi, 0.0, None), axis=-1)

    def uniform(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Independent uniform angles."""
        return rng.uniform(-pi, pi, (n, self.dim))
