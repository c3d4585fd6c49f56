r"""RF-Solver: the second-order Taylor method on the velocity of the rectified flow (Wang et al., arXiv:2411.04746).

Every schedule is a rectified flow in the variables

    tau = sigma/(alpha + sigma) = rho/(1 + rho),    y = x/(alpha + sigma) = (1 - tau) x0 + tau eps,    dy/dtau = v = eps - D = (y - D)/tau,

and on the schedule of rectified flow, where alpha + sigma = 1, tau is t and y is x. Constant D is a straight line in y, followed exactly.
"""

from __future__ import annotations

import math
from typing import Any

from scorebed.solvers.base import solver
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.ranges import within
from scorebed.solvers.schedule import Node


def tau(node: Node) -> float:
    """τ = σ/(α + σ)."""
    return node.sigma / (node.alpha + node.sigma)


def at_tau(s: Node, t: Node, c: float) -> Node:
    """The node at τ_s + c (τ_t − τ_s): λ moves by log1p(−c ρ_s k) − log1p(c k),  k = (τ_t − τ_s)/τ_s = (e^{−h} − 1)/(1 + ρ_t)."""
    h = t.lam - s.lam
    k = math.expm1(-h) / (1.0 + t.rho)
    return s.toward(t, c if c in (0.0, 1.0) or not h else (math.log1p(-c * s.rho * k) - math.log1p(c * k)) / h)


@solver(order=2, reference="arXiv:2411.04746, Alg. 1")
@within(r="(0, 1]")
def rf_solver_2(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, r: float = 0.5) -> tuple[Array, Any]:
    r"""y_t = y + Δ v_s + (Δ²/2) v',  v' = (v(y + r Δ v_s, τ_s + r Δ) − v_s)/(r Δ),  Δ = τ_t − τ_s,  v = (y − D)/τ.

    At r = 1/2, where the authors' code evaluates, v_s cancels and what is left is the explicit midpoint rule in τ: ``midpoint_t`` on
    rectified flow. r = 1 is Heun's method. On Gaussians each coordinate of y is the square root of a parabola in
    τ, and on such functions the midpoint rule is of order 3, here as in ρ.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    i, delta = at_tau(s, t, r), tau(t) - tau(s)
    y = (1.0 / (s.alpha + s.sigma)) * x
    v = (1.0 / tau(s)) * (y - denoise(x, s))
    u = y + (r * delta) * v
    ahead = (1.0 / tau(i)) * (u - denoise((i.alpha + i.sigma) * u, i))
    return (t.alpha + t.sigma) * (y + delta * v + (0.5 * delta / r) * (ahead - v)), None


@solver(order=2, reference="arXiv:2412.07517, Alg. 1")
def fireflow(denoise: Denoiser, x: Array, s: Node, t: Node, carry: tuple[Array] | None, noise: Noise) -> tuple[Array, Any]:
    r"""y_i = y + (Δ/2) v̂,  y_t = y + Δ v(y_i, τ_s + Δ/2),  v̂ the v of the midpoint before, at first v_s.

    The midpoint rule at one evaluation a step: a velocity that is a step old moves y_i by O(Δ²), which costs no order.

    Returns:
        (x_t, (velocity at the midpoint,) for the next step).
    """
    i, delta = at_tau(s, t, 0.5), tau(t) - tau(s)
    y = (1.0 / (s.alpha + s.sigma)) * x
    v = (1.0 / tau(s)) * (y - denoise(x, s)) if carry is None else carry[0]
    u = y + (0.5 * delta) * v
    ahead = (1.0 / tau(i)) * (u - denoise((i.alpha + i.sigma) * u, i))
    return (t.alpha + t.sigma) * (y + delta * ahead), (ahead,)
