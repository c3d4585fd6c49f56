r"""Measuring an order: one call, one result, and the conditions that it holds under.

    result = measure_order(lambda n: error_with(n), conditions=Conditions(grid="Karras, rho 8 to 0.1"), steps=(32, 64, 128, 256))
    result.order        # 2.02 [2.01, 2.03], of the finest three errors above the floor
    result.conditions   # float64, grid, start, terminal rule, floor, and the window of steps that the slope is of

An order is that of a method *under conditions*: float32 stalls, an uneven grid finds coefficients that assume equal steps, a crude start
costs an order. Two results may differ only where their conditions differ by name, so that nobody compares what cannot be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from scorebed.toy.measure.convergence import Order, order_of

Error = Callable[[int], float | tuple[float, int]]
"""n steps -> the error, or (the error, evaluations of the model)."""
STEPS = (32, 64, 128, 256)
FINER = (512, 1024, 2048)
FLOOR = 1e-12


@dataclass(frozen=True)
class Conditions:
    """What an order is measured under.

    Attributes:
        target: the law whose exact answer the error is a distance from.
        grid: the kind of grid and its ends.
        dtype: ``float64``, state and coefficients; ``float64 state``, coefficients as the sampler computes them; ``float32``, both.
        start: ``own``: the sampler's own first steps; ``exact``: those of the exact flow; ``gentle``: its own, very short.
        terminal: where the run ends: ``none`` at the last node, ``zero`` at sigma = 0 by the sampler's own last step, ``denoised`` with
            E[x0 | x] at the last node, ``own`` where the sampler's own grid does.
        network: what the exact network knows: ``node``, the sampler's own alpha and sigma; ``timestep``, the number it is handed.
        floor: errors below it are round-off, and no part of a slope.
        window: the numbers of steps that the slope is of; filled in by ``measure_order``.
    """

    target: str = ""
    grid: str = ""
    dtype: str = "float64"
    start: str = "own"
    terminal: str = "none"
    network: str = "node"
    floor: float = FLOOR
    window: tuple[int, ...] = ()

    def __str__(self) -> str:
        usual = {f.name: f.default for f in fields(self)}
        ends = {"start": "{} start", "terminal": "ends: {}", "network": "network told the {}"}
        words = [ends[k].format(v) for k, v in asdict(self).items() if k in ends and v != usual[k]]
        return ", ".join(w for w in (self.target, self.grid, self.dtype, *words) if w)

    def differs(self, other: Conditions) -> tuple[str, ...]:
        """The names of the conditions in which two measurements differ; floor and window aside, which follow from the errors."""
        return tuple(f.name for f in fields(self)[:-2] if getattr(self, f.name) != getattr(other, f.name))


@dataclass(frozen=True)
class OrderResult:
    """Errors on refined grids and the order that they show.

    Attributes:
        conditions: what they were measured under.
        steps, errors, nfe: numbers of steps, the error of each, and its evaluations of the model (0 where nobody counted).
        order: the slope of the finest errors above the floor; None where fewer than two stand above it, or one is not finite.
        before: the same before the error ceases to fall, where it does (``stalls``); otherwise equal to ``order``.
        stopped: what was raised on a finer grid, or "".
    """

    conditions: Conditions
    steps: tuple[int, ...] = ()
    errors: tuple[float, ...] = ()
    nfe: tuple[int, ...] = ()
    order: Order | None = None
    before: Order | None = None
    stopped: str = ""

    @property
    def finite(self) -> bool:
        return all(map(math.isfinite, self.errors))

    @property
    def exact(self) -> bool:
        """Whether every error is round-off."""
        return bool(self.errors) and self.finite and max(self.errors) <= self.conditions.floor

    @property
    def stalls(self) -> bool:
        """Whether the error ceases to fall above round-off."""
        return self.order is not None and self.before != self.order

    @property
    def grows(self) -> bool:
        """Whether more steps make the error larger: the finest is not below the coarsest, and the slope is negative."""
        return self.order is not None and self.order.slope < -0.1 and self.errors[-1] >= self.errors[0]

    @property
    def settled(self) -> float:
        """How far the single slopes of the window lie apart; inf without an order."""
        return math.inf if self.order is None else self.order.high - self.order.low

    @property
    def last_slope(self) -> float:
        """The slope of the last refinement."""
        (m, n), (before, after) = self.steps[-2:], self.errors[-2:]
        return math.log(before / after) / math.log(n / m) if before > 0.0 and after > 0.0 else math.inf

    def inside(self, claim: float, below: float = 0.15, above: float = 0.35) -> bool:
        """Whether the order lies in [claim - below, claim + above]."""
        return self.order is not None and self.order.inside(claim, below, above)

    @property
    def sinks(self) -> float:
        """The slope, at least, with which the only error above the floor falls below it at the next number of steps; 0 where none does."""
        floor = self.conditions.floor
        above = [i for i, e in enumerate(self.errors) if e > floor]
        if len(above) != 1 or above[0] + 1 == len(self.errors) or floor <= 0.0:
            return 0.0
        (m, n), error = self.steps[above[0] : above[0] + 2], self.errors[above[0]]
        return math.log(error / floor) / math.log(n / m)

    def reaches(self, claim: float, below: float = 0.15) -> bool:
        """Whether the error falls at least as the claim says, or is round-off."""
        slope = self.sinks if self.order is None else self.order.slope
        return self.finite and not self.stopped and (self.exact or slope >= claim - below)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a store."""
        return {**asdict(self), "stalls": self.stalls}

    def __str__(self) -> str:
        if self.stopped:
            return self.stopped
        if not self.errors:
            return "no run"
        last = f"error {self.errors[-1]:.1e} at {self.steps[-1]} steps"
        if self.order is None:
            return f"exact to round-off, {last}" if self.exact else f"no order, {last}"
        if self.stalls:
            return f"{self.order}, {self.before} before it stalls, {last}"
        return f"{self.order}, {last}"


