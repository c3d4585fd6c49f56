"""Problems of jump processes: joint tables of a few tokens, on which the law of a method's output is a vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from scorebed.analytic.finite import Known, TableLaw, total_variation
from scorebed.solvers import Solver
from scorebed.solvers.base import advance
from scorebed.solvers.process.generators import gaussian_rates
from scorebed.solvers.process.jump import JumpProcess
from scorebed.toy.problems.jump_law import FirstOf, output_table
from scorebed.toy.problems.problem import BaseProblem, LawError
from scorebed.toy.problems.reference import Reference

ROUND_OFF = 1e-13
METHODS = ("jump_euler", "tau_leaping", "jump_ancestral", "theta_rk2", "theta_trapezoidal")


@dataclass(frozen=True, kw_only=True)
class JumpProblem(BaseProblem):
    """A ``TableLaw`` on its process; ``law_error`` is the total variation between the exact law of the output and p_t."""

    grid: Any = "uniform"
    closed: bool = False  # no path is
    finest: int = 320
    solvers: tuple[str, ...] = METHODS

    def draw(self, n: int, seed: int = 0) -> np.ndarray:
        """n states at the first node, (n, L) integers."""
        return np.asarray(self.target.sample(n, np.random.default_rng(seed), self.ends[0]))

    @property
    def variances(self) -> tuple[float, ...]:
        """No covariance: tokens have no distance."""
        return ()

    @cached_property
    def known(self) -> Known:
        """The exact model by look-up."""
        return Known(self.target)

    def exact(self, x: np.ndarray, s: Any, t: Any) -> Reference:
        """No flow takes tokens anywhere.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(f"{self.name}: tokens jump at random, so no path is exact; ask for the law")

    def distance(self, x: np.ndarray, y: np.ndarray) -> float:
        """The share of tokens that differ."""
        return float(np.mean(np.asarray(x) != np.asarray(y)))

    def bind(self, solver: Solver) -> Solver:
        """The method, if it makes a step here: some are for masks alone, and say so."""
        moving = super().bind(solver)
        s, t = self.nodes(2)[:2]
        advance(moving, self.model, self.states(s)[:1], s, t, None, lambda a, b: FirstOf())
        return moving

    def law(self, solver: Solver, nodes: Sequence[Any], **how: Any) -> np.ndarray:
        """The exact law of the output, started from p_t at the first node; a table (A,) * L."""
        return output_table(solver, self.known, self.target.marginal(nodes[0]), nodes, **how)

    def law_error(self, solver: Solver, nodes: Sequence[Any], seed: int = 0) -> LawError:
        """The total variation between the exact law of the output and p_t at the last node."""
        return LawError(total_variation(self.law(solver, nodes), self.target.marginal(nodes[-1])), ROUND_OFF)


def random_table(size: int, d: int, seed: int, sharp: float = 1.5) -> np.ndarray:
    """A table of log-normal weights: correlated tokens, no zeros; the logarithms have standard deviation ``sharp``."""
    p = np.exp(sharp * np.random.default_rng(seed).standard_normal((size,) * d))
    return np.asarray(p / p.sum())


def masked() -> TableLaw:
    """Three bits under a mask."""
    return TableLaw(random_table(2, 3, 1), JumpProcess(2))


def uniform() -> TableLaw:
    """Two tokens of three values that jump anywhere."""
    return TableLaw(random_table(3, 2, 2), JumpProcess(3, "uniform"))


def ordered() -> TableLaw:
    """Two levels of three, which jump to near ones."""
    return TableLaw(random_table(3, 2, 6), ORDERED)


ORDERED = JumpProcess(3, gaussian_rates(3, 0.8))
PROBLEMS = (
    JumpProblem(
        name="masked_bits", description="three correlated bits under a mask", make=masked, process=JumpProcess(2), start=0.95, end=0.05
    ),
    JumpProblem(
        name="uniform_tokens",
        description="two tokens of three values, uniform noise",
        make=uniform,
        process=JumpProcess(3, "uniform"),
        start=0.95,
        end=0.05,
    ),
    JumpProblem(
        name="ordered_tokens", description="two levels of three, Gaussian rates", make=ordered, process=ORDERED, start=0.95, end=0.05
    ),
)
