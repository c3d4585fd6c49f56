r"""Problems of linear processes that are no schedules: phase space and bridges, on Gaussians and mixtures of them.

The flow is closed on one Gaussian, and on a bridge wherever it is on a schedule; else it is integrated from the process's own rates at two
tolerances. The law of any Plan's output is known on the Gaussian with the ends' mean and covariance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy

from scorebed.analytic.distance import gaussian_w2
from scorebed.analytic.output.moments import moments
from scorebed.analytic.process import LinearLaw
from scorebed.solvers import Denoiser, Solver, trace
from scorebed.solvers.process import Point
from scorebed.solvers.process.linear import LinearProcess, Transfer
from scorebed.solvers.state import State, bare, parts
from scorebed.toy.problems.problem import ROUND_OFF, BaseProblem, LawError
from scorebed.toy.problems.reference import Reference

_TOLERANCE = 1e-12


@dataclass(frozen=True, kw_only=True)
class LinearProblem(BaseProblem):
    """A ``LinearLaw`` on its process. ``closed`` says that the law has a ``flow``."""

    @cached_property
    def gaussian(self) -> LinearLaw:
        """The same process with one Gaussian for its ends, of the same mean and covariance."""
        return LinearLaw(self.process, [1.0], self.target.mean()[None], self.target.covariance()[None])

    @property
    def linear_flow(self) -> bool:
        """Whether the exact flow is linear, where some methods do better than they claim."""
        return bool(self.target.k == 1)

    def draw(self, n: int, seed: int = 0) -> State:
        """n states at the first node, from the exact marginal."""
        return self.target.sample(n, np.random.default_rng(seed), self.ends[0])

    def states(self, node: Point) -> State:
        """A few fixed states that are typical of the marginal at a node."""
        return self.target.sample(7, np.random.default_rng(0), node)

    def exact(self, x: State, s: Point, t: Point) -> Reference:
        """Where the probability flow takes the states from s to t."""
        if self.closed:
            x_t = self.target.flow(x, s, t)
            return Reference(x_t, ROUND_OFF * _size(x_t))
        x_t, loose = (integrated(self.process, self.model, x, s, t, tolerance) for tolerance in (_TOLERANCE, 30.0 * _TOLERANCE))
        return Reference(x_t, max(self.distance(x_t, loose), 1e-15))

    def distance(self, x: State, y: State) -> float:
        """The RMS distance over all entries of all components."""
        return _size(tuple(a - b for a, b in zip(parts(x), parts(y), strict=True)))

    def law_error(self, solver: Solver, nodes: Sequence[Point], seed: int = 0) -> LawError:
        """W2 between the law of the output and the exact marginal, on ``gaussian``, from the Plan."""
        mean, covariance = moments(trace(solver, nodes), self.gaussian)
        end = self.gaussian.marginal(nodes[-1])
        w2 = gaussian_w2(mean, covariance, end.mean(), end.covariance())
        return LawError(w2, ROUND_OFF * math.sqrt(float(np.trace(end.covariance()))))


def integrated(process: LinearProcess, model: Denoiser, x: State, s: Point, t: Point, tolerance: float) -> State:
    """Where dz/dt = P z + Q m(z, t), the flow in the rates of the process, takes the states, by DOP853."""
    shape = parts(x)[0].shape

    def split(y: np.ndarray) -> State:
        return bare(tuple(part.reshape(shape) for part in np.split(y, len(parts(x)))))

    def slope(time: float, y: np.ndarray) -> np.ndarray:
        node, z = process.node(time), split(y)  # type: ignore[attr-defined]
        rates = process.rates(node, 0.0)
        return np.concatenate([part.ravel() for part in parts(Transfer(rates.a, rates.b, rates.c)(z, model(z, node)))])

    begin = np.concatenate([part.ravel() for part in parts(x)])
    done = scipy.integrate.solve_ivp(slope, (s.t, t.t), begin, method="DOP853", rtol=tolerance, atol=tolerance)
    if not done.success:
        raise RuntimeError(f"the reference integration from {s} to {t} failed: {done.message}")
    return split(done.y[:, -1])


def _size(x: Any) -> float:
    """Root mean square over all entries."""
    return float(np.sqrt(np.mean([np.mean(np.square(part)) for part in parts(x)])))
