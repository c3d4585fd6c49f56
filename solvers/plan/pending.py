r"""Draws that are not known yet: what the states of a path tell about them.

Each entry of the state has the same linear algebra. The draws so far are ξ ~ N(0, I); what was seen of them are orthonormal directions B
with values z = B ξ. A value K + C ξ, its components in the rows, is then Gaussian, and exactly so:

    mean K + C Bᵀ z,      factor U S of  C − C Bᵀ B = U S Vᵀ,

and seeing it adds the directions Vᵀ with values S^{-1} Uᵀ (value − mean).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scorebed.solvers.plan.ops import Combine, Draw, reads
from scorebed.solvers.state import parts

_NONE = 1e-11  # of the largest coefficient: what remains below is round-off


@dataclass
class Value:
    """A register: what is known of it, and its coefficients on draws."""

    known: Any
    draws: dict[int, float]


class Pending:
    """The draws of a Plan on its way along a path.

    Args:
        plan: a Plan; a draw is forgotten where nothing reads it any more.
    """

    def __init__(self, plan: Any) -> None:
        self.plan, self.until = plan, last_reads(plan)
        self.names: list[int] = []
        self.drawn: dict[int, Any] = {}
        self.directions, self.values = np.zeros((0, 0)), list[Any]()

    def add(self, drawn: Any) -> dict[int, float]:
        """One more draw, as coefficients; its value, or None where nobody draws."""
        name = 1 + max(self.drawn, default=-1)
        self.names.append(name)
        self.drawn[name] = drawn
        self.directions = np.pad(self.directions, ((0, 0), (0, 1)))
        return {name: 1.0}

    def realised(self, value: Value) -> Any:
        """The value with the draws that were made."""
        out = value.known
        for k, c in value.draws.items():
            out = out + c * self.drawn[k] if c else out
        return out

    def _rows(self, pieces: tuple[Value, ...]) -> np.ndarray:
        return np.array([[piece.draws.get(k, 0.0) for k in self.names] for piece in pieces]).reshape(len(pieces), len(self.names))

    def split(self, pieces: tuple[Value, ...]) -> tuple[tuple[Any, ...], np.ndarray, np.ndarray]:
        """Mean of each component given what was seen; the factor U S, (components, rank); and the directions Vᵀ, (rank, draws)."""
        rows = self._rows(pieces)
        along = rows @ self.directions.T
        means = []
        for piece, row in zip(pieces, along, strict=True):
            mean = piece.known
            for c, z in zip(row, self.values, strict=True):
                mean = mean + float(c) * z if c else mean
            means.append(mean)
        rest = rows - along @ self.directions
        rest = rest - (rest @ self.directions.T) @ self.directions  # twice is enough
        u, s, v = np.linalg.svd(rest, full_matrices=False)
        keep = s > _NONE * np.abs(rows).max(initial=0.0)
        return tuple(means), u[:, keep] * s[keep], v[keep]

    def see(self, directions: np.ndarray, values: list[Any]) -> None:
        """Remember what a state told."""
        self.directions = np.concatenate([self.directions, directions])
        self.values += values

    def forget(self, at: int) -> None:
        """Drop the draws that nothing reads after ``at`` operations, nor what is known together with them."""
        live = np.array([self.until.get(k, -1) >= at for k in self.names], bool)
        while True:
            touched = np.abs(self.directions[:, live]).sum(1) > 0.0
            more = live | (np.abs(self.directions[touched]).sum(0) > 0.0)
            if (more == live).all():
                break
            live = more
        gone = [k for k, kept in zip(self.names, live, strict=True) if not kept]
        for k in gone:
            self.drawn[k] = None
        self.names = [k for k, kept in zip(self.names, live, strict=True) if kept]
        self.values = [z for z, kept in zip(self.values, touched, strict=True) if kept]
        self.directions = self.directions[touched][:, live]


def last_reads(plan: Any) -> dict[int, int]:
    """For each draw of a Plan, by number, the operation at which something that holds it is last read."""
    holds: dict[int, frozenset[int]] = {}
    last: dict[int, int] = {}
    count, ended = 0, 0
    for at, op in enumerate((*plan.ops, None)):
        while ended < len(plan.ends) and plan.ends[ended] == at:
            ended += 1
            for r in parts(plan.states[ended]):  # the state is seen here, and holds no draw any more
                last.update(dict.fromkeys(holds.pop(r, ()), at))
        for r in parts(plan.result) if op is None else reads(op):
            last.update(dict.fromkeys(holds.get(r, ()), at))
        if isinstance(op, Draw):
            for r in plan.made[at]:
                holds[r] = frozenset([count])
                count += 1
        elif isinstance(op, Combine):
            holds[plan.made[at][0]] = frozenset().union(*(holds.get(r, frozenset()) for r, _ in op.terms))
    return last


def within(factor: np.ndarray, gaps: tuple[Any, ...]) -> tuple[list[Any], float]:
    """The z with gap = C z, one array for each column of ``factor``, and the largest entry of what is left of the gap."""
    inverse = np.linalg.pinv(factor)
    z = [sum(float(c) * gap for c, gap in zip(row, gaps, strict=True)) for row in inverse]
    if factor.shape[1] == len(gaps):
        return z, 0.0
    left = (gap - sum((float(c) * one for c, one in zip(row, z, strict=True)), 0.0) for gap, row in zip(gaps, factor, strict=True))
    return z, max(float(abs(one).max()) for one in left)
