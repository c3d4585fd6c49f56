r"""Tokens as points of R^d: a joint table whose values are embedded is a mixture of atoms, and its Gaussian relaxation a Gaussian mixture.

    x_t = α e(x0) + σ ε,   e(x0) = (e_{x0^1}, …, e_{x0^L}),     p(x0 | x_t) ∝ π(x0) exp(−|x_t − α e(x0)|²/2σ²)

The clean conditionals of a token, p(x0^i = k | x_t), are sums of these weights, and E[x0 | x_t] the mean embedding. The points are one-hot
vectors, the corners of a regular simplex, bits (Chen et al., arXiv:2208.04202), levels on a line, or any embedding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scorebed.analytic.finite.table import TableLaw
from scorebed.analytic.gaussian.mixture import GaussianMixture


def onehot_points(size: int) -> np.ndarray:
    """e_k, (S, S)."""
    return np.eye(size)


def simplex_points(size: int) -> np.ndarray:
    """The corners of a regular simplex with centre 0 and |e_k| = 1, (S, S − 1)."""
    centred = np.eye(size) - 1.0 / size
    basis = np.linalg.svd(centred)[0][:, : size - 1]
    return np.asarray(centred @ basis * np.sqrt(size / (size - 1.0)))


def bit_points(size: int) -> np.ndarray:
    """The binary digits of k as ±1, (S, ⌈log2 S⌉)."""
    digits = max(1, int(size - 1).bit_length())
    return np.array([[1.0 if k >> (digits - 1 - i) & 1 else -1.0 for i in range(digits)] for k in range(size)])


def level_points(size: int) -> np.ndarray:
    """S levels from −1 to 1, (S, 1)."""
    return np.linspace(-1.0, 1.0, size)[:, None]


class EmbeddedLaw:
    """A joint table at embeddings.

    Args:
        law: the table.
        points: e_k, (S, d), one for each value, all different.
        variance: of each atom, 0 for the atoms themselves.

    Raises:
        ValueError: points of another number than values, or two that are the same.
    """

    def __init__(self, law: TableLaw, points: Any, variance: float = 0.0) -> None:
        e = np.array(points, dtype=float)
        if e.ndim != 2 or len(e) != law.process.size or not np.isfinite(e).all():
            raise ValueError(f"points have shape {e.shape}: give ({law.process.size}, d), finite, one for each value")
        if len(np.unique(e, axis=0)) < len(e):
            raise ValueError("points: two values have the same one, and could not be told apart")
        self.law, self.points = law, e
        self.states = np.argwhere(law.table > 0.0)
        self.mixture = GaussianMixture(law.table[tuple(self.states.T)], e[self.states].reshape(len(self.states), -1), variance)

    def probabilities(self, x: Any, node: Any) -> np.ndarray:
        """p(x0^i = k | x_t = x), (B, L, S), for x (B, L d) at a node of a Gaussian process."""
        weights = np.asarray(self.mixture.posterior(np.asarray(x, dtype=float), node).weights)
        return np.asarray(np.einsum("bm,mlk->blk", weights, np.eye(self.law.process.size)[self.states]))

    def tokens(self, x: Any) -> np.ndarray:
        """The values of the nearest points, (B, L)."""
        y = np.asarray(x, dtype=float).reshape(len(x), self.law.d, -1)
        return np.asarray(((y[:, :, None] - self.points) ** 2).sum(-1).argmin(-1))

    def table_of(self, x: Any) -> np.ndarray:
        """How often each joint value is the nearest one, a table like that of the law."""
        found = np.bincount(np.ravel_multi_index(tuple(self.tokens(x).T), self.law.table.shape), minlength=self.law.table.size)
        return np.asarray(found.reshape(self.law.table.shape) / len(x))
