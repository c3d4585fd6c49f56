r"""Particles that see each other through their mean: the linear McKean-Vlasov system (arXiv:2406.05396).

    dx_i = −a x_i dt + b (x̄ − x_i) dt + g dW_i,      x̄ = Σ_j x_j/N,      i = 1 … N

The mean forgets at the rate a, what a particle is beside it at the rate a + b; each is an Ornstein-Uhlenbeck process, and so

    M = M_a J + M_{a+b} (1 − J),      J = 1 1ᵀ/N,

for every matrix M that noising, the flow and the reverse SDE with any η make of the particles. As N → ∞ they become independent
(``analytic.process.mean_field``), and the score of one is what the others have left of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scorebed.solvers.process.base import Instant, ordered, positive
from scorebed.solvers.process.general import forwards
from scorebed.solvers.process.linear import LinearProcess, Matrix, Transfer


@dataclass(frozen=True)
class Particles(LinearProcess):
    """``count`` N particles, ``rate`` a, ``interaction`` b, ``g``. The clock is −½ log(e^{2at} − 1), which falls with noise."""

    count: int = 4
    rate: float = 1.0
    interaction: float = 1.0
    g: float = 1.0
    t_min: float = 1e-3
    t_max: float = 3.0

    kind = "sequence"

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise ValueError(f"Particles: count = {self.count!r} must be an integer of at least 1")
        positive(self, "rate", "g", "t_min", "t_max")
        pull = float(self.interaction)
        if not (math.isfinite(pull) and pull > -self.rate):
            raise ValueError(f"Particles: interaction = {self.interaction!r} must be finite and above −rate, or they fly apart")
        object.__setattr__(self, "interaction", pull)
        ordered(self)

    @property
    def state(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"x{k}" for k in range(self.count))

    @property
    def gives(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.state

    @property
    def draws(self) -> int:  # type: ignore[override]
        return self.count

    def node(self, t: float) -> Instant:
        t = float(t)
        if not 0.0 < t <= self.t_max * (1.0 + 1e-12):
            raise ValueError(f"t = {t!r} is outside Particles: give 0 < t <= {self.t_max:g}")
        return Instant(t, -0.5 * math.log(math.expm1(2.0 * self.rate * t)), self)

    def at(self, clock: float) -> Instant:
        return Instant(self.node(0.5 * math.log1p(math.exp(-2.0 * float(clock))) / self.rate).t, float(clock), self)

    def _both(self, of_mean: float, of_rest: float) -> Matrix:
        """``of_mean`` J + ``of_rest`` (1 − J)."""
        off = (of_mean - of_rest) / self.count
        return tuple(tuple(off + (of_rest if i == j else 0.0) for j in range(self.count)) for i in range(self.count))

    def _rates(self) -> tuple[float, float]:
        return self.rate, self.rate + self.interaction

    def spread(self, c: float, t: float) -> float:
        """∫_0^t g² e^{−2cs} ds, the variance of noise that is forgotten at the rate c."""
        return self.g**2 * -math.expm1(-2.0 * c * t) / (2.0 * c)

    def forward(self, node: Instant) -> tuple[Matrix, Matrix]:
        rates = self._rates()
        return self._both(*(math.exp(-c * node.t) for c in rates)), self._both(*(self.spread(c, node.t) for c in rates))

    def transfer(self, s: Instant, t: Instant, eta: float = 0.0) -> Transfer:
        forwards(s, t, eta)
        steps = [self._step(c, s.t, t.t, eta) for c in self._rates()]
        a, b, c = (self._both(*values) for values in zip(*steps, strict=True))
        return Transfer(a, b, c)

    def _step(self, c: float, s: float, t: float, eta: float) -> tuple[float, float, float]:
        """A, B and C of what is forgotten at the rate c: a schedule with α = e^{−ct}, σ² its ``spread``."""
        if s == t:
            return 1.0, 0.0, 0.0
        ratio = self.spread(c, t) / self.spread(c, s)
        left = ratio * math.exp(2.0 * c * (t - s))  # (ρ_t/ρ_s)²
        kept = math.sqrt(ratio) * left ** (0.5 * eta)
        noise = math.sqrt(self.spread(c, t) * (1.0 - left**eta)) if eta else 0.0
        return kept, math.exp(-c * t) - kept * math.exp(-c * s), noise

    def rates(self, node: Instant, eta: float = 1.0) -> Transfer:
        p, q = [], []
        for c in self._rates():
            share = 0.5 * (1.0 + eta) * self.g**2 / self.spread(c, node.t)
            p.append(share - c)
            q.append(-share * math.exp(-c * node.t))
        noise = math.sqrt(eta) * self.g
        return Transfer(self._both(*p), self._both(*q), self._both(noise, noise))
