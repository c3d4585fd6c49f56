r"""When a cache asks its model: thresholds on how far something cheap has moved.

    accumulated    Σ_calls p(|y_i − y_{i−1}|/|y_{i−1}|) ≥ δ      TeaCache (arXiv:2411.19108)
    since asked    |y_i − y_asked|/|y_asked| ≥ δ                  the first block's change ("FBCache")

|·| is the mean absolute value, p a polynomial. y is what is looked at: the input scaled to unit variance; the output of a first block;
the input behind a Wiener filter, which is the denoiser of a Gaussian and leaves of every frequency what can be known of it at this noise
level (SeaCache, arXiv:2602.18993). A rule remembers, so that one rule serves one run; what it decides is a list of yes and no,
``Cache.made``, and the run is a Plan, ``reuse(plan, cache.made)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.reuse import Rule
from scorebed.solvers.schedule import Node

Look = Callable[[Array, Any], Array]
"""(state, node) -> what the rule looks at."""


def scaled(x: Array, node: Any) -> Array:
    """x/sqrt(α² + σ²): the input as a network sees it, of unit variance where the data have unit variance."""
    return (1.0 / math.hypot(node.alpha, node.sigma)) * x


class Threshold:
    """Ask where what is looked at has moved by ``threshold``, relative to its size.

    Args:
        threshold: δ > 0; 0 asks always.
        look: (state, node) -> an array.
        accumulate: add up the changes from call to call, and begin anew when the model is asked; else the change since it was asked.
        polynomial: coefficients of p, the highest first, as ``numpy.polyval`` takes them.

    Raises:
        ValueError: a threshold that is negative or not finite.
    """

    def __init__(self, threshold: float, look: Look = scaled, *, accumulate: bool = True, polynomial: Sequence[float] = (1.0, 0.0)) -> None:
        if not (math.isfinite(threshold) and threshold >= 0.0):
            raise ValueError(f"threshold = {threshold!r}: give a finite number that is not negative")
        self.threshold, self.look, self.accumulate, self.polynomial = threshold, look, accumulate, tuple(polynomial)
        self.last: Array | None = None
        self.total = 0.0

    def fresh(self) -> Threshold:
        """The same rule for another run."""
        return Threshold(self.threshold, self.look, accumulate=self.accumulate, polynomial=self.polynomial)

    def __call__(self, call: int, x: Array, node: Any) -> bool:
        seen = self.look(x, node)
        if self.last is None:
            self.last = seen
            return True
        change = float(abs(seen - self.last).mean()) / max(float(abs(self.last).mean()), 1e-300)
        value = float(np.polyval(self.polynomial, change))
        self.total = self.total + value if self.accumulate else value
        asked = self.total >= self.threshold
        if asked or self.accumulate:
            self.last = seen
        if asked:
            self.total = 0.0
        return asked


def teacache(threshold: float, polynomial: Sequence[float] = (1.0, 0.0), look: Look = scaled) -> Threshold:
    """The accumulated change of the input, rescaled by a polynomial (arXiv:2411.19108)."""
    return Threshold(threshold, look, polynomial=polynomial)


def fbcache(threshold: float, first: Look = scaled) -> Threshold:
    """The change of a first block's output since the model was asked."""
    return Threshold(threshold, first, accumulate=False)


def seacache(threshold: float, wiener: Denoiser) -> Threshold:
    """The accumulated change of the input behind a Wiener filter, the denoiser of a Gaussian with the spectrum of the data."""
    return Threshold(threshold, wiener)


def expected(threshold: Threshold, nodes: Sequence[Node], variances: Sequence[float], filtered: bool = False) -> list[bool]:
    """What the rule decides on N(0, Σ) on its exact flow, at the expected changes: x = R_t z along every direction, so that the relative
    change of the input is Σ_k |R_k/n − R_k'/n'| / Σ_k R_k'/n', n² = α² + σ²; behind the filter with α v_k/R_k in the place of R_k/n.

    Args:
        threshold: a rule that looks at the scaled input, or at the Wiener filter of this Gaussian.
        nodes: of the evaluations, in order.
        variances: eigenvalues of Σ.
        filtered: whether it looks at the filter.

    Returns:
        list of bools, one for each node; the first is True.
    """
    v, rule = np.asarray(variances, dtype=float), threshold.fresh()

    def look(x: Any, node: Any) -> Any:
        r = np.sqrt(node.alpha**2 * v + node.sigma**2)
        return node.alpha * v / r if filtered else r / math.hypot(node.alpha, node.sigma)

    rule.look = look
    return [rule(i, None, node) or i == 0 for i, node in enumerate(nodes)]


__all__ = ["Rule", "Threshold", "expected", "fbcache", "scaled", "seacache", "teacache"]
