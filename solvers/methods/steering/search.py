r"""Search over noise with a verifier (arXiv:2501.09732): best of N, zero-order search, roll-over budgets; what selection does to the law.

The best of N draws of p by a reward r without ties has the law p(x) N F(r(x))^{N−1}, F the distribution function of r under p, whatever r:

    KL(best of N ‖ p) = log N − (N − 1)/N.
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
from scorebed.solvers.state import alike

Draw = Callable[[Array], Array]
"""Start states (n, d) -> samples (n, d): a deterministic sampler."""
Reward = Callable[[Array], Any]


def best_of_n_kl(n: int) -> float:
    """log N − (N − 1)/N."""
    return math.log(n) - (n - 1.0) / n


def best_of_n_weight(level: Any, n: int) -> Any:
    """N F^{N−1}, the density of the best of N over that of one draw, at F(r(x)) = ``level``."""
    return n * np.asarray(level) ** (n - 1)


def best_of(draw: Draw, reward: Reward, starts: Array, n: int) -> Array:
    """For each of the m groups of n starts, (m n, d), the sample of the largest reward, (m, d).

    Returns:
        samples of the largest reward, (m, d).

    Raises:
        ValueError: a number of starts that n does not divide.
    """
    if n < 1 or len(starts) % n:
        raise ValueError(f"n = {n!r} does not divide the {len(starts)} starts: give n for each")
    x = draw(starts)
    rows = np.asarray(reward(x), float).reshape(-1, n).argmax(1) + n * np.arange(len(starts) // n)
    return x[rows]


@dataclass(frozen=True)
class Climbed:
    """Where zero-order search ended: ``start`` and ``x`` (m, d), ``rewards`` after each round (rounds + 1, m)."""

    start: Array
    x: Array
    rewards: np.ndarray


def zero_order(
    draw: Draw, reward: Reward, start: Array, rounds: int, seed: int = 0, *, neighbours: int = 4, size: float = 0.3, std: float = 1.0
) -> Climbed:
    """Hill climbing in the start noise (arXiv:2501.09732, §3.2): neighbours z' = std (z + size ξ)/sqrt(1 + size²) of each pivot z, which
    keep N(0, std²), and the best of them and the pivot is the next pivot. Rewards never fall.

    Returns:
        the Climbed: start and x (m, d), rewards (rounds + 1, m).

    Raises:
        ValueError: no rounds or neighbours.
    """
    if rounds < 1 or neighbours < 1:
        raise ValueError(f"rounds = {rounds!r}, neighbours = {neighbours!r}: give at least one of each")
    rng, m = np.random.default_rng(seed), len(start)
    z, x = start, draw(start)
    best = np.asarray(reward(x), float)
    rewards = [best]
    for _ in range(rounds):
        drawn = std * rng.standard_normal((neighbours, *start.shape))
        for xi in drawn:
            near = (z + size * alike(xi, z)) * (1.0 / math.sqrt(1.0 + size * size)) if size else z
            y = draw(near)
            score = np.asarray(reward(y), float)
            keep = (score > best).reshape(m, *[1] * (len(start.shape) - 1))
            z, x = _where(keep, near, z), _where(keep, y, x)
            best = np.maximum(best, score)
        rewards.append(best)
    return Climbed(z, x, np.stack(rewards))


@dataclass(frozen=True)
class Rolled:
    """What a roll-over budget spent: ``x`` (n, d), ``nfe`` evaluations a sample of each, (n,), ``accepted`` at each step (steps, n)."""

    x: Array
    nfe: np.ndarray
    accepted: np.ndarray


def rollover(
    solver: Solver,
    model: Denoiser,
    reward: Callable[[Array, Any], Any],
    x: Array,
    nodes: Sequence[Any],
    budget: int,
    seed: int = 0,
) -> Rolled:
    """Roll-over budget forcing (arXiv:2503.19385, Alg. 1): each step has ``budget`` evaluations; a candidate that beats the reward of the
    state before is taken at once, and what it left goes to the next step; if none does, the best of them is taken.

    Args:
        solver: a stochastic one-step method.
        model: E[x0 | x].
        reward: (x, node) -> (n,), of D(x) as a rule.
        x: states at the first of ``nodes``, (n, d).
        seed: of the draws.
        budget: evaluations of each step; never more than budget × steps are spent.

    Returns:
        the Rolled: x (n, d), nfe (n,), accepted (steps, n).

    Raises:
        ValueError: a method that draws nothing, or a budget below 1.
    """
    if solver.weak is None or solver.start is not None or budget < 1:
        raise ValueError(f"{solver.name}, budget = {budget!r}: give a stochastic one-step method, and at least one evaluation a step")
    n = len(x)
    left, spent = np.zeros(n, int), np.zeros(n, int)
    best_before = np.asarray(reward(x, nodes[0]), float)
    accepted = []
    for i, (s, t) in enumerate(pairwise(nodes)):
        left = left + budget
        chosen, best, done, k = x, np.full(n, -np.inf), np.zeros(n, bool), 0
        while not np.all(done | (left == 0)):
            noise: Any = WatchedNoise(seed * 1_000_003 + 1009 * i + k, x, s)
            y, _ = advance(solver, model, x, s, t, None, noise)
            score = np.asarray(reward(y, t), float)
            active = ~done & (left > 0)
            better = active & (score > best)
            chosen = _where(better.reshape(n, *[1] * (len(x.shape) - 1)), y, chosen)
            best = np.where(better, score, best)
            left, spent = left - active, spent + active
            done, k = done | (active & (score > best_before)), k + 1
        x, best_before = chosen, best
        accepted.append(done)
    return Rolled(x, spent, np.stack(accepted))


def _where(keep: np.ndarray, a: Array, b: Array) -> Array:
    weight = alike(keep.astype(float), a)
    return weight * a + (1.0 - weight) * b
