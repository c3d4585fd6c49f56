r"""Stochastic Runge-Kutta methods on the reverse SDE in the variable of stochastic localisation (Rößler, SIAM J. Numer. Anal. 48, 2010).

With y = x/alpha, rho = sigma/alpha and the signal-to-noise ratio u = 1/rho² as the time, z = u y obeys

    dz = D du + dB(u),

for the reverse SDE dy = 2 (y - D) drho/rho + dW(rho²) has dB = dW/rho² of clock u. There is no linear part and the noise is additive with
a constant coefficient, where weak order 2 needs the increments and no more (Kloeden & Platen, section 14.2). All are exact for constant D,
and the order is that of the transitions too, not only of the law from the true start.
"""

from __future__ import annotations

import math
from typing import Any

from scorebed.solvers.base import solver
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import diffuse_by_denoised


def at_u(s: Node, t: Node, c: float) -> Node:
    """The node at u_s + c (u_t − u_s): λ moves by ½ log(1 + c (e^{2h} − 1)), h = λ_t − λ_s."""
    h = t.lam - s.lam
    return s.toward(t, 0.5 * math.log1p(c * math.expm1(2.0 * h)) / h if h else c)


def move(x: Array, denoised: Array, s: Node, i: Node) -> Array:
    """z_i = z + (u_i − u_s) D, as x_i = α_i (k y + (1 − k) D), k = u_s/u_i."""
    k = math.exp(2.0 * (s.lam - i.lam))
    return (k * i.alpha / s.alpha) * x - i.alpha * math.expm1(2.0 * (s.lam - i.lam)) * denoised


def kick(xi: Array, s: Node, i: Node, t: Node) -> Array:
    """sqrt(u_t − u_s) ξ, added to z_i, in units of x_i: α_i ξ sqrt(u_t − u_s)/u_i."""
    return i.sigma * math.exp(s.lam - i.lam) * math.sqrt(math.expm1(2.0 * (t.lam - s.lam))) * xi


@solver(order=2, weak=2, strong=1, reference="Kloeden & Platen (1992), section 15.1, for additive noise")
def stochastic_heun(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""ẑ = z + Δu D_s + ΔB,  z_t = z + Δu (D_s + D(ẑ))/2 + ΔB,  Δu = u_t − u_s, ΔB = sqrt(Δu) ξ.  In x

    x̂ = (σ_t/σ_s) e^{−h} x + α_t (1 − e^{−2h}) D_s + σ_t sqrt(1 − e^{−2h}) ξ,   x_t = x̂ + ½ α_t (1 − e^{−2h})(D(x̂, t) − D_s).

    For additive noise Platen's explicit scheme of weak order 2 is this one.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    denoised = denoise(x, s)
    u = diffuse_by_denoised(x, denoised, noise(s, t), s, t)
    return u - (0.5 * t.alpha * math.expm1(2.0 * (s.lam - t.lam))) * (denoise(u, t) - denoised), None


@solver(order=2, weak=2, strong=1, reference="Roessler, SIAM J. Numer. Anal. 48 (2010), SRA1, with an integral of the right law")
def srk_2(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""H = z + ¾ Δu D_s + (3/2) I/Δu at u_s + ¾ Δu,  z_t = z + Δu (D_s + 2 D(H))/3 + ΔB,  I = ∫ (B − B_s) du.

    SRA1 has strong order 1.5 with the I of the path, which increments do not tell. Here I = Δu (½ (ΔB₁ + ΔB₂) + (ΔB₁ − ΔB₂)/√12) with the
    increments of the two halves of Δu: of I's law jointly with ΔB, which is enough for weak order 2, and strong order 1. The mean of I
    given the increments has too small a variance, and D'' turns that into weak order 1, which no Gaussian target shows.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    i, m = at_u(s, t, 0.75), at_u(s, t, 0.5)
    half, root = math.sqrt(0.5), math.sqrt(3.0)
    b_1, b_2 = half * noise(s, m), half * noise(m, t)
    denoised = denoise(x, s)
    ahead = denoise(move(x, denoised, s, i) + kick(0.25 * ((3.0 + root) * b_1 + (3.0 - root) * b_2), s, i, t), i)
    return move(x, (1.0 / 3.0) * denoised + (2.0 / 3.0) * ahead, s, t) + kick(b_1 + b_2, s, t, t), None
