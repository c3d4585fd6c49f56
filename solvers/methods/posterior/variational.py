r"""Variational: one point mu per observation, moved by gradients of the data term and of the model at random levels.

RED-Diff takes q = N(mu, 0) and the score-matching loss of q against the prior along the forward process,

    ∇ = A^T (A mu − y)·(1/v) + λ w(ρ) (ε̂(x_s) − ξ),   x_s = α mu + σ ξ,   ε̂ = (x_s − α D)/σ.

On N(m, S) the mean of ε̂ − ξ is α σ (α² S + σ²)^{-1} (mu − m): every level pulls mu to m, with its own spectrum. q is a point: no spread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from scorebed.solvers.inverse import Conditioned, Draws, sampler
from scorebed.solvers.model import Array
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import eps_of


@sampler(reference="arXiv:2305.04391, Alg. 1 and eq. 10", linear=False)
def red_diff(
    c: Conditioned,
    x: Array,
    nodes: Sequence[Node],
    noise: Draws,
    *,
    lam: float = 0.25,
    rate: float = 0.1,
    repeats: int = 10,
    optimiser: Literal["adam", "sgd"] = "adam",
) -> Array:
    r"""Gradient steps on mu at the nodes from noise to data, ``repeats`` at each, with w = ρ (1/SNR^{1/2}); Adam with betas 0.9, 0.99.

    mu starts at A^+ y, or for an A without one at D of the start.

    Returns:
        mu, (n, d), after the last gradient step.
    """
    mu = c.operator.pinv(c.y + 0.0 * c.operator(x)) if hasattr(c.operator, "pinv") else c.denoised(x, nodes[0])
    first, second, count = 0.0 * mu, 0.0 * mu, 0
    for s in nodes[:-1]:
        for _ in range(repeats):
            xi = noise.next()
            x = s.alpha * mu + s.sigma * xi
            slope = lam * s.rho * (eps_of(x, c.denoised(x, s), s) - xi) - c.operator.vjp(mu, c.residual(mu))
            if optimiser == "sgd":
                mu = mu - rate * slope
                continue
            count += 1
            first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope * slope
            root = ((1.0 / (1.0 - 0.99**count)) * second) ** 0.5
            mu = mu - (rate / (1.0 - 0.9**count)) * first / (root + 1e-8)
    return mu
