r"""Generators of jumps for values that have an order, a place or a count: kernels of ``JumpProcess`` beside masks and uniform noise.

    gaussian_rates     Q(x, y) ∝ e^{−(x − y)²/2w²}            pixels and levels: near values are likelier (D3PM, arXiv:2107.03006, A.2.3)
    neighbour_rates    Q(x, x ± 1)                            a walk on the levels, with walls
    embedding_rates    Q(x, y) of k nearest neighbours        tokens with embeddings (the same, A.2.4)
    death_rates        Q(x, x − 1) = x                        counts that die out (arXiv:2305.11089)

Rates are scaled so that the fastest value jumps at rate 1, but for deaths. The first three are symmetric: uniform noise in the end.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Matrix = tuple[tuple[float, ...], ...]


def gaussian_rates(size: int, width: float = 1.0) -> Matrix:
    """Jumps to near levels, with a Gaussian of this width.

    Returns:
        rate matrix, (size, size) as nested tuples, rows of sum 0.

    Raises:
        ValueError: a width that is not positive, or fewer than two levels.
    """
    if not width > 0.0:
        raise ValueError(f"width = {width!r} must be positive")
    x = np.arange(_size(size))
    return _generator(np.exp(-0.5 * ((x[:, None] - x) / width) ** 2))


def neighbour_rates(size: int) -> Matrix:
    """Jumps to the level above and below.

    Returns:
        rate matrix, (size, size) as nested tuples, rows of sum 0.

    Raises:
        ValueError: fewer than two levels.
    """
    x = np.arange(_size(size))
    return _generator(1.0 * (np.abs(x[:, None] - x) == 1))


def embedding_rates(points: Any, neighbours: int = 1) -> Matrix:
    """Jumps between values whose points (S, d) are among each other's nearest, made symmetric.

    Returns:
        rate matrix, (S, S) as nested tuples, rows of sum 0.

    Raises:
        ValueError: points that are no array (S, d), or a number of neighbours that is not below S.
    """
    e = np.asarray(points, dtype=float)
    if e.ndim != 2 or not 1 <= neighbours < len(e):
        raise ValueError(f"points of shape {e.shape} with {neighbours!r} neighbours: give (S, d) and 1 to S − 1")
    distance = np.linalg.norm(e[:, None] - e, axis=-1)
    np.fill_diagonal(distance, np.inf)
    near = np.zeros_like(distance)
    np.put_along_axis(near, np.argsort(distance, 1)[:, :neighbours], 1.0, 1)
    return _generator(0.5 * (near + near.T))


def death_rates(size: int) -> Matrix:
    """Each of x dies at rate 1: Q(x, x − 1) = x.

    Returns:
        rate matrix, (size, size) as nested tuples, rows of sum 0.

    Raises:
        ValueError: fewer than two counts.
    """
    n = np.arange(1.0, _size(size))
    q = np.diag(n, -1)
    return tuple(map(tuple, (q - np.diag(q.sum(1))).tolist()))


def _size(size: int) -> int:
    if isinstance(size, bool) or not isinstance(size, int) or size < 2:
        raise ValueError(f"size = {size!r}: give an integer of at least 2")
    return size


def _generator(rates: np.ndarray) -> Matrix:
    q = rates - np.diag(np.diag(rates))
    q = q / q.sum(1).max()
    return tuple(map(tuple, (q - np.diag(q.sum(1))).tolist()))
