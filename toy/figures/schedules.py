"""Schedules side by side: where their levels are, and what they cost on states that none has seen."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from scorebed.toy.figures.style import BLUE, GREEN, MUTED, VERMILLION, headline, look

COLOURS = {"usual": MUTED, "made": BLUE, "per step": GREEN}


def draw(table: pd.DataFrame, title: str) -> Figure:
    """Left the levels of each schedule in lam, right its median error with interval, and in sample."""
    with look():
        figure = Figure(figsize=(10.0, 0.27 * len(table) + 1.6), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.1, 1.0))
        for y, (_, row) in enumerate(table.iterrows()):
            colour = COLOURS[str(row["kind"])]
            left.plot(row["lams"], [y] * len(row["lams"]), color=colour, marker="|", markersize=8, linewidth=0.5)
            right.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=2.2)
            right.plot(row["error"], y, color=colour, marker="o", linestyle="", markersize=5)
            right.plot(row["train"], y, color=VERMILLION, marker="x", linestyle="", markersize=4)
        left.set_yticks(range(len(table)), table["schedule"])
        left.invert_yaxis()
        left.set(title=title, xlabel="lam = log(alpha/sigma)")
        right.set(title="median error of x0", xlabel="held out; ×: in sample", xscale="log")
        right.xaxis.set_minor_formatter(NullFormatter())
        for axis in (left, right):
            axis.grid(visible=True, which="major", axis="x")
        headline(figure, _won(table))
    return figure


def _won(table: pd.DataFrame) -> str:
    """Whether one that was made beats the best usual one on states never used."""
    made = table[table["kind"] != "usual"]
    if made.empty:
        return f"Best of the usual ones: {table.loc[table['error'].idxmin(), 'schedule']}."
    best = made.loc[made["ratio"].idxmin()]
    sure = made[made["ratio high"] < 1.0]
    said = f"Best of those made for the model: {best['schedule']}, {best['ratio']:.2f} [{best['ratio low']:.2f}, {best['ratio high']:.2f}] "
    return f"{said}of the error of the best usual one. {len(sure)} of {len(made)} are better beyond doubt on states never used."
