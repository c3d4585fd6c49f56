r"""Log-densities along a path, without a divergence, and superposition of models by them (SuperDiff, arXiv:2412.17762).

In y = x/α with the clock τ = rho² every density obeys the heat equation, ∂_τ q = ½ Δq. Along any path of noise dW(τ), run towards the data,
Itô's formula leaves no Laplacian:

    d log q(y_τ) = ⟨s, dy⟩ − ½ |s|² dτ,      s = ∇ log q = (D − y)/τ,

of strong order ½ by left points. One path serves all models. OR mixes scores with weights ∝ w_i q_i; AND chooses the weights for which all
estimates grow alike. Those weights meet the noise, so that the path has none along s_i − s_j, and dy² = dτ fails there: the true log q_i
stay equal only where their Laplacians are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise


@dataclass(frozen=True)
class Superposed:
    """The result of ``superdiff``.

    Attributes:
        x: state at the last node, (n, d).
        log_ratios: log q_i of x/α at the last node minus that at the first, (n, M).
        weights: the last ones, (n, M).
    """

    x: Array
    log_ratios: np.ndarray
    weights: np.ndarray


def density_step(score: np.ndarray, moved: np.ndarray, span: float) -> np.ndarray:
    """⟨s, Δy⟩ − ½ |s|² Δτ of each sample, (n,)."""
    return np.asarray((score * moved).sum(1) - 0.5 * span * (score * score).sum(1))


def along(model: Denoiser, xs: Sequence[Array], nodes: Sequence[Any]) -> np.ndarray:
    """log q(y) at the last node minus that at the first, (n,), along the recorded states of any sampler with the noise of the SDE.

    log p_t(x) = log q(x/α) − d log α.

    Returns:
        log q(y) at the last node minus that at the first, (n,).

    Raises:
        ValueError: another number of states than nodes.
    """
    if len(xs) != len(nodes):
        raise ValueError(f"xs has {len(xs)} states for {len(nodes)} nodes: give the state at every node")
    total = np.zeros(len(xs[0]))
    for (s, t), (x, after) in zip(pairwise(nodes), pairwise(xs), strict=True):
        y = np.asarray(x) / s.alpha
        score = (np.asarray(model(x, s)) - y) / s.rho**2
        total += density_step(score, np.asarray(after) / t.alpha - y, s.rho**2 - t.rho**2)
    return total


def superdiff(
    models: Sequence[Denoiser],
    x: Array,
    nodes: Sequence[Any],
    noise: Noise,
    *,
    mode: Literal["or", "and"] = "or",
    weights: Sequence[float] | None = None,
    temperature: float = 1.0,
) -> Superposed:
    """Euler-Maruyama on the reverse SDE with Σ κ_i s_i, the densities of all models tracked (arXiv:2412.17762, Alg. 1).

    Args:
        models: E[x0 | x], (n, d).
        x: states at the first of ``nodes``, where all densities are taken to be equal.
        noise: unit normals of an interval.
        mode: "or", κ = softmax(temperature log q_i + log w_i): at temperature 1 it samples Σ w_i p_i; "and", the κ with Σ κ = 1 that keeps
            all log q_i equal.
        weights: w_i of OR; equal by default.

    Returns:
        the Superposed: x (n, d), log-ratios and last weights (n, M).

    Raises:
        ValueError: an unknown mode, or fewer than two models.
    """
    if mode not in ("or", "and") or len(models) < 2:
        raise ValueError(f"mode = {mode!r}, {len(models)} models: give 'or' or 'and', and at least two models")
    m = len(models)
    prior = np.log(np.full(m, 1.0 / m) if weights is None else np.asarray(weights, float))
    y, logs = np.asarray(x) / nodes[0].alpha, np.zeros((len(x), m))
    kappa = np.full((len(x), m), 1.0 / m)
    for s, t in pairwise(nodes):
        scores = np.stack([(np.asarray(model(s.alpha * y, s)) - y) / s.rho**2 for model in models], 1)
        span = s.rho**2 - t.rho**2
        fresh = math.sqrt(span) * np.asarray(noise(s, t))
        if mode == "or":
            rows = temperature * logs + prior
            kappa = np.exp(rows - rows.max(1, keepdims=True))
            kappa = kappa / kappa.sum(1, keepdims=True)
        else:
            kappa = _alike(scores, fresh, span)
        moved = span * np.einsum("nm,nmd->nd", kappa, scores) + fresh
        logs += np.stack([density_step(scores[:, i], moved, span) for i in range(m)], 1)
        y = y + moved
    return Superposed(nodes[-1].alpha * y, logs, kappa)


def _alike(scores: np.ndarray, fresh: np.ndarray, span: float) -> np.ndarray:
    """κ with Σ κ = 1 and ⟨s_i − s_1, Δy⟩ = ½ (|s_i|² − |s_1|²) Δτ; the least change of equal weights where the scores agree."""
    n, m, _ = scores.shape
    gaps = scores[:, 1:] - scores[:, :1]
    square = (scores**2).sum(2)
    want = 0.5 * (square[:, 1:] - square[:, :1]) - np.einsum("nid,nd->ni", gaps, fresh) / span
    rows = np.einsum("nid,njd->nij", gaps, scores)
    size = np.sqrt((rows**2).sum(2, keepdims=True)) + 1e-300
    rows, want = rows / size, want / size[..., 0]
    a = np.concatenate([rows, np.ones((n, 1, m))], 1)
    b = np.concatenate([want, np.ones((n, 1))], 1)
    even = np.full((n, m), 1.0 / m)
    rest = b - np.einsum("nij,nj->ni", a, even)
    return np.asarray(even + np.einsum("nji,nj->ni", np.linalg.pinv(a, rcond=1e-12).swapaxes(1, 2), rest))
