r"""Stochastic samplers of flow models, made for roll-outs of reinforcement learning: Flow-SDE, Dance, CPS and Precise.

On the straight path z = (1 − τ) x0 + τ ε a step of each of them is, with D and ε̂ at (z, τ_s) and a std ς of its own,

    z_t = (1 − τ_t) D + c ε̂ + ς ξ.

Flow-SDE (arXiv:2505.05470, eq. 12) and Dance (arXiv:2505.07818, eq. 7) are Euler-Maruyama for dz = (v − ½ g² ∇log p) dτ + g dW, with
c = τ_t − ς²/(2 τ_s) and ς = g sqrt(τ_s − τ_t). CPS (arXiv:2509.05952, eq. 15) and Precise (arXiv:2605.23522) keep the noise,
c² + ς² = τ_t²: a DDIM step further down, and noise added up again. They run on every schedule in z = x/(α + σ),
τ = σ/(α + σ). Given the past a step is N(mean, ς²): ``plan.transitions(model)`` has means, stds and log-probabilities.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from scorebed.solvers.base import solver
from scorebed.solvers.methods.rectified import tau
from scorebed.solvers.methods.runge_kutta import DISCRETISED
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.ranges import within
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import eps_of


def _sent(denoise: Denoiser, x: Array, s: Node, t: Node, noise: Noise, c: float, std: float) -> tuple[Array, None]:
    """(α_t + σ_t) z_t."""
    denoised = denoise(x, s)
    scale = t.alpha + t.sigma
    return t.alpha * denoised + (scale * c) * eps_of(x, denoised, s) + (scale * std) * noise(s, t), None


@solver(order=1, weak=1, strong=1, reference="arXiv:2505.05470, eq. 12", inexact=DISCRETISED)
@within(a="[0, inf)")
def flow_sde(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, a: float = 0.7) -> tuple[Array, Any]:
    r"""z_t = (1 − τ_t) D + (τ_t − ς²/2τ_s) ε̂ + ς ξ,  ς = a sqrt(τ_s/(1 − τ_s)) sqrt(τ_s − τ_t)."""
    std = a * math.sqrt(s.rho * (tau(s) - tau(t)))
    return _sent(denoise, x, s, t, noise, tau(t) - std * std / (2.0 * tau(s)), std)


@solver(order=1, weak=1, strong=1, reference="arXiv:2505.07818, eq. 7", inexact=DISCRETISED)
@within(eta="[0, inf)")
def flow_dance(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, eta: float = 0.3) -> tuple[Array, Any]:
    r"""z_t = (1 − τ_t) D + (τ_t − ς²/2τ_s) ε̂ + ς ξ,  ς = eta sqrt(τ_s − τ_t).

    The drift is stiff where τ is small: a step of Δτ stands for eta² Δτ/(2 τ²) of its own length.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    std = eta * math.sqrt(tau(s) - tau(t))
    return _sent(denoise, x, s, t, noise, tau(t) - std * std / (2.0 * tau(s)), std)


@solver(order=1, weak=1, strong=1, reference="arXiv:2509.05952, eq. 15, its angle by sqrt(h)")
@within(eta="[0, 1]")
def flow_cps(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, eta: float = 0.5, per: Literal["lam", "step"] = "lam"
) -> tuple[Array, Any]:
    r"""z_t = (1 − τ_t) D + τ_t cos θ ε̂ + τ_t sin θ ξ,  θ = (π/2) eta min(1, sqrt(h)) with h the step in λ; ``per="step"``: θ = (π/2) eta.

    The paper's angle, the same in every step, renoises by the same part however short the step is: no number of steps brings it to the
    law (``solvers/ERRATA.md``). By sqrt(h) it is the paper's at h = 1, and has a limit.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    angle = 0.5 * math.pi * eta * (1.0 if per == "step" else min(1.0, math.sqrt(t.lam - s.lam)))
    return _sent(denoise, x, s, t, noise, tau(t) * math.cos(angle), tau(t) * math.sin(angle))


@solver(order=1, weak=1, strong=1, reference="arXiv:2605.23522, noise of the released code")
@within(eta="[0, inf)")
def flow_precise(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, eta: float = 1.5) -> tuple[Array, Any]:
    r"""z_t = (1 − τ_t) D + τ_t e^{−eta² h/2} ε̂ + τ_t sqrt(1 − e^{−eta² h}) ξ,  h the step in λ.

    This is SDE-DPM-Solver++1 with eta²/2 for its eta; with eta = sqrt(2) DDPM.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    turn = eta * eta * (t.lam - s.lam)
    return _sent(denoise, x, s, t, noise, tau(t) * math.exp(-0.5 * turn), tau(t) * math.sqrt(-math.expm1(-turn)))
