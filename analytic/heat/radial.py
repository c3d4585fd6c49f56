r"""The law of the distance r that Brownian motion has gone at time t: density A(r) K_t(r), A the area of the sphere of radius r.

    S^d: A = |S^{d-1}| sin^{d-1} r        H^d: A = |S^{d-1}| sinh^{d-1} r        SO(3): A = 16π sin²(r/2)

Distribution function, survival function and their inverses come from one table per time: panels as wide as the density allows, on each the
Legendre interpolant of the density relative to its largest value there, integrated term by term. Both functions are accumulated from their
own end as logarithms, so that each keeps its relative accuracy (about 1e-13) down to e^{-700} of the mass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, singledispatch
from typing import Any

import numpy as np
from scipy.special import eval_legendre

_ORDER = 24
REACH = 40.0  # standard deviations that a table covers, unless the space ends before
_PANELS = 8_000
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(_ORDER)
_VALUES = np.stack([eval_legendre(k, _NODES) for k in range(_ORDER)])
_TO_COEFFICIENTS = (_VALUES * _WEIGHTS).T * (np.arange(_ORDER) + 0.5)


class RadialLaw:
    """A law on [0, end] given by the logarithm of its density, not normalised by itself.

    Args:
        log_density: of r, elementwise.
        breaks: the panels' ends, increasing.
    """

    def __init__(self, log_density: Callable[[np.ndarray], np.ndarray], breaks: np.ndarray) -> None:
        self.breaks = breaks
        self.half = 0.5 * np.diff(breaks)
        nodes = breaks[:-1, None] + self.half[:, None] * (1.0 + _NODES)
        with np.errstate(divide="ignore"):
            log = log_density(nodes.reshape(-1)).reshape(nodes.shape)
        self.top = np.maximum(log.max(1), -1e300)
        values = np.exp(log - self.top[:, None])
        self.coefficients = values @ _TO_COEFFICIENTS
        self.antiderivative = _integrate(self.coefficients)
        with np.errstate(divide="ignore"):
            self.log_mass = self.top + np.log(self.half) + np.log(values @ _WEIGHTS)
        self.log_low = np.concatenate([[-np.inf], np.logaddexp.accumulate(self.log_mass)])
        self.log_high = np.concatenate([np.logaddexp.accumulate(self.log_mass[::-1])[::-1], [-np.inf]])

    @property
    def end(self) -> float:
        """The largest r that the table knows."""
        return float(self.breaks[-1])

    @property
    def mass(self) -> float:
        """What the density integrates to."""
        return float(np.exp(self.log_low[-1]))

    def _panel(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        j = np.clip(np.searchsorted(self.breaks, r, side="right") - 1, 0, len(self.half) - 1)
        return j, np.clip((r - self.breaks[j]) / self.half[j] - 1.0, -1.0, 1.0)

    def log_density(self, r: np.ndarray) -> np.ndarray:
        j, u = self._panel(r)
        with np.errstate(divide="ignore"):
            return self.top[j] + np.log(np.maximum(_legendre(self.coefficients[j], u), 0.0))

    def logs(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(log F, log (1 - F)) at r, from the table's two ends."""
        j, u = self._panel(r)
        below = np.maximum(_legendre(self.antiderivative[j], u), 0.0)
        above = np.maximum(_legendre(self.antiderivative[j], np.ones_like(u)) - below, 0.0)
        scale = self.top[j] + np.log(self.half[j])
        with np.errstate(divide="ignore"):
            return np.logaddexp(self.log_low[j], scale + np.log(below)), np.logaddexp(self.log_high[j + 1], scale + np.log(above))

    def inverse(self, log_low: np.ndarray, log_high: np.ndarray) -> np.ndarray:
        """The r with log F = ``log_low``, or log (1 - F) = ``log_high`` where that is the smaller one."""
        lower = log_low <= log_high
        low_j = np.searchsorted(self.log_low, log_low, side="right") - 1
        high_j = len(self.half) - np.searchsorted(self.log_high[::-1], log_high, side="right")
        j = np.clip(np.where(lower, low_j, high_j), 0, len(self.half) - 1)
        scale = self.top[j] + np.log(self.half[j])
        total = _legendre(self.antiderivative[j], np.ones(len(j)))
        with np.errstate(over="ignore", invalid="ignore"):
            from_low = np.exp(log_low - scale) - np.exp(self.log_low[j] - scale)
            from_high = total - (np.exp(log_high - scale) - np.exp(self.log_high[j + 1] - scale))
        goal = np.clip(np.nan_to_num(np.where(lower, from_low, from_high)), 0.0, total)
        a, b = -np.ones(len(j)), np.ones(len(j))
        u = np.clip(2.0 * goal / np.maximum(total, 1e-300) - 1.0, -1.0, 1.0)
        for _ in range(60):
            gap = _legendre(self.antiderivative[j], u) - goal
            a, b = np.where(gap <= 0.0, u, a), np.where(gap >= 0.0, u, b)
            with np.errstate(divide="ignore", invalid="ignore"):
                new = u - gap / _legendre(self.coefficients[j], u)
            new = np.where((new > a) & (new < b), new, 0.5 * (a + b))
            done = np.abs(new - u) <= 1e-16
            u = new
            if done.all():
                break
        return self.breaks[j] + self.half[j] * (1.0 + u)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """n independent draws, by inversion."""
        u = rng.random(n)
        with np.errstate(divide="ignore"):
            return self.inverse(np.log(u), np.log1p(-u))


