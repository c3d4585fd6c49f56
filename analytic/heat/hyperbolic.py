r"""The heat kernel of hyperbolic space H^d of curvature -1, every d >= 1, as a density with respect to the Riemannian volume.

With the clock of ½Δ (the spectrum starts at (d-1)²/8) and z = cosh r,

    K^1_t(r) = N(r; 0, t),          K^{d+2}_t = -(e^{-dt/2}/2π) d/dz K^d_t                                     (recursion)
    K^3_t(r) = (2πt)^{-3/2} e^{-t/2} (r/sinh r) e^{-r²/2t}
    K^{2m}_t(r) = 4 e^{(m-1/4)t/2} ∫_0^∞ K^{2m+1}_t(s) cosh(r/2) cosh x dx,     cosh(s/2) = cosh(r/2) cosh x,
    ∂_r log K^d_t = -2π sinh r e^{dt/2} K^{d+2}_t / K^d_t.

The integral with m = 1 is McKean's (J. Differential Geom. 4, 1970) in a variable in which the integrand is even, positive and analytic for
|Im x| < π/2, so that the trapezoidal rule converges geometrically. d = 3 and 5 are closed forms of positive terms, higher odd d Cauchy's
integral in z (``contour.py``). All terms are held relative to e^{-r²/2t}: nothing underflows, and large r does not overflow.
"""

from __future__ import annotations

import math
from functools import cache, partial
from typing import Any

import numpy as np

from scorebed.analytic.heat.contour import circle
from scorebed.analytic.heat.radial import REACH, Radial, graded, radial_of
from scorebed.analytic.heat.sphere import log_area
from scorebed.solvers.space import Hyperbolic

TWO_PI = 2.0 * math.pi
_DEEP = 80.0
_BLOCK = 1 << 17
_INSIDE = 0.6  # of the distance to the singularity at z = -1, for the contour
_FAR = 30.0  # beyond this e^{-2r} is below round-off


def log_cosh(x: np.ndarray) -> np.ndarray:
    """log cosh x, without overflow."""
    return np.abs(x) + np.log1p(np.exp(-2.0 * np.abs(x))) - math.log(2.0)


def log_sinhc(x: np.ndarray) -> np.ndarray:
    """log(sinh x / x), for x >= 0."""
    small = x < 0.3
    y = np.square(np.where(small, x, 0.0))
    series = y / 6.0 * (1.0 + y / 20.0 * (1.0 + y / 42.0 * (1.0 + y / 72.0 * (1.0 + y / 110.0))))
    safe = np.where(small, 1.0, x)
    return np.where(small, np.log1p(series), safe + np.log(-np.expm1(-2.0 * safe) / (2.0 * safe)))


def _bend(x: np.ndarray) -> np.ndarray:
    """(x coth x - 1)/x², 1/3 at 0."""
    small = x < 0.3
    y = np.square(np.where(small, x, 0.0))
    series = 1.0 / 3 - y * (1.0 / 45 - y * (2.0 / 945 - y * (1.0 / 4725 - y * (2.0 / 93555 - y * 1382.0 / 638512875))))
    safe = np.where(small, 1.0, x)
    return np.where(small, series, (safe / np.tanh(safe) - 1.0) / safe**2)


def _odd(r: np.ndarray, t: float, m: int) -> np.ndarray:
    """log((-d/dz)^m e^{-r²/2t}) + r²/2t, elementwise."""
    if m == 0:
        return np.zeros_like(r)
    if m == 1:
        return -math.log(t) - log_sinhc(r)
    if m == 2:
        # (-d/dz)² e^{-y/2t} with y = r²: ((r/sinh r)/t)² + (r coth r - 1)/sinh² r / t
        return -2.0 * math.log(t) - 2.0 * log_sinhc(r) + np.log1p(t * _bend(r))
    with np.errstate(invalid="ignore"):
        reach = np.minimum(_INSIDE, m * t * np.where(r > 0.0, np.tanh(0.5 * r) / np.where(r > 0.0, r, 1.0), 0.5))
    # the singularity at distance 1 (in units of z + 1) makes coefficients of order n no smaller than 1: reach^points < 1e-17
    turn, weight = circle(m, math.ceil(39.0 / -math.log(min(_INSIDE, float(reach.max(initial=0.01))))))
    shift = reach[..., None] * turn  # cosh²(r'/2) = cosh²(r/2) (1 + shift)
    h = np.minimum(r, _FAR)[..., None]
    moved = 2.0 * np.arcsinh(np.sqrt(np.square(np.sinh(0.5 * h)) + np.square(np.cosh(0.5 * h)) * shift))
    epsilon = 2.0 * np.arcsinh(np.square(np.cosh(0.5 * h)) * shift / np.sinh(0.5 * (moved + h)))
    epsilon = np.where(r[..., None] > _FAR, np.log1p(shift), epsilon)
    change = np.expm1(-0.5 * epsilon * (2.0 * r[..., None] + epsilon) / t)
    total = (change @ weight).real * (-1.0) ** m
    return np.log(total) - m * (np.log(reach) + math.log(2.0) + 2.0 * log_cosh(0.5 * r))


