"""Figures of ``toy.studies.amplification``: growth over steps and guidance, and how much guidance each solver stands."""

from __future__ import annotations

import math
import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scorebed.solvers import SOLVERS
from scorebed.toy.figures.style import DENSITY, INK, MUTED, VERMILLION, appearances, family, headline, look
from scorebed.toy.studies.amplification import BOUND

GROWS = 1.05
"""An error that becomes so many times its size is said to grow."""
LEVELS = (10.0, 1e3, 1e6)
"""Growth at which the shade changes, above the bound."""


def _edges(values: np.ndarray) -> np.ndarray:
    """Edges of cells around values on a logarithmic axis."""
    logs = np.log(values)
    if len(logs) == 1:
        return np.exp(logs[0] + np.array([-0.1, 0.1]))
    middles = 0.5 * (logs[1:] + logs[:-1])
    return np.exp(np.concatenate([[2 * logs[0] - middles[0]], middles, [2 * logs[-1] - middles[-1]]]))


def _ticks(axis: Axes, steps: np.ndarray, scales: np.ndarray) -> None:
    shown = [n for n in (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000) if steps.min() <= n <= steps.max()]
    axis.set_xticks(shown or list(steps), [str(n) for n in (shown or steps)])
    marks = [w for w in (1, 2, 3, 5, 10, 20, 30, 50, 100) if scales.min() <= w <= scales.max()]
    axis.set_yticks(marks or list(scales), [f"{w:g}" for w in (marks or scales)])
    axis.minorticks_off()


