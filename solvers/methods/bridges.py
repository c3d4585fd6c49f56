r"""Samplers of bridges, x_t = a x0 + b x1 + γ ε with x1 known (``process.bridge``).

    ddbm_hybrid       a stretch of the reverse SDE, then Heun's method along the flow          arXiv:2309.16948
    dbim_1, _2, _3    exact steps with x0 a polynomial in log(a/γ), the first from the pin with noise, then none   arXiv:2405.15885
    dbmsolver_1, _2   the same with x0 a line in log(α/σ) of the diffusion that is pinned, at two evaluations   arXiv:2605.05889
    interpolant_sde   the flow and ε times the score, any ε                                     arXiv:2303.08797
    i2sb, bbdm        the posterior chain, which is DDPM here                                   arXiv:2302.05872, arXiv:2205.07680

Bridge Heun is ``heun_t``, and the first step of DBIM without noise is ``ddim``.
"""

from __future__ import annotations

import math
from typing import Any

from scorebed.solvers.base import Carry, alias, solver
from scorebed.solvers.methods.ancestral import ddpm
from scorebed.solvers.methods.exponential_adams import exp_line_2
from scorebed.solvers.methods.runge_kutta import DISCRETISED, at_time, heun_t
from scorebed.solvers.model import Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.process import Point
from scorebed.solvers.ranges import within
from scorebed.solvers.state import State, parts

_BRIDGE = ("bridge",)

i2sb = alias("i2sb", ddpm, reference="arXiv:2302.05872, algorithm 2", formula="x_t ~ q(x_t | x_s, x0 = D) of the bridge.", on=_BRIDGE)
bbdm = alias(
    "bbdm", ddpm, reference="arXiv:2205.07680, algorithm 2", formula="x_t ~ q(x_t | x_s, x0 = D, x1) of the Brownian bridge.", on=_BRIDGE
)


@solver(order=1, weak=1, strong=1, reference="arXiv:2309.16948, algorithm 1", inexact=DISCRETISED, on=("phase", "bridge", "sequence"))
@within(ratio="(0, 1)")
def ddbm_hybrid(denoise: Denoiser, x: State, s: Any, t: Any, carry: None, noise: Noise, *, ratio: float = 0.33) -> tuple[State, Any]:
    r"""Euler-Maruyama on the reverse SDE from s to i, t_i = t_s + ratio (t_t − t_s), then Heun's method on the flow from i to t."""
    i = at_time(s, t, ratio) if s.t != t.t else s
    u = s.process.euler(s, i)(x, denoise(x, s), noise(s, t))  # the path of the whole step, so that it is followed
    return heun_t.step(denoise, u, i, t, None, noise)


def level(node: Point) -> tuple[float, float]:
    """λ = log(a/γ) and dλ/dclock, the variable of DBIM."""
    a, _, q, da, _, dq = node.process.shares(node.t)
    return 0.5 * (math.log(a) - math.log(q)), -0.5 * node.process.t_max * (da / a - dq / q)


def _first(s: Any, t: Any) -> Any:
    """The first-order step where there is no other, for x0 has no share at s or x none at t: along the flow, or with noise from a pinned
    end, which has no flow. Else None.

    Returns:
        the Transfer of the first-order step, or None where there is another.
    """
    step = s.to(t, s.process.amount(s, 0.0))
    return None if s.process.shares(s.t).a and step.a[0][0] else step


def _dbim(k: int, denoise: Denoiser, x: State, s: Any, t: Any, carry: Carry, noise: Noise) -> tuple[State, Carry]:
    """A step through the last k predictions; from the pinned end, which has no flow, with noise and nothing kept."""
    m = denoise(x, s)
    if first := _first(s, t):
        return first(x, m, noise(s, t) if s.process.amount(s, 0.0) else None), None
    past = ((s, m), *(carry or ()))
    step = s.process.multistep([node for node, _ in past], s, t, 0.0, level)
    return step(x, tuple(part for _, m in past for part in parts(m))), past[: k - 1]


@solver(order=1, reference="arXiv:2405.15885, eq. 12 with the booting noise of section 3.4", on=_BRIDGE)
def dbim_1(denoise: Denoiser, x: State, s: Any, t: Any, carry: Carry, noise: Noise) -> tuple[State, Carry]:
    r"""x_t = (γ_t/γ_s) x + (a_t − (γ_t/γ_s) a_s) D + (b_t − (γ_t/γ_s) b_s) x1; from the pin x_t = a_t D + b_t x1 + γ_t ξ."""
    return _dbim(1, denoise, x, s, t, carry, noise)


