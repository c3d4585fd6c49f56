"""A race of many on a few states each: which of them has the least median error, and how sure that is.

All run on a few states, the worse part is left behind, the rest run on more (successive halving, arXiv:1502.07943), until the last few have
seen every state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

_KEEP, _LAST = 0.34, 8
"""The share that goes on, and the least number that does."""
_ROUND, _FIELD = 48, 1000
"""How many states make the first round one state longer, and how many runs it may have, up to a quarter of all states, where few run."""
Ask = Callable[[Sequence[int], slice], tuple[Sequence[np.ndarray], int]]
"""(who runs, the states) -> (the error of each on each of these states, evaluations that took)."""


@dataclass(frozen=True)
class Race:
    """How a race ended.

    Attributes:
        ranking: those that saw every state, or all until time was up, the best first; ``others`` those left behind, likewise.
        errors: of each, on the states that it saw.
        evaluations: of the model, by samples.
    """

    ranking: list[int]
    others: list[int]
    errors: list[np.ndarray]
    evaluations: int


def race(n: int, states: int, ask: Ask, *, first: int = 1, until: float = math.inf) -> Race:
    """The ranking of n by their median errors.

    Args:
        n: how many run.
        states: how many states the last ones see.
        ask: what their errors are.
        first: states in the first round, at least.
        until: no round begins after this time of ``time.monotonic``; what is left then is ranked by the states seen so far.

    Returns:
        the Race.
    """
    alive, left = list(range(n)), list[int]()
    errors, spent, seen = [np.zeros(0) for _ in alive], 0, 0
    more = max(states // _ROUND, first, min(states // 4, _FIELD // n))

    def median(k: int) -> float:
        return float(np.median(errors[k]))

    while seen < states and (not seen or time.monotonic() < until):
        found, asked = ask(alive, slice(seen, seen + more))
        for k, some in zip(alive, found, strict=True):
            errors[k] = np.concatenate([errors[k], some])
        spent += asked
        seen += more
        alive.sort(key=median)
        keep = max(_LAST, math.ceil(_KEEP * len(alive))) if seen < states else len(alive)
        alive, left = alive[:keep], alive[keep:] + left
        more = states - seen if len(alive) <= _LAST else min(2 * more, states - seen)
    return Race(alive, sorted(left, key=median), errors, spent)


def interval(errors: np.ndarray, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """The bootstrap interval of the median."""
    rng = np.random.default_rng(seed)
    medians = np.median(errors[rng.integers(0, len(errors), (1000, len(errors)))], axis=1)
    return float(np.quantile(medians, 0.5 - level / 2)), float(np.quantile(medians, 0.5 + level / 2))


def ratio_interval(errors: np.ndarray, other: np.ndarray, level: float = 0.95, seed: int = 0) -> tuple[float, float, float]:
    """The ratio of the medians of two errors on the same states, with its paired bootstrap interval."""
    rows = np.random.default_rng(seed).integers(0, len(errors), (1000, len(errors)))
    ratios = np.median(errors[rows], axis=1) / np.median(other[rows], axis=1)
    middle = float(np.median(errors) / np.median(other))
    return middle, float(np.quantile(ratios, 0.5 - level / 2)), float(np.quantile(ratios, 0.5 + level / 2))
