"""Figures of ``toy.studies.amplification``: growth over steps and guidance, and how much guidance each solver stands."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scorebed.toy.figures.style import DENSITY, INK, VERMILLION, appearances, look
from scorebed.toy.studies.amplification import BOUND

_TOP = 1e6  # growth from which on the colour no longer changes


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
    """Growth over steps and guidance, a panel for each solver; above the line an error of the first state is larger at some node later.

    Args:
        table: rows of ``amplification.measure``.
        limits: rows of ``amplification.limits`` with this bound; they are the line.
        problem: which of its problems; one with several guidance scales.

    Raises:
        ValueError: no rows of this problem.
    """
    rows = table[table["problem"] == problem]
    if rows.empty:
        raise ValueError(f"problem = {problem!r} is not in the table; it has {', '.join(table['problem'].unique())}")
    names = list(rows["solver"].unique())
    columns = min(columns, len(names))
    lines = math.ceil(len(names) / columns)
    norm = LogNorm(1.0, _TOP)
    with look():
        figure = Figure(figsize=(2.45 * columns + 1.0, 2.35 * lines + 0.95), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for axis in axes.ravel()[len(names) :]:
            axis.set_axis_off()
        for axis, name in zip(axes.ravel(), names, strict=False):
            part = rows[rows["solver"] == name]
            growth = part.pivot(index="guidance", columns="steps", values="growth")
            steps, scales = growth.columns.to_numpy(float), growth.index.to_numpy(float)
            values = np.clip(growth.to_numpy(), 1.0, _TOP)
            axis.pcolormesh(_edges(steps), _edges(scales), values, norm=norm, cmap=DENSITY, rasterized=True)
            edge = limits[(limits["solver"] == name) & (limits["guidance"] > 0.0)]
            axis.plot(edge["steps"], edge["guidance"], color=VERMILLION, linewidth=1.6)
            axis.set(xscale="log", yscale="log", xlim=_edges(steps)[[0, -1]], ylim=_edges(scales)[[0, -1]])
            axis.set_title(name)
            _ticks(axis, steps, scales)
        bar = figure.colorbar(ScalarMappable(norm, DENSITY), ax=axes, aspect=30, pad=0.015, extend="max")
        bar.set_label("largest growth of an error\nbetween any two nodes")
        for axis in axes[-1]:
            axis.set_xlabel("steps")
        for axis in axes[:, 0]:
            axis.set_ylabel("guidance scale $w$")
        times = "its size" if bound == 1.0 else f"{bound:g} times its size"
        label = f"above the line an error of the first state grows beyond {times}"
        figure.legend(handles=[Line2D([], [], color=VERMILLION, linewidth=1.5, label=label)], loc="outside lower center")
    return figure


def limit_lines(table: pd.DataFrame, limits: pd.DataFrame) -> Figure:
    """Growth against steps without guidance, a panel for each such problem of ``table``, and beside it the guidance of ``limits``."""
    plain = [s for s in table["problem"].unique() if table[table["problem"] == s]["guidance"].nunique() == 1]
    names = list(dict.fromkeys([*table["solver"], *limits["solver"]]))
    looks = appearances(names)
    with look():
        figure = Figure(figsize=(3.9 * (len(plain) + 1), 4.3), layout="constrained")
        axes = figure.subplots(1, len(plain) + 1, squeeze=False)[0]
        for axis, problem in zip(axes, plain, strict=False):
            for name in names:
                part = table[(table["problem"] == problem) & (table["solver"] == name)]
                axis.plot(part["steps"], np.minimum(part["growth"], 1e12), **looks[name])
            axis.set(title=f"{problem}, no guidance", xscale="log", xlabel="steps", ylabel="largest growth between two nodes")
            axis.set_yscale("log")
            low, high = axis.get_ylim()
            axis.set_ylim(min(low, 0.8), max(high, 12.0))
        for name in names:
            part = limits[limits["solver"] == name]
            axes[-1].plot(part["steps"], part["guidance"], **looks[name])
        axes[-1].set(title="guided", xscale="log", yscale="log", xlabel="steps", ylabel="largest guidance scale that stays bounded")
        for axis in axes:
            steps = np.unique(table["steps"].to_numpy())
            shown = [n for n in (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000) if steps.min() <= n <= steps.max()]
            axis.set_xticks(shown or steps, [str(n) for n in (shown or steps)])
            axis.xaxis.minorticks_off()
            axis.yaxis.set_major_formatter("{x:g}")
            axis.grid(visible=True, which="major")
        axes[-1].axhline(7.5, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        axes[-1].annotate(
            "7.5, a common scale", (0.98, 7.5), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8, color=INK
        )
        handles = [Line2D([], [], **looks[name], label=name) for name in names]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(8, len(handles)))
    return figure
