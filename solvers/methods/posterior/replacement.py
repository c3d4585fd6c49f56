r"""Replacement: at every level what is known is put in place of what the model made, noised to that level.

    y_t = alpha_t y + sigma_t A ξ,     x_t <- x_t + A^+ (y_t − A x_t)          (for a mask: the known pixels overwritten)

The rest never hears of y but through the model, and only at its own level: the law is biased (for unit pairs of correlation r the mean of
the free one is alpha² r k a cycle, r k is right). RePaint goes over each level again and again; COW cycles between two levels; MCG adds a
gradient of DPS before the projection.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from scorebed.solvers.inverse import Conditioned, Draws, sampler
from scorebed.solvers.methods.posterior.ranges import renoise
from scorebed.solvers.model import Array
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import diffuse_by_denoised


def overwrite(c: Conditioned, x: Array, node: Node, xi: Array) -> Array:
    """x + A^+ (α y + σ A ξ − A x)."""
    return x + c.operator.pinv(node.alpha * c.y + node.sigma * c.operator(xi) - c.operator(x))


@sampler(reference="arXiv:2201.09865, Alg. 1", exact="a mask whose known and unknown parts are independent, as r → 0")
def repaint(c: Conditioned, x: Array, nodes: Sequence[Node], noise: Draws, *, resample: int = 10) -> Array:
    r"""U = ``resample`` times per step: x_t = DDPM(x_s), the known part overwritten by N(α_t y, σ_t²), and noise back up to s but for the
    last time.

    Returns:
        x0, (n, d): D at the last node, brought onto A x0 = y.
    """
    for s, t in pairwise(nodes):
        for again in range(resample):
            if again:
                x = renoise(x, t, s, noise.next())
            x = overwrite(c, diffuse_by_denoised(x, c.denoised(x, s), noise.next(), s, t), t, noise.next())
    d = c.denoised(x, nodes[-1])
    return d + c.operator.pinv(c.residual(d))


@sampler(reference="arXiv:2011.13456, appendix I.2 (replacement)", exact="a mask whose known and unknown parts are independent, as r → 0")
def replacement(c: Conditioned, x: Array, nodes: Sequence[Node], noise: Draws) -> Array:
    """One pass of ``repaint``."""
    return repaint.run(c, x, nodes, noise, resample=1)


@sampler(reference="arXiv:2306.08247, Alg. 1")
def cow(c: Conditioned, x: Array, nodes: Sequence[Node], noise: Draws, *, cycles: int = 10, high: float = 0.5, low: float = 0.75) -> Array:
    r"""Down to the level at the part ``high`` of the grid, then ``cycles`` times from there down to ``low`` and back up by noise, the known
    region overwritten at the top of each cycle; then down to the end.

    Returns:
        D at the last node, (n, d).
    """
    n = len(nodes) - 1
    top, bottom = round(high * n), min(n, max(round(low * n), round(high * n) + 1))
    x = overwrite(c, x, nodes[0], noise.next())
    for s, t in pairwise(nodes[: top + 1]):
        x = diffuse_by_denoised(x, c.denoised(x, s), noise.next(), s, t)
    for _ in range(cycles):
        x = overwrite(c, x, nodes[top], noise.next())
        for s, t in pairwise(nodes[top : bottom + 1]):
            x = diffuse_by_denoised(x, c.denoised(x, s), noise.next(), s, t)
        x = renoise(x, nodes[bottom], nodes[top], noise.next())
    x = overwrite(c, x, nodes[top], noise.next())
    for s, t in pairwise(nodes[top:]):
        x = diffuse_by_denoised(x, c.denoised(x, s), noise.next(), s, t)
    return c.denoised(x, nodes[-1])


@sampler(reference="arXiv:2206.00941, Alg. 1")
def mcg(c: Conditioned, x: Array, nodes: Sequence[Node], noise: Draws, *, zeta: float = 1.0) -> Array:
    r"""x' = DDPM(x_s),  x'' = x' − ζ/|y − A D| · ∇_{x_s} |y − A D|²,  x_t = x'' with the known part overwritten."""
    for s, t in pairwise(nodes):
        d = c.denoised(x, s)
        x = descend(c, x, d, diffuse_by_denoised(x, d, noise.next(), s, t), s, zeta)
        x = overwrite(c, x, t, noise.next())
    return c.denoised(x, nodes[-1])


@sampler(reference="arXiv:2209.14687, Alg. 1", linear=False)
def dps_step(c: Conditioned, x: Array, nodes: Sequence[Node], noise: Draws, *, zeta: float = 1.0) -> Array:
    r"""x_t = DDPM(x_s) − ζ/|y − A(D)| · ∇_{x_s} |y − A(D)|²: DPS with the step size of the paper, which knows neither r nor the step."""
    for s, t in pairwise(nodes):
        d = c.denoised(x, s)
        x = descend(c, x, d, diffuse_by_denoised(x, d, noise(s, t), s, t), s, zeta)
    return c.denoised(x, nodes[-1])


def descend(c: Conditioned, x: Array, d: Array, moved: Array, s: Node, zeta: float) -> Array:
    """moved − ζ ∇|e|²/|e|, ∇|e|² = −2 J^T A^T e."""
    e = c.residual(d)
    size = (e * e).sum(-1)[..., None] ** 0.5
    return moved + (2.0 * zeta) * c.vjp(x, s, c.operator.vjp(d, e)) / (size + (size == 0.0) * 1.0)
