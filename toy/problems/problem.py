r"""What a solver is tried on: a process, a target on it, and what is exactly true of both between two times.

A problem answers two questions, for a solver that goes from node s to node t:

    path   where does the probability flow take the state x?       ``exact``: by a closed map, else by an integration with its own error
    law    how far is the law of the output from the marginal?     ``law_error``: from the Plan or the chain of the solver, by running it

The first judges deterministic solvers, the second stochastic ones too, both without Monte Carlo where that can be. Properties, studies
and checks ask a problem for all they need: nothing is dispatched on its name. A kind of problem is a class with the members of
``Problem``; most inherit ``BaseProblem`` and write what differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np

from scorebed.solvers import Denoiser, Node, Solver
from scorebed.solvers.grid import Spacing, make
from scorebed.toy.problems.reference import Reference, integrate

ROUND_OFF = 1e-13
"""Relative error of a closed flow map, as its properties hold it."""

P = TypeVar("P", bound="Problem")
B = TypeVar("B", bound="BaseProblem")


class LawError(NamedTuple):
    """How far a law is from the exact one; ``floor`` is the error of the reference, ``samples`` the paths of Monte Carlo, 0 where there
    is none."""

    error: float
    floor: float
    samples: int = 0


class Problem(Protocol):
    """What is asked of something to try a solver on.

    Attributes:
        name, description: what the command line calls it, and one line for tables and figures.
        process: the forward law; a method belongs here if its ``on`` names ``process.kind``, and ``bind`` knows the rest.
        target, model: the law of the clean data, and what the solver is given: its exact E[x0 | x].
        d, space: the dimension, and the space of ``solvers.space`` that the states lie in; None is R^d.
        ends: the first and the last node.
        grid_name: what tables call the default grid.
        closed: whether the exact answer is closed in form.
        law_kind: what ``law_error`` measures: ``law``, a distance of laws, or ``weak``, errors of means of observables.
        samples, finest: how many initial states a study draws, and the most steps that it refines to.
        solvers: the names of the methods of a study that names none.
    """

    def __hash__(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def process(self) -> Any: ...
    @property
    def target(self) -> Any: ...
    @property
    def model(self) -> Denoiser: ...
    @property
    def d(self) -> int: ...
    @property
    def space(self) -> Any: ...
    @property
    def ends(self) -> tuple[Node, Node]: ...
    @property
    def grid_name(self) -> str: ...
    @property
    def closed(self) -> bool: ...
    @property
    def law_kind(self) -> str: ...
    @property
    def samples(self) -> int: ...
    @property
    def finest(self) -> int: ...
    @property
    def solvers(self) -> tuple[str, ...]: ...

    def nodes(self, n: int, grid: str | None = None) -> list[Node]:
        """The grid of n steps, by name; None is the problem's own."""

    def draw(self, n: int, seed: int = 0) -> Any:
        """n states at the first node."""

    def states(self, node: Node) -> Any:
        """A few fixed states that are typical at a node."""

    def exact(self, x: Any, s: Node, t: Node) -> Reference:
        """Where the probability flow takes x from s to t, and how well that is known."""

    def distance(self, x: Any, y: Any) -> float:
        """The RMS distance of the states x from the states y."""

    def law_error(self, solver: Solver, nodes: Sequence[Node], seed: int = 0) -> LawError:
        """How far the law of the output is from the exact marginal at the last node, started from the exact marginal at the first."""

    def bind(self, solver: Solver) -> Solver:
        """The method as it runs on this problem, under its own name; ``ValueError`` for one that does not belong here."""


