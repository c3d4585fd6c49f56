r"""Runge-Kutta methods on the probability-flow ODE in x(t) itself (Song et al., arXiv:2011.13456, eq. 13).

    dx/dt = f x - g² score/2 = (f + g²/2σ²) x - (α g²/2σ²) D,      score = (α D - x)/σ²

A stage c lies at t_s + c (t_t - t_s). Everything is discretised here, the schedule too: a constant D is followed exactly only where alpha
and sigma are straight lines in t, as in rectified flow. That is the price against the same methods in rho (``edm.py``), and what it costs
can be measured. The same methods run unchanged on every linear process, whose flow is dz/dt = P z + Q m.
"""

from __future__ import annotations

from typing import Any

from scorebed.solvers.base import solver
from scorebed.solvers.model import Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.process import LINEAR
from scorebed.solvers.schedule import Node, Schedule
from scorebed.solvers.state import State
from scorebed.solvers.weights import tableau
from scorebed.solvers.weights.tableau import Tableau, plus, stages

DISCRETISED = "in x(t), where the schedule is discretised too"
"""Why a method does not follow a constant denoiser exactly."""


def schedule_of(node: Node) -> Schedule:
    """The schedule that made the node.

    Returns:
        the Schedule of the node.

    Raises:
        ValueError: the node carries none.
    """
    if node.schedule is None:
        raise ValueError(
            f"dx/dt needs f and g² of the schedule, but {node} has schedule=None: make the grid with solvers.grid or schedule.node(t)"
        )
    return node.schedule


def velocity(x: State, denoised: State, node: Any) -> State:
    """dx/dt = (f + g²/2σ²) x − (α g²/2σ²) D; on every linear process dz/dt = P z + Q m with the rates of its flow."""
    if not isinstance(node, Node):
        return node.process.rates(node, 0.0)(x, denoised)
    schedule = schedule_of(node)
    pull = 0.5 * schedule.g2(node.t) / node.sigma**2
    return (schedule.f(node.t) + pull) * x - (node.alpha * pull) * denoised


def at_time(s: Any, t: Any, c: float) -> Any:
    """The node at t_s + c (t_t − t_s)."""
    if c in (0.0, 1.0):
        return t if c else s
    return (schedule_of(s) if isinstance(s, Node) else s.process).node((1.0 - c) * s.t + c * t.t)


def in_time(coefficients: Tableau, denoise: Denoiser, x: State, s: Any, t: Any) -> State:
    """x_t = x + (t − s) Σ b_i v_i."""

    def slope(y: State, c: float) -> State:
        node = at_time(s, t, c)
        return velocity(y, denoise(y, node), node)

    h = t.t - s.t
    return plus(x, h, coefficients.b, stages(coefficients, slope, x, h))


@solver(order=1, reference="arXiv:2011.13456, eq. 13 by Euler's method", inexact=DISCRETISED, on=LINEAR)
def euler_t(denoise: Denoiser, x: State, s: Any, t: Any, carry: None, noise: Noise) -> tuple[State, Any]:
    r"""x_t = x + (t − s) v_s,  v = (f + g²/2σ²) x − (α g²/2σ²) D.  Equal to DDIM in rectified flow and EDM."""
    return in_time(tableau.EULER, denoise, x, s, t), None


@solver(order=2, reference="Hairer, Nørsett & Wanner I, section II.1, on arXiv:2011.13456, eq. 13", inexact=DISCRETISED, on=LINEAR)
def midpoint_t(denoise: Denoiser, x: State, s: Any, t: Any, carry: None, noise: Noise) -> tuple[State, Any]:
    r"""x_t = x + (t − s) v',  v' the velocity at (s + t)/2 on the tangent."""
    return in_time(tableau.MIDPOINT, denoise, x, s, t), None


@solver(order=2, reference="Hairer, Nørsett & Wanner I, section II.1, on arXiv:2011.13456, eq. 13", inexact=DISCRETISED, on=LINEAR)
def heun_t(denoise: Denoiser, x: State, s: Any, t: Any, carry: None, noise: Noise) -> tuple[State, Any]:
    r"""x_t = x + (t − s)(v + v')/2,  v' the velocity at the Euler point."""
    return in_time(tableau.HEUN, denoise, x, s, t), None


@solver(order=2, reference="Ralston, Math. Comp. 16 (1962), on arXiv:2011.13456, eq. 13", inexact=DISCRETISED, on=LINEAR)
def ralston_t(denoise: Denoiser, x: State, s: Any, t: Any, carry: None, noise: Noise) -> tuple[State, Any]:
    r"""x_t = x + (t − s)(v + 3 v')/4,  v' the velocity at two thirds of the step."""
    return in_time(tableau.RALSTON, denoise, x, s, t), None


@solver(
    order=3, reference="Kutta (1901); Hairer, Nørsett & Wanner I, section II.1, on arXiv:2011.13456, eq. 13", inexact=DISCRETISED, on=LINEAR
)
def kutta3_t(denoise: Denoiser, x: State, s: Any, t: Any, carry: None, noise: Noise) -> tuple[State, Any]:
    r"""x_t = x + (t − s)(v₁ + 4 v₂ + v₃)/6,  v₂ in the middle, v₃ at the end of x + (t − s)(2 v₂ − v₁)."""
    return in_time(tableau.KUTTA3, denoise, x, s, t), None


@solver(
    order=4, reference="Kutta (1901); Hairer, Nørsett & Wanner I, section II.1, on arXiv:2011.13456, eq. 13", inexact=DISCRETISED, on=LINEAR
)
def rk4_t(denoise: Denoiser, x: State, s: Any, t: Any, carry: None, noise: Noise) -> tuple[State, Any]:
    r"""x_t = x + (t − s)(v₁ + 2 v₂ + 2 v₃ + v₄)/6,  v₂ and v₃ in the middle, v₄ at the end."""
    return in_time(tableau.RK4, denoise, x, s, t), None
