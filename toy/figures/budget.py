"""Error budgets: the parts of the distance against the number of steps."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from scorebed.toy.figures.style import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, VERMILLION, headline, look
from scorebed.toy.studies.budget import PARTS

COLOURS = dict(zip(PARTS, zip((BLUE, ORANGE, GREEN, VERMILLION, PURPLE), "sDo^v", strict=True), strict=True))
"""Colour and marker of each part."""


def figure(tables: Sequence[pd.DataFrame]) -> Figure:
    """One panel per solver: the parts against the number of steps, and the total. Hollow where a part takes from the total distance."""
    with look():
        result = Figure(figsize=(max(5.4, 3.3 * len(tables)), 3.6), layout="constrained")
        axes = result.subplots(1, len(tables), squeeze=False, sharey=True)[0]
        for axis, table in zip(axes, tables, strict=True):
            for part, rows in table.groupby("part", sort=False):
                values = rows.w2.where(rows.w2 > 0)
                if part == "total":
                    axis.plot(rows.steps, values, color=INK, linewidth=3.0, alpha=0.35, label=part, zorder=1)
                elif values.notna().any():
                    colour, marker = COLOURS[part]
                    axis.plot(rows.steps, values, color=colour, marker=marker, markeredgecolor="white", markersize=6, label=part)
                    less = rows.share < 0
                    hollow = {"markerfacecolor": "white", "markeredgecolor": colour, "markersize": 6, "zorder": 4}
                    axis.plot(rows.steps[less], values[less], linestyle="", marker=marker, **hollow)
            steps = sorted(set(table.steps))
            axis.set(title=table.solver.iloc[0], xlabel="steps", xscale="log", yscale="log")
            axis.set_xticks(steps, [str(n) for n in steps])
            axis.minorticks_off()
            axis.grid(visible=True, which="major")
            axis.tick_params(colors=MUTED)
        axes[0].set_ylabel("length of the part, and W2 in all")
        headline(
            result,
            "Whose is which part of the distance? Parts have signs and cancel: filled, a part takes the law away from the target; hollow, "
            "it takes it back, so that the total can be less than a part of it.",
        )
        handles = {h.get_label(): h for axis in axes for h in axis.get_legend_handles_labels()[0]}
        result.legend(handles=list(handles.values()), loc="outside lower center", ncols=3)
    return result
