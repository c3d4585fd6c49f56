"""A Plan taken one evaluation at a time: the network's output goes in, its next input comes out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from scorebed.solvers import Node
from scorebed.solvers.form import Form
from scorebed.solvers.plan import Plan, Walk
from scorebed.solvers.tape import Tape

Normals = Callable[[Node, Node, Tensor], Tensor]
"""Unit normals of an interval, like a tensor."""


def _stamp(value: Tensor) -> int:
    """Changes when a tensor is written to; tensors of inference mode do not count their writes."""
    return -1 if value.is_inference() else value._version


def evaluates_first(plan: Plan) -> bool:
    """Whether the first evaluation is at the initial state."""
    return next(op.source for op in plan.calls.values()) == plan.states[0]


def after_a_leap(first: Node, tail: Plan) -> Plan:
    """The step of DDIM from ``first`` to where ``tail`` begins, then ``tail``.

    Near pure noise D hardly depends on x and that step is nearly exact, while a step of a method whose variable (sigma/alpha, or lam) runs
    to infinity there takes differences of large numbers, or carries them in its memory.
    """
    t = tail.grid[0]
    a = t.sigma / first.sigma
    tape = Tape(tail.solver, (first, *tail.grid))
    x, _ = tape.after(0, a * tape.x + (t.alpha - a * first.alpha) * tape.evaluate(tape.x, first))

    def combine(terms: list[tuple[float, Form]]) -> Form:
        made: Form = tape.hold(sum((c * form for c, form in terms), Form({})))
        return made

    return tape.plan(tail.fold(x, tape.evaluate, tape.draw, combine, lambda i, y: tape.after(i + 1, y)[0]))


class Unrolled:
    """The registers of a Plan between two calls of the network; float32 at least, whatever the dtype of the states.

    The Plan must evaluate its initial state first (``evaluates_first``): a pipeline calls the network before anything else.

    ``input(sample)`` is the state that the network saw; ``answer(denoised, normals)`` runs on to the next evaluation and gives its input,
    or after the last one the result.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.taken = 0
        self._walk: Walk | None = None
        self._handed: tuple[Tensor, int] | None = None

    @property
    def done(self) -> bool:
        """Whether every evaluation has been answered."""
        return self.taken == self.plan.nfe

    @property
    def node(self) -> Node:
        """Where the awaited evaluation is."""
        node: Node = self.plan.nodes[self.taken]
        return node

    def _waits(self) -> tuple[Walk, int]:
        """The walk and the register of the awaited evaluation's input."""
        assert self._walk is not None
        assert self._walk.waiting is not None
        return self._walk, self._walk.waiting.source

    def input(self, sample: Tensor, normals: Normals) -> Tensor:
        """The register that the network was evaluated at: what was handed out, or ``sample`` if it is another tensor or was written to."""
        work = torch.promote_types(sample.dtype, torch.float32)
        if self._walk is None:
            self._walk = Walk(self.plan, sample.to(work))
            self._advance(normals, self._walk)  # a Plan may draw before its first evaluation
        walk, register = self._waits()
        if self._handed is not None and (self._handed[0] is not sample or self._handed[1] != _stamp(sample)):
            walk.live[register] = sample.to(work)
        value: Tensor = walk.live[register]
        return value

    def answer(self, denoised: Tensor, normals: Normals, dtype: torch.dtype) -> Tensor:
        """Take the denoised mean at ``node``; give the next input, or the result, in ``dtype``."""
        walk, _ = self._waits()
        self.taken += 1
        walk.answer(denoised)
        self._advance(normals, walk)
        out = walk.read(self.plan.result if self.done else self._waits()[1]).to(dtype)
        self._handed = (out, _stamp(out))
        return out

    def _advance(self, normals: Normals, walk: Walk) -> None:
        """Sums and draws up to the next evaluation, or to the end."""
        like = next(iter(walk.live.values()))

        def combine(terms: list[tuple[float, Tensor]]) -> Tensor:
            if not terms:
                return torch.zeros_like(like)
            value = terms[0][0] * terms[0][1]
            for c, other in terms[1:]:
                value.add_(other, alpha=c)
            return value

        walk.advance(lambda s, t: normals(s, t, like), combine)
