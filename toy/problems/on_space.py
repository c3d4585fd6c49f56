"""Problems on spaces other than R^d: mixtures of heat kernels with alpha = 1, distances of the space, laws seen through observables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.solvers import EDM, Node, Solver
from scorebed.solvers.space import Space
from scorebed.toy.problems import chains, kernels
from scorebed.toy.problems.problem import BaseProblem, LawError
from scorebed.toy.problems.reference import Reference, integrate_on


@dataclass(frozen=True, kw_only=True)
class SpaceProblem(BaseProblem):
    """A problem on a space: its target is a ``HeatMixture`` or ``HeatProduct``, its schedule has alpha = 1.

    ``closed`` says that the flow map is exact, as it is about one point, and along products.
    """

    process: Any = EDM()  # noqa: RUF009

    law_kind: ClassVar[str] = "weak"

    @property
    def d(self) -> int:
        return int(self.target.space.dim)

    @property
    def space(self) -> Space:
        return self.target.space

    @cached_property
    def gaussian(self) -> GaussianMixture:
        """The isotropic Gaussian of R^d as wide as the target about its first mean: what grids are fitted to, and nothing else."""
        x = self.target.sample(1000, np.random.default_rng(0))
        parts = getattr(self.target, "factors", (self.target,))
        centre = np.concatenate([part.means[0] for part in parts]) if len(parts) > 1 else parts[0].means[0]
        variance = float(np.mean(np.square(self.space.distance(x, np.broadcast_to(centre, x.shape))))) / self.d
        return GaussianMixture(np.ones(1), np.zeros((1, self.d)), variance * np.eye(self.d)[None])

    @cached_property
    def variances(self) -> tuple[float, ...]:
        """Those of ``gaussian``."""
        return tuple(np.diag(self.gaussian.covariance()).tolist())

    def states(self, node: Node) -> np.ndarray:
        """A few fixed states, the same at every node."""
        return kernels.states(self.space)

    def exact(self, x: np.ndarray, s: Node, t: Node) -> Reference:
        """Where the probability flow takes ``x`` from s to t."""
        if self.closed:
            return Reference(np.asarray(self.target.flow(x, s, t)), chains.ROUND_OFF)
        return integrate_on(self.target, x, s, t)

    def distance(self, x: np.ndarray, y: np.ndarray) -> float:
        """The RMS of the distances of the states x from the states y."""
        return float(np.sqrt(np.mean(np.square(self.space.distance(x, y)))))

    def law_error(self, solver: Solver, nodes: Sequence[Node], seed: int = 0) -> LawError:
        """RMS error of the means of a few observables, by the exact law of a chain where there is one (``toy.problems.chains``)."""
        return LawError(*chains.weak_error(self.target, solver, nodes, seed))

    def transition_error(self, solver: Solver, nodes: Sequence[Node]) -> float:
        """RMS error of the same means from one point at the first node, the target's first mean; for targets of one factor."""
        return chains.transition_error(self.target, solver, nodes)

    def bind(self, solver: Solver) -> Solver:
        """The method in the problem's space, under its own name.

        Returns:
            the solver, bound to the problem's space.

        Raises:
            ValueError: a method of R^d, or of other spaces.
        """
        super().bind(solver)
        if solver.space is not None and solver.space is self.space and "(" not in solver.name:
            return solver
        known = f": give methods that move there, e.g. {', '.join(self.solvers)}" if self.solvers else ""
        if not solver.spaces:
            raise ValueError(f"{solver.name} is a method of R^d, but {self.name} lies on {self.space}{known}")
        if not solver.claims(self.space) or (solver.space is not None and solver.space.name != self.space.name):
            where = solver.space or "/".join(solver.spaces)
            raise ValueError(f"{solver.name} moves in {where}, but {self.name} lies on {self.space}{known}")
        return replace(solver(space=self.space), name=solver.name)
