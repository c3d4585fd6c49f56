r"""SU(2), the unit quaternions (w, x, y, z), which as a Riemannian manifold is the unit sphere S³.

A tangent vector at q is q (0, u), u ∈ R³, of length |u|; exp(u) = (cos|u|, sin|u| u/|u|); [u, w] = 2 u × w. The rotation of R³ that
exp(u) stands for turns by 2|u|: distances in SO3 are twice those here, and Brownian motion of SU2 at time h maps to that of SO3 at time 4h.
"""

from __future__ import annotations

from math import pi

from scorebed.solvers.model import Array
from scorebed.solvers.space.rotation import SO3, cross, half_cot
from scorebed.solvers.space.sphere import Sphere
from scorebed.solvers.space.xp import angle_over_sine, dot, namespace, norm, sinc


class SU2(Sphere):
    """The unit quaternions; points (..., 4), real part first."""

    def __init__(self) -> None:
        super().__init__(3)
        self.name = "SU2"

    @staticmethod
    def multiply(p: Array, q: Array) -> Array:
        """The quaternion product p q."""
        a, u, b, w = p[..., :1], p[..., 1:], q[..., :1], q[..., 1:]
        return namespace(p, q).concatenate([a * b - dot(u, w), a * w + b * u + cross(u, w)], axis=-1)

    @staticmethod
    def inverse(q: Array) -> Array:
        """The conjugate quaternion."""
        return namespace(q).concatenate([q[..., :1], -q[..., 1:]], axis=-1)

    @staticmethod
    def hat(u: Array) -> Array:
        """The imaginary quaternion (0, u): (..., 3) to (..., 4)."""
        xp = namespace(u)
        return xp.concatenate([xp.zeros_like(u[..., :1]), u], axis=-1)

    @staticmethod
    def vee(a: Array) -> Array:
        """The inverse of ``hat`` on the imaginary part: (..., 4) to (..., 3)."""
        return a[..., 1:]

    @staticmethod
    def bracket(u: Array, w: Array) -> Array:
        """[u, w] = 2 u × w."""
        return 2.0 * cross(u, w)

    def group_exp(self, u: Array) -> Array:
        """(cos|u|, sin|u| u/|u|): (..., 3) to (..., 4)."""
        angle = norm(u)
        xp = namespace(u)
        return xp.concatenate([xp.cos(angle), sinc(angle) * u], axis=-1)

    def group_log(self, q: Array) -> Array:
        """The u with |u| ≤ π and group_exp(u) = q: (..., 4) to (..., 3); at −1 along the first axis."""
        xp = namespace(q)
        sine, cosine = norm(q[..., 1:]), q[..., :1]
        first = xp.zeros_like(q[..., 1:])
        first[..., 0] = pi
        return xp.where((sine == 0.0) & (cosine < 0.0), first, angle_over_sine(sine, cosine) * q[..., 1:])

    def dexpinv(self, u: Array, b: Array) -> Array:
        """dexp_u^{-1}(b) in closed form, so that Y = exp(u) Y₀, Y' = hat(b) Y gives u' = dexpinv(u, b); finite for |u| < π.

        For Y = Y₀ exp(u), Y' = Y hat(b), the frame of ``to_algebra``, it is dexpinv(−u, b).

        Returns:
            dexp_u^{-1}(b), of the shape of b.
        """
        c = 2.0 * cross(u, b)
        return b - 0.5 * c + half_cot(2.0 * norm(u)) * (2.0 * cross(u, c))

    def to_algebra(self, x: Array, v: Array) -> Array:
        """u with v = x (0, u)."""
        return self.multiply(self.inverse(x), v)[..., 1:]

    def from_algebra(self, x: Array, u: Array) -> Array:
        """x (0, u)."""
        return self.multiply(x, self.hat(u))

    def to_rotation(self, q: Array) -> Array:
        """The rotation w ↦ q w q⁻¹ of R³, the same for q and −q: (..., 4) to (..., 3, 3)."""
        return SO3().group_exp(2.0 * self.group_log(q))
