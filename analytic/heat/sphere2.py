r"""The exact integral for the heat kernel of S², and its derivatives, at short times.

Dirichlet and Mehler's P_l(cos θ) = (√2/π) ∫_θ^π sin((l+½)s) (cos θ - cos s)^{-1/2} ds turns the Legendre series into a theta function, and
Poisson's formula that into images. With cos(s/2) = cos(θ/2) cos χ the singularity leaves,

    K_t(θ) = (2π)^{-3/2} t^{-3/2} 2 e^{t/8} ∫_0^{π/2} G(s) dχ,    G(s) = κ(s) e^{-s²/2t} Q(s),    κ(s) = s / sin(s/2),
    Q(s) = Σ_n (-1)^n (1 + 2πn/s) e^{-2πn(s+πn)/t} = 1 + 2 Σ_{n>=1} (-1)^n e^{-2π²n²/t} (cosh(bs) - b² t sinh(bs)/(bs)),  b = 2πn/t.

The integrand is positive, even and of period π in χ, so the trapezoidal rule converges geometrically; it is confined to where
e^{-(s²-θ²)/2t} counts. In u = cos s, which is -1 + (1 + cos θ) cos² χ, G is entire, and

    (d/d cos θ)^m K = … ∫ cos^{2m} χ G^{(m)}(u) dχ.
"""

from __future__ import annotations

import math

import numpy as np

from scorebed.analytic.heat.contour import angle_shift, antipodal, circle, radius
from scorebed.analytic.heat.sphere3 import hyperbolics, log_sinc

_NODES = 20
_DEEP = 80.0


