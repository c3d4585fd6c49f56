r"""Pictures of single runs on spaces other than R^d: the exact flow, a method that follows it, and a stochastic one.

A step of a method is drawn as the geodesic that it is, in a box as the straight path with its reflections.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.interpolate import PchipInterpolator

from scorebed.analytic.heat import HeatProduct
from scorebed.solvers import SOLVERS, Node, Solver, sample
from scorebed.solvers.noise import BrownianNoise
from scorebed.solvers.space import SO3, Box, Hyperbolic, Sphere, Torus
from scorebed.toy.figures.chart import HALO, Chart
from scorebed.toy.figures.flat_charts import Ball, Disc, Square
from scorebed.toy.figures.plots import looks
from scorebed.toy.figures.space_charts import Globe, Ring, Triad
from scorebed.toy.figures.style import EXACT, INK, MUTED, look
from scorebed.toy.problems.chains import chains as radial_chains
from scorebed.toy.problems.problem import Problem
from scorebed.toy.studies.study import pick

SHOWN, WALLED = ("geodesic_heun", "geodesic_euler_maruyama"), ("geodesic_heun", "reflected_euler")
"""The methods of a figure that names none, without walls and with."""
STEPS = (8, 40)
"""Steps of a deterministic and of a stochastic method."""
ROUGH = 7
"""Of the paths of a stochastic method so many are drawn, and of the others where they end; of a triad, which is three paths, fewer."""
FEW = 6
FINE = 30
"""Nodes of the exact flow."""
SMOOTH = 12
"""Points of a drawn step."""


class Watching(Box):
    """A box that remembers the moves that are asked of it."""

    def __init__(self, box: Box) -> None:
        super().__init__(box.dim, box.lower, box.upper, box.rule)
        self.moves: list[tuple[np.ndarray, np.ndarray]] = []

    def reflect(self, x: Any, v: Any) -> tuple[Any, Any]:
        self.moves.append((np.asarray(x), np.asarray(v)))
        return super().reflect(x, v)


def geodesics(space: Any, xs: np.ndarray) -> np.ndarray:
    """States (m, n, *shape) with the points of the geodesics between them, (1 + (m − 1) SMOOTH, n, *shape)."""
    log = space.log(xs[:-1], xs[1:])
    parts = [space.exp(xs[:-1], (i / SMOOTH) * log) for i in range(SMOOTH)]
    return np.concatenate([np.stack(parts, axis=1).reshape(-1, *xs.shape[1:]), xs[-1:]])


def bounces(x: np.ndarray, v: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the reflected path of one point x that moves by v, (k, d), and those of them that lie on a wall."""
    times = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for n in range(-4, 6):
            times.append((low + n * (high - low) - x) / v)
    r = np.concatenate(times)
    r = np.unique(np.concatenate([[0.0], r[(r > 0.0) & (r < 1.0)], [1.0]]))
    y = x + r[:, None] * v
    phase = np.remainder(y - low, 2.0 * (high - low))
    path = low + np.minimum(phase, 2.0 * (high - low) - phase)
    return path, path[1:-1]


def charts(space: Any) -> list[Chart]:
    """The pictures of a space: one, or two that show different things.

    Returns:
        the Charts of the space, one or two.

    Raises:
        ValueError: a space that has no picture here.
    """
    if isinstance(space, Sphere) and space.dim == 2:
        return [Globe()]
    if isinstance(space, SO3):
        return [Ball(), Triad()]
    if isinstance(space, Torus) and space.dim == 2:
        return [Square(-math.pi, math.pi, closed=True), Ring()]
    if isinstance(space, Box) and space.dim == 2 and len({*space.lower, *space.upper}) == 2:
        return [Square(float(space.lower[0]), float(space.upper[0]), closed=False)]
    if isinstance(space, Hyperbolic) and space.dim == 2:
        return [Disc()]
    raise ValueError(f"{space} has no picture: give Sphere(2), SO3(), Torus(2), a square Box(2) or Hyperbolic(2)")


def has_chart(space: Any) -> bool:
    """Whether a space has a picture."""
    try:
        return bool(charts(space))
    except ValueError:
        return False


