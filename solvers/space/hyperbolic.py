r"""Hyperbolic space H^d of curvature −1, as the hyperboloid −x₀² + |x⃗|² = −1, x₀ > 0, time coordinate first.

The textbook formulas (distance arcosh(−⟨x, y⟩), log and transport by Minkowski products) subtract numbers of size e^{2r} at distance r from
the origin o = (1, 0). Here every point is given by its spatial part x⃗ = sinh r x̂, and a tangent vector v at x by the frame that parallel
transport carries from o along the ray to x,

    w = v⃗ − (v⃗·x̂) x̂ + (v⃗·x̂)/x₀ x̂ ∈ R^d,   |w| = |v|_x,        v⃗ = w − (w·x̂) x̂ + x₀ (w·x̂) x̂,   v₀ = |x⃗| (w·x̂),

and triangles (o, x, y) are solved by hyperbolic trigonometry in forms without cancellation. With φ the angle at o between x and y, r and s
their distances from o, w∥ the part of w along x̂, w⊥ the rest, ρ = |w|:

    exp:        y⃗ = (sinh r cosh ρ + cosh r sinh ρ w∥/ρ) x̂ + sinh ρ/ρ w⊥
    log:        sinh(ρ)/ρ w∥ = sinh(s − r) − 2 cosh r sinh s sin²(φ/2),   sinh(ρ)/ρ w⊥ = y⃗⊥
    transport:  in these frames, the rotation of the plane (x, y) by minus the area Δ of the triangle,
                Δ = 2 atan2( sinh(r/2) sinh(s/2) sin φ,  cosh((r − s)/2) + 2 sinh(r/2) sinh(s/2) sin²(φ/2) ).

What is left is the conditioning of the coordinates themselves. A unit vector x̂ in floating point fixes a point at distance r only to
about eps e^r, and an ambient vector such as D − x holds its part across the ray to eps e^{2r}. A sampler moves by such vectors, so it is
good to about eps e^{2r}: ``reach`` is where that is 1, r = 18.0 in float64 and 8.0 in float32, and ``check`` refuses points beyond. Two
units nearer it is 0.02. The functions here go on to r = 709, in float32 88, where coordinates overflow, if tangent vectors come from
``from_frame``.
"""

from __future__ import annotations

import math

import numpy as np

from scorebed.solvers.model import Array
from scorebed.solvers.space.base import Space, dimension
from scorebed.solvers.space.generator import apply_exp
from scorebed.solvers.space.triangle import NEAR, aim_far, aim_in, aim_near, cosh, nearby, turn_far, turn_near
from scorebed.solvers.space.xp import asinhc, constant, dot, eps, host, namespace, norm, sinhc, unit


def lift(space: Array) -> Array:
    """The point with this spatial part: (√(1 + |x⃗|²), x⃗)."""
    xp = namespace(space)
    length = norm(space)
    return xp.concatenate([xp.hypot(xp.ones_like(length), length), space], axis=-1)


