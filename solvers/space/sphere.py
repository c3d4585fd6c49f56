r"""The unit sphere S^d in R^{d+1} with the round metric.

    exp_x(v) = cos|v| x + sin|v| v/|v|         log_x(y) = θ u/|u|,  u = y − ⟨x, y⟩ x,  θ = atan2(|u|, ⟨x, y⟩)

u is taken from y − x, or beyond a right angle from y + x, which loses no digits at either end; the distance is
2 atan2(|y − x|, |y + x|) (Kahan), good to round-off from 1e-160 to π. At the antipode log picks one tangent vector of length π.

S^d = SO(d+1)/SO(d): the rotation in the plane of x and v has the generator A_x(v) y = ⟨x, y⟩ v − ⟨v, y⟩ x, so that A_x(v) x = v and
exp(A_x(v)) x = exp_x(v).
"""

from __future__ import annotations

from math import pi

import numpy as np

from scorebed.solvers.model import Array
from scorebed.solvers.space.base import Space, dimension
from scorebed.solvers.space.generator import apply_exp, skew_split
from scorebed.solvers.space.xp import angle_over_sine, dot, eps, namespace, norm, sinc, unit


class Sphere(Space):
    """S^d; points are unit vectors (..., d+1), tangent vectors are orthogonal to them."""

    def __init__(self, d: int) -> None:
        self.dim = dimension(d)
        self.shape = (self.dim + 1,)
        self.name = f"Sphere({d})"

    @property
    def origin(self) -> np.ndarray:
        """The pole (1, 0, …, 0)."""
        return np.eye(self.dim + 1)[0]

    def edges(self) -> np.ndarray:
        """The pole, the other pole, and a point between."""
        return np.stack([self.origin, -self.origin, np.eye(self.dim + 1)[1]])

    def exp(self, x: Array, v: Array) -> Array:
        """cos|v| x + sin|v| v/|v|, normalised."""
        xp = namespace(x, v)
        length = norm(v)
        return unit(xp.cos(length) * x + sinc(length) * v)[0]

    def _towards(self, x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
        """u = y − ⟨x, y⟩ x, smooth in both; |u|, ⟨x, y⟩, and where y is the antipode of x."""
        cosine = dot(x, y)
        far = cosine < 0.0
        chord = namespace(x, y).where(far, y + x, y - x)
        u = chord - dot(chord, x) * x
        sine = norm(u)
        return u - dot(u, x) * x, sine, cosine, far & (sine < 4.0 * eps(cosine))

    def _direction(self, x: Array, y: Array) -> tuple[Array, Array]:
        """The unit tangent vector at x towards y (0 where y = x) and the angle between them."""
        xp = namespace(x, y)
        u, sine, cosine, antipodal = self._towards(x, y)
        # y − x is x − y reversed to the last bit, so that the way back is along the same circle
        w = xp.where(antipodal, self._any_direction(y - x), unit(u)[0])
        return w, xp.atan2(xp.where(antipodal, 0.0, sine), cosine)

    def _any_direction(self, x: Array) -> Array:
        """A unit vector orthogonal to x, the same for x and −x: towards the coordinate axis farthest from both."""
        xp = namespace(x)
        axis = xp.eye(self.dim + 1, dtype=x.dtype) if xp is np else xp.eye(self.dim + 1, dtype=x.dtype, device=x.device)
        x = unit(x)[0]
        e = axis[xp.argmin(xp.abs(x), axis=-1)]
        return unit(e - dot(e, x) * x)[0]

    def log(self, x: Array, y: Array) -> Array:
        """θ u/|u|, of length at most π."""
        xp = namespace(x, y)
        u, sine, cosine, antipodal = self._towards(x, y)
        return xp.where(antipodal, pi * self._any_direction(y - x), angle_over_sine(sine, cosine) * u)

    def distance(self, x: Array, y: Array) -> Array:
        """2 atan2(|y − x|, |y + x|), the angle."""
        return 2.0 * namespace(x, y).atan2(norm(y - x), norm(y + x))[..., 0]

    def transport(self, x: Array, y: Array, v: Array) -> Array:
        """exp(A_x(log_x y)) v, the rotation that moves x to y in their plane; tangent at y to round-off."""
        xp = namespace(x, y, v)
        u, _, cosine, _ = self._towards(x, y)
        far = cosine < 0.0
        w, angle = self._direction(x, xp.where(far, y, -1.0 * y))  # not needed where y is near
        beyond = v + dot(w, v) * ((xp.cos(angle) - 1.0) * w - xp.sin(angle) * x)
        within = v - dot(u, v) * (x + u / xp.where(far, 1.0, 1.0 + cosine))
        return self.tangent(y, xp.where(far, beyond, within))

    def project(self, x: Array) -> Array:
        """x / |x|; for x = 0, to which every point is nearest, the first axis."""
        xp = namespace(x)
        direction, length = unit(x)
        first = xp.zeros_like(x)
        first[..., 0] = 1.0
        return xp.where(length == 0.0, first, direction)

    def tangent(self, x: Array, v: Array) -> Array:
        """v − ⟨x, v⟩ x."""
        return v - dot(x, v) * x

    def inner(self, x: Array, u: Array, v: Array) -> Array:
        """u · v."""
        return dot(u, v)[..., 0]

    def norm(self, x: Array, v: Array) -> Array:
        """|v|."""
        return norm(v)[..., 0]

    def noise(self, x: Array, z: Array) -> Array:
        """z − ⟨x, z⟩ x."""
        return self.tangent(x, z)

    def ricci(self, x: Array, v: Array) -> Array:
        """(d − 1) v."""
        return (self.dim - 1.0) * v

    def retract(self, x: Array, v: Array) -> Array:
        """(x + v) / |x + v|, exp up to O(|v|³)."""
        return unit(x + v)[0]

    def retract1(self, x: Array, v: Array) -> Array:
        """Π_{i<j} exp(A_ij) x: the rotation by A_x(v) split into its coordinate planes, d(d+1)/2 of them; exp up to O(|v|²)."""
        return unit(skew_split(self.generator(x, v), x))[0]

    def generator(self, x: Array, v: Array) -> Array:
        """A_x(v) = v xᵀ − x vᵀ ∈ so(d+1), (..., d+1, d+1)."""
        return v[..., :, None] * x[..., None, :] - x[..., :, None] * v[..., None, :]

    def rotate(self, x: Array, v: Array, y: Array) -> Array:
        """exp(A_x(v)) y for v ∈ T_x, in closed form; y is any ambient vector, so a tangent vector at x is transported."""
        xp = namespace(x, v, y)
        angle = norm(v)
        half, s, a, b = sinc(0.5 * angle), sinc(angle), dot(x, y), dot(v, y)
        return y + (xp.cos(angle) * a - a - s * b) * x + (s * a - 0.5 * half * half * b) * v

    def act(self, a: Array, y: Array) -> Array:
        """exp(a) y for a ∈ so(d+1), (..., d+1, d+1), e.g. a sum of generators at different points; normalised."""
        return unit(apply_exp(a, y))[0]

    def deviation(self, x: Array) -> Array:
        """| |x| − 1 |."""
        return namespace(x).abs(norm(x)[..., 0] - 1.0)

    def uniform(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Normalised standard normals."""
        return unit(rng.standard_normal((n, self.dim + 1)))[0]

    @property
    def diameter(self) -> float:
        """π."""
        return pi
