r"""The order of a deterministic candidate: its error against the exact flow map on refined grids.

The slope of the finest refinements above round-off must lie in [p - 0.15, p + 0.35] on every trial, as the properties ask. Slopes
that still rise to the claim are refined further; those of a lower order only fall.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scorebed.toy.check.candidate import Candidate, Flow
from scorebed.toy.check.trials import Trial
from scorebed.toy.measure.convergence import Order, order_of, rms

STEPS = (32, 64, 128, 256)
FINER = (512, 1024, 2048)
OWN_STEPS = (10, 20, 40, 80, 160)
FLOOR = 1e-12
_HOPELESS = 0.8
"""A last slope this far below the claim does not rise to it."""


@dataclass
class Series:
    """Errors of one trial. ``order`` is None where fewer than two errors stand above round-off, or one is not finite; ``stopped`` says what
    was raised on a finer grid."""

    trial: str
    steps: list[int] = field(default_factory=list)
    nfe: list[int] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    floor: float = 0.0
    order: Order | None = None
    stopped: str = ""

    @property
    def diverged(self) -> bool:
        return not all(map(math.isfinite, self.errors))

    def shown(self) -> str:
        if self.stopped:
            return self.stopped
        last = f"error {self.errors[-1]:.1e} at {self.steps[-1]} steps" if self.errors else "no run"
        return f"{self.order if self.order is not None else 'no order'}, {last}"


def error(candidate: Candidate, trial: Trial, grid: Any, **how: Any) -> tuple[float, int, float]:
    """RMS error of the end state against the exact flow, evaluations, and the size of the exact end state."""
    x = trial.states(grid[0])
    if how.pop("exact_start", 0):
        flow: Flow = trial.target.flow
        how["start"] = (4, flow)
    done = candidate.run(trial.target.denoised, x, grid, **how)
    exact = np.asarray(trial.target.flow(x, grid[0], done.end))
    if done.denoised:
        exact = np.asarray(trial.target.denoised(exact, done.end))
    if done.x.shape != exact.shape:
        raise ValueError(f"a state of shape {exact.shape} came back with shape {done.x.shape}")
    return rms(done.x - exact), done.nfe, rms(exact)


def measure(
    candidate: Candidate,
    trial: Trial,
    claim: float | None = None,
    steps: Sequence[int] = STEPS,
    finer: Sequence[int] = FINER,
    own: bool = False,
    **how: Any,
) -> Series:
    """Errors on grids of more and more steps, until the order is settled or the steps are out."""
    found = Series(trial.name)
    for n in (*steps, *finer):
        try:
            value, nfe, size = error(candidate, trial, trial.make(n), **how)
        except ArithmeticError as problem:
            if len(found.errors) < 2:
                raise
            found.stopped = f"{type(problem).__name__} at {n} steps: {problem}"
            found.order = _order(found)
            break
        found.steps.append(n)
        found.nfe.append(nfe)
        found.errors.append(value)
        found.floor = FLOOR * max(1.0, size)
        if not math.isfinite(value):
            return found
        if n >= steps[-1]:
            found.order = _order(found)
            if claim is None or value <= found.floor or (found.order is not None and reaches(found.order, claim)):
                break
            if _last_slope(found) < claim - _HOPELESS:
                break
    return found


def _last_slope(found: Series) -> float:
    (m, n), (before, after) = found.steps[-2:], found.errors[-2:]
    return math.log(before / after) / math.log(n / m) if before > 0.0 and after > 0.0 else math.inf


def _order(found: Series) -> Order | None:
    try:
        return order_of(found.steps, found.errors, found.floor)
    except ValueError:
        return None


def reaches(order: Order, claim: float) -> bool:
    """Whether a measured order is no lower than the claim."""
    return order.slope >= claim - 0.15


def verdict(series: Series, claim: float, linear: bool) -> tuple[str, str]:
    """(status, what to say) of one trial against a claim."""
    if series.stopped:
        return "fail", series.stopped
    if series.diverged:
        return "fail", "the run is not finite"
    if series.order is None:
        exact = bool(series.errors) and max(series.errors) <= series.floor
        return ("pass", "exact to round-off") if exact else ("fail", "no order: the error does not fall")
    if not reaches(series.order, claim):
        return "fail", "lower than claimed"
    if series.order.slope > claim + (2.0 if linear else 0.35):
        return "pass", "higher than claimed"
    return "pass", "as claimed"
