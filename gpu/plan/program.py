r"""A Plan as a program over buffers: which pass computes what, and where it may write.

Between two evaluations of the network a Plan has only sums and draws. They become one ``Pass``,

    out_j = Σ_i a_ji in_i + Σ_k c_jk z_k + Σ_{l<j} b_jl out_l,

in which every operand is read once, every result written once and the noise z_k made on the way. Results lie in buffers that are taken from
a free list and go back to it after their last use (linear scan over straight-line code), so that a run needs as many as are alive at once.
A draw that two passes read is made once, in a buffer of its own; evaluations stay where the network put them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from scorebed.solvers.plan import Plan, Registers
from scorebed.solvers.state import parts

MAX_INPUTS, MAX_OUTPUTS, MAX_DRAWS = 12, 4, 5
"""What one kernel takes; a longer pass is cut between its sums."""

Interval = tuple[Any, ...]
"""(s, t), and which of the draws there it is where the process has several."""


@dataclass(frozen=True)
class Call:
    """registers ``targets`` = model(registers ``source``, node). ``free``: registers not read again."""

    node: Any
    source: Registers
    targets: tuple[int, ...]
    free: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()


@dataclass(frozen=True)
class Sum:
    """register ``target`` in buffer ``buffer`` = Σ c register + Σ c draw; draws are numbered within the pass."""

    target: int
    buffer: int
    terms: tuple[tuple[int, float], ...]
    draws: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Pass:
    """Sums without an evaluation in between. ``inputs`` are the registers read from memory; ``stored[j]``: whether sum j is read after the
    pass; ``steps``: the steps of the grid that end here."""

    inputs: tuple[int, ...]
    sums: tuple[Sum, ...]
    stored: tuple[bool, ...]
    draws: tuple[Interval, ...]
    free: tuple[int, ...]
    steps: tuple[int, ...]


@dataclass(frozen=True)
class Fill:
    """register ``target`` in buffer ``buffer`` = the draw of the interval, kept for several passes."""

    interval: Interval
    target: int
    buffer: int


Instruction = Call | Pass | Fill


@dataclass(frozen=True)
class Program:
    """Instructions over ``buffers`` buffers of the state's shape. ``result`` are the registers handed back; ``states`` are the Plan's."""

    plan: Plan
    instructions: tuple[Instruction, ...]
    buffers: int
    result: Registers

    @property
    def passes(self) -> tuple[Pass, ...]:
        return tuple(i for i in self.instructions if isinstance(i, Pass))


class _Buffers:
    """A free list of buffer numbers."""

    def __init__(self) -> None:
        self.free: list[int] = []
        self.count = 0
        self.held: dict[int, int] = {}

    def take(self, register: int) -> int:
        if not self.free:
            self.free.append(self.count)
            self.count += 1
        self.held[register] = self.free.pop()
        return self.held[register]

    def give(self, registers: Iterable[int]) -> None:
        for register in registers:
            if register in self.held:
                self.free.append(self.held.pop(register))


def program(plan: Plan, *, fuse: bool = True, cut: bool = False, keep: Iterable[int] = ()) -> Program:
    """Compile a Plan.

    Args:
        plan: the Plan.
        fuse: make the noise of a draw inside the one pass that reads it; False gives every draw a buffer (for noise that is not ours).
        cut: end a pass with every step of the grid, for a callback or a check that wants to see the state there.
        keep: registers that somebody wants to see when they are made; their passes end with them.

    Returns:
        the Program: instructions, number of buffers and result registers.
    """
    kept = {*keep, *(r for registers in plan.states[1:] for r in parts(registers) if cut)}
    last_use = _last_use(plan, kept)
    groups = _groups(plan, kept, last_use)
    home = {r: g for g, (kind, ops) in enumerate(groups) if kind == "sums" for r in ops}
    readers: dict[int, set[int]] = {}
    for r, g in home.items():
        for j, _ in plan.sums[r]:
            readers.setdefault(j, set()).add(g)
    draws = {r + k: (op.s, op.t, k) for r, op in plan.draws.items() for k in range(op.makes)}
    # a draw that an evaluation or the caller reads has to lie in memory as well
    inside = {r for r in draws if fuse and len(readers.get(r, ())) == 1 and r not in _outside(plan)}
    ended: dict[int, list[int]] = {}
    for i, registers in enumerate(plan.states[1:]):
        ended.setdefault(max(parts(registers)), []).append(i)
    buffers = _Buffers()
    out: list[Instruction] = []
    for g, (kind, ops) in enumerate(groups):
        if kind == "call":
            op = plan.calls[ops[0]]
            made = tuple(range(ops[0], ops[0] + op.makes))
            free = tuple(j for j in {*parts(op.source), *made} if last_use.get(j, -1) <= made[-1] - 1)
            buffers.give(free)
            out.append(Call(op.node, op.source, made, free, tuple(i for r in made for i in ended.get(r, ()))))
        elif kind == "draw":
            (r,) = ops
            if r not in inside:
                out.append(Fill(draws[r], r, buffers.take(r)))
        else:
            out.append(_pass(plan, ops, g, home, draws, inside, readers, ended, last_use, buffers))
    return Program(plan, tuple(out), buffers.count, plan.result)


def _outside(plan: Plan) -> set[int]:
    """What evaluations and the caller read."""
    sources = [op.source for op in plan.calls.values()]
    return {r for registers in (*sources, *plan.states, plan.result) for r in parts(registers)}


def _last_use(plan: Plan, kept: set[int]) -> dict[int, int]:
    """For each register that matters the last register made with it, less one. What the last step would hand on does not matter."""
    last = dict.fromkeys(parts(plan.result), plan.size)
    for made in reversed(plan.made):
        r = made[-1]
        if made[0] in plan.calls:
            reads = parts(plan.calls[made[0]].source)
        elif r in plan.sums and (r in last or r in kept):
            last.setdefault(r, r - 1)
            reads = tuple(j for j, _ in plan.sums[r])
        else:
            continue
        for j in reads:
            last.setdefault(j, r - 1)
    return last


def _groups(plan: Plan, kept: set[int], last_use: dict[int, int]) -> list[tuple[str, list[int]]]:
    """Registers in the order of work: an evaluation or a draw alone, the sums between two evaluations together as far as a kernel goes."""
    out: list[tuple[str, list[int]]] = []
    sums: list[int] = []
    inputs: set[int] = set()
    drawn: set[int] = set()

    def flush() -> None:
        if sums:
            out.append(("sums", list(sums)))
        sums.clear()
        inputs.clear()
        drawn.clear()

    draws = {r for made in plan.made if made[0] in plan.draws for r in made}
    for made in plan.made:
        r = made[0]
        if r in plan.calls:
            flush()
            out.append(("call", [r]))
        elif r in plan.draws:  # before the sums that follow it; those of the open pass do not read it
            out += [("draw", [k]) for k in made if k in last_use]
        elif r in last_use:
            reads = {j for j, _ in plan.sums[r]}
            noise = reads & draws
            fresh = reads - noise - set(sums)
            if len(sums) == MAX_OUTPUTS or len(inputs | fresh) > MAX_INPUTS or len(drawn | noise) > MAX_DRAWS:
                flush()
                fresh = reads - noise
            sums.append(r)
            inputs |= fresh
            drawn |= noise
            if r in kept:
                flush()
    flush()
    return _fills_first(out, plan)


def _fills_first(groups: list[tuple[str, list[int]]], plan: Plan) -> list[tuple[str, list[int]]]:
    """Draws stand before the pass that reads them first; a pass still open when its draw was made must not be overtaken by it."""
    order: list[tuple[str, list[int]]] = []
    placed: set[int] = set()
    waiting = {ops[0]: i for i, (kind, ops) in enumerate(groups) if kind == "draw"}
    for kind, ops in groups:
        if kind == "draw":
            continue
        needed = [j for r in ops for j, _ in plan.sums[r]] if kind == "sums" else parts(plan.calls[ops[0]].source)
        for j in sorted({j for j in needed if j in waiting and j not in placed}):
            order.append(("draw", [j]))
            placed.add(j)
        order.append((kind, ops))
    order += [("draw", [r]) for r in waiting if r not in placed]
    return order


def _pass(
    plan: Plan,
    ops: list[int],
    g: int,
    home: dict[int, int],
    draws: dict[int, Interval],
    inside: set[int],
    readers: dict[int, set[int]],
    ended: dict[int, list[int]],
    last_use: dict[int, int],
    buffers: _Buffers,
) -> Pass:
    inputs: dict[int, None] = {}
    made: dict[int, int] = {}
    sums, stored = [], []
    outside = _outside(plan)
    reads = {r: [j for j, _ in plan.sums[r]] for r in ops}
    last = {j: r for r in ops for j in reads[r]}  # the last sum of this pass that reads j
    freed: list[int] = []
    for r in ops:
        terms, noise = [], []
        for j, c in plan.sums[r]:
            if j in inside:
                noise.append((made.setdefault(j, len(made)), c))
            else:
                terms.append((j, c))
                if home.get(j) != g:
                    inputs[j] = None
        # what this sum is the last to read may be written over by it: elementwise, and each element is read before it is written
        done = [j for j in reads[r] if last[j] == r and last_use[j] <= ops[-1] - 1 and j not in freed]
        lay = dict(buffers.held)
        buffers.give(done)
        freed += done
        buffer = buffers.take(r)
        terms.sort(key=lambda term: lay.get(term[0]) != buffer)  # what is written over comes first
        sums.append(Sum(r, buffer, tuple(terms), tuple(noise)))
        stored.append(r in outside or bool(readers.get(r, set()) - {g}))
    steps = tuple(i for r in ops for i in ended.get(r, ()))
    return Pass(tuple(inputs), tuple(sums), tuple(stored), tuple(draws[j] for j in made), tuple(freed), steps)
