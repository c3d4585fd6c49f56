r"""Adams methods in the angle theta = arctan(sigma/(c alpha)), on the output F of an EDM or TrigFlow network (arXiv:2410.11081).

With u = x / sqrt(c² alpha² + sigma²) every schedule becomes u = cos(theta) x0/c + sin(theta) eps, and the probability-flow ODE is

    du/dtheta = F,      F = (cos(theta) u - D/c) / sin(theta),      D = c (cos(theta) u - sin(theta) F),

where -F is what a network with EDM preconditioning at sigma_data = c puts out. For data N(0, c² I), F = 0. The methods are

    u_t = u_s + Σ_j w_j F_j,

with weights that are exact for p functions of theta, p the number of slopes: either the polynomials of degree < p (``polynomial``, the
classical Adams methods with variable steps), or 1, …, theta^{p-3}, cos(theta), sin(theta) (``mixed``: De Meyer, Vanthournout & Vanden
Berghe, J. Comput. Appl. Math. 30 (1990)). A constant denoiser gives F = -sin(theta) D/c + cos(theta) eps: only the mixed weights follow it
exactly, and so commute with shifts of the data; they are exact on N(m, c² I) for every m. The orders are the same.
"""

from __future__ import annotations

import math

from scorebed.solvers.base import Carry, Solver, alias, remade, solver
from scorebed.solvers.methods.dpm_solver import ddim, dpm_solver_2, dpm_solver_3
from scorebed.solvers.methods.edm import rk4
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.ranges import within
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.multistep import Basis, Past, angle_weights


def angle(node: Node, c: float) -> float:
    """θ = arctan(σ/(c α))."""
    return math.atan2(node.sigma, c * node.alpha)


def radius(node: Node, c: float) -> float:
    """R = sqrt(c² α² + σ²), so that u = x/R."""
    return math.hypot(c * node.alpha, node.sigma)


def output(denoise: Denoiser, u: Array, node: Node, c: float, x: Array | None = None) -> Array:
    """F = (cos θ u − D/c)/sin θ = (c α/σ) u − (R/(c σ)) D, with D at ``x`` = R u."""
    r = radius(node, c)
    return (c * node.alpha / node.sigma) * u - (r / (c * node.sigma)) * denoise(r * u if x is None else x, node)


def advanced(u: Array, past: Past, s: Node, t: Node, c: float, basis: Basis) -> Array:
    """u + Σ_j w_j F_j from s to t; from F_s alone, in the mixed basis, the rotation cos(h) u + sin(h) F_s."""
    start, end = angle(s, c), angle(t, c)
    if len(past) == 1 and basis == "mixed":
        return math.cos(end - start) * u + math.sin(end - start) * past[0][1]
    for w, (_, value) in zip(angle_weights([angle(node, c) for node, _ in past], start, end, basis), past, strict=True):
        u = u + w * value
    return u


def _bashforth(p: int, denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, c: float, basis: Basis) -> tuple[Array, Carry]:
    """Adams-Bashforth of order p: the last p slopes."""
    u = (1.0 / radius(s, c)) * x
    past = ((s, output(denoise, u, s, c, x)), *(carry or ()))
    return radius(t, c) * advanced(u, past, s, t, c, basis), past[: p - 1]


def _moulton(
    p: int, denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, c: float, basis: Basis, *, alone: bool = False
) -> tuple[Array, Carry]:
    """Predict with p − 1 slopes, evaluate, correct with that slope as the p-th.

    The predictor's local error is O(h^p), and so is that of F there, which enters the corrected u times h: order p, with one evaluation per
    step. F_s at the predicted u_s is kept from the step before; the first step has to evaluate it. ``alone``: it begins with the slopes
    that there are, and its first step has a local error of O(h³).

    Returns:
        (x_t, the last p − 1 slopes, newest first).
    """
    carry, u = carry or (), (1.0 / radius(s, c)) * x
    past = carry if carry and carry[0][0] == s else ((s, output(denoise, u, s, c, x)), *carry)[: p - 1]
    if len(carry) < p - 1 and p > 2 and not alone:
        return x, past  # the start moves x
    ahead = advanced(u, past, s, t, c, basis)
    past = ((t, output(denoise, ahead, t, c)), *past)
    return radius(t, c) * advanced(u, past, s, t, c, basis), past[: p - 1]


_PEC = "Hairer, Nørsett & Wanner I, section III.1 (PEC), on du/dθ = F (arXiv:2410.11081)"


