r"""The exact law of a method on finite states: every draw of a step is followed into all that it may give.

A step asks ``noise(s, t)`` for its draws. Here the answer to a question p is every value of positive probability: the rows of the batch are
doubled for each of them, with their weights, and the step is run again from its beginning with the answers so far, until it asks no more.
What comes out is the law of x_t (and of the memory) given each state before, as weighted rows; equal rows are merged. Uniform numbers are
followed by Gauss-Legendre quadrature. The method itself runs; nothing stands for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.solvers import Solver
from scorebed.solvers.base import advance

FAINT = 1e-16
"""Courses of less weight than this are left out."""
_QUADRATURE = 2


class _Ask(BaseException):
    """A question that has no answer yet: the probabilities of the entries, (rows, entries, values)."""

    def __init__(self, p: np.ndarray) -> None:
        self.p = p


class Answers:
    """Draws that give the answers so far, in order, and then ask."""

    def __init__(self, answers: list[np.ndarray]) -> None:
        self.answers, self.asked = answers, 0

    def _next(self, p: np.ndarray) -> np.ndarray:
        if self.asked == len(self.answers):
            raise _Ask(p)
        self.asked += 1
        return self.answers[self.asked - 1]

    def __call__(self, p: Any) -> Any:
        """A categorical draw."""
        values = np.asarray(p.detach().cpu() if hasattr(p, "detach") else p, dtype=np.float64)
        chosen = self._next(values.reshape(len(values), -1, values.shape[-1])).reshape(values.shape[:-1])
        return p.new_tensor(chosen).long() if hasattr(p, "detach") else chosen

    def uniform(self, n: int) -> np.ndarray:
        """Uniform numbers, at the points of a quadrature."""
        places, weights = np.polynomial.legendre.leggauss(_QUADRATURE)
        self.rows: int
        chosen = self._next(np.broadcast_to(0.5 * weights, (self.rows, n, _QUADRATURE)))
        return np.asarray(0.5 + 0.5 * places[chosen])


class FirstOf:
    """Draws the first value of positive probability, and u = 0: enough to see whether a step can be made at all."""

    def __call__(self, p: Any) -> Any:
        return (p > 0.0).argmax(-1)

    def uniform(self, n: int) -> np.ndarray:
        return np.zeros((1, n))


def outcomes(p: np.ndarray, weight: np.ndarray, faint: float = FAINT) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All joint values of independent entries: (row, values (R, entries), weight), for p (rows, entries, values) and weights of the rows.

    Returns:
        (rows, values (R, entries), weight (R,)).

    Raises:
        ValueError: probabilities that are none.
    """
    total = p.sum(-1, keepdims=True)
    if not (np.isfinite(p).all() and (p >= 0.0).all() and (total > 0.0).all()):
        raise ValueError("a draw from what is no law: probabilities must be finite, at least 0, and positive in sum")
    p = p / total
    rows, values = np.arange(len(p)), np.empty((len(p), 0), dtype=np.int64)
    for m in range(p.shape[1]):
        q = weight[:, None] * p[rows, m]
        at, value = np.nonzero(q > faint)
        rows, values, weight = rows[at], np.column_stack((values[at], value)), q[at, value]
    return rows, values, weight


def taken(value: Any, rows: np.ndarray) -> Any:
    """Rows of a state, a memory, or what else has them as its first axis."""
    if isinstance(value, tuple | list):
        return type(value)(taken(v, rows) for v in value)
    return value[rows] if getattr(value, "ndim", 0) > 0 else value


def branch(run: Callable[[np.ndarray, Answers], Any], weight: np.ndarray, faint: float = FAINT) -> tuple[Any, np.ndarray, np.ndarray]:
    """What ``run(rows, draws)`` gives in every course of its draws: (result, rows, weight)."""
    rows, answers = np.arange(len(weight)), list[np.ndarray]()
    while True:
        try:
            draws = Answers(answers)
            draws.rows = len(rows)
            return run(rows, draws), rows, weight
        except _Ask as asked:
            at, values, weight = outcomes(asked.p, weight, faint)
            rows, answers = rows[at], [*(a[at] for a in answers), values]


def merged(x: np.ndarray, carry: Any, weight: np.ndarray) -> tuple[np.ndarray, Any, np.ndarray]:
    """Equal rows of (x, memory) as one, with the sum of their weights."""
    columns = [x.reshape(len(x), -1).astype(np.float64), *_arrays(carry, len(x))]
    _, first, back = np.unique(np.column_stack(columns), axis=0, return_index=True, return_inverse=True)
    return x[first], taken(carry, first), np.bincount(back.ravel(), weight)


def _arrays(value: Any, n: int) -> list[np.ndarray]:
    if isinstance(value, tuple | list):
        return [a for v in value for a in _arrays(v, n)]
    return [np.asarray(value, dtype=np.float64).reshape(n, -1)] if getattr(value, "ndim", 0) > 0 else []


def follow(
    solver: Solver, model: Any, start: np.ndarray, nodes: Sequence[Any], wrap: Callable[[Any], Any] = lambda d: d, faint: float = FAINT
) -> tuple[np.ndarray, np.ndarray]:
    """The law of the method's output along a grid as weighted states: ((R, L), (R,)), from the law ``start``, a table (A,) * L.

    ``wrap`` changes the draws, for controls; courses of less weight than ``faint`` are left out.

    Returns:
        (token states (R, L), weights (R,)).
    """
    x = np.argwhere(start > 0.0)
    weight, carry = start[start > 0.0], None
    for s, t in pairwise(nodes):

        def run(rows: np.ndarray, draws: Answers, x: Any = x, carry: Any = carry, s: Any = s, t: Any = t) -> Any:
            return advance(solver, model, x[rows], s, t, taken(carry, rows), lambda a, b: wrap(draws))

        (x, carry), _, weight = branch(run, weight, faint)
        x, carry, weight = merged(x, carry, weight)
    return x, weight


def output_table(solver: Solver, model: Any, start: np.ndarray, nodes: Sequence[Any], **how: Any) -> np.ndarray:
    """The law of the method's output as a table of the alphabet, (A,) * L."""
    x, weight = follow(solver, model, start, nodes, **how)
    table = np.zeros(start.shape)
    np.add.at(table, tuple(x.T), weight)
    return table
