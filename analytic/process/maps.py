r"""Exact few-step maps: what a perfect consistency model or flow map is, from the closed flow of a law.

On one Gaussian and on the line the probability flow is closed, from every node to every other and to the data itself, σ = 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from scorebed.solvers.model import Array, predicts
from scorebed.solvers.schedule import Node

_CLEAN = Node(0.0, 1.0, 0.0, math.inf)


class FlowMap:
    """The maps of a ``law`` with a closed ``flow`` (a Gaussian, a mixture on the line, a rotated product of such)."""

    def __init__(self, law: Any) -> None:
        self.law = law

    @property
    def endpoint(self) -> Any:
        """f(x, s): where the flow takes x from s without noise; a consistency model."""

        @predicts("endpoint")
        def endpoint(x: Array, s: Node) -> Array:
            return self.law.flow(x, s, _CLEAN)

        return endpoint

    @property
    def map(self) -> Any:
        """f(x, s, t): where the flow takes x from s at t."""

        @predicts("map")
        def between(x: Array, s: Node, t: Node) -> Array:
            return self.law.flow(x, s, t)

        return between

    def affine(self, s: Node) -> tuple[np.ndarray, np.ndarray]:
        """(A, b) with f(x, s) = A x + b, where the law is one Gaussian.

        Raises:
            ValueError: a law of several components, whose map is not affine.
        """
        if self.law.k != 1:
            raise ValueError(f"the law has k = {self.law.k} components: its map is affine where there is one")
        zero = np.asarray(self.law.flow(np.zeros((1, self.law.d)), s, _CLEAN))[0]
        return (np.asarray(self.law.flow(np.eye(self.law.d), s, _CLEAN)) - zero).T, zero
