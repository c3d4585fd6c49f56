r"""Few-step methods: models that say where the flow goes (Song et al., arXiv:2303.01469; Kim et al., arXiv:2310.02279).

A consistency model f(x, s) is the endpoint of the probability flow from x at s, without noise; a flow map f(x, s, t) is where the flow is
at t. Neither is a posterior mean: E[x0 | x] lies between the modes, the endpoint in one of them. With an exact map the samples have the
exact law after any number of steps, so what is left to a method is its noise. Maps are marked by ``solvers.predicts("endpoint")`` or
``("map")``.
"""

from __future__ import annotations

from typing import Any

from scorebed.solvers.base import solver
from scorebed.solvers.model import Array
from scorebed.solvers.noise import Noise
from scorebed.solvers.schedule import Node


@solver(order=1, weak=1, reference="arXiv:2303.01469, Alg. 1", takes="endpoint")
def multistep_consistency(denoise: Any, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""x_t = α_t f(x, s) + σ_t ξ.  Exact in law for any steps where f is: f(x, s) has the law of the data and ξ is fresh.
    A step of length zero draws its noise anew too."""
    return t.alpha * denoise(x, s) + t.sigma * noise(s, t), None


@solver(order=1, reference="arXiv:2310.02279, Alg. 2 with gamma = 0", takes="map")
def flow_map(denoise: Any, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
    r"""x_t = f(x, s, t).  Exact on every path where f is."""
    return denoise(x, s, t), None
