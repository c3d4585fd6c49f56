"""What the distances between laws in one dimension share: how a law is given, and sums over panels on which its densities are smooth."""

from __future__ import annotations

from typing import Any

import numpy as np

from scorebed.analytic.gaussian.arrays import finite
from scorebed.analytic.gaussian.line import Line
from scorebed.analytic.gaussian.mixture import GaussianMixture

Law = Any
"""A ``GaussianMixture`` in one dimension, or samples of shape (n,) or (n, 1)."""

NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_REACH = np.arange(-13.0, 13.01)  # panel ends of a component, in its standard deviations
BLOCK = 1 << 20


def as_line(name: str, law: Law) -> Line | np.ndarray:
    """A law on the line as a ``Line``, or samples of one as a sorted array; ``name`` is what errors call it."""
    if isinstance(law, GaussianMixture):
        return law.line()
    samples = finite(name, law)
    if samples.size == 0 or samples.shape not in ((samples.size,), (samples.size, 1)):
        raise ValueError(f"{name} has shape {samples.shape}: give a 1-D mixture, or samples of shape (n,) or (n, 1)")
    return np.sort(samples.reshape(-1))


def pair(a: Law, b: Law) -> tuple[Line | np.ndarray, Line | np.ndarray]:
    """The two laws, samples first."""
    first, second = as_line("a", a), as_line("b", b)
    return (second, first) if isinstance(first, Line) and not isinstance(second, Line) else (first, second)


def gap(a: Line, b: Line, x: np.ndarray) -> np.ndarray:
    """F - G, from the tail that is shorter, so that it stays relatively accurate."""
    f, g = blockwise(a.cdf, x, a), blockwise(b.cdf, x, b)
    return np.where(f < 0.5, f - g, blockwise(b.sf, x, b) - blockwise(a.sf, x, a))


def blockwise(function: Any, x: np.ndarray, law: Line) -> np.ndarray:
    """``function`` of x, a block of points at a time, which bounds the memory."""
    step = max(1, BLOCK // len(law.means))
    return np.concatenate([function(x[i : i + step]) for i in range(0, max(1, len(x)), step)])


def panels(*laws: Line) -> np.ndarray:
    """Ends of panels on which every density is smooth."""
    ends = np.concatenate([(law.means[:, None] + law.scales[:, None] * _REACH).reshape(-1) for law in laws])
    ends = np.unique(ends)
    if len(ends) > 5000:  # many components: an even grid as fine as the narrowest of them is shorter
        narrow = min(float(law.scales.min()) for law in laws)
        count = int((ends[-1] - ends[0]) / narrow) + 2 if narrow > 0.0 else len(ends)
        if count < len(ends):
            return np.linspace(ends[0], ends[-1], count)
    return ends


def nodes(ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gauss nodes and weights on the panels between ``ends``."""
    half, middle = 0.5 * np.diff(ends)[:, None], 0.5 * (ends[1:] + ends[:-1])[:, None]
    return (middle + half * NODES).reshape(-1), (half * _WEIGHTS).reshape(-1)


def meet(a: Line, b: Line, z: np.ndarray, low: np.ndarray, high: np.ndarray, w: float = 0.5) -> np.ndarray:
    """The x in [low, high] with F(x) = G(y), w x + (1 − w) y = z, 0 <= w < 1: by Newton on the difference of the shorter tails' logarithms,
    inside the bracket, which is consumed.

    Returns:
        x, an array of the shape of z.
    """
    left = blockwise(a.cdf, 0.5 * (low + high), a) < 0.5
    out, todo = 0.5 * (low + high), np.flatnonzero(high > low)
    while len(todo):
        x, side = out[todo], left[todo]
        y = (z[todo] - w * x) / (1.0 - w)
        f = np.where(side, blockwise(a.cdf, x, a), blockwise(a.sf, x, a))
        g = np.where(side, blockwise(b.cdf, y, b), blockwise(b.sf, y, b))
        with np.errstate(divide="ignore", invalid="ignore"):
            excess = np.where(side, 1.0, -1.0) * np.log(f / g)
            slope = blockwise(a.density, x, a) / f + w / (1.0 - w) * blockwise(b.density, y, b) / g
            step = -excess / slope
        low[todo], high[todo] = np.where(excess <= 0.0, x, low[todo]), np.where(excess > 0.0, x, high[todo])
        inside = (x + step > low[todo]) & (x + step < high[todo])
        out[todo] = np.where(inside, x + step, 0.5 * (low[todo] + high[todo]))
        size = 2e-16 * np.maximum(np.abs(x), np.abs(y))
        todo = todo[(np.abs(out[todo] - x) > size) & (high[todo] - low[todo] > 2.0 * size) & np.isfinite(excess)]
    return out
