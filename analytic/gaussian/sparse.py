r"""Sums over very many isotropic or diagonal components, such as a data set smoothed at a bandwidth.

One matrix product finds the log-weights of all components well enough to tell which can matter, those within e^-50 of the largest; their
residuals x - alpha mu are then formed and their log-weights computed anew, without the cancellation of |x|² - 2 x·mu + |mu|².
Where sigma is large against the spread of the data the cancellation is harmless, and matrix products serve for the sums as well. Nothing of
size states × components × dimensions is ever formed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scorebed.analytic.gaussian.evaluate import LEADERS, Q_LIMIT, Evaluator, Part
from scorebed.analytic.gaussian.extended import value

_EPS = float(np.finfo(np.float64).eps)
_LIST = 1 << 18  # numbers per state in the list of leaders
_SHARP = 1 << 16  # the same where the list has to be extended
_HARMLESS = 5e-13  # cancellation, in units of a log-weight; seen to cost a tenth of it
_BLOCK = 1 << 20
_TABLE = 1 << 22  # entries of a states × components table


def reduce(ev: Evaluator, x: np.ndarray, kind: str, part: Part | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Log-density up to d log(2π)/2, shape (n,), and Σ_k γ_k part_k, (n, d), for ``kind`` "score", "denoised" or "log_prob" (no sum)."""
    log_density, total = np.empty(len(x)), None if part is None else np.empty((len(x), ev.d))
    step = max(1, _TABLE // ev.k)
    for i in range(0, len(x), step):
        rows = slice(i, i + step)
        log_density[rows], sums = _chunk(ev, x[rows], kind, part)
        if total is not None:
            total[rows] = sums
    return log_density, total


def _chunk(ev: Evaluator, x: np.ndarray, kind: str, part: Part | None) -> tuple[np.ndarray, Any]:
    at: Any = ev.at
    rough, cancelled = at.rough(x, ev.cloud)
    rough *= -0.5
    rough += ev.offset
    top = rough.max(1)
    doubt = 8.0 * _EPS * np.sqrt(ev.d) * cancelled
    leads = rough >= (top - LEADERS - doubt)[:, None]
    count = leads.sum(1)
    products = (_EPS * cancelled < _HARMLESS) | ~np.isfinite(top)
    listed = ~products & (count * ev.d <= _LIST)
    log_density, total = np.empty(len(x)), None if part is None else np.empty(x.shape)
    if products.any():
        weights = np.exp(rough[products] - top[products, None])
        mass = weights.sum(1)
        log_density[products] = top[products] + np.log(mass)
        if total is not None:
            weights /= mass[:, None]
            here = x[products]
            if kind == "score":
                total[products] = at.blend_score(weights, here - ev.alpha * ev.cloud.origin, ev.cloud.points)
            else:
                total[products] = at.blend_mean(weights, here, ev.means)
    rest = np.flatnonzero(~listed & ~products)
    for i in range(0, len(rest), 16):  # many leaders and heavy cancellation at once: exact, and slow
        some = rest[i : i + 16]
        log_density[some], _, sums = ev.reduce(x[some], part)
        if total is not None:
            total[some] = sums
    mine = np.flatnonzero(listed)
    bounds = np.cumsum(count[mine]) * ev.d
    while len(mine):
        take = max(1, int(np.searchsorted(bounds, _BLOCK, side="right")))
        log_density[mine[:take]], sums = _listed(ev, x, mine[:take], leads, part)
        if total is not None:
            total[mine[:take]] = sums
        bounds, mine = bounds[take:] - bounds[take - 1], mine[take:]
    return log_density, total


def _listed(ev: Evaluator, x: np.ndarray, mine: np.ndarray, leads: np.ndarray, part: Part | None) -> tuple[np.ndarray, Any]:
    """Exact sums over the list of (state, leading component) for the states ``mine``."""
    state, pick = np.nonzero(leads[mine])
    begin = np.searchsorted(state, np.arange(len(mine)))
    here = x[mine][state][:, None, :]
    logit, r, y, q = (value(a) for a in ev.logits(pick, here, False))
    hi, lo = logit[:, 0], np.zeros(len(state))
    parts = value(part(pick, ev.means[pick][:, None, :], here, r, y))[:, 0] if part else None
    count = np.diff(np.append(begin, len(state)))
    sharp = (count > 1) & (count * ev.d <= _SHARP) & (np.minimum.reduceat(q[:, 0], begin) > Q_LIMIT)
    if sharp.any():
        again = np.flatnonzero(sharp[state])
        step = max(1, _BLOCK // (8 * ev.d))
        for i in range(0, len(again), step):
            some = again[i : i + step]
            better = ev.logits(pick[some], here[some], True)[0]
            hi[some], lo[some] = better.hi[:, 0], better.lo[:, 0]
    top = np.maximum.reduceat(hi, begin)
    first = _first_of(hi == top[state], begin, state)
    delta = (hi - hi[first][state]) + (lo - lo[first][state])
    weights = np.exp(delta)
    mass = np.add.reduceat(weights, begin)
    sums = None if parts is None else np.add.reduceat((weights / mass[state])[:, None] * parts, begin, axis=0)
    return hi[first] + np.log(mass), sums


def _first_of(flags: np.ndarray, begin: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Index of the first true flag of each state's run."""
    where = np.flatnonzero(flags)
    return where[np.searchsorted(where, begin)]
