"""Regions of absolute stability."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scorebed.solvers import Solver
from scorebed.toy.figures.style import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, SKY, VERMILLION, look
from scorebed.toy.studies.stability import amplification, families, real_interval


def regions(groups: Mapping[str, Mapping[str, Solver]] | None = None, points: int = 141, columns: int = 4) -> Figure:
    """Regions of absolute stability in the plane of z = lambda h, a panel for each group, with the length of each real interval."""
    groups = families() if groups is None else groups
    columns = min(columns, len(groups))
    rows = math.ceil(len(groups) / columns)
    with look():
        figure = Figure(figsize=(3.4 * columns, 4.1 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for axis in axes[len(groups) :]:
            axis.set_axis_off()
        for axis, (title, solvers) in zip(axes, groups.items(), strict=False):
            _panel(axis, solvers, points)
            axis.set_title(title)
        figure.supxlabel("Re λh", fontsize=9.5)
        figure.supylabel("Im λh", fontsize=9.5)
    return figure


def _sizes(solvers: Mapping[str, Solver], left: float, right: float, top: float, points: int) -> tuple[Any, Any, list[NDArray[np.float64]]]:
    """The grid of the upper half plane and the amplification of every solver on it."""
    re, im = np.meshgrid(np.linspace(-left, right, points), np.linspace(0.0, top, points))
    z = re + 1j * im + 1e-6 * (1.0 + 1j)  # off the axes, where roots may coincide
    return re, im, [amplification(solver, z) for solver in solvers.values()]


def _panel(axis: Axes, solvers: Mapping[str, Solver], points: int) -> None:
    colours = (INK, BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
    lengths = {label: real_interval(solver) for label, solver in solvers.items()}
    reach = max(lengths.values())
    re, im, sizes = _sizes(solvers, 1.1 * reach, 0.3 * reach, 1.5 * reach, 45)  # a coarse look, to find the window
    inside = np.min(sizes, axis=0) <= 1.0
    window = 1.1 * reach, max(0.08 * reach, re[inside].max() + 0.06 * reach), im[inside].max() + 0.12 * reach
    re, im, sizes = _sizes(solvers, *window, points)
    for (label, length), size, colour in zip(lengths.items(), sizes, colours, strict=False):
        for sign in (1.0, -1.0):
            axis.contourf(re, sign * im, size, levels=[0.0, 1.0], colors=[colour], alpha=0.1)
            axis.contour(re, sign * im, size, levels=[1.0], colors=[colour], linewidths=1.5)
        axis.plot([], [], color=colour, label=f"{label}:  {length:.3g}")
    axis.axhline(0.0, color=MUTED, linewidth=0.6, zorder=0)
    axis.axvline(0.0, color=MUTED, linewidth=0.6, zorder=0)
    axis.set_aspect("equal", adjustable="datalim")
    axis.locator_params(axis="x", nbins=5)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2, title="real interval", title_fontsize=8.5, fontsize=8.5)
