r"""The reverse SDE along geodesics: random walks of weak order 1 and 2.

The reverse SDE is dx = b dtau' + dB with b = score, from tau_s down to tau_t, h = tau_s - tau_t. The geodesic random walk

    x_t = exp_x(h b + sqrt(h) z),    z a unit normal of T_x,

(Jørgensen, Z. Wahrscheinlichkeitstheorie 32 (1975); De Bortoli et al., arXiv:2202.02763, Alg. 1) has weak order 1. With curvature its noise
is wrong at second order even without a drift: averaging the fourth-order term of f(exp_x(v)) gives

    E f(exp_x(sqrt(h) z)) = f + (h/2) Δf + (h²/8) Δ²f + (h²/12) div(Ric grad f) + O(h³),

where the heat semigroup has no term with the Ricci curvature Ric. Where Ric is parallel, as in a space of constant curvature, a symmetric
space or a product of them, the same term and the one that couples b and the noise, (h²/12) Ric(b, grad f), are undone together by the
factor 1 - h Ric/12. (Together the two are (h²/12) κ (Δf + b·grad f), a Langevin step, which leaves the law alone where b = grad log p:
without the factor the marginals still have order 2, transitions 1.) Hence a scheme of weak order 2 at the cost of Heun's method,

    y = exp_x(h b + sqrt(h) z),      x_t = exp_x((1 - h Ric/12)(h (b + Γ_{y→x} b_y)/2 + sqrt(h) z)).
"""

from __future__ import annotations

import math
from typing import Any

from scorebed.solvers.base import Space, solver
from scorebed.solvers.methods.riemannian import HOMOGENEOUS, MOVES, SMOOTH, Flat, carrying, go, moving, pull
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.schedule import Node
from scorebed.solvers.space.xp import dot, namespace


def clock(s: Node, t: Node) -> tuple[float, float]:
    """h/σ_s² = 1 − e^{−2 (λ_t − λ_s)} and sqrt(h), h = σ_s² − σ_t², free of cancellation."""
    gone = -math.expm1(-2.0 * (t.lam - s.lam))
    return gone, s.rho * math.sqrt(gone)


@solver(
    order=1,
    weak=1,
    reference="arXiv:2202.02763, Alg. 1; Jørgensen, Z. Wahrscheinlichkeitstheorie 32 (1975)",
    nonlinear=MOVES,
    spaces=SMOOTH,
)
@moving
def geodesic_euler_maruyama(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, space: Space = None
) -> tuple[Array, Any]:
    r"""x_t = exp_x(h b + sqrt(h) z),  h b = (h/σ_s²) P_x(D − x),  z a unit normal of T_x.  In a box the path is reflected."""
    gone, root = clock(s, t)
    return go(space, x, gone * pull(space, denoise, x, s) + root * space.noise(x, noise(s, t))), None


@solver(
    order=1,
    weak=1,
    reference="Jørgensen, Z. Wahrscheinlichkeitstheorie 32 (1975): isotropic steps of fixed length",
    nonlinear=MOVES,
    spaces=HOMOGENEOUS,
)
@moving
def geodesic_walk(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, space: Space = None) -> tuple[Array, Any]:
    r"""x_t = exp_x(h b + sqrt(h d) z/|z|),  z a normal of T_x, d its dimension.

    The noise has the covariance of a unit normal and a bounded length, so that no step of it passes the cut locus while h d < π² on a
    sphere. On the line it is the simple random walk.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    gone, root = clock(s, t)
    return go(space, x, gone * pull(space, denoise, x, s) + root * isotropic(space, x, noise(s, t))), None


def isotropic(space: Space, x: Array, z: Array) -> Array:
    """sqrt(d) ξ/|ξ| for ξ = noise(x, z), a direction of T_x times the root of its dimension d: the covariance of a unit normal."""
    xi, xp = space.noise(x, z), namespace(x)
    if isinstance(space, Flat):
        squared, dim = dot(xi, xi), x.shape[-1]
    else:
        lead = x.shape[: x.ndim - len(space.shape)]
        squared, dim = space.inner(x, xi, xi).reshape(*lead, *[1] * len(space.shape)), space.dim
    length = xp.sqrt(squared)
    return math.sqrt(dim) * (xi / xp.where(length > 0.0, length, xp.ones_like(length)))


@solver(
    order=2,
    weak=2,
    reference="stochastic Heun along geodesics with the Ricci factor above; on R^d Kloeden & Platen (1992), eq. 15.1.3",
    nonlinear=MOVES,
    spaces=SMOOTH,
)
@moving
def geodesic_heun_maruyama(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, space: Space = None
) -> tuple[Array, Any]:
    r"""y = exp_x(h b + √h z),  x_t = exp_x((1 − h Ric/12)(h (b + Γ_{y→x} b_y)/2 + √h z)),  b_y the score at (y, t)."""
    gone, root = clock(s, t)
    z = root * space.noise(x, noise(s, t))
    first = gone * pull(space, denoise, x, s)
    y, back = carrying(space, x, first + z)
    h_over_t = gone * math.exp(2.0 * (t.lam - s.lam))
    v = 0.5 * (first + back(h_over_t * pull(space, denoise, y, t))) + z
    return go(space, x, v - (root * root / 12.0) * space.ricci(x, v)), None


@solver(
    order=1,
    weak=1,
    reference="arXiv:2310.07216, eq. 9, with the exact drift and the variance of a Brownian bridge; DDPM on R^d",
    nonlinear=MOVES,
    spaces=SMOOTH,
)
@moving
def bridge_mixture(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, space: Space = None) -> tuple[Array, Any]:
    r"""x_t = exp_x((h/σ_s²) P_x(D − x) + sqrt(h σ_t²/σ_s²) z):  one step of the mixture of bridges.

    A Brownian motion of length σ_s² from x0, seen backwards from x, is the bridge dx = grad log p_τ(x | x0) dτ' + dB, and the mixture of
    the bridges over the x0 that belong to x has the drift E[grad log p_τ(x | x0) | x] = score. The variance of a bridge after h is
    h σ_t²/σ_s² on R^d; elsewhere to first order.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    gone, root = clock(s, t)
    spread = root * math.exp(s.lam - t.lam)
    return go(space, x, gone * pull(space, denoise, x, s) + spread * space.noise(x, noise(s, t))), None
