r"""Hyperbolic triangles (o, x, y) with the origin o, from the spatial parts of x and y: the sides and turns that ``hyperbolic`` is made of.

Far from the origin by trigonometry in r, s and the angle at o, in forms without cancellation; near it, where these have no gradient because
x̂ has none, in the coordinates themselves. The formulas agree where they meet.
"""

from __future__ import annotations

from scorebed.solvers.model import Array
from scorebed.solvers.space.xp import dot, namespace, norm, unit

NEAR = 0.5
"""sinh r below which formulas in x⃗ itself, smooth at the origin, take the place of those in r and x̂."""


def cosh(sinh: Array) -> Array:
    """√(1 + sinh²)."""
    xp = namespace(sinh)
    return xp.hypot(xp.ones_like(sinh), sinh)


def nearby(space: Array, length: Array) -> tuple[Array, Array]:
    """Whether a point is near the origin, and its spatial part, 0 where it is not."""
    near = length < NEAR
    return near, namespace(space).where(near, space, 0.0)


def aim_near(a: Array, b: Array) -> Array:
    """For x near the origin: u⃗ = y⃗ − x⃗ − (cosh d − 1) x⃗ in the frame at x."""
    xp = namespace(a, b)
    time, other = cosh(norm(a)), cosh(norm(b))
    delta = b - a
    later = dot(delta, a + b) / (time + other)
    close = dot(delta, delta) < 1.0
    safe = xp.where(close, delta, 0.0)
    grown = xp.where(close, 0.5 * (dot(safe, safe) - xp.where(close, later * later, 0.0)), time * other - dot(a, b) - 1.0)
    u = delta - grown * a
    return u - dot(u, a) / (time * (1.0 + time)) * a


def aim_in(a: Array, b: Array) -> Array:
    """From a point x away from the origin to one near it: cosh r y⃗∥ − cosh s sinh r along the ray, y⃗⊥ across."""
    axis, sinh_r = unit(a)
    along = dot(b, axis)
    return (cosh(sinh_r) * along - cosh(norm(b)) * sinh_r) * axis + (b - along * axis)


def aim_far(a: Array, b: Array) -> Array:
    """For two points away from the origin, by the triangle (o, x, y)."""
    xp = namespace(a, b)
    axis, sinh_r = unit(a)
    sinh_s = norm(b)
    cosh_r, cosh_s = cosh(sinh_r), cosh(sinh_s)
    delta = b - a
    # b and δ differ by a multiple of the axis: the smaller one loses fewer digits
    near = xp.where(norm(delta) < sinh_s, delta, b)
    rest = near - dot(near, axis) * axis
    rest = rest - dot(rest, axis) * axis
    # sinh(s − r) = (sinh² s − sinh² r)/(sinh s cosh r + cosh s sinh r), each factor scaled so that nothing overflows
    radial = dot(delta, (a + b) / (sinh_s * cosh_r + cosh_s * sinh_r))
    half = xp.sin(0.5 * xp.atan2(norm(rest), dot(b, axis)))
    return (radial - 2.0 * cosh_r * sinh_s * half * half) * axis + rest


def turn_near(a: Array, b: Array, w: Array) -> Array:
    """Transport in frame coordinates where x or y is near the origin.

    With A = sinh(r/2) x̂, B = sinh(s/2) ŷ, M = A Bᵀ − B Aᵀ, Q = cosh(r/2) cosh(s/2) − A·B, T² = |A|²|B|² − (A·B)² it is
    w + 2 (Q M w + M² w)/(T² + Q²).

    Returns:
        the transported vector, of the shape of w.
    """
    half_a, half_b = (part / _twice_cosh_half(part) for part in (a, b))
    product = dot(half_a, half_b)
    q = cosh(norm(half_a)) * cosh(norm(half_b)) - product
    t2 = dot(half_a, half_a) * dot(half_b, half_b) - product * product

    def turn(z: Array) -> Array:
        return dot(half_b, z) * half_a - dot(half_a, z) * half_b

    first = turn(w)
    return w + 2.0 / (t2 + q * q) * (q * first + turn(first))


def _twice_cosh_half(space: Array) -> Array:
    """2 cosh(r/2) = √(2 (1 + cosh r)) for the point with this spatial part."""
    return namespace(space).sqrt(2.0 + 2.0 * cosh(norm(space)))


def turn_far(a: Array, b: Array, w: Array) -> Array:
    """Transport in frame coordinates for two points away from the origin, by the area Δ of the triangle (o, x, y)."""
    xp = namespace(a, b, w)
    axis, sinh_r = unit(a)
    other, sinh_s = unit(b)
    cosine = dot(other, axis)
    aside = other - cosine * axis
    sine = norm(aside)
    half = xp.sin(0.5 * xp.atan2(sine, cosine))
    r, s = xp.asinh(sinh_r), xp.asinh(sinh_s)
    legs = xp.sinh(0.5 * r) * xp.sinh(0.5 * s)
    flat = xp.cosh(0.5 * (r - s)) + 2.0 * legs * half * half
    # sin Δ/sin φ = 2 l q, (cos Δ − 1)/sin² φ = −2 l², where l = legs and q = flat, both over √((legs sin φ)² + flat²)
    size = xp.hypot(legs * sine, flat)
    leg, even = legs / size, flat / size
    p, q = dot(w, axis), dot(w, aside)
    turned = 2.0 * leg * even * (q * axis - p * aside)
    return w + turned - 2.0 * leg * leg * (sine * sine * p * axis + q * aside)
