"""What networks learned wrong: their budgets side by side, and at which noise the score is off."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scorebed.toy.figures.style import BLUE, INK, MUTED, PURPLE, VERMILLION, headline, look
from scorebed.toy.studies.learned import PARTS

COLOURS = dict(zip(PARTS, (MUTED, BLUE, VERMILLION, PURPLE), strict=True))


def figure(budgets: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]) -> Figure:
    """Left: the parts, stacked, and the total that was measured; right: the two parts of the score error at every noise level."""
    with look():
        result = Figure(figsize=(10.4, 4.0), layout="constrained")
        left, right = result.subplots(1, 2)
        for i, (table, _) in enumerate(budgets.values()):
            rows, below = table.set_index("part"), 0.0
            scale = float(rows.nats["total"])
            for part in PARTS:
                value = float(rows.nats[part]) / scale
                left.bar(i, value, bottom=below, width=0.55, color=COLOURS[part], label=part if i == 0 else None)
                below += value
            left.errorbar(i, 1.0, yerr=3.0 * float(rows.error["total"]) / scale, color=INK, capsize=6, marker="_", markersize=26)
            left.text(i, 1.38, f"{scale:.2g} nats", ha="center")
        left.set_xticks(range(len(budgets)), list(budgets))
        left.set(ylabel="share of the measured total", title="Parts, and the total ± 3 errors", ylim=(0.0, 1.48))
        left.legend(loc="upper left", bbox_to_anchor=(0.0, -0.1), ncols=2, fontsize=8)
        for (name, (_, levels)), line in zip(budgets.items(), ("-", "--", ":"), strict=False):
            for part, colour in (("gradient", VERMILLION), ("solenoidal", PURPLE)):
                right.plot(levels.sigma, np.maximum(levels[part], 1e-9), color=colour, linestyle=line, label=f"{name}, {part}")
        right.set(xscale="log", yscale="log", xlabel="sigma", ylabel="nats of a step", title="Where the score is wrong")
        right.legend(fontsize=8)
        right.grid(visible=True, which="major")
        tables = {name: table.set_index("part").nats for name, (table, _) in budgets.items()}
        said = ", ".join(
            f"{nats[list(PARTS)].idxmax()} ({name}, {nats[list(PARTS)].max() / nats['total']:.0%})" for name, nats in tables.items()
        )
        headline(result, f"The largest part of what is lost: {said}.")
    return result
