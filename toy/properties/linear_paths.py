r"""The strong order of stochastic methods on linear processes, exact on Gaussians: no Monte Carlo and no refined noise.

A draw of a component on an interval of times is W_k(t_s) − W_k(t_t) over the root of its length, W_k one Brownian motion for each draw of
the process. On a Gaussian a run is affine in the initial state and the draws, and so a kernel against these motions, constant on every
interval. For two runs on different grids

    E |z − z'|² = tr (A − A') S (A − A')ᵀ + ∫ |K(t) − K'(t)|² dt,      S the covariance of the initial state,

and with n and 2n steps its root falls with the strong order. That a coarse and a fine step weigh W_1, W_2, … alike is not exact where noise
is correlated over the components, but to the order of the step, as it must be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from scorebed.analytic.output.moments import output_map
from scorebed.solvers import Solver, trace
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.problems.linear import LinearProblem
from scorebed.toy.properties.registry import require

_STEPS = (24, 48, 96)


class Kernel(NamedTuple):
    """A of the initial state; the ends of the intervals, ascending (m + 1,); K there, (m, numbers of the state, numbers of a draw)."""

    a: np.ndarray
    ends: np.ndarray
    values: np.ndarray

    def at(self, t: np.ndarray) -> np.ndarray:
        """K at these times, 0 outside its intervals."""
        none = np.zeros_like(self.values[:1])
        return np.concatenate([none, self.values, none])[np.searchsorted(self.ends, t)]


def kernel(solver: Solver, problem: LinearProblem, n: int) -> Kernel:
    """How the end state depends on the initial state and on the path, in n steps on a problem with one Gaussian."""
    plan, process = trace(solver, problem.nodes(n)), problem.process
    a, _, noise = output_map(plan, problem.target.affine, len(process.state) * problem.d)
    width = process.draws * problem.d
    ends = np.array(sorted({node.t for interval in plan.noises for node in interval}))
    values = np.zeros((len(ends) - 1, len(a), width))
    for k, interval in enumerate(plan.noises):
        low, high = sorted(node.t for node in interval)
        i, j = np.searchsorted(ends, [low, high])
        values[i:j] += noise[:, k * width : (k + 1) * width] / math.sqrt(high - low)
    return Kernel(a, ends, values)


def distance(one: Kernel, other: Kernel, spread: np.ndarray) -> float:
    """RMS distance of the end states of two runs driven by one path, for an initial state of this covariance."""
    ends = np.union1d(one.ends, other.ends)
    middle = 0.5 * (ends[:-1] + ends[1:])
    off, apart = one.a - other.a, one.at(middle) - other.at(middle)
    return math.sqrt(float(np.trace(off @ spread @ off.T) + np.diff(ends) @ np.square(apart).sum((1, 2))) / len(off))


def path_errors(solver: Solver, problem: LinearProblem, steps: Sequence[int] = _STEPS) -> list[float]:
    """RMS distance of runs of n and 2n steps on one path, for each n of ``steps``, which double."""
    spread = np.asarray(problem.target.marginal(problem.ends[0]).covariance())
    kernels = [kernel(solver, problem, n) for n in (*steps, 2 * steps[-1])]
    return [distance(a, b, spread) for a, b in pairwise(kernels)]


def keeps_strong_order(solver: Solver, problem: LinearProblem) -> None:
    """End states converge path by path with the claimed strong order."""
    errors = path_errors(solver, problem)
    slope = order_of(_STEPS, errors)
    require(slope.inside(solver.strong or 0.0), solver, f"strong order {slope} on {problem.name}, claimed {solver.strong}; {errors}")
