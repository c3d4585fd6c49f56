"""The equation as a solver of others is given it, and names for what a short step of it does wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scorebed.toy.check.finding import judged
from scorebed.toy.check.findings import Findings
from scorebed.toy.problems.equations import SPAN, Equation, Floats

Near = Callable[[Floats, Floats], bool]
Moments = tuple[Floats, Floats]


@dataclass(frozen=True)
class Fields:
    """Drift and diffusion as a solver calls them.

    Attributes:
        equation: which; None for dX = dW.
        sign: −1 against time, where the equation is the one whose solution runs back, b(x, t) → −b(x, T − t).
        half: ½ for Stratonovich's drift b − ½ s s', else 0.
    """

    equation: Equation | None
    sign: float
    half: float

    def _clock(self, t: Any) -> float:
        return float(t) if self.sign > 0.0 else SPAN - float(t)

    def drift(self, y: Any, t: Any) -> Any:
        e, plain = self.equation, np.asarray(y, dtype=float)
        if e is None:
            return _like(0.0 * plain, y)
        u = self._clock(t)
        return _like(self.sign * (e.drift(plain, u) - self.half * e.diffusion(plain, u) * e.slope(plain, u)), y)

    def diffusion(self, y: Any, t: Any) -> Any:
        plain = np.asarray(y, dtype=float)
        return _like(1.0 + 0.0 * plain if self.equation is None else self.equation.diffusion(plain, self._clock(t)), y)


def _like(value: Floats, y: Any) -> Any:
    """The value as the kind of array that y is: NumPy, torch, or what ``__array__`` and the type's own constructor take."""
    return y.new_tensor(value) if hasattr(y, "new_tensor") else np.asarray(value)


def read_the_step(
    result: Findings, faults: Callable[[Equation, float], list[str]], equations: Sequence[Equation], directions: Sequence[float]
) -> None:
    """Name what short steps have wrong, in each direction; a cause that fits every equation first.

    Args:
        result: gets a finding and its causes.
        faults: of an equation and a direction, what a short step may have wrong.
        equations: all that were tried.
        directions: 1, and −1 for against time.
    """
    causes: list[str] = []
    for sign in directions:
        fitting = [found for equation in equations if (found := faults(equation, sign))]
        if fitting:
            common = [fault for fault in fitting[0] if all(fault in other for other in fitting)]
            cause = (common or fitting[0])[0]
            if cause not in causes:
                causes.append(cause + ("" if sign > 0.0 else ", against time"))
    text = ", ".join(causes) or "its drift and its diffusion"
    detail = "a short step has another mean or variance than the equation"
    result.findings.append(judged(not causes, "the step itself", "mean and variance of short steps", text, "drift and diffusion", detail))
    result.causes += causes


def near_within(rtol: float, atol: float, a: Floats, c: Floats) -> bool:
    """Whether |a − c| ≤ atol + rtol |c| everywhere."""
    return bool(np.allclose(a, c, rtol=rtol, atol=atol))


def known_faults(equation: Equation, x: Floats, first: Moments, second: Moments, near_drift: Near, near_noise: Near) -> list[str]:
    """What a step has wrong, by name.

    Args:
        equation: what should be solved.
        x: where the step starts, at time 0.3.
        first, second: mean and variance over h of a step, the second half as long.
        near_drift, near_noise: whether two drifts, or two variances over h, are the same.

    Returns:
        The names, the likeliest first; empty where the step is right.
    """
    (b1, v1), (b2, v2), t0 = first, second, 0.3
    b, s = np.broadcast_to(equation.drift(x, t0), x.shape), np.broadcast_to(equation.diffusion(x, t0), x.shape)
    if not near_noise(2.0 * v2 - v1, s**2):
        return _noise_faults(v1, v2, s, near_noise)
    drift, other = 2.0 * b2 - b1, 0.5 * s * equation.slope(x, t0)
    if near_drift(drift, b):
        return []
    ratio = float(drift @ b / (b @ b))
    known = {
        "drift left out": 0.0 * b,
        "sign of the drift": -b,
        "solves the Stratonovich equation": b + other,
        "corrects for Stratonovich twice, or the wrong way": b - other,
        f"drift {ratio:.3g} times what it should be": ratio * b,
    }
    return [cause for cause, value in known.items() if near_drift(drift, value) and not near_drift(value, b)] or ["wrong drift"]


def _noise_faults(v1: Floats, v2: Floats, s: Floats, near: Near) -> list[str]:
    """Of the variance over h at two lengths, the second half as long."""
    if not np.any(v2 > 1e-12):
        return ["noise left out"]
    growth = float(np.mean(v2 / v1))
    if growth < 0.75:
        return ["noise scaled by h in place of sqrt(h)"]
    if growth > 1.5:
        return ["noise not scaled by sqrt(h)"]
    spread = 2.0 * v2 - v1
    ratio = float(spread @ s**2 / (s**2 @ s**2))
    known = {
        "variance taken for standard deviation": s**4,
        "square root of the diffusion taken": np.abs(s),
        f"noise {math.sqrt(abs(ratio)):.3g} times what it should be": ratio * s**2,
    }
    return [cause for cause, value in known.items() if near(spread, value)] or ["wrong diffusion"]
