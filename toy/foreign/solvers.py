r"""Our ``Solver`` and a ``Plan`` as candidates."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from scorebed.solvers import Node, Plan, Solver, sample
from scorebed.solvers.base import advance
from scorebed.solvers.methods.adaptive import ADAPTIVE
from scorebed.solvers.methods.scipy_integrators import BLACK_BOX
from scorebed.solvers.noise import BrownianNoise
from scorebed.toy.foreign.candidate import CLEAN, Candidate, Denoise, How, Interface, Own
from scorebed.toy.foreign.draws import as_noise


class SolverCandidate(Candidate):
    """Our ``Solver``, run by ``sample``.

    Raises:
        TypeError: one that moves in a space, or on another process than a scalar Gaussian one.
    """

    kind = "solver"

    def __init__(self, solver: Solver) -> None:
        if solver.space is not None or "gaussian" not in solver.on:
            where = solver.space if solver.space is not None else "/".join(solver.on)
            raise TypeError(f"{solver.name} is made for {where}, the check for R^d: its properties are tests, pytest -k {solver.name}")
        interface = Interface(both_ways=solver.weak is None, ends=("none", "zero"), start=True)
        super().__init__(solver.name, interface=interface, order=None if solver.weak else solver.order, weak=solver.weak)
        self.solver, self.stochastic = solver, solver.weak is not None
        self.adaptive = solver.nonlinear in (ADAPTIVE, BLACK_BOX)

    @property
    def code(self) -> Any:
        return self.solver.step

    def _go(self, denoise: Denoise, x: Any, grid: Sequence[Node], how: How) -> Any:
        noise = as_noise(how.draws, x) if how.draws is not None else how.seed
        if how.start is None or self.solver.nonlinear is not None:
            return sample(self.solver, denoise, x, grid, noise=noise, terminal="none" if how.end == "none" else "denoise")
        drawn = noise if callable(noise) else BrownianNoise(noise, tuple(x.shape), like=x)
        carry, (k, flow) = None, how.start
        for i, (s, t) in enumerate(pairwise(grid)):
            x_t, carry = advance(self.solver, denoise, x, s, t, carry, drawn)
            x = flow(x, s, t) if i < k else x_t
        return x if how.end == "none" else denoise(x, grid[-1])


class PlanCandidate(Candidate):
    """A ``Plan``: its nodes are settled, so that it has no order, and everything else is looked at on its own grid alone."""

    kind = "plan"

    def __init__(self, plan: Plan, name: str | None = None) -> None:
        self.last = plan.result == plan.states[-1]
        interface = Interface(grid=False, schedules=False, both_ways=False, ends=("none" if self.last else "zero",), own=True)
        super().__init__(name or f"{plan.solver}, plan of {len(plan.grid) - 1} steps", interface=interface)
        self.plan, self.stochastic, self.adaptive = plan, plan.stochastic, True

    def own(self, n: int, dtype: str = "float64 state", fine: bool = False, ends: tuple[float, float] | None = None) -> Own:
        return Own(len(self.plan.grid) - 1, self.plan.grid if self.last else [*self.plan.grid, CLEAN])

    def _go(self, denoise: Denoise, x: Any, grid: Sequence[Node], how: How) -> Any:
        return self.plan.run(denoise, x, as_noise(how.draws, x) if how.draws is not None else how.seed)
