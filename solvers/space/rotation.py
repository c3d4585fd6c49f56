r"""SO(3) with the bi-invariant metric in which the distance is the angle of rotation: ⟨A, B⟩ = ½ tr(AᵀB).

A tangent vector at R is V = R hat(ω), ω ∈ R³ the angular velocity in the body frame, and |V| = |ω|. With A = hat(ω), θ = |ω|,

    exp_R(V) = R (cos θ I + sin θ/θ A + (1 − cos θ)/θ² ω ωᵀ)          (Rodrigues)
    transport of R hat(ω) along S = R exp(hat(η)):  S hat(exp(−hat(η)/2) ω)

The logarithm goes over the unit quaternion of RᵀS, whose largest component is found first (Shepperd), so that angles of 1e-160 and of π
lose no digits. For Runge-Kutta-Munthe-Kaas methods, with ad_u b = u × b,

    dexpinv_u(b) = b − ½ u × b + (1 − (θ/2) cot(θ/2))/θ² u × (u × b)          (Iserles et al., Acta Numerica 9, 2000).
"""

from __future__ import annotations

import math

import numpy as np

from scorebed.solvers.model import Array
from scorebed.solvers.space.base import Space
from scorebed.solvers.space.xp import angle_over_sine, dot, namespace, norm, sinc, swap, unit


def cross(u: Array, w: Array) -> Array:
    """u × w over the last axis."""
    a, b, c = u[..., 0], u[..., 1], u[..., 2]
    p, q, r = w[..., 0], w[..., 1], w[..., 2]
    return namespace(u, w).stack([b * r - c * q, c * p - a * r, a * q - b * p], axis=-1)


def half_cot(angle: Array) -> Array:
    """(1 − (θ/2) cot(θ/2))/θ², 1/12 at 0, by its series below θ = 0.5; it has a pole at θ = 2π."""
    xp = namespace(angle)
    q = angle * angle
    series = 1.0 / 74724249600  # |B_2n|/(2n)!, n = 7 … 1
    for c in (691.0 / 1307674368000, 1.0 / 47900160, 1.0 / 1209600, 1.0 / 30240, 1.0 / 720, 1.0 / 12):
        series = c + q * series
    safe = xp.where(angle > 0.5, angle, 1.0)
    return xp.where(angle > 0.5, (1.0 - 0.5 * safe / xp.tan(0.5 * safe)) / (safe * safe), series)


def quaternion(a: Array) -> Array:
    """The unit quaternion (w, x, y, z) with w ≥ 0 of the rotation I + a, a of shape (..., 3, 3)."""
    xp = namespace(a)
    xx, yy, zz = a[..., 0, 0], a[..., 1, 1], a[..., 2, 2]
    x, y, z = a[..., 2, 1] - a[..., 1, 2], a[..., 0, 2] - a[..., 2, 0], a[..., 1, 0] - a[..., 0, 1]
    xy, xz, yz = a[..., 0, 1] + a[..., 1, 0], a[..., 0, 2] + a[..., 2, 0], a[..., 1, 2] + a[..., 2, 1]
    # Four times the outer product of the quaternion with itself: the row with the largest diagonal is well away from 0.
    rows = xp.stack(
        [
            xp.stack([4.0 + xx + yy + zz, x, y, z], axis=-1),
            xp.stack([x, xx - yy - zz, xy, xz], axis=-1),
            xp.stack([y, xy, yy - xx - zz, yz], axis=-1),
            xp.stack([z, xz, yz, zz - xx - yy], axis=-1),
        ],
        axis=-2,
    )
    diagonal = xp.stack([rows[..., i, i] for i in range(4)], axis=-1)
    best = xp.argmax(diagonal, axis=-1)
    row = rows[..., 3, :]
    for i in range(3):
        row = xp.where((best == i)[..., None], rows[..., i, :], row)
    q = unit(row)[0]
    return xp.where(q[..., :1] < 0.0, -q, q)