def _alone(p: int) -> Solver:
    """``trig_abm_p`` begun by itself: with the slopes that there are, order 3."""

    @within(c="(0, inf)")
    def step(
        denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, c: float = 1.0, basis: Basis = "mixed"
    ) -> tuple[Array, Carry]:
        return _moulton(p, denoise, x, s, t, carry, c, basis, alone=True)

    step.__name__ = f"trig_abm_{p}_alone"
    return solver(order=3, reference=_PEC, register=False)(remade(step, _alone, p))


trig_ab_1 = alias(
    "trig_ab_1",
    ddim,
    reference="arXiv:2410.11081, section 3: the DDIM step of TrigFlow",
    formula="u_t = cos(h) u + sin(h) F_s,  h = θ_t − θ_s: a rotation in the plane of x0 and ε, the same for any c.",
)


@solver(order=2, reference="Hairer, Nørsett & Wanner I, section III.5, on du/dθ = F (arXiv:2410.11081)", start=dpm_solver_2, starts=1)
@within(c="(0, inf)")
def trig_ab_2(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, c: float = 1.0, basis: Basis = "mixed"
) -> tuple[Array, Carry]:
    r"""u_t = u + w₀ F_s + w₁ F_r,  exact for F in span{cos θ, sin θ} (mixed) or span{1, θ} (polynomial)."""
    return _bashforth(2, denoise, x, s, t, carry, c, basis)


@solver(order=3, reference="Hairer, Nørsett & Wanner I, section III.5, on du/dθ = F (arXiv:2410.11081)", start=dpm_solver_2, starts=2)
@within(c="(0, inf)")
def trig_ab_3(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, c: float = 1.0, basis: Basis = "mixed"
) -> tuple[Array, Carry]:
    r"""u_t = u + Σ_{j<3} w_j F_j,  exact for F in span{1, cos θ, sin θ} (mixed) or span{1, θ, θ²} (polynomial)."""
    return _bashforth(3, denoise, x, s, t, carry, c, basis)


@solver(order=4, reference="Hairer, Nørsett & Wanner I, section III.5, on du/dθ = F (arXiv:2410.11081)", start=dpm_solver_3, starts=3)
@within(c="(0, inf)")
def trig_ab_4(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, c: float = 1.0, basis: Basis = "mixed"
) -> tuple[Array, Carry]:
    r"""u_t = u + Σ_{j<4} w_j F_j,  exact for F in span{1, θ, cos θ, sin θ} (mixed) or the cubics in θ (polynomial)."""
    return _bashforth(4, denoise, x, s, t, carry, c, basis)


@solver(order=2, reference=_PEC)
@within(c="(0, inf)")
def trig_abm_2(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, c: float = 1.0, basis: Basis = "mixed"
) -> tuple[Array, Carry]:
    r"""û = cos(h) u + sin(h) F̂_s,  F̂_t = F(û),  u_t = u + tan(h/2)(F̂_s + F̂_t) (mixed);  û = u + h F̂_s,  u_t = u + (h/2)(F̂_s + F̂_t)
    (polynomial).

    Returns:
        (x_t, the last slope (node, F_t)).
    """
    return _moulton(2, denoise, x, s, t, carry, c, basis)


@solver(order=3, reference=_PEC, start=dpm_solver_2, starts=2, published=_alone(3))
@within(c="(0, inf)")
def trig_abm_3(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, c: float = 1.0, basis: Basis = "mixed"
) -> tuple[Array, Carry]:
    r"""û = u + w₀ F̂_s + w₁ F̂_r,  F̂_t = F(û),  u_t = u + v₀ F̂_t + v₁ F̂_s + v₂ F̂_r."""
    return _moulton(3, denoise, x, s, t, carry, c, basis)


@solver(order=4, reference=_PEC, start=dpm_solver_3, starts=3, published=_alone(4))
@within(c="(0, inf)")
def trig_abm_4(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, c: float = 1.0, basis: Basis = "mixed"
) -> tuple[Array, Carry]:
    r"""û = u + Σ_{j<3} w_j F̂_j,  F̂_t = F(û),  u_t = u + v₀ F̂_t + Σ_{j<3} v_{j+1} F̂_j."""
    return _moulton(4, denoise, x, s, t, carry, c, basis)


@solver(order=5, reference=_PEC, start=rk4, starts=4, published=_alone(5))
@within(c="(0, inf)")
def trig_abm_5(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, c: float = 1.0, basis: Basis = "mixed"
) -> tuple[Array, Carry]:
    r"""û = u + Σ_{j<4} w_j F̂_j,  F̂_t = F(û),  u_t = u + v₀ F̂_t + Σ_{j<4} v_{j+1} F̂_j."""
    return _moulton(5, denoise, x, s, t, carry, c, basis)
