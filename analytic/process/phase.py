"""Phase space: data from a Gaussian mixture, velocities from N(0, gamma M), moved by critically damped Langevin dynamics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scorebed.analytic.gaussian.mixture import GaussianMixture
from scorebed.analytic.process.linear import LinearLaw, dense
from scorebed.solvers.process import Point
from scorebed.solvers.process.langevin import CLD, covariance, flow_matrix, motion
from scorebed.solvers.process.linear import Matrix, times, total, transposed
from scorebed.solvers.state import State


class PhaseLaw(LinearLaw):
    """The law of (x, v) where x0 has the law ``data`` and v0 ~ N(0, gamma M) is independent of it."""

    def __init__(self, data: GaussianMixture, process: CLD) -> None:
        d, still = data.d, process.gamma * process.mass * np.eye(data.d)
        covariances = np.zeros((data.k, 2 * d, 2 * d))
        covariances[:, :d, :d], covariances[:, d:, d:] = dense(data), still
        super().__init__(process, data.weights, np.hstack([data.means, np.zeros((data.k, d))]), covariances)
        self.data, self.process = data, process

    def flow(self, z: State, s: Point, t: Point) -> State:
        """Where the probability flow carries the states z = (x, v) from ``s`` to ``t``, for one Gaussian: along each direction of the data
        R_t R_s^{-1} about the mean, with R the root of the covariance of (x, v) that the flow carries along.

        Returns:
            states (x, v) at ``t``, of the shapes of z.

        Raises:
            ValueError: several components, for which nothing is closed.
        """
        if self.k != 1:
            raise ValueError(f"the law has k = {self.k} components: its flow in phase space is closed for one Gaussian, integrate it")
        flat, shape = self._flat(z)
        values, vectors = self.data.structure.eigen(0)
        basis, d = np.eye(self.d) if vectors is None else vectors, self.d
        unit = float(np.sqrt(self.process.mass))
        off = flat - self._at(s).means[0]
        x, u = off[:, :d] @ basis, off[:, d:] @ basis / unit
        start, end = self.process.rate * s.t, self.process.rate * t.t
        moved = np.zeros((2, *x.shape))
        for i, value in enumerate(values):
            m = np.asarray(flow_matrix(self._spread(float(value)), start, end), dtype=float)
            moved[:, :, i] = m @ np.stack([x[:, i], u[:, i]])
        rows = self._at(t).means[0] + np.hstack([moved[0] @ basis.T, unit * moved[1] @ basis.T])
        return self._split(rows, shape, z)

    def _spread(self, variance: float) -> Callable[[float], Matrix]:
        """The covariance of (x, u) at a clock, where x0 has this variance along a direction."""
        begin: Matrix = ((variance, 0.0), (0.0, self.process.gamma))

        def at(clock: float) -> Matrix:
            move = motion(clock)
            return total([(1.0, times(times(move, begin), transposed(move))), (1.0, covariance(clock))])

        return at
