r"""Brownian bridges one after the other: a path through given points at given times (arXiv:2405.05953).

    x_t = (1 − r) x_j + r x_{j+1} + κ sqrt(ℓ r (1 − r)) ε,      t = t_j + r ℓ between the stops t_j < t_{j+1}, ℓ their distance

A model gives every x_j, of which those of the two stops around t say all that x_t does. At a stop x_t is x_j, so that what comes after
knows nothing of what came before: a step of the reverse SDE across stops begins at the last of them, A = 0, and no other crosses one.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

from scorebed.solvers.process.base import Instant
from scorebed.solvers.process.bridge import BrownianBridge
from scorebed.solvers.process.general import forwards
from scorebed.solvers.process.linear import Matrix, Transfer
from scorebed.solvers.process.two_ends import Shares, TwoEnds


@dataclass(frozen=True)
class Consecutive(TwoEnds):
    """``stops`` are the times of the points between x0 at t = 0 and the last at t = 1, ``kappa`` κ. With no stops, a Brownian bridge."""

    kappa: float = 1.0
    stops: tuple[float, ...] = (0.5,)
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        plain = BrownianBridge(self.kappa, self.t_min, self.t_max)  # its refusals
        stops = tuple(map(float, self.stops))
        if not all(a < b for a, b in zip((0.0, *stops), (*stops, 1.0), strict=True)):
            raise ValueError(f"Consecutive: stops = {self.stops!r} must rise between 0 and 1")
        object.__setattr__(self, "stops", stops)
        object.__setattr__(self, "kappa", plain.kappa)

    @property
    def gives(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"x{j}" for j in range(len(self.stops) + 2))

    def place(self, t: float) -> tuple[int, float, float]:
        """(j, t_j, ℓ) of the bridge in which t lies; at a stop, of the one that ends there."""
        times = (0.0, *self.stops, 1.0)
        j = max(0, bisect_left(times, t) - 1)
        return j, times[j], times[j + 1] - times[j]

    def shares(self, t: float) -> Shares:
        _, begin, length = self.place(t)
        r, k = (t - begin) / length, self.kappa**2
        return Shares(1.0 - r, r, k * (t - begin), -1.0 / length, 1.0 / length, k)

    def end_ratio(self, t: float) -> float:
        return 1.0 / (self.kappa**2 * self.place(t)[2])

    def _wide(self, row: tuple[float, ...], j: int) -> Matrix:
        """The shares of the two ends of bridge j among those of all points."""
        out = [0.0] * len(self.gives)
        out[j : j + 2] = row
        return (tuple(out),)

    def forward(self, node: Instant) -> tuple[Matrix, Matrix]:
        a, spread = super().forward(node)
        return self._wide(a[0], self.place(node.t)[0]), spread

    def transfer(self, s: Instant, t: Instant, eta: float = 0.0) -> Transfer:
        (j, begin, _), (i, *_) = self.place(s.t), self.place(t.t)
        if i == j:
            step = super().transfer(s, t, eta)
            return Transfer(step.a, self._wide(step.b[0], j), step.c)
        forwards(s, t, eta)
        if t.t == begin:
            return Transfer(((0.0,),), self._wide((1.0, 0.0), j), ((0.0,),))
        if t.t > s.t or eta != 1.0:
            raise ValueError(f"no step with eta = {eta:g} goes from t = {s.t:g} to {t.t:g} across a stop: stop there, or use eta = 1")
        mean, ((spread,),) = self.forward(t)
        return Transfer(((0.0,),), mean, ((math.sqrt(spread),),))

    def rates(self, node: Instant, eta: float = 1.0) -> Transfer:
        rates = super().rates(node, eta)
        return Transfer(rates.a, self._wide(rates.b[0], self.place(node.t)[0]), rates.c)
