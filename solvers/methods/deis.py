r"""DEIS: multistep and Runge-Kutta integrators of eps with rho as the measure (Zhang & Chen, arXiv:2204.13902).

With y = x/alpha the probability-flow ODE is dy = eps drho. tAB-DEIS interpolates eps through its last evaluations by a polynomial in t,
rhoAB-DEIS by one in rho, and both integrate it exactly; rhoRK-DEIS takes classical Runge-Kutta steps in rho. With one evaluation all are
DDIM.
"""

from __future__ import annotations

from scorebed.solvers.base import Carry, alias, solver
from scorebed.solvers.methods.adams import adams_in_rho, lms_2
from scorebed.solvers.methods.dpm_solver import dpm_solver_2, dpm_solver_3
from scorebed.solvers.methods.edm import heun, kutta3, rk4
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import eps_of, flow_by_eps
from scorebed.solvers.weights.multistep import Past, deis_weights, mix


def _tab(past: Past, x: Array, s: Node, t: Node) -> Array:
    return flow_by_eps(x, mix(deis_weights([node.t for node, _ in past], s, t), past), s, t)


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


deis_rho_heun = alias(
    "deis_rho_heun",
    heun,
    reference="arXiv:2204.13902, rhoRK-DEIS with Heun's method",
    formula="y_t = y + Δρ (k₁ + k₂)/2,  k₁ = ε(y, ρ_s),  k₂ = ε(y + Δρ k₁, ρ_t),  y = x/α.",
)
deis_rho_kutta = alias(
    "deis_rho_kutta",
    kutta3,
    reference="arXiv:2204.13902, rhoRK-DEIS with Kutta's method of order 3",
    formula="y_t = y + Δρ (k₁ + 4 k₂ + k₃)/6,  k₂ = ε(y + Δρ k₁/2, ρ_m),  k₃ = ε(y + Δρ (2 k₂ − k₁), ρ_t),  ρ_m in the middle.",
)
deis_rho_rk4 = alias(
    "deis_rho_rk4",
    rk4,
    reference="arXiv:2204.13902, rhoRK-DEIS with the classical method of order 4",
    formula="y_t = y + Δρ (k₁ + 2 k₂ + 2 k₃ + k₄)/6,  k₂, k₃ in the middle of ρ, k₄ at ρ_t.",
)
deis_rhoab1 = alias(
    "deis_rhoab1",
    lms_2,
    reference="arXiv:2204.13902, rhoAB-DEIS with r = 1",
    formula="y_t = y + Σ_j ε_j ∫_{ρ_s}^{ρ_t} ℓ_j dρ, ℓ_j the Lagrange polynomials in ρ through the last two: Adams-Bashforth.",
)


@solver(order=3, reference="arXiv:2204.13902, rhoAB-DEIS with r = 2", start=kutta3, starts=2)
def deis_rhoab2(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
    r"""y_t = y + Σ_j ε_j ∫_{ρ_s}^{ρ_t} ℓ_j dρ through the last three ρ; ``lms_3`` with Kutta's method as its start."""
    return adams_in_rho(3, denoise, x, s, t, carry)


@solver(order=4, reference="arXiv:2204.13902, rhoAB-DEIS with r = 3", start=rk4, starts=3)
def deis_rhoab3(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
    r"""y_t = y + Σ_j ε_j ∫_{ρ_s}^{ρ_t} ℓ_j dρ through the last four ρ; ``lms_4`` with the classical method as its start."""
    return adams_in_rho(4, denoise, x, s, t, carry)
