r"""Steps down a mean of log errors that is known on a few states at a time: ``descend``, for ``tune`` (``descent``) and ``universal_fit``.

The mean over states of log |r_s| falls along −(H + damping)⁻¹ g, where g is the mean of g_s = J_sᵀ r_s/|r_s|² and H that of
J_sᵀ J_s/|r_s|². H is a mean over all states so far that forgets, g one that forgets soon. A step is cut where it would change the residuals
by more than a share of themselves, and this share goes down over the search as a cosine. What is judged on the held-out states, every few
steps, is the mean of the last numbers, which is better than any of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

_EVERY = 5
"""Steps from one look at the held-out states to the next."""
_FORGET, _SOON, _MEAN = 0.06, 0.3, 0.15
"""What H, g and the mean of the numbers forget, of what they knew, when they are told something new."""
_DAMPING, _SHARE = 3e-2, 0.3
"""Of H; by how much of themselves a step may change residuals."""
_FAR, _SMALLEST = 0.4, 1e-3
"""How much worse than the best sends it back there; where steps that small lead nowhere, the search ends."""
_FIRST, _BATCHES, _SEEN = 5, 3, 3
"""Vectors for each state of so many batches before any step; after that one at every third step."""


class Objective(Protocol):
    """What goes down, as a function of a vector of numbers."""

    def judge(self, theta: np.ndarray) -> float:
        """The mean log error on the states that decide; inf where theta may not be."""

    def tell(self, theta: np.ndarray, k: int, vectors: int) -> tuple[float, np.ndarray, np.ndarray] | None:
        """(mean log error, g, the mean of c cᵀ over so many vectors) on the states of step k; None where a run is not finite."""

    def kept(self, theta: np.ndarray, step: np.ndarray) -> np.ndarray:
        """As far along a step as theta may go."""


@dataclass(frozen=True)
class Step:
    """A look at the held-out states: after how many steps, the mean log error of those since the last look, that of held-out states and
    the best there, where the search is and where it was best, and how much smaller than usual its steps are."""

    done: int
    loss: float
    score: float
    best_score: float
    theta: np.ndarray
    best: np.ndarray
    cut: float


def descend(
    objective: Objective,
    theta: np.ndarray,
    *,
    best: tuple[np.ndarray, float],
    iterations: int,
    done: int = 0,
    cut: float = 1.0,
    patience: float = math.inf,
    until: float = math.inf,
    looked: Callable[[Step], object] = lambda step: None,
) -> np.ndarray:
    """The numbers that are best on held-out states.

    Args:
        objective: what goes down.
        theta: where to begin.
        best: what is best so far, and its mean log error on held-out states.
        iterations: steps, of which ``done`` are behind.
        cut: how much smaller than usual steps are.
        patience: looks without a better one that end it.
        until: no step begins after this time of ``time.monotonic``.
        looked: called after every look at the held-out states.

    Returns:
        the best theta.

    Raises:
        ValueError: a first theta that diverges.
    """
    first_looks = [objective.tell(theta, done + k, _FIRST) for k in range(_BATCHES)]
    if any(one is None for one in first_looks):
        raise ValueError("the start diverges on this model: give another one")
    curve = np.mean([one[2] for one in first_looks if one is not None], axis=0)
    (best_theta, best_score), losses = best, list[float]()
    slope, mean, first, stale = np.zeros(len(theta)), theta, done, 0
    while done < iterations and stale < patience and cut >= _SMALLEST and time.monotonic() < until:
        found = objective.tell(theta, done, int(done % _SEEN == 0))
        done += 1
        if found is None:  # too far: back to the best, and smaller steps from there
            theta, mean, slope, first, cut = best_theta, best_theta, 0.0 * slope, done, cut / 2.0
            continue
        losses.append(found[0])
        if (done - 1) % _SEEN == 0:
            curve = (1.0 - _FORGET) * curve + _FORGET * found[2]
        slope = (1.0 - _SOON) * slope + _SOON * found[1]
        share = _SHARE * cut * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done / iterations)))
        theta = objective.kept(theta, damped_step(curve, slope / (1.0 - (1.0 - _SOON) ** (done - first)), share))
        mean = mean + max(_MEAN, 1.0 / (done - first + 1.0)) * (theta - mean)
        if done % _EVERY and done < iterations:
            continue
        score = objective.judge(mean)
        stale = 0 if score < best_score - 1e-3 else stale + 1
        if score < best_score:
            best_theta, best_score = mean, score
        elif score > best_score + _FAR:
            theta, mean, slope, first, cut = best_theta, best_theta, 0.0 * slope, done, cut / 2.0
        looked(Step(done, float(np.mean(losses)), score, best_score, theta, best_theta, cut))
        losses = []
    return best_theta


def damped_step(curve: np.ndarray, slope: np.ndarray, share: float) -> np.ndarray:
    """−(H + damping)⁻¹ g, no longer than what changes residuals by the share of themselves: δᵀ H δ ≤ share²."""
    diagonal = np.diag(curve) + 1e-6 * float(np.trace(curve)) / len(slope) + 1e-300
    step = -np.linalg.solve(curve + _DAMPING * np.diag(diagonal), slope)
    size = math.sqrt(max(float(step @ curve @ step), 0.0))
    return step * min(1.0, share / size) if size > 0.0 else step
