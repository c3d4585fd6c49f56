r"""Gradients of the exact scores of ``gpu.GaussianMixture``, for Σ_k diagonal.

With p_k the posterior weights, W_k = 1/(alpha² Σ_k + sigma²), g_k = W_k (alpha mu_k - x) the score of a component, m_k = sigma² W_k mu_k +
A_k x its posterior mean, A_k = alpha Σ_k W_k, s = Σ p_k g_k and D = Σ p_k m_k, the Jacobians are symmetric, and

    dD/dx v = Σ p_k A_k v + Σ q_k m_k,      ds/dx v = Σ q_k g_k - Σ p_k W_k v,      q_k = p_k (g_k - s)·v,      Σ q_k = 0,

again matrix products over runs of components, here in float64.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from scorebed.gpu.mixture_parts import Diagonal, Isotropic
from scorebed.gpu.noise import widest
from scorebed.solvers.schedule import Node


class Differentiable(torch.autograd.Function):
    """``mixture._evaluate(x, node, kind)`` with its gradient in x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mixture: Any, node: Node, kind: str) -> Tensor:
        ctx.mixture, ctx.node, ctx.kind = mixture, node, kind
        ctx.save_for_backward(x)
        value: Tensor = mixture._evaluate(x, node, kind)
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, None, None, None]:
        (x,) = ctx.saved_tensors
        if ctx.kind == "log_prob":
            return ctx.mixture._evaluate(x, ctx.node, "score") * v[..., None], None, None, None
        return jacobian(ctx.mixture, x, ctx.node, ctx.kind, v), None, None, None


def check_differentiable(mixture: Any) -> None:
    """Refuse what has no gradient here, where it is asked for.

    Raises:
        ValueError: low-rank covariances.
    """
    if not isinstance(mixture.structure, Isotropic | Diagonal):
        kind = type(mixture.structure).__name__
        raise ValueError(f"x requires gradients, which a mixture with {kind} covariances does not carry: give x.detach()")


@torch.no_grad()
def jacobian(mixture: Any, x: Tensor, node: Node, kind: str, v: Tensor) -> Tensor:
    """The Jacobian of ``denoised`` or ``score`` at x times v, both (..., d)."""
    wide, d = widest(x.device), mixture.d
    states, directions = (a.reshape(-1, d).to(wide) for a in (x, v))
    out = torch.empty_like(states)
    rows = max(1, min(len(states), mixture.memory // (8 * 4 * max(d, 1024))))
    run = max(1, min(mixture.k, mixture.memory // (8 * (4 * rows + 5 * d))))
    for i in range(0, len(states), rows):
        out[i : i + rows] = _rows(mixture, states[i : i + rows], directions[i : i + rows], node, kind, run)
    return out.view(x.shape).to(x.dtype)


def _rows(mixture: Any, x: Tensor, v: Tensor, node: Node, kind: str, run: int) -> Tensor:
    alpha, sigma, d = node.alpha, node.sigma, mixture.d
    score = mixture._evaluate(x, node, "score")
    along = (score * v).sum(1, keepdim=True)
    parts = [slice(i, min(i + run, mixture.k)) for i in range(0, mixture.k, run)]
    total = torch.full_like(along, -math.inf)
    for part in parts:
        total = torch.logaddexp(total, _logs(mixture, x, node, part)[0].logsumexp(1, keepdim=True))
    own, moved, off = torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(along)
    mean = torch.zeros_like(x)
    for part in parts:
        logs, w, variance, weighted = _logs(mixture, x, node, part)
        w = w.expand(len(weighted), d)
        p = (logs - total).exp_()
        q = p * (alpha * (v @ weighted.T) - (x * v) @ w.T - along)
        pull, gain = (alpha, -w) if kind == "score" else (sigma * sigma, alpha * variance * w)
        own += (p @ gain) * v
        moved += pull * (q @ weighted) + (q @ gain) * x
        mean += pull * (p @ weighted) + (p @ gain) * x
        off += q.sum(1, keepdim=True)  # what the rounding of s leaves of Σ q_k = 0
    return own + moved - off * mean


def _logs(mixture: Any, x: Tensor, node: Node, part: slice) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-weights up to a constant (n, K), W and Σ (K, 1 or d), and W mu (K, d) of a run of components."""
    variance = mixture.structure.variance[part].to(x.dtype)
    variance = variance[:, None] if variance.ndim == 1 else variance
    means = mixture.means[part].to(x.dtype)
    c = node.alpha**2 * variance + node.sigma**2
    w = 1.0 / c
    weighted = w * means
    squares = (x * x) @ w.expand(len(means), mixture.d).T
    q = squares - 2.0 * node.alpha * (x @ weighted.T) + node.alpha**2 * (weighted * means).sum(1)
    logdet = c.log().expand(len(means), mixture.d).sum(1)
    return mixture._log_weights[part].to(x.dtype) - 0.5 * (logdet + q), w, variance, weighted
