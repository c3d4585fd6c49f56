r"""Exponential methods on any linear process: a schedule, phase space, a bridge, a sequence.

    z_t = A z_s + ∫ K(t, τ) m(τ) dτ + C ξ

is the probability flow (η = 0, C = 0) or the reverse SDE with η of its noise, A, K and C the process's. An exponential method integrates K
exactly against a polynomial in the clock that goes through the predictions m made so far; with one of them it is DDIM. The weights are the
process's (``LinearProcess.weights``), so that the methods themselves know nothing of alpha and sigma. Source: Hochbruck & Ostermann, Acta
Numerica 19 (2010), sections 2.3 and 2.5; Zhang, Tao & Chen, arXiv:2206.05564 (gDDIM), for phase space.
"""

from __future__ import annotations

from typing import Any

from scorebed.solvers.base import Carry, solver
from scorebed.solvers.model import Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.process import LINEAR, Point
from scorebed.solvers.ranges import within
from scorebed.solvers.state import State, parts

_Known = tuple[tuple[Point, State], ...]


def through(x: State, known: _Known, s: Point, t: Point, eta: float = 0.0, xi: State | None = None) -> State:
    """A z_s + Σ_j W_j m_j + C ξ with the polynomial through the known predictions."""
    step = s.process.multistep([node for node, _ in known], s, t, eta)
    moved: State = step(x, tuple(part for _, m in known for part in parts(m)), xi)
    return moved


@solver(order=2, reference="Hochbruck & Ostermann (2010), eq. 2.48, in m and the clock", on=LINEAR)
def exp_adams_2(denoise: Denoiser, x: State, s: Point, t: Point, carry: Carry, noise: Noise) -> tuple[State, Carry]:
    r"""z_t = A z_s + W_0 m_s + W_1 m_r,  W_j = ∫ K ℓ_j, r the node before s. The first step is DDIM, whose local order suffices."""
    past = ((s, denoise(x, s)), *(carry or ()))
    return through(x, past, s, t), past[:1]


@solver(order=2, reference="Hochbruck & Ostermann (2010), eq. 2.40, in m and the clock", on=LINEAR[1:])
@within(r="(0, 1]")
def exp_line_2(denoise: Denoiser, x: State, s: Point, t: Point, carry: None, noise: Noise, *, r: float = 0.5) -> tuple[State, Any]:
    r"""u = A z_s + B m_s at c_i = c_s + r (c_t − c_s),  z_t = A z_s + W_0 m_s + W_1 m_i,  the line through both predictions: ``exp_rk_2``
    with matrices.

    Returns:
        (x_t like the state x, None for no memory).
    """
    i, m = s.toward(t, r), denoise(x, s)
    return through(x, ((s, m), (i, denoise(through(x, ((s, m),), s, i), i))), s, t), None


@solver(order=3, reference="Hochbruck & Ostermann (2010), eq. 5.8 with c = 1/3, 2/3, in m and the clock", on=LINEAR[1:])
def exp_line_3(denoise: Denoiser, x: State, s: Point, t: Point, carry: None, noise: Noise) -> tuple[State, Any]:
    r"""Stages at 1/3 by DDIM, at 2/3 by the line through m_s and the first; z_t by the line through m_s and the second, which of 0 and 2/3
    is exact for parabolas to the order of K.

    Returns:
        (x_t like the state x, None for no memory).
    """
    i, j, m = s.toward(t, 1.0 / 3.0), s.toward(t, 2.0 / 3.0), denoise(x, s)
    first = denoise(through(x, ((s, m),), s, i), i)
    second = denoise(through(x, ((s, m), (i, first)), s, j), j)
    return through(x, ((s, m), (j, second)), s, t), None


@solver(
    order=3,
    reference="Hochbruck & Ostermann (2010), eq. 2.48 with k = 3, in m and the clock",
    start=exp_line_2,
    starts=2,
    on=LINEAR[1:],
)
def exp_adams_3(denoise: Denoiser, x: State, s: Point, t: Point, carry: Carry, noise: Noise) -> tuple[State, Carry]:
    r"""z_t = A z_s + Σ_j W_j m_j through the last three predictions."""
    past = ((s, denoise(x, s)), *(carry or ()))
    return through(x, past, s, t), past[:2]


@solver(
    order=3,
    reference="arXiv:2206.05564, algorithm 1: predictor and corrector, with the prediction at the predicted state kept",
    start=exp_line_2,
    starts=1,
    on=LINEAR[1:],
)
def exp_pc_2(denoise: Denoiser, x: State, s: Point, t: Point, carry: Carry, noise: Noise) -> tuple[State, Carry]:
    r"""u = A z_s + W_0 m_s + W_1 m_r, then z_t = A z_s + W'_0 m(u, t) + W'_1 m_s + W'_2 m_r; m(u, t) is m_s of the next step."""
    known = carry if carry and carry[0][0] is s else ((s, denoise(x, s)), *(carry or ()))
    u = through(x, known[:2], s, t)
    ahead = ((t, denoise(u, t)), *known)
    return through(x, ahead[:3], s, t), ahead[:3]


@solver(order=1, weak=1, strong=1, reference="arXiv:2206.05564, eq. 22: gDDIM with any amount of noise", on=LINEAR[1:])
@within(eta="[0, inf)")
def gddim(denoise: Denoiser, x: State, s: Any, t: Any, carry: None, noise: Noise, *, eta: float = 0.5) -> tuple[State, Any]:
    r"""z_t = A z_s + B m_s + C ξ of the reverse SDE with η of its noise: DDIM at 0, DDPM at 1. On a schedule this is SDE-DPM-Solver++1."""
    return s.to(t, s.process.amount(s, eta))(x, denoise(x, s), noise(s, t)), None


@solver(order=2, weak=2, strong=1, reference="arXiv:2206.05564, eq. 45: stochastic gDDIM, multistep", on=LINEAR[1:])
@within(eta="[0, inf)")
def gddim_2(denoise: Denoiser, x: State, s: Any, t: Any, carry: Carry, noise: Noise, *, eta: float = 1.0) -> tuple[State, Carry]:
    r"""z_t = A z_s + W_0 m_s + W_1 m_r + C ξ of the reverse SDE with η of its noise; the first step is ``gddim``."""
    past = ((s, denoise(x, s)), *(carry or ()))
    return through(x, past, s, t, s.process.amount(s, eta), noise(s, t)), past[:1]