def measure_order(
    error: Error,
    *,
    conditions: Conditions | None = None,
    steps: Sequence[int] = STEPS,
    finer: Sequence[int] = (),
    enough: Callable[[OrderResult], bool] | None = None,
    finest: int = 3,
) -> OrderResult:
    """The order of whatever has an error at n steps.

    Args:
        error: n -> error, or (error, evaluations). An ``ArithmeticError`` after the second number of steps is part of the result.
        conditions: what it is measured under, with the floor of round-off; the window is filled in.
        steps: all of these are run.
        finer: these one by one, until ``enough`` says so of the result or an error is round-off; none by default.
        finest: how many of the finest errors above the floor the slope is of.

    Returns:
        the OrderResult, which says why where the error broke off.

    Raises:
        ArithmeticError: of ``error``, at the first or second number of steps.
    """
    made = _Made(conditions or Conditions(), finest)
    for n in (*steps, *finer):
        try:
            value = error(n)
        except ArithmeticError as problem:
            if len(made.steps) < 2:
                raise
            return made.result(f"{type(problem).__name__} at {n} steps: {problem}")
        made.add(n, *(value if isinstance(value, tuple) else (value, 0)))
        if not math.isfinite(made.errors[-1]):
            break
        if finer and n >= steps[-1] and (made.errors[-1] <= made.conditions.floor or (enough is not None and enough(made.result()))):
            break
    return made.result()


@dataclass
class _Made:
    """A result in the making."""

    conditions: Conditions
    finest: int
    steps: list[int] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    nfe: list[int] = field(default_factory=list)

    def add(self, n: int, error: float, nfe: int) -> None:
        self.steps.append(n)
        self.errors.append(float(error))
        self.nfe.append(int(nfe))

    def result(self, stopped: str = "") -> OrderResult:
        floor = self.conditions.floor
        above = [(n, e) for n, e in zip(self.steps, self.errors, strict=True) if e > floor or not math.isfinite(e)]
        kept = before_stall([n for n, _ in above], [e for _, e in above])
        order, before = self._order(above), self._order(above[:kept])
        window = tuple(n for n, _ in above[-self.finest :]) if order is not None else ()
        return OrderResult(
            conditions=replace(self.conditions, window=window),
            steps=tuple(self.steps),
            errors=tuple(self.errors),
            nfe=tuple(self.nfe),
            order=order,
            before=before,
            stopped=stopped,
        )

    def _order(self, points: Sequence[tuple[int, float]]) -> Order | None:
        if len(points) < 2 or not all(math.isfinite(e) for _, e in points):
            return None
        return order_of([n for n, _ in points], [e for _, e in points], 0.0, self.finest)


def before_stall(steps: Sequence[int], errors: Sequence[float]) -> int:
    """How many of these errors come before they cease to fall; at least three.

    The last is dropped while the slope into it is under 60 % of the one before and not within 0.4 of it, or while it is under 0.5 where an
    earlier one was above 0.8: no method has a lower order than 1.

    Returns:
        how many of the errors to use, from the first.
    """
    if len(errors) < 3 or not all(0.0 < e < math.inf for e in errors):
        return len(errors)
    log_n, log_e = [math.log(n) for n in steps], [math.log(e) for e in errors]
    slopes = [(log_e[i] - log_e[i + 1]) / (log_n[i + 1] - log_n[i]) for i in range(len(errors) - 1)]
    used = len(slopes)
    while used > 2:
        here, before = slopes[used - 1], slopes[used - 2]
        if not ((here < 0.6 * before and before - here > 0.4) or (here < 0.5 and max(slopes[: used - 1]) > 0.8)):
            break
        used -= 1
    return used + 1
