r"""Adams methods with variable steps: Adams-Bashforth on x(t) (``ab``), on eps in rho (``lms``), and Heun with one evaluation per step
(``pec``).

dy/du = d is integrated through the polynomial that interpolates the last k slopes at their own u,

    y_t = y + ∫_{u_s}^{u_t} Σ_j ℓ_j(u) d_j du = y + (u_t - u_s) Σ_j b_j d_j,

with exact integrals, so that the order is k on any grid. ``ab``: u = t, y = x, d = dx/dt. ``lms``: u = rho = sigma/alpha, y = x/alpha, d =
eps; these are k-diffusion's linear multistep methods, on every schedule. Two variables for the two families, because that is how each is
known. The first k - 1 steps are taken by a one-step method whose own error does not lower the order.
"""

from __future__ import annotations

from typing import Any

from scorebed.solvers.base import Carry, alias, solver
from scorebed.solvers.methods.dpm_solver import ddim
from scorebed.solvers.methods.edm import heun, kutta3
from scorebed.solvers.methods.runge_kutta import DISCRETISED, euler_t, heun_t, kutta3_t, velocity
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.process import LINEAR
from scorebed.solvers.schedule import Node
from scorebed.solvers.state import State
from scorebed.solvers.weights.exponential import eps_of, flow_by_eps
from scorebed.solvers.weights.multistep import Past, adams_weights, mix, rho_weights
from scorebed.solvers.weights.tableau import plus


def adams_in_time(k: int, denoise: Denoiser, x: State, s: Any, t: Any, carry: Carry) -> tuple[State, Past]:
    """x_t = x + (t − s) Σ_j w_j v_j with the Adams weights of the times, v the velocity of the flow in t."""
    past = ((s, velocity(x, denoise(x, s), s)), *(carry or ()))
    weights = adams_weights([node.t for node, _ in past], t.t)
    return plus(x, t.t - s.t, weights, [v for _, v in past]), past[: k - 1]


def adams_in_rho(k: int, denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry) -> tuple[Array, Past]:
    """x_t = (α_t/α_s) x − σ_t (e^h − 1) Σ_j w_j ε_j with the Adams weights in ρ."""
    past = ((s, eps_of(x, denoise(x, s), s)), *(carry or ()))
    return flow_by_eps(x, mix(rho_weights([node for node, _ in past], s, t), past), s, t), past[: k - 1]


ab1 = alias(
    "ab1",
    euler_t,
    reference="Hairer, Nørsett & Wanner I, section III.1 with k = 1, on arXiv:2011.13456, eq. 13",
    formula="x_t = x + (t − s) v_s.",
)


@solver(
    order=2,
    reference="Hairer, Nørsett & Wanner I, section III.5 with k = 2, on arXiv:2011.13456, eq. 13",
    start=heun_t,
    starts=1,
    inexact=DISCRETISED,
    on=LINEAR,
)
def ab2(denoise: Denoiser, x: State, s: Any, t: Any, carry: Carry, noise: Noise) -> tuple[State, Carry]:
    r"""x_t = x + (t − s)(b₀ v_s + b₁ v_r),  (3 v_s − v_r)/2 on equal steps."""
    return adams_in_time(2, denoise, x, s, t, carry)


@solver(
    order=3,
    reference="Hairer, Nørsett & Wanner I, section III.5 with k = 3, on arXiv:2011.13456, eq. 13",
    start=heun_t,
    starts=2,
    inexact=DISCRETISED,
    on=LINEAR,
)
def ab3(denoise: Denoiser, x: State, s: Any, t: Any, carry: Carry, noise: Noise) -> tuple[State, Carry]:
    r"""x_t = x + (t − s) Σ b_j v_j,  weights (23, −16, 5)/12 on equal steps."""
    return adams_in_time(3, denoise, x, s, t, carry)


@solver(
    order=4,
    reference="Hairer, Nørsett & Wanner I, section III.5 with k = 4, on arXiv:2011.13456, eq. 13",
    start=kutta3_t,
    starts=3,
    inexact=DISCRETISED,
    on=LINEAR,
)
def ab4(denoise: Denoiser, x: State, s: Any, t: Any, carry: Carry, noise: Noise) -> tuple[State, Carry]:
    r"""x_t = x + (t − s) Σ b_j v_j,  weights (55, −59, 37, −9)/24 on equal steps."""
    return adams_in_time(4, denoise, x, s, t, carry)


lms_1 = alias("lms_1", ddim, reference="k-diffusion, sample_lms with order 1", formula="x_t = (α_t/α_s) x + α_t (ρ_t − ρ_s) ε_s.")


@solver(order=2, reference="k-diffusion, sample_lms with order 2", start=heun, starts=1)
def lms_2(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
    r"""x_t = (α_t/α_s) x + α_t (ρ_t − ρ_s)(b₀ ε_s + b₁ ε_r),  b_j the mean of ℓ_j(ρ) over the step."""
    return adams_in_rho(2, denoise, x, s, t, carry)


@solver(order=3, reference="k-diffusion, sample_lms with order 3", start=heun, starts=2)
def lms_3(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
    r"""x_t = (α_t/α_s) x + α_t (ρ_t − ρ_s) Σ b_j ε_j through the last three ρ."""
    return adams_in_rho(3, denoise, x, s, t, carry)


@solver(order=4, reference="k-diffusion, sample_lms with order 4", start=kutta3, starts=3)
def lms_4(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
    r"""x_t = (α_t/α_s) x + α_t (ρ_t − ρ_s) Σ b_j ε_j through the last four ρ."""
    return adams_in_rho(4, denoise, x, s, t, carry)


@solver(order=2, reference="arXiv:2409.18128, the pseudo corrector, in the variable of arXiv:2206.00364")
def pec(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
    r"""u = x + (ρ_t − ρ_s) ε̂_s,  ε̂_t = ε(u, t),  x_t = x + (ρ_t − ρ_s)(ε̂_s + ε̂_t)/2 for x/α: Heun with the slope at the predicted u
    kept for the next step, ε̂_s = ε(x, s) in the first. Predict, evaluate, correct: u is O(h²) off, and so is ε̂, which order 2 allows.

    Returns:
        (x_t of the shape of x, carry (ε̂_t,)).
    """
    (eps,) = carry or (eps_of(x, denoise(x, s), s),)
    u = flow_by_eps(x, eps, s, t)
    eps_t = eps_of(u, denoise(u, t), t)
    return flow_by_eps(x, 0.5 * (eps + eps_t), s, t), (eps_t,)


@solver(order=2, reference="arXiv:2409.18128, the pseudo corrector", inexact=DISCRETISED, on=LINEAR)
def pec_t(denoise: Denoiser, x: State, s: Any, t: Any, carry: Carry, noise: Noise) -> tuple[State, Carry]:
    r"""u = x + (t − s) v̂_s,  v̂_t = v(u, t),  x_t = x + (t − s)(v̂_s + v̂_t)/2: ``pec`` on x(t)."""
    (v,) = carry or (velocity(x, denoise(x, s), s),)
    h = t.t - s.t
    u = plus(x, h, (1.0,), (v,))
    v_t = velocity(u, denoise(u, t), t)
    return plus(x, h, (0.5, 0.5), (v, v_t)), (v_t,)
