r"""What processes between two ends have in common: x0 at t = 0 and x1, which may be pinned, be a degraded x0, or have a law with x0.

    x_t = a_t x0 + b_t x1 + γ_t ε,      γ_t² = d_t q_t

A model gives m = (E[x0 | x_t], E[x1 | x_t]); where the end is pinned, x1 is what it is pinned to. The noise about the mean decays as d_t on
the way to x1, and so for constant m and every η ≥ 0

    A = (q_t/q_s)^{(1+η)/2} (d_t/d_s)^{(1−η)/2},   B = (a_t − A a_s,  b_t − A b_s),   C² = γ_t² (1 − (q_t d_s/(q_s d_t))^η).

In bridges d = a: the noise goes as x0 does. η = 1 is the reverse SDE, with dx = … + sqrt(d q' − d' q) dW; where x1 is what a_t decays to,
as in all bridges, it knows nothing of x1 and may begin at the pinned end itself. The flow, η = 0, may not, for there x = x1 says nothing
of the noise.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from scorebed.solvers.process.base import Instant
from scorebed.solvers.process.general import forwards
from scorebed.solvers.process.linear import LinearProcess, Matrix, Transfer


class Shares(NamedTuple):
    """a, b and q at a time, and their derivatives."""

    a: float
    b: float
    q: float
    da: float
    db: float
    dq: float


class TwoEnds(LinearProcess):
    """A process between two ends. ``shares(t)`` is what one differs from another in. The clock is 1 − t/t_max."""

    t_min: float
    t_max: float

    kind = "bridge"
    state = ("x",)
    gives = ("x0", "x1")
    draws = 1

    def shares(self, t: float) -> Shares:
        """a_t, b_t, q_t and their derivatives in t."""
        raise NotImplementedError

    def node(self, t: float) -> Instant:
        t = float(t)
        if not 0.0 <= t <= self.t_max:
            raise ValueError(f"t = {t!r} is outside {type(self).__name__}: give 0 <= t <= {self.t_max:g}")
        return Instant(t, 1.0 - t / self.t_max, self)

    def at(self, clock: float) -> Instant:
        return self.node(self.t_max * (1.0 - float(clock)))

    def decay(self, t: float) -> tuple[float, float]:
        """d_t and its derivative: how the noise decays on the way to x1, as x0 does unless a process says otherwise."""
        a, _, _, da, *_ = self.shares(t)
        return a, da

    def end_ratio(self, t: float) -> float:
        """α²/σ² at its end of the diffusion that is pinned there, so that its α²/σ² at t is d/q and this; 1/q where α is 1 there."""
        return 1.0 / self.shares(1.0).q

    def forward(self, node: Instant) -> tuple[Matrix, Matrix]:
        a, b, q, *_ = self.shares(node.t)
        return ((a, b),), ((self.decay(node.t)[0] * q,),)

    def transfer(self, s: Instant, t: Instant, eta: float = 0.0) -> Transfer:
        if s.t == t.t:
            return Transfer(((1.0,),), ((0.0, 0.0),), ((0.0,),))
        forwards(s, t, eta)
        a, b, q, *_ = self.shares(s.t)
        a_t, b_t, q_t, *_ = self.shares(t.t)
        (d, _), (d_t, _) = self.decay(s.t), self.decay(t.t)
        if q == 0.0 or (d == 0.0 and eta < 1.0):
            raise ValueError(f"no step with eta = {eta:g} leaves t = {s.t:g}, where x has no noise: begin inside, or use eta = 1")
        if d == 0.0 and eta > 1.0:
            raise ValueError(f"no step with eta = {eta:g} leaves the pinned end t = {s.t:g}: begin inside, or use eta = 1")
        left, right = q_t / q, d_t / d if d else math.inf
        kept = left ** (0.5 * (1.0 + eta)) * (right ** (0.5 * (1.0 - eta)) if eta != 1.0 else 1.0)
        c = math.sqrt(d_t * q_t * (1.0 - (left / right) ** eta)) if eta > 0.0 else 0.0
        return Transfer(((kept,),), ((a_t - kept * a, b_t - kept * b),), ((c,),))

    def rates(self, node: Instant, eta: float = 1.0) -> Transfer:
        a, b, q, da, db, dq = self.shares(node.t)
        d, dd = self.decay(node.t)
        if q == 0.0 or (d == 0.0 and eta != 1.0):
            raise ValueError(f"the rates with eta = {eta:g} are infinite at t = {node.t:g}: begin inside, or use eta = 1")
        p = 0.5 * ((1.0 + eta) * dq / q + ((1.0 - eta) * dd / d if eta != 1.0 else 0.0))
        return Transfer(((p,),), ((da - p * a, db - p * b),), ((math.sqrt(eta * self.noise_rate(node)),),))

    def amount(self, node: Instant, eta: float) -> float:
        """η; 1 at the pinned end, which no other motion leaves."""
        return eta if self.decay(node.t)[0] else 1.0

    def noise_rate(self, node: Instant) -> float:
        """g² = d q' − d' q of the reverse SDE with η = 1."""
        (d, dd), shares = self.decay(node.t), self.shares(node.t)
        return d * shares.dq - dd * shares.q