@dataclass(frozen=True, kw_only=True)
class BaseProblem:
    """What problems have in common, whatever their states are.

    Attributes:
        make: makes the target; called once, when it is first needed.
        process: the schedule, or another process.
        grid: the default grid, a name of ``solvers.GRIDS`` or a spacing of one's own.
        start, end: the range of times; None takes ``t_max`` and ``t_min`` of the process.
        closed: whether ``target.flow`` is closed in form; otherwise the reference is an integration with its own error estimate.
        samples: how many initial states a study draws.
        finest: the most steps that a study refines to.
        solvers: the names of the methods of a study that names none; none takes the study's own, or all that belong there.
    """

    name: str
    description: str = ""
    make: Callable[[], Any]
    process: Any
    grid: str | Spacing = "uniform_lam"
    start: float | None = None
    end: float | None = None
    closed: bool = True
    samples: int = 100
    finest: int = 2560
    solvers: tuple[str, ...] = ()

    takes: ClassVar[str] = "denoised"  # what the problem's model gives, as ``Solver.takes``
    law_kind: ClassVar[str] = "law"
    """What ``law_error`` measures, as rows of a study call it: ``law``, a distance of laws, or ``weak``, errors of means of observables."""

    @cached_property
    def target(self) -> Any:
        """The law of the clean data."""
        return self.make()

    @property
    def d(self) -> int:
        return int(self.target.d)

    @property
    def space(self) -> Any:
        """The space of ``solvers.space`` that the states lie in; None is R^d."""
        return None

    @property
    def model(self) -> Denoiser:
        """The exact E[x0 | x]."""
        return self.target.denoised

    @property
    def grid_name(self) -> str:
        """What tables call the default grid."""
        return self.grid if isinstance(self.grid, str) else self.grid.__name__

    @cached_property
    def variances(self) -> tuple[float, ...]:
        """The spectrum of the target's covariance, to which grids are fitted."""
        return tuple(float(v) for v in np.clip(np.linalg.eigvalsh(np.atleast_2d(self.target.covariance())), 0.0, None))

    def nodes(self, n: int, grid: str | None = None) -> list[Node]:
        """The grid of ``n`` steps, by name; None is the problem's own. Kinds that can be are fitted to the target's covariance.

        Returns:
            the n + 1 nodes of the grid.

        Raises:
            ValueError: an unknown name, or parameters for which the grid does not exist.
        """
        return list(_nodes(self, n, self.grid if grid is None else grid))

    @cached_property
    def ends(self) -> tuple[Node, Node]:
        """The first and the last node, which all grids share."""
        s, t = self.nodes(1)
        return s, t

    def reversed(self: B) -> B:
        """The same problem walked the other way."""
        s, t = self.ends
        return replace(self, start=t.t, end=s.t)

    def draw(self, n: int, seed: int = 0) -> np.ndarray:
        """``n`` states at the first node, from its exact marginal; shape (n, …)."""
        return np.asarray(self.target.sample(n, np.random.default_rng(seed), self.ends[0]))

    def states(self, node: Node) -> np.ndarray:
        """A few fixed states that are typical of the marginal at ``node``, where a property needs no more: drawn with seed 0."""
        return np.asarray(self.target.sample(7, np.random.default_rng(0), node))

    def exact(self, x: np.ndarray, s: Node, t: Node) -> Reference:
        """Where the probability flow takes ``x`` from s to t, and how well that is known."""
        if self.closed:
            x_t = np.asarray(self.target.flow(x, s, t))
            return Reference(x_t, ROUND_OFF * float(np.sqrt(np.mean(x_t**2))))
        return integrate(self.model, x, s, t)

    def distance(self, x: np.ndarray, y: np.ndarray) -> float:
        """The RMS distance of the states x from the states y, over all entries."""
        return float(np.sqrt(np.mean(np.square(x - y))))

    def law_error(self, solver: Solver, nodes: Sequence[Node], seed: int = 0) -> LawError:
        """How far the law of the output is from the exact marginal at the last node, started from the exact marginal at the first.

        Raises:
            NotImplementedError: a kind of problem for which no law of an output is known.
        """
        raise NotImplementedError(f"{self.name}: the law of an output is not known here")

    def bind(self, solver: Solver) -> Solver:
        """The method as it runs on this problem, under its own name.

        Returns:
            the solver, ready for this problem.

        Raises:
            ValueError: a method that does not belong here; the message says which do.
        """
        if self.process.kind not in solver.on:
            kinds = "/".join(solver.on)
            raise ValueError(f"{solver.name} is made for {kinds} processes, but {self.name} is a problem of a {self.process.kind} one")
        if solver.takes != self.takes:
            raise ValueError(f"{solver.name} takes a model of {solver.takes!r}, but that of {self.name} is one of {self.takes!r}")
        return solver


@lru_cache(maxsize=4096)
def _nodes(problem: BaseProblem, n: int, grid: str | Spacing) -> tuple[Node, ...]:
    if callable(grid):
        return tuple(grid(problem.process, n, problem.start, problem.end))
    return tuple(make(grid, problem.process, n, problem.start, problem.end, variances=problem.variances))


def refusal(problem: Problem, solver: Solver) -> str:
    """Why the method does not belong on the problem, or nothing."""
    try:
        problem.bind(solver)
    except ValueError as refused:
        return str(refused)
    return ""


def enrolled(problems: Iterable[P], solver: Solver) -> Iterator[tuple[P, Solver]]:
    """The problems that the method belongs on, with the method as it runs there."""
    for problem in problems:
        if not refusal(problem, solver):
            yield problem, problem.bind(solver)
