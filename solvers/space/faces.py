r"""Straight paths reflected at the faces of a convex polytope {x : gap_i(x) = n_i·x + c_i ≥ 0}, n_i the inward unit normals.

A path with velocity u meets face i after the time gap_i / (−n_i·u) where n_i·u < 0. At the first such face u becomes u − 2 (n_i·u) n_i,
until the time is spent. At an edge or a corner the faces follow one another at the same time, one by one: for a start on the boundary too,
since a gap that is negative by round-off counts as 0. All points of a batch bounce together, and those that have arrived drop out.
"""

from __future__ import annotations

from abc import abstractmethod
from math import inf

import numpy as np

from scorebed.solvers.model import Array
from scorebed.solvers.space.box import Rule, known_rule
from scorebed.solvers.space.euclidean import Flat
from scorebed.solvers.space.xp import constant, dot, namespace

MOST_BOUNCES = 100_000
"""A path that bounces more often is refused. A path of length l in a polytope of inner radius r has about l / r of them."""


class Faces(Flat):
    """A convex piece of flat space with m faces.

    Attributes:
        normals: inward unit normals, (m, d) float64.
        rule: what ``move`` does at a face: ``"reflect"`` the path, or ``"project"`` its end.
    """

    bounded = True
    normals: np.ndarray
    rule: Rule

    def _set_rule(self, rule: str) -> None:
        self.rule = known_rule(rule)

    @abstractmethod
    def gaps(self, x: Array) -> Array:
        """The signed distances to the m faces' hyperplanes, positive inside: (..., d) to (..., m)."""

    def move(self, x: Array, v: Array) -> Array:
        """The end of the reflected path, or the projection of x + v, by the rule."""
        return self.reflect(x, v)[0] if self.rule == "reflect" else self.project(x + v)

    def reflect(self, x: Array, v: Array) -> tuple[Array, Array]:
        """The end of the reflected path and the velocity with which it arrives there, of the length of v.

        Returns:
            (end point, velocity there), both of the shape of x.

        Raises:
            ValueError: more than ``MOST_BOUNCES`` bounces, or v not finite.
        """
        xp = namespace(x, v)
        if not bool(xp.isfinite(v).all()):
            raise ValueError(f"v has nan or inf entries: a path in {self.name} needs a finite length")
        y = x + v
        shape, d = tuple(y.shape), y.shape[-1]
        n = constant(self.normals, y)
        y, u = (y * 1.0).reshape(-1, d), (v + xp.zeros_like(y)).reshape(-1, d)
        start = (x + xp.zeros_like(v)).reshape(-1, d)
        left = xp.ones_like(y[:, 0])
        going = ~self._holds(y)
        place = xp.where(going[:, None], start, y)
        for _ in range(MOST_BOUNCES):
            if not bool(going.any()):
                return self._settle(place).reshape(shape), u.reshape(shape)
            p, w, t = place[going], u[going], left[going]
            speed = -(w @ n.T)
            gap = xp.clip(self.gaps(p), 0.0, None)
            meets = speed * t[:, None] > gap
            hits = xp.where(meets, gap / xp.where(meets, speed, 1.0), inf)
            face = xp.argmin(hits, axis=-1)
            first = xp.amin(hits, axis=-1)
            bounces = first < t
            step = xp.where(bounces, first, t)
            normal = n[face]
            place[going] = p + step[:, None] * w
            u[going] = xp.where(bounces[:, None], w - 2.0 * dot(w, normal) * normal, w)
            left[going] = t - step
            going[xp.nonzero(going)[0] if xp is np else going.nonzero()[:, 0]] = bounces
        raise ValueError(f"a path in {self.name} bounced more than {MOST_BOUNCES} times: give a shorter v, or check x and the faces")

    def _holds(self, x: Array) -> Array:
        return namespace(x).amin(self.gaps(x), axis=-1) >= 0.0

    def _settle(self, x: Array) -> Array:
        """x pushed back over the faces that round-off has carried it across."""
        xp = namespace(x)
        n = constant(self.normals, x)
        for _ in range(2):
            gap = self.gaps(x)
            worst = xp.argmin(gap, axis=-1)
            x = x - xp.clip(xp.amin(gap, axis=-1), None, 0.0)[..., None] * n[worst]
        return x

    def deviation(self, x: Array) -> Array:
        """How far x is beyond the worst face."""
        xp = namespace(x)
        return xp.clip(-xp.amin(self.gaps(x), axis=-1), 0.0, None)