def _rule(theta: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """χ (n, J), their weights (n, J), s - θ, s, and π - s (n, J)."""
    half, other = 0.5 * theta, 0.5 * antipodal(theta)
    span = _DEEP * t / (theta + np.sqrt(theta * theta + _DEEP * t))
    end = np.minimum(theta + span, math.pi)
    # cos X = cos(s/2)/cos(θ/2), written as sin² X cos²(θ/2) = sin((s+θ)/2) sin((s-θ)/2)
    sine = np.sin(0.5 * (end + theta)) * np.sin(0.5 * np.minimum(span, math.pi)) / np.square(np.sin(np.maximum(other, 1e-300)))
    reach = np.where(end >= math.pi, 0.5 * math.pi, np.arcsin(np.sqrt(np.clip(sine, 0.0, 1.0))))
    chi = reach[:, None] * (np.arange(_NODES + 1) / _NODES)
    weight = np.broadcast_to(reach[:, None] / _NODES, chi.shape) * np.where(np.arange(_NODES + 1) % _NODES == 0, 0.5, 1.0)
    product = np.square(np.sin(other))[:, None] * np.square(np.sin(chi))
    low = np.square(np.sin(half))[:, None] + product
    rest = np.sin(other)[:, None] * np.cos(chi)  # cos(s/2)
    s = np.where(low < 0.5, 2.0 * np.arcsin(np.sqrt(np.minimum(low, 1.0))), math.pi - 2.0 * np.arcsin(rest))
    opposite = np.where(low < 0.5, antipodal(s), 2.0 * np.arcsin(rest))
    both = np.where(low < 0.5, np.sin(0.5 * (s + theta[:, None])), np.sin(0.5 * opposite + other[:, None]))
    grown = 2.0 * np.arcsin(np.minimum(product / np.where(both == 0.0, 1.0, both), 1.0))
    apart = s - theta[:, None]
    grown = np.where(apart > 1.0, apart, grown)  # arcsin loses digits near 1, the difference does where it is small
    return chi, weight, grown, s, opposite


def _terms(t: float) -> range:
    return range(1, 2 + math.ceil(math.sqrt(t)))


def _q(s: np.ndarray, opposite: np.ndarray, t: float) -> np.ndarray:
    """Q(s) for complex s; ``opposite`` is π - s."""
    out = np.ones_like(s)
    for n in _terms(t):
        b = 2.0 * math.pi * n / t
        x = b * s
        up = np.exp(-2.0 * math.pi * n * (opposite + math.pi * (n - 1)) / t)  # e^{x - 2π²n²/t}
        small = np.abs(x) < 0.5
        safe = np.where(small, 1.0, x)
        y = x * x
        sinhc = 1.0 + y / 6.0 * (1.0 + y / 20.0 * (1.0 + y / 42.0 * (1.0 + y / 72.0 * (1.0 + y / 110.0 * (1.0 + y / 156.0)))))
        peak = math.exp(-2.0 * math.pi**2 * n * n / t)
        down = np.exp(-2.0 * math.pi * n * (s + math.pi * n) / t)
        ratio = np.where(small, sinhc * peak, 0.5 * (up - down) / safe)
        out = out + (-1.0) ** n * 2.0 * (0.5 * (up + down) - b * b * t * ratio)
    return out


def _pair(s: np.ndarray, opposite: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
    """(Q(s), Q'(s)), real: Q' = 2 Σ (-1)^n e^{-2π²n²/t} b (sinh x - b² t i_1(x)), x = bs, i_1(x) = (x cosh x - sinh x)/x²."""
    value, rise = np.ones_like(s), np.zeros_like(s)
    for n in _terms(t):
        b, peak = 2.0 * math.pi * n / t, math.exp(-2.0 * math.pi**2 * n * n / t)
        up, down = np.exp(-2.0 * math.pi * n * (opposite + math.pi * (n - 1)) / t), np.exp(-2.0 * math.pi * n * (s + math.pi * n) / t)
        cosh, sinh, sinhc, bend = hyperbolics(b * s, peak, up, down)
        sign = -2.0 if n % 2 else 2.0
        value += sign * (cosh - b * b * t * sinhc)
        rise += sign * b * (sinh - b * b * t * bend)
    return value, rise


def _kappa(s: np.ndarray) -> np.ndarray:
    return np.where(s == 0.0, 2.0, s / np.where(s == 0.0, 1.0, np.sin(0.5 * s)))


def integral(theta: np.ndarray, t: float, m: int) -> np.ndarray:
    """log ∫ cos^{2m} χ G^{(m)}(u) dχ + θ²/2t for θ (n,) and m >= 1; ``pair`` has m = 0."""
    chi, weight, grown, s, opposite = _rule(theta, t)
    fall = np.exp(-0.5 * grown * (2.0 * theta[:, None] + grown) / t)
    rho = radius(s, opposite, m, t)
    turn, share = circle(m)
    epsilon, other = angle_shift(s[..., None], opposite[..., None], rho[..., None] * turn)
    moved = s[..., None] + epsilon
    value = _kappa(moved) * np.exp(-0.5 * epsilon * (2.0 * s[..., None] + epsilon) / t) * _q(moved, other, t)
    derivative = (value @ share).real * np.square(np.cos(chi)) ** m
    scale = rho[:, :1]  # powers of ρ may be tiny: keep them relative to the first node
    return np.log((weight * fall * derivative * (scale / rho) ** m).sum(-1)) - m * np.log(scale[:, 0])


def pair(theta: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
    """(log ∫ G dχ + θ²/2t, ∂_θ log K) for θ (n,), the slope from ∂_θ s = sin(θ/2) cos χ / sin(s/2)."""
    chi, weight, grown, s, opposite = _rule(theta, t)
    fall = weight * np.exp(-0.5 * grown * (2.0 * theta[:, None] + grown) / t)
    kappa, (q, rise) = _kappa(s), _pair(s, opposite, t)
    bend = 0.5 * log_sinc(0.5 * s)[1]  # κ'/κ
    inner = kappa * ((bend - s / t) * q + rise)
    tilt = np.where(s == 0.0, 1.0, np.sin(0.5 * theta)[:, None] * np.cos(chi) / np.where(s == 0.0, 1.0, np.sin(0.5 * s)))
    total = (fall * kappa * q).sum(-1)
    return np.log(total), (fall * inner * tilt).sum(-1) / total
