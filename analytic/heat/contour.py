r"""Derivatives of an entire function with positive Taylor coefficients, to nearly full relative precision.

Heat kernels of two dimensions more are derivatives of those below: K_{d+2} ∝ d/d(cos θ) K_d on spheres, -d/d(cosh r) K_d on hyperbolic
spaces. Every derivative is again a positive kernel, so all Taylor coefficients are positive and Cauchy's integral

    f^{(m)}(c) = m!/ρ^m · (1/2π) ∫ f(c + ρ e^{iφ}) e^{-imφ} dφ

on a circle through the saddle point, ρ f'(c + ρ) = m f(c + ρ), loses only a factor of about sqrt(2πm) to round-off, at every time and
distance, cut locus and pole included. The trapezoidal rule converges geometrically (Bornemann, Found. Comput. Math. 11, 2011).
"""

from __future__ import annotations

import math

import numpy as np

_PI_LOW = 1.2246467991473532e-16  # pi - math.pi


def circle(m: int, points: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(e^{iφ_j}, weights w_j): f^{(m)}(c) = ρ^{-m} Σ_j Re(w_j f(c + ρ e^{iφ_j})) for a function real on the real axis. Upper half only."""
    half = max(points, 16 + 4 * m) // 2
    phi = math.pi * (np.arange(half) + 0.5) / half
    return np.exp(1j * phi), math.factorial(m) / half * np.exp(-1j * m * phi)


def antipodal(theta: np.ndarray) -> np.ndarray:
    """π - θ, with π to 32 digits."""
    return (math.pi - theta) + _PI_LOW


def angle_shift(theta: np.ndarray, phi: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(ε, φ') with cos(θ + ε) = cos θ + shift, complex, and φ' = π - θ - ε, free of cancellation at 0, at π and for tiny shifts.

    sin²(θ'/2) - sin²(θ/2) = sin((θ'+θ)/2) sin((θ'-θ)/2) = -shift/2.

    Returns:
        (ε, φ'), complex arrays.
    """
    low, high = np.square(np.sin(0.5 * theta)) - 0.5 * shift, np.square(np.sin(0.5 * phi)) + 0.5 * shift
    near = np.abs(low) < np.abs(high)
    root = 2.0 * np.arcsin(np.sqrt(np.where(near, low, high)))
    both = np.sin(0.5 * (root + np.where(near, theta, phi)))
    epsilon = 2.0 * np.arcsin(-0.5 * shift / np.where(both == 0.0, 1.0, both))
    apart = np.where(near, root - theta, phi - root)
    epsilon = np.where(np.abs(apart) > 1.0, apart, epsilon)  # arcsin loses digits near 1, the difference does where it is small
    return epsilon, np.where(near, phi - epsilon, root)


def radius(theta: np.ndarray, phi: np.ndarray, m: int, t: float) -> np.ndarray:
    """About the saddle point of the contour: ρ w'(cos θ + ρ) = m with w the logarithm of the two nearest images."""
    a = math.pi / t
    rho = np.where(phi < 1.0, m * (m + np.hypot(m, a * phi)) / a**2, m * t * np.sinc(theta / math.pi))
    for _ in range(8):
        high = np.square(np.sin(0.5 * phi)) + 0.5 * rho
        low = np.square(np.sin(0.5 * theta)) - 0.5 * rho
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            s = 2.0 * np.arcsin(np.sqrt(np.clip(low, 0.0, 1.0)))
            eta = 2.0 * np.arcsinh(np.sqrt(np.maximum(-low, 0.0)))
            p = np.maximum(2.0 * np.arcsin(np.sqrt(np.clip(high, 0.0, 1.0))), 1e-300)
            outside = np.where(eta > 1e-8, eta / np.sinh(np.maximum(eta, 1e-8)), 1.0)
            inside = np.where(p < 1.0, (math.pi * np.tanh(a * p) - p) / np.sin(np.minimum(p, 1.0)), 1.0 / np.sinc(s / math.pi))
        rho = np.sqrt(rho * m * t / np.where(low < 0.0, outside, inside))
    return rho
