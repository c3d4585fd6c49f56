r"""The heat kernel of S³ in closed form, for every time at which images are used: S³, SU(2) and SO(3) ask for it most.

    K_t(θ) = e^{t/2} (2πt)^{-3/2} Σ_n (θ + 2πn)/sin θ e^{-(θ+2πn)²/2t}

Images are taken in pairs, about the pole (n, -n) for θ < π/2 and about the antipode beyond it, where with φ = π - θ

    Σ_n … = 2 (φ/sin φ) Σ_{k = 1, 3, …} e^{-(k²π²+φ²)/2t} ((k²π²/t) sinh(x)/x - cosh x),     x = kπφ/t,

so that what vanishes with sin θ has been divided by it. All terms are held relative to e^{-θ²/2t}.
"""

from __future__ import annotations

import math

import numpy as np

from scorebed.analytic.heat.contour import antipodal
from scorebed.analytic.heat.wrapped import TWO_PI


def hyperbolics(x: np.ndarray, peak: np.ndarray | float, up: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, ...]:
    """(cosh, sinh, sinh(x)/x, (x cosh x - sinh x)/x²) times ``peak``, with up = peak e^x and down = peak e^{-x} for where x is large."""
    small = x < 0.5
    safe, y = np.where(small, 1.0, x), np.where(small, x * x, 0.0)
    sinhc = 1.0 + y / 6.0 * (1.0 + y / 20.0 * (1.0 + y / 42.0 * (1.0 + y / 72.0 * (1.0 + y / 110.0))))
    bend = 1.0 + y / 10.0 * (1.0 + y / 28.0 * (1.0 + y / 54.0 * (1.0 + y / 88.0 * (1.0 + y / 130.0))))
    cosh, sinh = 0.5 * (up + down), np.where(small, x * sinhc * peak, 0.5 * (up - down))
    return cosh, sinh, np.where(small, sinhc * peak, sinh / safe), np.where(small, x / 3.0 * bend * peak, (safe * cosh - sinh) / safe**2)


def log_sinc(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log(a/sin a) and its derivative 1/a - cot a, for a in [0, π/2]."""
    small = a < 0.3
    safe, y = np.where(small, 1.0, a), np.where(small, a * a, 0.0)
    series = a / 3.0 * (1.0 + y / 15.0 * (1.0 + y * 2.0 / 21.0 * (1.0 + y / 10.0 * (1.0 + y * 10.0 / 99.0 * (1.0 + y * 691.0 / 6825.0)))))
    return -np.log(np.sinc(a / math.pi)), np.where(small, series, 1.0 / safe - 1.0 / np.tan(safe))


def relative(theta: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
    """(log K + θ²/2t, ∂_θ log K) for θ in [0, π] of shape (n,)."""
    phi = antipodal(theta)
    log, slope = np.empty_like(theta), np.empty_like(theta)
    near = theta < 0.5 * math.pi
    a = theta[near]
    total, rise = np.ones_like(a), np.zeros_like(a)
    for n in range(1, 2 + math.ceil(math.sqrt(t))):
        b, peak = TWO_PI * n / t, math.exp(-TWO_PI * math.pi * n * n / t)
        up, down = (np.exp(-TWO_PI * n * (math.pi * n + sign * a) / t) for sign in (-1.0, 1.0))
        cosh, sinh, sinhc, bend = hyperbolics(b * a, peak, up, down)
        total += 2.0 * (cosh - b * b * t * sinhc)
        rise += 2.0 * b * (sinh - b * b * t * bend)
    shape, tilt = log_sinc(a)
    log[near], slope[near] = shape + np.log(total), tilt - a / t + rise / total
    c = phi[~near]
    total, rise = np.zeros_like(c), np.zeros_like(c)
    for k in range(1, 4 + 2 * math.ceil(math.sqrt(t)), 2):
        b = math.pi * k / t
        # relative to e^{-(π-φ)²/2t}; k = 1 gives 1 for e^{+x}
        lead = -0.5 * math.pi**2 * (k * k - 1) / t
        up, down, middle = (np.exp(lead - (math.pi + sign * math.pi * k) * c / t) for sign in (-1.0, 1.0, 0.0))
        cosh, sinh, sinhc, bend = hyperbolics(b * c, middle, up, down)
        total += 2.0 * (b * b * t * sinhc - cosh)
        rise += 2.0 * b * (b * b * t * bend - sinh)
    shape, tilt = log_sinc(c)
    log[~near], slope[~near] = shape + np.log(total), -(tilt - c / t + rise / total)
    return log + 0.5 * t - 1.5 * math.log(TWO_PI * t), slope
