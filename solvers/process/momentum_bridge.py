r"""Bridges in phase space: (x, v) moved by noise on the acceleration and pinned to the data at t = 0 (AGM, arXiv:2310.07805).

    dx = v ds,   dv = g dW,   s = 1 − t,   z at s = 0 from N(0, Σ_0),   pinned at s = 1 to (x0, v0).

With Φ_r = [[1, r], [0, 1]], K_r = g² [[r³/3, r²/2], [r²/2, r]], C = Φ_s Σ_0 Φ_sᵀ + K_s of the free motion and N = Φ_t^{-1} K_t Φ_t^{-T},

    z_t = A m + noise of covariance Σ,   Σ = N − N (C + N)^{-1} N,   A = (1 − N (C + N)^{-1}) Φ_t^{-1},

and on the way to noise, which is the free motion reversed, dz = −(F + G Gᵀ C^{-1}) z dt + G dW. The reverse SDE with m known is Doob's
transform: the acceleration (6 (x0 − x)/t² − (4 v + 2 v0)/t) of the cheapest control.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scorebed.solvers.process.base import Instant, ordered, positive
from scorebed.solvers.process.general import GeneralProcess, floats
from scorebed.solvers.process.linear import Matrix


@dataclass(frozen=True)
class MomentumBridge(GeneralProcess):
    """``g`` the noise of the acceleration, ``begin`` Σ_0 by rows. The clock is −log t."""

    g: float = 2.0
    begin: Matrix = ((1.0, 0.0), (0.0, 1.0))
    t_min: float = 1e-3
    t_max: float = 1.0

    kind = "phase"
    state = ("x", "v")
    gives = ("x0", "v0")
    draws = 2

    def __post_init__(self) -> None:
        positive(self, "g", "t_min", "t_max")
        ordered(self, most=1.0)
        begin = np.array(self.begin, dtype=float)
        if begin.shape != (2, 2) or not np.array_equal(begin, begin.T) or np.linalg.eigvalsh(begin).min() <= 0.0:
            raise ValueError(f"MomentumBridge: begin = {self.begin!r} must be a covariance of x and v")
        object.__setattr__(self, "begin", floats(begin))

    def node(self, t: float) -> Instant:
        t = float(t)
        if not 0.0 < t <= self.t_max:
            raise ValueError(f"t = {t!r} is outside MomentumBridge: give 0 < t <= {self.t_max:g}")
        return Instant(t, -math.log(t), self)

    def at(self, clock: float) -> Instant:
        return Instant(self.node(math.exp(-float(clock))).t, float(clock), self)

    def _free(self, t: float) -> np.ndarray:
        """C, of the free motion."""
        s = 1.0 - t
        move = np.array([[1.0, s], [0.0, 1.0]])
        fresh = self.g**2 * np.array([[s**3 / 3.0, s**2 / 2.0], [s**2 / 2.0, s]])
        return np.asarray(move @ np.array(self.begin) @ move.T + fresh)

    def forward(self, node: Instant) -> tuple[Matrix, Matrix]:
        t = node.t
        left = self.g**2 * np.array([[t**3 / 3.0, -(t**2) / 2.0], [-(t**2) / 2.0, t]])
        share = left @ np.linalg.inv(self._free(t) + left)
        spread = left - share @ left
        return floats((np.eye(2) - share) @ np.array([[1.0, -t], [0.0, 1.0]])), floats(0.5 * (spread + spread.T))

    def motion(self, node: Instant) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        noise = np.array([[0.0, 0.0], [0.0, self.g**2]])
        force = -np.array([[0.0, 1.0], [0.0, 0.0]]) - noise @ np.linalg.inv(self._free(node.t))
        return force @ np.array(self.forward(node)[0]), force, noise
