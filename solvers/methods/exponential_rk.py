r"""Exponential Runge-Kutta methods of stiff order 2, 3 and 4 (Hochbruck & Ostermann, SIAM J. Numer. Anal. 43 (2005) 1069).

In z = x/alpha and lam the probability-flow ODE is the semilinear equation dz/dlam = -z + D that these methods were made for. With
h = lam_t - lam_s, φ_k = φ_k(-h), φ_{k,i} = φ_k(-c_i h), a stage at lam_i = lam_s + c_i h and, as the last of them, the step itself are

    x_i = (sigma_i/sigma_s) x - alpha_i (e^{-c_i h} - 1) D_s + alpha_i h Σ_{j≥2} a_ij (D_j - D_s),

so that only the weights of the evaluations after the first are written below: a_i1 = c_i φ_{1,i} - Σ_{j≥2} a_ij is what the second term
leaves, and constant D is followed exactly. The singlestep DPM-Solver++ is of this kind: ``dpmpp_3s(r1=c)`` is ``exp_rk_3(c2=c, c3=2/3)``,
and ``dpmpp_2s`` has φ_1/2c_2 where ``exp_rk_2`` has φ_2/c_2, which keeps the classical order but not the stiff one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scorebed.solvers.base import solver
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.ranges import within
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import flow_by_denoised, phi
from scorebed.solvers.weights.tableau import plus

Row = tuple[float, Sequence[float]]
"""c_i and the weights a_i2, a_i3, … of a stage; the last row has c = 1 and the weights b_2, b_3, … of the step."""


def through(rows: Sequence[Row], denoise: Denoiser, x: Array, s: Node, t: Node) -> Array:
    """x_t by the stages ``rows``."""
    h, first = t.lam - s.lam, denoise(x, s)
    apart: list[Array] = []
    for c, weights in rows:
        node = s.toward(t, c)
        u = plus(flow_by_denoised(x, first, s, node), node.alpha * h, weights, apart)
        if len(apart) < len(rows) - 1:
            apart.append(denoise(u, node) - first)
    return u


def rows_2(h: float, c2: float) -> list[Row]:
    """b_2 = φ_2/c_2."""
    return [(c2, ()), (1.0, (phi(2, -h) / c2,))]


def rows_3(h: float, c2: float, c3: float) -> list[Row]:
    """a_32 = γ c_2 φ_{2,2} + (c_3²/c_2) φ_{2,3},  b_2 = γ b_3,  b_3 = φ_2/(γ c_2 + c_3),  with γ from 2 (γ c_2 + c_3) = 3 (γ c_2² + c_3²).

    Returns:
        three rows (c_i, weights) of the tableau, the last with c = 1.

    Raises:
        ValueError: c_2 = 2/3, where no γ serves unless c_3 = 2/3 too.
    """
    if 3.0 * c2 == 2.0:
        raise ValueError(f"exp_rk_3: c2 = {c2!r} leaves no weights of order 3: give another, e.g. 1/2")
    gamma = c3 * (3.0 * c3 - 2.0) / (c2 * (2.0 - 3.0 * c2))
    b3 = phi(2, -h) / (gamma * c2 + c3)
    a32 = gamma * c2 * phi(2, -c2 * h) + c3 * c3 / c2 * phi(2, -c3 * h)
    return [(c2, ()), (c3, (a32,)), (1.0, (gamma * b3, b3))]


def rows_4(h: float) -> list[Row]:
    """a_52 = a_53 = φ_{2,5}/2 − φ_3 + φ_2/4 − φ_{3,5}/2,  a_54 = φ_{2,5}/4 − a_52,  b_4 = 4 φ_3 − φ_2,  b_5 = 4 φ_2 − 8 φ_3."""
    p2, p3, half2, half3 = phi(2, -h), phi(3, -h), phi(2, -0.5 * h), phi(3, -0.5 * h)
    a52 = 0.5 * half2 - p3 + 0.25 * p2 - 0.5 * half3
    return [
        (0.5, ()),
        (0.5, (half2,)),
        (1.0, (p2, p2)),
        (0.5, (a52, a52, 0.25 * half2 - a52)),
        (1.0, (0.0, 0.0, 4.0 * p3 - p2, 4.0 * p2 - 8.0 * p3)),
    ]


def _simpson(h: float) -> tuple[float, float, float]:
    """b_2 = b_3 = 2 φ_2 − 4 φ_3,  b_4 = 4 φ_3 − φ_2: Simpson's rule with the kernel e^λ."""
    p2, p3 = phi(2, -h), phi(3, -h)
    return 2.0 * p2 - 4.0 * p3, 2.0 * p2 - 4.0 * p3, 4.0 * p3 - p2


