"""A Plan taken one evaluation at a time: the network's output goes in, its next input comes out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from scorebed.solvers import Node
from scorebed.solvers.plan import Combine, Draw, Evaluate, Op, Plan

Normals = Callable[[Node, Node, Tensor], Tensor]
"""Unit normals of an interval, like a tensor."""


def _stamp(value: Tensor) -> int:
    """Changes when a tensor is written to; tensors of inference mode do not count their writes."""
    return -1 if value.is_inference() else value._version


def evaluates_first(plan: Plan) -> bool:
    """Whether the first evaluation is at the initial state."""
    return next(op.source for op in plan.ops if isinstance(op, Evaluate)) == 0


def after_a_leap(first: Node, tail: Plan) -> Plan:
    """The step of DDIM from ``first`` to where ``tail`` begins, then ``tail``.

    Near pure noise D hardly depends on x and that step is nearly exact, while a step of a method whose variable (sigma/alpha, or lam) runs
    to infinity there takes differences of large numbers, or carries them in its memory.
    """
    t = tail.grid[0]
    a = t.sigma / first.sigma
    ops: list[Op] = [Evaluate(first, 0), Combine(((0, a), (1, t.alpha - a * first.alpha)))]
    for op in tail.ops:
        if isinstance(op, Evaluate):
            ops.append(Evaluate(op.node, op.source + 2))
        else:
            ops.append(op if isinstance(op, Draw) else Combine(tuple((i + 2, c) for i, c in op.terms)))
    return Plan(tail.solver, (first, *tail.grid), tuple(ops), (0, *(i + 2 for i in tail.states)), tail.result + 2)


class Unrolled:
    """The registers of a Plan between two calls of the network; float32 at least, whatever the dtype of the states.

    The Plan must evaluate its initial state first (``evaluates_first``): a pipeline calls the network before anything else.

    ``input(sample)`` is the state that the network saw; ``answer(denoised, normals)`` runs on to the next evaluation and gives its input,
    or after the last one the result.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.live: dict[int, Tensor] = {}
        self.taken = self._op = 0
        self._handed: tuple[Tensor, int] | None = None

    @property
    def done(self) -> bool:
        """Whether every evaluation has been answered."""
        return self.taken == self.plan.nfe

    @property
    def node(self) -> Node:
        """Where the awaited evaluation is."""
        return self._awaited().node

    def _awaited(self) -> Evaluate:
        op = self.plan.ops[self._op]
        assert isinstance(op, Evaluate)
        return op

    def input(self, sample: Tensor, normals: Normals) -> Tensor:
        """The register that the network was evaluated at: what was handed out, or ``sample`` if it is another tensor or was written to."""
        work = torch.promote_types(sample.dtype, torch.float32)
        if not self.live:
            self.live[0] = sample.to(work)
            self._advance(normals)  # a Plan may draw before its first evaluation
        register = self._awaited().source
        if self._handed is not None and (self._handed[0] is not sample or self._handed[1] != _stamp(sample)):
            self.live[register] = sample.to(work)
        return self.live[register]

    def answer(self, denoised: Tensor, normals: Normals, dtype: torch.dtype) -> Tensor:
        """Take the denoised mean at ``node``; give the next input, or the result, in ``dtype``."""
        self._awaited()
        self.taken += 1
        self._keep(denoised)
        self._advance(normals)
        out = self.live[self.plan.result if self.done else self._awaited().source].to(dtype)
        self._handed = (out, _stamp(out))
        return out

    def _advance(self, normals: Normals) -> None:
        """Sums and draws up to the next evaluation, or to the end."""
        ops = self.plan.ops
        while self._op < len(ops) and not isinstance(ops[self._op], Evaluate):
            op, like = ops[self._op], next(iter(self.live.values()))
            if isinstance(op, Draw):
                value = normals(op.s, op.t, like)
            else:
                assert isinstance(op, Combine)
                value = op.terms[0][1] * self.live[op.terms[0][0]] if op.terms else torch.zeros_like(like)
                for register, c in op.terms[1:]:
                    value.add_(self.live[register], alpha=c)
            self._keep(value)

    def _keep(self, value: Tensor) -> None:
        """The register of the present operation; what nothing reads any more is forgotten."""
        self._op += 1
        self.live[self._op] = value
        for register in [r for r in self.live if self.plan.last_use.get(r, -1) < self._op]:
            del self.live[register]
