r"""How a solver's paths move: geometry, commitment to a mode, the order of decisions, sensitivity, distance to the truth.

    result = trajectories(PROBLEMS["product2d"], ["ddim", "dpmpp_2m"], nfe=10)
    result.paths, result.nodes, result.directions        tidy tables
    result.runs["ddim"].x                                states, (nodes, paths, d)

``network_trajectories`` does the same for a denoiser of which nothing else is known. What the columns mean is said in ``path_measures``
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
from scorebed.solvers import SOLVERS, Denoiser, Node, Schedule, Solver, methods_on
from scorebed.toy.measure.cost import affordable
from scorebed.toy.problems.euclidean import EuclideanProblem
from scorebed.toy.problems.problem import Problem
from scorebed.toy.store.parts import Part, tabulate
from scorebed.toy.store.tasks import Report
from scorebed.toy.studies.path_measures import along, decided, measures
from scorebed.toy.studies.paths import (
    EXACT,
    Floats,
    Learned,
    Paths,
    axes_of,
    exact_paths,
    exact_sensitivity,
    factors,
    follow,
    refined_paths,
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

    Raises:
        ValueError: an unknown solver, nfe or paths below 1, unknown coordinates, or a solver that no number of steps makes affordable.
        NonFinite: a solver diverged.
    """
    chosen = _checked(solvers, nfe, paths, coordinates)
    wanted = [Part(_exact, (problem, max(FINE, nfe), paths, seed, jacobian), EXACT)] if problem.closed else []
    asked = [(method, _steps(problem, method, nfe)) for method in chosen]
    wanted += [Part(_run, (problem, method, steps, paths, seed, jacobian), method.name) for method, steps in asked]
    done = tabulate("trajectories paths", wanted, where, report, arrays=True, **how)
    names = [EXACT] * problem.closed + [method.name for method in chosen]
    counts = [max(FINE, nfe)] * problem.closed + [steps for _, steps in asked]
    runs = {name: _paths(name, problem.nodes(n), held) for name, n, held in zip(names, counts, done.values, strict=True)}
    stretch = {name: held["stretch"] for name, held in zip(names, done.values, strict=True) if np.size(held["stretch"])}
    return replace(_tables(problem, runs, stretch, coordinates), kept=done.kept, made=done.made)


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
    stretch = _stretch(problem, method, run, seed) if jacobian and method.nonlinear is None else ()
    return {
        "x": run.x,
        "denoised": run.denoised,
        "nfe": run.nfe,
        "exact": () if exact is None else exact,
        "error": error,
        "stretch": stretch,
    }


def _paths(name: str, nodes: list[Node], held: Mapping[str, Any]) -> Paths:
    """What was kept of a run; an empty array stands for what there is not."""
    exact = np.asarray(held["exact"])
    return Paths(name, nodes, held["x"], held["denoised"], int(held["nfe"]), exact if exact.size else None, float(held["error"]))


def network_trajectories(
    denoise: Denoiser,
    x: Floats,
    schedule: Schedule,
    solvers: Sequence[str | Solver] = ("ddim", "heun", "dpmpp_2m"),
    nfe: int = 20,
    *,
    grid: str = "karras",
    name: str = "network",
    description: str = "a network",
    seed: int = 0,
    coordinates: str = "x",
    jacobian: int = 0,
    finer: int = 8,
) -> Trajectories:
    """The same for any denoiser of rows (n, d), a network's by ``flat``. Modes are not known; directions are those of where paths end.

    Args:
        x: states at the schedule's ``t_max``, (paths, d), two or more.
        grid: the name of the grid.
        jacobian: along how many principal directions the sensitivity is measured, by differences; the largest singular value is then a
            lower bound. 0 leaves it out.
        finer: distances are to a run of ``heun`` with so many times the steps; 0 leaves them out.

    Raises:
        ValueError: as ``trajectories``; fewer than two paths; ``finer`` odd.
    """
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"x has shape {x.shape}: give (paths, d) with at least 2 paths")
    if finer < 0 or finer % 2:
        raise ValueError(f"finer = {finer!r} must be even, or 0 for no reference")
    chosen, blank = _checked(solvers, nfe, len(x), coordinates), Learned(denoise, x)
    problem = EuclideanProblem(name=name, description=description, make=lambda: blank, process=schedule, grid=grid, closed=False)
    known: dict[int, tuple[Floats, float]] = {}
    runs = {}
    for method in chosen:
        steps = _steps(problem, method, nfe)
        if finer and method.weak is None and steps not in known:
            known[steps] = refined_paths(SOLVERS["heun"], denoise, x, problem, steps, finer)
        truth = known.get(steps, (None, 0.0)) if method.weak is None else (None, 0.0)
        runs[method.name] = follow(method, denoise, x, problem.nodes(steps), noise=seed, exact=truth[0], error=truth[1])
    ends = next(iter(known.values()))[0][-1] if known else next(iter(runs.values())).denoised[-1]
    learned = Learned(denoise, ends)
    problem = EuclideanProblem(name=name, description=description, make=lambda: learned, process=schedule, grid=grid, closed=False)
    taken = [method for method in chosen if jacobian and method.nonlinear is None]
    stretch = {method.name: _stretch(problem, method, runs[method.name], seed, jacobian, 2e-2) for method in taken}
    return _tables(problem, runs, stretch, coordinates)


def _checked(solvers: Sequence[str | Solver], nfe: int, paths: int, coordinates: str) -> list[Solver]:
    for name, value in (("nfe", nfe), ("paths", paths)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} = {value!r} must be an integer of at least 1")
    factors([], coordinates)
    return pick(solvers, methods_on(), "solver")


def _steps(problem: Problem, method: Solver, nfe: int) -> int:
    """The most steps that ``nfe`` pays for; a method without a Plan takes as many steps as evaluations were given."""
    steps = affordable(problem, method, nfe) or (nfe if method.nonlinear is not None else 0)
    if steps < 1:
        raise ValueError(f"nfe = {nfe} pays for no step of {method.name}: give more")
    return steps


def _stretch(problem: Problem, method: Solver, run: Paths, seed: int, wide: int = WIDE, step: float | None = None) -> Floats:
    """The largest singular value of the Jacobian along a run."""
    target = problem.target
    exact = getattr(target, "posterior_covariance", None)
    basis = None if exact is not None and problem.d <= wide else axes_of(target)[2][:wide]
    extra = {} if step is None else {"step": step}
    return largest(jacobians(method, target.denoised, run.x[0], run.nodes, covariance=exact, directions=basis, noise=seed, **extra))


def _tables(problem: Problem, runs: dict[str, Paths], stretch: Mapping[str, Floats], coordinates: str) -> Trajectories:
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
