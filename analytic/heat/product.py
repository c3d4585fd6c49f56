r"""Independent parts side by side: a law on a Product, a torus or a box with many modes and an exact flow, part by part."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scorebed.analytic.heat.mixture import HeatMixture
from scorebed.analytic.heat.points import points
from scorebed.solvers.model import Array, pointwise, predicts
from scorebed.solvers.schedule import Node
from scorebed.solvers.space import Box, Euclidean, Product, Space, Torus


class HeatProduct:
    """The product of independent heat-kernel mixtures, with Π K_i modes.

    Args:
        factors: at least one. Factors all on Torus, all on Euclidean or all on Box (of one rule) are laws of the larger Torus, Euclidean or
            Box; others of the Product of their spaces.

    Raises:
        TypeError: a factor that is no HeatMixture.
        ValueError: no factor.
    """

    def __init__(self, factors: Sequence[HeatMixture]) -> None:
        self.factors = tuple(factors)
        if not self.factors:
            raise ValueError("factors is empty: give at least one HeatMixture")
        for factor in self.factors:
            if not isinstance(factor, HeatMixture):
                raise TypeError(f"factors holds a {type(factor).__name__}: give HeatMixtures")
        self.space = _joined([factor.space for factor in self.factors])
        self._product = Product(*(factor.space for factor in self.factors))
        self.k = math.prod(factor.k for factor in self.factors)

    def __repr__(self) -> str:
        return f"HeatProduct({self.space.name}, k={self.k})"

    def _each(self, call: Callable[..., Any], x: Array, *more: Any) -> tuple[list[Any], Callable[[np.ndarray], Array]]:
        flat, restore = points(x, self.space)
        return [call(factor, part, *more) for factor, part in zip(self.factors, self._product.split(flat), strict=True)], restore

    def log_prob(self, x: Array, node: Node | None = None) -> Array:
        """log p_t(x), shape (...); of the law itself without a node."""
        parts, restore = self._each(HeatMixture.log_prob, x, node)
        return restore(np.sum(parts, axis=0))

    @predicts("score")
    def score(self, x: Array, node: Node | None = None) -> Array:
        """The Riemannian gradient of log p_t at x, of the shape of x."""
        parts, restore = self._each(HeatMixture.score, x, node)
        return restore(self._product.join(parts))

    @predicts("denoised")
    @pointwise
    def denoised(self, x: Array, node: Node) -> Array:
        """x + sigma² score, of the shape of x."""
        parts, restore = self._each(HeatMixture.denoised, x, node)
        return restore(self._product.join(parts))

    def sample(self, n: int, rng: np.random.Generator | int, node: Node | None = None) -> np.ndarray:
        """``n`` independent exact draws, (n, *shape)."""
        rng = np.random.default_rng(rng)
        return np.asarray(self._product.join([factor.sample(n, rng, node) for factor in self.factors]))

    def marginal(self, node: Node) -> HeatProduct:
        """The law of x_t."""
        return HeatProduct([factor.marginal(node) for factor in self.factors])

    def flow(self, x: Array, s: Node, t: Node) -> Array:
        """The exact probability-flow map from node ``s`` to node ``t``; each factor must have one."""
        parts, restore = self._each(HeatMixture.flow, x, s, t)
        return restore(self._product.join(parts))


def _joined(spaces: list[Space]) -> Space:
    if all(type(space) is Torus for space in spaces):
        return Torus(sum(space.dim for space in spaces))
    if all(type(space) is Euclidean for space in spaces):
        return Euclidean(sum(space.dim for space in spaces))
    boxes = [space for space in spaces if type(space) is Box]
    if len(boxes) == len(spaces) and len({box.rule for box in boxes}) == 1:
        lower, upper = (np.concatenate([getattr(box, end) for box in boxes]) for end in ("lower", "upper"))
        return Box(sum(box.dim for box in boxes), lower, upper, boxes[0].rule)
    return Product(*spaces)
