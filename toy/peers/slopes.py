"""An order with an interval from errors that may stall: the floor is found first, and kept out of the slope."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Measured:
    """``order`` with the range of the single slopes it is made of; ``floor`` the least error; ``stalls`` where the error ceases to fall."""

    order: float
    low: float
    high: float
    floor: float
    stalls: bool
    steps: tuple[int, ...]
    errors: tuple[float, ...]

    def json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @property
    def settled(self) -> bool:
        """Whether the slopes agree well enough to be called an order."""
        return self.high - self.low <= 0.6

    def __str__(self) -> str:
        return f"{self.order:.2f} [{self.low:.2f}, {self.high:.2f}]"


def measured(steps: Sequence[int], errors: Sequence[float], roundoff: float = 0.0) -> Measured:
    """The slope of the finest three refinements before the error stalls.

    The last point is dropped while it lies below ``roundoff``, while the slope into it is under 60 % of the one before and not within 0.4
    of it, or while it is under 0.5 where an earlier one was above 0.8: no method has a lower order than 1. Three points stay.

    Raises:
        ValueError: fewer than two finite, positive errors.
    """
    pairs = [(n, e) for n, e in zip(steps, errors, strict=True) if math.isfinite(e) and e > 0.0]
    if len(pairs) < 2:
        raise ValueError(f"errors = {list(errors)} leave fewer than two to measure an order from")
    n = [math.log(p[0]) for p in pairs]
    e = [math.log(p[1]) for p in pairs]
    slopes = [-(e[i + 1] - e[i]) / (n[i + 1] - n[i]) for i in range(len(e) - 1)]
    used, stalls = len(slopes), False
    while used > 2:
        here, before = slopes[used - 1], slopes[used - 2]
        bent = (here < 0.6 * before and before - here > 0.4) or (here < 0.5 and max(slopes[: used - 1]) > 0.8)
        if not (bent or pairs[used][1] < roundoff):
            break
        used -= 1
        stalls = True
    last = slopes[max(0, used - 2) : used]
    xs, ys = np.array(n[max(0, used - 2) : used + 1]), np.array(e[max(0, used - 2) : used + 1])
    slope = float(-np.polyfit(xs, ys, 1)[0])
    floor = min(p[1] for p in pairs)
    return Measured(slope, min(last), max(last), floor, stalls, tuple(p[0] for p in pairs), tuple(p[1] for p in pairs))
