r"""Deterministic Plans as numbers that can be tuned: levels, times told to the network, and weights that keep constants exactly.

Every deterministic Plan with m evaluations is

    u_i = a_i x_T + S_i Σ_{j<i} w_ij D_j,    D_i = D(u_i at tau_i),    x = a_m x_T + S_m Σ_j w_mj D_j,

with u_i at the level lam_i. Where D is a constant c, u_i must be (sigma_i/sigma_T) x_T + (alpha_i − alpha_T sigma_i/sigma_T) c: so a_i and
S_i are functions of the level and each row of w adds up to 1. What is left free are the inner levels, the levels tau_i that the network is
told, and m(m − 1)/2 weights. That is the family of BNS and S4S (arXiv:2403.01329, eq. 10; arXiv:2502.17423, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scorebed.solvers import Denoiser, Node, Plan, Schedule
from scorebed.solvers.plan import Combine, Evaluate, Op
from scorebed.solvers.plan.file import from_dict, to_dict
from scorebed.solvers.plan.ops import total
from scorebed.solvers.state import Array

PARTS = ("nodes", "times", "weights")
"""What may be tuned."""
_EXACT = 1e-6


@dataclass(frozen=True)
class Form:
    """A Plan of m evaluations as numbers.

    Attributes:
        schedule, first, last: where it runs.
        lams: the level of each input, shape (m,); the first is that of the state.
        told: the level that the network is told, shape (m,).
        weights: row i holds w_ij for j < i; the last, of the output, has m; shape (m + 1, m), rows but the first add up to 1.
    """

    schedule: Schedule
    first: Node
    last: Node
    lams: np.ndarray
    told: np.ndarray
    weights: np.ndarray

    @property
    def m(self) -> int:
        return len(self.lams)

    def plan(self, name: str = "tuned") -> Plan:
        """The Plan.

        Returns:
            the Plan, with grid, operations and states of the form.

        Raises:
            ValueError: levels outside the schedule.
        """
        ops: list[Op] = []
        register, evaluations, states = 0, list[int](), [0]
        ends: list[int] = []
        for i in range(self.m):
            if i:
                ops.append(self._sum(self.schedule.at_lam(float(self.lams[i])), self.weights[i, :i], evaluations))
                register = len(ops)
                states.append(register)
                ends.append(len(ops))
            ops.append(Evaluate(self.schedule.at_lam(float(self.told[i])), register))
            evaluations.append(len(ops))
        ops.append(self._sum(self.last, self.weights[self.m], evaluations))
        states.append(len(ops))
        ends.append(len(ops))
        grid = (self.first, *(self.schedule.at_lam(float(lam)) for lam in self.lams[1:]), self.last)
        return Plan(name, grid, tuple(ops), tuple(states), len(ops), tuple(ends))

    def _sum(self, node: Node, row: np.ndarray, evaluations: Sequence[int]) -> Combine:
        scale = node.sigma / self.first.sigma
        rest = node.alpha - self.first.alpha * scale
        terms = [(register, rest * float(w)) for register, w in zip(evaluations, row, strict=True) if w != 0.0]
        return Combine(((0, scale), *terms))

    def run(self, denoise: Denoiser, x: Array, known: Sequence[Array] = ()) -> tuple[Array, list[Array]]:
        """(output, evaluations) from the state ``x``; the first evaluations may be known, which saves them."""
        made = list(known)
        for i in range(len(made), self.m):
            made.append(denoise(self.mixed(i, x, made), self.schedule.at_lam(float(self.told[i]))))
        return self.mixed(self.m, x, made), made

    def mixed(self, i: int, x: Array, made: Sequence[Array]) -> Array:
        """The input of evaluation i from the state and the evaluations before it; for i = m the output."""
        if i == 0:
            return x
        node = self.last if i == self.m else self.schedule.at_lam(float(self.lams[i]))
        (_, scale), *terms = self._sum(node, self.weights[i, :i], range(1, i + 1)).terms
        return total([(scale, x), *((c, made[register - 1]) for register, c in terms)])

    def touches(self, parts: Sequence[str]) -> list[int]:
        """For each number of ``free`` the first evaluation that it changes; m for those that change the output alone."""
        out: list[int] = []
        if "nodes" in parts:
            out += range(1, self.m)
        if "times" in parts:
            out += range(self.m)
        if "weights" in parts:
            out += [i for i in range(2, self.m + 1) for _ in range(i - 1)]
        return out

    def free(self, parts: Sequence[str]) -> np.ndarray:
        """The numbers that may move, as one vector."""
        out: list[np.ndarray] = []
        if "nodes" in parts:
            out.append(self.lams[1:])
        if "times" in parts:
            out.append(self.told - self.lams)
        if "weights" in parts:
            out += [self.weights[i, : i - 1] for i in range(2, self.m + 1)]
        return np.concatenate(out) if out else np.zeros(0)

    def moved(self, parts: Sequence[str], values: np.ndarray) -> Form:
        """The form with these numbers in the place of ``free(parts)``; the newest weight of each row takes what is left of 1."""
        values, lams, weights = np.asarray(values, dtype=float), self.lams.copy(), self.weights.copy()
        offsets = self.told - self.lams
        at = 0
        if "nodes" in parts:
            lams[1:] = values[: self.m - 1]
            at += self.m - 1
        if "times" in parts:
            offsets = values[at : at + self.m]
            at += self.m
        if "weights" in parts:
            for i in range(2, self.m + 1):
                weights[i, : i - 1] = values[at : at + i - 1]
                weights[i, i - 1] = 1.0 - math.fsum(weights[i, : i - 1])
                at += i - 1
        low, high = sorted((self.first.lam, self.last.lam))
        return replace(self, lams=lams, told=np.clip(lams + offsets, low, high), weights=weights)

    def save(self) -> dict[str, Any]:
        """As plain JSON: the Plan and its numbers."""
        return {"plan": to_dict(self.plan()), "lams": self.lams.tolist(), "told": self.told.tolist(), "weights": self.weights.tolist()}

    @classmethod
    def load(cls, made: dict[str, Any]) -> Form:
        """What ``save`` wrote."""
        first, *_, last = from_dict(Plan, made["plan"]).grid
        return cls(first.process, first, last, *(np.array(made[k], dtype=float) for k in ("lams", "told", "weights")))

    @property
    def ordered(self) -> bool:
        """Whether the levels go from noise to data."""
        return bool(np.all(np.diff([*self.lams, self.last.lam]) > 0.0))


def form_of(plan: Plan) -> Form:
    """A deterministic Plan as a form.

    Returns:
        the Form of the Plan.

    Raises:
        ValueError: a Plan that draws, that evaluates twice at its start, or that does not keep constants; the message says which.
    """
    if plan.stochastic:
        raise ValueError(f"{plan.solver} draws noise: only deterministic Plans are tuned")
    first, last = plan.grid[0], plan.grid[-1]
    inputs, output, nodes = plan.inputs, plan.output, plan.nodes
    m = plan.nfe
    weights = np.zeros((m + 1, m))
    levels: list[Node] = []
    for i, (row, told) in enumerate(zip([*(inputs[i] for i in range(m)), output], [*nodes, last], strict=True)):
        level = first if i == 0 else _level(first, row, told) if i < m else told
        if level is None or not _at(first, row, level):
            raise ValueError(f"{plan.solver} does not keep constants at evaluation {i}: what it mixes there is at no level of its process")
        levels.append(level)
        rest = level.alpha - first.alpha * level.sigma / first.sigma
        if i:
            if abs(rest) < 1e-12:
                raise ValueError(f"{plan.solver} evaluates twice at its first node, which no weight can tell apart")
            weights[i] = row[1:] / rest
            weights[i, i - 1] += 1.0 - math.fsum(weights[i])
    lams, told_lams = (np.array([node.lam for node in some]) for some in (levels[:m], nodes))
    return Form(first.process, first, last, lams, told_lams, weights)


def _level(first: Node, row: np.ndarray, told: Node) -> Node | None:
    """Where a mean of the state and of evaluations is, as its shares of noise and of data say; None where that is beyond the schedule."""
    sigma = float(row[0]) * first.sigma
    alpha = float(row[1:].sum()) + first.alpha * float(row[0])
    if not (sigma > 0.0 and alpha > 0.0):
        return told
    lam = math.log(alpha / sigma)
    if abs(lam - told.lam) < _EXACT:
        return told
    with suppress(ValueError, OverflowError):
        return first.process.at_lam(lam)
    return None


def _at(first: Node, row: np.ndarray, level: Node) -> bool:
    """Whether a mean keeps constants at a level: x_T stands for its noise, and what is given is all data."""
    scale = level.sigma / first.sigma
    rest = level.alpha - first.alpha * scale
    return bool(abs(row[0] - scale) <= _EXACT * max(1.0, scale) and abs(row[1:].sum() - rest) <= _EXACT)