@solver(order=2, reference="Hochbruck & Ostermann, SIAM J. Numer. Anal. 43 (2005), section 5, two stages")
@within(c2="(0, 1]")
def exp_rk_2(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, c2: float = 0.5) -> tuple[Array, Any]:
    r"""x_t = (σ_t/σ_s) x − α_t (e^{−h} − 1) D_s + α_t h (φ₂/c₂)(D₂ − D_s): D on the line through both evaluations.  c₂ = 1 is ETD2RK."""
    return through(rows_2(t.lam - s.lam, c2), denoise, x, s, t), None


@solver(order=3, reference="Hochbruck & Ostermann, SIAM J. Numer. Anal. 43 (2005), section 5, three stages")
@within(c2="(0, 1]", c3="(0, 1]")
def exp_rk_3(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, c2: float = 0.5, c3: float = 0.75
) -> tuple[Array, Any]:
    r"""x_t = (σ_t/σ_s) x − α_t (e^{−h} − 1) D_s + α_t h φ₂ (γ (D₂ − D_s) + (D₃ − D_s))/(γ c₂ + c₃),
    a₃₂ = γ c₂ φ_{2,2} + (c₃²/c₂) φ_{2,3},  γ = c₃ (3 c₃ − 2)/(c₂ (2 − 3 c₂)).

    As h → 0 the default becomes Ralston's method of order 3; c₂ = 1/2, c₃ = 1 becomes Kutta's.

    Returns:
        (x_t of the shape of x, None for no memory).

    Raises:
        ValueError: c3 equal to c2, or c2 = 2/3: no weights of order 3 exist.
    """
    if abs(c3 - c2) < 1e-6 or abs(c2 - 2.0 / 3.0) < 1e-6:
        raise ValueError(f"exp_rk_3: c2 = {c2!r}, c3 = {c3!r}: give c3 other than c2, and c2 other than 2/3")
    return through(rows_3(t.lam - s.lam, c2, c3), denoise, x, s, t), None


@solver(order=4, reference="Hochbruck & Ostermann, SIAM J. Numer. Anal. 43 (2005), section 5, five stages")
def exp_rk_4(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""x_t = (σ_t/σ_s) x − α_t (e^{−h} − 1) D_s + α_t h ((4 φ₃ − φ₂)(D₄ − D_s) + (4 φ₂ − 8 φ₃)(D₅ − D_s)),  c = (0, 1/2, 1/2, 1, 1/2).

    The stages are in ``rows_4``.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    return through(rows_4(t.lam - s.lam), denoise, x, s, t), None


@solver(order=4, reference="Cox & Matthews, J. Comput. Phys. 176 (2002), eqs. 26-29")
def etdrk_4(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""x_t = (σ_t/σ_s) x − α_t (e^{−h} − 1) D_s + α_t h ((2 φ₂ − 4 φ₃)(D₂ + D₃ − 2 D_s) + (4 φ₃ − φ₂)(D₄ − D_s)),  c = (0, 1/2, 1/2, 1),
    a₃₂ = φ_{1,3}/2,  a₄₃ = φ_{1,3}.  Of stiff order 2.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    h = t.lam - s.lam
    half = phi(1, -0.5 * h)
    rows = [(0.5, ()), (0.5, (0.5 * half,)), (1.0, (0.0, half)), (1.0, _simpson(h))]
    return through(rows, denoise, x, s, t), None


@solver(order=4, reference="Krogstad, J. Comput. Phys. 203 (2005), eq. 51")
def krogstad_4(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""``etdrk_4`` with a₃₂ = φ_{2,3} and a₄₃ = 2 φ₂: of stiff order 3, with one evaluation less than ``exp_rk_4``."""
    h = t.lam - s.lam
    rows = [(0.5, ()), (0.5, (phi(2, -0.5 * h),)), (1.0, (0.0, 2.0 * phi(2, -h))), (1.0, _simpson(h))]
    return through(rows, denoise, x, s, t), None
