r"""DEIS: multistep and Runge-Kutta integrators of eps with rho as the measure (Zhang & Chen, arXiv:2204.13902).

With y = x/alpha the probability-flow ODE is dy = eps drho. tAB-DEIS interpolates eps through its last evaluations by a polynomial in t,
rhoAB-DEIS by one in rho, and both integrate it exactly; rhoRK-DEIS takes classical Runge-Kutta steps in rho. With one evaluation all are
DDIM.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from scorebed.solvers import tableau
from scorebed.solvers.base import Carry, solver
from scorebed.solvers.exponential import eps_of, flow_by_eps
from scorebed.solvers.methods.dpm_solver import dpm_solver_2, dpm_solver_3
from scorebed.solvers.methods.edm import in_rho
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.multistep import Past, lagrange, mix, rho_weights
from scorebed.solvers.noise import Noise
from scorebed.solvers.schedule import Node

_POINTS, _WEIGHTS = (a.tolist() for a in np.polynomial.legendre.leggauss(32))


def deis_weights(times: Sequence[float], s: Node, t: Node) -> list[float]:
    r"""C_j = ∫_{ρ_s}^{ρ_t} ℓ_j(t(ρ)) dρ / (ρ_t − ρ_s), the tAB-DEIS coefficients as shares of the DDIM step; they add up to 1.

    By 32-point Gauss-Legendre quadrature in lam, where the integrand is smooth over many decades of rho.
    """
    h = t.lam - s.lam
    if h == 0.0:
        return [1.0] + [0.0] * (len(times) - 1)
    inner = [(s.toward(t, 0.5 * (1.0 + p)).t, w * math.exp(-0.5 * (1.0 + p) * h)) for p, w in zip(_POINTS, _WEIGHTS, strict=True)]
    # ∫ -rho dlam = rho_t - rho_s = rho_s (e^-h - 1)
    old = [-0.5 * h / math.expm1(-h) * sum(w * lagrange(times, j, u) for u, w in inner) for j in range(1, len(times))]
    return [1.0 - math.fsum(old), *old]


def _tab(past: Past, x: Array, s: Node, t: Node) -> Array:
    return flow_by_eps(x, mix(deis_weights([node.t for node, _ in past], s, t), past), s, t)


def _rhoab(past: Past, x: Array, s: Node, t: Node) -> Array:
    return flow_by_eps(x, mix(rho_weights([node for node, _ in past], s, t), past), s, t)


def remember(denoise: Denoiser, x: Array, s: Node, carry: Carry) -> Past:
    """The evaluations of eps, the newest first."""
    return ((s, eps_of(x, denoise(x, s), s)), *(carry or ()))


@solver(order=2, reference="arXiv:2204.13902, tAB-DEIS with r = 1", start=dpm_solver_2, starts=1)
def deis_tab1(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
    r"""x_t = (α_t/α_s) x + α_t Σ_j C_j ε_j,  C_j = ∫_{ρ_s}^{ρ_t} ℓ_j dρ, ℓ_j the Lagrange polynomials in t through the last two times."""
    past = remember(denoise, x, s, carry)
    return _tab(past, x, s, t), past[:1]


@solver(order=3, reference="arXiv:2204.13902, tAB-DEIS with r = 2", start=dpm_solver_3, starts=2)
def deis_tab2(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
    r"""As ``deis_tab1``, through the last three times."""
    past = remember(denoise, x, s, carry)
    return _tab(past, x, s, t), past[:2]


@solver(order=4, reference="arXiv:2204.13902, tAB-DEIS with r = 3", start=dpm_solver_3, starts=3)
def deis_tab3(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
    r"""As ``deis_tab1``, through the last four times."""
    past = remember(denoise, x, s, carry)
    return _tab(past, x, s, t), past[:3]


@solver(order=2, reference="arXiv:2204.13902, rhoRK-DEIS with Heun's method")
def deis_rho_heun(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""y_t = y + Δρ (k₁ + k₂)/2,  k₁ = ε(y, ρ_s),  k₂ = ε(y + Δρ k₁, ρ_t),  y = x/α.  Equal to EDM's ``heun``."""
    return in_rho(tableau.HEUN, denoise, x, s, t), None


@solver(order=3, reference="arXiv:2204.13902, rhoRK-DEIS with Kutta's method of order 3")
def deis_rho_kutta(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""y_t = y + Δρ (k₁ + 4 k₂ + k₃)/6,  k₂ = ε(y + Δρ k₁/2, ρ_m),  k₃ = ε(y + Δρ (2 k₂ − k₁), ρ_t),  ρ_m in the middle.
    Equal to ``kutta3``."""
    return in_rho(tableau.KUTTA3, denoise, x, s, t), None


@solver(order=4, reference="arXiv:2204.13902, rhoRK-DEIS with the classical method of order 4")
def deis_rho_rk4(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""y_t = y + Δρ (k₁ + 2 k₂ + 2 k₃ + k₄)/6,  k₂ = ε(y + Δρ k₁/2, ρ_m),  k₃ = ε(y + Δρ k₂/2, ρ_m),  k₄ = ε(y + Δρ k₃, ρ_t).
    Equal to ``rk4``."""
    return in_rho(tableau.RK4, denoise, x, s, t), None


@solver(order=2, reference="arXiv:2204.13902, rhoAB-DEIS with r = 1", start=deis_rho_heun, starts=1)
def deis_rhoab1(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
    r"""y_t = y + Σ_j ε_j ∫_{ρ_s}^{ρ_t} ℓ_j dρ, ℓ_j the Lagrange polynomials in ρ through the last two: Adams-Bashforth of any spacing."""
    past = remember(denoise, x, s, carry)
    return _rhoab(past, x, s, t), past[:1]


@solver(order=3, reference="arXiv:2204.13902, rhoAB-DEIS with r = 2", start=deis_rho_kutta, starts=2)
def deis_rhoab2(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
    r"""As ``deis_rhoab1``, through the last three."""
    past = remember(denoise, x, s, carry)
    return _rhoab(past, x, s, t), past[:2]


@solver(order=4, reference="arXiv:2204.13902, rhoAB-DEIS with r = 3", start=deis_rho_rk4, starts=3)
def deis_rhoab3(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
    r"""As ``deis_rhoab1``, through the last four."""
    past = remember(denoise, x, s, carry)
    return _rhoab(past, x, s, t), past[:3]
