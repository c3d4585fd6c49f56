r"""Categorical draws from keyed uniforms, whose probabilities are right to the last bit that matters.

    k = min { k : c_k > u c_S },    c_k = p_1 + … + p_k in float64,  u one of 2^53 equidistant numbers of [0, 1)

so that P(k) = p_k/c_S to 2^-53, whatever dtype p has and however it is scaled; a value of probability zero is never drawn. What goes
wrong elsewhere: argmax of log p + Gumbel noise made of float32 uniforms, of which there are 2^24, never draws what is rarer than about 1e-7
of the most likely value, and draws what is impossible at u = 1 (arXiv:2409.02908).

A method asks for its draws of a step by ``draw = noise(s, t)``, and then ``draw(p)``: one value for each row of p. The k-th question of an
interval is answered by uniforms of their own, keyed by (seed, sample, interval, k) as normals are (``solvers.noise``).
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from scorebed.solvers.model import Array
from scorebed.solvers.state import alike


class Draw(Protocol):
    """The draws of one interval, in the order in which they are asked for."""

    def __call__(self, p: Array) -> Array:
        """One of 0 … S − 1 for each row of ``p`` (B, …, S), with probabilities proportional to it; shape (B, …)."""

    def uniform(self, n: int) -> Any:
        """n uniform numbers of [0, 1) for each sample, (B, n), NumPy float64."""


def categorical(p: Array, u: Any) -> Array:
    """The value that each uniform number chooses: the smallest k with p_1 + … + p_k > u (p_1 + … + p_S).

    Args:
        p: weights (…, S), not negative, their sum positive and finite; NumPy or torch, any floating dtype.
        u: (…), float64 numbers of [0, 1).

    Returns:
        Integers (…), int64, of the library and device of p.

    Raises:
        ValueError: weights that are negative, not finite or all zero.
    """
    c = (p.double() if hasattr(p, "double") else np.asarray(p, dtype=np.float64)).cumsum(-1)
    u = c.new_tensor(u) if hasattr(c, "new_tensor") else u
    total = c[..., -1:]
    if not bool((p >= 0).all()) or not bool(((total > 0) & (total < float("inf"))).all()):
        raise ValueError("probabilities must be finite, at least 0, and positive in sum: " + _first_bad(p))
    # u total may round up to total: the last value of positive weight then, and not one behind it
    below = (c <= u[..., None] * total) & (c < total)
    return below.sum(-1)


def _first_bad(p: Array) -> str:
    rows = np.asarray(p.detach().cpu() if hasattr(p, "detach") else p, dtype=np.float64).reshape(-1, p.shape[-1])
    total = rows.sum(-1)
    bad = np.flatnonzero(~((rows >= 0).all(-1) & (total > 0) & np.isfinite(total)))
    return f"row {bad[0]} is {np.array2string(rows[bad[0]], threshold=8)}" if len(bad) else "shape " + str(tuple(p.shape))


def onehot(k: Array, n: int, p: Array) -> Array:
    """e_k of n values, (…, n), in the library, device and dtype of p."""
    return alike(np.eye(n), p)[k]


class KeyedDraws:
    """The draws of the interval between ``s`` and ``t`` from a source of ``solvers.noise``."""

    def __init__(self, source: Any, s: Any, t: Any) -> None:
        self.source, self.s, self.t, self.asked = source, s, t, 0

    def __call__(self, p: Array) -> Array:
        """``categorical`` of p with the next uniforms."""
        shape = tuple(p.shape[:-1])
        return categorical(p, self.uniform(int(np.prod(shape[1:]))).reshape(shape))

    def uniform(self, n: int) -> Any:
        """The next uniforms, (B, n)."""
        self.asked += 1
        return self.source.uniforms(self.s, self.t, n, self.asked - 1)

    def copy(self) -> KeyedDraws:
        """The same draws, from the first."""
        return KeyedDraws(self.source, self.s, self.t)
