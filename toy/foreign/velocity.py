r"""Solvers of flow matching, ``solve(velocity, x, times)`` with ``velocity(x, t) = dx/dt``, as candidates.

Time runs from 0, noise, to 1, data, on the straight path x = (1 − t) eps + t x0, so that the velocity is (D − x)/(1 − t): the convention of
flow_matching, torchcfm and rectified flow. ``torchdiffeq_solver`` and ``flow_matching_solver`` make one of a method of these libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any
from unittest import mock

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


def torchdiffeq_solver(method: Any, **options: Any) -> Callable[..., Any]:
    """``torchdiffeq.odeint`` on the times as they are.

    Args:
        method: the name that it takes, "midpoint"; or a class of a solver of its kind.
        options: of the method, ``max_order=4``.

    Returns:
        function (velocity, x, times) -> x at the last time.
    """

    def solve(velocity: Any, x: Any, times: Any) -> Any:
        from torchdiffeq import odeint

        known, name = import_module("torchdiffeq._impl.odeint").SOLVERS, method if isinstance(method, str) else "given"
        with mock.patch.dict(known, {} if isinstance(method, str) else {"given": method}):
            return odeint(lambda t, y: velocity(y, t), x, times, method=name, options=dict(options) or None)[-1]

    solve.__name__ = f"torchdiffeq_{getattr(method, '__name__', method)}"
    return solve


def flow_matching_solver(method: str) -> Callable[..., Any]:
    """``flow_matching.solver.ODESolver`` on the times as they are.

    Args:
        method: the name that its ``sample`` takes, "midpoint".

    Returns:
        function (velocity, x, times) -> x at the last time.
    """

    def solve(velocity: Any, x: Any, times: Any) -> Any:
        made: Any = import_module("flow_matching.solver").ODESolver(lambda x, t: velocity(x, t))
        return made.sample(x, None, method=method, time_grid=times)

    solve.__name__ = f"flow_matching_{method}"
    return solve
