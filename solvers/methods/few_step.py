r"""Few-step methods: models that say where the flow goes, or draw what it comes from (Song et al., arXiv:2303.01469, and others).

A consistency model f(x, s) is the endpoint of the probability flow from x at s, without noise; a flow map f(x, s, t) is where the flow is
at t; u(x, s, t) = (f(x, s, t) − x)/(t − s) is its average velocity; v(x, s) the velocity of straight paths between coupled ends; g(x, s, ξ)
a draw of p(x0 | x_s = x). None is a posterior mean: E[x0 | x] lies between the modes, the endpoint in one of them. With an exact model the
samples have the exact law after any number of steps, so what is left to a method is its noise. Models are marked by
``solvers.predicts("endpoint")``, ``("map")``, ``("average")``, ``("velocity")``, ``("draw")``.
"""

from __future__ import annotations

import math
from typing import Any

from scorebed.solvers.base import alias, solver
from scorebed.solvers.model import Array
from scorebed.solvers.noise import Noise
from scorebed.solvers.ranges import within
from scorebed.solvers.schedule import Node


@solver(order=1, weak=1, reference="arXiv:2303.01469, Alg. 1", takes="endpoint")
def multistep_consistency(denoise: Any, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""x_t = α_t f(x, s) + σ_t ξ.  Exact in law for any steps where f is: f(x, s) has the law of the data and ξ is fresh.
    A step of length zero draws its noise anew too.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    return t.alpha * denoise(x, s) + t.sigma * noise(s, t), None


@solver(order=1, reference="arXiv:2310.02279, Alg. 2 with gamma = 0", takes="map")
def flow_map(denoise: Any, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""x_t = f(x, s, t).  Exact on every path where f is."""
    return denoise(x, s, t), None


@solver(order=1, weak=1, reference="arXiv:2310.02279, Alg. 2", takes="map")
@within(gamma="(0, 1)")
def ctm(denoise: Any, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, gamma: float = 0.5) -> tuple[Array, Any]:
    r"""x_t = (α_t/α_r) f(x, s, r) + γ σ_t ξ, r the node with ρ_r = √(1 − γ²) ρ_t: past t, and back by noise.

    Exact in law for any γ and any steps where f is. γ = 0 is ``flow_map``, γ = 1 ``multistep_consistency``.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    r = t.at(t.lam - 0.5 * math.log1p(-gamma * gamma))
    return (t.alpha / r.alpha) * denoise(x, s, r) + gamma * t.sigma * noise(s, t), None


@solver(order=1, reference="arXiv:2505.13447, Alg. 2", takes="average")
def mean_flow(denoise: Any, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""x_t = x + (t − s) u(x, s, t).  Exact on every path where u is the average velocity, in the time of the nodes."""
    return x + (t.t - s.t) * denoise(x, s, t), None


alias("shortcut", mean_flow, reference="arXiv:2410.12557, Alg. 2", formula="x + d s_θ(x, t, d), d the length of the step.")


@solver(order=1, reference="arXiv:2209.03003, Alg. 1", takes="velocity")
def reflow(denoise: Any, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""x_t = x + (t − s) v(x, s).  Exact in any steps where v is constant along its paths, as after a reflow of exact pairs.

    v is dx/dt in the time of the nodes, of paths between coupled ends; a first rectification, whose paths are curved, is ``euler_t``.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    return x + (t.t - s.t) * denoise(x, s), None


@solver(order=1, weak=1, reference="arXiv:2112.07804, eq. 4, and 2305.19066, Alg. 1", takes="draw", nonlinear="its model draws")
def long_reverse(denoise: Any, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""x0 = g(x, s, ξ),  x_t = (σ_t/σ_s) e^{−h} x + α_t (1 − e^{−2h}) x0 + σ_t √(1 − e^{−2h}) ξ', h = lam_t − lam_s.

    A draw of p(x_t | x_s) for steps of any length, where g draws p(x0 | x_s): what a denoising GAN, or an inner sampler, stands for. With
    E[x0 | x_s] in the place of g it is ``ddpm``, which is right for short steps only.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    h, m = t.lam - s.lam, s.toward(t, 0.5)
    x0 = denoise(x, s, noise(s, m))
    spread = -math.expm1(-2.0 * h)
    return (t.sigma / s.sigma) * math.exp(-h) * x + t.alpha * spread * x0 + t.sigma * math.sqrt(spread) * noise(m, t), None
