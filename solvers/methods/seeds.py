r"""SEEDS: stochastic exponential derivative-free solvers of the eps form (Gonzalez et al., arXiv:2305.14267).

In y = x/alpha the reverse SDE is dy = 2 eps drho + dW(rho²). SEEDS-k integrates the drift as DPM-Solver-k does, with 2 eps for eps, and
gives every stage the increment of W up to its node. With c_1 < c_2 the stages and W_j the increments over the parts of the step,

    sigma_t sqrt(e^{2h} - e^{2(1-c_1)h}) z_1 + sigma_t sqrt(e^{2(1-c_1)h} - e^{2(1-c_2)h}) z_2 + ... = alpha_t (W_1 + W_2 + ...).

Tying every z_j to its own part is what makes stage and step see one path; the variances alone do not.
"""

from __future__ import annotations

import math
from typing import Any

from scorebed.solvers.base import alias, solver
from scorebed.solvers.methods.sde_dpm import FREEZES_EPS, sde_dpm_solver_1
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.ranges import within
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import eps_of, flow_by_eps, phi


def increment(noise: Noise, s: Node, t: Node) -> Array:
    """W(ρ_s²) − W(ρ_t²) = ρ_s sqrt(1 − e^{−2h}) ξ."""
    return s.rho * math.sqrt(-math.expm1(2.0 * (s.lam - t.lam))) * noise(s, t)


seeds_1 = alias(
    "seeds_1",
    sde_dpm_solver_1,
    reference="arXiv:2305.14267, SEEDS-1",
    formula="x_t = (α_t/α_s) x − 2 σ_t (e^h − 1) ε + σ_t sqrt(e^{2h} − 1) z.",
)


@solver(order=2, weak=2, strong=1, reference="arXiv:2305.14267, SEEDS-2", inexact=FREEZES_EPS)
@within(r="(0, 1)")
def seeds_2(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, r: float = 0.5) -> tuple[Array, Any]:
    r"""u = (α_i/α_s) x − 2 σ_i (e^{rh} − 1) ε_s + α_i W₁ at λ_i = λ_s + r h,
    x_t = (α_t/α_s) x − 2 σ_t (e^h − 1)(ε_s + (1/2r)(ε_i − ε_s)) + α_t (W₁ + W₂).

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    i = s.toward(t, r)
    w_1, w_2 = increment(noise, s, i), increment(noise, i, t)
    eps = eps_of(x, denoise(x, s), s)
    u = flow_by_eps(x, 2.0 * eps, s, i) + i.alpha * w_1
    middle = eps + (0.5 / r) * (eps_of(u, denoise(u, i), i) - eps)
    return flow_by_eps(x, 2.0 * middle, s, t) + t.alpha * (w_1 + w_2), None


@solver(order=2, weak=2, strong=1, reference="arXiv:2305.14267, SEEDS-3 (stages at 1/3 and 2/3)", inexact=FREEZES_EPS)
def seeds_3(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""u₁ = (α₁/α_s) x − 2 σ₁ (e^{h/3} − 1) ε_s + α₁ W₁,
    u₂ = (α₂/α_s) x − 2 σ₂ (e^{2h/3} − 1) ε_s − 4 σ₂ ((e^{2h/3} − 1)/(2h/3) − 1)(ε₁ − ε_s) + α₂ (W₁ + W₂),
    x_t = (α_t/α_s) x − 2 σ_t (e^h − 1) ε_s − 3 σ_t ((e^h − 1)/h − 1)(ε₂ − ε_s) + α_t (W₁ + W₂ + W₃).

    The mean on a Gaussian converges with order 3; the covariance, and so the law, with order 2: the increments alone do not tell more.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    h, one, two = t.lam - s.lam, s.toward(t, 1.0 / 3.0), s.toward(t, 2.0 / 3.0)
    w_1, w_2, w_3 = increment(noise, s, one), increment(noise, one, two), increment(noise, two, t)
    eps = eps_of(x, denoise(x, s), s)
    u = flow_by_eps(x, 2.0 * eps, s, one) + one.alpha * w_1
    d_one = eps_of(u, denoise(u, one), one) - eps
    bend = 4.0 * two.sigma * (2.0 / 3.0 * h) * phi(2, 2.0 / 3.0 * h)
    u = flow_by_eps(x, 2.0 * eps, s, two) - bend * d_one + two.alpha * (w_1 + w_2)
    d_two = eps_of(u, denoise(u, two), two) - eps
    return flow_by_eps(x, 2.0 * eps, s, t) - 3.0 * t.sigma * h * phi(2, h) * d_two + t.alpha * (w_1 + w_2 + w_3), None
