r"""Exponential Adams methods on any linear process: a schedule, phase space, a bridge.

    z_t = A z_s + ∫ K(t, τ) m(τ) dτ

is the probability flow, A and K the process's. An exponential method integrates K exactly against a polynomial in the clock that goes
through the predictions m made so far; with one of them it is DDIM. The weights are the process's (``LinearProcess.weights``), so that the
method itself knows nothing of alpha and sigma. Source: Hochbruck & Ostermann, Acta Numerica 19 (2010), section 2.5; Zhang, Tao & Chen,
arXiv:2206.05564, for phase space.
"""

from __future__ import annotations

from scorebed.solvers.base import Carry, solver
from scorebed.solvers.model import Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.process import LINEAR, Point
from scorebed.solvers.state import State, parts


@solver(order=2, reference="Hochbruck & Ostermann (2010), eq. 2.48, in m and the clock", on=LINEAR)
def exp_adams_2(denoise: Denoiser, x: State, s: Point, t: Point, carry: Carry, noise: Noise) -> tuple[State, Carry]:
    r"""z_t = A z_s + W_0 m_s + W_1 m_r,  W_j = ∫ K ℓ_j, r the node before s. The first step is DDIM, whose local order suffices."""
    past = ((s, denoise(x, s)), *(carry or ()))
    step = s.process.multistep([node for node, _ in past], s, t)
    return step(x, tuple(part for _, m in past for part in parts(m))), past[:1]
