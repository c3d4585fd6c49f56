r"""The heat kernel of the circle and of the interval, with all of its tails.

On a circle of circumference L, with the clock of ½Δ,

    G_t(u) = Σ_n N(u + n L; 0, t) = (1/L) (1 + 2 Σ_{n>=1} e^{-(2πn/L)² t/2} cos(2πn u/L)),

two sides of Poisson's summation formula. The left one is used up to the self-dual time L²/2π, the right one after it; there each needs at
most five terms for full precision. On [0, 1] with reflecting walls (method of images, L = 2)

    K_t(x, y) = G_t(x - y) + G_t(x + y) = 1 + 2 Σ_{n>=1} e^{-π² n² t/2} cos(πnx) cos(πny).

Logarithms are taken relative to the nearest image, so that nothing underflows at any distance and time.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from scorebed.analytic.heat.radial import REACH, Radial, graded, radial_of
from scorebed.solvers.space import Box, Torus

TWO_PI = 2.0 * math.pi
_DEEP = 80.0  # exponents further than half of this below the leading one are below round-off


def reduced(u: np.ndarray, period: float = TWO_PI) -> np.ndarray:
    """u brought to [-period/2, period/2]."""
    return u - period * np.round(u / period)


def wrapped_images(u: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
    """(log G, ∂_u log G) on the circle of circumference 2π by the image sum; u in [-π, π]."""
    n = np.arange(-images(t), images(t) + 1.0)
    weight = np.exp(-TWO_PI * n * (u[..., None] + math.pi * n) / t)  # of image n, relative to image 0
    total = weight.sum(-1)
    return -0.5 * u * u / t + np.log(total) - 0.5 * math.log(TWO_PI * t), -(u + TWO_PI * (weight @ n) / total) / t


def images(t: float) -> int:
    """How many images on each side count at time t on the circle of circumference 2π."""
    return max(1, math.ceil(0.5 * (math.sqrt(1.0 + _DEEP * t / math.pi**2) - 1.0)))


def wrapped_series(u: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
    """The same by the Fourier series."""
    n = np.arange(1.0, 2.0 + math.sqrt(_DEEP / t))
    decay = 2.0 * np.exp(-0.5 * n * n * t)
    rest = np.cos(u[..., None] * n) @ decay
    return np.log1p(rest) - math.log(TWO_PI), -(np.sin(u[..., None] * n) @ (n * decay)) / (1.0 + rest)


def wrapped(u: Any, t: float, period: float = TWO_PI) -> tuple[np.ndarray, np.ndarray]:
    """(log G_t(u), ∂_u log G_t(u)) on the circle of this circumference, elementwise on u of any shape, for t > 0."""
    scale = TWO_PI / period
    angle = scale * reduced(np.asarray(u, dtype=np.float64), period)
    time = t * scale * scale
    log, slope = (wrapped_images if time <= TWO_PI else wrapped_series)(angle, time)
    return log + math.log(scale), scale * slope


def reflected(x: Any, y: Any, t: float) -> tuple[np.ndarray, np.ndarray]:
    """(log K_t(x, y), ∂_x log K_t(x, y)) on [0, 1] with reflecting walls, elementwise; x may also lie outside (mirrored)."""
    near, near_slope = wrapped(np.asarray(x) - y, t, 2.0)
    far, far_slope = wrapped(np.asarray(x) + y, t, 2.0)
    log = np.logaddexp(near, far)
    return log, np.exp(near - log) * near_slope + np.exp(far - log) * far_slope


def _line(pole: np.ndarray, end: float, log_area: float) -> Radial:
    """A circle about a point, or an interval about a wall, unfolded to a circle of twice its length."""
    return Radial(
        pole=pole,
        end=end,
        log_area=lambda r: log_area + 0.0 * r,
        kernel=lambda r, t: (wrapped(r, t, 2.0 * end)[0] + math.log(2.0) - log_area, wrapped(r, t, 2.0 * end)[1]),
        breaks=lambda t: graded(t, end, 0.5 * end, REACH),
    )


@radial_of.register
def _(space: Torus) -> Radial | None:
    return _line(space.origin, math.pi, math.log(2.0)) if space.dim == 1 else None


@radial_of.register
def _(space: Box) -> Radial | None:
    return _line(space.lower, float(space.upper[0] - space.lower[0]), 0.0) if space.dim == 1 else None
