"""Points of a space as float64 arrays and back, and the time of a node in the heat semigroup."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from scorebed.analytic.gaussian.arrays import back, to_numpy
from scorebed.solvers.model import Array
from scorebed.solvers.schedule import Node
from scorebed.solvers.space import Space


def heat_time(node: Node | None) -> float:
    """sigma² of a node with alpha = 1; 0 without a node.

    Returns:
        diffusion time sigma², 0 or more.

    Raises:
        ValueError: another alpha, or a sigma that is negative or not finite.
    """
    if node is None:
        return 0.0
    if node.alpha != 1.0:
        raise ValueError(f"node has alpha = {node.alpha}: heat kernels belong to schedules with alpha = 1, e.g. VE or EDM")
    if not (math.isfinite(node.sigma) and node.sigma >= 0.0):
        raise ValueError(f"node has sigma = {node.sigma}: give a finite one, not negative")
    return node.sigma * node.sigma


def points(x: Array, space: Space) -> tuple[np.ndarray, Callable[[np.ndarray], Array]]:
    """Points x (..., *shape) as float64 (n, *shape), and the way back for results (n, ...).

    Returns:
        (points (n, *shape) float64, restore): restore takes (n, ...) back to the shape and kind of x.

    Raises:
        TypeError: not an array of real numbers.
        ValueError: another trailing shape, or nan or inf entries.
    """
    given = to_numpy(x)
    axes = len(space.shape)
    if given.ndim < axes or given.shape[given.ndim - axes :] != space.shape:
        wanted = ", ".join(map(str, space.shape))
        raise ValueError(f"x has shape {given.shape}, but points of {space.name} have shape (..., {wanted})")
    lead = given.shape[: given.ndim - axes]
    flat = np.ascontiguousarray(given.reshape(-1, *space.shape), dtype=np.float64)
    if not np.isfinite(flat).all():
        raise ValueError(f"x has nan or inf entries: give finite points of {space.name}")
    return flat, lambda out: back(x, out.reshape(lead + out.shape[1:]))