def _log_odd(r: np.ndarray, t: float, m: int) -> np.ndarray:
    """log K^{2m+1} + r²/2t."""
    return _odd(r, t, m) - m * math.log(TWO_PI) - 0.5 * m * m * t - 0.5 * math.log(TWO_PI * t)


def _log_even(r: np.ndarray, t: float, m: int) -> np.ndarray:
    """log K^{2m} + r²/2t, for r (n,)."""
    # e^{-(s²-r²)/2t} and, at long times, the volume's e^{-(m - 1/2) s} end the integrand
    span = np.minimum(_DEEP * t / (r + np.sqrt(r * r + _DEEP * t)), _DEEP / (2.0 * m - 1.0))
    end = r + span
    rise = np.exp(log_cosh(0.5 * end) - log_cosh(0.5 * r))
    # sinh²(X/2) = sinh((s+r)/4) sinh((s-r)/4) / cosh(r/2), without cancellation
    lift = np.exp(log_sinhc(0.25 * (end + r)) + np.log(0.25 * (end + r)) - log_cosh(0.5 * r)) * np.sinh(0.25 * span)
    reach = np.where(rise < 2.0, 2.0 * np.arcsinh(np.sqrt(lift)), np.log(rise) + np.log1p(np.sqrt(1.0 - np.minimum(1.0, rise**-2.0))))
    nodes = max(20, math.ceil(float(reach.max(initial=0.0)) / 0.25))
    x = reach[:, None] * (np.arange(nodes + 1) / nodes)
    weight = (reach / nodes)[:, None] * np.where(np.arange(nodes + 1) % nodes == 0, 0.5, 1.0)
    log_half = log_cosh(0.5 * r)[:, None] + log_cosh(x)  # log cosh(s/2)
    h = np.minimum(r, _FAR)[:, None]
    near = 2.0 * np.arcsinh(np.sqrt(np.square(np.sinh(0.5 * h)) + np.square(np.cosh(0.5 * h) * np.sinh(x))))
    s = np.where(log_half > 0.5 * _FAR, 2.0 * (log_half + math.log(2.0)), near)
    mid = 0.5 * (s + r[:, None])
    # sinh((s+r)/2) sinh((s-r)/2) = cosh²(r/2) sinh² x
    log_sinh_mid = np.where(mid > 0.0, log_sinhc(mid) + np.log(np.where(mid > 0.0, mid, 1.0)), 0.0)
    with np.errstate(divide="ignore"):
        log_ratio = 2.0 * log_cosh(0.5 * r)[:, None] + 2.0 * (log_sinhc(x) + np.log(x)) - log_sinh_mid
    grown = np.where(log_ratio > 20.0, 2.0 * (log_ratio + math.log(2.0)), 2.0 * np.arcsinh(np.exp(np.minimum(log_ratio, 20.0))))
    logs = _log_odd(s, t, m) - 0.5 * grown * (2.0 * r[:, None] + grown) / t + log_cosh(x) + log_cosh(0.5 * r)[:, None]
    top = logs[:, :1]
    return np.log((weight * np.exp(logs - top)).sum(-1)) + top[:, 0] + math.log(4.0) + 0.5 * (m - 0.25) * t


def relative(r: np.ndarray, t: float, d: int) -> np.ndarray:
    """log K_t(r) + r²/2t for r >= 0 of shape (n,)."""
    if d % 2:
        step = max(1, _BLOCK // 64)
        return np.concatenate([_log_odd(r[i : i + step], t, d // 2) for i in range(0, max(1, len(r)), step)])
    step = max(1, _BLOCK // (64 * (1 if d <= 4 else 24)))
    return np.concatenate([_log_even(r[i : i + step], t, d // 2) for i in range(0, max(1, len(r)), step)])


def kernel(r: Any, t: float, d: int) -> tuple[np.ndarray, np.ndarray]:
    """(log K_t(r), ∂_r log K_t(r)) on H^d, elementwise on distances r >= 0 of any shape, for t > 0."""
    distance = np.asarray(r, dtype=np.float64)
    flat = distance.reshape(-1)
    log = relative(flat, t, d)
    ratio = relative(flat, t, d + 2) - log + 0.5 * d * t  # the sinh joins it as a logarithm: it may overflow
    with np.errstate(divide="ignore"):
        slope = -TWO_PI * np.exp(ratio + log_sinhc(flat) + np.log(flat))
    return (log - 0.5 * flat * flat / t).reshape(distance.shape), slope.reshape(distance.shape)


@cache
def _radial(d: int) -> Radial:
    offset = log_area(d - 1) if d > 1 else math.log(2.0)
    return Radial(
        pole=Hyperbolic(d).origin,
        end=math.inf,
        log_area=lambda r: (d - 1) * (log_sinhc(r) + np.log(r)) + offset,
        kernel=partial(kernel, d=d),
        breaks=lambda t: graded(t, math.inf, 2.0 / max(1, d - 1), REACH + math.sqrt(d) + (d - 1) * math.sqrt(t)),
    )


@radial_of.register
def _(space: Hyperbolic) -> Radial:
    return _radial(space.dim)
