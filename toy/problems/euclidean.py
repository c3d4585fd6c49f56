r"""Problems on R^d: Gaussian mixtures and their relatives, on any schedule.

The flow is closed on one Gaussian, on the line and on rotated products of lines; the law of any Plan's output is known on the Gaussian with
the target's mean and covariance, so ``law_error`` is W2 there, started from the exact marginal at the first node.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.distance import gaussian_w2
from scorebed.analytic.output.moments import moments
from scorebed.solvers import Node, Solver, trace
from scorebed.toy.problems.problem import ROUND_OFF, BaseProblem, LawError


@dataclass(frozen=True, kw_only=True)
class EuclideanProblem(BaseProblem):
    """A target on R^d: a ``GaussianMixture``, a ``RotatedProduct``, or what has their methods.

    ``image`` is the shape of the picture that a state is, (rows, columns), where it is one.
    """

    image: tuple[int, int] | None = None

    @cached_property
    def gaussian(self) -> GaussianMixture:
        """The Gaussian with the target's mean and covariance, on which the law of every Plan's output is known exactly."""
        covariance = np.asarray(self.target.covariance())
        return GaussianMixture(np.ones(1), np.asarray(self.target.mean())[None], (covariance + covariance.T)[None] / 2)

    @property
    def linear_flow(self) -> bool:
        """Whether the exact flow is linear, where some methods do better than they claim."""
        return getattr(self.target, "k", 0) == 1

    def states(self, node: Node) -> np.ndarray:
        """A few fixed states that are typical of the target's marginal at ``node``; shape (7, d)."""
        return typical(self.target, node)

    def law_error(self, solver: Solver, nodes: Sequence[Node], seed: int = 0) -> LawError:
        """W2 between the law of the output and the exact marginal, on ``gaussian``, from the Plan.

        Returns:
            the LawError: W2 and its round-off floor.

        Raises:
            NotLinear: the solver has no Plan.
        """
        mean, covariance = moments(trace(solver, nodes), self.gaussian)
        end = self.gaussian.marginal(nodes[-1])
        w2 = gaussian_w2(mean, covariance, end.mean(), end.covariance())
        return LawError(w2, ROUND_OFF * math.sqrt(float(np.trace(end.covariance()))))

    def bind(self, solver: Solver) -> Solver:
        """The method itself.

        Returns:
            the solver itself.

        Raises:
            ValueError: a method with a space, or a stochastic one that moves in spaces only.
        """
        super().bind(solver)
        if solver.space is not None:
            raise ValueError(
                f"{solver.name} moves in {solver.space}, but {self.name} is a problem of R^{self.d}: give the method without a space"
            )
        if solver.spaces and solver.weak is not None:
            raise ValueError(
                f"{solver.name} moves in a Space and has no Plan, from which its law on R^{self.d} would be known: "
                f"measure it on a problem of a space ({', '.join(solver.spaces)})"
            )
        return solver


def typical(law: Any, node: Node) -> np.ndarray:
    """Seven states about the mean of a law's marginal at a node, as wide as it is; shape (7, d)."""
    spread = np.linspace(-1.6, 1.7, 7)[:, None] * np.linspace(1.0, 0.6, law.d)
    return np.asarray(node.alpha * law.mean() + np.sqrt(node.alpha**2 * np.diag(law.covariance()) + node.sigma**2) * spread)


def line(weights: Sequence[float], means: Sequence[float], stds: Sequence[float]) -> GaussianMixture:
    """A mixture on the line."""
    return GaussianMixture(np.array(weights), np.array(means)[:, None], np.square(stds)[:, None])


def diagonal(mean: Any, variances: Sequence[float]) -> GaussianMixture:
    """One Gaussian with independent coordinates."""
    return GaussianMixture([1.0], np.asarray(mean, float)[None], np.asarray(variances, float)[None])
