r"""Solvers of flow matching, ``solve(velocity, x, times)`` with ``velocity(x, t) = dx/dt``, as candidates.

Time runs from 0, noise, to 1, data, on the straight path x = (1 − t) eps + t x0, so that the velocity is (D − x)/(1 − t): the convention of
flow_matching, torchcfm and rectified flow. ``torchdiffeq.odeint`` and ``flow_matching.solver.ODESolver`` fit in one line:

    lambda velocity, x, times: odeint(lambda t, y: velocity(y, t), x, times, method="midpoint")[-1]
    lambda velocity, x, times: ODESolver(lambda x, t: velocity(x, t)).sample(x, None, method="midpoint", time_grid=times)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scorebed.solvers import Node, RectifiedFlow
from scorebed.toy.foreign.candidate import Candidate, Denoise, How, Interface, host


class VelocityCandidate(Candidate):
    """A solver of dx/dt = velocity(x, t) on the times that it is given."""

    kind = "velocity"

    def __init__(self, solve: Callable[..., Any], name: str | None = None, *, library: str = "numpy", **claims: Any) -> None:
        interface = claims.pop("interface", None) or Interface(schedules=False)
        named = str(name or getattr(solve, "__name__", "solver"))
        super().__init__(named, library=library, interface=interface, schedule=RectifiedFlow(), **claims)
        self.solve = solve

    @property
    def code(self) -> Any:
        return self.solve

    def _go(self, denoise: Denoise, x: Any, grid: Sequence[Node], how: How) -> Any:
        times = np.array([1.0 - node.sigma for node in grid])

        def velocity(y: Any, t: Any) -> Any:
            level = 1.0 - float(np.ravel(host(t))[0])
            return (denoise(y, RectifiedFlow().node(level)) - y) / level

        return self.solve(velocity, x, times if self.library == "numpy" else x.new_tensor(times))