@solver(order=2, reference="arXiv:2405.15885, algorithm 2", on=_BRIDGE)
def dbim_2(denoise: Denoiser, x: State, s: Any, t: Any, carry: Carry, noise: Noise) -> tuple[State, Carry]:
    r"""``dbim_1`` with D the line in λ = log(a/γ) through the last two predictions."""
    return _dbim(2, denoise, x, s, t, carry, noise)


@solver(order=3, reference="arXiv:2405.15885, algorithm 3", start=exp_line_2, starts=2, on=_BRIDGE)
def dbim_3(denoise: Denoiser, x: State, s: Any, t: Any, carry: Carry, noise: Noise) -> tuple[State, Carry]:
    r"""``dbim_1`` with D the parabola in λ = log(a/γ) through the last three predictions. Begins inside the bridge."""
    return _dbim(3, denoise, x, s, t, carry, noise)


def pinned_level(node: Point) -> tuple[float, float]:
    """λ = log(α/σ) and dλ/dclock of the diffusion that is pinned, the variable of DBMSolver: α²/σ² = d/q + its value at the end."""
    process = node.process
    q, ratio = process.shares(node.t).q, process.end_ratio(node.t)
    snr = process.decay(node.t)[0] / q + ratio
    return 0.5 * math.log(snr), 0.5 * process.t_max * process.noise_rate(node) / (q * q * snr)


dbmsolver_1 = alias(
    "dbmsolver_1",
    dbim_1,
    reference="arXiv:2605.05889, first-order solutions of SDE and ODE",
    formula="x_t = (α_t/α_s)(SNR_s/SNR_t)(u_t/u_s) x + α_t (1 − SNR_T/SNR_t)(1 − u_s/u_t) D + (α_t/α_T)(SNR_T/SNR_t)(1 − u_t/u_s) x1, "
    "u = sqrt(SNR/SNR_T − 1); from the pin by the exponential step of the reverse SDE.",
    on=_BRIDGE,
)


@solver(order=2, reference="arXiv:2605.05889, second-order solutions of SDE and ODE", on=_BRIDGE)
@within(r="(0, 1]")
def dbmsolver_2(denoise: Denoiser, x: State, s: Any, t: Any, carry: None, noise: Noise, *, r: float = 0.5) -> tuple[State, Any]:
    r"""u = ``dbmsolver_1`` to i, t_i = t_s + r (t_t − t_s), then D the line in λ = log(α/σ) through D_s and D_i: with h = λ_t − λ_s and
    w = sqrt(SNR/SNR_T − 1) that adds a_t (h − 1 + w_s/w_t + (arctan w_t − arctan w_s)/w_t) (D_i − D_s)/(λ_i − λ_s). From the pinned end
    the same for the reverse SDE, its noise that of one path.

    Returns:
        (x_t like the state x, None for no memory).
    """
    m, eta = denoise(x, s), s.process.amount(s, 0.0)
    if s.t == t.t or not s.to(t, eta).a[0][0]:
        return s.to(t, eta)(x, m, noise(s, t) if s.t != t.t and eta else None), None
    i = at_time(s, t, r)
    first, last, whole = s.to(i, eta), i.to(t, eta), s.process.multistep([s, i], s, t, eta, pinned_level)
    one = noise(s, i) if eta else None
    known = (*parts(m), *parts(denoise(first(x, m, one), i)))
    moved = whole._replace(c=((0.0,),))(x, known)
    if eta:  # of the pinned end, on one Brownian path
        moved = moved + (last.a[0][0] * first.c[0][0]) * one + last.c[0][0] * noise(i, t)
    return moved, None


@solver(order=1, weak=1, strong=1, reference="arXiv:2303.08797, eq. 2.33 by Euler-Maruyama", inexact=DISCRETISED, on=_BRIDGE)
@within(epsilon="[0, inf)")
def interpolant_sde(denoise: Denoiser, x: State, s: Any, t: Any, carry: None, noise: Noise, *, epsilon: float = 0.3) -> tuple[State, Any]:
    r"""x_t = x + (t − s) v − ε |t − s| ∇log p + sqrt(2 ε |t − s|) ξ backwards in t, v the velocity of the flow: η = 2ε/g² of the noise, the
    same at every time. From the pinned end, where only η = 1 is finite, that.

    Returns:
        (x_t like the state x, None for no memory).
    """
    eta = s.process.amount(s, 2.0 * epsilon / s.process.noise_rate(s))
    return s.process.euler(s, t, eta)(x, denoise(x, s), noise(s, t)), None
