r"""Particles: Feynman-Kac steering by sequential Monte Carlo, and soft-value decoding.

Meant is p^r ∝ p_0 e^{r/β}. With any v_t, the last one r/β, a path of the solver has the weight

    e^{v_T(x_T)} ∏ e^{v_t(x_t) − v_s(x_s)} = e^{r(x_0)/β},

so that (1/N) Σ of accumulated weights is an unbiased estimate of E[e^{r(x_0)/β}] under the solver's own law, whatever v, and whenever one
resamples (arXiv:2501.06848, §3), and the weighted particles tend to the tilt of that law as N grows. Weights that are not carried over from
one resampling to the next estimate nothing. The best v is log E[e^{r/β} | x_t] (``analytic.gaussian.tilt``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.solvers.base import Solver, advance
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.sample import WatchedNoise

Value = Callable[[Array, Any], Any]
"""(x, node) -> v_t(x), (n,)."""


@dataclass(frozen=True)
class Particles:
    """The result of ``smc``.

    Attributes:
        x: the particles, (n, d).
        log_weights: (n,), normalised.
        log_normaliser: log of the unbiased estimate of E[e^r].
        resampled: at which steps.
        ancestors: which particle of the first node each comes from, (n,).
    """

    x: Array
    log_weights: np.ndarray
    log_normaliser: float
    resampled: tuple[int, ...]
    ancestors: np.ndarray

    def expect(self, f: Callable[[Array], Any]) -> float:
        """Σ w_i f(x_i)."""
        return float(np.exp(self.log_weights) @ np.asarray(f(self.x)))


def effective(log_weights: np.ndarray) -> float:
    """(Σ w)²/Σ w², between 1 and n."""
    w = np.exp(log_weights - log_weights.max())
    return float(w.sum() ** 2 / (w * w).sum())


def systematic(log_weights: np.ndarray, u: float) -> np.ndarray:
    """Ancestors (n,) by systematic resampling: each particle ⌊n w⌋ or ⌈n w⌉ times, n w in the mean over u ~ U(0, 1)."""
    w = np.exp(log_weights - log_weights.max())
    edges = np.cumsum(w / w.sum())
    edges[-1] = 1.0
    return np.searchsorted(edges, (u + np.arange(len(w))) / len(w), side="right").clip(0, len(w) - 1)


def smc(
    solver: Solver,
    model: Denoiser,
    value: Value,
    x: Array,
    nodes: Sequence[Any],
    seed: int = 0,
    *,
    final: Callable[[Array], Any] | None = None,
    threshold: float = 0.5,
) -> Particles:
    """Feynman-Kac steering of a one-step method: weigh by e^{v_t − v_s}, resample where the effective number falls below a part of n.

    Args:
        solver: stochastic, or no two particles of one ancestor ever differ.
        model: E[x0 | x]; steer the proposals by another model (``composition.steered``) with the weights that belong to it.
        value: v.
        x: particles at the first of ``nodes``, (n, d).
        seed: of the draws and the resampling.
        final: r at the last node, in place of v there.
        threshold: of the effective number, as a part of n; 0 never resamples, 1 at every step.

    Returns:
        the Particles: states, weights, normaliser, resampled steps and ancestors.

    Raises:
        ValueError: a deterministic or multistep method, a threshold outside [0, 1], weights that are nan.
    """
    if solver.weak is None or solver.start is not None:
        raise ValueError(f"{solver.name} draws nothing, or remembers more than its state: give a stochastic one-step method")
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold = {threshold!r} must lie in [0, 1]")
    n, rng = len(x), np.random.default_rng((seed, 1))
    noise: Any = WatchedNoise(seed, x, nodes[0])
    seen = _value(value, x, nodes[0], n)
    logs, total, ancestors, resampled = seen.copy(), 0.0, np.arange(n), []
    for i, (s, t) in enumerate(pairwise(nodes)):
        if effective(logs) < threshold * n or threshold == 1.0:
            total += _log_mean(logs)
            rows = systematic(logs, float(rng.random()))
            x, seen, ancestors, logs = x[rows], seen[rows], ancestors[rows], np.zeros(n)
            resampled.append(i)
        x, _ = advance(solver, model, x, s, t, None, noise)
        last = final is not None and i == len(nodes) - 2
        after = np.asarray(final(x), float) if last and final is not None else _value(value, x, t, n)
        logs, seen = logs + after - seen, after
    mean = _log_mean(logs)
    return Particles(x, logs - mean - math.log(n), total + mean, tuple(resampled), ancestors)


def soft_value(
    solver: Solver, model: Denoiser, value: Value, x: Array, nodes: Sequence[Any], seed: int = 0, *, candidates: int = 8
) -> Array:
    """SVDD (arXiv:2408.08252, Alg. 1): in each step M candidates for each sample, one of them chosen with weights e^{v_t}.

    With the exact v the tilt is sampled as M → ∞, with a bias of O(1/M); no gradient of r is needed. v scaled up tends to the best of M.

    Returns:
        samples at the last node, (n, d).

    Raises:
        ValueError: a deterministic or multistep method, or fewer than one candidate.
    """
    if solver.weak is None or solver.start is not None or candidates < 1:
        raise ValueError(f"{solver.name}, candidates = {candidates!r}: give a stochastic one-step method and at least one candidate")
    n, rng = len(x), np.random.default_rng((seed, 2))
    many = np.repeat(np.arange(n), candidates)
    noise: Any = WatchedNoise(seed, x[many], nodes[0])
    for s, t in pairwise(nodes):
        moved, _ = advance(solver, model, x[many], s, t, None, noise)
        logs = _value(value, moved, t, n * candidates).reshape(n, candidates)
        chosen = np.argmax(logs + rng.gumbel(size=logs.shape), axis=1)
        x = moved[np.arange(n) * candidates + chosen]
    return x


def _value(value: Value, x: Array, node: Any, n: int) -> np.ndarray:
    v = np.asarray(value(x, node), float)
    if v.shape != (n,) or not np.isfinite(v).all():
        raise ValueError(f"value gave shape {v.shape}, or nan or inf, at {node}: give one finite number for each particle, ({n},)")
    return v


def _log_mean(logs: np.ndarray) -> float:
    top = float(logs.max())
    return top + math.log(float(np.exp(logs - top).mean()))
