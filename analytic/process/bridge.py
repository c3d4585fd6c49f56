"""Bridges with a pinned end: x0 from a Gaussian mixture, x1 one given point."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from scorebed.analytic.gaussian.arrays import finite
from scorebed.analytic.gaussian.mixture import GaussianMixture
from scorebed.analytic.process.linear import LinearLaw, dense
from scorebed.solvers.process import Point
from scorebed.solvers.process.bridge import BrownianBridge
from scorebed.solvers.schedule import Node


class PinnedBridge(LinearLaw):
    """The law of a Brownian bridge from ``data`` at t = 0 to the point ``pin`` (d,) at t = 1, where every path ends."""

    def __init__(self, data: GaussianMixture, pin: Any, process: BrownianBridge) -> None:
        self.pin = finite("pin", pin, 1)
        if self.pin.shape != (data.d,):
            raise ValueError(f"pin has shape {self.pin.shape}: give a point of the data's space, ({data.d},)")
        d = data.d
        covariances = np.zeros((data.k, 2 * d, 2 * d))
        covariances[:, :d, :d] = dense(data)
        super().__init__(process, data.weights, np.hstack([data.means, np.tile(self.pin, (data.k, 1))]), covariances)
        self.data, self.process = data, process

    def flow(self, x: np.ndarray, s: Point, t: Point) -> np.ndarray:
        """Where the probability flow carries x from ``s`` to ``t``: x − t x1 = (1 − t) x0 + γ_t ε is the data on a schedule.

        Returns:
            states at ``t``, of the shape of x.

        Raises:
            ValueError: several components in several dimensions, or a flow from an end of the bridge.
        """
        return np.asarray(self.data.flow(x - s.t * self.pin, self._scalar(s), self._scalar(t)) + t.t * self.pin)

    def _scalar(self, node: Point) -> Node:
        t = node.t
        if not 0.0 < t < 1.0:
            raise ValueError(f"the flow is between points inside the bridge, not at t = {t:g}, where x has no noise")
        gamma = self.process.kappa * math.sqrt(t * (1.0 - t))
        return Node(t, 1.0 - t, gamma, math.log1p(-t) - math.log(gamma))
