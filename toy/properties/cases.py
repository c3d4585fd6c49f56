"""The targets, schedules and grids on which the properties look at a solver.

Everything is smooth enough for the asymptotic range to begin near 64 steps, and hardly a grid is uniform in the variable that a method
expands in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.solvers import EDM, VP, Cosine, Node, RectifiedFlow, Schedule, SubVP
from scorebed.solvers.grid import check, karras, uniform

Grid = list[Node]


def jagged(schedule: Schedule, n: int, start: float, end: float) -> Grid:
    """Steps in lam of alternating lengths 2 : 3, so that a multistep method with constant coefficients loses its order."""
    first, last = schedule.node(start), schedule.node(end)
    lengths = np.where(np.arange(n) % 2, 3.0, 2.0)
    inner = np.cumsum(lengths)[:-1] / lengths.sum()
    return check([first, *(first.toward(last, float(r)) for r in inner), last])


def warped(schedule: Schedule, n: int, start: float, end: float) -> Grid:
    """Smoothly varying steps in t: t = start + (end - start)(u + sin(2 pi u)/10)."""
    u = np.arange(n + 1) / n
    return check([schedule.node(start + (end - start) * float(r)) for r in u + 0.1 * np.sin(2.0 * math.pi * u)])


@cache
def modes() -> GaussianMixture:
    """Three unequal modes on the line."""
    return GaussianMixture([0.3, 0.5, 0.2], np.array([[-1.5], [0.2], [1.8]]), np.array([0.09, 0.25, 0.16]))


@cache
def ellipsoid() -> GaussianMixture:
    """One Gaussian with standard deviations 0.2, 1 and 2."""
    return GaussianMixture([1.0], np.array([[0.5, -1.0, 0.3]]), np.array([[0.04, 1.0, 4.0]]))


@dataclass(frozen=True)
class Case:
    """A target on a schedule between two times, with the family of grids that refine there."""

    name: str
    target: GaussianMixture
    schedule: Schedule
    grid: Callable[[Schedule, int, float, float], Grid]
    noisy: float
    clean: float

    def states(self, node: Node) -> np.ndarray:
        """A few fixed states that are typical of the target's marginal at ``node``."""
        spread = np.linspace(-1.6, 1.7, 7)[:, None] * np.linspace(1.0, 0.6, self.target.d)
        return node.alpha * self.target.mean() + np.sqrt(node.alpha**2 * np.diag(self.target.covariance()) + node.sigma**2) * spread


@cache
def cases() -> tuple[Case, ...]:
    return (
        Case("modes, VP, jagged", modes(), VP(), jagged, 0.9, 0.02),
        Case("modes, rectified flow, warped", modes(), RectifiedFlow(), warped, 0.9, 0.1),
        Case("ellipsoid, EDM, Karras", ellipsoid(), EDM(), karras, 10.0, 0.05),
        Case("ellipsoid, sub-VP, jagged", ellipsoid(), SubVP(), jagged, 0.8, 0.1),
        Case("modes, cosine, uniform", modes(), Cosine(), uniform, 0.88, 0.05),
    )
