"""Mutants: every coefficient of every solver corrupted by 1 %, one at a time, and held against the properties.

A step is linear in the arrays that it handles, so its coefficients are what it multiplies and adds them with. ``tampered(solver, k)``
runs the same step on arrays that count these operations and scale the result of the k-th of each step by 1.01; ``misplaced(solver, k)``
makes the k-th evaluation at a node 1 % of the way further on. The first property that it breaks kills a mutant; one whose Plan equals
the original's is no mutant. Every method has the two of ``sabotage`` too; the coefficients of methods on spaces are in ``space_mutants``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scorebed.solvers import NonFinite, Solver, trace
from scorebed.solvers.base import Step
from scorebed.solvers.grid import uniform
from scorebed.solvers.process import LINEAR, Point
from scorebed.solvers.process.bridge import BrownianBridge
from scorebed.solvers.process.frames import Levels
from scorebed.solvers.process.jump import JumpProcess
from scorebed.solvers.process.langevin import CLD
from scorebed.solvers.schedule import VP
from scorebed.toy.properties import PROPERTIES
from scorebed.toy.properties.exact import other_values
from scorebed.toy.properties.sabotage import caught, sabotaged

_OFF = 1.01
PROCESSES: dict[str, Any] = {
    "gaussian": VP(),
    "phase": CLD(),
    "bridge": BrownianBridge(),
    "sequence": Levels(VP(), (0.5, 0.0)),
    "jump": JumpProcess(2),
}
"""Where the operations of a step are counted and two Plans compared, for each kind of process."""
_COSTLY = (
    *("order", "order_towards_noise", "weak_order", "weak_order_on_a_mixture", "finite", "likelihood_order"),
    *(f"{kind}_{name}" for kind in LINEAR[1:] for name in ("order", "weak_order", "weak_order_on_a_mixture")),
)
"""Properties that are asked last."""


@dataclass(frozen=True)
class Mutant:
    """A method with one thing wrong: ``what``, the method so changed, and as it was."""

    what: str
    solver: Solver
    original: Solver


class _Counter:
    """Numbers the operations of one step and says which result is scaled."""

    def __init__(self, wrong: int) -> None:
        self.wrong, self.seen = wrong, -1

    def __call__(self, value: Any) -> _Tampered:
        self.seen += 1
        return _Tampered(_OFF * value if self.seen == self.wrong else value, self)


class _Tampered:
    """An array whose operations are counted. Only what a step may do with arrays."""

    def __init__(self, value: Any, count: _Counter) -> None:
        self.value, self.count = value, count

    def __add__(self, other: Any) -> _Tampered:
        return self.count(self.value + _plain(other))

    def __sub__(self, other: Any) -> _Tampered:
        return self.count(self.value - _plain(other))

    def __rsub__(self, other: Any) -> _Tampered:
        return self.count(_plain(other) - self.value)

    def __mul__(self, other: Any) -> _Tampered:
        return self.count(self.value * other)

    def __truediv__(self, other: Any) -> _Tampered:
        return self.count(self.value / other)

    def __neg__(self) -> _Tampered:
        return self.count(-self.value)

    __radd__ = __add__
    __rmul__ = __mul__


def _plain(value: Any) -> Any:
    """``value``, a carry perhaps, without the counting."""
    if isinstance(value, _Tampered):
        return value.value
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return type(value)(map(_plain, value)) if type(value) in (tuple, list) else value


def _counted(value: Any, count: _Counter) -> Any:
    """``value`` with every array in it counting; nodes, numbers and None as they are."""
    if isinstance(value, dict):
        return {k: _counted(v, count) for k, v in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_counted(v, count) for v in value)
    return value if value is None or isinstance(value, Point | float | int | str | bool) else _Tampered(value, count)


def _with(solver: Solver, step: Step, what: str) -> Solver:
    return replace(solver, name=f"{solver.name} with {what}", step=step)


def tampered(solver: Solver, k: int) -> Solver:
    """The solver with the result of the k-th array operation of every step scaled by 1.01."""

    def step(denoise: Any, x: Any, s: Point, t: Point, carry: Any, noise: Any) -> tuple[Any, Any]:
        count = _Counter(k)
        x_t, memory = solver.step(
            lambda y, *nodes: _counted(denoise(_plain(y), *nodes), count),
            _counted(x, count),
            s,
            t,
            _counted(carry, count),
            lambda a, b: _counted(noise(a, b), count),
        )
        return _plain(x_t), _plain(memory)

    return _with(solver, step, f"operation {k} off")


def misplaced(solver: Solver, k: int) -> Solver:
    """The solver with the k-th evaluation of every step made 1 % further on the way to t, or back to s where it is t."""

    def step(denoise: Any, x: Any, s: Point, t: Point, carry: Any, noise: Any) -> tuple[Any, Any]:
        seen = -1

        def elsewhere(y: Any, node: Point, *to: Point) -> Any:
            nonlocal seen
            seen += 1
            if seen != k or s == t:
                return denoise(y, node, *to)
            return denoise(y, node.toward(s, 0.01) if node is t else node.toward(t, 0.01), *to)

        return solver.step(elsewhere, x, s, t, carry, noise)

    return _with(solver, step, f"evaluation {k} misplaced")


def _sizes(solver: Solver) -> tuple[int, int]:
    """The most array operations and evaluations in one step."""
    operations = evaluations = 0

    def step(denoise: Any, x: Any, s: Point, t: Point, carry: Any, noise: Any) -> tuple[Any, Any]:
        nonlocal operations, evaluations
        count, calls = _Counter(-1), 0

        def denoised(y: Any, *nodes: Point) -> Any:
            nonlocal calls
            calls += 1
            return _counted(denoise(_plain(y), *nodes), count)

        out = solver.step(denoised, _counted(x, count), s, t, _counted(carry, count), lambda a, b: _counted(noise(a, b), count))
        operations, evaluations = max(operations, count.seen + 1), max(evaluations, calls)
        return _plain(out)

    trace(replace(solver, step=step), uniform(PROCESSES[solver.on[0]], 8, 0.9, 0.1))
    return operations, evaluations


def same_plans(a: Solver, b: Solver) -> bool:
    """Whether two solvers unroll to the same program on a sample grid."""
    one, two = (trace(solver, uniform(PROCESSES[solver.on[0]], 6, 0.9, 0.1)) for solver in (a, b))
    if len(one.ops) != len(two.ops) or one.nodes != two.nodes:
        return False
    return bool(np.array_equal(one.output, two.output) and np.array_equal(one.inputs, two.inputs))


def mutants(solver: Solver, kind: str = "gaussian") -> Iterator[Mutant]:
    """Every mutant of a solver on one kind of process: of drift and noise, and of each coefficient, for each option at another value."""
    solver = replace(solver, on=(kind,))
    for wrong in sabotaged(solver):
        yield Mutant(wrong.name, wrong, solver)
    if solver.nonlinear is not None:
        return
    variants = [solver, *(solver(**{name: value}) for name, value in other_values(solver).items())]
    for variant in variants:
        operations, evaluations = _sizes(variant)
        for k in range(operations):
            yield Mutant(f"{variant.name}, operation {k}", tampered(variant, k), variant)
        for k in range(evaluations):
            yield Mutant(f"{variant.name}, evaluation {k}", misplaced(variant, k), variant)


def killer(mutant: Mutant) -> str | None:
    """The name of the first property that the mutant breaks, ``"same"`` if it is none, None if it survives."""
    if mutant.original.nonlinear is not None:
        return caught(mutant.solver)[0] or None
    if same_plans(mutant.solver, mutant.original):
        return "same"
    for name, property_ in sorted(PROPERTIES.items(), key=lambda item: item[0] in _COSTLY):
        if property_.exempt(mutant.solver) is None:
            try:
                property_(mutant.solver)
            except (AssertionError, NonFinite):
                return name
    return None


def judge(solver: Solver, kind: str = "gaussian") -> list[dict[str, str | None]]:
    """For every mutant of a solver on one kind of process ``what`` is wrong and the property it is killed ``by``, or None."""
    found = [{"what": mutant.what, "by": killer(mutant)} for mutant in mutants(solver, kind)]
    return [row for row in found if row["by"] != "same"]
