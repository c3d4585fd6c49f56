r"""Distances between the distribution functions of laws in one dimension: mixtures or samples, in any pair.

    Kolmogorov   sup |F - G|
    Cramér       (∫ (F - G)² dx)^{1/2} = (E|X-Y| - E|X-X'|/2 - E|Y-Y'|/2)^{1/2}
    Cramér-von Mises   ∫ (F - G)² dG, G the reference

The second form is closed for samples against a mixture, but cancels for two mixtures that are close: there the first is summed over panels.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr

from scorebed.analytic.gaussian.line import Line
from scorebed.analytic.gaussian.line_quadrature import BLOCK, Law, as_line, blockwise, gap, nodes, pair, panels
from scorebed.analytic.gaussian.mixture import GaussianMixture


def kolmogorov(a: Law, b: Law) -> float:
    """sup_x |F(x) - G(x)|."""
    first, second = pair(a, b)
    if isinstance(first, Line) and isinstance(second, Line):
        x = np.unique(nodes(panels(first, second))[0])
        x = np.concatenate([x[:1], x, x[-1:]])
        i = 1 + int(np.argmax(np.abs(gap(first, second, x[1:-1]))))
        low, high = x[i - 1], x[i + 1]
        for _ in range(60):  # golden section; F - G is smooth, so its top is flat and this is ample
            c, d = high - 0.6180339887498949 * (high - low), low + 0.6180339887498949 * (high - low)
            keep = np.abs(gap(first, second, np.array([c, d])))
            low, high = (low, d) if keep[0] >= keep[1] else (c, high)
        return float(np.abs(gap(first, second, np.array([x[i], low, high]))).max())
    samples, grid = np.asarray(first), np.asarray(first)
    if isinstance(second, Line):
        n = len(samples)
        below = np.searchsorted(samples, samples, side="left") / n, np.searchsorted(samples, samples, side="right") / n
        f = blockwise(second.cdf, samples, second)
        return float(max(np.max(np.abs(f - below[0])), np.max(np.abs(f - below[1]))))
    grid = np.concatenate([samples, second])
    return float(np.abs(_steps(samples, grid) - _steps(second, grid)).max())


def cramer(a: Law, b: Law) -> float:
    """(∫ (F - G)² dx)^{1/2}."""
    first, second = pair(a, b)
    if isinstance(first, Line) and isinstance(second, Line):
        x, w = nodes(panels(first, second))
        return math.sqrt(float(w @ np.square(gap(first, second, x))))
    return math.sqrt(max(0.0, _mean_distance(first, second) - 0.5 * _mean_distance(first, first) - 0.5 * _mean_distance(second, second)))


def cramer_von_mises(a: Law, reference: GaussianMixture) -> float:
    """∫ (F - G)² dG with G the distribution function of ``reference``, a mixture."""
    first, second = as_line("a", a), as_line("reference", reference)
    if not isinstance(second, Line):
        raise ValueError("reference must be a 1-D mixture")
    if isinstance(first, Line):
        x, w = nodes(panels(first, second))
        return float((w * second.density(x)) @ np.square(gap(first, second, x)))
    n = len(first)
    return 1.0 / (12.0 * n * n) + float(np.mean(np.square((np.arange(n) + 0.5) / n - blockwise(second.cdf, first, second))))


def _steps(samples: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.searchsorted(samples, x, side="right") / len(samples)


def _mean_distance(a: Line | np.ndarray, b: Line | np.ndarray) -> float:
    """E|X - Y| for independent X and Y."""
    if not isinstance(a, Line) and not isinstance(b, Line):
        if a is b:
            return float(2.0 / len(a) ** 2 * ((2.0 * np.arange(len(a)) - len(a) + 1.0) @ (a - a.mean())))
        return float(np.mean([np.abs(b - v).mean() for v in a]))
    wa, ma, va = _parts(a)
    wb, mb, vb = _parts(b)
    total, step = 0.0, max(1, BLOCK // len(mb))
    for i in range(0, len(ma), step):
        apart, scale = ma[i : i + step, None] - mb, np.sqrt(va[i : i + step, None] + vb)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(scale > 0.0, apart / scale, 0.0)
        folded = scale * math.sqrt(2.0 / math.pi) * np.exp(-0.5 * z * z) + apart * (1.0 - 2.0 * ndtr(-z))
        folded = np.where(scale > 0.0, folded, np.abs(apart))
        total += float(wa[i : i + step] @ folded @ wb)
    return total


def _parts(law: Line | np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if isinstance(law, Line):
        return law.weights, law.means, np.square(law.scales)
    return np.full(len(law), 1.0 / len(law)), law, np.zeros(len(law))
