r"""Reversible methods for the SDE: the construction of McCallum & Foster on the reverse SDE of data prediction (Rex, arXiv:2502.08834).

In z = u y, y = x/alpha, with the signal-to-noise ratio u = 1/rho² as the time, the reverse SDE is dz = D du + dB(u), with additive noise
(see ``stochastic_rk``). Of a one-step method with increment Psi_h(z; dB) the reversible one is

    z_t = zeta z + (1 - zeta) z^ + Psi_h(z^; dB),        z^_t = z^ - Psi_{-h}(z_t; -dB),        z^ = z at the start:

the step back takes the same Brownian increment with its sign turned. So the pair at the end and the noise of the way out determine where
they came from. ``keep`` and ``invert`` of ``solvers.methods.reversible`` run it out and back,

    end, carry = keep(rex_ddpm, denoise, x, grid, noise);      x, _ = invert(rex_ddpm, denoise, end, carry, grid, noise)

The difference of the pair shrinks by zeta in z on the way out; on the way back round-off in it grows in x by

    (alpha_N sigma_0²/alpha_0 sigma_N²) zeta^{-N},

of which all but the power of zeta is what the SDE itself amplifies backwards, as its drift contracts x by that factor for constant D.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from scorebed.solvers.base import Carry, Solver, remade, solver
from scorebed.solvers.methods.reversible import _AMPLIFICATION, _BACK, Back, _inverse_power
from scorebed.solvers.methods.stochastic_rk import move
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.ranges import within
from scorebed.solvers.schedule import Node

Step = Callable[[Denoiser, Array, Node, Node, Array], Array]
"""``step(denoise, x, s, t, kicked)``: x_t, with the noise of the step, in units of x_t, given; towards noise as well."""


def _kick(xi: Array, s: Node, t: Node, at: Node) -> Array:
    """ΔB = sqrt(u_t − u_s) ξ in units of x at ``at``: α ΔB/u, from the earlier s to the later t."""
    return at.sigma * math.exp(s.lam - at.lam) * math.sqrt(math.expm1(2.0 * (t.lam - s.lam))) * xi


def _euler(denoise: Denoiser, x: Array, s: Node, t: Node, kicked: Array) -> Array:
    """z_t = z + Δu D_s + ΔB: the step of ``ddpm``."""
    return move(x, denoise(x, s), s, t) + kicked


def _heun(denoise: Denoiser, x: Array, s: Node, t: Node, kicked: Array) -> Array:
    """z_t = z + Δu (D_s + D(z + Δu D_s + ΔB))/2 + ΔB: the step of ``stochastic_heun``."""
    denoised = denoise(x, s)
    ahead = denoise(move(x, denoised, s, t) + kicked, t)
    return move(x, 0.5 * denoised + 0.5 * ahead, s, t) + kicked


def _scale(s: Node, t: Node) -> float:
    """x_t/x_s at equal z: (σ_t²/α_t)/(σ_s²/α_s)."""
    return t.sigma / s.sigma * math.exp(s.lam - t.lam)


def _rex(name: str, advance: Step, order: int, *, register: bool) -> Solver:
    """The reversible method on ``advance``, with its inverse."""

    @within(zeta="(0, 1]")
    def step(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, zeta: float = 0.999) -> tuple[Array, Carry]:
        if s.lam == t.lam:
            return x, carry
        (hat,), xi, c = carry or (x,), noise(s, t), _scale(s, t)
        x_t = advance(denoise, hat, s, t, _kick(xi, s, t, t)) + (zeta * c) * (x - hat)
        return x_t, (x_t + c * (hat - advance(denoise, x_t, t, s, -1.0 * _kick(xi, s, t, s))),)

    def back_with(zeta: float) -> Back:
        def back(denoise: Denoiser, x: Array, r: Node | None, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
            xi, c = noise(s, t), _scale(s, t)
            hat = advance(denoise, x, t, s, -1.0 * _kick(xi, s, t, s)) + (1.0 / c) * (carry[0] - x)
            return hat + (1.0 / (zeta * c)) * (x - advance(denoise, hat, s, t, _kick(xi, s, t, t))), (hat,)

        return back

    def growth(nodes: Any, zeta: float) -> float:
        return _inverse_power(zeta, len(nodes) - 1) / _scale(nodes[0], nodes[-1])

    step.__name__ = f"rex_{name}"
    step.__doc__ = rf"""x_t = Φ_{{s→t}}(x̂; ΔB) + ζ c (x − x̂),  x̂_t = x_t + c (x̂ − Φ_{{t→s}}(x_t; −ΔB)),  c = (σ_t²/α_t)/(σ_s²/α_s),
    with Φ the step of ``{name}`` in z = αx/σ²; x̂ = x at the start."""
    made = solver(
        order=order,
        weak=order,
        strong=1,
        reference=f"arXiv:2502.08834, the SDE scheme, after McCallum & Foster, arXiv:2410.11648, on {name}",
        register=register,
    )(remade(step, _rex, name, advance, order, register=False))
    _BACK[step.__name__], _AMPLIFICATION[step.__name__] = back_with, growth
    return made


rex_stochastic_heun = _rex("stochastic_heun", _heun, 2, register=True)
rex_ddpm = _rex("ddpm", _euler, 1, register=False)
"""Not registered: as for every base of odd order the errors of the two halves nearly cancel, so that its order 1 shows at more than some
1/(1 − ζ) steps only."""
