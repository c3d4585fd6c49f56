r"""The half-space {x : n·x ≤ c}: reflection is y − 2 (n·y − c)₊ n, projection y − (n·y − c)₊ n."""

from __future__ import annotations

from typing import Any

import numpy as np

from scorebed.solvers.model import Array
from scorebed.solvers.space.box import Rule
from scorebed.solvers.space.faces import Faces
from scorebed.solvers.space.xp import constant, dot, namespace


class HalfSpace(Faces):
    """{x ∈ R^d : normal·x ≤ offset}; points (..., d). The normal points outwards and need not have length 1.

    Raises:
        ValueError: normal not a finite vector with a direction, offset not finite, an unknown rule.
    """

    compact = False

    def __init__(self, normal: Any, offset: float = 0.0, rule: Rule = "reflect") -> None:
        n = np.asarray(normal, dtype=np.float64)
        length = float(np.linalg.norm(n)) if n.ndim == 1 else 0.0
        if not 0.0 < length < np.inf or not np.isfinite(offset):
            raise ValueError(f"normal = {normal!r}, offset = {offset!r}: give a finite vector other than 0, and a finite number")
        self.outward, self.offset = n / length, float(offset) / length
        self.normals = -self.outward[None, :]
        self.dim = len(n)
        self.shape = (self.dim,)
        self._set_rule(rule)
        self.name = f"HalfSpace({self.dim}{'' if rule == 'reflect' else f', rule={rule!r}'})"

    @property
    def origin(self) -> np.ndarray:
        """The point of the normal through 0 at distance 1 from the wall."""
        return (self.offset - 1.0) * self.outward

    def edges(self) -> np.ndarray:
        """The origin, and points of the wall."""
        return np.concatenate([self.origin[None], self.project(9.0 * np.eye(self.dim)), self.project(9.0 * self.outward)[None]])

    def gaps(self, x: Array) -> Array:
        """c − n·x, (..., 1)."""
        return self.offset - dot(x, constant(self.outward, x))

    def reflect(self, x: Array, v: Array) -> tuple[Array, Array]:
        """The end of the reflected path, which bounces at most once, and its velocity."""
        xp = namespace(x, v)
        y, n = x + v, constant(self.outward, x)
        beyond = -xp.clip(self.gaps(y), None, 0.0)
        end = self._settle(y - 2.0 * beyond * n)
        return end, xp.where(beyond > 0.0, v - 2.0 * xp.clip(dot(v, n), 0.0, None) * n, v)

    def project(self, x: Array) -> Array:
        """x − (n·x − c)₊ n."""
        return x + namespace(x).clip(self.gaps(x), None, 0.0) * constant(self.outward, x)

    def reference(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """c n plus a standard normal folded at the face."""
        return self.reflect(self.outward * self.offset, rng.standard_normal((n, self.dim)))[0]
