r"""Range and null space: what A sees of x0 is taken from y, what it does not see from the model.

    DDNM      D̃ = D + A^+ (y − A D)                                       the part A^+ A x0 of the estimate replaced, without noise in y
    DiffPIR   D̃ = argmin |y − A z|²/r² + |z − D|²/(ρ²/λ)                   the same by a weight that knows the noise, ρ = σ/α
    DDRM, DDNM+ do it per singular direction of A, and count the noise of y among the noise of x_t.

In the coordinates of V, with ȳ = y's component over its singular value, the noise of ȳ is r/s; as long as the level rho_t is noisier, fresh
noise fills up to rho_t exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from scorebed.solvers.inverse import Conditioned, Draws, guide, sampler
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import diffuse_by_denoised, eps_of


@guide(reference="arXiv:2212.00490, eq. 13", exact="laws whose parts in the range and the null space of A^T are independent, as r → 0")
def ddnm(c: Conditioned, noise: Draws) -> Denoiser:
    r"""D̃ = A^+ y + (I − A^+ A) D."""

    def guided(x: Array, node: Node) -> Array:
        d = c.denoised(x, node)
        return d + c.operator.pinv(c.residual(d))

    return guided


@guide(reference="arXiv:2305.08995, eqs. 12-13; with zeta by solver='ddim_eta'", solver="ddim_eta")
def diffpir(c: Conditioned, noise: Draws, *, lam: float = 1.0) -> Denoiser:
    r"""D̃ = argmin |y − A z|²/r² + λ |z − D|²/ρ²; λ = 1 is the mean of N(D, ρ² I) given y."""

    def guided(x: Array, node: Node) -> Array:
        return c.operator.prox(c.denoised(x, node), c.y, node.rho**2 / lam)

    return guided


@sampler(reference="arXiv:2201.11793, eqs. 5-8", exact="")
def ddrm(c: Conditioned, x: Array, nodes: Sequence[Node], noise: Draws, *, eta: float = 0.85, eta_b: float = 1.0) -> Array:
    r"""In z = V^T x/α, with θ = V^T D and b = r/s:

    not seen:     θ + sqrt(1 − η²) ρ_t (z − θ)/ρ_s + η ρ_t ξ
    ρ_t < b:      θ + sqrt(1 − η²) ρ_t (ȳ − θ)/b + η ρ_t ξ
    ρ_t ≥ b:      (1 − η_b) θ + η_b ȳ + sqrt(ρ_t² − η_b² b²) ξ

    Returns:
        D at the last node, (n, d).
    """
    op, first = c.operator, nodes[0]
    bars = (c.y @ op.u) / op.s + 0.0 * (x @ op.v)
    levels = [math.sqrt(op.variance) / float(s) for s in op.s]
    z = x @ op.v
    x = x + (_columns(z, [_start(z[..., i], bars[..., i], first, b) for i, b in enumerate(levels)]) - z) @ op.v.T
    for s, t in pairwise(nodes):
        d, xi = c.denoised(x, s), noise(s, t)
        theta, fresh = d @ op.v, xi @ op.v
        free = d + math.sqrt(1.0 - eta**2) * t.rho * eps_of(x, d, s) + eta * t.rho * xi
        seen = [_seen(theta[..., i], bars[..., i], fresh[..., i], t.rho, b, eta, eta_b) for i, b in enumerate(levels)]
        x = t.alpha * (free + (_columns(theta, seen) - free @ op.v) @ op.v.T)
    return c.denoised(x, nodes[-1])


def _columns(z: Array, columns: Sequence[Any]) -> Array:
    """A copy of z with these columns."""
    out = 1.0 * z
    for i, column in enumerate(columns):
        out[..., i] = column
    return out


def _start(z: Array, bar: Array, node: Node, b: float) -> Array:
    """A direction that is seen through less noise than that of the first level begins at ȳ."""
    if node.rho <= b:
        return z
    return node.alpha * (bar + math.sqrt(node.rho**2 - b * b) / node.sigma * z)


def _seen(theta: Array, bar: Array, xi: Array, rho: float, b: float, eta: float, eta_b: float) -> Array:
    if rho < b:
        return theta + (math.sqrt(1.0 - eta**2) * rho / b) * (bar - theta) + eta * rho * xi
    return (1.0 - eta_b) * theta + eta_b * bar + math.sqrt(max(0.0, rho**2 - eta_b**2 * b * b)) * xi


@sampler(reference="arXiv:2212.00490, eqs. 17-19 and appendix I, with time travel (Alg. 2)")
def ddnm_plus(c: Conditioned, x: Array, nodes: Sequence[Node], noise: Draws, *, travel: int = 1, length: int = 1) -> Array:
    r"""x_t = a D̃ + b x_s + Φ ξ with D̃ = D + V λ V^T A^+ (y − A D) and DDPM's a, b and variance ς²; per singular value, with n = a r/s,

    λ = 1, Φ² = ς² − n²   where n ≤ ς,      λ = ς/n, Φ² = 0   elsewhere,

    so that noise of y and fresh noise together have the variance ς² of the step. ``travel``: every block of ``length`` steps is gone
    through so many times, with noise back up in between.

    Returns:
        D at the last node, (n, d), brought onto y where y has no noise.
    """
    steps = list(pairwise(nodes))
    for begin in range(0, len(steps), length):
        block = steps[begin : begin + length]
        for again in range(travel):
            if again:
                x = renoise(x, block[-1][1], block[0][0], noise.next())
            for s, t in block:
                x = _ddnm_step(c, x, s, t, noise.next())
    d = c.denoised(x, nodes[-1])
    return d + c.operator.pinv(c.residual(d)) if c.operator.variance < 1e-8 else d


def _ddnm_step(c: Conditioned, x: Array, s: Node, t: Node, xi: Array) -> Array:
    op, h = c.operator, t.lam - s.lam
    a, spread = -t.alpha * math.expm1(-2.0 * h), t.sigma * math.sqrt(-math.expm1(-2.0 * h))
    d = c.denoised(x, s)
    pulled = (c.residual(d) @ op.u) / op.s
    ratios = [a * math.sqrt(op.variance) / (float(s_i) * spread) for s_i in op.s]  # n/ς
    pulled = _columns(pulled, [min(1.0, 1.0 / q) * pulled[..., i] for i, q in enumerate(ratios)])
    fresh = xi @ op.v
    kept = _columns(fresh, [math.sqrt(max(0.0, 1.0 - q * q)) * fresh[..., i] for i, q in enumerate(ratios)])
    return diffuse_by_denoised(x, d + pulled @ op.v.T, xi + (kept - fresh) @ op.v.T, s, t)


def renoise(x: Array, t: Node, s: Node, xi: Array) -> Array:
    """x_s given x_t under the forward process, from the cleaner node t up to the noisier s."""
    return (s.alpha / t.alpha) * x + s.sigma * math.sqrt(-math.expm1(2.0 * (s.lam - t.lam))) * xi
