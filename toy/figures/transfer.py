"""The figure of a transfer study: which solver on the network, and what choosing one by an exact target costs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from scorebed.toy.figures.style import BLUE, GREEN, MUTED, ORANGE, VERMILLION, headline, look
from scorebed.toy.studies.transfer import Study

SHOWN = 8
"""So many of the best solvers of a budget are drawn."""


def figure(study: Study, space: str = "state") -> Figure:
    """Above, the best solvers on the network, a panel for each budget; below, regret and rank correlation of every target, in ``space``.

    Returns:
        the Figure, a panel for each budget above, regret and rank correlation below.

    Raises:
        ValueError: no run on the network has an error.
    """
    best = study.best[np.isfinite(study.best["error"])] if len(study.best) else study.best
    if best.empty:
        raise ValueError("no run of the study has an error to draw")
    budgets = list(dict.fromkeys(best["budget"]))
    rows = study.agreements
    rows = rows[rows["space"] == space] if len(rows) else rows
    targets = list(dict.fromkeys(rows["target"])) if len(rows) else []
    with look():
        shown = Figure(figsize=(max(8.0, 3.3 * len(budgets)), 3.0 + (0.42 * len(targets) + 1.6 if targets else 0.6)), layout="constrained")
        outer = shown.add_gridspec(1 + bool(targets), 1, height_ratios=[2.6, 0.42 * len(targets) + 1.0][: 1 + bool(targets)])
        for axis, budget in zip(outer[0].subgridspec(1, len(budgets)).subplots(squeeze=False)[0], budgets, strict=True):
            _race(axis, best[best["budget"] == budget].head(SHOWN), int(budget))
        if targets:
            cost, order = outer[1].subgridspec(1, 2).subplots(squeeze=False)[0]
            _cost(cost, rows, targets)
            _order(order, rows, targets, space)
            shown.legend(handles=_marks(), loc="outside lower center", ncols=4, fontsize=8.5)
        firsts = best.drop_duplicates("budget").groupby("solver", sort=False)["budget"]
        said = "; ".join(f"{solver} at {', '.join(map(str, mine))}" for solver, mine in firsts)
        headline(shown, f"Best on the network: {said} evaluations. {_chosen(rows) if targets else ''}".strip())
    return shown


def _chosen(rows: pd.DataFrame) -> str:
    """What choosing by the best exact target would have cost."""
    mean = rows[rows["budget"] == 0].set_index("target")["regret"]
    if len(mean) == 1:
        return f"Chosen by the exact target {mean.index[0]}, the error would be {mean.iloc[0]:.3g} times the least."
    return f"Chosen by the exact target {mean.idxmin()}: {mean.min():.3g} times the least error; by {mean.idxmax()}: {mean.max():.3g}."


def _race(axis: Axes, rows: pd.DataFrame, budget: int) -> None:
    """The best solvers of a budget with their intervals; those that are not beyond doubt worse than the best are green."""
    for y, row in enumerate(rows.itertuples()):
        colour = GREEN if row.ratio_low <= 1.0 else MUTED
        axis.plot([row.low, row.high], [y, y], color=colour, linewidth=2.4, alpha=0.5)
        axis.plot(row.error, y, "o", color=colour, markersize=6, markeredgecolor="white")
    axis.set_yticks(range(len(rows)), list(rows["solver"]))
    axis.set(title=f"network, {budget} evaluations", xlabel="RMS error of the state", xscale="log", ylim=(len(rows) - 0.5, -0.5))
    ends = (0.9 * float(rows["low"].min()), 1.1 * float(rows["high"].replace(np.inf, np.nan).max()))
    marks = [m * 10.0**k for k in range(-9, 4) for m in (1, 2, 5) if ends[0] <= m * 10.0**k <= ends[1]]
    axis.set(xlim=ends)
    axis.set_xticks(marks[:: 1 + len(marks) // 6], [f"{m:g}" for m in marks[:: 1 + len(marks) // 6]])
    axis.minorticks_off()
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=True, axis="x")


def _cost(axis: Axes, rows: pd.DataFrame, targets: list[str]) -> None:
    mean = rows[rows["budget"] == 0].set_index("target").reindex(targets)
    at = np.arange(len(targets))
    axis.hlines(at, mean["regret_low"], mean["regret_high"], color=BLUE, linewidth=2.4, alpha=0.5)
    axis.plot(mean["regret"], at, "o", color=BLUE, markersize=6, markeredgecolor="white")
    axis.axvline(1.0, color=VERMILLION, linewidth=1.2, linestyle=(0, (5, 2)))
    axis.set_yticks(at, targets)
    axis.set(title="What does choosing by an exact target cost?", xlabel="error of its choice over the least error, mean over budgets")
    axis.set(xscale="log", ylim=(len(targets) - 0.5, -0.5))
    low, high = axis.get_xlim()[0], max(axis.get_xlim()[1], 1.12)
    axis.set_xlim(low, high)
    ticks = [v for v in (1.0, 1.05, 1.1, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0) if low <= v <= high]
    axis.set_xticks(ticks, [f"{v:g}" for v in ticks])
    axis.minorticks_off()
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=True, axis="x")


def _order(axis: Axes, rows: pd.DataFrame, targets: list[str], space: str) -> None:
    """Rank correlation in the mean over budgets, over all solvers and over the best half."""
    mean = rows[rows["budget"] == 0].set_index("target").reindex(targets)
    at = np.arange(len(targets))
    axis.hlines(at, mean["low"], mean["high"], color=BLUE, linewidth=2.4, alpha=0.5)
    axis.plot(mean["spearman"], at, "o", color=BLUE, markersize=6, markeredgecolor="white")
    axis.plot(mean["top"], at, "D", color=ORANGE, markersize=5, markeredgecolor="white")
    band = float(mean["chance"].max())
    axis.axvspan(-band, band, color=MUTED, alpha=0.13, linewidth=0)
    axis.axvline(float(mean["halves"].iloc[0]), color=VERMILLION, linewidth=1.2, linestyle=(0, (5, 2)))
    axis.set_yticks(at, [""] * len(targets))
    axis.set(title=f"Does it order the solvers as the network does? ({space})", xlabel="Spearman's ρ, mean over budgets")
    axis.set(xlim=(min(-0.3, float(mean["low"].min())) - 0.05, 1.05), ylim=(len(targets) - 0.5, -0.5))
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=True, axis="x")


def _marks() -> list[Line2D | Patch]:
    return [
        Line2D([], [], color=GREEN, marker="o", linewidth=2.4, label="not beyond doubt worse than the best; 95 %"),
        Line2D([], [], color=MUTED, marker="o", linewidth=2.4, label="worse"),
        Line2D([], [], color=BLUE, marker="o", linewidth=2.4, label="all solvers, 95 %"),
        Line2D([], [], color=ORANGE, marker="D", linestyle="", label="the best half of them"),
        Line2D([], [], color=VERMILLION, linestyle=(0, (5, 2)), label="a perfect choice; one half of the states against the other"),
        Patch(color=MUTED, alpha=0.2, label="95 % of random orders"),
    ]
