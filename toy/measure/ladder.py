r"""Worse models with a known error: quantised, of low precision, told another time, of low rank, with few components, exited early.

The error δ_k of an evaluation becomes (∂x_out/∂D_k) δ_k at the output (``analytic.output.error.sensitivity``), so that independent errors
of variances q_k² make Σ_k (∂x_out/∂D_k)² q_k². That is the price of every evaluation, and accuracy is bought best where it is high:
minimising Σ S_k² q_k² under Σ cost(q_k) with cost = 1/q² gives q_k² ∝ 1/|S_k|.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.output.error import sensitivity
from scorebed.solvers import Denoiser, Node, Plan, Schedule


def quantised(denoise: Denoiser, step: float) -> Denoiser:
    """D rounded to multiples of ``step``: errors of variance step²/12, as good as independent where D moves by many steps.

    Returns:
        the Denoiser with rounded values.

    Raises:
        ValueError: a step that is not positive.
    """
    if not step > 0.0:
        raise ValueError(f"step = {step!r}: give a positive number")
    return lambda x, node: step * np.rint(np.asarray(denoise(x, node)) / step)


def rounded(denoise: Denoiser, dtype: Any) -> Denoiser:
    """D of a state in another precision, ``numpy.float16`` or ``numpy.float32``: input and output are rounded, the sum of a run is not."""
    return lambda x, node: np.asarray(denoise(np.asarray(x).astype(dtype).astype(x.dtype), node)).astype(dtype).astype(x.dtype)


def retimed(denoise: Denoiser, schedule: Schedule, times: Sequence[float]) -> Denoiser:
    """D told the nearest of a few times in the place of its own, as a table of time embeddings does."""
    table = np.sort(np.asarray(times, dtype=float))
    return lambda x, node: denoise(x, schedule.node(float(table[np.argmin(np.abs(table - node.t))])))


def narrowed(variances: Sequence[float] | np.ndarray, rank: int) -> Denoiser:
    """The denoiser of N(0, diag(variances)) that knows its ``rank`` largest directions and says 0 along the others: a smaller network."""
    v = np.asarray(variances, dtype=float)
    known = np.zeros_like(v)
    known[np.argsort(-v)[:rank]] = 1.0
    return lambda x, node: x * (known * node.alpha * v / (node.alpha**2 * v + node.sigma**2))


def responsibilities(law: GaussianMixture, x: np.ndarray, node: Node) -> tuple[np.ndarray, np.ndarray]:
    """p(component | x), (n, K), and each component's posterior mean, (n, K, d), of an isotropic mixture."""
    variances = np.array([float(np.trace(np.atleast_2d(law.structure.pooled(np.eye(law.k)[k])))) / law.d for k in range(law.k)])
    c = node.alpha**2 * variances + node.sigma**2
    gap = x[:, None, :] - node.alpha * law.means[None]
    logs = np.log(law.weights) - 0.5 * (gap**2).sum(2) / c - 0.5 * law.d * np.log(c)
    r = np.exp(logs - logs.max(1, keepdims=True))
    return r / r.sum(1, keepdims=True), law.means[None] + (node.alpha * variances / c)[None, :, None] * gap


def few(law: GaussianMixture, keep: Any) -> Denoiser:
    """D of an isotropic mixture with responsibilities dropped: ``keep`` takes (n, K) to a mask of those that are kept.

    What is dropped is not made up for, |D̃ − D| ≤ dropped mass × the diameter of the components' means at most.

    Returns:
        the Denoiser of the kept components.
    """

    def denoise(x: np.ndarray, node: Node) -> np.ndarray:
        r, means = responsibilities(law, x, node)
        kept = r * keep(r)
        return np.asarray((kept[:, :, None] * means).sum(1) / np.maximum(kept.sum(1), 1e-300)[:, None])

    return denoise


def noise_price(plan: Plan, variances: Any, errors: Any) -> float:
    """The RMS at the output, over states, of independent errors of the evaluations with these standard deviations, (evaluations,)."""
    s = sensitivity(plan, variances)
    return math.sqrt(float(np.mean((np.square(s) * np.square(np.asarray(errors, dtype=float))[:, None]).sum(0))))


def best_errors(plan: Plan, variances: Any, cost: float) -> np.ndarray:
    """The standard deviations q_k of errors that make the least at the output with Σ 1/q_k² = ``cost``: q_k² ∝ 1/|S_k|."""
    size = np.sqrt(np.mean(np.square(sensitivity(plan, variances)), axis=1))
    return np.sqrt(size.sum() / (np.maximum(size, 1e-12) * cost))
