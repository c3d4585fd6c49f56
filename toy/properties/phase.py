"""Properties of methods on phase space, (x, v) under critically damped Langevin dynamics."""

from __future__ import annotations

from functools import cache

from scorebed.analytic import GaussianMixture
from scorebed.analytic.process import PhaseLaw
from scorebed.solvers.process.langevin import CLD
from scorebed.toy.problems.linear import LinearProblem
from scorebed.toy.problems.lines import modes
from scorebed.toy.problems.uneven import jagged, warped
from scorebed.toy.properties import linear


def ellipse() -> PhaseLaw:
    """One Gaussian of the plane, its axes turned."""
    return PhaseLaw(GaussianMixture([1.0], [[0.5, -1.0]], [[[1.0, 0.3], [0.3, 0.2]]]), CLD())


def three_modes() -> PhaseLaw:
    """Three modes on the line, with another mass and wide velocities."""
    return PhaseLaw(modes(), _HEAVY)


_HEAVY = CLD(beta=6.0, mass=1.0, gamma=1.0)  # velocities as wide as in the end, so that what is made of v0 shows


@cache
def problems() -> tuple[LinearProblem, ...]:
    """A closed and a curved flow, on grids that no method expects."""
    return (
        LinearProblem(name="ellipse, CLD, jagged", make=ellipse, process=CLD(), grid=jagged, start=0.9, end=0.05),
        LinearProblem(name="modes, CLD, warped", make=three_modes, process=_HEAVY, grid=warped, start=0.9, end=0.1, closed=False),
    )


linear.enrol("phase", problems)
