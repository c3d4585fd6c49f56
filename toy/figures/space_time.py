"""Paths on a line over the density in space and time, a panel for each solver."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from scorebed.solvers import Node
from scorebed.toy.figures.style import DENSITY, EXACT, MUTED, look
from scorebed.toy.figures.trajectories import NOISE_LEVEL, about, styles
from scorebed.toy.studies.paths import EXACT as FLOW
from scorebed.toy.studies.trajectories import Trajectories

_RING: Any = {
    "marker": "o",
    "markersize": 4.6,
    "markerfacecolor": "none",
    "markeredgecolor": EXACT,
    "markeredgewidth": 0.7,
    "linestyle": "none",
}


def _unit(node: Node) -> float:
    return float(np.hypot(node.alpha, node.sigma))


def density_in_time(target: Any, nodes: list[Node], box: float, points: int = 241) -> tuple[np.ndarray, np.ndarray]:
    """Ticks of u = x/(α² + σ²)^{1/2} in [−box, box] and the density of u at every node, (points, nodes), each scaled to a peak of 1."""
    ticks = np.linspace(-box, box, points)
    values = np.stack([np.exp(np.asarray(target.log_prob(_unit(n) * ticks[:, None], n))) for n in nodes], axis=1)
    return ticks, values / values.max(axis=0)


def space_time(result: Trajectories, shown: int = 24) -> Figure:
    """The density of every marginal on a line, and the paths of each solver through it, a panel for each.

    Returns:
        the figure, one panel for each solver.

    Raises:
        ValueError: a target that is not one-dimensional.
    """
    problem = result.problem
    if problem.d != 1:
        raise ValueError(f"{problem.name} has d = {problem.d}: space and time fit into one picture for d = 1")
    looks, fine = styles(result), problem.nodes(120, "uniform_lam")
    runs = {name: run.states("unit") for name, run in result.runs.items()}
    box = 1.12 * max(float(np.abs(p[:, :shown]).max()) for p in runs.values())
    ticks, density = density_in_time(problem.target, fine, box)
    lams = np.array([n.lam for n in fine])
    columns = min(3, len(runs))
    lines = -(-len(runs) // columns)
    with look():
        figure = Figure(figsize=(3.7 * columns, 2.9 * lines + 0.5), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for axis in axes.ravel()[len(runs) :]:
            axis.set_axis_off()
        for axis, (name, points) in zip(axes.ravel(), runs.items(), strict=False):
            run = result.runs[name]
            axis.pcolormesh(lams, ticks, np.sqrt(density), cmap=DENSITY, vmin=0.0, vmax=1.6, shading="nearest", rasterized=True)
            at = [n.lam for n in run.nodes]
            colour = looks[name]["color"]
            axis.plot(at, points[:, :shown, 0], color=colour, linewidth=0.9, alpha=0.85)
            if name != FLOW:
                axis.plot(at, points[:, :shown, 0], ".", color=colour, markersize=2.4)
                if run.exact is not None:
                    axis.plot(
                        np.full(shown, at[-1])[: points.shape[1]], run.exact[-1, :shown, 0] / _unit(run.nodes[-1]), clip_on=False, **_RING
                    )
            axis.set_title(name if name == FLOW else f"{name}, {run.nfe} NFE", color=colour)
            axis.set(xlim=(lams[0], lams[-1]), ylim=(-box, box))
        for axis in axes.ravel()[max(0, len(runs) - columns) : len(runs)]:  # the lowest of each column
            axis.set_xlabel(NOISE_LEVEL)
            axis.tick_params(labelbottom=True)
        for axis in axes[:, 0]:
            axis.set_ylabel(r"$x_t\,/\sqrt{\alpha^2+\sigma^2}$")
        text = f"{about(result)}. Shades: the marginal density, each scaled to its peak. Rings: where the exact flow ends."
        figure.supxlabel(textwrap.fill(text, int(13 * figure.get_figwidth())), fontsize=8.5, color=MUTED)
    return figure
