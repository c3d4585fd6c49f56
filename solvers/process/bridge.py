r"""Processes between two ends (``process.two_ends``): x_t = a_t x0 + b_t x1 + γ_t ε, γ_t² = d_t q_t with d = a but in relays.

BrownianBridge    a = 1 − t, b = t, q = κ² t; BBDM with κ² = 2s                arXiv:2205.07680
DiffusionBridge   a schedule pinned at t_max: DDBM's VP and VE bridges         arXiv:2309.16948
I2SB              the VE bridge of a rate β(t) that is smallest at both ends   arXiv:2302.05872
Restoration       x1 − x0 added as the noise is: IR-SDE, ResShift, RDDM        arXiv:2301.11699, arXiv:2307.12348
Relay             x1 − x0 added on a schedule of its own, noise at both ends   arXiv:2410.02640
Interpolant       linear or trigonometric, γ² = 2 c t (1 − t)                  arXiv:2303.08797
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from scorebed.solvers.process.base import ordered, positive
from scorebed.solvers.process.two_ends import Shares, TwoEnds


@dataclass(frozen=True)
class BrownianBridge(TwoEnds):
    """x_t = (1 − t) x0 + t x1 + κ sqrt(t (1 − t)) ε, ``kappa`` κ (Delyon & Hu 2006). BBDM (arXiv:2205.07680) has κ² = 2s."""

    kappa: float = 1.0
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "kappa", "t_min", "t_max")
        ordered(self, most=1.0)

    def shares(self, t: float) -> Shares:
        k = self.kappa**2
        return Shares(1.0 - t, t, k * t, -1.0, 1.0, k)


@dataclass(frozen=True)
class DiffusionBridge(TwoEnds):
    r"""A schedule's diffusion, conditioned to end at x1 at ``t_max`` = T (DDBM, arXiv:2309.16948, eq. 8).

    a = α_t (1 − r),  b = (α_t/α_T) r,  γ² = σ_t² (1 − r),  r = SNR_T/SNR_t; so q = σ_t²/α_t.
    """

    schedule: Any
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "t_min", "t_max")
        ordered(self)
        self.schedule.node(self.t_max)

    def end_ratio(self, t: float) -> float:
        end = self.schedule.node(self.t_max)
        return float(end.alpha / end.sigma) ** 2

    def shares(self, t: float) -> Shares:
        one, end = self.schedule.node(t), self.schedule.node(self.t_max)
        alpha, var = one.alpha, one.sigma**2
        f, g2 = self.schedule.f(t), self.schedule.g2(t)
        r = (end.alpha / end.sigma * one.sigma / alpha) ** 2 if t < self.t_max else 1.0
        dr = (end.alpha / end.sigma / alpha) ** 2 * g2
        return Shares(
            a=alpha * (1.0 - r),
            b=alpha / end.alpha * r,
            q=var / alpha,
            da=f * alpha * (1.0 - r) - alpha * dr,
            db=(alpha * f * r + alpha * dr) / end.alpha,
            dq=(g2 + f * var) / alpha,
        )


@dataclass(frozen=True)
class I2SB(TwoEnds):
    r"""a = σ̄²/(σ² + σ̄²), b = σ²/(σ² + σ̄²), γ² = σ² σ̄²/(σ² + σ̄²), σ² = ∫_0^t β, σ̄² = ∫_t^1 β (arXiv:2302.05872, eq. 11).

    β = ``beta`` (low + (1 − low) 4 t (1 − t)): small at both ends, as the paper's; ``beta`` its largest value.
    """

    beta: float = 1.0
    low: float = 0.1
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "beta", "low", "t_min", "t_max")
        ordered(self, most=1.0)

    def shares(self, t: float) -> Shares:
        var, all_of_it = self._integral(t), self._integral(1.0)
        rate = self.beta * (self.low + (1.0 - self.low) * 4.0 * t * (1.0 - t))
        b = var / all_of_it
        return Shares(1.0 - b, b, var, -rate / all_of_it, rate / all_of_it, rate)

    def _integral(self, t: float) -> float:
        return self.beta * (self.low * t + (1.0 - self.low) * (2.0 * t * t - 4.0 / 3.0 * t**3))


@dataclass(frozen=True)
class Restoration(TwoEnds):
    r"""x_t = α x0 + (1 − α) x1 + σ ε on a schedule: x0 decays to a degraded x1 while noise comes in.

    IR-SDE (arXiv:2301.11699) on ``MeanReverting``, ResShift (arXiv:2307.12348) on ``ResidualShift``, RDDM (arXiv:2308.13712): ᾱ = 1 − α.
    """

    schedule: Any

    @property
    def t_min(self) -> float:  # type: ignore[override]
        return float(self.schedule.t_min)

    @property
    def t_max(self) -> float:  # type: ignore[override]
        return float(self.schedule.t_max)

    def end_ratio(self, t: float) -> float:
        return 0.0  # nothing is pinned

    def shares(self, t: float) -> Shares:
        one = self.schedule.node(t)
        alpha, f = one.alpha, self.schedule.f(t)
        q = one.sigma**2 / alpha
        return Shares(alpha, 1.0 - alpha, q, f * alpha, -f * alpha, self.schedule.g2(t) / alpha + f * q)


@dataclass(frozen=True)
class Relay(TwoEnds):
    r"""x_t = α_t ((1 − η_t) x0 + η_t x1) + σ_t ε,  η_t = t/t_N: from a noisy x1 at ``t_max`` = t_N on to x0, the residual taken off on the
    way (RDEIC, arXiv:2410.02640). The noise is the schedule's, and decays with it.
    """

    schedule: Any
    t_min: float = 1e-3
    t_max: float = 0.5

    def __post_init__(self) -> None:
        positive(self, "t_min", "t_max")
        ordered(self, most=self.schedule.t_max)

    def decay(self, t: float) -> tuple[float, float]:
        alpha = float(self.schedule.node(t).alpha)
        return alpha, float(self.schedule.f(t)) * alpha

    def end_ratio(self, t: float) -> float:
        return 0.0

    def shares(self, t: float) -> Shares:
        one, (alpha, slope) = self.schedule.node(t), self.decay(t)
        eta, var = t / self.t_max, one.sigma**2
        return Shares(
            a=alpha * (1.0 - eta),
            b=alpha * eta,
            q=var / alpha,
            da=slope * (1.0 - eta) - alpha / self.t_max,
            db=slope * eta + alpha / self.t_max,
            dq=(self.schedule.g2(t) + self.schedule.f(t) * var) / alpha,
        )


Path = Literal["linear", "trigonometric"]


@dataclass(frozen=True)
class Interpolant(TwoEnds):
    r"""x_t = a x0 + b x1 + γ ε with γ² = 2 c t (1 − t), ``spread`` c (Albergo, Boffi & Vanden-Eijnden, arXiv:2303.08797, table 4).

    ``path``: linear, a = 1 − t, b = t: a Brownian bridge with κ² = 2c; trigonometric, a = cos ½πt, b = sin ½πt.
    """

    path: Path = "linear"
    spread: float = 1.0
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "spread", "t_min", "t_max")
        ordered(self, most=1.0)
        if self.path not in get_args(Path):
            raise ValueError(f"Interpolant: path = {self.path!r} must be one of {', '.join(map(repr, get_args(Path)))}")

    def shares(self, t: float) -> Shares:
        c = 2.0 * self.spread
        if self.path == "linear":
            return Shares(1.0 - t, t, c * t, -1.0, 1.0, c)
        half = 0.5 * math.pi
        u = half * (1.0 - t)
        a, b = math.sin(u), math.cos(u)
        share = (1.0 - t) / a if u else 1.0 / half  # (1 − t)/sin(½π(1 − t))
        slope = (share * half * b - 1.0) / a if u > 1e-4 else half / 3.0 * (1.0 - t)
        return Shares(a, b, c * t * share, -half * b, half * a, c * (share + t * slope))
