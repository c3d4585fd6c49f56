r"""Models made of several: conjunction and negation, products, unions, routers, regions, bands, thresholds, rewards, reflection.

Each is a model again and runs with every solver. Exact are ``union`` of exact models with exact log-densities, ``routed`` by the exact
P(k | x_t), ``steered`` by the gradient of the exact value function. The noised product of densities is not the product of the noised ones,
so that ``composed`` and ``product`` are biased at t > 0 (``analytic.gaussian.tilt`` has the laws that are meant).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.solvers.guide import by_row
from scorebed.solvers.model import Array, Denoiser, predicts
from scorebed.solvers.weights.exponential import flow_by_denoised

Weigh = Callable[[Array, Any], Any]
"""(x, node) -> one number for each sample and model, (n, K)."""
Gradient = Callable[[Array, Any], Array]


def composed(null: Denoiser, parts: Sequence[tuple[float, Denoiser]]) -> Denoiser:
    """D = D_null + Σ w_i (D_i − D_null): conjunction, and negation where w_i < 0 (arXiv:2206.01714); a negative prompt is one."""

    @predicts("denoised")
    def model(x: Array, node: Any) -> Array:
        base = null(x, node)
        return sum((w * (one(x, node) - base) for w, one in parts), base)

    return model


def product(models: Sequence[Denoiser], powers: Sequence[float]) -> Denoiser:
    """The field Σ a_i ∇ log p_{i,t}: D = Σ a_i D_i + (1 − Σ a_i) x/α."""
    rest = 1.0 - float(sum(powers))

    @predicts("denoised")
    def model(x: Array, node: Any) -> Array:
        return sum((a * one(x, node) for a, one in zip(powers, models, strict=True)), (rest / node.alpha) * x)

    return model


def routed(models: Sequence[Denoiser], weigh: Weigh, top: int | None = None) -> Denoiser:
    """D = Σ_k w_k(x) D_k with the weights of a router, which add up to 1 (arXiv:2501.05450); ``top``: the largest only, scaled up to 1.

    Returns:
        the Denoiser Σ_k w_k D_k.

    Raises:
        ValueError: weights of another shape.
    """

    @predicts("denoised")
    def model(x: Array, node: Any) -> Array:
        w = weigh(x, node)
        if tuple(w.shape) != (x.shape[0], len(models)):
            raise ValueError(f"the router gave shape {tuple(w.shape)} for {x.shape[0]} samples and {len(models)} models")
        if top is not None:
            plain = np.asarray(w)
            kept = np.where(plain >= np.sort(plain, axis=1)[:, [-top]], plain, 0.0)
            w = kept / kept.sum(1, keepdims=True)
        return sum((by_row(w[:, k], x) * one(x, node) for k, one in enumerate(models)), 0.0 * x)

    return model


def union(models: Sequence[Denoiser], log_probs: Sequence[Weigh], weights: Sequence[float]) -> Denoiser:
    """The model of Σ w_i p_i, D = Σ γ_i D_i with γ_i ∝ w_i p_{i,t}(x): OR, and data in shards (arXiv:2308.01937). Exact at every t."""

    def weigh(x: Array, node: Any) -> Any:
        logs = np.stack([np.asarray(log(x, node)) for log in log_probs], 1) + np.log(np.asarray(weights, float))
        w = np.exp(logs - logs.max(1, keepdims=True))
        return w / w.sum(1, keepdims=True)

    return routed(models, weigh)


def regions(models: Sequence[Denoiser], masks: Sequence[Array]) -> Denoiser:
    """D = Σ m_i ⊙ D_i with masks that add up to 1 over the entries: exact where the regions are independent."""

    @predicts("denoised")
    def model(x: Array, node: Any) -> Array:
        return sum((mask * one(x, node) for mask, one in zip(masks, models, strict=True)), 0.0 * x)

    return model


def banded(given: Denoiser, null: Denoiser, low: float, high: float, low_pass: Callable[[Array], Array]) -> Denoiser:
    """D = D_null + low L Δ + high (Δ − L Δ), Δ = D_given − D_null: a scale for each band (arXiv:2504.02154); low = high is CFG."""

    @predicts("denoised")
    def model(x: Array, node: Any) -> Array:
        base = null(x, node)
        gap = given(x, node) - base
        return base + high * gap + (low - high) * low_pass(gap)

    return model


def low_pass(d: int, cutoff: int) -> np.ndarray:
    """The real projection (d, d) on the Fourier modes with |frequency| ≤ cutoff; ``lambda gap: gap @ low_pass(d, k)`` is a filter."""
    keep = (np.abs(np.fft.fftfreq(d, 1.0 / d)) <= cutoff).astype(float)
    return np.asarray(np.fft.ifft(np.fft.fft(np.eye(d), axis=1) * keep, axis=1).real)


def thresholded(model: Denoiser, percentile: float = 0.995, least: float = 1.0) -> Denoiser:
    """Dynamic thresholding (arXiv:2205.11487, §2.3): each sample's D clipped to [−s, s], over s/least, s = max(least, quantile |D|)."""

    @predicts("denoised")
    def clipped(x: Array, node: Any) -> Array:
        d = model(x, node)
        size = abs(d).reshape(d.shape[0], -1)
        at = size.quantile(percentile, 1) if hasattr(size, "quantile") else np.quantile(size, percentile, axis=1)
        s = by_row(at.clip(least, None), d)
        return least * (d / s).clip(-1.0, 1.0)

    return clipped


def steered(model: Denoiser, gradient: Gradient, scale: float = 1.0) -> Denoiser:
    """D + scale (σ²/α) ∇, ∇ the gradient in x_t of log p(c | x_t) (classifier guidance, arXiv:2105.05233) or of a value function; exact for
    the gradient of log E[e^r | x_t].

    Returns:
        the Denoiser D + scale (σ²/α) ∇.
    """

    @predicts("denoised")
    def moved(x: Array, node: Any) -> Array:
        return model(x, node) + (scale * node.sigma**2 / node.alpha) * gradient(x, node)

    return moved


def rewarded(model: Any, slope: Callable[[Array], Array], scale: float = 1.0) -> Denoiser:
    """``steered`` by the posterior-mean value r(D(x_t)), whose gradient is J^T ∇r(D): Jensen's gap is left out (as DPS does).

    Args:
        model: with ``vjp(x, node, v)``.
        slope: ∇r at x0.
        scale: of the reward.

    Returns:
        the Denoiser steered by scale J^T ∇r(D).
    """
    return steered(model, lambda x, node: model.vjp(x, node, slope(model(x, node))), scale)


def reflected(strong: Denoiser, weak: Denoiser, grid: Sequence[Any]) -> Denoiser:
    r"""Weak-to-strong reflection (arXiv:2502.00473) as a model: x goes to the next node by ``strong``, back by ``weak``, both by DDIM: x̃,
    where ``strong`` is asked. D̃ is such that a DDIM step from x is the step from x̃.

    To first order x̃ − x = σ² Δλ (s_strong − s_weak), Δλ the step in log(α/σ).

    Returns:
        the Denoiser D̃; at the last node that of ``strong``.
    """
    ahead = {s.clock: t for s, t in pairwise(grid)}

    @predicts("denoised")
    def model(x: Array, node: Any) -> Array:
        t = ahead.get(node.clock)
        if t is None:
            return strong(x, node)
        there = flow_by_denoised(x, strong(x, node), node, t)
        back = flow_by_denoised(there, weak(there, t), t, node)
        kept = t.sigma / node.sigma
        return strong(back, node) + (kept / (t.alpha - kept * node.alpha)) * (back - x)

    return model
