"""The paths of solvers on a network, or on any denoiser of which nothing else is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scorebed.solvers import SOLVERS, Denoiser, Node, Schedule, Solver
from scorebed.toy.problems.euclidean import EuclideanProblem
from scorebed.toy.store.parts import Part, tabulate
from scorebed.toy.store.tasks import Report
from scorebed.toy.studies.paths import Floats, Learned, Paths, follow, refined_paths
from scorebed.toy.studies.trajectories import Trajectories, checked, held_paths, steps_for, stretch_along, tables


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
    where: str | Path | None = None,
    report: Report | None = None,
    **how: Any,
) -> Trajectories:
    """``trajectories`` for any denoiser of rows (n, d), a network's by ``flat``. Modes are unknown, directions those of where they end.

    Args:
        x: states at the schedule's ``t_max``, (paths, d), two or more.
        grid: the name of the grid.
        jacobian: along how many principal directions the sensitivity is measured, by differences; the largest singular value is then a
            lower bound. 0 leaves it out.
        finer: distances are to a run of ``heun`` with so many times the steps; 0 leaves them out.
        where, report, how: as in ``trajectories``; a store knows a pretrained network by its name, ``paths.Named``.

    Returns:
        the Trajectories: tables of the runs, with counts of kept and made.

    Raises:
        ValueError: as ``trajectories``; fewer than two paths; ``finer`` odd.
    """
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"x has shape {x.shape}: give (paths, d) with at least 2 paths")
    if finer < 0 or finer % 2:
        raise ValueError(f"finer = {finer!r} must be even, or 0 for no reference")
    chosen, blank = checked(solvers, nfe, len(x), coordinates), Learned(denoise, x)
    problem = EuclideanProblem(name=name, description=description, make=lambda: blank, process=schedule, grid=grid, closed=False)

    def all_of(call: Any, wanted: list[tuple[Any, ...]]) -> list[Mapping[str, Any]]:
        done = tabulate("trajectories network", [Part(call, args, args[0].name) for args in wanted], where, report, arrays=True, **how)
        tally[0], tally[1] = tally[0] + done.kept, tally[1] + done.made
        return list(done.values)

    tally, asked = [0, 0], [(method, problem.nodes(steps_for(problem, method, nfe))) for method in chosen]
    fine = list({len(nodes): nodes for method, nodes in asked if finer and method.weak is None}.values())
    refined = all_of(_refined, [(SOLVERS["heun"], denoise, x, nodes, schedule, grid, finer) for nodes in fine])
    known = {len(nodes): held for nodes, held in zip(fine, refined, strict=True)}
    followed = all_of(_followed, [(method, denoise, x, nodes, seed) for method, nodes in asked])
    runs = {}
    for (method, nodes), held in zip(asked, followed, strict=True):
        truth = known.get(len(nodes)) if method.weak is None else None
        runs[method.name] = held_paths(method.name, nodes, {**held, **(truth or {"exact": (), "error": 0.0})})
    ends = next(iter(known.values()))["exact"][-1] if known else next(iter(runs.values())).denoised[-1]
    learned = Learned(denoise, ends)
    problem = EuclideanProblem(name=name, description=description, make=lambda: learned, process=schedule, grid=grid, closed=False)
    taken = [method for method in chosen if jacobian and method.nonlinear is None]
    stretched = all_of(_stretched, [(method, denoise, ends, runs[method.name], schedule, grid, seed, jacobian) for method in taken])
    stretch = {method.name: held["stretch"] for method, held in zip(taken, stretched, strict=True)}
    return replace(tables(problem, runs, stretch, coordinates), kept=tally[0], made=tally[1])


def _learned(denoise: Denoiser, states: Floats, schedule: Schedule, grid: str) -> EuclideanProblem:
    law = Learned(denoise, states)
    return EuclideanProblem(name="network", make=lambda: law, process=schedule, grid=grid, closed=False)


def _refined(method: Solver, denoise: Denoiser, x: Floats, nodes: list[Node], schedule: Schedule, grid: str, finer: int) -> dict[str, Any]:
    states, error = refined_paths(method, denoise, x, _learned(denoise, x, schedule, grid), len(nodes) - 1, finer)
    return {"exact": states, "error": error}


def _followed(method: Solver, denoise: Denoiser, x: Floats, nodes: list[Node], seed: int) -> dict[str, Any]:
    run = follow(method, denoise, x, nodes, noise=seed)
    return {"x": run.x, "denoised": run.denoised, "nfe": run.nfe}


def _stretched(
    method: Solver, denoise: Denoiser, ends: Floats, run: Paths, schedule: Schedule, grid: str, seed: int, wide: int
) -> dict[str, Any]:
    return {"stretch": stretch_along(_learned(denoise, ends, schedule, grid), method, run, seed, wide, 2e-2)}
