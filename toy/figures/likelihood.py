"""log p along solvers: the parts of its error against the number of steps."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from scorebed.toy.figures.style import BLUE, INK, MUTED, ORANGE, VERMILLION, headline, look

COLOURS = {"prior": MUTED, "discretisation": BLUE, "score error": VERMILLION, "probes": ORANGE, "total": INK}


def figure(tables: Sequence[pd.DataFrame]) -> Figure:
    """One panel for each solver: RMS of every part over the data, in nats."""
    with look():
        result = Figure(figsize=(max(5.4, 3.4 * len(tables)), 3.8), layout="constrained")
        axes = result.subplots(1, len(tables), squeeze=False, sharey=True)[0]
        for axis, table in zip(axes, tables, strict=True):
            for part, rows in table.groupby("part", sort=False):
                values = rows.rms.where(rows.rms > 0.0)
                if values.notna().any():
                    total = part == "total"
                    width, alpha, marker = (3.0, 0.35, "") if total else (1.6, 1.0, "o")
                    axis.plot(rows.steps, values, color=COLOURS[str(part)], linewidth=width, alpha=alpha, marker=marker, label=part)
            steps = sorted(set(table.steps))
            axis.set(title=table.solver.iloc[0], xlabel="steps", xscale="log", yscale="log")
            axis.set_xticks(steps, [str(n) for n in steps])
            axis.minorticks_off()
            axis.grid(visible=True, which="major")
        axes[0].set_ylabel("error of log p, nats")
        handles = {h.get_label(): h for axis in axes for h in axis.get_legend_handles_labels()[0]}
        result.legend(handles=list(handles.values()), loc="outside lower center", ncols=len(handles))
        headline(result, _largest(tables))
    return result


def _largest(tables: Sequence[pd.DataFrame]) -> str:
    """Whose the largest part is in the fewest and in the most steps."""
    said = []
    for pick in (min, max):
        n, whose = pick(tables[0].steps), dict[str, list[str]]()
        for table in tables:
            rows = table[(table.steps == n) & (table.part != "total")]
            whose.setdefault(str(rows.part[rows.rms.idxmax()]), []).append(str(table.solver.iloc[0]))
        said.append(f"in {n} steps " + ", ".join(f"{part} ({', '.join(names)})" for part, names in whose.items()))
    return f"The largest part of the error of log p: {'; '.join(dict.fromkeys(said))}."
