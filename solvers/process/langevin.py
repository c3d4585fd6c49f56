r"""Critically damped Langevin diffusion: phase space (x, v), noise on the velocity alone (Dockhorn, Vahdat & Kreis, arXiv:2112.07068).

    dx = β v/M dt,    dv = −β x dt − β Γ v/M dt + sqrt(2 Γ β) dW,    Γ = 2 sqrt(M)                                (eq. 5)

With u = v/sqrt(M) and the clock of the motion, ς = β t/sqrt(M), the numbers M and β are gone:

    dx = u dς,   du = −(x + 2u) dς + 2 dW_ς,    z_ς = Φ(ς) z_0 + noise of covariance Σ(ς),

    Φ(ς) = e^{−ς} [[1 + ς, ς], [−ς, 1 − ς]],
    Σ_xx = 1 − e^{−2ς}(1 + 2ς + 2ς²),   Σ_xu = 2ς² e^{−2ς},   Σ_uu = 1 − e^{−2ς}(1 − 2ς + 2ς²);

the stationary law is N(0, 1) in x and in u. The covariance of noise that comes in over a negative time is −Σ(−ς), which the reverse SDE
needs. Of the probability flow with constant m, dz = F z dς + ½ G Gᵀ Σ^{-1} (z − Φ m) dς, the propagator is R_t R_s^{-1} with R the root of
Σ that solves it: every root is L times a turn, L lower triangular, and this one turns by

    R = L Rot(θ),    θ' = −sqrt(det Σ)/Σ_xx,

a scalar quadrature. (Zhang, Tao & Chen, arXiv:2206.05564, find R by integrating their eq. 17.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from scorebed.solvers.process.base import Instant, ordered, positive
from scorebed.solvers.process.general import GeneralProcess, forwards
from scorebed.solvers.process.linear import Matrix, Transfer, cholesky, inverse, scaled, times, total, transposed

_POINTS, _WEIGHTS = (a.tolist() for a in np.polynomial.legendre.leggauss(16))
_PANEL = 0.25  # of log ς: the integrand is smooth on this scale
_FORCE: Matrix = ((0.0, 1.0), (-1.0, -2.0))


def motion(clock: float) -> Matrix:
    """Φ(ς)."""
    decay = math.exp(-clock)
    return (decay * (1.0 + clock), decay * clock), (-decay * clock, decay * (1.0 - clock))


def covariance(clock: float) -> Matrix:
    """Σ(ς), to full relative accuracy near 0; of either sign of ς."""
    y = 2.0 * clock
    decay, cross = math.exp(-y), 2.0 * clock * clock * math.exp(-y)
    if abs(y) < 1.0:  # e^{-y} Σ_{k≥3} y^k/k!, which both have in common
        tail = decay * math.fsum(y**k / math.factorial(k) for k in range(3, 22))
        return (tail, cross), (cross, 2.0 * y * decay + tail)
    half = 0.5 * y * y
    return (1.0 - decay * (1.0 + y + half), cross), (cross, 1.0 - decay * (1.0 - y + half))


def turning(spread: Callable[[float], Matrix], start: float, end: float) -> float:
    """∫ −sqrt(det S)/S_xx dς from ``start`` to ``end``: by how much the root of S turns that the probability flow carries along.

    Gauss-Legendre quadrature in log ς on panels.

    Returns:
        the angle in radians, a float.
    """
    low, high = math.log(start), math.log(end)
    panels = max(1, math.ceil(abs(high - low) / _PANEL))
    half, parts = 0.5 * (high - low) / panels, []
    for i in range(panels):
        for p, w in zip(_POINTS, _WEIGHTS, strict=True):
            clock = math.exp(low + half * (2 * i + 1 + p))
            (xx, xu), (_, uu) = spread(clock)
            parts.append(w * half * clock * math.sqrt(uu - xu * xu / xx) / math.sqrt(xx))
    return -math.fsum(parts)


def flow_matrix(spread: Callable[[float], Matrix], start: float, end: float) -> Matrix:
    """R(end) R(start)^{-1} for the root R of S that the probability flow carries along."""
    angle = turning(spread, start, end)
    turn = ((math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle)))
    return times(times(cholesky(spread(end)), turn), inverse(cholesky(spread(start))))


@lru_cache(maxsize=4096)
def _flow(start: float, end: float) -> Matrix:
    return flow_matrix(covariance, start, end)


@dataclass(frozen=True)
class CLD(GeneralProcess):
    """Critically damped Langevin diffusion with constant β: ``beta`` β, ``mass`` M; the velocities of the data have variance ``gamma`` M.

    A model gives (E[x0 | x, v], E[v0 | x, v]). The clock of points is −½ log(e^{2ς} − 1), which falls with noise as lam does.
    """

    beta: float = 4.0
    mass: float = 0.25
    gamma: float = 0.04
    t_min: float = 1e-3
    t_max: float = 1.0

    kind = "phase"
    state = ("x", "v")
    gives = ("x0", "v0")
    draws = 2

    def __post_init__(self) -> None:
        positive(self, "beta", "mass", "gamma", "t_min", "t_max")
        ordered(self)

    @property
    def rate(self) -> float:
        """dς/dt."""
        return self.beta / math.sqrt(self.mass)

    def node(self, t: float) -> Instant:
        t = float(t)
        if not 0.0 < t <= self.t_max * (1.0 + 1e-12):
            raise ValueError(f"t = {t!r} is outside CLD: give 0 < t <= {self.t_max:g}")
        return Instant(t, -0.5 * math.log(math.expm1(2.0 * self.rate * t)), self)

    def at(self, clock: float) -> Instant:
        clock = float(clock)
        t = 0.5 * math.log1p(math.exp(-2.0 * clock)) / self.rate
        if not 0.0 < t <= self.t_max * (1.0 + 1e-12):
            raise ValueError(f"clock = {clock!r} is outside CLD: it is t = {t:g}, give 0 < t <= {self.t_max:g}")
        return Instant(t, clock, self)

    def forward(self, node: Instant) -> tuple[Matrix, Matrix]:
        clock = self.rate * node.t
        return self._in_v(motion(clock)), self._spread(covariance(clock))

    def transfer(self, s: Instant, t: Instant, eta: float = 0.0) -> Transfer:
        if eta not in (0.0, 1.0):
            return super().transfer(s, t, eta)
        forwards(s, t, eta)
        start, end = self.rate * s.t, self.rate * t.t
        none = ((0.0, 0.0), (0.0, 0.0))
        if start == end:
            return Transfer(((1.0, 0.0), (0.0, 1.0)), none, none)
        if eta == 0.0:
            a = _flow(start, end)
        else:  # q(z_t | z_s, z_0): covariances Σ_t from z_0, and K of what z_s says of z_t
            noise = scaled(-1.0, covariance(end - start))
            here = covariance(end)
            gain = times(here, inverse(total([(1.0, here), (1.0, noise)])))
            a, spread = times(gain, motion(end - start)), times(gain, noise)
        b = total([(1.0, motion(end)), (-1.0, times(a, motion(start)))])
        c = none if eta == 0.0 else self._root(cholesky(_even(spread)))
        return Transfer(self._in_v(a), self._in_v(b), c)

    def motion(self, node: Instant) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        force = self.rate * np.array(self._in_v(_FORCE))
        return force @ np.array(self.forward(node)[0]), force, np.diag([0.0, 4.0 * self.rate * self.mass])

    def rates(self, node: Instant, eta: float = 1.0) -> Transfer:
        clock = self.rate * node.t
        (_, _), (low, high) = inverse(covariance(clock))
        pull = ((0.0, 0.0), (2.0 * (1.0 + eta) * low, 2.0 * (1.0 + eta) * high))  # (1 + η)/2 G Gᵀ Σ^{-1}, G = (0, 2)
        p, q = total([(1.0, _FORCE), (1.0, pull)]), scaled(-1.0, times(pull, motion(clock)))
        g = self._root(((0.0, 0.0), (0.0, 2.0 * math.sqrt(eta * self.rate))))
        return Transfer(self._in_v(scaled(self.rate, p)), self._in_v(scaled(self.rate, q)), g)

    def _in_v(self, m: Matrix) -> Matrix:
        """A map of (x, u) as one of (x, v)."""
        unit, ((a, b), (c, d)) = math.sqrt(self.mass), m
        return (a, b / unit), (c * unit, d)

    def _root(self, m: Matrix) -> Matrix:
        """A root of a covariance of (x, u) as one of (x, v)."""
        return m[0], scaled(math.sqrt(self.mass), m)[1]

    def _spread(self, m: Matrix) -> Matrix:
        """A covariance of (x, u) as one of (x, v)."""
        unit, ((a, b), (_, d)) = math.sqrt(self.mass), m
        return (a, b * unit), (b * unit, d * self.mass)


def _even(m: Matrix) -> Matrix:
    """The symmetric part."""
    return scaled(0.5, total([(1.0, m), (1.0, transposed(m))]))
