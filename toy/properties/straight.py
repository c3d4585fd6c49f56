"""Exactness of methods on x(t): they discretise the schedule, so they keep them where alpha and sigma are straight lines in t."""

from __future__ import annotations

from typing import Any

import numpy as np

from scorebed.solvers import EDM, Node, RectifiedFlow, Solver, sample
from scorebed.solvers.methods.runge_kutta import DISCRETISED
from scorebed.toy.properties.cases import ellipsoid, warped
from scorebed.toy.properties.registry import any_of, prop, require, stochastic

_TIGHT = 1e-11


def not_in_time(solver: Solver) -> str | None:
    """The exemption of methods that are not on x(t)."""
    return None if solver.inexact == DISCRETISED else "not in x(t)"


@prop(exempt=any_of(not_in_time, stochastic))
def straight(solver: Solver) -> None:
    """In rectified flow and EDM a constant denoiser is followed exactly, and a shift of the target shifts the samples."""
    target, by, point = ellipsoid(), np.array([0.3, 2.0, -1.0]), np.array([0.7, -1.3, 0.2])
    x = np.array([[2.0, 1.0, -0.5], [-0.4, 0.1, 1.2]])

    def constant(y: Any, node: Node) -> Any:
        return 0.0 * y + point

    def shifted(y: Any, node: Node) -> Any:
        return target.denoised(y - node.alpha * by, node) + by

    for schedule, start, end in ((RectifiedFlow(), 0.9, 0.05), (EDM(), 10.0, 0.05)):
        for n in (1, 2, 9):
            grid = warped(schedule, n, start, end)
            s, t = grid[0], grid[-1]
            off = sample(solver, constant, x, grid, terminal="none") - t.alpha * point - (t.sigma / s.sigma) * (x - s.alpha * point)
            require(bool(np.abs(off).max() < _TIGHT), solver, f"constant denoiser, {schedule}, {n} steps: off by {np.abs(off).max():.3g}")
            plain = sample(solver, target.denoised, x, grid, terminal="none")
            off = sample(solver, shifted, x + s.alpha * by, grid, terminal="none") - plain - t.alpha * by
            kept = bool(np.abs(off).max() < _TIGHT * max(1.0, float(np.abs(plain).max())))
            require(kept, solver, f"not equivariant under a shift, {schedule}, {n} steps: off by {np.abs(off).max():.3g}")
