r"""DPM-Solver++: exponential integrators of the denoised form, single- and multistep, ODE and SDE (Lu et al., arXiv:2211.01095).

They approximate x_t = (sigma_t/sigma_s) x + sigma_t ∫ e^lam D(lam) dlam over [lam_s, lam_t], and for the reverse SDE its counterpart with
the kernel 2 e^{2 lam}, by expanding D in lam. h = lam_t - lam_s and h₋ = lam_s - lam_r, with r the node before s.
"""

from __future__ import annotations

from typing import Any

from scorebed.solvers.base import Carry, alias, solver
from scorebed.solvers.methods.dpm_solver import ddim
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.ranges import within
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import diffuse_by_denoised, flow_by_denoised, phi
from scorebed.solvers.weights.multistep import lam_weights, mix

dpmpp_1 = alias("dpmpp_1", ddim, reference="arXiv:2211.01095, eq. 9 with D constant", formula="x_t = (σ_t/σ_s) x − α_t (e^{−h} − 1) D_s.")


@solver(order=2, reference="arXiv:2211.01095, DPM-Solver++(2S)")
@within(r="(0, 1)")
def dpmpp_2s(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, r: float = 0.5) -> tuple[Array, Any]:
    r"""u = (σ_i/σ_s) x − α_i (e^{−rh} − 1) D_s at λ_i = λ_s + r h,
    x_t = (σ_t/σ_s) x − α_t (e^{−h} − 1) D,  D = (1 − 1/2r) D_s + (1/2r) D_i.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    i = s.toward(t, r)
    denoised = denoise(x, s)
    u = flow_by_denoised(x, denoised, s, i)
    return flow_by_denoised(x, (1.0 - 0.5 / r) * denoised + (0.5 / r) * denoise(u, i), s, t), None


@solver(order=3, reference="arXiv:2206.00927, Alg. 5, in the denoised form of arXiv:2211.01095")
@within(r1="(0, 1)")
def dpmpp_3s(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, r1: float = 1 / 3) -> tuple[Array, Any]:
    r"""u₁ = (σ₁/σ_s) x − α₁ (e^{−r₁h} − 1) D_s,
    u₂ = (σ₂/σ_s) x − α₂ (e^{−r₂h} − 1) D_s + α₂ (r₂/r₁) ((e^{−r₂h} − 1)/(r₂h) + 1)(D₁ − D_s),
    x_t = (σ_t/σ_s) x − α_t (e^{−h} − 1) D_s + (α_t/r₂)((e^{−h} − 1)/h + 1)(D₂ − D_s),  r₂ = 2/3 as in ``dpm_solver_3``.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    r2 = 2 / 3
    h, one, two = t.lam - s.lam, s.toward(t, r1), s.toward(t, r2)
    denoised = denoise(x, s)
    d_one = denoise(flow_by_denoised(x, denoised, s, one), one) - denoised
    u = flow_by_denoised(x, denoised, s, two) + two.alpha * (r2 / r1) * r2 * h * phi(2, -r2 * h) * d_one
    d_two = denoise(u, two) - denoised
    return flow_by_denoised(x, denoised, s, t) + (t.alpha / r2) * h * phi(2, -h) * d_two, None


@solver(order=2, reference="arXiv:2211.01095, Alg. 2", start=dpmpp_2s, starts=1)
def dpmpp_2m(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
    r"""x_t = (σ_t/σ_s) x − α_t (e^{−h} − 1) D,  D = D_s + h/(2h₋)(D_s − D_r)."""
    denoised = denoise(x, s)
    return flow_by_denoised(x, _extrapolated(denoised, s, t, carry), s, t), ((s, denoised),)


@solver(
    order=3,
    reference="the multistep method of order 3 in the code of arXiv:2211.01095, with the right third term",
    start=dpmpp_3s,
    starts=2,
)
def dpmpp_3m(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
    r"""x_t = (σ_t/σ_s) x + σ_t ∫ e^λ P(λ) dλ,  P the parabola through D_s, D_r and the one before.

    In Newton's form, with r₀ = h₋/h, r₁ = h₋₋/h, d₀ = (D_s − D_r)/r₀, d₁ = (D_r − D_q)/r₁ and D⁽²⁾ = (d₀ − d₁)/(r₀ + r₁),
    x_t = … − α_t (e^{−h} − 1) D_s + α_t h φ₂(−h) (d₀ + r₀ D⁽²⁾) + 2 α_t h φ₃(−h) D⁽²⁾.
    The code that the authors ship lacks the 2 of the last term and is of order 2.

    Returns:
        (x_t, the last two (node, D), newest first).
    """
    past = ((s, denoise(x, s)), *(carry or ()))
    return flow_by_denoised(x, mix(lam_weights([node for node, _ in past], s, t), past), s, t), past[:2]


@solver(order=2, weak=2, strong=1, reference="arXiv:2211.01095, SDE-DPM-Solver++(2M)")
@within(eta="[0, inf)")
def dpmpp_2m_sde(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, eta: float = 1.0) -> tuple[Array, Carry]:
    r"""x_t = (σ_t/σ_s) e^{−ηh} x + α_t (1 − e^{−(1+η)h}) D + σ_t sqrt(1 − e^{−2ηh}) ξ,  D = D_s + h/(2h₋)(D_s − D_r).

    η = 1 is the SDE, η = 0 the ODE: then the step is that of ``dpmpp_2m``.

    Returns:
        (x_t, ((s, D_s),) for the next step).
    """
    denoised = denoise(x, s)
    return diffuse_by_denoised(x, _extrapolated(denoised, s, t, carry), noise(s, t), s, t, eta), ((s, denoised),)


def _extrapolated(denoised: Array, s: Node, t: Node, carry: Carry) -> Array:
    """D at the middle of the step, on the line through the last two evaluations; D_s where there is only one."""
    if not carry:
        return denoised
    ((r, denoised_r),) = carry
    ratio = 0.5 * (t.lam - s.lam) / (s.lam - r.lam)
    return denoised + ratio * (denoised - denoised_r)
