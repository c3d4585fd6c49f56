r"""How a solver's paths move: geometry, commitment to a mode, the order of decisions, sensitivity, distance to the truth.

    result = trajectories(PROBLEMS["product2d"], ["ddim", "dpmpp_2m"], nfe=10)
    result.paths, result.nodes, result.directions        tidy tables
    result.runs["ddim"].x                                states, (nodes, paths, d)

``network_trajectories.py`` does the same for a denoiser of which nothing else is known. What the columns mean is said in ``path_measures``
and ``toy.measure.curves``; figures are in ``toy.figures.trajectories`` and ``toy.figures.animate``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scorebed.analytic import RotatedProduct
from scorebed.solvers import Node, Solver, methods_on
from scorebed.toy.measure.cost import affordable
from scorebed.toy.problems.problem import Problem
from scorebed.toy.store.parts import Part, tabulate
from scorebed.toy.store.tasks import Report
from scorebed.toy.studies.path_measures import along, decided, measures
from scorebed.toy.studies.paths import (
    EXACT,
    Floats,
    Paths,
    axes_of,
    exact_paths,
    exact_sensitivity,
    factors,
    follow,
)
from scorebed.toy.studies.sensitivity import jacobians, largest
from scorebed.toy.studies.study import pick

WIDE = 64
"""Up to this dimension Jacobians are whole; above it they are taken along this many principal directions of the data."""


@dataclass(frozen=True)
class Trajectories:
    """Everything about the paths of several solvers on one problem.

    Attributes:
        runs: the paths, by solver; the exact flow first, where there is one.
        paths, nodes, directions: the rows of ``measures``, ``along`` and ``decided``.
        kept, made: how many runs were in the store, and how many were followed now.
    """

    problem: Problem
    coordinates: str
    runs: dict[str, Paths]
    paths: pd.DataFrame
    nodes: pd.DataFrame
    directions: pd.DataFrame
    kept: int = 0
    made: int = 0


DEFAULT = ("ddim", "heun", "dpmpp_2m", "ddpm")
FINE = 60
"""Steps in which the exact flow is recorded, at least."""


def trajectories(
    problem: Problem,
    solvers: Sequence[str | Solver] = DEFAULT,
    nfe: int = 20,
    paths: int = 32,
    seed: int = 0,
    coordinates: str = "x",
    jacobian: bool = True,
    report: Report | None = None,
    where: str | Path | None = None,
    **how: Any,
) -> Trajectories:
    """Follow ``paths`` states of a problem by each solver, with at most ``nfe`` evaluations, and by the exact flow where it is closed.

    Deterministic solvers are measured against the exact flow from the same state at every node; where the flow is not closed it is
    integrated from node to node. ``jacobian=False`` leaves the sensitivity out. ``where`` is the store that keeps the paths of each solver,
    ``how`` who follows them, as ``store.work.work`` says.

    Returns:
        the Trajectories: tables of the runs, with counts of kept and made.

    Raises:
        ValueError: an unknown solver, nfe or paths below 1, unknown coordinates, or a solver that no number of steps makes affordable.
        NonFinite: a solver diverged.
    """
    chosen = checked(solvers, nfe, paths, coordinates)
    wanted = [Part(_exact, (problem, max(FINE, nfe), paths, seed, jacobian), EXACT)] if problem.closed else []
    asked = [(method, steps_for(problem, method, nfe)) for method in chosen]
    wanted += [Part(_run, (problem, method, steps, paths, seed, jacobian), method.name) for method, steps in asked]
    done = tabulate("trajectories paths", wanted, where, report, arrays=True, **how)
    names = [EXACT] * problem.closed + [method.name for method in chosen]
    counts = [max(FINE, nfe)] * problem.closed + [steps for _, steps in asked]
    runs = {name: held_paths(name, problem.nodes(n), held) for name, n, held in zip(names, counts, done.values, strict=True)}
    stretch = {name: held["stretch"] for name, held in zip(names, done.values, strict=True) if np.size(held["stretch"])}
    return replace(tables(problem, runs, stretch, coordinates), kept=done.kept, made=done.made)


def _exact(problem: Problem, steps: int, paths: int, seed: int, jacobian: bool) -> dict[str, Any]:
    nodes, target = problem.nodes(steps), problem.target
    states, error = exact_paths(problem, problem.draw(paths, seed), nodes)
    seen = np.stack([np.asarray(target.denoised(u, node)) for u, node in zip(states, nodes, strict=True)])
    stretch = exact_sensitivity(target, states, nodes) if jacobian else ()
    return {"x": states, "denoised": seen, "nfe": 0, "exact": states, "error": error, "stretch": stretch}


def _run(problem: Problem, method: Solver, steps: int, paths: int, seed: int, jacobian: bool) -> dict[str, Any]:
    x, nodes = problem.draw(paths, seed), problem.nodes(steps)
    exact, error = exact_paths(problem, x, nodes) if method.weak is None else (None, 0.0)
    run = follow(method, problem.target.denoised, x, nodes, noise=seed, exact=exact, error=error)
    stretch = stretch_along(problem, method, run, seed) if jacobian and method.nonlinear is None else ()
    return {
        "x": run.x,
        "denoised": run.denoised,
        "nfe": run.nfe,
        "exact": () if exact is None else exact,
        "error": error,
        "stretch": stretch,
    }


def held_paths(name: str, nodes: list[Node], held: Mapping[str, Any]) -> Paths:
    """What was kept of a run; an empty array stands for what there is not."""
    exact = np.asarray(held["exact"])
    return Paths(name, nodes, held["x"], held["denoised"], int(held["nfe"]), exact if exact.size else None, float(held["error"]))


def checked(solvers: Sequence[str | Solver], nfe: int, paths: int, coordinates: str) -> list[Solver]:
    """The methods of these names; what the study cannot do is refused.

    Returns:
        the Solvers, in order.

    Raises:
        ValueError: nfe or paths below 1, an unknown solver or unknown coordinates.
    """
    for name, value in (("nfe", nfe), ("paths", paths)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} = {value!r} must be an integer of at least 1")
    factors([], coordinates)
    return pick(solvers, methods_on(), "solver")


def steps_for(problem: Problem, method: Solver, nfe: int) -> int:
    """The most steps that ``nfe`` pays for; a method without a Plan takes as many steps as evaluations were given."""
    steps = affordable(problem, method, nfe) or (nfe if method.nonlinear is not None else 0)
    if steps < 1:
        raise ValueError(f"nfe = {nfe} pays for no step of {method.name}: give more")
    return steps


def stretch_along(problem: Problem, method: Solver, run: Paths, seed: int, wide: int = WIDE, step: float | None = None) -> Floats:
    """The largest singular value of the Jacobian along a run."""
    target = problem.target
    exact = getattr(target, "posterior_covariance", None)
    basis = None if exact is not None and problem.d <= wide else axes_of(target)[2][:wide]
    extra = {} if step is None else {"step": step}
    return largest(jacobians(method, target.denoised, run.x[0], run.nodes, covariance=exact, directions=basis, noise=seed, **extra))


def tables(problem: Problem, runs: dict[str, Paths], stretch: Mapping[str, Floats], coordinates: str) -> Trajectories:
    """The tables of these runs, and of what their Jacobians stretch."""
    target = problem.target
    mean, variances, directions = axes_of(target)
    law = target if isinstance(target, RotatedProduct) or hasattr(target, "posterior") else None
    return Trajectories(
        problem,
        coordinates,
        runs,
        pd.concat([measures(run, law, coordinates) for run in runs.values()], ignore_index=True),
        pd.concat([along(run, law, coordinates, stretch.get(name)) for name, run in runs.items()], ignore_index=True),
        pd.concat([decided(run, mean, variances, directions) for run in runs.values()], ignore_index=True),
    )
