r"""Decoupled: the estimate is made consistent with y by itself, and then noised to the next level.

ReSample solves for consistency at some levels and goes back to x_t by the product of two Gaussians; DAPS draws x0 from N(D_ode(x_t), w)
times the likelihood and noises it; PnP-DM and DPnP alternate an exact draw of the likelihood's half with one of the prior's, which is the
reverse SDE from the level whose noise the two halves share (split Gibbs). SDEdit only starts from y.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from scorebed.solvers.base import SOLVERS
from scorebed.solvers.inverse import Conditioned, Draws, sampler
from scorebed.solvers.model import Array
from scorebed.solvers.sample import sample
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import diffuse_by_denoised, flow_by_denoised


@sampler(reference="arXiv:2307.08123, Alg. 1 and Proposition 1")
def resample(c: Conditioned, x: Array, nodes: Sequence[Node], noise: Draws, *, gamma: float = 40.0, every: int = 2) -> Array:
    r"""x' = DDPM(x_s); at every ``every``-th step x̂ = argmin |y − A x0|² from D(x_s), which descent takes to D + A^+ (y − A D), and

    x_t ~ N((ς² α_t x̂ + σ_t² x')/(ς² + σ_t²), ς² σ_t²/(ς² + σ_t²)),   ς² = γ (σ_t²/α_s²)(1 − α_s²/α_t²).

    Returns:
        x0, (n, d): D at the last node, brought onto A x0 = y.
    """
    for i, (s, t) in enumerate(pairwise(nodes)):
        d = c.denoised(x, s)
        x = diffuse_by_denoised(x, d, noise.next(), s, t)
        xi = noise.next()
        if (i + 1) % every == 0:
            # for alpha = 1 the factor 1 − alpha_s²/alpha_t² is that of the noise, 1 − sigma_t²/sigma_s²
            share = 1.0 - (s.alpha / t.alpha) ** 2 if s.alpha < t.alpha else -math.expm1(2.0 * (s.lam - t.lam))
            own = gamma * (t.sigma / s.alpha) ** 2 * share
            x = product(t.alpha * (d + c.operator.pinv(c.residual(d))), x, own, t.sigma**2, xi)
    d = c.denoised(x, nodes[-1])
    return d + c.operator.pinv(c.residual(d))


def product(a: Array, b: Array, of_b: float, of_a: float, xi: Array) -> Array:
    """A draw of N((w_b a + w_a b)/(w_a + w_b), w_a w_b/(w_a + w_b)): the product of N(a, w_a) and N(b, w_b)."""
    total = of_a + of_b
    return (of_b / total) * a + (of_a / total) * b + math.sqrt(of_a * of_b / total) * xi


@sampler(reference="arXiv:2407.01521, Alg. 1", linear=False)
def daps(
    c: Conditioned, x: Array, nodes: Sequence[Node], noise: Draws, *, ode: int = 3, std: float = 0.0, langevin: int = 0, rate: float = 0.1
) -> Array:
    r"""x̂ = the flow from x_s to the last node, by ``ode`` steps of DDIM;  x0 ~ N(x̂, w I) N(y; A x0, r² I);  x_t = α_t x0 + σ_t ξ.

    w = ρ_s², the paper's choice, or with std = c > 0 the variance ρ²c²/(ρ² + c²) of data of that size. The draw of x0 is exact for a linear
    A; ``langevin`` > 0, or an A that is not linear, takes that many Langevin steps of ``rate`` times the smallest variance.

    Returns:
        x0, (n, d) draws at the last step.
    """
    for s, t in pairwise(nodes):
        d = flow_end(c, x, s, nodes[-1], ode)
        w = s.rho**2 * (std**2 / (std**2 + s.rho**2) if std > 0.0 else 1.0)
        if langevin or not hasattr(c.operator, "draw"):
            x0 = walk(c, d, w, langevin or 50, rate, noise)
        else:
            x0 = c.operator.draw(d, c.y, w, noise.next())
        x = t.alpha * x0 + t.sigma * noise.next()
    return x0


def flow_end(c: Conditioned, x: Array, s: Node, last: Node, steps: int) -> Array:
    """Where the flow ends from x at s: DDIM steps equal in lam, and the terminal evaluation."""
    if s.lam < last.lam:
        for i in range(steps - 1):
            t = s.toward(last, 1.0 / (steps - i))
            x, s = flow_by_denoised(x, c.denoised(x, s), s, t), t
    return c.denoised(x, s)


def walk(c: Conditioned, d: Array, w: float, steps: int, rate: float, noise: Draws) -> Array:
    """Langevin on −|z − d|²/2w − |y − A(z)|²/2r² from d."""
    r2, z = c.operator.variance, d
    h = rate / (1.0 / w + 1.0 / r2)
    for _ in range(steps):
        slope = (1.0 / w) * (d - z) + (1.0 / r2) * c.operator.vjp(z, c.residual(z))
        z = z + h * slope + math.sqrt(2.0 * h) * noise.next()
    return z


@sampler(reference="arXiv:2405.18782, Alg. 1", exact="every law, as the last level goes to 0 and the chain at it mixes")
def pnp_dm(
    c: Conditioned, x: Array, nodes: Sequence[Node], noise: Draws, *, inner: int = 4, rounds: int = 1, solver: str = "dpmpp_2m_sde"
) -> Array:
    r"""Split Gibbs, the level ρ annealed along the grid:  z ~ N(z; x, ρ² I) N(y; A z, r² I),   x ~ p(x) N(z; x, ρ² I),

    the second by the reverse SDE from α z at the node of ρ = σ/α, in ``inner`` steps. ``rounds`` at every level.

    Returns:
        x, (n, d) samples after the last round.
    """
    method, last = SOLVERS[solver], nodes[-1]
    x = c.denoised(x, nodes[0])
    for s in nodes[1:-1]:
        for _ in range(rounds):
            z = c.operator.draw(x, c.y, s.rho**2, noise.next())
            grid = [s, *(s.toward(last, i / inner) for i in range(1, inner)), last]
            x = sample(method, c.denoised, s.alpha * z, grid, noise=lambda a, b: noise.next())
    return x


@sampler(reference="arXiv:2403.17042, Algs. 1-2 (DDS-DDPM)", exact="every law, as the last level goes to 0 and the chain at it mixes")
def dpnp(c: Conditioned, x: Array, nodes: Sequence[Node], noise: Draws, *, inner: int = 8) -> Array:
    """The same alternation with DDPM as the denoising sampler."""
    return pnp_dm.run(c, x, nodes, noise, inner=inner, solver="ddpm")


@sampler(reference="arXiv:2108.01073, Alg. 1")
def sdedit(c: Conditioned, x: Array, nodes: Sequence[Node], noise: Draws, *, strength: float = 0.5) -> Array:
    r"""x_{t0} = α A^+ y + σ ξ at the level t0 that leaves the part ``strength`` of the grid, and DDPM from there."""
    begin = min(len(nodes) - 2, round((1.0 - strength) * (len(nodes) - 1)))
    s = nodes[begin]
    x = s.alpha * c.operator.pinv(c.y + 0.0 * c.operator(x)) + s.sigma * noise.next()
    return sample(SOLVERS["ddpm"], c.denoised, x, nodes[begin:], noise=noise)