def heat_map(table: pd.DataFrame, limits: pd.DataFrame, problem: str = "guided", bound: float = BOUND, columns: int = 4) -> Figure:
    """Safe or not over steps and guidance, a panel for each solver: how often its size an error of the first state reaches.

    Args:
        table: rows of ``amplification.measure``.
        limits: rows of ``amplification.limits`` with this bound; they are the line.
        problem: which of its problems; one with several guidance scales.

    Returns:
        the Figure, a panel for each solver.

    Raises:
        ValueError: no rows of this problem.
    """
    rows = table[table["problem"] == problem]
    if rows.empty:
        raise ValueError(f"problem = {problem!r} is not in the table; it has {', '.join(table['problem'].unique())}")
    names = list(rows["solver"].unique())
    columns = min(columns, len(names))
    lines = math.ceil(len(names) / columns)
    edges = [0.0, bound * (1 + 1e-6), *(level for level in LEVELS if level > bound), math.inf]
    norm = BoundaryNorm([*edges[:-1], 1e300], DENSITY.N)
    with look():
        figure = Figure(figsize=(2.45 * columns + 1.0, 2.35 * lines + 0.95), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for axis in axes.ravel()[len(names) :]:
            axis.set_axis_off()
        for axis, name in zip(axes.ravel(), names, strict=False):
            part = rows[rows["solver"] == name]
            growth = part.pivot(index="guidance", columns="steps", values="rise")
            steps, scales = growth.columns.to_numpy(float), growth.index.to_numpy(float)
            values = np.minimum(np.nan_to_num(growth.to_numpy(), nan=1e299, posinf=1e299), 1e299)
            axis.pcolormesh(_edges(steps), _edges(scales), values, norm=norm, cmap=DENSITY, rasterized=True)
            edge = limits[(limits["solver"] == name) & (limits["guidance"] > 0.0)]
            axis.plot(edge["steps"], edge["guidance"], color=VERMILLION, linewidth=1.6)
            axis.set(xscale="log", yscale="log", xlim=_edges(steps)[[0, -1]], ylim=_edges(scales)[[0, -1]])
            axis.set_title(name)
            axis.annotate("safe", (0.04, 0.14), xycoords="axes fraction", color=INK, fontsize=9)
            if name in SOLVERS:
                about = f"{family(SOLVERS[name])}, order {SOLVERS[name].order:g}"
                axis.annotate(about, (0.04, 0.04), xycoords="axes fraction", fontsize=7.5, color=MUTED)
            _ticks(axis, steps, scales)
        bar = figure.colorbar(
            ScalarMappable(norm, DENSITY),
            ax=axes,
            aspect=30,
            pad=0.015,
        )
        bar.set_ticks(edges[:-1], labels=["0", *(f"{level:,.0f}" for level in edges[1:-1])])
        bar.set_label("the largest that an error of the\nfirst state becomes, in its size")
        for axis in axes[-1]:
            axis.set_xlabel("steps")
        for axis in axes[:, 0]:
            axis.set_ylabel("guidance scale $w$")
        times = "its size" if bound == 1.0 else f"{bound:g} times its size"
        label = f"above the line, unsafe: an error of the first state exceeds {times}"
        at = int(limits["steps"].iloc[(limits["steps"] - 20).abs().argmin()]) if len(limits) else 0
        most = limits[limits["steps"] == at].set_index("solver")["guidance"]
        if len(most) > 1:
            said = f"At {at} steps {most.idxmax()} stands a guidance scale of {most.max():.3g}, {most.idxmin()} one of {most.min():.3g}."
            momentum = [name for name in names if name in SOLVERS and family(SOLVERS[name]) == "momentum"]
            why = " ghvb, the generalised heavy ball, is an Adams method with momentum, which buys stability with accuracy."
            headline(figure, said + (why if any(name.startswith("ghvb") for name in momentum) else ""))
        figure.legend(handles=[Line2D([], [], color=VERMILLION, linewidth=1.5, label=label)], loc="outside lower center")
    return figure


def limit_lines(table: pd.DataFrame, limits: pd.DataFrame) -> Figure:
    """Growth against steps without guidance, a panel for each such problem on which errors grow, and beside it the guidance of ``limits``.

    Methods by which no error grows are named in the panel and have no line. What only one method does is said, not drawn.

    Returns:
        the Figure, a panel for each problem without guidance.
    """
    plain = [s for s in table["problem"].unique() if table[table["problem"] == s]["guidance"].nunique() == 1]
    names = list(dict.fromkeys([*table["solver"], *limits["solver"]]))
    looks = appearances(names)
    most = {problem: table[table["problem"] == problem].groupby("solver", sort=False)["growth"].max() for problem in plain}
    grown = {problem: [name for name in names if most[problem].get(name, 0.0) > GROWS] for problem in plain}
    drawn = [problem for problem in plain if len(grown[problem]) > 1]
    steps = np.unique(table["steps"].to_numpy())
    with look():
        figure = Figure(figsize=(4.4 * (len(drawn) + 1), 4.4), layout="constrained")
        axes = figure.subplots(1, len(drawn) + 1, squeeze=False)[0]
        for axis, problem in zip(axes, drawn, strict=False):
            for name in grown[problem]:
                part = table[(table["problem"] == problem) & (table["solver"] == name)]
                axis.plot(part["steps"], np.minimum(part["growth"], 1e12), **looks[name])
            axis.set(title=f"{problem}, no guidance", ylabel="largest growth of an error between two nodes")
            axis.axhline(1.0, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
            still = [name for name in names if name not in grown[problem]]
            text = textwrap.fill(f"no growth: {', '.join(still)}", 34) if still else ""
            axis.annotate(text, (0.03, 0.97), xycoords="axes fraction", va="top", fontsize=8, color=INK)
        for name in names:
            part = limits[limits["solver"] == name]
            axes[-1].plot(part["steps"], part["guidance"], **looks[name])
        axes[-1].set(title="guided", ylabel="largest guidance scale that stays bounded")
        for axis in axes:
            axis.set(xscale="log", yscale="log", xlabel="steps")
            shown = [n for n in (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000) if steps.min() <= n <= steps.max()]
            axis.set_xticks(shown or steps, [str(n) for n in (shown or steps)])
            axis.xaxis.minorticks_off()
            low, high = axis.get_ylim()
            axis.set_ylim(low, high * (high / low) ** (0.25 if axis is not axes[-1] else 0.0))
            marks = [m * 10.0**k for k in range(-2, 13) for m in (1, 2, 3, 5) if low <= m * 10.0**k <= high]
            marks = marks if len(marks) < 12 else [m for m in marks if f"{m:e}"[0] == "1"]
            axis.set_yticks(marks, [f"{m:g}" for m in marks])
            axis.yaxis.minorticks_off()
            axis.grid(visible=True, which="major")
        axes[-1].axhline(7.5, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        axes[-1].annotate(
            "7.5, a common scale", (0.98, 7.5), xycoords=("axes fraction", "data"), ha="right", va="top", fontsize=8, color=INK
        )
        handles = [Line2D([], [], **looks[name], label=name) for name in names]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(8, len(handles)))
        lone = [p for p in plain if p not in drawn]
        but = {p: "".join(f", but by {n} ({most[p][n]:.2g} times)" for n in grown[p]) for p in lone}
        said = [f"On {p}, without guidance, no error grows{but[p]}" for p in lone]
        headline(figure, ". ".join(["Guided, errors grow above the line of a method", *said]) + ".")
    return figure
