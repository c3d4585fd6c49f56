r"""Products of spaces: a point is the concatenation of its parts, each flattened, and everything acts part by part.

|v|² = Σ |v_i|² and d(x, y)² = Σ d_i(x_i, y_i)², so the product of two circles is ``Torus(2)`` up to coordinates.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from math import prod

import numpy as np

from scorebed.solvers.model import Array
from scorebed.solvers.space.base import Space
from scorebed.solvers.space.xp import namespace, norm


class Product(Space):
    """The product of one or more spaces; points (..., Σ prod(shape_i)), e.g. ``Product(SO3(), Euclidean(3))`` has points (..., 12).

    ``split`` and ``join`` go between a point and its parts.
    """

    def __init__(self, *spaces: Space) -> None:
        if not spaces or not all(isinstance(space, Space) for space in spaces):
            raise TypeError(f"spaces = {spaces!r}: give one or more Spaces")
        self.spaces = spaces
        self.dim = sum(space.dim for space in spaces)
        self._ends = list(accumulate((prod(space.shape) for space in spaces), initial=0))
        self.shape = (self._ends[-1],)
        self.bounded = any(space.bounded for space in spaces)
        self.compact = all(space.compact for space in spaces)
        self.name = f"Product({', '.join(space.name for space in spaces)})"

    def split(self, x: Array) -> list[Array]:
        """The parts of x, each in the shape of its own space."""
        ends = zip(self._ends, self._ends[1:], strict=False)
        return [x[..., i:j].reshape(*x.shape[:-1], *space.shape) for (i, j), space in zip(ends, self.spaces, strict=True)]

    def join(self, parts: list[Array]) -> Array:
        """The point with these parts; batches are broadcast against each other."""
        xp = namespace(*parts)
        lead = np.broadcast_shapes(*(tuple(p.shape[: p.ndim - len(space.shape)]) for p, space in zip(parts, self.spaces, strict=True)))
        flat = [xp.broadcast_to(p, lead + space.shape).reshape(*lead, -1) for p, space in zip(parts, self.spaces, strict=True)]
        return xp.concatenate(flat, axis=-1)

    @property
    def origin(self) -> np.ndarray:
        """That of each part."""
        return np.asarray(self.join([space.origin for space in self.spaces]))

    def edges(self) -> np.ndarray:
        """Those of each part, as often as the part with the most has them."""
        parts = [space.edges() for space in self.spaces]
        row = np.arange(max(map(len, parts)))
        return np.asarray(self.join([part[row % len(part)] for part in parts]))

    def _each(self, method: str, *arrays: Array) -> list[Array]:
        columns = zip(*(self.split(a) for a in arrays), strict=True)
        return [getattr(space, method)(*column) for space, column in zip(self.spaces, columns, strict=True)]

    def _joined(self, method: str, *arrays: Array) -> Array:
        return self.join(self._each(method, *arrays))

    def _stacked(self, method: str, *arrays: Array) -> Array:
        return namespace(*arrays).stack(self._each(method, *arrays), axis=-1)

    def exp(self, x: Array, v: Array) -> Array:
        """exp of each part."""
        return self._joined("exp", x, v)

    def move(self, x: Array, v: Array) -> Array:
        """move of each part."""
        return self._joined("move", x, v)

    def log(self, x: Array, y: Array) -> Array:
        """log of each part."""
        return self._joined("log", x, y)

    def distance(self, x: Array, y: Array) -> Array:
        """√Σ d_i²."""
        return norm(self._stacked("distance", x, y))[..., 0]

    def transport(self, x: Array, y: Array, v: Array) -> Array:
        """transport of each part."""
        return self._joined("transport", x, y, v)

    def project(self, x: Array) -> Array:
        """project of each part."""
        return self._joined("project", x)

    def tangent(self, x: Array, v: Array) -> Array:
        """tangent of each part."""
        return self._joined("tangent", x, v)

    def inner(self, x: Array, u: Array, v: Array) -> Array:
        """Σ ⟨u_i, v_i⟩."""
        return self._stacked("inner", x, u, v).sum(axis=-1)

    def norm(self, x: Array, v: Array) -> Array:
        """√Σ |v_i|²."""
        return norm(self._stacked("norm", x, v))[..., 0]

    def noise(self, x: Array, z: Array) -> Array:
        """noise of each part."""
        return self._joined("noise", x, z)

    def ricci(self, x: Array, v: Array) -> Array:
        """Ric of each part."""
        return self._joined("ricci", x, v)

    def gradient(self, x: Array, g: Array) -> Array:
        """gradient of each part."""
        return self._joined("gradient", x, g)

    def retract(self, x: Array, v: Array) -> Array:
        """retract of each part."""
        return self._joined("retract", x, v)

    def retract1(self, x: Array, v: Array) -> Array:
        """retract1 of each part."""
        return self._joined("retract1", x, v)

    def deviation(self, x: Array) -> Array:
        """The largest deviation of a part."""
        return namespace(x).amax(self._stacked("deviation", x), axis=-1)

    def _draw(self, law: str, n: int, rng: np.random.Generator) -> np.ndarray:
        draws: list[Callable[[int, np.random.Generator], np.ndarray]] = [getattr(space, law) for space in self.spaces]
        return self.join([draw(n, rng) for draw in draws])

    def uniform(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Independent uniform parts.

        Returns:
            (n, …) uniform points of the product, float64.

        Raises:
            TypeError: a part has infinite volume.
        """
        return self._draw("uniform", n, rng)

    def reference(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Independent parts of their reference laws."""
        return self._draw("reference", n, rng)
