r"""SDE-DPM-Solver and SDE-DPM-Solver++: exponential integrators of the reverse SDE (Lu et al., arXiv:2211.01095; k-diffusion).

With y = x/alpha and rho = sigma/alpha as the time, W a Brownian motion of clock rho², the reverse SDE with eta of its noise is

    dy = (1 + eta) eps drho + sqrt(eta) dW(rho²),    eps = (y - D)/rho,

and its marginals are those of the process for every eta >= 0. For constant eps (eta = 1), and for constant D, one step is

    x_t = (alpha_t/alpha_s) x - 2 sigma_t (e^h - 1) eps + sigma_t sqrt(e^{2h} - 1) xi,
    x_t = (sigma_t/sigma_s) e^{-eta h} x + alpha_t (1 - e^{-(1 + eta) h}) D + sigma_t sqrt(1 - e^{-2 eta h}) xi.

eta is k-diffusion's for the multistep methods and the square of that of DDIM(eta). Only the second form is exact on a point mass.
Better quadrature of the drift than second order does not help the law: increments of W do not tell where in the step the noise came,
an error of h² in the covariance. So weak order 2 is what the third-order drift gives too, and strong order 1 is what all give.
"""

from __future__ import annotations

import math
from typing import Any

from scorebed.solvers.base import Carry, alias, solver
from scorebed.solvers.methods.ancestral import ddpm
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.ranges import within
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import diffuse_by_denoised, drift_by_denoised, eps_of, flow_by_eps, phi

FREEZES_EPS = "freezes eps, which the noise moves"
"""Why a method does not follow a constant denoiser exactly; a shift of the target it keeps."""


@solver(order=1, weak=1, strong=1, reference="arXiv:2211.01095, SDE-DPM-Solver-1", inexact=FREEZES_EPS)
def sde_dpm_solver_1(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""x_t = (α_t/α_s) x − 2 σ_t (e^h − 1) ε + σ_t sqrt(e^{2h} − 1) ξ."""
    return flow_by_eps(x, 2.0 * eps_of(x, denoise(x, s), s), s, t) + _path(noise, s, t), None


@solver(order=2, weak=2, strong=1, reference="arXiv:2211.01095, SDE-DPM-Solver-2M", inexact=FREEZES_EPS)
def sde_dpm_solver_2(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
    r"""x_t = (α_t/α_s) x − 2 σ_t (e^h − 1) (ε_s + h/(2h₋)(ε_s − ε_r)) + σ_t sqrt(e^{2h} − 1) ξ; the first step is SDE-DPM-Solver-1."""
    eps = eps_of(x, denoise(x, s), s)
    ahead = eps
    if carry:
        ((r, eps_r),) = carry
        ahead = eps + (0.5 * (t.lam - s.lam) / (s.lam - r.lam)) * (eps - eps_r)
    return flow_by_eps(x, 2.0 * ahead, s, t) + _path(noise, s, t), ((s, eps),)


sde_dpmpp_1 = alias(
    "sde_dpmpp_1",
    ddpm,
    reference="arXiv:2211.01095, SDE-DPM-Solver++1",
    formula="x_t = (σ_t/σ_s) e^{−h} x + α_t (1 − e^{−2h}) D + σ_t sqrt(1 − e^{−2h}) ξ.",
)


@solver(order=2, weak=2, strong=1, reference="k-diffusion, sample_dpmpp_sde, with the exact noise of stage and step")
@within(eta="[0, inf)", r="(0, 1)")
def dpmpp_sde(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, eta: float = 1.0, r: float = 0.5
) -> tuple[Array, Any]:
    r"""u = (σ_i/σ_s) e^{−eta r h} x + α_i (1 − e^{−(1 + eta) r h}) D_s + α_i n_i at λ_i = λ_s + r h,
    x_t = (σ_t/σ_s) e^{−eta h} x + α_t (1 − e^{−(1 + eta) h}) ((1 − 1/2r) D_s + (1/2r) D_i) + α_t (e^{−(1 + eta)(1 − r) h} n_i + n_t),

    with n_i = ρ_i sqrt(1 − e^{−2 eta r h}) ξ_si and n_t = ρ_t sqrt(1 − e^{−2 eta (1 − r) h}) ξ_it: the noise of the stage decays into that
    of the step. Independent noises for the two, as in many copies of this sampler, have weak order 1.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    i, h = s.toward(t, r), t.lam - s.lam
    n_i = i.rho * math.sqrt(-math.expm1(-2.0 * eta * r * h)) * noise(s, i)
    n_t = t.rho * math.sqrt(-math.expm1(-2.0 * eta * (1.0 - r) * h)) * noise(i, t)
    denoised = denoise(x, s)
    u = drift_by_denoised(x, denoised, s, i, eta) + i.alpha * n_i
    middle = (1.0 - 0.5 / r) * denoised + (0.5 / r) * denoise(u, i)
    return drift_by_denoised(x, middle, s, t, eta) + t.alpha * (math.exp(-(1.0 + eta) * (1.0 - r) * h) * n_i + n_t), None


@solver(order=2, weak=2, strong=1, reference="k-diffusion, sample_dpmpp_3m_sde, with 2 φ_3 for its φ_3")
@within(eta="[0, inf)")
def dpmpp_3m_sde(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, eta: float = 1.0) -> tuple[Array, Carry]:
    r"""x_t = (σ_t/σ_s) e^{−eta h} x + α_t H (φ₁ D + φ₂ h D' + 2 φ₃ h² D'') + σ_t sqrt(1 − e^{−2 eta h}) ξ,  H = (1 + eta) h, φ_k at −H,

    with D + D' (λ − λ_s) + D'' (λ − λ_s)² the parabola through the last three evaluations; a line in the second step, D_s in the first.

    Returns:
        (x_t, the last two (node, D), newest first).
    """
    h, denoised = t.lam - s.lam, denoise(x, s)
    power = (1.0 + eta) * h
    x_t = diffuse_by_denoised(x, denoised, noise(s, t), s, t, eta)
    if carry:
        r, d_r = carry[0]
        slope = (1.0 / (s.lam - r.lam)) * (denoised - d_r)
        if len(carry) == 2:
            q, d_q = carry[1]
            curve = (1.0 / (s.lam - q.lam)) * (slope - (1.0 / (r.lam - q.lam)) * (d_r - d_q))
            slope = slope + (s.lam - r.lam) * curve
            x_t = x_t + (2.0 * t.alpha * power * phi(3, -power) * h * h) * curve
        x_t = x_t + (t.alpha * power * phi(2, -power) * h) * slope
    return x_t, ((s, denoised), *(carry or ()))[:2]


def _path(noise: Noise, s: Node, t: Node) -> Array:
    """α_t (W(ρ_s²) − W(ρ_t²)) = σ_t sqrt(e^{2h} − 1) ξ."""
    return t.sigma * math.sqrt(math.expm1(2.0 * (t.lam - s.lam))) * noise(s, t)
