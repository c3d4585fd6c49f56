"""The figure of a transfer study: work-precision curves of the network and of every target, and how well each target predicts it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from scorebed.toy.figures.plots import MANY
from scorebed.toy.figures.style import BLUE, FAMILIES, GREEN, INK, MUTED, ORANGE, PURPLE, SKY, VERMILLION, YELLOW, appearances, look
from scorebed.toy.studies.transfer import NETWORK, Study

_COLUMNS = 4
_SHADES = (SKY, BLUE, GREEN, ORANGE, PURPLE, VERMILLION)


def figure(study: Study, space: str = "state") -> Figure:
    """Panels of error against evaluations in ``space``, the network first; below, rank correlations with intervals in both spaces.

    Raises:
        ValueError: no run has an error.
    """
    rows = study.errors[np.isfinite(study.errors[space])]
    if rows.empty:
        raise ValueError("no run of the study has an error to draw")
    with look():
        return _figure(study, rows, space)


def _figure(study: Study, rows: pd.DataFrame, space: str) -> Figure:
    names = [name for name in dict.fromkeys(study.errors["target"]) if name in set(rows["target"])]
    solvers = list(dict.fromkeys(study.errors["solver"]))
    lines = math.ceil(len(names) / _COLUMNS)
    bars = 0 if study.agreements.empty else len(set(study.agreements["space"]))
    columns = min(_COLUMNS, len(names))
    shown = Figure(figsize=(max(8.0, 3.1 * columns), 2.6 * lines + 2.5 * bars + 1.5), layout="constrained")
    outer = shown.add_gridspec(lines + bars, columns, height_ratios=[1.0] * lines + [0.95] * bars)
    looks = appearances(solvers)
    first: Axes | None = None
    for i, name in enumerate(names):
        axis = shown.add_subplot(outer[i // columns, i % columns], sharex=first, sharey=None)
        first = first or axis
        _curves(axis, rows[rows["target"] == name], looks, space, many=len(solvers) > MANY + 8)
        axis.set_title(name, color=VERMILLION if name == NETWORK else INK)
        kind = study.targets[name] if name == NETWORK else str(rows[rows["target"] == name]["kind"].iloc[0])
        axis.annotate(kind, (1, 1.03), xycoords="axes fraction", ha="right", fontsize=7.5, color=MUTED)
        if i % columns == 0:
            axis.set_ylabel("RMS error" if space == "state" else f"RMS error, {space}")
        if i >= len(names) - columns:
            axis.set_xlabel("evaluations (NFE)")
    for j, kind in enumerate(dict.fromkeys(study.agreements["space"]) if bars else ()):
        axis = shown.add_subplot(outer[lines + j, :])
        colours = _bars(axis, study.agreements[study.agreements["space"] == kind], str(kind))
        if j == 0:
            shown.legend(handles=_marks(colours), loc="outside lower center", ncols=4, fontsize=8.5)
    _legend(shown, looks, solvers)
    return shown


def _curves(axis: Axes, rows: pd.DataFrame, looks: dict[str, dict[str, Any]], space: str, many: bool) -> None:
    thin: dict[str, Any] = {"linewidth": 0.8, "markersize": 2.5} if many else {"linewidth": 1.1, "markersize": 3.5}
    for name, line in rows.groupby("solver", sort=False):
        line = line.sort_values("nfe")
        axis.plot(line["nfe"], line[space], **{**looks[str(name)], **thin})
    axis.set_xscale("log")
    axis.set_yscale("log")
    middle = float(rows[space].median())
    top = float(rows[space].max())
    if top > 100.0 * middle:  # the few wild runs leave the panel, the rest stays legible
        axis.set_ylim(top=30.0 * middle)
    axis.grid(visible=True, which="major")
    axis.minorticks_off()
    marks = sorted(set(rows["budget"]))
    axis.set_xticks(marks, [str(m) for m in marks])


def _bars(axis: Axes, rows: pd.DataFrame, space: str) -> dict[int, str]:
    """A group of bars for each target: one for each budget, and the mean in ink; whiskers hold the interval."""
    targets = list(dict.fromkeys(rows["target"]))
    budgets = [*sorted(b for b in set(rows["budget"]) if b), 0]
    width = 0.8 / len(budgets)
    colours = {b: INK if b == 0 else _SHADES[i % len(_SHADES)] for i, b in enumerate(budgets)}
    for i, budget in enumerate(budgets):
        mine = rows[rows["budget"] == budget].set_index("target").reindex(targets)
        at = np.arange(len(targets)) + (i - (len(budgets) - 1) / 2) * width
        axis.bar(at, mine["spearman"], 0.9 * width, color=colours[budget], alpha=0.85)
        for colour, thickness in (("white", 3.0), (INK, 1.2)):  # ink with a white edge is seen on every bar
            axis.vlines(at, mine["low"], mine["high"], color=colour, linewidth=thickness)
        if budget == 0:
            axis.plot(at, mine["top"], "D", color=YELLOW, markeredgecolor=INK, markersize=5, zorder=4)
    one = rows.drop_duplicates("budget").set_index("budget")
    band, most = float(one["chance"].max()), float(one.loc[0, "halves"])
    axis.axhspan(-band, band, color=MUTED, alpha=0.13, linewidth=0)
    axis.axhline(most, color=VERMILLION, linewidth=1.2, linestyle=(0, (5, 2)))
    axis.axhline(0.0, color=MUTED, linewidth=0.8)
    axis.set_xticks(range(len(targets)), [t.replace("-", "\n") for t in targets])
    axis.tick_params(axis="x", length=0)
    axis.set_xlim(-0.6, len(targets) - 0.4)
    axis.set_ylim(min(-0.3, 1.05 * float(rows["low"].min()), float(rows["top"].min()) - 0.1), 1.05)
    axis.set_ylabel("Spearman's ρ")
    axis.set_title(f"Does the target's order of the solvers predict the network's? Error of the {space}")
    return colours


def _marks(colours: dict[int, str]) -> list[Any]:
    return [
        *(Patch(color=colour, alpha=0.85, label="mean" if b == 0 else f"NFE {b}") for b, colour in colours.items()),
        Line2D([], [], color=INK, linewidth=1.2, label="95 % interval over states and solvers"),
        Line2D([], [], color=YELLOW, marker="D", markeredgecolor=INK, linestyle="", label="mean over the best half of the solvers"),
        Line2D([], [], color=VERMILLION, linestyle=(0, (5, 2)), label="network, half the states against half"),
        Patch(color=MUTED, alpha=0.2, label="95 % of random orders"),
    ]


def _legend(shown: Figure, looks: dict[str, dict[str, Any]], solvers: list[str]) -> None:
    if len(solvers) > MANY + 8:
        members = [(look["color"], look["marker"]) for look in looks.values()]
        styles = [(colour, marker, kind) for kind, (colour, marker, _) in FAMILIES.items() if (colour, marker) in members]
        handles = [Line2D([], [], color=c, marker=m, label=f"{kind}  ({members.count((c, m))})") for c, m, kind in styles]
    else:
        handles = [Line2D([], [], **looks[name], label=name) for name in solvers]
    columns = max(2, int(shown.get_figwidth() // 1.5))
    shown.legend(handles=handles, loc="outside upper center", ncols=columns, fontsize=8.5)