def _legendre(coefficients: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Σ_k c_k P_k(u) with one row of coefficients per point (Clenshaw)."""
    one, two = np.zeros_like(u), np.zeros_like(u)
    for k in range(coefficients.shape[1] - 1, 0, -1):
        one, two = coefficients[:, k] + (2 * k + 1) / (k + 1) * u * one - (k + 1) / (k + 2) * two, one
    return coefficients[:, 0] + u * one - 0.5 * two


def _integrate(coefficients: np.ndarray) -> np.ndarray:
    """Coefficients of the antiderivative that vanishes at -1: ∫ P_k = (P_{k+1} - P_{k-1})/(2k+1)."""
    rows, order = coefficients.shape
    out = np.zeros((rows, order + 1))
    out[:, 0] += coefficients[:, 0]
    out[:, 1] += coefficients[:, 0]
    for k in range(1, order):
        out[:, k + 1] += coefficients[:, k] / (2 * k + 1)
        out[:, k - 1] -= coefficients[:, k] / (2 * k + 1)
    return out


def graded(t: float, end: float, widest: float, reach: float) -> np.ndarray:
    """Breaks from 0 to min(end, reach √t): half a standard deviation wide, and in the tail as e^{-r²/2t} needs."""
    root, out = math.sqrt(t), [0.0]
    last = min(end, reach * root)
    while out[-1] < last:
        if len(out) > _PANELS:
            raise ValueError(f"time = {t:g} needs more than {_PANELS} panels: give a shorter time")
        r = out[-1]
        out.append(min(last, r + min(widest, 0.5 * root, 4.0 * t / max(r, root))))
    if len(out) > 2 and out[-1] - out[-2] < 1e-3 * (out[-2] - out[-3]):
        del out[-2]
    return np.array(out)


@dataclass(frozen=True, eq=False)
class Radial:
    """The coordinate r of a space, the distance from a pole, and the law that Brownian motion gives it.

    Attributes:
        pole: where r = 0: the origin, or the lower wall of an interval.
        end: the largest r; inf where there is none.
        log_area: log A(r), A the area of the sphere of radius r (up to a factor where no table is asked for).
        kernel: (r, t) -> (log K_t(r), ∂_r log K_t(r)).
        breaks: t -> ends of the panels of the table of the law at t.
        antipode: whether the points at ``end`` are one point, from which the space looks the same.
    """

    pole: np.ndarray
    end: float
    log_area: Callable[[np.ndarray], np.ndarray]
    kernel: Callable[[np.ndarray, float], tuple[np.ndarray, np.ndarray]]
    breaks: Callable[[float], np.ndarray]
    antipode: bool = False

    def law(self, t: float) -> RadialLaw:
        """The law of r at time t > 0; the latest tables are kept."""
        return _table(self, t)


@lru_cache(maxsize=256)
def _table(radial: Radial, t: float) -> RadialLaw:
    return RadialLaw(lambda r: radial.kernel(r, t)[0] + radial.log_area(r), radial.breaks(t))


@singledispatch
def radial_of(space: Any) -> Radial | None:
    """The radial coordinate of a space that looks the same in all directions, or of one dimension; None for another.

    A file of kernels registers that of its space: ``@radial_of.register``.

    Returns:
        the Radial coordinate, or None where there is none.
    """
    return None
