r"""The strong order of a stochastic solver, exact on Gaussians: no Monte Carlo and no refined noise.

On a Gaussian a run is a linear form in the initial state and the draws. A draw on an interval is the mean there of one white noise in the
clock tau = rho², so that a run is the integral of a kernel, constant on every interval, against that noise. For two runs on different grids

    E |x - x'|² = (c - c')² var(x_0) + ∫ (k(tau) - k'(tau))² dtau,

and with n and 2n steps its root falls with the strong order. All draws count, wherever a step places them; the coefficients are read off
one run on unit vectors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from scorebed.solvers import VP, Node, Solver, sample, trace
from scorebed.solvers.model import Array
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.properties.cases import jagged
from scorebed.toy.properties.registry import prop, require

_VARIANCES = np.array([0.04, 1.0, 4.0])
_STEPS = (64, 128, 256)

Kernel = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Coefficient of the initial state (d,); ends of the intervals in lam, ascending (m + 1,); values of the kernel there (m, d)."""


def kernel(solver: Solver, grid: Sequence[Node]) -> Kernel:
    """How the end state depends on the initial state and on the path, on N(0, v) for each v of ``_VARIANCES``."""
    drawn = trace(solver, grid).noises
    rows = {(s.lam, t.lam): i + 1 for i, (s, t) in enumerate(drawn)}
    x = np.zeros((1 + len(drawn), len(_VARIANCES)))
    x[0] = 1.0

    def unit(s: Node, t: Node) -> Array:
        one = np.zeros_like(x)
        one[rows[s.lam, t.lam]] = 1.0
        return one

    def denoise(y: Array, n: Node) -> Array:
        return (n.alpha * _VARIANCES / (n.alpha**2 * _VARIANCES + n.sigma**2)) * y

    out = sample(solver, denoise, x, grid, noise=unit, terminal="none")
    ends = sorted({lam for s, t in drawn for lam in (s.lam, t.lam)})
    values = np.zeros((len(ends) - 1, len(_VARIANCES)))  # 0 where a solver draws nothing
    for (low, _), i in rows.items():
        j = ends.index(low)
        values[j] = out[i] / math.sqrt(_clock(ends[j], ends[j + 1]))
    return out[0], np.array(ends), values


def _clock(low: float, high: float) -> float:
    """The length in tau of an interval in lam."""
    return -math.exp(-2.0 * low) * math.expm1(2.0 * (low - high))


def distance(a: Kernel, b: Kernel, variance: np.ndarray) -> float:
    """RMS distance of the end states of two runs driven by one path, for an initial state of this variance."""
    ends = np.union1d(a[1], b[1])
    lengths = -np.exp(-2.0 * ends[:-1]) * np.expm1(2.0 * (ends[:-1] - ends[1:]))
    middle = 0.5 * (ends[:-1] + ends[1:])
    apart = _at(a, middle) - _at(b, middle)
    return float(np.sqrt(np.mean((a[0] - b[0]) ** 2 * variance + lengths @ apart**2)))


def _at(a: Kernel, lam: np.ndarray) -> np.ndarray:
    """The kernel at these lam, 0 outside its intervals."""
    padded = np.vstack([np.zeros(len(_VARIANCES)), a[2], np.zeros(len(_VARIANCES))])
    return padded[np.searchsorted(a[1], lam)]


def path_errors(solver: Solver, steps: Sequence[int], start: float = 0.9, end: float = 0.05) -> list[float]:
    """RMS distance of runs of n and 2n steps on one path, for each n of ``steps``, which double."""
    first = VP().node(start)
    kernels = [kernel(solver, jagged(VP(), n, start, end)) for n in (*steps, 2 * steps[-1])]
    variance = first.alpha**2 * _VARIANCES + first.sigma**2
    return [distance(a, b, variance) for a, b in pairwise(kernels)]


@prop(exempt=lambda solver: "claims no strong order" if solver.strong is None else solver.nonlinear)
def strong_order(solver: Solver) -> None:
    """End states converge path by path with the claimed strong order, exactly, on Gaussians."""
    assert solver.strong is not None
    found = path_errors(solver, _STEPS)
    slope = order_of(_STEPS, found)
    require(slope.inside(solver.strong), solver, f"strong order {slope}, claimed {solver.strong}; errors {found}")
