"""Targets on the line, whose flow is closed."""

from __future__ import annotations

from functools import cache

from scorebed.analytic import GaussianMixture
from scorebed.solvers import VP
from scorebed.toy.problems.euclidean import EuclideanProblem, line


@cache
def modes() -> GaussianMixture:
    """Three unequal modes on the line."""
    return GaussianMixture([0.3, 0.5, 0.2], [[-1.5], [0.2], [1.8]], [0.09, 0.25, 0.16])


def mixture1d() -> GaussianMixture:
    """Three modes, one of them narrow."""
    return line([0.25, 0.45, 0.3], [-1.4, 0.1, 1.3], [0.15, 0.4, 0.25])


PROBLEMS = (
    EuclideanProblem(
        name="mixture1d",
        description="3 modes on the line",
        make=mixture1d,
        process=VP(),
        grid="quadratic",
    ),
)
