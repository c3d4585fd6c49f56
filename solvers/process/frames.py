r"""Sequences: a state of several frames (tokens, coordinates, times), each with a level of noise of its own.

    z_k = α(τ_k) x_k + σ(τ_k) ε_k,      τ_k = τ_k(t) the time of frame k on one schedule,      k = 0, 1, …

A model gives the denoised mean of every frame from all of them. Since the noise of each frame is its own, transfers are diagonal: DDIM and
DDPM frame by frame, and a frame whose time stands still stays where it is.

    Levels    λ_k = λ(t) + δ_k: a schedule for each coordinate            MuLAN, arXiv:2312.13236
    Rolling   frame k begins and ends later than frame k − 1: pyramids    arXiv:2402.09470; Diffusion forcing, arXiv:2407.01392
    Field     one level for all, noise of covariance K over the frames: functions of time (arXiv:2211.02590), trace-class noise
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from scorebed.solvers.process.base import Instant
from scorebed.solvers.process.general import floats, forwards, root
from scorebed.solvers.process.linear import LinearProcess, Matrix, Transfer


class Frames(LinearProcess):
    """A process of sequences: ``place(node)`` has the node of the schedule at which each frame is, ``motion`` how fast its time runs."""

    schedule: Any
    kind = "sequence"

    @property
    def frames(self) -> int:
        """How many there are."""
        raise NotImplementedError

    def place(self, t: float) -> list[Any]:
        """The node of ``schedule`` of each frame at t."""
        raise NotImplementedError

    def speed(self, t: float) -> list[float]:
        """dτ_k/dt."""
        raise NotImplementedError

    @property
    def state(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"x{k}" for k in range(self.frames))

    @property
    def gives(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.state

    @property
    def draws(self) -> int:  # type: ignore[override]
        return self.frames

    @property
    def t_min(self) -> float:
        return float(self.schedule.t_min)

    @property
    def t_max(self) -> float:
        return float(self.schedule.t_max)

    def node(self, t: float) -> Instant:
        return Instant(float(t), self.schedule.node(t).lam, self)

    def at(self, clock: float) -> Instant:
        return Instant(self.schedule.at_lam(clock).t, float(clock), self)

    def forward(self, node: Instant) -> tuple[Matrix, Matrix]:
        place = self.place(node.t)
        return _diagonal([n.alpha for n in place]), _diagonal([n.sigma**2 for n in place])

    def transfer(self, s: Instant, t: Instant, eta: float = 0.0) -> Transfer:
        forwards(s, t, eta)
        rows = [_step(a, b, eta) for a, b in zip(self.place(s.t), self.place(t.t), strict=True)]
        a, b, c = (_diagonal([row[i] for row in rows]) for i in range(3))
        return Transfer(a, b, c)

    def rates(self, node: Instant, eta: float = 1.0) -> Transfer:
        rows = []
        for place, speed in zip(self.place(node.t), self.speed(node.t), strict=True):
            rates = self.schedule.rates(place, eta)
            p, q, g = (m[0][0] for m in rates)
            rows.append((speed * p, speed * q, math.sqrt(speed) * g))
        p, q, g = (_diagonal([row[i] for row in rows]) for i in range(3))
        return Transfer(p, q, g)


def _step(s: Any, t: Any, eta: float) -> tuple[float, float, float]:
    """A, B and C of one frame; (1, 0, 0) where it stands still."""
    if s.lam == t.lam:
        return 1.0, 0.0, 0.0
    return tuple(m[0][0] for m in s.to(t, eta))


def _diagonal(values: list[float]) -> Matrix:
    return tuple(tuple(v if i == j else 0.0 for j in range(len(values))) for i, v in enumerate(values))


@dataclass(frozen=True)
class Levels(Frames):
    """λ_k = λ(t) + δ_k: ``shifts`` δ, one for each frame or coordinate."""

    schedule: Any
    shifts: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        shifts = tuple(map(float, self.shifts))
        if not shifts or not all(map(math.isfinite, shifts)):
            raise ValueError(f"Levels: shifts = {self.shifts!r} must be finite numbers, one for each frame")
        object.__setattr__(self, "shifts", shifts)

    @property
    def frames(self) -> int:
        return len(self.shifts)

    def place(self, t: float) -> list[Any]:
        lam = self.schedule.node(t).lam
        return [self.schedule.at_lam(lam + shift) for shift in self.shifts]

    def speed(self, t: float) -> list[float]:
        slope = self._slope(t)
        return [slope / self._slope(n.t) for n in self.place(t)]

    def _slope(self, t: float) -> float:
        """dλ/dt = −g²/2σ²."""
        return -0.5 * self.schedule.g2(t) / self.schedule.node(t).sigma ** 2


@dataclass(frozen=True)
class Rolling(Frames):
    """Frame k is at (1 + lag) t − lag (1 − k/(K − 1)) of the way from data to noise, held at the ends: with ``lag`` 0 all frames
    together, the larger the more one by one, the first first. ``count`` K frames."""

    schedule: Any
    count: int = 4
    lag: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.count, int) or self.count < 1:
            raise ValueError(f"Rolling: count = {self.count!r} must be an integer of at least 1")
        lag = float(self.lag)
        if not (math.isfinite(lag) and lag >= 0.0):
            raise ValueError(f"Rolling: lag = {self.lag!r} must be finite and at least 0")
        object.__setattr__(self, "lag", lag)

    @property
    def frames(self) -> int:
        return self.count

    def _times(self, t: float) -> list[float]:
        low, high = self.t_min, self.t_max
        way = (t - low) / (high - low)
        return [(1.0 + self.lag) * way - self.lag * (1.0 - k / max(1, self.count - 1)) for k in range(self.count)]

    def place(self, t: float) -> list[Any]:
        low, high = self.t_min, self.t_max
        return [self.schedule.node(low + (high - low) * min(1.0, max(0.0, way))) for way in self._times(t)]

    def speed(self, t: float) -> list[float]:
        return [1.0 + self.lag if 0.0 < way < 1.0 else 0.0 for way in self._times(t)]


@dataclass(frozen=True)
class Field(Frames):
    """One level for all frames, noise of covariance ``kernel`` K over them: z = α x + σ K^{1/2} ε, the frames the values of a function."""

    schedule: Any
    kernel: Matrix = ((1.0,),)

    def __post_init__(self) -> None:
        k = np.array(self.kernel, dtype=float)
        if k.ndim != 2 or not np.isfinite(k).all() or not np.array_equal(k, k.T) or np.linalg.eigvalsh(k).min() < -1e-10 * k.max():
            raise ValueError(f"Field: kernel {k.shape} must be a symmetric positive semi-definite matrix over the frames")
        object.__setattr__(self, "kernel", floats(k))

    @property
    def frames(self) -> int:
        return len(self.kernel)

    def place(self, t: float) -> list[Any]:
        return [self.schedule.node(t)] * self.frames

    def speed(self, t: float) -> list[float]:
        return [1.0] * self.frames

    def forward(self, node: Instant) -> tuple[Matrix, Matrix]:
        a, spread = super().forward(node)
        return a, floats(spread[0][0] * np.array(self.kernel))

    def transfer(self, s: Instant, t: Instant, eta: float = 0.0) -> Transfer:
        a, b, c = super().transfer(s, t, eta)
        return Transfer(a, b, floats(c[0][0] * root(np.array(self.kernel))))

    def rates(self, node: Instant, eta: float = 1.0) -> Transfer:
        p, q, g = super().rates(node, eta)
        return Transfer(p, q, floats(g[0][0] * root(np.array(self.kernel))))