class SO3(Space):
    """The rotations of R³; points (..., 3, 3), tangent vectors R hat(ω), as matrices."""

    def __init__(self) -> None:
        self.dim = 3
        self.shape = (3, 3)
        self.name = "SO3"

    @property
    def origin(self) -> np.ndarray:
        """I."""
        return np.eye(3)

    def edges(self) -> np.ndarray:
        """I, and two half turns."""
        return np.stack([self.origin, np.diag([1.0, -1.0, -1.0]), np.diag([-1.0, 1.0, -1.0])])

    # the Lie algebra, in coordinates of R³ -------------------------------------------------------------------------------------------

    @staticmethod
    def hat(u: Array) -> Array:
        """The skew matrix with hat(u) w = u × w: (..., 3) to (..., 3, 3)."""
        xp = namespace(u)
        a, b, c = u[..., 0], u[..., 1], u[..., 2]
        o = xp.zeros_like(a)
        return xp.stack([xp.stack(row, axis=-1) for row in ([o, -c, b], [c, o, -a], [-b, a, o])], axis=-2)

    @staticmethod
    def vee(a: Array) -> Array:
        """The inverse of ``hat`` on the skew part of a: (..., 3, 3) to (..., 3)."""
        pairs = [(2, 1), (0, 2), (1, 0)]
        return namespace(a).stack([0.5 * (a[..., i, j] - a[..., j, i]) for i, j in pairs], axis=-1)

    @staticmethod
    def bracket(u: Array, w: Array) -> Array:
        """[u, w] = u × w."""
        return cross(u, w)

    def group_exp(self, u: Array) -> Array:
        """exp(hat(u)), the rotation about u by the angle |u|: (..., 3) to (..., 3, 3)."""
        angle = norm(u)
        half = sinc(0.5 * angle)
        return _combine(namespace(u).cos(angle), sinc(angle), 0.5 * half * half, u, self.hat(u))

    def group_log(self, r: Array) -> Array:
        """The u with |u| ≤ π and group_exp(u) = r: (..., 3, 3) to (..., 3)."""
        return self._log(r - _eye(r))

    def _log(self, a: Array) -> Array:
        """group_log(I + a)."""
        q = quaternion(a)
        return 2.0 * angle_over_sine(norm(q[..., 1:]), q[..., :1]) * q[..., 1:]

    def dexpinv(self, u: Array, b: Array) -> Array:
        """dexp_u^{-1}(b) in closed form, so that Y = exp(u) Y₀, Y' = hat(b) Y gives u' = dexpinv(u, b); finite for |u| < 2π.

        For Y = Y₀ exp(u), Y' = Y hat(b), the frame of ``to_algebra``, it is dexpinv(−u, b).

        Returns:
            dexp_u^{-1}(b), of the shape of b.
        """
        c = cross(u, b)
        return b - 0.5 * c + half_cot(norm(u)) * cross(u, c)

    def to_algebra(self, x: Array, v: Array) -> Array:
        """ω with v = x hat(ω)."""
        return self.vee(swap(x) @ v)

    def from_algebra(self, x: Array, u: Array) -> Array:
        """x hat(u)."""
        return x @ self.hat(u)

    # the space ------------------------------------------------------------------------------------------------------------------------

    def exp(self, x: Array, v: Array) -> Array:
        """x exp(xᵀv), made orthogonal again to round-off."""
        return _orthogonal(x @ self.group_exp(self.to_algebra(x, v)))

    def log(self, x: Array, y: Array) -> Array:
        """x log(xᵀy), of length at most π."""
        return self.from_algebra(x, self._between(x, y))

    def _between(self, x: Array, y: Array) -> Array:
        # xᵀy − I as xᵀ(y − x): its skew part is exact for neighbours.
        return self._log(swap(x) @ (y - x))

    def distance(self, x: Array, y: Array) -> Array:
        """The angle of the rotation xᵀy."""
        return norm(self._between(x, y))[..., 0]

    def transport(self, x: Array, y: Array, v: Array) -> Array:
        """y hat(exp(−hat(η)/2) ω) for v = x hat(ω), η = vee log(xᵀy)."""
        back = self.group_exp(-0.5 * self._between(x, y))
        moved = (back @ self.to_algebra(x, v)[..., None])[..., 0]
        return self.from_algebra(y, moved)

    def project(self, x: Array) -> Array:
        """The nearest rotation U diag(1, 1, det UVᵀ) Vᵀ, x = U S Vᵀ (Kabsch); nan stays nan.

        The gradient is not that of the decomposition, which has none where singular values are equal, as those of a rotation are. With
        R the result and P = Rᵀx symmetric,  dR = R hat(ω),  (tr P − P) ω = 2 vee(Rᵀ dx).

        Returns:
            the nearest rotation, (..., 3, 3).
        """
        xp = namespace(x)
        if xp is not np and x.requires_grad:
            r = self.project(x.detach())
            p = swap(r) @ x
            rate = (p.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None] * _eye(x) - 0.5 * (p + swap(p))).detach()
            turn = 2.0 * self.vee(p)
            omega = xp.linalg.solve(rate, turn - turn.detach())  # 0, with the gradient
            return r @ (_eye(x) + self.hat(omega))
        finite = xp.isfinite(x).all(axis=-1).all(axis=-1)[..., None, None]
        u, _, vt = xp.linalg.svd(xp.where(finite, x, _eye(x)))
        sign = xp.linalg.det(u @ vt)[..., None]
        u = xp.concatenate([u[..., :2], u[..., 2:] * sign[..., None]], axis=-1)
        return xp.where(finite, u @ vt, math.nan)

    def tangent(self, x: Array, v: Array) -> Array:
        """x skew(xᵀv)."""
        return self.from_algebra(x, self.to_algebra(x, v))

    def inner(self, x: Array, u: Array, v: Array) -> Array:
        """½ tr(uᵀv)."""
        return 0.5 * (u * v).sum(axis=-1).sum(axis=-1)

    def norm(self, x: Array, v: Array) -> Array:
        """√(½ tr(vᵀv)), the angular speed."""
        return norm(v.reshape(*v.shape[:-2], 9))[..., 0] * math.sqrt(0.5)

    def noise(self, x: Array, z: Array) -> Array:
        """√2 x skew(xᵀz): the three entries of ω are independent standard normals."""
        return self.tangent(x, z) * math.sqrt(2.0)

    def ricci(self, x: Array, v: Array) -> Array:
        """v/2, in the metric in which the distance is the angle."""
        return 0.5 * v

    def gradient(self, x: Array, g: Array) -> Array:
        """2 x skew(xᵀg), the V with ½ tr(VᵀW) = tr(gᵀW) for all tangent W."""
        return self.tangent(x, g) * 2.0

    def retract(self, x: Array, v: Array) -> Array:
        """x cay(A) = x (I − A/2)^{-1} (I + A/2), A = xᵀv: exp up to O(|v|³)."""
        u = self.to_algebra(x, v)
        square = dot(u, u)
        scale = 1.0 / (4.0 + square)
        return _orthogonal(x @ _combine((4.0 - square) * scale, 4.0 * scale, 2.0 * scale, u, self.hat(u)))

    def retract1(self, x: Array, v: Array) -> Array:
        """x exp(ω₁E₁) exp(ω₂E₂) exp(ω₃E₃): the rotation split into its coordinate axes, exp up to O(|v|²)."""
        u = self.to_algebra(x, v)
        for i in range(3):
            e = namespace(u).zeros_like(u)
            e[..., i] = u[..., i]
            x = x @ self.group_exp(e)
        return _orthogonal(x)

    def deviation(self, x: Array) -> Array:
        """max |xᵀx − I|, and 2 for a reflection."""
        xp = namespace(x)
        gap = xp.amax(xp.amax(xp.abs(swap(x) @ x - _eye(x)), axis=-1), axis=-1)
        det = dot(x[..., 0, :], cross(x[..., 1, :], x[..., 2, :]))[..., 0]
        return xp.where(det < 0.0, 2.0 + gap, gap)

    def uniform(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """The Haar law, as the rotations of uniform unit quaternions."""
        q = unit(rng.standard_normal((n, 4)))[0]
        half = np.where(q[:, :1] < 0.0, -q, q)
        axis, sine = unit(half[:, 1:])
        return _orthogonal(self.group_exp(2.0 * np.arctan2(sine, half[:, :1]) * axis))


def _eye(like: Array) -> Array:
    xp = namespace(like)
    return xp.eye(3, dtype=like.dtype) if xp is np else xp.eye(3, dtype=like.dtype, device=like.device)


def _combine(a: Array, b: Array, c: Array, u: Array, hat: Array) -> Array:
    """a I + b hat(u) + c u uᵀ, which is what every rational or analytic function of hat(u) is; hat(u)² = u uᵀ − |u|² I."""
    return a[..., None] * _eye(u) + b[..., None] * hat + (c * u)[..., :, None] * u[..., None, :]


def _orthogonal(x: Array) -> Array:
    """One Newton-Schulz step towards the polar factor: a departure of δ from orthogonality becomes O(δ²)."""
    return 1.5 * x - 0.5 * (x @ (swap(x) @ x))
