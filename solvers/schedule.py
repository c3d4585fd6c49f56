r"""Noise schedules: x_t = alpha_t x0 + sigma_t eps, and the forward SDE dx = f(t) x dt + g(t) dW that has these marginals.

For every schedule

    f(t) = d log(alpha)/dt,      g²(t) = d sigma²/dt - 2 f sigma²,      lam = log(alpha/sigma),      rho = sigma/alpha = e^{-lam},

and t grows with noise. Both directions, ``node(t)`` and ``at_lam(lam)``, are closed forms free of cancellation, so that
alpha and sigma keep full relative accuracy where 1 - alpha or sigma is tiny. Sources: Song et al. (arXiv:2011.13456, eqs. 29-33) for VP,
sub-VP and VE; Nichol & Dhariwal (arXiv:2102.09672, eq. 17) for the cosine; Karras et al. (arXiv:2206.00364) for EDM;
Liu et al. (arXiv:2209.03003) for the rectified flow, with t reversed so that t = 1 is noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from scorebed.solvers.process import SCALAR, Point, ScalarProcess
from scorebed.solvers.process.base import as_floats, ordered, positive

_SLACK = 1e-12  # relative round-off allowed at the ends of a schedule's range
_HUGE = 1e300  # the largest sigma of EDM
_HUGE_LOG = math.log(_HUGE)


@dataclass(frozen=True, slots=True)
class Node(Point):
    """One point of a schedule. Plain Python floats, so that no array's dtype or device is ever touched."""

    t: float
    alpha: float
    sigma: float
    lam: float
    schedule: Schedule | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        as_floats(self, "t", "alpha", "sigma", "lam")

    def __iter__(self) -> Iterator[float]:
        """(t, alpha, sigma, lam), so that a node unpacks like a tuple."""
        return iter((self.t, self.alpha, self.sigma, self.lam))

    @property
    def clock(self) -> float:  # type: ignore[override]
        """lam."""
        return self.lam

    @property
    def process(self) -> Any:
        """The schedule; what every scalar process shares, where there is none or it has only the six members of ``Schedule``."""
        return self.schedule if hasattr(self.schedule, "kind") else SCALAR

    def at(self, clock: float) -> Node:
        """The node of the same schedule at lam = ``clock``.

        Returns:
            the Node at lam = ``clock``.

        Raises:
            ValueError: this node carries no schedule.
        """
        if self.schedule is None:
            raise ValueError("this node has schedule=None and knows no other: make it by schedule.node(t)")
        return self.schedule.at_lam(clock)

    @property
    def rho(self) -> float:
        """sigma / alpha = e^{-lam}, the noise level of x / alpha."""
        return self.sigma / self.alpha if self.alpha else math.inf


@runtime_checkable
class Schedule(Protocol):
    """What a schedule offers. ``t_min`` and ``t_max`` bound the grids made on it by default."""

    @property
    def t_min(self) -> float: ...
    @property
    def t_max(self) -> float: ...
    def node(self, t: float) -> Node: ...
    def at_lam(self, lam: float) -> Node: ...
    def f(self, t: float) -> float: ...
    def g2(self, t: float) -> float: ...


def _softplus(z: float) -> float:
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def _log(z: float) -> float:
    return math.log(z) if z > 0.0 else -math.inf


def _inside(name: str, t: float, low: float, high: float) -> float:
    """``t`` as a float in [low, high], round-off at the ends forgiven; anything else is refused."""
    t = float(t)
    if not low - _SLACK * max(1.0, abs(low)) <= t <= high * (1.0 + _SLACK):
        raise ValueError(f"t = {t!r} is outside {name}: give {low:g} <= t <= {high:g}")
    return min(max(t, low), high)


def _check_lam(name: str, lam: float) -> float:
    lam = float(lam)
    if math.isnan(lam):
        raise ValueError(f"lam is nan; {name} takes a number")
    return lam