class Hyperbolic(Space):
    """H^d; points (..., d+1) of the hyperboloid, tangent vectors with −x₀v₀ + x⃗·v⃗ = 0. ``reference`` is exp_o of the standard normal."""

    compact = False

    def __init__(self, d: int) -> None:
        self.dim = dimension(d)
        self.shape = (self.dim + 1,)
        self.name = f"Hyperbolic({d})"

    def reach(self, x: Array) -> float:
        """The distance from the origin, −½ ln eps, at which steps by ambient vectors in the dtype of x have lost all digits."""
        return -0.5 * math.log(eps(x))

    def check(self, x: Array, name: str = "x", tol: float | None = None) -> None:
        """As in every space; points beyond ``reach`` are refused with a ``ValueError`` too."""
        super().check(x, name, tol)
        far = float(np.arcsinh(host(norm(x[..., 1:]))).max())
        if far > self.reach(x):
            better = "there is no wider type: bring the points nearer" if self.reach(x) > 10.0 else "give float64, which reaches 18.0"
            raise ValueError(
                f"{name} has points at distance {far:.1f} from the origin of {self.name}, where {x.dtype} resolves steps up to "
                f"{self.reach(x):.1f}: {better}"
            )

    @property
    def origin(self) -> np.ndarray:
        """o = (1, 0, …, 0)."""
        return np.eye(self.dim + 1)[0]

    def to_frame(self, x: Array, v: Array) -> Array:
        """The coordinates w ∈ R^d of v in the orthonormal frame carried from the origin to x: (..., d+1) to (..., d)."""
        axis, length = unit(x[..., 1:])
        along = dot(v[..., 1:], axis)
        rest = v[..., 1:] - along * axis
        rest = rest - dot(rest, axis) * axis
        # Far out the part along the ray is cosh r times longer here than in the frame. What round-off leaves of it across the ray must not
        # count: it would be longer than v, and a walk would run away.
        shown = (norm(rest) > 8.0 * eps(v) * namespace(v).abs(along)) | (along == 0.0)
        rest = namespace(v).where(shown, rest, 0.0)
        near, point = nearby(x[..., 1:], length)
        time = cosh(norm(point))
        smooth = v[..., 1:] - dot(v[..., 1:], point) / (time * (1.0 + time)) * point
        return namespace(v).where(near, smooth, rest + along / cosh(length) * axis)

    def from_frame(self, x: Array, w: Array) -> Array:
        """The tangent vector with frame coordinates w: (..., d) to (..., d+1)."""
        xp = namespace(x, w)
        axis, length = unit(x[..., 1:])
        along = dot(w, axis)
        rest = w - along * axis
        near, point = nearby(x[..., 1:], length)
        smooth = w + dot(w, point) / (1.0 + cosh(norm(point))) * point
        far = rest + (cosh(length) * along) * axis
        return xp.concatenate([dot(w, x[..., 1:]), xp.where(near, smooth, far)], axis=-1)

    def exp(self, x: Array, v: Array) -> Array:
        """cosh|v| x + sinh|v| v/|v|."""
        return self._shoot(x, self.to_frame(x, v))

    def _shoot(self, x: Array, w: Array) -> Array:
        xp = namespace(x, w)
        axis, sinh_r = unit(x[..., 1:])
        cosh_r, rho = cosh(sinh_r), norm(w)
        along = dot(w, axis)
        rest = w - along * axis
        direction, _ = unit(w)
        cosine = dot(direction, axis)
        side = direction - cosine * axis
        # towards the origin: sinh r cosh ρ + cosh r sinh ρ cos = sinh(r − ρ) + cosh r sinh ρ (1 + cos), 1 + cos = sin²/(1 − cos)
        inward = xp.sinh(xp.asinh(sinh_r) - rho) + cosh_r * xp.sinh(rho) * (dot(side, side) / (1.0 - xp.clip(cosine, None, 0.0)))
        outward = sinh_r * xp.cosh(rho) + cosh_r * sinhc(rho) * along
        near, point = nearby(x[..., 1:], sinh_r)
        smooth = xp.cosh(rho) * point + sinhc(rho) * (w + dot(w, point) / (1.0 + cosh(norm(point))) * point)
        return lift(xp.where(near, smooth, xp.where(cosine < 0.0, inward, outward) * axis + sinhc(rho) * rest))

    def _aim(self, x: Array, y: Array) -> Array:
        """sinh(d)/d times the frame coordinates at x of log_x(y)."""
        xp = namespace(x, y)
        a, b = x[..., 1:], y[..., 1:]
        sinh_r, sinh_s = norm(a), norm(b)
        near, inner = nearby(a, sinh_r)
        level = ~near & (sinh_s < 0.5 * NEAR)
        east = constant(np.eye(self.dim)[0], a)
        far_a, far_b = (xp.where(near | level, scale * east, part) for part, scale in ((a, 2.0), (b, 3.0)))  # harmless where not taken
        off = xp.where(near, xp.ones_like(a), a)
        return xp.where(near, aim_near(inner, xp.where(near, b, 0.0)), xp.where(level, aim_in(off, b), aim_far(far_a, far_b)))

    def log(self, x: Array, y: Array) -> Array:
        """d u/|u|, u = y + ⟨x, y⟩ x."""
        aim = self._aim(x, y)
        return self.from_frame(x, asinhc(norm(aim)) * aim)

    def distance(self, x: Array, y: Array) -> Array:
        """arcosh(−⟨x, y⟩), as arsinh of the length of u."""
        return namespace(x, y).asinh(norm(self._aim(x, y)))[..., 0]

    def transport(self, x: Array, y: Array, v: Array) -> Array:
        """v + ⟨y, v⟩/(1 − ⟨x, y⟩) (x + y), by rotating frame coordinates."""
        xp = namespace(x, y, v)
        w, a, b = self.to_frame(x, v), x[..., 1:], y[..., 1:]
        small = (norm(a) < NEAR) | (norm(b) < NEAR)
        east = constant(np.eye(self.dim)[0], a)
        far = turn_far(xp.where(small, 2.0 * east, a), xp.where(small, 3.0 * east, b), w)
        return self.from_frame(y, xp.where(small, turn_near(xp.where(small, a, 0.0), xp.where(small, b, 0.0), w), far))

    def project(self, x: Array) -> Array:
        """The point with the same spatial part: the one reading of an ambient point that keeps its digits far out."""
        return lift(x[..., 1:])

    def tangent(self, x: Array, v: Array) -> Array:
        """v + ⟨x, v⟩ x, the Minkowski-orthogonal projection; for v already tangent it is good to about eps e^{2r}."""
        axis, length = unit(x[..., 1:])
        along = dot(v[..., 1:], axis)
        rest = v[..., 1:] - along * axis
        return self.from_frame(x, rest + (cosh(length) * along - length * v[..., :1]) * axis)

    def inner(self, x: Array, u: Array, v: Array) -> Array:
        """−u₀v₀ + u⃗·v⃗, from frame coordinates."""
        return dot(self.to_frame(x, u), self.to_frame(x, v))[..., 0]

    def norm(self, x: Array, v: Array) -> Array:
        """√⟨v, v⟩, from frame coordinates."""
        return norm(self.to_frame(x, v))[..., 0]

    def noise(self, x: Array, z: Array) -> Array:
        """The vector with frame coordinates z⃗; z₀ is not used. Good at any distance from the origin."""
        return self.from_frame(x, z[..., 1:])

    def ricci(self, x: Array, v: Array) -> Array:
        """−(d − 1) v."""
        return (1.0 - self.dim) * v

    def gradient(self, x: Array, g: Array) -> Array:
        """The Minkowski-orthogonal projection of (−g₀, g⃗)."""
        return self.tangent(x, namespace(x, g).concatenate([-g[..., :1], g[..., 1:]], axis=-1))

    def retract(self, x: Array, v: Array) -> Array:
        """√(1 + |v|²) x + v, the geodesic followed for arsinh|v| only: exp up to O(|v|³)."""
        return lift(cosh(norm(self.to_frame(x, v))) * x[..., 1:] + v[..., 1:])

    def retract1(self, x: Array, v: Array) -> Array:
        """The point with the spatial part x⃗ + v⃗; exp up to O(|v|²), away from the origin no better."""
        return lift(x[..., 1:] + v[..., 1:])

    def generator(self, x: Array, v: Array) -> Array:
        """A_x(v) ∈ so(d, 1) with A_x(v) y = −⟨x, y⟩ v + ⟨v, y⟩ x, (..., d+1, d+1)."""
        flip = constant([-1.0] + [1.0] * self.dim, x)
        return (x[..., :, None] * v[..., None, :] - v[..., :, None] * x[..., None, :]) * flip

    def rotate(self, x: Array, v: Array, y: Array) -> Array:
        """exp(A_x(v)) y for v ∈ T_x, in closed form; y is any ambient vector."""
        rho = self.norm(x, v)[..., None]
        half, s, a, b = sinhc(0.5 * rho), sinhc(rho), -_minkowski(x, y), _minkowski(v, y)
        c = 0.5 * half * half
        return y + (c * rho * rho * a + s * b) * x + (s * a + c * b) * v

    def act(self, a: Array, y: Array) -> Array:
        """exp(a) y for a ∈ so(d, 1), (..., d+1, d+1), e.g. a sum of generators at different points."""
        return self.project(apply_exp(a, y))

    def deviation(self, x: Array) -> Array:
        """|x₀ − √(1 + |x⃗|²)| relative to x₀ where that is large."""
        xp = namespace(x)
        time = lift(x[..., 1:])[..., 0]
        return xp.abs(x[..., 0] - time) / time

    def reference(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """The wrapped normal exp_o(z), z standard normal in T_o; H^d has no uniform law."""
        z = rng.standard_normal((n, self.dim))
        return lift(sinhc(norm(z)) * z)


def _minkowski(u: Array, v: Array) -> Array:
    return dot(u[..., 1:], v[..., 1:]) - u[..., :1] * v[..., :1]
