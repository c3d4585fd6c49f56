"""Unrolling: the ordinary loop run on linear forms, and what happens written down as a ``Plan``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from scorebed.solvers.base import Solver
from scorebed.solvers.plan.base import Combine, Draw, Evaluate, Op, Plan, Registers
from scorebed.solvers.plan.form import Form, NotLinear, refuse
from scorebed.solvers.process import Point
from scorebed.solvers.sample import check_run, loop
from scorebed.solvers.state import bare, parts


class Tape:
    """Writes the operations while a loop, or another Plan, runs on forms."""

    def __init__(self, solver: str, grid: Sequence[Any], takes: str = "denoised") -> None:
        self.solver, self.grid, self.process, self.takes = solver, tuple(grid), grid[0].process, takes
        self.ops: list[Op] = []
        self.draws: dict[tuple[float, float], Any] = {}
        self.ends: list[int] = []
        self._made: dict[tuple[tuple[int, float], ...], int] = {}
        self.states = [bare(tuple(range(len(self.process.state))))]
        self.count = len(self.process.state)

    @property
    def x(self) -> Any:
        """The initial state."""
        return _forms(self.states[0])

    def emit(self, op: Op) -> Registers:
        """The registers that hold what the operation makes."""
        self.ops.append(op)
        self.count += op.makes
        return bare(tuple(range(self.count - op.makes, self.count)))

    def register(self, form: Any, what: str) -> int:
        """The register that holds this form, made now if it is not one already."""
        if not isinstance(form, Form):
            refuse(f"{what} is {type(form).__name__}, not an array")
        terms = tuple((i, c) for i, c in sorted(form.terms.items()) if c != 0.0)
        if not all(math.isfinite(c) for _, c in terms):
            raise ValueError(f"{what} has coefficients {dict(terms)}: steps need finite coefficients")
        if len(terms) == 1 and terms[0][1] == 1.0:
            return terms[0][0]
        if terms not in self._made:
            self._made[terms] = self.emit(Combine(terms))
        return self._made[terms]

    def registers(self, value: Any, what: str) -> Registers:
        """The registers of a state."""
        if len(parts(value)) != len(self.process.state):
            refuse(f"{what} has {len(parts(value))} components, not ({', '.join(self.process.state)})")
        return bare(tuple(self.register(part, what) for part in parts(value)))

    def evaluate(self, x: Any, node: Point, *to: Point) -> Any:
        source = self.registers(x, f"the input of the evaluation at {node}")
        return _forms(self.emit(Evaluate((node, *to) if to else node, source, len(self.process.gives))))

    def draw(self, s: Point, t: Point) -> Any:
        low, high = sorted((s.clock, t.clock))
        if (low, high) not in self.draws:
            for other in self.draws:
                if low < other[1] and other[0] < high:
                    raise ValueError(f"draws on overlapping intervals, lam {(low, high)} and {other}: draw on disjoint ones and add")
            self.draws[low, high] = _forms(self.emit(Draw(s, t, self.process.draws)))
        return self.draws[low, high]

    def hold(self, value: Any) -> Any:
        """A carry with every form in it put into a register."""
        if isinstance(value, Form):
            return Form({self.register(value, "the carry"): 1.0})
        if isinstance(value, dict):
            return {k: self.hold(v) for k, v in value.items()}
        return type(value)(map(self.hold, value)) if type(value) in (tuple, list) else value

    def after(self, i: int, x: Any, carry: Any = None) -> tuple[Any, Any]:
        """The end of step i."""
        held = self.hold(carry)  # before the state, so that what lives on behind the state is what the step hands on
        self.states.append(self.registers(x, f"the state after step {i}"))
        self.ends.append(len(self.ops))
        return _forms(self.states[-1]), held

    def plan(self, result: Any) -> Plan:
        """What was written, with ``result`` as the output."""
        output = self.registers(result, "the output")
        return Plan(self.solver, self.grid, tuple(self.ops), tuple(self.states), output, tuple(self.ends), takes=self.takes)


def _forms(registers: Registers) -> Any:
    """The registers as forms."""
    return bare(tuple(Form({r: 1.0}) for r in parts(registers)))


def trace(solver: Solver, grid: Sequence[Any], terminal: str = "none") -> Plan:
    """Unroll ``solver`` on ``grid``.

    Returns:
        the Plan of ``solver`` on ``grid``.

    Raises:
        NotLinear: the solver is declared nonlinear, or its step is.
        ValueError: bad grid or terminal rule, a coefficient that is not finite, or overlapping draws.
    """
    nodes = check_run(solver, grid, terminal)
    if solver.nonlinear is not None:
        raise NotLinear(f"{solver.name} is declared nonlinear: {solver.nonlinear}")
    tape = Tape(solver.name, nodes, solver.takes)
    return tape.plan(loop(solver, tape.evaluate, tape.x, nodes, tape.draw, terminal, tape.after))
