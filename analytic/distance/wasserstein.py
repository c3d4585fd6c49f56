r"""Wasserstein distances between laws in one dimension: mixtures or samples, in any pair.

With F, G the distribution functions and Q, R their inverses:  W_1 = ∫ |F - G| dx,   W_p = (∫ |Q - R|^p du)^{1/p}.

Between samples and a mixture the integrals are sums of closed forms. Between two mixtures they are Gauss-Legendre sums over panels as
narrow as the narrowest component near them, exact to round-off; W_2 is taken along z = (Q + R)/2, in which both quantile functions are
Lipschitz, gaps between modes or not:  ∫ |x - y|² 2 f g/(f + g) dz.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr

from scorebed.analytic.gaussian.line import Line
from scorebed.analytic.gaussian.line_quadrature import BLOCK, NODES, Law, blockwise, gap, meet, nodes, pair, panels


def wasserstein(a: Law, b: Law, p: int = 1) -> float:
    """W_p between two laws in one dimension, p = 1 or 2.

    Returns:
        W_p distance, 0 or more.

    Raises:
        ValueError: another p, or a law that is not in one dimension.
    """
    if p not in (1, 2):
        raise ValueError(f"p = {p!r}: give 1 or 2")
    first, second = pair(a, b)
    if isinstance(first, Line) and isinstance(second, Line):
        return _w1_lines(first, second) if p == 1 else _w2_lines(first, second)
    samples = np.asarray(first)
    if isinstance(second, Line):
        return _w1_samples(samples, second) if p == 1 else _w2_samples(samples, second)
    levels = np.union1d(np.arange(1, len(samples)) / len(samples), np.arange(1, len(second)) / len(second))
    edges = np.concatenate([[0.0], levels, [1.0]])
    middle = 0.5 * (edges[1:] + edges[:-1])
    apart = np.abs(samples[(middle * len(samples)).astype(int)] - second[(middle * len(second)).astype(int)])
    return float((np.diff(edges) @ apart**p) ** (1.0 / p))


def _w1_lines(a: Line, b: Line) -> float:
    ends = panels(a, b)
    x, w = nodes(ends)
    excess = gap(a, b, x).reshape(-1, len(NODES))
    inner = np.concatenate([ends[:-1, None], x.reshape(excess.shape), ends[1:, None]], axis=1)
    at_ends = gap(a, b, ends)
    full = np.concatenate([at_ends[:-1, None], excess, at_ends[1:, None]], axis=1)
    crossed = (full.min(1) < 0.0) & (full.max(1) > 0.0)
    total = float(np.abs((w.reshape(excess.shape) * excess).sum(1))[~crossed].sum())
    for row in np.flatnonzero(crossed):  # cut where F = G
        turns = np.flatnonzero(np.signbit(full[row, 1:]) != np.signbit(full[row, :-1]))
        low, high = inner[row, turns], inner[row, turns + 1]
        rising = full[row, turns] < full[row, turns + 1]
        for _ in range(60):
            middle = 0.5 * (low + high)
            up = (gap(a, b, middle) < 0.0) == rising
            low, high = np.where(up, middle, low), np.where(up, high, middle)
        y, v = nodes(np.concatenate([ends[row : row + 1], 0.5 * (low + high), ends[row + 1 : row + 2]]))
        total += float(np.abs((v * gap(a, b, y)).reshape(-1, len(NODES)).sum(1)).sum())
    return total


def _partner(a: Line, b: Line, x: np.ndarray) -> np.ndarray:
    """R(F(x)), by the tail that is shorter."""
    f, s = blockwise(a.cdf, x, a), blockwise(a.sf, x, a)
    return np.where(f < 0.5, blockwise(b.quantile, np.minimum(f, 0.5), b), blockwise(b.isf, np.minimum(s, 0.5), b))


def _w2_lines(a: Line, b: Line) -> float:
    x, y = panels(a), panels(b)
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = np.concatenate([x, _partner(b, a, y)]), np.concatenate([_partner(a, b, x), y])
    order = np.argsort(x + y)
    order = order[np.isfinite((x + y)[order])]
    x, y = np.maximum.accumulate(x[order]), np.maximum.accumulate(y[order])
    z, w = nodes(0.5 * (x + y))
    low, high = (np.repeat(side, len(NODES)) for side in (x[:-1], x[1:]))
    x = meet(a, b, z, low, high)
    y = 2.0 * z - x
    f, g = blockwise(a.density, x, a), blockwise(b.density, y, b)
    with np.errstate(invalid="ignore", divide="ignore"):
        mass = np.where(f + g > 0.0, 2.0 * f * g / (f + g), 0.0)
    return math.sqrt(float(w @ (mass * np.square(x - y))))


def _w1_samples(samples: np.ndarray, law: Line) -> float:
    """∫ |i/n - F| between samples, by the antiderivative of F, cut where F = i/n."""
    n = len(samples)
    left, right, level = samples[:-1], samples[1:], np.arange(1, n) / n
    total = law.integral(samples[:1])[0] + (law.integral(samples[-1:])[0] - samples[-1] + law.mean())  # ∫ F before, ∫ (1 - F) after
    cut = np.clip(blockwise(law.quantile, level, law), left, right) if n > 1 else left
    low, middle, high = (blockwise(law.integral, e, law) if n > 1 else e for e in (left, cut, right))
    return float(total + ((level * (cut - left) - (middle - low)) + ((high - middle) - level * (right - cut))).sum())


def _w2_samples(samples: np.ndarray, law: Line) -> float:
    """Σ_i ∫ (x_i - y)² p(y) dy between the quantiles (i-1)/n and i/n."""
    n = len(samples)
    cuts = np.concatenate([[-np.inf], blockwise(law.quantile, np.arange(1, n) / n, law) if n > 1 else [], [np.inf]])
    # the parts of ∫ (y - m)² p dy between cuts that hang on the cuts cancel between neighbours, and s² remains
    total, step = float(law.weights @ np.square(law.scales)), max(1, BLOCK // len(law.means))
    for i in range(0, n, step):
        low, high, x = cuts[i : i + step + 1][:-1, None], cuts[i + 1 : i + 1 + step][:, None], samples[i : i + step, None]
        m, s = law.means, law.scales
        a, b = (low - m) / s, (high - m) / s
        mass = np.where(a > 0.0, ndtr(-a) - ndtr(-b), ndtr(b) - ndtr(a))
        pa, pb = np.exp(-0.5 * a * a) / math.sqrt(2.0 * math.pi), np.exp(-0.5 * b * b) / math.sqrt(2.0 * math.pi)
        square = (m - x) ** 2 * mass + 2.0 * (m - x) * s * (pa - pb)
        total += float((square @ law.weights).sum())
    return math.sqrt(max(0.0, total))
