r"""A Plan taken one evaluation at a time: the network's output goes in, its next input comes out.

Between two evaluations a pipeline may change the state, or it may begin in the middle. Every register of a Plan is

    rho x_0 + (what evaluations and draws add),        d: the sum of the coefficients of the evaluations,

so a state changed by delta is that of a run from another x_0, and moves every register q that lives on by (rho_q/rho_r) delta, whether the
method goes on from the state itself or from an older one (UniC, PEC, reversible methods). And a run that begins at register r, its memory
missing, is one in which the network has always said D: q = (rho_q/rho_r) r + (d_q - rho_q/rho_r d_r) D. A step is then that of DDIM,
whatever the method, which is how multistep methods begin.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from scorebed.solvers import Node
from scorebed.solvers.plan import Plan, Walk
from scorebed.solvers.plan.form import Form
from scorebed.solvers.plan.tape import Tape

Normals = Callable[[Node, Node, Tensor], Tensor]
"""Unit normals of an interval, like a tensor."""


def evaluates_first(plan: Plan) -> bool:
    """Whether the first evaluation is at the initial state."""
    return next(op.source for op in plan.calls.values()) == plan.states[0]


def after_a_leap(first: Node, tail: Plan) -> Plan:
    """The step of DDIM from ``first`` to where ``tail`` begins, then ``tail``.

    Near pure noise D hardly depends on x and that step is nearly exact, while a step of a method whose variable (sigma/alpha, or lam) runs
    to infinity there takes differences of large numbers, or carries them in its memory.

    Returns:
        the Plan of one DDIM step and then ``tail``.
    """
    t = tail.grid[0]
    a = t.sigma / first.sigma
    tape = Tape(tail.solver, (first, *tail.grid))
    x, _ = tape.after(0, a * tape.x + (t.alpha - a * first.alpha) * tape.evaluate(tape.x, first))

    def combine(terms: list[tuple[float, Form]]) -> Form:
        made: Form = tape.hold(sum((c * form for c, form in terms), Form({})))
        return made

    return tape.plan(tail.fold(x, tape.evaluate, tape.draw, combine, lambda i, y: tape.after(i + 1, y)[0]))


def affine(plan: Plan) -> dict[int, tuple[float, float]]:
    """(rho, d) of every register."""
    out = {0: (1.0, 0.0)}
    for (register,) in plan.made:
        if register in plan.sums:
            terms = plan.sums[register]
            out[register] = (sum(c * out[i][0] for i, c in terms), sum(c * out[i][1] for i, c in terms))
        else:
            out[register] = (0.0, 1.0 if register in plan.calls else 0.0)
    return out


class Unrolled:
    """The registers of a Plan between two calls of the network; float32 at least, whatever the dtype of the states.

    The Plan must evaluate its initial state first (``evaluates_first``): a pipeline calls the network before anything else.

    ``input(sample)`` is the state that the network saw; ``answer(denoised, normals)`` runs on to the next evaluation and gives its input,
    or after the last one the result. ``begin`` is the evaluation at which the run begins.
    """

    def __init__(self, plan: Plan, begin: int = 0) -> None:
        self.plan, self.taken = plan, begin
        self._affine = affine(plan)
        self._missing = begin > 0
        self._walk: Walk | None = None
        self._handed: Tensor | None = None

    @property
    def done(self) -> bool:
        """Whether every evaluation has been answered."""
        return self.taken == self.plan.nfe

    @property
    def node(self) -> Node:
        """Where the awaited evaluation is."""
        node: Node = self.plan.nodes[self.taken]
        return node

    @property
    def shape(self) -> torch.Size | None:
        """Of the states; None before the first."""
        return None if self._handed is None else self._handed.shape

    def _waits(self) -> tuple[Walk, int]:
        """The walk and the register of the awaited evaluation's input."""
        assert self._walk is not None
        assert self._walk.waiting is not None
        return self._walk, self._walk.waiting.source

    def input(self, sample: Tensor, normals: Normals) -> Tensor:
        """The register that the network was evaluated at, moved by what was done to the state that was handed out."""
        work = torch.promote_types(sample.dtype, torch.float32)
        if self._walk is None:
            self._walk = self._begun(sample.to(work, copy=True), normals)
        walk, register = self._waits()
        if self._handed is not None:
            moved, own = sample.to(work) - self._handed.to(work), self._affine[register][0]
            for q, value in list(walk.live.items()):
                ratio = 1.0 if q == register else self._affine[q][0] / own if own else 0.0
                if ratio:
                    walk.live[q] = value + ratio * moved
        x: Tensor = walk.live[register]
        return x

    def _begun(self, x: Tensor, normals: Normals) -> Walk:
        """The walk at the evaluation where the run begins."""
        walk = Walk(self.plan, x)
        if self._missing:
            call, op = list(self.plan.calls.items())[self.taken]
            walk.at, walk.live = self.plan.made.index((call,)), {op.source: x}
        else:
            self._advance(normals, walk)  # a Plan may draw before its first evaluation
        return walk

    def answer(self, denoised: Tensor, normals: Normals, dtype: torch.dtype) -> Tensor:
        """Take the denoised mean at ``node``; give the next input, or the result, in ``dtype``."""
        walk, register = self._waits()
        if self._missing:
            self._imagine(walk, register, denoised, normals)
        self.taken += 1
        walk.answer(denoised.clone())
        self._advance(normals, walk)
        out: Tensor = walk.read(self.plan.result if self.done else self._waits()[1]).to(dtype, copy=True)
        self._handed = out.clone()
        return out

    def _imagine(self, walk: Walk, register: int, denoised: Tensor, normals: Normals) -> None:
        """The registers that a run from the start would hold here, had the network always said ``denoised``."""
        state, (own, said) = walk.live[register], self._affine[register]
        for q in (0, *(r for (r,) in self.plan.made[: walk.at])):
            if q == register or self.plan.last_use.get(q, -1) < walk.at:
                continue
            if q in self.plan.draws:
                walk.live[q] = normals(self.plan.draws[q].s, self.plan.draws[q].t, state)
                continue
            rho, d = self._affine[q]
            ratio = rho / own if own else 0.0
            walk.live[q] = ratio * state + (d - ratio * said) * denoised
        self._missing = False

    def _advance(self, normals: Normals, walk: Walk) -> None:
        """Sums and draws up to the next evaluation, or to the end."""
        like = next(iter(walk.live.values()))

        def combine(terms: list[tuple[float, Tensor]]) -> Tensor:
            if not terms:
                return torch.zeros_like(like)
            value = terms[0][0] * terms[0][1]
            for c, other in terms[1:]:
                value = value.add_(other, alpha=c)
            return value

        walk.advance(lambda s, t: normals(s, t, like).to(like.dtype, copy=True), combine)
