r"""Ancestral sampling: the reverse chain of DDPM (Ho et al., arXiv:2006.11239), DDIM(eta) and the ancestral forms of k-diffusion.

Every step goes down along the ODE, to a noise level below that of t, and adds noise up to t: in y = x/alpha and rho = sigma/alpha

    rho_down² + rho_up² = rho_t²,    rho_up = min(rho_t, eta rho_t sqrt(1 - e^{-2h})).

Both halves keep the marginals of the process, for any split. Hence the law of the samples, started from the true law, is as accurate as the
ODE method that goes down: weak order 1 with Euler, 2 with DPM-Solver++(2S). The limit of small steps is the SDE with eta times the noise,

    dy = (1 + eta²) (y - D)/rho drho + eta sqrt(2 rho) dW,

and for its transitions, that is from any other law at the start, the splitting has order 1 whatever the ODE method.
"""

from __future__ import annotations

import math
from typing import Any

from scorebed.solvers.base import solver
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.process import LINEAR
from scorebed.solvers.ranges import within
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import eps_of, flow_by_denoised


def split(s: Node, t: Node, eta: float) -> tuple[float, float]:
    """(ρ_down/ρ_t)² and (ρ_up/ρ_t)², which add up to 1, each free of cancellation; ρ_down = 0 where eta > 1 asks for too much noise."""
    h = t.lam - s.lam
    down = (1.0 - eta) * (1.0 + eta) + eta * eta * math.exp(-2.0 * h)
    return max(0.0, down), min(1.0, -eta * eta * math.expm1(-2.0 * h))


@solver(order=1, weak=1, strong=1, reference="arXiv:2006.11239, eqs. 6-7, variance beta-tilde", on=LINEAR)
def ddpm(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""x_t ~ q(x_t | x_s, x0 = D): mean (σ_t²/σ_s²)(α_s/α_t) x + α_t (1 − e^{−2h}) D, variance σ_t² (1 − e^{−2h}); so on every linear
    process, z_t ~ q(z_t | z_s, m).

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    return s.to(t, eta=1.0)(x, denoise(x, s), noise(s, t)), None


@solver(order=1, weak=1, strong=1, reference="arXiv:2010.02502, eqs. 12 and 16")
@within(eta="[0, inf)")
def ddim_eta(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, eta: float = 0.5) -> tuple[Array, Any]:
    r"""x_t = α_t D + sqrt(σ_t² − ς²) ε + ς ξ,  ς = eta σ_t sqrt(1 − e^{−2h}).  eta = 0: DDIM, eta = 1: DDPM."""
    down, up = split(s, t, eta)
    denoised = denoise(x, s)
    eps = eps_of(x, denoised, s)
    return t.alpha * denoised + t.sigma * math.sqrt(down) * eps + t.sigma * math.sqrt(up) * noise(s, t), None


@solver(order=1, weak=1, strong=1, reference="k-diffusion, sample_euler_ancestral")
@within(eta="[0, inf)")
def euler_ancestral(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, eta: float = 1.0) -> tuple[Array, Any]:
    r"""y_t = y + (ρ_down − ρ_s) d + ρ_up ξ,  d = (y − D)/ρ_s,  y = x/α.  Equal to DDIM(eta); with eta = 1 to DDPM."""
    down, up = split(s, t, eta)
    d = eps_of(x, denoise(x, s), s)
    return t.alpha * ((1.0 / s.alpha) * x + (t.rho * math.sqrt(down) - s.rho) * d + t.rho * math.sqrt(up) * noise(s, t)), None


@solver(order=2, weak=2, strong=1, reference="k-diffusion, sample_dpmpp_2s_ancestral")
@within(eta="[0, inf)")
def dpmpp_2s_ancestral(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, eta: float = 1.0) -> tuple[Array, Any]:
    r"""y_t = e^{−h'} y − (e^{−h'} − 1) D_i + ρ_up ξ,  h' = ln(ρ_s/ρ_down), u the DDIM step to λ_i = λ_s + h'/2.

    Weak order 2 is that of the marginals from the true law at the start; for the transitions of the SDE it is 1 (see above). With eta = 1
    the stage lies at t; with eta > 1 it stays there, and where ρ_down = 0 the step is x_t = α_t D + σ_t ξ.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    down, up = split(s, t, eta)
    denoised = denoise(x, s)
    fresh = t.sigma * math.sqrt(up) * noise(s, t)
    if down == 0.0:
        return t.alpha * denoised + fresh, None
    h = t.lam - s.lam
    stretch = 1.0 - 0.5 * math.log(down) / h if h else 1.0  # h'/h
    r = min(0.5 * stretch, 1.0)
    i = s.toward(t, r)
    weight = 0.5 * stretch / r
    denoised = (1.0 - weight) * denoised + weight * denoise(flow_by_denoised(x, denoised, s, i), i)
    kept = math.exp(-stretch * h)
    return t.alpha * ((kept / s.alpha) * x + (1.0 - kept) * denoised) + fresh, None
