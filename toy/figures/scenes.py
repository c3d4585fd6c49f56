"""Pictures of single runs: paths over densities in the plane, and digits on their way from noise."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scorebed.solvers import SOLVERS, Node, Solver, sample
from scorebed.toy.figures.style import DENSITY, EXACT, FAMILIES, INK, MUTED, family, look
from scorebed.toy.measure.convergence import rms
from scorebed.toy.measure.cost import affordable
from scorebed.toy.problems.problem import Problem
from scorebed.toy.studies.study import pick

HALO = "#ffffff"
MEANS = r"denoised $E[x_0\,|\,x_t]$"


def _density(axis: Axes, target: Any, node: Node | None, box: float, fade: float = 1.0) -> None:
    """Density of the target, or of its marginal at a node, on a square."""
    ticks = np.linspace(-box, box, 161)
    points = np.stack(np.meshgrid(ticks, ticks), -1)
    values = np.exp(np.asarray(target.log_prob(points.reshape(-1, 2), node)).reshape(points.shape[:2]))
    extent = (-box, box, -box, box)
    axis.imshow(np.sqrt(values), extent=extent, origin="lower", cmap=DENSITY, alpha=fade, interpolation="bilinear", rasterized=True)
    axis.set(xlim=(-box, box), ylim=(-box, box), xticks=[], yticks=[], aspect="equal")
    for side in axis.spines.values():
        side.set(visible=True, color="#d0d0d0")


def _paths(axis: Axes, xs: np.ndarray, colour: str, rough: bool = False) -> None:
    """Paths of shape (nodes, samples, 2), with dots where they end; ``rough`` ones are drawn thin."""
    axis.plot(xs[:, :, 0], xs[:, :, 1], color=colour, linewidth=0.6 if rough else 1.1, alpha=0.55 if rough else 0.85)
    axis.plot(xs[-1, :, 0], xs[-1, :, 1], "o", color=colour, markersize=3.6, markeredgecolor=HALO, markeredgewidth=0.5, zorder=5)


def _say(axis: Axes, text: str) -> None:
    box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5}
    axis.annotate(text, (0.03, 0.03), xycoords="axes fraction", fontsize=8, color=INK, bbox=box)


def trajectory(
    problem: Problem,
    solvers: Sequence[str | Solver] = ("ddim", "heun", "dpmpp_2m", "ddpm"),
    nfe: int = 10,
    paths: int = 28,
    seed: int = 0,
    shown: int = 28,
) -> Figure:
    """Marginals with the exact flow through them, and the paths and denoised paths of ``solvers`` beside the exact ones; 2-D targets only.

    The RMS that is written down is that of all ``paths``; the first ``shown`` are drawn.

    Returns:
        the Figure, exact marginals and the paths of ``solvers``.

    Raises:
        ValueError: a target that is not two-dimensional, or without a closed flow.
    """
    if problem.d != 2 or not problem.closed:
        raise ValueError(f"{problem.name} has d = {problem.d}: the trajectory figure needs a target in the plane with a closed flow")
    target, methods = problem.target, pick(solvers, SOLVERS, "solver")
    x = problem.draw(paths, seed)
    fine = problem.nodes(60)
    exact = np.stack([np.asarray(target.flow(x, fine[0], node)) for node in fine])
    spread = np.sqrt(np.trace(np.asarray(target.covariance())))
    box = float(np.abs(np.asarray(target.mean())).max() + 1.9 * spread)
    columns = 1 + len(methods)
    with look():
        figure = Figure(figsize=(2.35 * columns, 7.75), layout="constrained")
        top, middle, bottom = figure.subplots(3, columns)
        for axis, i in zip(top, np.linspace(0, 60, columns).round().astype(int), strict=True):
            _density(axis, target, fine[i], box)
            _paths(axis, exact[max(0, i - 12) : i + 1, :shown], EXACT)
            axis.set_title(f"t = {fine[i].t:.2f}", fontweight="normal")
        denoised = np.stack([np.asarray(target.denoised(u, node)) for u, node in zip(exact, fine, strict=True)])
        _column(middle[0], bottom[0], target, box, exact[:, :shown], denoised[:, :shown], EXACT)
        middle[0].set_title("exact flow")
        for axis, below, method in zip(middle[1:], bottom[1:], methods, strict=True):
            nodes = problem.nodes(affordable(problem, method, nfe) or 1)
            run = sample(method, target.denoised, x, nodes, terminal="none", record=True, noise=seed)
            seen = np.stack([*run.denoised, np.asarray(target.denoised(run.x, nodes[-1]))])
            colour = str(FAMILIES[family(method)][0])
            _column(axis, below, target, box, np.stack(run.xs)[:, :shown], seen[:, :shown], colour, rough=method.weak is not None)
            axis.set_title(method.name, color=colour)
            _say(axis, f"{run.nfe} NFE" + (f", RMS {rms(run.x - exact[-1]):.2g}" if method.weak is None else ", stochastic"))
            if method.weak is None:  # where these states should have ended
                ring = {"markerfacecolor": "none", "markeredgecolor": EXACT, "markeredgewidth": 0.7}
                axis.plot(*exact[-1, :shown].T, "o", markersize=4.6, zorder=6, **ring)
        rows = {"marginal density\nand exact flow": top, "states $x_t$": middle, MEANS: bottom}
        for text, axes in rows.items():
            axes[0].set_ylabel(text, color=INK)
        text = f"{_about(problem)}. Dots: where paths end. Rings: where the exact flow ends."
        figure.supxlabel(textwrap.fill(text, int(14 * figure.get_figwidth())), fontsize=8.5, color=MUTED)
    return figure


def _about(problem: Problem) -> str:
    return f"{problem.description}; {type(problem.process).__name__}, {problem.grid_name} grid"


def _column(
    states: Axes, means: Axes, target: Any, box: float, xs: np.ndarray, denoised: np.ndarray, colour: str, rough: bool = False
) -> None:
    for axis, path in ((states, xs), (means, denoised)):
        _density(axis, target, None, box, fade=0.85)
        _paths(axis, path, colour, rough)


def _mosaic(images: np.ndarray, shape: tuple[int, int], gap: int = 1) -> np.ndarray:
    """Images (rows, columns, height · width) as one array with white gaps."""
    (rows, columns), (height, width) = images.shape[:2], shape
    out = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan)
    for i in range(rows):
        for j in range(columns):
            out[i * (height + gap) :, j * (width + gap) :][:height, :width] = images[i, j].reshape(shape)
    return out


def images(problem: Problem, solver: str | Solver = "dpmpp_2m", nfe: int = 20, shown: int = 8, columns: int = 8, seed: int = 0) -> Figure:
    """Pictures on their way from noise, states on the left and denoised means on the right, a line for each of ``shown`` nodes.

    Returns:
        the Figure, states left and denoised means right, a line for each node shown.

    Raises:
        ValueError: a problem whose states are no pictures.
    """
    (method,) = pick([solver], SOLVERS, "solver")
    shape = getattr(problem, "image", None)
    if shape is None:
        raise ValueError(f"{problem.name} has image = None, its states are no pictures: give a problem with image = (rows, columns)")
    nodes = problem.nodes(affordable(problem, method, nfe - 1) or 1)
    x = problem.draw(columns, seed)
    run = sample(method, problem.target.denoised, x, nodes, record=True, noise=seed)
    # most happens where noise and data are of one size: the first node, the last, and lines evenly between rho = 10 and 0.2
    wanted = [nodes[0].rho, *np.geomspace(10.0, 0.2, max(shown - 2, 0)), nodes[-1].rho]
    rows = np.unique([int(np.argmin([abs(np.log(node.rho / rho)) for node in nodes])) for rho in wanted])
    states = np.stack([run.xs[i] / np.hypot(nodes[i].alpha, nodes[i].sigma) for i in rows])
    means = np.stack([run.denoised[i] for i in rows])
    with look():
        figure = Figure(figsize=(9.6, 4.2 * len(rows) / columns + 0.9), layout="constrained")
        for axis, shown_images, title in zip(figure.subplots(1, 2), (states, means), ("noisy state $x_t$", MEANS), strict=True):
            axis.imshow(_mosaic(shown_images, shape), cmap="gray_r", vmin=-1, vmax=1, interpolation="nearest")
            axis.set_title(title, fontweight="normal")
            axis.set_xticks([])
            levels = [f"{float(f'{nodes[i].rho:.2g}'):g}" for i in rows]
            axis.set_yticks([i * (shape[0] + 1) + shape[0] / 2 - 0.5 for i in range(len(rows))], levels)
            axis.tick_params(length=0)
            for spine in axis.spines.values():
                spine.set_visible(False)
        figure.axes[0].set_ylabel(r"noise level $\sigma/\alpha$")
        figure.supxlabel(f"{_about(problem)}; {method.name}, {run.nfe} NFE", fontsize=8.5, color=MUTED)
    return figure
