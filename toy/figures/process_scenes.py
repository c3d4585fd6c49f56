"""Pictures of linear processes: paths in phase space, bridges between their ends, frames of a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scorebed.solvers import SOLVERS, Solver, sample
from scorebed.solvers.state import parts
from scorebed.toy.figures.style import DENSITY, EXACT, INK, appearances, look
from scorebed.toy.problems.problem import Problem
from scorebed.toy.studies.study import pick

_FINE = 240


def has_picture(problem: Problem) -> bool:
    """Whether ``paths`` draws this problem: a linear process of one coordinate, bridges and phase space of two components."""
    process = problem.process
    return problem.d == 1 and (process.kind in ("bridge", "sequence") or (process.kind == "phase" and len(process.state) == 2))


def paths(problem: Problem, solvers: Sequence[str | Solver] = ("ddim", "ddpm"), steps: int = 20, seed: int = 0) -> Figure:
    """Fine paths of flow and reverse SDE, and those of the ``solvers`` in a few steps, over the density.

    Returns:
        the Figure, paths of flow, SDE and solvers over the density.

    Raises:
        ValueError: a problem of another kind, or of more than one coordinate.
    """
    if not has_picture(problem):
        raise ValueError(f"{problem.name}: d = {problem.d} on a {problem.process.kind} process has no such picture: give d = 1")
    draw = {"phase": _phase, "bridge": _bridge, "sequence": _frames}[problem.process.kind]
    methods = [problem.bind(method) for method in pick(solvers, SOLVERS, "solver")]
    shown: list[tuple[str, Solver, int]] = [
        ("flow, fine steps", SOLVERS["rk4_t"], _FINE),
        ("reverse SDE, fine steps", SOLVERS["ddpm"], _FINE),
    ]
    shown += [(f"{method.name}, {steps} steps", method, steps) for method in methods]
    colours = appearances(method for _, method, _ in shown)
    with look():
        figure = Figure(figsize=(3.4 * len(shown), 3.6), layout="constrained")
        for axis, (title, method, n) in zip(np.atleast_1d(figure.subplots(1, len(shown), sharex=True, sharey=True)), shown, strict=True):
            here = _from_the_pin(problem) if method.weak is not None else problem
            nodes, count = here.nodes(n), 6 if n == _FINE and method.weak is not None and problem.process.kind == "phase" else 24
            run = sample(method, problem.model, here.draw(count, seed), nodes, noise=seed, terminal="none", record=True)
            states = np.stack([np.stack(parts(x))[..., 0] for x in run.xs])  # (nodes, components, samples)
            draw(axis, problem, nodes, states, EXACT if n == _FINE else colours[method.name]["color"])
            axis.set_title(title, fontweight="normal")
        return figure


def _from_the_pin(problem: Any) -> Any:
    """The problem begun at the pinned end, where it has one and only stochastic methods can begin."""
    return replace(problem, start=problem.process.t_max) if hasattr(problem.target, "pin") else problem


def _phase(axis: Axes, problem: Problem, nodes: Sequence[Any], states: np.ndarray, colour: str) -> None:
    """Paths in the plane of x and v, over the density at the last node, from open dots to full ones."""
    target, end = problem.target, nodes[-1]
    x, v = (np.linspace(-1.15, 1.15, 121) * np.abs(states[:, i]).max() for i in (0, 1))
    grid = np.meshgrid(x, v)
    density = np.exp(target.log_prob(tuple(g[..., None] for g in grid), end))
    axis.imshow(np.cbrt(density), extent=(x[0], x[-1], v[0], v[-1]), origin="lower", cmap=DENSITY, aspect="auto", interpolation="bilinear")
    axis.plot(states[:, 0], states[:, 1], color=colour, linewidth=0.7, alpha=0.6)
    axis.plot(states[0, 0], states[0, 1], "o", markersize=3, markerfacecolor="white", markeredgecolor=INK, markeredgewidth=0.6)
    axis.plot(states[-1, 0], states[-1, 1], "o", markersize=3.5, color=colour, markeredgecolor="white", markeredgewidth=0.4)
    axis.set(xlabel="x", ylabel="v")


def _bridge(axis: Axes, problem: Problem, nodes: Sequence[Any], states: np.ndarray, colour: str) -> None:
    """Paths over t, over the density at each t."""
    _over_time(axis, problem, nodes, states[:, 0], colour)
    axis.set(xlabel="t", ylabel="x", xlim=(0.0, 1.0))


def _over_time(axis: Axes, problem: Problem, nodes: Sequence[Any], x: np.ndarray, colour: str) -> None:
    process, top = problem.process, 1.25 * float(np.abs(x).max())
    ticks, levels = np.linspace(-top, top, 161), np.linspace(0.004, 0.996, 100) * process.t_max
    columns = np.stack([np.exp(problem.target.log_prob(ticks[:, None], process.node(t))) for t in levels], axis=1)
    columns /= columns.max(axis=0)
    axis.imshow(columns, extent=(0.0, process.t_max, -top, top), origin="lower", cmap=DENSITY, aspect="auto", interpolation="bilinear")
    axis.plot([node.t for node in nodes], x, color=colour, linewidth=0.7, alpha=0.7)
    axis.plot(nodes[-1].t, x[-1][None], "o", markersize=3.5, color=colour, markeredgecolor="white", markeredgewidth=0.4, clip_on=False)
    pin = getattr(problem.target, "pin", None)
    if pin is not None:
        axis.plot(process.t_max, pin[0], "o", markersize=6, color=INK, clip_on=False)


def _frames(axis: Axes, problem: Problem, nodes: Sequence[Any], states: np.ndarray, colour: str) -> None:
    """Every sequence frame by frame: faint at the first node, full at the last, the mean of each component behind."""
    frames = np.arange(states.shape[1])
    for mean, weight in zip(problem.target.means, problem.target.weights, strict=True):
        axis.plot(frames, mean, color="#9fc1da", linewidth=14.0 * weight, solid_capstyle="round", zorder=1)
    axis.plot(frames, states[0], color="#bbbbbb", linewidth=0.5, alpha=0.6, zorder=2)
    axis.plot(frames, states[-1], color=colour, linewidth=0.9, alpha=0.8, zorder=3)
    axis.set(xlabel="frame", ylabel="x", xticks=frames)
