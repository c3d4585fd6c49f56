"""Properties on every grid that a user may come with: finite everywhere, dtype kept, in NumPy and torch."""

from __future__ import annotations

from functools import cache

import numpy as np

from scorebed.solvers import EDM, GRIDS, VE, VP, Cosine, Node, NonFinite, RectifiedFlow, Schedule, Solver, SubVP, sample
from scorebed.solvers.grid import make
from scorebed.toy.properties.cases import jagged, modes
from scorebed.toy.properties.registry import Broken, black_box, prop, require

_SCHEDULES: tuple[Schedule, ...] = (VP(), Cosine(), SubVP(), VE(), EDM(), RectifiedFlow())


@prop()
def keeps_dtype(solver: Solver) -> None:
    """float32 states stay float32 and agree with float64 to single precision."""
    grid, x = jagged(VP(), 12, 0.9, 0.05), np.linspace(-2.0, 2.0, 8)[:, None]
    double = sample(solver, modes().denoised, x, grid, noise=2)
    single = sample(solver, modes().denoised, x.astype(np.float32), grid, noise=2)
    require(single.dtype == np.float32 and double.dtype == np.float64, solver, f"float32 came back as {single.dtype}")
    require(bool(np.abs(single - double).max() < 2e-4), solver, f"float32 differs from float64 by {np.abs(single - double).max():.3g}")


@cache
def _grid(kind: str, which: int, n: int) -> tuple[Node, ...]:
    """The kind with the parameters that suit the target, on one of the schedules; made once for all solvers."""
    return tuple(make(kind, _SCHEDULES[which], n, variances=[float(modes().covariance()[0, 0])]))


@prop(exempt=black_box)
def finite(solver: Solver) -> None:
    """For N = 1...64 steps, over every kind of grid and every schedule, with either terminal rule, nothing overflows."""
    target, kinds = modes(), tuple(GRIDS)
    for n in range(1, 65):
        for j, kind in enumerate(kinds if n <= 4 else (kinds[n % len(kinds)],)):
            which = (n + j + n // 12) % len(_SCHEDULES)
            schedule, nodes = _SCHEDULES[which], list(_grid(kind, which, n))
            x = nodes[0].sigma * np.linspace(-2.0, 2.0, 5)[:, None]
            try:
                run = sample(solver, target.denoised, x, nodes, noise=0, record=True)
            except NonFinite as error:
                raise Broken(f"{solver.name}: {schedule}, {kind}, {n} steps: {error}") from error
            require(bool(np.isfinite(run.xs[-1]).all()), solver, f"{schedule}, {kind}, {n} steps is not finite")
