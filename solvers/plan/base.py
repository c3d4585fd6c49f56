r"""A solver unrolled on one grid: straight-line linear code around the model, and the one way to walk it.

Between evaluations of the model every method here is linear in the state, the evaluations and the draws of noise. A Plan writes this down
as operations over registers,

    registers 0 … are the components of the initial state; each operation makes the next registers,
    Evaluate(node, source)   what the model gives at the state in the registers ``source``
    Draw(s, t)               the draws of the interval
    Combine(terms)           the sum of coefficient * register

and ``fold`` walks it with any values in the registers: arrays (a run), rows of coefficients (exact moments), linear forms (another Plan),
tensors, numbers of buffers. A Plan belongs to (solver, options, grid). From it come the number of evaluations, the memory, the law of the
output on Gaussian targets, and the program that other back ends run.

One register stands bare, several stand in a tuple, as components of states do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np

from scorebed.solvers.memory import own
from scorebed.solvers.model import Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.plan.file import Saved
from scorebed.solvers.plan.form import NotLinear
from scorebed.solvers.plan.ops import Combine, Draw, Evaluate, Op, Registers, Value, reads, total
from scorebed.solvers.plan.transitions import Transitions
from scorebed.solvers.process import Point
from scorebed.solvers.sample import Watched, WatchedNoise, check_step
from scorebed.solvers.state import State, bare, parts

__all__ = ["Combine", "Draw", "Evaluate", "NotLinear", "Op", "Plan", "Walk", "total"]


@dataclass(frozen=True)
class Plan(Saved):
    """Straight-line code of one solver on one grid. ``states[i]`` is the register of x at ``grid[i]``, ``result`` that of the output;
    step i ends after ``ends[i]`` operations, which matters where a method has x at t before the step is over. ``record`` says how a tuned
    Plan was made, ``takes`` what its model must give, as ``Solver.takes``."""

    solver: str
    grid: tuple[Any, ...]
    ops: tuple[Op, ...]
    states: tuple[Registers, ...]
    result: Registers
    ends: tuple[int, ...]
    record: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    takes: str = "denoised"

    @property
    def nodes(self) -> tuple[Any, ...]:
        """Where the model is evaluated, in order."""
        return tuple(op.node for op in self.calls.values())

    @property
    def noises(self) -> tuple[tuple[Any, Any], ...]:
        """The intervals of the draws, in order."""
        return tuple((op.s, op.t) for op in self.draws.values())

    @property
    def nfe(self) -> int:
        return len(self.calls)

    @property
    def stochastic(self) -> bool:
        return bool(self.draws)

    @property
    def components(self) -> int:
        """Of the state."""
        return len(parts(self.states[0]))

    @property
    def size(self) -> int:
        """The number of registers."""
        return self.components + sum(op.makes for op in self.ops)

    @cached_property
    def made(self) -> tuple[tuple[int, ...], ...]:
        """The registers that each operation makes."""
        ends = accumulate((op.makes for op in self.ops), initial=self.components)
        return tuple(tuple(range(first, first + op.makes)) for first, op in zip(ends, self.ops, strict=False))

    @cached_property
    def calls(self) -> dict[int, Evaluate]:
        """The evaluations, by the first register that each makes."""
        return {made[0]: op for made, op in zip(self.made, self.ops, strict=True) if isinstance(op, Evaluate)}

    @cached_property
    def draws(self) -> dict[int, Draw]:
        """The draws, by the first register that each makes."""
        return {made[0]: op for made, op in zip(self.made, self.ops, strict=True) if isinstance(op, Draw)}

    @cached_property
    def sums(self) -> dict[int, tuple[tuple[int, float], ...]]:
        """The terms of the sums, by register."""
        return {made[0]: op.terms for made, op in zip(self.made, self.ops, strict=True) if isinstance(op, Combine)}

    @cached_property
    def last_use(self) -> dict[int, int]:
        """For each register the index of the last operation that reads it (len(ops) for the result)."""
        last = {register: i for i, op in enumerate(self.ops) for register in reads(op)}
        return {**last, **dict.fromkeys(parts(self.result), len(self.ops))}

    @property
    def history(self) -> int:
        """The most arrays besides x that any step hands to the next."""
        first = {register: i for i, made in enumerate(self.made) for register in made}  # the operation that makes it
        steps = zip(self.states[1:], self.ends, strict=True)
        return max(
            sum(1 for r, last in self.last_use.items() if r not in parts(state) and first.get(r, -1) < end <= last) for state, end in steps
        )

    def fold(
        self,
        x: Value,
        evaluate: Callable[[Value, Any], Value],
        draw: Callable[[Any, Any], Value],
        combine: Callable[[list[tuple[float, Value]]], Value],
        step: Callable[[int, Value], Value] | None = None,
    ) -> Value:
        """Walk the Plan from the value ``x`` of the initial state to that of the output.

        Args:
            x: the value of the state, a tuple where it has several components.
            evaluate: (state, node) -> what the model gives there, a tuple where it gives several things; the node of a map f(x, s, t) is
                the pair (s, t).
            draw: (s, t) -> the draws of the interval, a tuple where there are several.
            combine: [(coefficient, value), ...] -> their sum; the list is empty for a state that vanishes.
            step: (i, state after step i) -> the state with which the walk goes on.

        Returns:
            the value of the output state.
        """
        walk = Walk(self, x)
        walk.advance(draw, combine, step)
        while (op := walk.waiting) is not None:
            walk.answer(evaluate(walk.read(op.source), op.node))
            walk.advance(draw, combine, step)
        return walk.read(self.result)

    def _rows(self) -> tuple[Value, list[Value]]:
        """The output and the input of every evaluation as rows over (initial state, evaluations, draws)."""
        given = sum(op.makes for op in self.calls.values())
        unit = np.eye(self.components + given + sum(op.makes for op in self.draws.values()))
        inputs: list[Value] = []
        evaluations, draws = iter(unit[self.components :]), iter(unit[self.components + given :])
        widths = iter([op.makes for op in self.calls.values()]), iter([op.makes for op in self.draws.values()])

        def evaluate(x: Value, node: Point) -> Value:
            inputs.append(x)
            return take(evaluations, next(widths[0]))

        def take(rows: Iterator[Value], count: int) -> Value:
            return bare(tuple(next(rows) for _ in range(count)))

        def combine(terms: list[tuple[float, Value]]) -> Value:
            return sum((c * row for c, row in terms), np.zeros(len(unit)))

        x = bare(tuple(unit[: self.components]))
        return self.fold(x, evaluate, lambda s, t: take(draws, next(widths[1])), combine), inputs

    @property
    def inputs(self) -> np.ndarray:
        """Row i: the input of evaluation i over (initial x, evaluations, draws); shape (nfe, 1 + nfe + draws)."""
        return np.array(self._rows()[1])

    @property
    def output(self) -> np.ndarray:
        """The output over (initial x, evaluations, draws); shape (1 + nfe + draws,)."""
        return np.array(self._rows()[0])

    def transitions(self, model: Denoiser) -> Transitions:
        """Mean, standard deviation and log-probability of every step: ``rollout(x, noise)`` draws, ``score(states)`` reads given ones."""
        return Transitions(self, model)

    def run(self, denoise: Denoiser, x: State, noise: Noise | int | Sequence[int] | None = None) -> State:
        """Replay the plan from the state ``x``; the same checks and, for the same noise, the same result as ``sample``. No noise is a fresh
        seed at every call.

        Returns:
            the state at the end, of the shape of x.
        """
        self.grid[0].process.check(x)
        x = own(x)
        watched, drawn = Watched(denoise, self.grid[0], self.takes), WatchedNoise(noise, x, self.grid[0])

        def step(i: int, x_t: State) -> State:
            check_step(x_t, i, self.solver, self.grid)
            watched.step = i + 1
            return x_t

        zero = parts(x)[0]
        return self.fold(x, lambda y, node: watched(y, *parts(node)), drawn, lambda terms: total(terms) if terms else 0.0 * zero, step)


class Walk:
    """A Plan on its way, stopped at an evaluation: ``advance``, then ``answer``, and so on. ``fold`` is the loop around it.

    ``live`` holds the registers that are still read, by number; ``at`` the number of operations done, ``waiting`` the evaluation that
    must be answered, None at the end.
    """

    def __init__(self, plan: Plan, x: Value) -> None:
        self.plan, self.at, self._step = plan, 0, 0
        self.live: dict[int, Value] = dict(zip(parts(plan.states[0]), parts(x), strict=True))
        self._last = dict(plan.last_use)
        for state, end in zip(plan.states[1:], plan.ends, strict=True):  # a state is looked at where its step ends
            self._last |= {r: max(end, self._last.get(r, -1)) for r in parts(state)}

    @property
    def waiting(self) -> Evaluate | None:
        op = self.plan.ops[self.at] if self.at < len(self.plan.ops) else None
        return op if isinstance(op, Evaluate) else None

    def read(self, registers: Registers) -> Value:
        """The value of a register, or of a tuple of them."""
        return tuple(self.live[r] for r in registers) if isinstance(registers, tuple) else self.live[registers]

    def answer(self, value: Value) -> None:
        """Take what the model gives where the walk waits."""
        made = self.plan.made[self.at]
        self.live.update(zip(made, (value,) if len(made) == 1 else value, strict=True))
        self.at += 1
        for register in [r for r in self.live if self._last.get(r, -1) < self.at]:
            del self.live[register]

    def advance(
        self,
        draw: Callable[[Any, Any], Value],
        combine: Callable[[list[tuple[float, Value]]], Value],
        step: Callable[[int, Value], Value] | None = None,
    ) -> None:
        """Draws and sums up to the next evaluation, or to the end."""
        while True:
            self._end_steps(step)
            op = self.plan.ops[self.at] if self.at < len(self.plan.ops) else None
            if op is None or isinstance(op, Evaluate):
                return
            self.answer(draw(op.s, op.t) if isinstance(op, Draw) else combine([(c, self.live[r]) for r, c in op.terms]))

    def _end_steps(self, step: Callable[[int, Value], Value] | None) -> None:
        """What is done with the state after each step that ends here."""
        while self._step < len(self.plan.ends) and self.plan.ends[self._step] == self.at:
            self._step += 1
            if step is not None:
                registers = self.plan.states[self._step]
                self.live.update(zip(parts(registers), parts(step(self._step - 1, self.read(registers))), strict=True))
