"""The problems on which the properties look at a solver.

Everything is smooth enough for the asymptotic range to begin near 64 steps, and hardly a grid is uniform in the variable that a method
expands in.
"""

from __future__ import annotations

from functools import cache

from scorebed.analytic import GaussianMixture
from scorebed.solvers import EDM, VP, Cosine, RectifiedFlow, SubVP
from scorebed.toy.problems.euclidean import EuclideanProblem, diagonal
from scorebed.toy.problems.lines import modes
from scorebed.toy.problems.uneven import jagged, warped

__all__ = ["cases", "ellipsoid", "jagged", "modes", "warped"]


@cache
def ellipsoid() -> GaussianMixture:
    """One Gaussian with standard deviations 0.2, 1 and 2."""
    return diagonal([0.5, -1.0, 0.3], [0.04, 1.0, 4.0])


@cache
def cases() -> tuple[EuclideanProblem, ...]:
    """Curved and linear flows, on every kind of schedule."""
    return (
        EuclideanProblem(name="modes, VP, jagged", make=modes, process=VP(), grid=jagged, start=0.9, end=0.02),
        EuclideanProblem(name="modes, rectified flow, warped", make=modes, process=RectifiedFlow(), grid=warped, start=0.9, end=0.1),
        EuclideanProblem(name="ellipsoid, EDM, Karras", make=ellipsoid, process=EDM(), grid="karras", start=10.0, end=0.05),
        EuclideanProblem(name="ellipsoid, sub-VP, jagged", make=ellipsoid, process=SubVP(), grid=jagged, start=0.8, end=0.1),
        EuclideanProblem(name="modes, cosine, uniform", make=modes, process=Cosine(), grid="uniform", start=0.88, end=0.05),
    )
