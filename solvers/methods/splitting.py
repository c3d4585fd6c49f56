r"""Strang splitting of the reverse SDE into its linear part, which is solved exactly, and the denoiser's part.

    dy = 2 y drho/rho + dW(rho²)   |   dy = -2 D drho/rho,        y = x/alpha, rho = sigma/alpha.

In z = y/rho² with the time u = 1/rho² (``stochastic_rk``) the linear part is a Brownian motion B of clock u, and the two are

    dz = dB, u at rest   |   dz = D(z, u) du.

u goes with the denoiser: z is u times the data in the mean, and a noise that moved u without moving z would not commute with shifts.
"""

from __future__ import annotations

import math
from typing import Any

from scorebed.solvers.base import solver
from scorebed.solvers.methods.stochastic_rk import at_u, kick, move
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.schedule import Node


@solver(order=2, weak=2, strong=1, reference="Strang, SIAM J. Numer. Anal. 5 (1968); Ornstein-Uhlenbeck part exact")
def strang(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""z₁ = z + ΔB₁,  z₂ = z₁ + Δu D(z₁ + ½ Δu D(z₁, u_s), u_m),  z_t = z₂ + ΔB₂,  ΔB₁ and ΔB₂ over the halves of Δu = u_t − u_s.

    The denoiser's part by the explicit midpoint rule, whose error is of the order of that of the splitting. D sees the noise of
    u_s and ΔB₁, more than u_s's by the factor sqrt((1 + e^{2h})/2): a method for short steps.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    m = at_u(s, t, 0.5)
    first, second = math.sqrt(0.5) * noise(s, m), math.sqrt(0.5) * noise(m, t)
    noisy = x + kick(first, s, s, t)
    middle = denoise(move(noisy, denoise(noisy, s), s, m), m)
    return move(noisy, middle, s, t) + kick(second, s, t, t), None
