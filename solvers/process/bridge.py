r"""Brownian bridges: from the data x0 at t = 0 to an end x1 at t = 1, which may be pinned (Delyon & Hu 2006; Li et al., arXiv:2205.07680).

    x_t = (1 − t) x0 + t x1 + γ_t ε,      γ_t² = κ² t (1 − t)

A model gives m = (E[x0 | x_t], E[x1 | x_t]); where the end is pinned, x1 is what it is pinned to. The noise about the straight line is an
Ornstein-Uhlenbeck process of its own, and so for constant m

    A = (t/s)^{(1+η)/2} ((1−t)/(1−s))^{(1−η)/2},   B = ((1 − t) − A (1 − s),  t − A s),   C² = γ_t² (1 − (t(1−s)/(s(1−t)))^η).

η = 1 is the reverse SDE dx = (x − x0)/t dt + κ dW, which knows nothing of x1 and may begin at the pinned end itself; the flow, η = 0, may
not, for there x = x1 says nothing of the noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scorebed.solvers.process.base import Instant
from scorebed.solvers.process.linear import LinearProcess, Matrix, Transfer


@dataclass(frozen=True)
class BrownianBridge(LinearProcess):
    """x_t = (1 − t) x0 + t x1 + κ sqrt(t (1 − t)) ε, ``kappa`` κ. The clock is 1 − t."""

    kappa: float = 1.0
    t_min: float = 1e-3
    t_max: float = 1.0

    kind = "bridge"
    state = ("x",)
    gives = ("x0", "x1")
    draws = 1

    def __post_init__(self) -> None:
        for name in ("kappa", "t_min", "t_max"):
            value = float(getattr(self, name))
            if not (math.isfinite(value) and value > 0.0):
                raise ValueError(f"BrownianBridge: {name} = {value!r} must be positive and finite")
            object.__setattr__(self, name, value)
        if not self.t_min < self.t_max <= 1.0:
            raise ValueError(f"BrownianBridge: t_min = {self.t_min!r}, t_max = {self.t_max!r}: give 0 < t_min < t_max <= 1")

    def node(self, t: float) -> Instant:
        t = float(t)
        if not 0.0 <= t <= 1.0:
            raise ValueError(f"t = {t!r} is outside BrownianBridge: give 0 <= t <= 1")
        return Instant(t, 1.0 - t, self)

    def at(self, clock: float) -> Instant:
        return self.node(1.0 - float(clock))

    def forward(self, node: Instant) -> tuple[Matrix, Matrix]:
        t = node.t
        return ((1.0 - t, t),), ((self.kappa**2 * t * (1.0 - t),),)

    def transfer(self, s: Instant, t: Instant, eta: float = 0.0) -> Transfer:
        if s.t == t.t:
            return Transfer(((1.0,),), ((0.0, 0.0),), ((0.0,),))
        if eta > 0.0 and t.t > s.t:
            raise ValueError("the reverse SDE runs towards the data: give t below s, or eta = 0")
        if s.t == 0.0 or (s.t == 1.0 and eta < 1.0):
            raise ValueError(f"no step with eta = {eta:g} leaves t = {s.t:g}, where x has no noise: begin inside, or use eta = 1")
        left, right = t.t / s.t, (1.0 - t.t) / (1.0 - s.t) if s.t < 1.0 else math.inf
        a = left ** (0.5 * (1.0 + eta)) * (right ** (0.5 * (1.0 - eta)) if eta != 1.0 else 1.0)
        c = self.kappa * math.sqrt(t.t * (1.0 - t.t) * (1.0 - (left / right) ** eta)) if eta > 0.0 else 0.0
        return Transfer(((a,),), (((1.0 - t.t) - a * (1.0 - s.t), t.t - a * s.t),), ((c,),))

    def rates(self, node: Instant, eta: float = 1.0) -> Transfer:
        t = node.t
        if t == 0.0 or (t == 1.0 and eta != 1.0):
            raise ValueError(f"the rates with eta = {eta:g} are infinite at t = {t:g}: begin inside, or use eta = 1")
        p = 0.5 * ((1.0 + eta) / t - ((1.0 - eta) / (1.0 - t) if eta != 1.0 else 0.0))
        return Transfer(((p,),), ((-1.0 - p * (1.0 - t), 1.0 - p * t),), ((self.kappa * math.sqrt(eta),),))
