r"""Runge-Kutta methods on the probability-flow ODE in the EDM variable (Karras et al., arXiv:2206.00364).

With y = x/alpha and rho = sigma/alpha as the time, every schedule becomes the variance-exploding one,

    dy/drho = (y - D(alpha y)) / rho = eps,

a step is from rho_s to rho_t, and a stage c lies at rho_s + c (rho_t - rho_s). A constant D gives a straight line, which these methods
follow exactly. The same methods on x(t) are in ``runge_kutta.py``; ``weights/tableau.py`` has the coefficients.
"""

from __future__ import annotations

import math
from typing import Any

from scorebed.solvers.base import alias, solver
from scorebed.solvers.methods.dpm_solver import ddim
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights import tableau
from scorebed.solvers.weights.exponential import eps_of
from scorebed.solvers.weights.tableau import Tableau, plus, stages


def slope(denoise: Denoiser, y: Array, node: Node) -> Array:
    """dy/dρ = (y − D)/ρ at y = x/α."""
    return (1.0 / node.rho) * (y - denoise(node.alpha * y, node))


def at_rho(s: Node, t: Node, c: float) -> Node:
    """The node at ρ_s + c (ρ_t − ρ_s): λ moves by −log(1 + c (e^{−h} − 1)), h = λ_t − λ_s."""
    h = t.lam - s.lam
    return s.toward(t, -math.log1p(c * math.expm1(-h)) / h if 0.0 < c < 1.0 and h else c)


def slopes(coefficients: Tableau, denoise: Denoiser, x: Array, s: Node, t: Node) -> list[Array]:
    """dy/dρ at the stages of a step from y = x/α_s."""

    def at(y: Array, c: float) -> Array:
        if c == 0.0:  # at x itself and not at alpha (x/alpha), so that a multistep method and its start see that they share this evaluation
            return eps_of(x, denoise(x, s), s)
        return slope(denoise, y, at_rho(s, t, c))

    return stages(coefficients, at, (1.0 / s.alpha) * x, t.rho - s.rho)


def in_rho(coefficients: Tableau, denoise: Denoiser, x: Array, s: Node, t: Node) -> Array:
    """y_t = y + (ρ_t − ρ_s) Σ b_i d_i, as x_t = α_t y_t."""
    return t.alpha * plus((1.0 / s.alpha) * x, t.rho - s.rho, coefficients.b, slopes(coefficients, denoise, x, s, t))


euler = alias(
    "euler",
    ddim,
    reference="arXiv:2206.00364, Alg. 1 without the second-order correction",
    formula="y_t = y + (ρ_t − ρ_s) d,  d = (y − D_s)/ρ_s,  y = x/α.",
)


@solver(order=2, reference="Hairer, Nørsett & Wanner I, section II.1, in the variable of arXiv:2206.00364")
def midpoint(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""y_t = y + (ρ_t − ρ_s) d',  d' the slope at ρ = (ρ_s + ρ_t)/2 on the tangent."""
    return in_rho(tableau.MIDPOINT, denoise, x, s, t), None


@solver(order=2, reference="arXiv:2206.00364, Alg. 1")
def heun(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""y_t = y + (ρ_t − ρ_s)(d + d')/2,  d = (y − D_s)/ρ_s,  d' the slope at the Euler point."""
    return in_rho(tableau.HEUN, denoise, x, s, t), None


@solver(order=2, reference="Ralston, Math. Comp. 16 (1962), in the variable of arXiv:2206.00364")
def ralston(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""y_t = y + (ρ_t − ρ_s)(d + 3 d')/4,  d' the slope at two thirds of the step: the second-order method of smallest error bound."""
    return in_rho(tableau.RALSTON, denoise, x, s, t), None


@solver(order=3, reference="Kutta (1901); Hairer, Nørsett & Wanner I, section II.1, in the variable of arXiv:2206.00364")
def kutta3(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""y_t = y + (ρ_t − ρ_s)(d₁ + 4 d₂ + d₃)/6,  d₂ in the middle, d₃ at the end of y + (ρ_t − ρ_s)(2 d₂ − d₁)."""
    return in_rho(tableau.KUTTA3, denoise, x, s, t), None


@solver(order=4, reference="Kutta (1901); Hairer, Nørsett & Wanner I, section II.1, in the variable of arXiv:2206.00364")
def rk4(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""y_t = y + (ρ_t − ρ_s)(d₁ + 2 d₂ + 2 d₃ + d₄)/6,  d₂ and d₃ in the middle, d₄ at the end."""
    return in_rho(tableau.RK4, denoise, x, s, t), None
