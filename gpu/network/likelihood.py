r"""log p of data under a real network: its probability flow run from data to noise by any deterministic method, the trace by probes.

    found = log_prob(network.denoise, x, nodes[::-1], probes=4, seed=0)
    found.log_prob, found.error        # nats, and the standard error that the probes leave, per datum
    found.bits(levels=256, span=2.0)   # bits per dimension

The solver's Plan is walked with reverse-mode products v·∂D/∂x at its evaluations, and its own quadrature weights sum them
(``analytic.output.density``). Probes are kept along the run, so that an estimate for one probe is the integral of one vector field;
with several, their scatter is the error that is told. Nothing is added for dequantisation: give x
as the network was trained on, with or without.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scorebed.analytic.output.density import quadrature_weights
from scorebed.analytic.output.likelihood import bits_per_dimension
from scorebed.solvers import SOLVERS
from scorebed.solvers.base import Solver
from scorebed.solvers.plan.tape import trace
from scorebed.solvers.schedule import Node


@dataclass(frozen=True)
class LogProb:
    """log p of a batch.

    Attributes:
        log_prob: nats, (n,), float64: the mean over probes.
        error: the standard error of that mean, (n,); 0 for exact traces, nan for one probe.
        end: the states at the noise end, as ``x``.
        prior: log N(end; 0, sigma² I), (n,).
        volume: log|det| of the flow, (n,).
        nfe: evaluations of the network, and as many backward passes for each probe.
        d: numbers in a datum.
    """

    log_prob: Tensor
    error: Tensor
    end: Tensor
    prior: Tensor
    volume: Tensor
    nfe: int
    d: int

    def bits(self, levels: float = 256.0, span: float = 2.0) -> Tensor:
        """Bits per dimension for data of so many levels on an interval of this length, as ``bits_per_dimension`` has it."""
        return torch.as_tensor(bits_per_dimension(self.log_prob.cpu().numpy(), self.d, levels, span))


def log_prob(
    denoise: Callable[[Any, Node], Any],
    x: Tensor,
    nodes: Sequence[Node],
    *,
    solver: Solver | str = "heun",
    probes: int = 1,
    exact: bool = False,
    seed: int = 0,
) -> LogProb:
    """log p(x) under the flow of a network.

    Args:
        denoise: (x, node) -> E[x0 | x], differentiable in x (``wrap(..., grad=True)``).
        x: data at nodes[0], (n, ...).
        nodes: from data to noise; the prior at nodes[-1] is N(0, sigma² I).
        solver: a deterministic method with a Plan, or its name.
        probes: Hutchinson's vectors of signs.
        exact: the whole trace in place of probes, d backward passes for each evaluation.
        seed: of the probes, drawn on the CPU: the same on every device.

    Returns:
        ``LogProb``.

    Raises:
        ValueError: nodes that run from noise to data, no probe, a stochastic method, or a denoiser that keeps no graph.
    """
    if nodes[0].lam < nodes[-1].lam:
        raise ValueError("nodes run from noise to data: a likelihood runs from the data to the noise, so reverse them")
    if probes < 1:
        raise ValueError(f"probes = {probes}: give at least 1, or exact=True")
    method = SOLVERS[solver] if isinstance(solver, str) else solver
    plan = trace(method, list(nodes))
    weights = quadrature_weights(plan).tolist()
    n, d = len(x), math.prod(x.shape[1:])
    if exact:
        vectors = torch.eye(d, dtype=x.dtype, device=x.device).reshape(d, 1, *x.shape[1:]).expand(d, *x.shape)
    else:
        drawn = torch.randint(0, 2, (probes, *x.shape), generator=torch.Generator().manual_seed(seed))
        vectors = (2 * drawn - 1).to(x)
    sums = torch.zeros(len(vectors), n, dtype=torch.float64, device=x.device)
    remaining = iter(weights)

    def evaluate(z: Tensor, node: Node) -> Tensor:
        w = next(remaining)
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            out = denoise(z, node)
            if not out.requires_grad:
                raise ValueError("denoise keeps no graph, so that it has no divergence: wrap the network with grad=True")
            for i, v in enumerate(vectors):
                (product,) = torch.autograd.grad(out, z, v, retain_graph=i + 1 < len(vectors))
                sums[i] += w * (product.double() * v.double()).reshape(n, -1).sum(1)
        return out.detach()

    def total(terms: list[tuple[float, Tensor]]) -> Tensor:
        return sum((c * value for c, value in terms), torch.zeros_like(x))

    def draw(s: Node, t: Node) -> Tensor:
        raise ValueError(f"{method.name} draws noise")

    with torch.no_grad():
        end = plan.fold(x, evaluate, draw, total)
    first, last = nodes[0], nodes[-1]
    base = d * math.log(last.sigma / first.sigma)
    volume = base + (sums.sum(0) if exact else sums.mean(0))
    flat = end.double().reshape(n, -1)
    prior = -0.5 * (flat * flat).sum(1) / last.sigma**2 - 0.5 * d * math.log(2.0 * math.pi * last.sigma**2)
    error = torch.zeros(n, dtype=torch.float64) if exact else sums.std(0) / math.sqrt(probes) if probes > 1 else sums[0] * math.nan
    return LogProb(prior + volume, error.to(prior), end, prior, volume, plan.nfe, d)
