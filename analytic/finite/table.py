r"""A joint table π on S^L under a jump process: every law, score and posterior by linear algebra, to round-off.

    p_t(x) = Σ_{x0} π(x0) Π_i K_t(x0^i, x^i)                            one small matrix along each axis
    p(x0 | x_t) ∝ π(x0) Π_i K_t(x0^i, x_t^i),  p(x0^i = k | x_t) its marginals        what a model of the process gives
    s(x, i, y) = p_t(x with x^i = y) / p_t(x)                           the concrete score (Lou et al., arXiv:2310.16834)

A step that draws all tokens at once from their own conditionals has another joint law than p(x0 | x_t): KL = Σ_i H(x0^i | x) − H(x0 | x),
the conditional total correlation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from scorebed.solvers.process import Instant
from scorebed.solvers.process.tokens import TokenProcess

LARGEST = 4096
"""Entries of a table."""
_AT_ONCE = 1 << 22


class TableLaw:
    """The law π of L tokens with S values on a process.

    Args:
        table: π, shape (S,) * L, at least 0 and with sum 1; at most 4096 entries.
        process: of tokens of size S, such as a ``JumpProcess``.

    Raises:
        ValueError: a table that is no law, too large, or of another size than the process.
    """

    def __init__(self, table: Any, process: TokenProcess) -> None:
        p = np.array(table, dtype=np.float64)
        if p.ndim < 1 or len(set(p.shape)) != 1 or p.size > LARGEST:
            raise ValueError(f"table has shape {p.shape}: give (S,) * L with at most {LARGEST} entries in all")
        if p.shape[0] != process.size:
            raise ValueError(f"table has {p.shape[0]} values of a token, the process {process.size}")
        if not np.isfinite(p).all() or p.min() < 0.0 or abs(p.sum() - 1.0) > 1e-9:
            raise ValueError(f"table is no law: its entries are at least {p.min():g} with sum {p.sum():g}, give ≥ 0 and 1")
        self.table, self.process = p / p.sum(), process

    def __repr__(self) -> str:
        return f"TableLaw({self.process.size}^{self.d}, {self.process})"

    @property
    def d(self) -> int:
        """The number L of tokens."""
        return int(self.table.ndim)

    def marginal(self, node: Instant) -> np.ndarray:
        """p_t as a table of the alphabet, (A,) * L."""
        return self.push(self.table, self.process.forward(node))

    @staticmethod
    def push(table: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        """The table after every token went through ``kernel`` (rows: from): the Kronecker product, one axis after the other."""
        for axis in range(table.ndim):
            table = np.moveaxis(np.tensordot(table, kernel, (axis, 0)), -1, axis)
        return table

    def sample(self, n: int, rng: np.random.Generator, node: Instant | None = None) -> np.ndarray:
        """n draws of the data, or of p_t at a node; (n, L) integers."""
        p = self.table if node is None else self.marginal(node)
        return np.stack(np.unravel_index(rng.choice(p.size, n, p=p.ravel()), p.shape), -1).astype(np.int64)

    def posterior(self, x: Any, node: Instant) -> np.ndarray:
        """p(x0 | x_t = x) for states (B, L): (B,) + (S,) * L. Where p_t(x) = 0, every x0 that leads there
        token by token counts alike.

        Returns:
            (B,) + (S,) * L probabilities, each table of sum 1.

        Raises:
            ValueError: a state with a value that no data lead to.
        """
        if self.process.absorbing:  # the conditional given a state does not depend on time
            node = self.process.at(0.5)
        x, k = np.asarray(x), self.process.forward(node)
        prior = np.broadcast_to(self.table, (len(x), *self.table.shape))
        joint, alone = prior, np.ones((1,) * (self.d + 1))
        for i in range(self.d):
            factor = k[:, x[:, i]].T.reshape(len(x), *(-1 if j == i else 1 for j in range(self.d)))
            joint, alone = joint * factor, alone * factor
        total = joint.reshape(len(x), -1).sum(1)
        joint = np.where((total > 0.0).reshape(-1, *(1,) * self.d), joint, alone)
        total = joint.reshape(len(x), -1).sum(1)
        if not (total > 0.0).all():
            raise ValueError(f"x holds {x[total <= 0.0][0].tolist()} at t = {node.t:g}, a value that no data lead to")
        return np.asarray(joint / total.reshape(-1, *(1,) * self.d))

    def probabilities(self, x: Any, node: Instant) -> np.ndarray:
        """The clean conditionals p(x0^i = k | x_t = x), (B, L, S), for states (B, L): the exact model."""
        x = np.asarray(x)
        rows = max(1, _AT_ONCE // self.table.size)
        parts = [self.posterior(x[i : i + rows], node) for i in range(0, len(x), rows)]
        axes = [tuple(1 + j for j in range(self.d) if j != i) for i in range(self.d)]
        return np.concatenate([np.stack([part.sum(a) for a in axes], 1) for part in parts])

    denoised = probabilities

    def score(self, x: Any, node: Instant) -> np.ndarray:
        """The concrete score p_t(x with x^i = y)/p_t(x), (B, L, A); 1 where y = x^i.

        Returns:
            (B, L, A) ratios of probabilities; 1 where y = x^i.

        Raises:
            ValueError: a state that p_t does not reach.
        """
        x, p = np.asarray(x), self.marginal(node)
        here = p[tuple(x.T)]
        if not (here > 0.0).all():
            raise ValueError(f"x holds {x[here <= 0.0][0].tolist()}, which has probability 0 at t = {node.t:g}")
        out = np.empty((*x.shape, self.process.alphabet))
        for i in range(self.d):
            for y in range(self.process.alphabet):
                z = x.copy()
                z[:, i] = y
                out[:, i, y] = p[tuple(z.T)] / here
        return out

    def log_prob(self, x: Any, node: Instant | None = None) -> np.ndarray:
        """log π(x), or log p_t(x) at a node, (B,)."""
        p = self.table if node is None else self.marginal(node)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(p[tuple(np.asarray(x).T)]))

    def entropy(self) -> float:
        """H(π) in nats."""
        return entropy(self.table)


class Known:
    """The exact model of a law, by look-up in a table for each node; on masks one for all."""

    def __init__(self, law: TableLaw) -> None:
        self.law, self.shape = law, (law.process.alphabet,) * law.d
        self.every = np.stack(np.unravel_index(np.arange(math.prod(self.shape)), self.shape), -1)
        self.tables: dict[float, np.ndarray] = {}

    def __call__(self, x: Any, node: Instant) -> np.ndarray:
        """p(x0^i = k | x_t = x), (B, L, S)."""
        key = 0.5 if self.law.process.absorbing else node.clock
        if key not in self.tables:
            self.tables = {**self.tables, key: self._table(node)} if len(self.tables) < 8 else {}
            return self(x, node)
        return np.asarray(self.tables[key][np.ravel_multi_index(tuple(np.asarray(x).T), self.shape)])

    def _table(self, node: Instant) -> np.ndarray:
        """Of every state; nan where a token has a value that no data lead to."""
        law, out = self.law, np.full((*self.every.shape, self.law.process.size), np.nan)
        reached = np.max(law.process.forward(node), 0) > 0.0
        reached[: law.process.size] |= law.process.absorbing  # known tokens are data, whatever the time
        some = reached[self.every].all(1)
        out[some] = law.probabilities(self.every[some], node)
        return out


def entropy(p: np.ndarray) -> float:
    """−Σ p log p in nats."""
    q = p[p > 0.0]
    return float(-(q * np.log(q)).sum())


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    """½ Σ |p − q|."""
    return 0.5 * float(np.abs(np.asarray(p) - np.asarray(q)).sum())


def kl(p: np.ndarray, q: np.ndarray) -> float:
    """Σ p log(p/q), infinite where q misses some of p."""
    some = p > 0.0
    if (q[some] <= 0.0).any():
        return math.inf
    return float((p[some] * np.log(p[some] / q[some])).sum())


def total_correlation(p: np.ndarray) -> float:
    """Σ_i H(x^i) − H(x) of a joint table: what drawing all tokens at once from their own laws loses, in nats of KL."""
    axes = range(p.ndim)
    return sum(entropy(p.sum(tuple(j for j in axes if j != i))) for i in axes) - entropy(p)
