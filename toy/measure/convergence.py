r"""Order of convergence: global errors on refined grids against an exact map, and the slope of log error against log h.

A slope is only an order where the error is neither above the asymptotic range nor at the round-off floor, so ``order_of`` looks at the
finest refinements above the floor and reports how far their slopes differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scorebed.solvers import Denoiser, Node, Solver, sample


@dataclass(frozen=True)
class Order:
    """A measured order: the least-squares slope of the finest refinements above the floor, and the range of their single slopes."""

    slope: float
    low: float
    high: float

    def inside(self, claim: float, below: float = 0.15, above: float = 0.35) -> bool:
        """Whether the slope lies in [claim - below, claim + above], the window of the order properties."""
        return bool(claim - below <= self.slope <= claim + above)

    def __str__(self) -> str:
        return f"{self.slope:.2f} [{self.low:.2f}, {self.high:.2f}]"


def order_of(steps: Sequence[int], errors: Sequence[float], floor: float = 0.0, finest: int = 3) -> Order:
    """The order that ``errors`` at numbers of ``steps`` show, from the ``finest`` largest numbers of steps whose error exceeds ``floor``.

    Returns:
        the Order: fitted slope, least and greatest local slope.

    Raises:
        ValueError: fewer than two usable errors, or one that is not finite.
    """
    pairs = sorted(zip(steps, errors, strict=True))
    if not all(math.isfinite(e) for _, e in pairs):
        raise ValueError(f"errors = {list(errors)} are not all finite")
    usable = [(math.log(n), math.log(e)) for n, e in pairs if e > floor]
    if len(usable) < 2:
        raise ValueError(f"errors = {list(errors)} leave {len(usable)} above the floor {floor:g}: use fewer steps")
    n, e = np.array(usable[-finest:]).T
    slopes = -np.diff(e) / np.diff(n)
    return Order(float(-np.polyfit(n, e, 1)[0]), float(slopes.min()), float(slopes.max()))


def rms(a: Any) -> float:
    """Root mean square over all entries."""
    return float(np.sqrt(np.mean(np.square(np.asarray(a, dtype=float)))))


def global_errors(solver: Solver, denoise: Denoiser, x: np.ndarray, exact: np.ndarray, grids: Sequence[Sequence[Node]]) -> list[float]:
    """RMS distance of the solver's end state from ``exact`` on each grid, without a terminal rule."""
    return [rms(sample(solver, denoise, x, grid, terminal="none") - exact) for grid in grids]
