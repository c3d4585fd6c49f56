"""Points and heat-kernel targets on any space, chosen alike on all of them."""

from __future__ import annotations

import numpy as np

from scorebed.analytic.heat import HeatMixture
from scorebed.analytic.heat.kernels import kernel_of
from scorebed.solvers.space import Box, Product, Space


def away(space: Space, distance: float, rng: np.random.Generator) -> np.ndarray:
    """A point at about this distance from the origin in a random direction."""
    x = space.origin
    v = space.noise(x, rng.standard_normal(space.shape))
    return np.asarray(space.move(x, (distance / float(space.norm(x, v))) * v))


def has_kernel(space: Space) -> bool:
    """Whether the heat kernel of the space is known."""
    try:
        kernel_of(space)
    except TypeError:
        return False
    return True


def states(space: Space) -> np.ndarray:
    """A few states, away from the means of ``target_on`` and from their cut loci."""
    rng = np.random.default_rng(3)
    if space.bounded:
        return space.uniform(4, rng)
    return np.stack([away(space, r, rng) for r in (0.3, 0.9, 1.5, 2.1)])


def target_on(space: Space, k: int) -> HeatMixture:
    """A mixture about k points of this space."""
    rng = np.random.default_rng(7)
    shrink = 0.1 if space.bounded else 1.0  # a box of side 1 is full after a tenth of the time that fills the others
    return HeatMixture(space, [1.0] if k == 1 else [0.6, 0.4], _means(space, k, rng), 0.3 * shrink)


def _means(space: Space, k: int, rng: np.random.Generator) -> np.ndarray:
    if isinstance(space, Product):
        return np.asarray(space.join([_means(part, k, rng) for part in space.spaces]))
    if isinstance(space, Box):
        return space.lower + (0.15 + 0.7 * rng.random((k, space.dim))) * (space.upper - space.lower)
    return np.stack([away(space, 1.2 if space.compact else 0.8, rng) for _ in range(k)])
