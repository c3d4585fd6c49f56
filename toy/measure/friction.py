r"""Which friction is best for a spectrum: exact laws of short runs in phase space, begun at the stationary law.

    dx = v dς,   dv = −(x + Γ v) dς + sqrt(2Γ) dW,     critically damped at Γ = 2, ς up to ``clock``

Too little friction and the data is not forgotten when the run begins; too much and x, which is noised through v alone, is not either.
The forward motion forgets at the rate of its slowest eigenvalue, largest at Γ = 2 for every spectrum; what a run of few steps adds depends
on the spectrum.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scorebed.analytic.distance import gaussian_w2
from scorebed.analytic.output.moments import moments
from scorebed.analytic.process import LinearLaw
from scorebed.solvers import SOLVERS, grid, trace
from scorebed.solvers.process.recipe import Recipe


def langevin(friction: float, clock: float = 3.0) -> Recipe:
    """The process with this friction Γ and mass 1; velocities of the data have variance 0.04."""
    return Recipe(((0.0, 1.0), (-1.0, -friction)), ((0.0, 0.0), (0.0, 2.0 * friction)), rate=clock, gamma=(0.04,), t_max=1.0)


def forgetting(friction: float) -> float:
    """The rate at which the slowest part of the data is forgotten."""
    return float(-np.linalg.eigvals(np.array(langevin(friction).force)).real.max())


def friction_errors(
    variances: Sequence[float], frictions: Sequence[float], *, steps: int = 20, method: str = "ddpm", clock: float = 3.0
) -> np.ndarray:
    """W2 of (x, v) at the end from the exact law, begun at N(0, 1), for data of these variances along its axes: one for each friction."""
    out = []
    for friction in frictions:
        process = langevin(friction, clock)
        plan = trace(SOLVERS[method], grid.uniform_lam(process, steps, None, 0.01))
        square = 0.0
        for variance in variances:
            law = LinearLaw(process, [1.0], np.zeros((1, 2)), np.diag([float(variance), 0.04])[None])
            end = law.marginal(plan.grid[-1])
            mean, covariance = moments(plan, law, np.zeros(2), process.stationary)
            square += gaussian_w2(mean, covariance, end.mean(), end.covariance()) ** 2
        out.append(np.sqrt(square))
    return np.array(out)
