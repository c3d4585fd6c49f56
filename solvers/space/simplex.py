r"""The probability simplex {x ∈ R^{d+1} : x ≥ 0, Σ x = 1} with the flat metric of R^{d+1}.

The inward unit normal of the face x_i = 0 within the plane is n_i = (e_i − 1/(d+1)) / κ, κ = √(d/(d+1)), and the distance to it x_i / κ.
The projection is max(x − τ, 0) with τ the one number that makes the sum 1, found by sorting (Held, Wolfe and Crowder, 1974).
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from scorebed.solvers.model import Array
from scorebed.solvers.space.base import dimension
from scorebed.solvers.space.box import Rule
from scorebed.solvers.space.faces import Faces
from scorebed.solvers.space.xp import namespace, sort


class Simplex(Faces):
    """The simplex of dimension d; points (..., d+1), tangent vectors sum to 0."""

    def __init__(self, d: int, rule: Rule = "reflect") -> None:
        self.dim = dimension(d)
        self.shape = (self.dim + 1,)
        self._set_rule(rule)
        self.name = f"Simplex({d}{'' if rule == 'reflect' else f', rule={rule!r}'})"
        self._kappa = sqrt(d / (d + 1.0))
        self.normals = (np.eye(d + 1) - 1.0 / (d + 1.0)) / self._kappa

    @property
    def origin(self) -> np.ndarray:
        """The barycentre."""
        return np.full(self.dim + 1, 1.0 / (self.dim + 1.0))

    def edges(self) -> np.ndarray:
        """The barycentre, the corners, and the middle of an edge."""
        corners = np.eye(self.dim + 1)
        return np.concatenate([self.origin[None], corners, 0.5 * (corners[:1] + corners[1:2])])

    def gaps(self, x: Array) -> Array:
        """x / κ, (..., d+1)."""
        return x * (1.0 / self._kappa)

    def move(self, x: Array, v: Array) -> Array:
        """The end of the reflected path, or the projection of x + v, by the rule."""
        return super().move(x, self.tangent(x, v))

    def _settle(self, x: Array) -> Array:
        y = namespace(x).clip(x, 0.0, None)
        return y / y.sum(axis=-1, keepdims=True)

    def project(self, x: Array) -> Array:
        """max(x − τ, 0)."""
        xp = namespace(x)
        # Shifting all coordinates alike changes nothing but the digits that are left.
        x = x - xp.amax(x, axis=-1, keepdims=True)
        down = -sort(-x)
        rank = xp.cumsum(xp.ones_like(down), axis=-1)
        tau = (xp.cumsum(down, axis=-1) - 1.0) / rank
        kept = (down > tau).sum(axis=-1, keepdims=True) - 1
        return self._settle(x - (xp.take_along_axis(tau, kept, axis=-1) if xp is np else tau.gather(-1, kept)))

    def tangent(self, x: Array, v: Array) -> Array:
        """v minus its mean."""
        return v - v.mean(axis=-1, keepdims=True)

    def noise(self, x: Array, z: Array) -> Array:
        """z minus its mean."""
        return self.tangent(x, z)

    def deviation(self, x: Array) -> Array:
        """|Σ x − 1|, or the most negative coordinate."""
        xp = namespace(x)
        return xp.maximum(xp.abs(x.sum(axis=-1) - 1.0), xp.clip(-xp.amin(x, axis=-1), 0.0, None))

    def uniform(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Normalised exponentials, Dirichlet(1, …, 1)."""
        weights = rng.standard_exponential((n, self.dim + 1))
        return weights / weights.sum(axis=-1, keepdims=True)
