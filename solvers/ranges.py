"""Where an option may lie: declared beside the step, refused by name at the step.

    @solver(order=2, reference=…)
    @within(r="(0, 1)")
    def dpm_solver_2(denoise, x, s, t, carry, noise, *, r=0.5): ...

An interval is written as in mathematics, with ``inf`` for no bound; ``integer [1, inf)`` takes whole numbers only. Defaults are not
checked.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from numbers import Integral, Real
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Interval:
    """From ``low`` to ``high``, each end in it or not; ``text`` is what the user is told."""

    text: str
    low: float
    high: float
    whole: bool

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, Integral if self.whole else Real):
            return False
        number = float(cast(float, value))
        above = number >= self.low if "[" in self.text else number > self.low
        below = number <= self.high if "]" in self.text else number < self.high
        return above and below and math.isfinite(number)


def interval(text: str) -> Interval:
    """The interval that ``text`` writes, e.g. ``(0, 1]`` or ``integer [2, inf)``.

    Returns:
        the Interval of low, high and whether it holds integers.

    Raises:
        ValueError: something else.
    """
    kind, _, ends = text.rpartition("integer ")
    low, comma, high = ends[1:-1].partition(", ")
    if kind or not comma or ends[0] not in "([" or ends[-1] not in ")]":
        raise ValueError(f"interval = {text!r}: write it as '(0, 1]' or 'integer [1, inf)'")
    return Interval(text, float(low), float(high), text.startswith("integer"))


def within(**allowed: str) -> Callable[[F], F]:
    """Refuse, at the step, an option outside its interval; the wrapped step carries them as ``allowed``."""
    intervals = {name: interval(text) for name, text in allowed.items()}

    def make(step: F) -> F:
        @wraps(step)
        def checked(*args: Any, **options: Any) -> Any:
            for name, value in options.items():
                if name in intervals and value not in intervals[name]:
                    raise ValueError(f"{checked.__name__}: {name} = {value!r} must lie in {intervals[name].text}")
            return step(*args, **options)

        checked.allowed = intervals  # type: ignore[attr-defined]
        return cast(F, checked)

    return make


def demand(value: float, name: str, text: str) -> None:
    """Refuse an argument outside an interval, where a method is made and not yet run."""
    if value not in interval(text):
        raise ValueError(f"{name} = {value!r} must lie in {text}")


def allowed(step: Callable[..., Any]) -> dict[str, Interval]:
    """The intervals of a step's options, of one with options fixed as well."""
    while isinstance(step, partial):
        step = step.func
    return getattr(step, "allowed", {})
