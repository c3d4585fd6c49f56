r"""DDIM and the singlestep DPM-Solver: exponential integrators of the eps form (Lu et al., arXiv:2206.00927).

They approximate x_t = (alpha_t/alpha_s) x - alpha_t ∫ e^{-lam} eps(lam) dlam over [lam_s, lam_t] by expanding eps in lam.
"""

from __future__ import annotations

import math
from typing import Any

from scorebed.solvers.base import alias, solver
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.process import LINEAR
from scorebed.solvers.ranges import within
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import eps_of, flow_by_eps, phi


@solver(order=1, reference="arXiv:2010.02502, eq. 12 with eta = 0", on=LINEAR)
def ddim(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""x_t = α_t D + σ_t ε,  ε = (x − α_s D)/σ_s; on every linear process z_t = A z + B m, exact for constant m."""
    return s.to(t)(x, denoise(x, s)), None


dpm_solver_1 = alias("dpm_solver_1", ddim, reference="arXiv:2206.00927, eq. 3.7", formula="x_t = (α_t/α_s) x − σ_t (e^h − 1) ε_s.")


@solver(order=2, reference="arXiv:2206.00927, Alg. 4 (r = 1/2: Alg. 1)")
@within(r="(0, 1)")
def dpm_solver_2(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, r: float = 0.5) -> tuple[Array, Any]:
    r"""u = (α_i/α_s) x − σ_i (e^{rh} − 1) ε_s at λ_i = λ_s + r h,
    x_t = (α_t/α_s) x − σ_t (e^h − 1) ε_s − (σ_t/2r)(e^h − 1)(ε_i − ε_s).

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    i = s.toward(t, r)
    eps = eps_of(x, denoise(x, s), s)
    u = flow_by_eps(x, eps, s, i)
    eps_i = eps_of(u, denoise(u, i), i)
    return flow_by_eps(x, eps, s, t) - (0.5 / r) * t.sigma * math.expm1(t.lam - s.lam) * (eps_i - eps), None


@solver(order=3, reference="arXiv:2206.00927, Alg. 5 at r2 = 2/3 (r1 = 1/3: DPM-Solver-3)")
@within(r1="(0, 1)")
def dpm_solver_3(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, r1: float = 1 / 3) -> tuple[Array, Any]:
    r"""u₁ = (α₁/α_s) x − σ₁ (e^{r₁h} − 1) ε_s,
    u₂ = (α₂/α_s) x − σ₂ (e^{r₂h} − 1) ε_s − σ₂ (r₂/r₁) ((e^{r₂h} − 1)/(r₂h) − 1)(ε₁ − ε_s),
    x_t = (α_t/α_s) x − σ_t (e^h − 1) ε_s − (σ_t/r₂)((e^h − 1)/h − 1)(ε₂ − ε_s).

    r₂ = 2/3 is no choice: ε₂ alone must integrate λ² rightly, ∫ θ² dθ = r₂/2. The printed algorithm takes any r₂ and is then of order 2.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    r2 = 2 / 3
    h, one, two = t.lam - s.lam, s.toward(t, r1), s.toward(t, r2)
    eps = eps_of(x, denoise(x, s), s)
    u = flow_by_eps(x, eps, s, one)
    d_one = eps_of(u, denoise(u, one), one) - eps
    u = flow_by_eps(x, eps, s, two) - two.sigma * (r2 / r1) * r2 * h * phi(2, r2 * h) * d_one
    d_two = eps_of(u, denoise(u, two), two) - eps
    return flow_by_eps(x, eps, s, t) - (t.sigma / r2) * h * phi(2, h) * d_two, None
