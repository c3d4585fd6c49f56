r"""1-D mixtures of normals: distribution functions, quantiles, and monotone transport, accurate in both tails and between the modes.

Write Φ_k(x) = Φ((x - m_k)/s_k) and \bar Φ_k = 1 - Φ_k. For any set A of components

    G_A(x) = Σ_{k not in A} w_k Φ_k(x) - Σ_{k in A} w_k \bar Φ_k(x) = F(x) - W_A,      W_A = Σ_{k in A} w_k,

so F_t(y) = F_s(x) is the same equation as G_{A,t}(y) = G_{A,s}(x). With A the components whose mean lies left of x every term is a tail,
none is near 1, and nothing is lost where F is flat between two modes or within 1e-300 of 0 or 1. Terms are held as logarithms relative to
the largest.

The equation is solved by Newton's method inside a bracket. Transport has a sharp one: with T_k the affine map that carries component k at s
to component k at t, min_k T_k(x) <= y <= max_k T_k(x), since at y = min_k T_k(x) every Φ_k is at most what it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.special import log_ndtr, logsumexp, ndtr, ndtri

from scorebed.analytic.gaussian.arrays import back, to_numpy
from scorebed.solvers.model import Array

_EPS = float(np.finfo(np.float64).eps)
_ROUNDS = 200
_CHUNK = 1 << 18


class Level(NamedTuple):
    """G_A = mantissa e^{scale} for a set A of components, (n, K) bool, one per point."""

    left: np.ndarray
    mantissa: np.ndarray
    scale: np.ndarray


class Line:
    """Σ_k w_k N(m_k, s_k²) in one dimension, on points of shape (n,). Components with s_k = 0 are atoms."""

    def __init__(self, log_weights: np.ndarray, means: np.ndarray, scales: np.ndarray) -> None:
        mass = log_weights > -1e299  # components of no weight have no say in a bracket
        self.log_weights, self.means, self.scales = log_weights[mass], means[mass], scales[mass]
        self.weights = np.exp(self.log_weights)
        self._atoms = bool(np.any(self.scales == 0.0))

    def standard(self, x: np.ndarray) -> np.ndarray:
        """(x - m_k)/s_k, shape (n, K); an atom has -inf to its left, +inf from itself on."""
        apart = x[:, None] - self.means
        if not self._atoms:
            return apart / self.scales
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.scales > 0.0, apart / self.scales, np.where(apart >= 0.0, np.inf, -np.inf) + 0.0 * apart)

    def cdf(self, x: np.ndarray) -> np.ndarray:
        return ndtr(self.standard(x)) @ self.weights

    def sf(self, x: np.ndarray) -> np.ndarray:
        return ndtr(-self.standard(x)) @ self.weights

    def density(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            return np.exp(-0.5 * np.square(self.standard(x))) @ (self.weights / (self.scales * np.sqrt(2.0 * np.pi)))

    def integral(self, x: np.ndarray) -> np.ndarray:
        """∫ F up to x, = Σ w_k s_k (z Φ(z) + φ(z))."""
        z = self.standard(x)
        bell = self.scales * np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
        return ((x[:, None] - self.means) * ndtr(z) + bell) @ self.weights

    def mean(self) -> float:
        return float(self.weights @ self.means)

    def log_cdf(self, x: np.ndarray) -> np.ndarray:
        return _log_of(x, lambda p: self._log_cdf(p), lambda p: self.sf(p))

    def log_sf(self, x: np.ndarray) -> np.ndarray:
        return _log_of(x, lambda p: self._log_sf(p), lambda p: self.cdf(p))

    def _log_cdf(self, x: np.ndarray) -> np.ndarray:
        return logsumexp(self.log_weights + log_ndtr(self.standard(x)), axis=1)

    def _log_sf(self, x: np.ndarray) -> np.ndarray:
        return logsumexp(self.log_weights + log_ndtr(-self.standard(x)), axis=1)

    def level(self, x: np.ndarray) -> Level:
        """G_A(x), A the components whose mean lies left of x."""
        z = self.standard(x)
        left = z > 0.0
        log = self.log_weights + log_ndtr(-np.abs(z))
        scale = np.max(log, axis=1)
        scale = np.where(np.isfinite(scale), scale, 0.0)
        return Level(left, np.where(left, -1.0, 1.0) * np.exp(log - scale[:, None]) @ np.ones(z.shape[1]), scale)

    def _excess(self, y: np.ndarray, level: Level) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(G_A(y), its derivative, the sum of the sizes of its terms), in units of e^scale."""
        z = self.standard(y)
        sign = np.where(level.left, -1.0, 1.0)
        terms = np.exp(np.minimum(self.log_weights + log_ndtr(sign * z) - level.scale[:, None], 700.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            log_slope = self.log_weights - 0.5 * z * z - np.log(self.scales) - 0.5 * np.log(2.0 * np.pi) - level.scale[:, None]
            slope = np.where(self.scales > 0.0, np.exp(np.minimum(log_slope, 700.0)), 0.0).sum(1)
        return (sign * terms).sum(1), slope, terms.sum(1)

    def solve(self, level: Level, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """The y in [low, high] with G_A(y) = level, G_A in units of the level's scale.

        Newton on log|G| where G has the level's sign and is far from it, on G elsewhere, bisection where neither halves the bracket.

        Returns:
            y, an array of the shape of ``level``.
        """
        out, todo = 0.5 * (low + high), np.flatnonzero(low < high)
        y, a, b, goal = out[todo], low[todo], high[todo], Level(*(part[todo] for part in level))
        before = b - a
        for turn in range(_ROUNDS):
            g, slope, size = self._excess(y, goal)
            gap = g - goal.mantissa
            a, b = np.where(gap <= 0.0, y, a), np.where(gap >= 0.0, y, b)
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                ratio = g / goal.mantissa
                step = np.where(ratio > 0.0, -np.log(ratio) * g / slope, -gap / slope)
                step = np.where(np.abs(gap) < 0.1 * np.abs(goal.mantissa), -gap / slope, step)  # log would cancel
            new = y + step
            slow = (turn % 3 == 2) & (b - a > 0.5 * before)
            if turn % 3 == 2:
                before = b - a
            new = np.where((new > a) & (new < b) & ~slow, new, 0.5 * (a + b))
            solved = (np.abs(gap) <= _EPS * size) | ~np.isfinite(gap)
            settled = solved | (np.abs(new - y) <= 0.5 * _EPS * np.abs(y)) | (b - a <= _EPS * np.abs(y))
            out[todo] = np.where(solved, y, new)
            if settled.all():
                break
            going = ~settled
            todo, y, a, b, before = todo[going], new[going], a[going], b[going], before[going]
            goal = Level(*(part[going] for part in goal))
        return out

    def quantile(self, u: np.ndarray) -> np.ndarray:
        """The y with F(y) = u."""
        return self._inverse(u, u > 0.5)

    def isf(self, u: np.ndarray) -> np.ndarray:
        """The y with 1 - F(y) = u."""
        return -Line(self.log_weights, -self.means, self.scales)._inverse(u, u > 0.5)

    def _inverse(self, u: np.ndarray, upper: np.ndarray) -> np.ndarray:
        if np.any((u < 0.0) | (u > 1.0)):
            raise ValueError(f"u = {float(u[(u < 0.0) | (u > 1.0)][0])!r} is no probability: give 0 <= u <= 1")
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = self.means + self.scales * ndtri(u)[:, None]
            tail = np.where(upper, 1.0 - u, u)
            level = Level(np.broadcast_to(upper[:, None], ends.shape), np.where(upper, -1.0, 1.0), np.log(tail))
            inside = (tail > 0.0) & np.isfinite(tail)
            margin = 1e-9 * (np.abs(ends) + self.scales)
            out = np.where(np.isnan(u), np.nan, np.where(upper, np.inf, -np.inf))
            low, high = (ends - margin).min(1), (ends + margin).max(1)
            out[inside] = self.solve(Level(*(part[inside] for part in level)), low[inside], high[inside])
        return out


def transport(source: Line, target: Line, x: np.ndarray) -> np.ndarray:
    """The y with F_target(y) = F_source(x), for two lines of the same weights whose components correspond."""
    out = np.empty_like(x)
    for i in range(0, len(x), max(1, _CHUNK // max(1, len(source.means)))):
        here = slice(i, i + max(1, _CHUNK // max(1, len(source.means))))
        with np.errstate(invalid="ignore"):
            ends = target.means + target.scales / source.scales * (x[here, None] - source.means)
        level = source.level(x[here])
        out[here] = target.solve(level, ends.min(1), ends.max(1))
    return out


def _log_of(x: np.ndarray, direct: Callable[[np.ndarray], np.ndarray], complement: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """log p, from p itself, or from log1p(-(1 - p)) where p is near 1."""
    rest = complement(x)
    with np.errstate(divide="ignore"):
        return np.where(rest < 0.5, np.log1p(-np.minimum(rest, 1.0)), direct(x))


def elementwise(law: Line, function: str, x: Array) -> Array:
    """``law``'s ``function`` of points (n,), applied to an array or tensor of any shape."""
    given: Any = to_numpy(x)
    flat = np.ascontiguousarray(given.reshape(-1), dtype=np.float64)
    step = max(1, _CHUNK // max(1, len(law.means)))
    out = np.concatenate([getattr(law, function)(flat[i : i + step]) for i in range(0, max(1, len(flat)), step)])
    return back(x, out.reshape(given.shape))
