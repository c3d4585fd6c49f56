r"""Euler-Maruyama on the reverse SDE, plain and exponential (Song et al., arXiv:2011.13456; Chen et al., arXiv:2209.11215).

    dx = [f x - g² score] dt + g dW,    t running backwards,

has the marginals of the forward process. In y = x/alpha, with the clock tau = rho² of the noise, it is

    dy = alpha score dtau + dW(tau),    alpha score = -eps/rho = (D - y)/rho²,

and the linear part is gone. An exponential method freezes one of score, eps and D over the step and integrates the rest exactly; which one
it freezes is all that tells such methods apart. The noise is additive, so that Euler-Maruyama has strong order 1, and no method that sees
only increments of the path has more.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from scorebed.solvers.base import solver
from scorebed.solvers.methods.runge_kutta import DISCRETISED
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.process import LINEAR
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import eps_of

_POINTS, _WEIGHTS = (a.tolist() for a in np.polynomial.legendre.leggauss(32))


@solver(
    order=1,
    weak=1,
    strong=1,
    reference="arXiv:2011.13456, eq. 6 by Euler-Maruyama",
    inexact=DISCRETISED,
    on=LINEAR,
)
def euler_maruyama(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""x_t = x + (f x − g² ∇log p)(t − s) + g sqrt(s − t) ξ, with f, g² and ∇log p = −ε/σ at s; on every linear process
    z_t = z + (P z + Q m)(t − s) + G sqrt(s − t) ξ with the rates of its reverse SDE at s.

    Not exact on a point mass: the rates are frozen too.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    return s.process.euler(s, t)(x, denoise(x, s), noise(s, t)), None


@solver(
    order=1,
    weak=1,
    strong=1,
    reference="arXiv:2209.11215, exponential integrator (frozen score)",
    inexact="freezes the score, which the state moves",
)
def exp_euler_maruyama(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, frozen: Literal["score", "eps", "denoised"] = "score"
) -> tuple[Array, Any]:
    r"""y_t = y − c ρ_s ε + n ξ,  y = x/α:

    frozen score     c = (1 − e^{−2h}) ᾱ/α_s,  n = ρ_s sqrt(1 − e^{−2h}),  ᾱ the mean of α over the step in the clock ρ²
    frozen eps       c = 2 (1 − e^{−h}),       n = ρ_s sqrt(1 − e^{−2h})     SDE-DPM-Solver-1, SEEDS-1
    frozen denoised  c = 1 − e^{−2h},          n = ρ_t sqrt(1 − e^{−2h})     DDPM, SDE-DPM-Solver++1

    Exact on a point mass with the last only, for score and eps follow the noise of the path and D does not.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    h = t.lam - s.lam
    gone = -math.expm1(-2.0 * h)
    drift, spread = gone, s.rho * math.sqrt(gone)
    if frozen == "score":
        drift = gone * _mean_alpha(s, t) / s.alpha
    elif frozen == "eps":
        drift = -2.0 * math.expm1(-h)
    else:
        spread = t.rho * math.sqrt(gone)
    eps = eps_of(x, denoise(x, s), s)
    return (t.alpha / s.alpha) * x - (t.alpha * drift * s.rho) * eps + (t.alpha * spread) * noise(s, t), None


def _mean_alpha(s: Node, t: Node) -> float:
    """∫ α dρ² / ∫ dρ² over the step, by 32-point Gauss-Legendre quadrature in lam for both, so that it is exact where α is constant."""
    h = t.lam - s.lam
    clock = [w * math.exp(-(1.0 + p) * h) for p, w in zip(_POINTS, _WEIGHTS, strict=True)]
    alphas = [s.toward(t, 0.5 * (1.0 + p)).alpha for p in _POINTS]
    return math.fsum(w * a for w, a in zip(clock, alphas, strict=True)) / math.fsum(clock)
