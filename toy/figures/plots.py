"""Figures of the study, each a function from tidy rows, or from a problem, to a matplotlib ``Figure``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scorebed.solvers import SOLVERS, Solver
from scorebed.toy.figures.style import (
    ALONE,
    BLUE,
    FAMILIES,
    GREEN,
    MUTED,
    ORANGE,
    PURPLE,
    VERMILLION,
    appearance,
    appearances,
    headline,
    look,
)

YLABEL = {"path": "RMS distance from the exact flow", "law": "W2 to the exact marginal", "weak": "weak error, RMS of a few means"}

SPACE_FAMILIES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "geodesic": (VERMILLION, "o", ("riemannian",)),
    "Munthe-Kaas": (BLUE, "D", ("riemannian_rk",)),
    "retraction": (GREEN, "s", ("riemannian_retraction",)),
    "geodesic, stochastic": (PURPLE, "v", ("riemannian_sde",)),
    "reflected": (ORANGE, "P", ("reflected", "reflected_second")),
}
"""Colour, marker and files of the kinds of method that move in a Space, distinguished in figures that show no others."""

MANY = 16  # more curves than this are distinguished by family only


def looks(solvers: Iterable[str | Solver]) -> dict[str, dict[str, Any]]:
    """``appearances``; where all of them move in a Space, by the kinds of ``SPACE_FAMILIES``."""
    given = list(solvers)
    result, seen = appearances(given), Counter[str]()
    kinds = {name: _kind(one) for name, one in zip(result, given, strict=True)}
    for name, kind in kinds.items() if all(kinds.values()) else ():
        colour, marker, _ = SPACE_FAMILIES[kind]
        result[name] = appearance(colour, marker, seen[kind])
        seen[kind] += 1
    return result


def _kind(one: str | Solver) -> str:
    """The kind of a method that moves in a Space, by its file, or nothing."""
    known = SOLVERS.get(one) if isinstance(one, str) else one
    step = known.step if known is not None and known.spaces else None
    while isinstance(step, partial):
        step = step.func
    file = str(getattr(step, "__module__", "")).rpartition(".")[2]
    return next((kind for kind, (_, _, files) in SPACE_FAMILIES.items() if file in files), "")


def _panels(table: pd.DataFrame, columns: int = 3) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]], int]:
    """A panel for each (problem, grid), and how many stand side by side."""
    groups = list(table.groupby(["problem", "grid"], sort=False))
    columns = min(columns, len(groups))
    lines = math.ceil(len(groups) / columns)
    figure = Figure(figsize=(max(3.4 * columns + 0.4, 5.4), 3.1 * lines + 1.0), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes[len(groups) :]:
        axis.set_axis_off()
    out = []
    for axis, ((problem, grid), rows) in zip(axes, groups, strict=False):
        first = rows.iloc[0]
        axis.set_title(f"{problem}")
        axis.annotate(
            f"d = {first['d']}, {first['schedule']}, {grid}",
            (0.99, 0.99),
            xycoords="axes fraction",
            ha="right",
            va="top",
            fontsize=7.5,
            color=MUTED,
        )
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.grid(visible=True, which="major")
        axis.minorticks_off()
        out.append((axis, rows))
    return figure, out, columns


def _legend(figure: Figure, axes: Sequence[Axes], shown: dict[str, dict[str, Any]], same: dict[str, list[str]], claims: Any) -> None:
    """One legend for all panels: in the empty last panel if there is one, else below, with height of its own."""
    title = "solver (claimed order)"
    handles = [Line2D([], [], **shown[name], label=f"{_equal(names)}  ({claims[name]:g})") for name, names in same.items()]
    if len(same) > MANY:
        title, members = "family (methods)", Counter((look["color"], look["marker"]) for look in shown.values())
        styles = [
            (colour, marker, kind)
            for kind, (colour, marker, _) in (SPACE_FAMILIES if all(map(_kind, same)) else FAMILIES).items()
            if (colour, marker) in members
        ]
        handles = [Line2D([], [], color=c, marker=m, label=f"{kind}  ({members[c, m]})") for c, m, kind in styles]
    free = [axis for axis in figure.axes if axis not in axes]
    if free:
        free[0].legend(handles=handles, loc="center left", title=title, alignment="left", ncols=1 + (len(handles) > 14))
        return
    columns = max(1, int(figure.get_figwidth() // 2.6))
    figure.set_figheight(figure.get_figheight() + 0.2 * (math.ceil(len(handles) / columns) - 1))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, title=title)


def _equal(names: Sequence[str]) -> str:
    """Equal methods in one label, two of them by name."""
    return " = ".join(names[:2]) + (f" = {len(names) - 2} more" if len(names) > 2 else "")


def _ticks(axis: Axes, values: Sequence[int]) -> None:
    """Powers of two times ten where runs were made: 5, 10, 20, … in plain figures, every second where they crowd."""
    low, high = min(values), max(values)
    marks = [m for m in (5 * 2**i for i in range(16)) if low <= m <= high]
    marks = marks[:: 1 + len(marks) // 7]
    axis.set_xticks(marks, [str(m) for m in marks])


def _fan(axis: Axes, orders: Sequence[float], rows: pd.DataFrame) -> None:
    """Lines of the claimed slopes from one point at the lower left, where no curve comes, with their numbers."""
    start, ratio = 1.3 * float(rows["nfe"].min()), 4.0
    low = 0.5 * float(rows["error"].min())
    top = low * ratio ** max(orders)
    for order in orders:
        axis.plot([start, ratio * start], [top, top * ratio**-order], color=MUTED, linewidth=1.0, zorder=0)
        end = (ratio * start, top * ratio**-order)
        axis.annotate(f"{order:g}", end, (3, 0), textcoords="offset points", va="center", color=MUTED, fontsize=8.5)


def _same(rows: pd.DataFrame) -> dict[str, list[str]]:
    """Solvers whose errors agree everywhere to 1e-6: equal methods, drawn as one. By the name that is drawn."""
    result: dict[str, list[str]] = {}
    keys = ["problem", "grid", "steps", "nfe"]
    errors = {name: line.set_index(keys)["error"] for name, line in rows.groupby("solver", sort=False)}
    for name, line in errors.items():
        for other in result:
            if line.index.equals(errors[other].index) and np.allclose(line, errors[other], rtol=1e-6, atol=0.0):
                result[other].append(str(name))
                break
        else:
            result[str(name)] = [str(name)]
    return result


def convergence(table: pd.DataFrame, kind: str = "path") -> Figure:
    """Error against evaluations of the denoiser, a panel for each problem, with the claimed slopes as a grey fan.

    Not against steps: those flatter a method that evaluates twice in each.

    Returns:
        the Figure, a panel for each problem.
    """
    with look():
        figure = _curves(table[table["steps"] >= 5], kind, guides=True)
        headline(figure, "Order is the slope at many evaluations; grey lines have the slopes of the claimed orders.")
    return figure


def work_precision(table: pd.DataFrame, kind: str = "path", most: int = 100) -> Figure:
    """Error against evaluations of the denoiser, up to ``most`` of them, a panel for each problem."""
    with look():
        figure = _curves(table[table["nfe"] <= most], kind, guides=False)
        headline(figure, _winners(table[(table["kind"] == kind) & (table["status"] == "ok")]))
    return figure


def _winners(rows: pd.DataFrame) -> str:
    """Who has the least error at about ten evaluations, by problem."""
    budgets = rows[rows["nfe"] <= 10]
    if budgets.empty:
        return "Error at a number of evaluations, which is what a run costs."
    best = budgets.loc[budgets.groupby(["problem", "grid"], sort=False)["error"].idxmin()]
    said = [f"{r.solver} on {r.problem} ({r.error:.2g})" for r in best.head(6).itertuples()]
    end = " No method is best everywhere." if best["solver"].nunique() > 1 else ""
    return f"Least error within 10 evaluations: {', '.join(said)}{', …' if len(best) > 6 else ''}.{end}"


def by_grid(table: pd.DataFrame, kind: str = "path", most: int = 12) -> Figure:
    """Which grid? Error against evaluations, a panel for each problem and method, its grids over one another on one scale.

    Returns:
        the Figure, a panel for each problem and method.

    Raises:
        ValueError: no rows of this kind that were measured.
    """
    rows = table[(table["kind"] == kind) & (table["status"] == "ok") & (table["nfe"] <= 100)]
    if rows.empty:
        raise ValueError(f"no rows of kind {kind!r} with status 'ok' to draw: give the table of a study that has some")
    grids = list(dict.fromkeys(rows["grid"]))
    styles = {name: appearance(*ALONE[i % len(ALONE)], i) for i, name in enumerate(grids)}
    groups = list(rows.groupby(["problem", "solver"], sort=False))[:most]
    columns = min(4, len(groups))
    lines = math.ceil(len(groups) / columns)
    with look():
        figure = Figure(figsize=(max(3.2 * columns, 5.4), 2.9 * lines + 0.9), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False, sharey=rows["problem"].nunique() == 1).ravel()
        for axis in axes[len(groups) :]:
            axis.set_axis_off()
        for axis, ((problem, solver), mine) in zip(axes, groups, strict=False):
            for name, line in mine.groupby("grid", sort=False):
                line = line.sort_values("nfe")
                axis.plot(line["nfe"], line["error"], **styles[str(name)])
            axis.set(title=f"{solver} on {problem}", xscale="log", yscale="log", xlabel="evaluations (NFE)")
            axis.grid(visible=True, which="major")
            axis.minorticks_off()
            _ticks(axis, mine["nfe"].tolist())
        for axis in axes[::columns]:
            axis.set_ylabel(YLABEL[kind])
        handles = [Line2D([], [], **styles[name], label=name) for name in grids]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(grids)), title="grid")
        few = rows[rows["nfe"] <= 10]
        best = few.loc[few.groupby(["problem", "solver"], sort=False)["error"].idxmin()] if len(few) else few
        said = ", ".join(f"{r.grid} for {r.solver} on {r.problem}" for r in best.head(4).itertuples())
        headline(figure, f"Least error within 10 evaluations: {said}." if said else "Error at a number of evaluations, by grid.")
    return figure


def _curves(table: pd.DataFrame, kind: str, guides: bool) -> Figure:
    rows = table[(table["kind"] == kind) & (table["status"] == "ok")]
    if rows.empty:
        raise ValueError(f"no rows of kind {kind!r} with status 'ok' to draw: give the table of a study that has some")
    figure, panels, columns = _panels(rows)
    same = _same(rows)
    styles = looks(same)
    thin: dict[str, Any] = {"linewidth": 0.8, "markersize": 2.5} if len(same) > MANY else {}
    for i, (axis, mine) in enumerate(panels):
        for name, line in mine[mine["solver"].isin(list(same))].groupby("solver", sort=False):
            line = line.sort_values("nfe")
            axis.plot(line["nfe"], line["error"], **styles[str(name)], **thin)
        if guides:
            _fan(axis, sorted(set(mine["claim"])), mine)
        top = 3.0 * float(mine[mine["nfe"] >= 10]["error"].max())
        if mine["error"].max() > top:  # the few wild runs at the smallest budgets leave the panel, the rest stays legible
            axis.set_ylim(top=top)
        _ticks(axis, mine["nfe"].tolist())
        axis.set_xlabel("evaluations (NFE)")
        if i % columns == 0:
            axis.set_ylabel(YLABEL[kind])
    claims = rows.drop_duplicates("solver").set_index("solver")["claim"]
    _legend(figure, [axis for axis, _ in panels], styles, same, claims)
    return figure
