r"""The two exact linear propagators that the exponential integrators share.

The probability-flow ODE is semilinear. In its two usual forms, with h = lam_t - lam_s,

    d(x/sigma) = D d(e^lam)       =>  x_t = (sigma_t/sigma_s) x - alpha_t (e^{-h} - 1) D   for constant D     (arXiv:2211.01095, eq. 9)
    d(x/alpha) = eps d(e^{-lam})  =>  x_t = (alpha_t/alpha_s) x - sigma_t (e^h - 1) eps    for constant eps   (arXiv:2206.00927, eq. 3.7)

and for the reverse-time SDE with the noise of the interval (arXiv:2211.01095, SDE-DPM-Solver++1)

    x_t = (sigma_t/sigma_s) e^{-h} x + alpha_t (1 - e^{-2h}) D + sigma_t sqrt(1 - e^{-2h}) xi.
"""

from __future__ import annotations

import math

from scorebed.solvers.model import Array
from scorebed.solvers.schedule import Node


def phi(k: int, z: float) -> float:
    """φ_k(z) = Σ_j z^j / (j + k)!, that is φ_1 = (e^z − 1)/z and φ_{k+1} = (φ_k − 1/k!)/z; accurate for every z."""
    if abs(z) < 1.0:
        return math.fsum(z**j / math.factorial(j + k) for j in range(20))
    value = math.expm1(z) / z
    for i in range(1, k):
        value = (value - 1.0 / math.factorial(i)) / z
    return value


def flow_by_denoised(x: Array, denoised: Array, s: Node, t: Node) -> Array:
    """x_t = (σ_t/σ_s) x − α_t (e^{−h} − 1) D."""
    return (t.sigma / s.sigma) * x - t.alpha * math.expm1(s.lam - t.lam) * denoised


def flow_by_eps(x: Array, eps: Array, s: Node, t: Node) -> Array:
    """x_t = (α_t/α_s) x − σ_t (e^h − 1) ε."""
    return (t.alpha / s.alpha) * x - t.sigma * math.expm1(t.lam - s.lam) * eps


def drift_by_denoised(x: Array, denoised: Array, s: Node, t: Node, eta: float) -> Array:
    """(σ_t/σ_s) e^{−ηh} x + α_t (1 − e^{−(1+η)h}) D; η = 0 is the flow, η = 1 the drift of the SDE."""
    h = t.lam - s.lam
    return (t.sigma / s.sigma) * math.exp(-eta * h) * x - t.alpha * math.expm1(-(1.0 + eta) * h) * denoised


def diffuse_by_denoised(x: Array, denoised: Array, xi: Array, s: Node, t: Node, eta: float = 1.0) -> Array:
    """x_t = (σ_t/σ_s) e^{−ηh} x + α_t (1 − e^{−(1+η)h}) D + σ_t sqrt(1 − e^{−2ηh}) ξ, for h > 0."""
    return drift_by_denoised(x, denoised, s, t, eta) + t.sigma * math.sqrt(-math.expm1(2.0 * eta * (s.lam - t.lam))) * xi


def eps_of(x: Array, denoised: Array, s: Node) -> Array:
    """ε = (x − α D)/σ."""
    return (1.0 / s.sigma) * x - (s.alpha / s.sigma) * denoised
