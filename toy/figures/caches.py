"""What a cache costs: error against evaluations, beside the same solver without one, and the prediction against a run."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from scorebed.toy.figures.style import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, SKY, VERMILLION, headline, look

KINDS = (
    (", hold", "held", VERMILLION, "o"),
    ("extrapolate 2", "extrapolated, 2 values", BLUE, "s"),
    ("extrapolate 3", "extrapolated, 3 values", GREEN, "^"),
    ("taylor", "TaylorSeer, 3 values", ORANGE, "D"),
    ("threshold", "threshold rule", PURPLE, "P"),
    ("^late", "late, against rounds", SKY, "v"),
    ("^picard", "Picard, against rounds", MUTED, "X"),
)
"""A word of the name, label, colour, marker."""


def draw(table: pd.DataFrame, title: str) -> Figure:
    """Two panels: error of the model against evaluations, or rounds where they run at once; predicted against measured on the twin."""
    with look():
        figure = Figure(figsize=(9.6, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        parallel = table.cache.str.contains("^(?:late|picard)")
        cost = table.nfe.where(~parallel, table["rounds"])
        plain = pd.concat(
            [pd.DataFrame({"n": cost, "e": table["fewer steps"]}), pd.DataFrame({"n": table.nfe[:1], "e": table.error[:1]})]
        ).dropna()
        plain = plain.drop_duplicates("n").sort_values("n")
        left.plot(plain.n, plain.e, color=INK, marker=".", label="no cache, fewer steps")
        for word, label, colour, marker in KINDS:
            rows = table[table.cache.str.contains(word)]
            if len(rows):
                left.plot(cost[rows.index], rows.error, color=colour, marker=marker, linestyle="", label=label, markersize=6.5)
                right.plot(rows.predicted, rows["on the twin"], color=colour, marker=marker, linestyle="", markersize=6.5)
        ends = [0.8 * min(table.predicted.min(), table["on the twin"].min()), 1.25 * table.predicted.max()]
        right.plot(ends, ends, color=MUTED, linewidth=0.8, zorder=0)
        left.set(title=title, xlabel="evaluations", ylabel="median error of x0", xscale="log", yscale="log")
        right.set(title="the Gaussian of the same spectrum", xlabel="predicted RMS error", ylabel="by a run", xscale="log", yscale="log")
        ticks = [n for n in (2, 3, 5, 7, 10, 15, 20, 30, 50, 100) if cost.min() <= n <= cost.max()]
        left.set_xticks(ticks, [str(n) for n in ticks])
        left.minorticks_off()
        for axis in (left, right):
            axis.grid(visible=True, which="major")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        gains = table[table.wins]
        said = f"{len(gains)} of {len(table)} caches have less error than the same solver with fewer steps and none"
        if len(gains):
            best = gains.loc[(gains.error / gains["fewer steps"]).idxmin()]
            said += (
                f"; most is gained by {best.cache}, {best.error / best['fewer steps']:.2g} of that error with {best.nfe:.0f} evaluations"
            )
        headline(figure, f"{said}.")
    return figure
