r"""What a guided run of the plane samples, by even points: bias of guidance and discretisation apart, for rules that no line can show.

The points start even (Sobol) and are carried by the solver; so are they to the limit of small steps, by many steps of Heun's method for a
deterministic solver, of the solver itself for a stochastic one, on draws of the same seed. Laws are compared by the mean over directions of
W1 between projections. ``floor`` is what the same run gives where there is no bias, with the exact model of a law: what is below it is not
told from 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scorebed.analytic.distance.sliced import sliced_wasserstein
from scorebed.solvers import SOLVERS, Solver, sample
from scorebed.toy.measure.guided_law import Split
from scorebed.toy.problems.guided import GuidedPlane

Floats = np.ndarray
FINE, POINTS, DIRECTIONS = 128, 2048, 16


@dataclass(frozen=True)
class Compared(Split):
    """``Split`` of point sets, with the distance that is left where there is no bias."""

    floor: float


def carried(place: GuidedPlane, model: Any, solver: Solver | str, steps: int, points: int = POINTS) -> Floats:
    """x0 after so many steps, (points, 2).

    Args:
        place: the problem.
        model: E[x0 | x], guided or not.
        solver: a name of SOLVERS, or a method.
        steps: N.
        points: how many, a power of 2.

    Returns:
        (points, 2) samples of x0.
    """
    by = SOLVERS[solver] if isinstance(solver, str) else solver
    return np.asarray(sample(by, model, place.start_states(points), place.nodes(steps), noise=0))


def limit(place: GuidedPlane, model: Any, solver: Solver | str, points: int = POINTS) -> Floats:
    """The limit of small steps, of the probability flow for a deterministic solver, of its own SDE for a stochastic one."""
    by = SOLVERS[solver] if isinstance(solver, str) else solver
    return carried(place, model, by if by.weak is not None else "heun", FINE, points)


def apart(a: Floats, b: Floats) -> float:
    """Mean over directions of the half turn of W1 between the projections of two point sets."""
    turns = np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    return sliced_wasserstein(a, b, np.stack([np.cos(turns), np.sin(turns)], 1), p=1)


def floor(place: GuidedPlane, solver: Solver | str) -> float:
    """How far the unguided run, in its limit, is from the class."""
    return apart(limit(place, place.given.denoised, solver), place.meant_states(1.0, POINTS))


def split_points(place: GuidedPlane, model: Any, meant: Floats, solver: Solver | str, steps: int, end: Floats, least: float) -> Compared:
    """Both parts of the distance of a guided run to what was meant.

    Args:
        place: of the plane.
        model: the guided one.
        meant: even points of what was meant.
        solver: of the run.
        steps: N.
        end: ``limit`` of the model.
        least: ``floor``.

    Returns:
        the Compared: bias, discretisation, total and floor.
    """
    out = carried(place, model, solver, steps)
    return Compared(apart(meant, end), apart(end, out), apart(meant, out), least)
