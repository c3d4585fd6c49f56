r"""Samplers that go over the same noise levels again: predictor-corrector with Langevin (Song et al., arXiv:2011.13456) Restart
(Xu et al., arXiv:2306.14878), and denoising MCMC (Kim & Ye, arXiv:2209.14593).

They add moves that leave the marginal of a level as it is, to contract the errors made so far: Langevin steps at the new level, or noise
back up to the old one and the way down again. Their amount follows the length of the step, so that they have a limit at small steps: the
reverse SDE with more noise.

A Langevin step of length delta sigma² at level t is, for constant D, the Ornstein-Uhlenbeck process

    x' = alpha D + e^{-delta} (x - alpha D) + sigma sqrt(1 - e^{-2 delta}) xi,

of which the paper's x' = x + eps score + sqrt(2 eps) xi with eps = delta sigma² is the Euler step; only the exact one keeps a point mass.
On a Gaussian of variance m at that level it leaves

    m (1 - q (1 - q) (1 - e^{-delta})²),   q = sigma²/m,

so that a fixed delta has a bias that stays, and delta proportional to the step one of first order.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, Literal

from scorebed.solvers.base import solver
from scorebed.solvers.methods.stochastic_rk import move
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.ranges import within
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import diffuse_by_denoised, flow_by_denoised

_STEPS = 1000.0
"""Levels of the paper's VE sampler."""
_RANGE = math.log(50.0 / 0.01)
"""Their range in lam, for CIFAR-10."""


def langevin(x: Array, denoised: Array, xi: Array, node: Node, delta: float) -> Array:
    """x' = α D + e^{−δ} (x − α D) + σ sqrt(1 − e^{−2δ}) ξ."""
    mean = -node.alpha * math.expm1(-delta) * denoised
    return math.exp(-delta) * x + mean + node.sigma * math.sqrt(-math.expm1(-2.0 * delta)) * xi


@solver(order=1, weak=1, reference="arXiv:2011.13456, appendix G (Algs. 1-5), with one corrector step of exact noise")
@within(r="[0, inf)")
def pc_langevin(
    denoise: Denoiser,
    x: Array,
    s: Node,
    t: Node,
    carry: None,
    noise: Noise,
    *,
    r: float = 0.16,
    predictor: Literal["ancestral", "flow"] = "ancestral",
) -> tuple[Array, Any]:
    r"""u = predictor from s to t (DDPM, or DDIM for the flow),  x_t = α D + e^{−δ} (u − α D) + σ_t sqrt(1 − e^{−2δ}) ξ,  D = D(u, t),

    δ = 2 r² · 1000 h/ln(50/0.01). The paper's step size 2 r² (‖ξ‖/‖score‖)² is 2 r² σ² for every sample when the dimension is large; that
    is δ on its 1000 levels, and what the amount of Langevin per unit of λ is on any other grid.

    The two normals of a step are those of its halves in λ, as unit normals: the sampler follows no path and claims no strong order.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    i, h = s.toward(t, 0.5), t.lam - s.lam
    denoised = denoise(x, s)
    if predictor == "ancestral":
        u = diffuse_by_denoised(x, denoised, noise(s, i), s, t)
    else:
        u = flow_by_denoised(x, denoised, s, t)
    return langevin(u, denoise(u, t), noise(i, t), t, 2.0 * r * r * _STEPS * h / _RANGE), None


@solver(order=2, weak=2, strong=1, reference="arXiv:2306.14878, eqs. 3-4, every step a restart interval")
@within(K="integer [1, inf)", steps="integer [1, inf)")
def restart(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, K: int = 1, steps: int = 1) -> tuple[Array, Any]:
    r"""K times, after one way down from s to t by ``steps`` steps of Heun's method in ρ, equal in λ:
    y_s = y_t + sqrt(ρ_s² − ρ_t²) ξ, and the way down again.

    So a coarse grid gives the restart intervals and ``steps`` their resolution. Noise up and way down keep the marginals: weak order 2 from
    the true law. The limit of small steps is the reverse SDE with K times its noise; the K normals are those of parts of the step equal in
    ρ², whose noises at sqrt(K) times their size add up to the path's.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    stops = [s.toward(t, j / steps) for j in range(steps + 1)]
    marks = [_at_clock(s, t, j / K) for j in range(K + 1)]
    up = s.sigma * math.sqrt(-math.expm1(2.0 * (s.lam - t.lam)))
    x = _down(denoise, x, stops)
    for a, b in pairwise(marks):
        x = _down(denoise, (s.alpha / t.alpha) * x + up * noise(a, b), stops)
    return x, None


@solver(order=1, weak=1, reference="arXiv:2209.14593, Denoising Langevin Gibbs, between the states of two levels")
@within(K="integer [0, inf)", delta="[0, inf)")
def langevin_gibbs(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, K: int = 1, delta: float = 1.0
) -> tuple[Array, Any]:
    r"""A Gibbs sampler on the joint law of (x_s, x_t), K rounds after one draw of x_t given x_s:

    x_t | x_s:  u = M(D_s) + ς ξ,  x_t = M(D_u) + e^{−δ} (u − M(D_u)) + ς sqrt(1 − e^{−2δ}) ξ',  a DDPM draw and one Langevin step on it,
                M(D) = (σ_t/σ_s) e^{−h} x_s + α_t (1 − e^{−2h}) D,  ς = σ_t sqrt(1 − e^{−2h})
    x_s | x_t:  y_s = y_t + sqrt(ρ_s² − ρ_t²) ξ'', exact.

    The paper's Gibbs variable is the noise level; its law given x is no function of the denoiser (they train a classifier), and here the
    levels are the grid's. The 2 + 3K normals are those of equal parts of the step in λ, as unit normals: no path, no strong order.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    n = 2 + 3 * K
    stops = [s.toward(t, j / n) for j in range(n + 1)]
    xi = [noise(a, b) for a, b in pairwise(stops)]
    gone, keep = -math.expm1(2.0 * (s.lam - t.lam)), math.exp(-delta)
    spread, fresh = t.sigma * math.sqrt(gone), math.sqrt(-math.expm1(-2.0 * delta))
    for j in range(0, n, 3):
        u = move(x, denoise(x, s), s, t) + spread * xi[j]
        x_t = keep * u + (1.0 - keep) * move(x, denoise(u, t), s, t) + (spread * fresh) * xi[j + 1]
        if j + 2 < n:
            x = (s.alpha / t.alpha) * x_t + (s.sigma * math.sqrt(gone)) * xi[j + 2]
    return x_t, None


def _down(denoise: Denoiser, x: Array, stops: list[Node]) -> Array:
    """Heun's method in ρ: u + ½ (ρ_a/ρ_b − 1)(D_u − D) has no differences of nearly equal slopes."""
    for a, b in pairwise(stops):
        denoised = denoise(x, a)
        u = flow_by_denoised(x, denoised, a, b)
        x = u + (0.5 * b.alpha * math.expm1(b.lam - a.lam)) * (denoise(u, b) - denoised)
    return x


def _at_clock(s: Node, t: Node, c: float) -> Node:
    """The node at ρ_s² + c (ρ_t² − ρ_s²)."""
    h = t.lam - s.lam
    return s.toward(t, -0.5 * math.log1p(c * math.expm1(-2.0 * h)) / h if 0.0 < c < 1.0 and h else c)
