r"""Unrolling a solver on one grid into straight-line linear code.

Between evaluations of the denoiser every method here is linear in the state, the evaluations and the draws of noise. ``trace`` runs the
ordinary loop on symbolic linear forms and writes down what happens as operations over registers:

    register 0 is the initial state; each operation makes the next register,
    Evaluate(node, source)   denoise(register, node)
    Draw(s, t)               unit normals of the interval
    Combine(terms)           sum of coefficient * register

A Plan belongs to (solver, options, grid). From it come the number of evaluations, the memory, the exact moments of the output on Gaussian
targets, and the program that other back ends run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any, NoReturn

import numpy as np

from scorebed.solvers.base import Solver
from scorebed.solvers.memory import own
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.sample import Watched, WatchedNoise, check_run, check_state, check_step, march
from scorebed.solvers.schedule import Node


class NotLinear(TypeError):
    """The step does something with arrays that is not a linear combination with float coefficients."""


@dataclass(frozen=True)
class Evaluate:
    node: Node
    source: int


@dataclass(frozen=True)
class Draw:
    s: Node
    t: Node


@dataclass(frozen=True)
class Combine:
    terms: tuple[tuple[int, float], ...]


Op = Evaluate | Draw | Combine


def _reads(op: Op) -> tuple[int, ...]:
    if isinstance(op, Evaluate):
        return (op.source,)
    return tuple(i for i, _ in op.terms) if isinstance(op, Combine) else ()


@dataclass(frozen=True)
class Plan:
    """Straight-line code of one solver on one grid. ``states[i]`` is the register of x at ``grid[i]``, ``result`` that of the output;
    step i ends after ``ends[i]`` operations, which matters where a method has x at t before the step is over."""

    solver: str
    grid: tuple[Node, ...]
    ops: tuple[Op, ...]
    states: tuple[int, ...]
    result: int
    ends: tuple[int, ...] = ()

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Where the denoiser is evaluated, in order."""
        return tuple(op.node for op in self.ops if isinstance(op, Evaluate))

    @property
    def noises(self) -> tuple[tuple[Node, Node], ...]:
        """The intervals of the draws, in order."""
        return tuple((op.s, op.t) for op in self.ops if isinstance(op, Draw))

    @property
    def nfe(self) -> int:
        return len(self.nodes)

    @property
    def stochastic(self) -> bool:
        return bool(self.noises)

    @cached_property
    def last_use(self) -> dict[int, int]:
        """For each register the index of the last operation that reads it (len(ops) for the result)."""
        last = {register: i for i, op in enumerate(self.ops) for register in _reads(op)}
        return {**last, self.result: len(self.ops)}

    @property
    def history(self) -> int:
        """The most arrays besides x that any step hands to the next."""
        steps = zip(self.states[1:], self.ends or self.states[1:], strict=True)
        return max(sum(1 for r, last in self.last_use.items() if r != state and r <= end <= last) for state, end in steps)

    @cached_property
    def _rows(self) -> list[np.ndarray]:
        """Every register as a row over (initial x, evaluations, draws)."""
        width, nfe = 1 + self.nfe + len(self.noises), self.nfe
        unit = np.eye(width)
        rows, evaluated, drawn = [unit[0]], 0, 0
        for op in self.ops:
            if isinstance(op, Evaluate):
                evaluated += 1
                rows.append(unit[evaluated])
            elif isinstance(op, Draw):
                drawn += 1
                rows.append(unit[nfe + drawn])
            else:
                rows.append(sum((c * rows[i] for i, c in op.terms), np.zeros(width)))
        return rows

    @property
    def inputs(self) -> np.ndarray:
        """Row i: the input of evaluation i over (initial x, evaluations, draws); shape (nfe, 1 + nfe + draws)."""
        return np.array([self._rows[op.source] for op in self.ops if isinstance(op, Evaluate)])

    @property
    def output(self) -> np.ndarray:
        """The output over (initial x, evaluations, draws); shape (1 + nfe + draws,)."""
        return self._rows[self.result]

    def run(self, denoise: Denoiser, x: Array, noise: Noise | int | None = None) -> Array:
        """Replay the plan from the state ``x``; the same checks and, for the same noise, the same result as ``sample``. No noise is a fresh
        seed at every call."""
        check_state(x)
        x = own(x)
        watched, drawn = Watched(denoise), WatchedNoise(noise, x)
        live: dict[int, Array] = {0: x}
        steps = {register: i for i, register in enumerate(self.states[1:])}
        for i, op in enumerate(self.ops):
            if isinstance(op, Evaluate):
                value = watched(live[op.source], op.node)
            elif isinstance(op, Draw):
                value = drawn(op.s, op.t)
            else:
                value = _combine([(c, live[j]) for j, c in op.terms], x)
            live[i + 1] = value
            if i + 1 in steps:
                check_step(value, steps[i + 1], self.solver, self.grid)
                watched.step = steps[i + 1] + 1
            for register in (*_reads(op), i + 1):
                if self.last_use.get(register, -1) <= i:
                    live.pop(register, None)
        return live[self.result]


def _combine(terms: list[tuple[float, Array]], x: Array) -> Array:
    if not terms:
        return 0.0 * x
    total = terms[0][0] * terms[0][1]
    for c, value in terms[1:]:
        total = total + c * value
    return total


def _refuse(what: str) -> NoReturn:
    raise NotLinear(f"{what}: between evaluations a step may only use +, - and float * on arrays; otherwise declare it nonlinear")


