"""A race of many on a few states each: which of them has the least error, and how sure that is.

All run on a few states, the worse part is left behind, the rest run on more (successive halving, arXiv:1502.07943), until the last few have
seen every state. What ranks them is the mean log error of the middle half of the states: nearly the median, but less moved by chance, the
most where errors come in two kinds, and as deaf to the few states that go elsewhere.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import trim_mean

_KEEP, _LAST = 0.34, 8
"""The share that goes on, and the least number that does."""
_ROUND, _FIELD = 48, 1000
"""How many states make the first round one state longer, and how many runs it may have, up to a quarter of all states, where few run."""
Ask = Callable[[Sequence[int], slice], tuple[Sequence[np.ndarray], int]]
"""(who runs, the states) -> (the error of each on each of these states, evaluations that took)."""
Mean = Callable[[np.ndarray], np.ndarray]
"""Errors -> what is said of them, along the last axis."""


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
    """The ranking of n by their ``middle_half`` errors.

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

    def error(k: int) -> float:
        return float(middle_half(errors[k]))

    while seen < states and (not seen or time.monotonic() < until):
        found, asked = ask(alive, slice(seen, seen + more))
        for k, some in zip(alive, found, strict=True):
            errors[k] = np.concatenate([errors[k], some])
        spent += asked
        seen += more
        alive.sort(key=error)
        keep = max(_LAST, math.ceil(_KEEP * len(alive))) if seen < states else len(alive)
        alive, left = alive[:keep], alive[keep:] + left
        more = states - seen if len(alive) <= _LAST else min(2 * more, states - seen)
    return Race(alive, sorted(left, key=error), errors, spent)


def middle_half(errors: np.ndarray) -> np.ndarray:
    """exp of the mean log error of the middle half along the last axis: all but the least quarter and the largest."""
    return np.asarray(np.exp(trim_mean(np.log(errors + 1e-300), 0.25, axis=-1)))


def median(errors: np.ndarray) -> np.ndarray:
    """The median along the last axis."""
    return np.asarray(np.median(errors, axis=-1))


def interval(errors: np.ndarray, level: float = 0.95, seed: int = 0, of: Mean = median) -> tuple[float, float]:
    """The bootstrap interval of the median, or of another mean along the last axis."""
    rng = np.random.default_rng(seed)
    found = of(errors[rng.integers(0, len(errors), (1000, len(errors)))])
    return float(np.quantile(found, 0.5 - level / 2)), float(np.quantile(found, 0.5 + level / 2))


def ratio_interval(
    errors: np.ndarray, other: np.ndarray, level: float = 0.95, seed: int = 0, of: Mean = median
) -> tuple[float, float, float]:
    """The ratio of the medians, or of other means, of two errors on the same states, with its paired bootstrap interval."""
    rows = np.random.default_rng(seed).integers(0, len(errors), (1000, len(errors)))
    ratios = of(errors[rows]) / of(other[rows])
    return float(of(errors) / of(other)), float(np.quantile(ratios, 0.5 - level / 2)), float(np.quantile(ratios, 0.5 + level / 2))
