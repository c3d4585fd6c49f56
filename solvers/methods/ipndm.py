r"""PNDM and iPNDM: Adams-Bashforth on eps inside the DDIM transfer (Liu et al., arXiv:2202.09778; Zhang & Chen, arXiv:2204.13902).

The transfer moves y = x/alpha by (rho_t - rho_s) eps, so it is linear in rho, and the classical weights are right on equal steps of rho.
The papers take them on equal steps of t, which leaves the error (Δt³/12) ε' ρ'' in every step: order 2, however many evaluations are
combined (PNDM claims no more). Here the weights are those of the steps in rho as they are, of any spacing, and the order is the full one.
So iPNDM-(r+1) is rhoAB-DEIS-r, and differs from it in the start alone.
"""

from __future__ import annotations

from typing import Any

from scorebed.solvers.base import Carry, solver
from scorebed.solvers.exponential import eps_of, flow_by_eps
from scorebed.solvers.methods.deis import deis_rho_heun, deis_rho_kutta, deis_rho_rk4, remember
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.multistep import Past, mix, rho_weights
from scorebed.solvers.noise import Noise
from scorebed.solvers.schedule import Node


def _adams(past: Past, x: Array, s: Node, t: Node) -> Array:
    return flow_by_eps(x, mix(rho_weights([node for node, _ in past], s, t), past), s, t)


@solver(order=1, reference="arXiv:2204.13902, iPNDM with r = 0")
def ipndm_1(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""x_t = (α_t/α_s) x + α_t (ρ_t − ρ_s) ε_s.  Equal to DDIM."""
    return flow_by_eps(x, eps_of(x, denoise(x, s), s), s, t), None


@solver(order=2, reference="arXiv:2204.13902, iPNDM with r = 1, for any spacing", start=deis_rho_heun, starts=1)
def ipndm_2(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
    r"""x_t = (α_t/α_s) x + α_t (ρ_t − ρ_s) ε,  ε = (3 ε_s − ε_r)/2 on equal steps of ρ."""
    past = remember(denoise, x, s, carry)
    return _adams(past, x, s, t), past[:1]


@solver(order=3, reference="arXiv:2204.13902, iPNDM with r = 2, for any spacing", start=deis_rho_heun, starts=2)
def ipndm_3(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
    r"""x_t = (α_t/α_s) x + α_t (ρ_t − ρ_s) ε,  ε = (23 ε_s − 16 ε_r + 5 ε_q)/12 on equal steps of ρ."""
    past = remember(denoise, x, s, carry)
    return _adams(past, x, s, t), past[:2]


@solver(order=4, reference="arXiv:2204.13902, iPNDM with r = 3, for any spacing", start=deis_rho_kutta, starts=3)
def ipndm_4(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
    r"""x_t = (α_t/α_s) x + α_t (ρ_t − ρ_s) ε,  ε = (55 ε_s − 59 ε_r + 37 ε_q − 9 ε_p)/24 on equal steps of ρ."""
    past = remember(denoise, x, s, carry)
    return _adams(past, x, s, t), past[:3]


@solver(order=4, reference="arXiv:2202.09778, F-PNDM (eqs. 12-13), for any spacing", start=deis_rho_rk4, starts=3)
def pndm(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
    r"""``ipndm_4`` after three pseudo Runge-Kutta steps: the classical method of order 4 with the DDIM transfer, its middle stage at the
    middle of ρ. With the printed middle of t that start, like the multistep part, is of order 2."""
    past = remember(denoise, x, s, carry)
    return _adams(past, x, s, t), past[:3]