class Form:
    """A linear form in registers, which stands in for an array while a step is traced."""

    __slots__ = ("terms",)

    def __init__(self, terms: dict[int, float]) -> None:
        self.terms = terms

    def _plus(self, other: Any, sign: float) -> Form:
        if isinstance(other, Real) and other == 0:  # sum() starts at 0
            return self
        if not isinstance(other, Form):
            _refuse(f"an array and {other!r} are added")
        total = dict(self.terms)
        for i, c in other.terms.items():
            total[i] = total.get(i, 0.0) + sign * c
        return Form(total)

    def __add__(self, other: Any) -> Form:
        return self._plus(other, 1.0)

    def __sub__(self, other: Any) -> Form:
        return self._plus(other, -1.0)

    def __rsub__(self, other: Any) -> Form:
        return (-self)._plus(other, 1.0)

    def __mul__(self, other: Any) -> Form:
        if not isinstance(other, Real):
            _refuse(f"an array is multiplied by {other!r}")
        c = float(other)
        if not math.isfinite(c):
            raise ValueError(f"a coefficient is {c}: steps need finite coefficients")
        return Form({i: c * v for i, v in self.terms.items()})

    def __truediv__(self, other: Any) -> Form:
        return self * (1.0 / other) if isinstance(other, Real) else _refuse(f"an array is divided by {other!r}")

    def __neg__(self) -> Form:
        return self * -1.0

    def __pos__(self) -> Form:
        return self

    __radd__ = __add__
    __rmul__ = __mul__

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Form:
        # NumPy scalars on the left come here
        if method == "__call__" and not kwargs and len(inputs) == 2 and isinstance(inputs[0], Real):
            if ufunc is np.multiply:
                return self * float(inputs[0])
            if ufunc is np.add:
                return self + float(inputs[0])
        _refuse(f"numpy.{ufunc.__name__} is applied to an array")

    def __getattr__(self, name: str) -> NoReturn:
        _refuse(f"the step looks at .{name} of an array")

    def __rtruediv__(self, other: Any) -> NoReturn:
        _refuse("something is divided by an array")

    def _compared(self, *_: Any) -> NoReturn:
        _refuse("the step looks at the values of an array")

    __bool__ = __float__ = __int__ = __len__ = __iter__ = __getitem__ = __array__ = __abs__ = __pow__ = _compared
    __complex__ = __index__ = __round__ = __contains__ = __setitem__ = __invert__ = __and__ = __or__ = __xor__ = _compared
    __mod__ = __rmod__ = __floordiv__ = __rfloordiv__ = __divmod__ = __rdivmod__ = _compared
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __matmul__ = __rmatmul__ = __rpow__ = _compared
    __hash__ = None  # type: ignore[assignment]


class _Tape:
    """Writes the operations while the loop runs on forms."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.draws: dict[tuple[float, float], Form] = {}
        self.states: list[int] = [0]
        self.ends: list[int] = []
        self.made: dict[tuple[tuple[int, float], ...], int] = {}

    def emit(self, op: Op) -> int:
        self.ops.append(op)
        return len(self.ops)

    def register(self, form: Any, what: str) -> int:
        """The register that holds this form, made now if it is not one already."""
        if not isinstance(form, Form):
            _refuse(f"{what} is {type(form).__name__}, not an array")
        terms = tuple((i, c) for i, c in sorted(form.terms.items()) if c != 0.0)
        if not all(math.isfinite(c) for _, c in terms):
            raise ValueError(f"{what} has coefficients {dict(terms)}: steps need finite coefficients")
        if len(terms) == 1 and terms[0][1] == 1.0:
            return terms[0][0]
        if terms not in self.made:
            self.made[terms] = self.emit(Combine(terms))
        return self.made[terms]

    def denoise(self, x: Any, node: Node) -> Form:
        return Form({self.emit(Evaluate(node, self.register(x, f"the input of the evaluation at {node}"))): 1.0})

    def noise(self, s: Node, t: Node) -> Form:
        low, high = sorted((s.lam, t.lam))
        if (low, high) not in self.draws:
            for other in self.draws:
                if low < other[1] and other[0] < high:
                    raise ValueError(f"draws on overlapping intervals, lam {(low, high)} and {other}: draw on disjoint ones and add")
            self.draws[low, high] = Form({self.emit(Draw(s, t)): 1.0})
        return self.draws[low, high]

    def hold(self, value: Any) -> Any:
        """The carry with every form in it put into a register."""
        if isinstance(value, Form):
            return Form({self.register(value, "the carry"): 1.0})
        if isinstance(value, dict):
            return {k: self.hold(v) for k, v in value.items()}
        return type(value)(map(self.hold, value)) if type(value) in (tuple, list) else value

    def settle(self, i: int, x: Any, carry: Any) -> tuple[Form, Any]:
        held = self.hold(carry)  # before the state, so that what lives on behind the state is what the step hands on
        self.states.append(self.register(x, f"the state after step {i}"))
        self.ends.append(len(self.ops))
        return Form({self.states[-1]: 1.0}), held


def trace(solver: Solver, grid: Sequence[Node], terminal: str = "none") -> Plan:
    """Unroll ``solver`` on ``grid``.

    Raises:
        NotLinear: the solver is declared nonlinear, or its step is.
        ValueError: bad grid or terminal rule, a coefficient that is not finite, or overlapping draws.
    """
    nodes = check_run(solver, grid, terminal)
    if solver.nonlinear is not None:
        raise NotLinear(f"{solver.name} is declared nonlinear: {solver.nonlinear}")
    tape = _Tape()
    out = march(solver, tape.denoise, Form({0: 1.0}), nodes, tape.noise, terminal, tape.settle)
    result = tape.register(out, "the output")
    return Plan(solver.name, tuple(nodes), tuple(tape.ops), tuple(tape.states), result, tuple(tape.ends))
