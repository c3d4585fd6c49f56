r"""The heat kernel of the unit sphere S^d, every d >= 1, as a density with respect to the surface measure.

With the clock of ½Δ (first mode e^{-dt/2}) and θ the angle from the pole,

    K_t(θ) = (1/|S^d|) Σ_l (2l+d-1)/(d-1) C_l^{(d-1)/2}(cos θ) e^{-l(l+d-1)t/2}                                          (Gegenbauer)
    K^{d+2}_t = (e^{dt/2}/2π) d/d(cos θ) K^d_t                                                                          (recursion)
    ∂_θ log K^d_t = -2π sin θ e^{-dt/2} K^{d+2}_t / K^d_t.

The series is used after the time at which it no longer cancels at the antipode. Before it, odd d = 2m + 1 differentiates the image sum of
the circle m times, and even d = 2m + 2 the exact integral for S² (``sphere2.py``), by Cauchy's integral in cos θ (``contour.py``), in which
both are entire; S³ is in closed form (``sphere3.py``). All terms are held relative to e^{-θ²/2t}: nothing underflows. No form is an
approximation.
"""

from __future__ import annotations

import math
from functools import cache, partial
from typing import Any

import numpy as np
from scipy.special import gammaln

from scorebed.analytic.heat import sphere2, sphere3
from scorebed.analytic.heat.contour import angle_shift, antipodal, circle, radius
from scorebed.analytic.heat.radial import REACH, Radial, graded, radial_of
from scorebed.analytic.heat.wrapped import TWO_PI, images, wrapped
from scorebed.solvers.space import Sphere

_BLOCK = 1 << 15


def log_area(d: int) -> float:
    """log |S^d| = log(2 π^{(d+1)/2} / Γ((d+1)/2))."""
    return math.log(2.0) + 0.5 * (d + 1) * math.log(math.pi) - float(gammaln(0.5 * (d + 1)))


def hand_over(d: int) -> float:
    """The time from which on the series is used: there its largest term is about the sum itself, at the antipode too."""
    return 2.0 * math.log((d + 1) / 0.6) / d


def _odd(theta: np.ndarray, t: float, m: int) -> np.ndarray:
    """log((d/d cos θ)^m Σ_n e^{-(θ+2πn)²/2t}) + θ²/2t for θ (n,)."""
    phi = antipodal(theta)
    rho = radius(theta, phi, m, t)
    turn, weight = circle(m)
    epsilon, other = angle_shift(theta[:, None], phi[:, None], rho[:, None] * turn)
    base = np.exp(-0.5 * epsilon * (2.0 * theta[:, None] + epsilon) / t)
    ratio = np.ones_like(base)
    for n in range(1, images(t) + 2):
        ratio += np.exp(-TWO_PI * n * (theta[:, None] + epsilon + math.pi * n) / t) + np.exp(-TWO_PI * n * (other + math.pi * (n - 1)) / t)
    return np.log(((base * ratio) @ weight).real) - m * np.log(rho)


def _exact(theta: np.ndarray, t: float, d: int) -> np.ndarray:
    """log K + θ²/2t by the image sum, for θ (n,) and d >= 2."""
    m = (d - 1) // 2
    constant = 0.5 * (0.5 * (d - 1)) ** 2 * t - m * math.log(TWO_PI)
    if d % 2:
        return _odd(theta, t, m) + constant - 0.5 * math.log(TWO_PI * t)
    log = sphere2.integral(theta, t, m) if m else sphere2.pair(theta, t)[0]
    return log + constant - 1.5 * math.log(TWO_PI * t) + math.log(2.0)


def _series(theta: np.ndarray, t: float, d: int) -> np.ndarray:
    """log K + θ²/2t by the Gegenbauer series, for θ (n,) and d >= 2."""
    lam, x = 0.5 * (d - 1), np.cos(theta)
    before, here = np.zeros_like(x), np.ones_like(x)  # C_{l-1}, C_l
    total, l = np.ones_like(x), 0
    log_size = 0.0  # of the largest value, C_l(1) = (2λ)_l / l!
    while True:
        before, here = here, (2.0 * (l + lam) * x * here - (l + 2.0 * lam - 1.0) * before) / (l + 1.0)
        l += 1
        log_size += math.log((2.0 * lam + l - 1.0) / l)
        log_factor = math.log((2.0 * l + d - 1.0) / (d - 1.0)) - 0.5 * l * (l + d - 1.0) * t
        total += math.exp(log_factor) * here
        if log_factor + log_size < -42.0 and l * t > 1.0:
            return np.log(total) - log_area(d) + 0.5 * theta * theta / t


def _two(theta: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
    log, slope = sphere2.pair(theta, t)
    return log + 0.125 * t - 1.5 * math.log(TWO_PI * t) + math.log(2.0), slope


def relative(theta: np.ndarray, t: float, d: int) -> np.ndarray:
    """log K_t(θ) + θ²/2t for θ in [0, π] of shape (n,)."""
    if d == 1:
        return wrapped(theta, t)[0] + 0.5 * theta * theta / t
    if t >= hand_over(d):
        return _series(theta, t, d)
    step = max(1, _BLOCK // (16 + 2 * d) if d % 2 or d == 2 else _BLOCK // (400 + 50 * d))
    return np.concatenate([_exact(theta[i : i + step], t, d) for i in range(0, max(1, len(theta)), step)])


def kernel(theta: Any, t: float, d: int) -> tuple[np.ndarray, np.ndarray]:
    """(log K_t(θ), ∂_θ log K_t(θ)) on S^d, elementwise on θ in [0, π] of any shape, for t > 0."""
    angle = np.asarray(theta, dtype=np.float64)
    if d == 1:
        return wrapped(angle, t)
    flat = angle.reshape(-1)
    if d in (2, 3) and t < hand_over(d):
        log, slope = np.empty_like(flat), np.empty_like(flat)
        for i in range(0, len(flat), _BLOCK // 32):
            here = slice(i, i + _BLOCK // 32)
            log[here], slope[here] = _two(flat[here], t) if d == 2 else sphere3.relative(flat[here], t)
    else:
        log = relative(flat, t, d)
        # the hand-over of d + 2 lies below that of d or the exact form takes over: both are the same function
        slope = -TWO_PI * np.sin(flat) * np.exp(relative(flat, t, d + 2) - log - 0.5 * d * t)
    return (log - 0.5 * flat * flat / t).reshape(angle.shape), slope.reshape(angle.shape)


@cache
def _radial(d: int) -> Radial:
    offset = log_area(d - 1) if d > 1 else math.log(2.0)
    return Radial(
        pole=Sphere(d).origin,
        end=math.pi,
        log_area=lambda r: (d - 1) * np.log(np.sin(r)) + offset,
        kernel=partial(kernel, d=d),
        breaks=lambda t: graded(t, math.pi, 1.0 / math.sqrt(d), REACH + math.sqrt(d)),
        antipode=True,
    )


@radial_of.register
def _(space: Sphere) -> Radial:
    return _radial(space.dim)
