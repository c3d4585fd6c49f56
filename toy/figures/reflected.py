"""The weak errors of methods at walls: ``measure.reflected_law`` as a picture."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from scorebed.toy.figures.style import BLUE, GREEN, MUTED, ORANGE, VERMILLION, look
from scorebed.toy.measure.reflected_law import orders

_LOOKS = {
    "projected_euler": (VERMILLION, "s"),
    "penalised_euler": (ORANGE, "D"),
    "reflected_euler": (BLUE, "o"),
    "reflected_heun": (GREEN, "^"),
}


def draw(frame: pd.DataFrame) -> Figure:
    """Error against h, one line per scheme, with the slopes that are claimed."""
    found = orders(frame)
    with look():
        figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
        for name, part in frame.groupby("scheme", sort=False):
            colour, marker = _LOOKS[str(name)]
            label = f"{name}: {found[str(name)].slope:.2f}"
            axes.loglog(part.h, part.error, color=colour, marker=marker, markeredgecolor="white", label=label)
            guide = part.error.iloc[-1] * (part.h / part.h.iloc[-1]) ** part.claimed
            axes.loglog(part.h, guide, color=colour, linewidth=0.8, linestyle=(0, (1.5, 2.0)), zorder=1)
        axes.set(xlabel="step h in the clock σ²", ylabel="error of E cos 2πx")
        axes.set_title("Reflection in [0, 1]: exact weak errors of the chains")
        axes.grid(True)
        axes.legend(title="method: measured weak order", loc="lower right")
        guides = "dotted: claimed slopes ½, 1, 2 through the finest step"
        axes.annotate(guides, (0.02, 0.97), xycoords="axes fraction", va="top", color=MUTED, fontsize=8)
    return figure