@dataclass(frozen=True)
class VP(ScalarProcess):
    r"""Variance preserving, beta(t) = beta_min + (beta_max - beta_min) t, for t in [0, t_max].

    With B(t) = ∫_0^t beta:  alpha = e^{-B/2},  sigma² = 1 - e^{-B},  f = -beta/2,  g² = beta (arXiv:2011.13456, eqs. 32-33).
    beta_min = beta_max gives the constant-rate Ornstein-Uhlenbeck process.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "beta_min", "beta_max", "t_min", "t_max")
        ordered(self)
        if not 0.0 < self.beta(self.t_max) < math.inf:
            raise ValueError(f"{type(self).__name__}: beta at t_max = {self.beta(self.t_max)!r} must be positive and finite")

    def beta(self, t: float) -> float:
        return self.beta_min + (self.beta_max - self.beta_min) * t

    def integral(self, t: float) -> float:
        """B(t), the integral of beta from 0."""
        return self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t * t

    def time_of(self, integral: float) -> float:
        """The inverse of B, as the root of a quadratic in its cancellation-free form."""
        slope = self.beta_max - self.beta_min
        return 2.0 * integral / (self.beta_min + math.sqrt(max(self.beta_min**2 + 2.0 * slope * integral, 0.0)))

    def node(self, t: float) -> Node:
        t = _inside("VP", t, 0.0, self.t_max)
        integral = self.integral(t)
        sigma = math.sqrt(-math.expm1(-integral))
        return Node(t, math.exp(-0.5 * integral), sigma, -0.5 * integral - _log(sigma), self)

    def at_lam(self, lam: float) -> Node:
        lam = _check_lam("VP", lam)
        log_alpha, log_sigma = -0.5 * _softplus(-2.0 * lam), -0.5 * _softplus(2.0 * lam)
        t = _inside("VP", self.time_of(-2.0 * log_alpha), 0.0, self.t_max)
        return Node(t, math.exp(log_alpha), math.exp(log_sigma), lam, self)

    def f(self, t: float) -> float:
        return -0.5 * self.beta(_inside(type(self).__name__, t, 0.0, self.t_max))

    def g2(self, t: float) -> float:
        return self.beta(_inside("VP", t, 0.0, self.t_max))


@dataclass(frozen=True)
class SubVP(VP):
    r"""Sub-variance preserving: alpha = e^{-B/2}, sigma = 1 - e^{-B}, f = -beta/2, g² = beta (1 - e^{-2B}) (arXiv:2011.13456, eq. 29).

    Here rho = 2 sinh(B/2), hence B = 2 asinh(rho/2).
    """

    def node(self, t: float) -> Node:
        t = _inside("SubVP", t, 0.0, self.t_max)
        integral = self.integral(t)
        sigma = -math.expm1(-integral)
        return Node(t, math.exp(-0.5 * integral), sigma, -0.5 * integral - _log(sigma), self)

    def at_lam(self, lam: float) -> Node:
        lam = _check_lam("SubVP", lam)
        # asinh(rho/2) from log(rho), so that a huge rho does not overflow
        half = (
            -lam + math.log(0.5) + math.log1p(math.sqrt(1.0 + 4.0 * math.exp(2.0 * lam))) if lam < 0.0 else math.asinh(0.5 * math.exp(-lam))
        )
        t = _inside("SubVP", self.time_of(2.0 * half), 0.0, self.t_max)
        return Node(t, math.exp(-half), -math.expm1(-2.0 * half), lam, self)

    def g2(self, t: float) -> float:
        t = _inside("SubVP", t, 0.0, self.t_max)
        return -self.beta(t) * math.expm1(-2.0 * self.integral(t))


@dataclass(frozen=True)
class Cosine(ScalarProcess):
    r"""Cosine: alpha = cos(theta)/cos(theta0), theta = (pi/2)(t + s)/(1 + s), theta0 = theta(0), sigma² = 1 - alpha²
    (arXiv:2102.09672, eq. 17).

    f = -theta' tan(theta),  g² = 2 theta' tan(theta) = -2 f, since sigma² + alpha² = 1.
    Everything is a function of phi = theta - theta0:  sigma² = sin(phi) sin(phi + 2 theta0)/cos²(theta0), free of cancellation.
    t = 1 is pure noise (lam = -inf); grids stop at t_max before it.
    """

    s: float = 0.008
    t_min: float = 1e-3
    t_max: float = 0.999

    def __post_init__(self) -> None:
        as_floats(self, "s")
        if not (math.isfinite(self.s) and self.s >= 0.0):
            raise ValueError(f"Cosine: s = {self.s!r} must be finite and not negative")
        positive(self, "t_min", "t_max")
        ordered(self, most=1.0)

    @property
    def _rate(self) -> float:
        return 0.5 * math.pi / (1.0 + self.s)

    @property
    def _theta0(self) -> float:
        return self._rate * self.s

    def node(self, t: float) -> Node:
        t = _inside("Cosine", t, 0.0, 1.0)
        phi, theta0 = self._rate * t, self._theta0
        # cos(theta) = sin(pi/2 - theta), and pi/2 - theta = rate (1 - t) keeps its relative accuracy as t -> 1
        alpha = math.sin(self._rate * (1.0 - t)) / math.cos(theta0)
        sigma = math.sqrt(math.sin(phi) * math.sin(phi + 2.0 * theta0)) / math.cos(theta0)
        return Node(t, alpha, sigma, _log(alpha) - _log(sigma), self)

    def at_lam(self, lam: float) -> Node:
        lam = _check_lam("Cosine", lam)
        alpha, sigma = math.exp(-0.5 * _softplus(-2.0 * lam)), math.exp(-0.5 * _softplus(2.0 * lam))
        sin0, cos0 = math.sin(self._theta0), math.cos(self._theta0)
        hyp = math.hypot(sigma, alpha * sin0)  # sin(theta)
        shared = hyp + alpha * sin0
        sin_phi = cos0 * sigma * sigma / shared if shared else 0.0
        t = math.atan2(sin_phi, alpha * cos0 * cos0 + hyp * sin0) / self._rate
        return Node(_inside("Cosine", t, 0.0, 1.0), alpha, sigma, lam, self)

    def f(self, t: float) -> float:
        t = _inside("Cosine", t, 0.0, 1.0)
        if t < 0.5:
            return -self._rate * math.tan(self._rate * t + self._theta0)
        remaining = self._rate * (1.0 - t)  # pi/2 - theta without cancellation
        return -self._rate / math.tan(remaining) if remaining > 0.0 else -math.inf

    def g2(self, t: float) -> float:
        return -2.0 * self.f(t)


@dataclass(frozen=True)
class VE(ScalarProcess):
    """Variance exploding: alpha = 1, sigma = sigma_min (sigma_max/sigma_min)^t, f = 0, g² = 2 sigma² log(sigma_max/sigma_min).

    Source: arXiv:2011.13456, eq. 31.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    t_min: float = 0.0
    t_max: float = 1.0

    def __post_init__(self) -> None:
        as_floats(self, "t_min")
        positive(self, "sigma_min", "sigma_max", "t_max")
        ordered(self, "sigma_min", "sigma_max")
        ordered(self)
        if self.t_min < 0.0:
            raise ValueError(f"VE: t_min = {self.t_min!r} must not be negative")

    @property
    def _rate(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    def node(self, t: float) -> Node:
        t = _inside("VE", t, 0.0, self.t_max)
        log_sigma = math.log(self.sigma_min) + t * self._rate
        return Node(t, 1.0, math.exp(log_sigma), -log_sigma, self)

    def at_lam(self, lam: float) -> Node:
        lam = _check_lam("VE", lam)
        t = (-lam - math.log(self.sigma_min)) / self._rate
        return Node(_inside("VE", t, 0.0, self.t_max), 1.0, math.exp(-lam), lam, self)

    def f(self, t: float) -> float:
        _inside("VE", t, 0.0, self.t_max)
        return 0.0

    def g2(self, t: float) -> float:
        return 2.0 * self.node(t).sigma ** 2 * self._rate


@dataclass(frozen=True)
class EDM(ScalarProcess):
    """EDM: alpha = 1, sigma = t, f = 0, g² = 2t; grids run from sigma_max to sigma_min (arXiv:2206.00364, Table 1)."""

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        positive(self, "sigma_min", "sigma_max")
        ordered(self, "sigma_min", "sigma_max")

    @property
    def t_min(self) -> float:
        return self.sigma_min

    @property
    def t_max(self) -> float:
        return self.sigma_max

    def node(self, t: float) -> Node:
        t = _inside("EDM", t, 0.0, _HUGE)
        return Node(t, 1.0, t, -_log(t), self)

    def at_lam(self, lam: float) -> Node:
        lam = _check_lam("EDM", lam)
        if lam < -_HUGE_LOG:
            raise ValueError(f"lam = {lam!r} is outside EDM: sigma = e^-lam exceeds {_HUGE:g}, give lam >= {-_HUGE_LOG:.1f}")
        sigma = min(math.exp(-lam), _HUGE)
        return Node(sigma, 1.0, sigma, lam, self)

    def f(self, t: float) -> float:
        _inside("EDM", t, 0.0, _HUGE)
        return 0.0

    def g2(self, t: float) -> float:
        return 2.0 * _inside("EDM", t, 0.0, _HUGE)


@dataclass(frozen=True)
class RectifiedFlow(ScalarProcess):
    """Rectified flow: alpha = 1 - t, sigma = t, f = -1/(1-t), g² = 2t/(1-t) (arXiv:2209.03003, with t = 1 the noise).

    t = 1 is pure noise (lam = -inf); grids stop at t_max before it.
    """

    t_min: float = 1e-3
    t_max: float = 0.999

    def __post_init__(self) -> None:
        positive(self, "t_min", "t_max")
        ordered(self, most=1.0)

    def node(self, t: float) -> Node:
        t = _inside("RectifiedFlow", t, 0.0, 1.0)
        return Node(t, 1.0 - t, t, _log(1.0 - t) - _log(t), self)

    def at_lam(self, lam: float) -> Node:
        lam = _check_lam("RectifiedFlow", lam)
        sigma = math.exp(-_softplus(lam))
        return Node(sigma, math.exp(-_softplus(-lam)), sigma, lam, self)

    def f(self, t: float) -> float:
        t = _inside("RectifiedFlow", t, 0.0, 1.0)
        return -1.0 / (1.0 - t) if t < 1.0 else -math.inf

    def g2(self, t: float) -> float:
        return -2.0 * float(t) * self.f(t)


SCHEDULES = {c.__name__: c for c in (VP, Cosine, SubVP, VE, EDM, RectifiedFlow)}