def trajectory(
    problem: Problem,
    solvers: Sequence[str | Solver] | None = None,
    steps: tuple[int, int] = STEPS,
    paths: int = 22,
    seed: int = 0,
) -> Figure:
    """The exact flow, and runs of ``solvers`` from the same states, over the target's density; and the marginals on the way.

    Spaces with two pictures show the same runs in both instead of the marginals. ``steps`` are those of deterministic and of stochastic
    methods.

    Returns:
        the Figure, exact flow and runs over the target's density.

    Raises:
        ValueError: a space that has no picture, or a method that does not belong on the problem.
    """
    drawn = charts(problem.space)
    named = solvers or (WALLED if problem.space.bounded else SHOWN)
    methods = [problem.bind(method) for method in pick(named, SOLVERS, "solver")]
    target, fine, x = problem.target, problem.nodes(FINE), problem.draw(paths, seed)
    exact = np.stack([np.asarray(target.flow(x, fine[0], node)) for node in fine])
    flow = geodesics(problem.space, exact)
    with look():
        columns = 1 + len(methods)
        figure = Figure(figsize=(2.9 * columns, 6.75), layout="constrained")
        rows = figure.subplots(2, columns, squeeze=False)
        for row, chart in zip(rows[2 - len(drawn) :], drawn, strict=True):
            top = _top(chart, problem)
            _panel(row[0], chart, target, None, top)
            few = FEW if isinstance(chart, Triad) else paths
            chart.lines(row[0], flow[:, :few], EXACT)
            chart.dots(row[0], exact[-1, :few], EXACT)
            row[0].set_title("exact flow")
            for axis, method in zip(row[1:], methods, strict=True):
                _panel(axis, chart, target, None, top)
                _run(axis, chart, problem, method, x, exact[-1], steps, seed)
        if len(drawn) == 1:
            for axis, i in zip(rows[0], np.linspace(0, FINE, columns).round().astype(int), strict=True):
                _panel(axis, drawn[0], target, fine[i], _top(drawn[0], problem))
                chart.lines(axis, exact[max(0, i - FINE // 3) : i + 1], EXACT)
                chart.dots(axis, exact[i], EXACT)
                axis.set_title(rf"$\sigma$ = {fine[i].sigma:.2g}", fontweight="normal")
        else:
            for axis in rows[1]:
                axis.set_title("")
        labels = {"Ball": "rotation vectors", "Triad": "where the axes go", "Square": "flat", "Ring": "embedded"}
        for row, chart in zip(rows, drawn * (2 // len(drawn)), strict=True):
            row[0].set_ylabel(labels[type(chart).__name__] if len(drawn) == 2 else "", color=INK)
        if len(drawn) == 1:
            rows[0][0].set_ylabel("marginal density\nand exact flow", color=INK)
            rows[1][0].set_ylabel("states, target density", color=INK)
        figure.supxlabel(textwrap.fill(_about(problem), int(15 * figure.get_figwidth())), fontsize=8.5, color=MUTED)
    return figure


def _about(problem: Problem) -> str:
    text = f"{problem.description}; {problem.space}, {type(problem.process).__name__}, {problem.grid_name} grid. "
    return text + "Dots: where paths end. Rings: where the exact flow ends."


def _law(target: Any, node: Node | None) -> Callable[[np.ndarray], np.ndarray]:
    """The density; of a law about the base of its space by way of the distance from there, which costs less at so many points."""
    if isinstance(target, HeatProduct):
        return lambda x: np.exp(np.asarray(target.log_prob(x, node)))
    pole, (chain,) = target.means[0], radial_chains(target)
    r = np.linspace(0.0, 9.0 if isinstance(target.space, Hyperbolic) else math.pi, 800)
    known = PchipInterpolator(r, np.exp(np.asarray(target.log_prob(chain.states(r), node))))
    return lambda x: known(np.minimum(target.space.distance(x, np.broadcast_to(pole, x.shape)), r[-1]))


def _panel(axis: Axes, chart: Chart, target: Any, node: Node | None, top: float) -> None:
    chart.density(axis, _law(target, node), top)
    chart.frame(axis)


@lru_cache(maxsize=16)
def _top(chart: Chart, problem: Problem) -> float:
    """The largest density of the target, as the chart shows it."""
    target = problem.target
    if isinstance(chart, Ball):
        return float(np.nanmax(chart.column(_law(target, None))))
    if isinstance(target, HeatProduct):
        ticks = [np.linspace(low, high, 201)[:, None] for low, high in _ends(target)]
        return float(np.prod([np.exp(f.log_prob(u)).max() for f, u in zip(target.factors, ticks, strict=True)]))
    return float(np.exp(np.asarray(target.log_prob(target.means))).max())


def _ends(target: HeatProduct) -> list[tuple[float, float]]:
    space = target.space
    return list(zip(space.lower, space.upper, strict=True)) if isinstance(space, Box) else [(-math.pi, 3.14159)] * space.dim


def _run(
    axis: Axes, chart: Chart, problem: Problem, method: Solver, x: np.ndarray, wanted: np.ndarray, steps: tuple[int, int], seed: int
) -> None:
    """Paths of a method, with dots where they end and rings where they should."""
    rough = method.weak is not None
    colour = str(looks([method])[method.name]["color"])
    watched = Watching(problem.space) if isinstance(problem.space, Box) else None
    moving = method if watched is None else method(space=watched)
    nodes = problem.nodes(steps[1] if rough else steps[0])
    noise = BrownianNoise(seed, x.shape)
    run = sample(moving, problem.target.denoised, x, nodes, terminal="none", record=True, noise=noise)
    xs = np.stack([np.asarray(u) for u in run.xs])
    width, alpha = (0.8, 0.75) if rough else (1.1, 0.9)
    few = (2 if rough else FEW) if isinstance(chart, Triad) else ROUGH if rough else len(x)
    few, ended = min(few, len(x)), FEW if isinstance(chart, Triad) else len(x)
    if watched is None or len(watched.moves) != len(xs) - 1:
        chart.lines(axis, geodesics(problem.space, xs)[:, :few], colour, width, alpha)
    else:
        for i in range(few):
            result = [bounces(a[i], v[i], watched.lower, watched.upper) for a, v in watched.moves]
            chart.lines(axis, np.concatenate([path for path, _ in result])[:, None], colour, width, alpha)
            at, _ = chart.plane(np.concatenate([wall for _, wall in result]))
            axis.plot(*at.T, "o", markersize=3.0, markerfacecolor=HALO, markeredgecolor=colour, markeredgewidth=0.7, zorder=5)
    chart.dots(axis, xs[-1, :ended], colour)
    if not rough:
        chart.dots(axis, wanted[:ended], EXACT, ring=True)
    axis.set_title(method.name, color=colour)
    said = "stochastic" if rough else f"RMS {problem.distance(xs[-1], wanted):.2g}"
    said += f", {few} of {len(x)} paths drawn" if few < len(x) else ""
    axis.annotate(f"{run.nfe} NFE, {said}", (0.02, -0.01), xycoords="axes fraction", fontsize=8, color=INK, va="top")
