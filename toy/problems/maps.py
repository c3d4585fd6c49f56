"""Problems of few-step methods: the model is an exact map of the flow, so that the law, or the path, must come out exact in any steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from scorebed.analytic.distance import gaussian_w2
from scorebed.analytic.gaussian.draw import posterior_draws
from scorebed.analytic.output.moments import moments
from scorebed.analytic.process.maps import FlowMap
from scorebed.analytic.process.reflow import Reflow
from scorebed.solvers import Node, Solver, predicts, trace
from scorebed.solvers.state import parts
from scorebed.toy.problems.euclidean import EuclideanProblem
from scorebed.toy.problems.problem import ROUND_OFF, LawError, Reference


@dataclass(frozen=True, kw_only=True)
class EndpointProblem(EuclideanProblem):
    """A target with its consistency model."""

    takes: ClassVar[str] = "endpoint"

    @cached_property
    def maps(self) -> FlowMap:
        """The exact maps of the target."""
        return FlowMap(self.target)

    @property
    def model(self) -> Any:
        """f(x, s)."""
        return self.maps.endpoint

    def law_error(self, solver: Solver, nodes: Sequence[Node], seed: int = 0) -> LawError:
        """W2 between the law of the output and the exact marginal, from the Plan; the target is one Gaussian."""
        mean, covariance = moments(trace(solver, nodes), self.target, affine=lambda node: self.maps.affine(*parts(node)))
        end = self.target.marginal(nodes[-1])
        return LawError(gaussian_w2(mean, covariance, end.mean(), end.covariance()), ROUND_OFF)


@dataclass(frozen=True, kw_only=True)
class MapProblem(EndpointProblem):
    """A target with its flow map."""

    takes: ClassVar[str] = "map"

    @property
    def model(self) -> Any:
        """f(x, s, t)."""
        return self.maps.map


@dataclass(frozen=True, kw_only=True)
class AverageProblem(EndpointProblem):
    """A target with its average velocity."""

    takes: ClassVar[str] = "average"

    @property
    def model(self) -> Any:
        """u(x, s, t)."""
        return predicts("average")(lambda x, s, t: self.maps.average_velocity(x, s, t))


@dataclass(frozen=True, kw_only=True)
class ReflowProblem(EndpointProblem):
    """A target with the velocity of the straight paths between the exact pairs of its ends."""

    takes: ClassVar[str] = "velocity"

    @cached_property
    def paths(self) -> Reflow:
        """The straight paths between the problem's ends."""
        return Reflow(self.target, *self.ends)

    @property
    def model(self) -> Any:
        """v(x, s)."""
        return self.paths.model

    def exact(self, x: Any, s: Node, t: Node) -> Reference:
        """Where the straight path through x is at t."""
        y = self.paths(x, s, t)
        return Reference(y, ROUND_OFF * float(np.sqrt(np.mean(y**2))))


@dataclass(frozen=True, kw_only=True)
class DrawProblem(EndpointProblem):
    """A target with draws of p(x0 | x)."""

    takes: ClassVar[str] = "draw"

    @property
    def model(self) -> Any:
        """g(x, s, ξ)."""
        return posterior_draws(self.target)


KINDS: dict[str, type[EndpointProblem]] = {
    kind.takes: kind for kind in (EndpointProblem, MapProblem, AverageProblem, ReflowProblem, DrawProblem)
}
"""The kind of problem for what a method takes."""
