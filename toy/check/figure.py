"""The figure of a check: error against evaluations, with the claimed slope and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from scorebed.toy.figures.style import BLACK, BLUE, GREEN, MUTED, ORANGE, PURPLE, SKY, VERMILLION, look
from scorebed.toy.measure.order import OrderResult

_LOOKS = ((BLUE, "o"), (VERMILLION, "s"), (GREEN, "^"), (ORANGE, "D"), (PURPLE, "v"), (SKY, "P"), (BLACK, "X"))


class Drawn(Protocol):
    """What is drawn of a report."""

    claimed_order: float | None
    claimed_weak: float | None
    series: dict[str, list[OrderResult]]

    @property
    def verdict(self) -> str: ...
    @property
    def passed(self) -> bool: ...


def draw(report: Drawn) -> Figure:
    """A panel for each kind of measurement."""
    panels = [(what, results) for what, results in report.series.items() if any(r.errors for r in results)]
    count = max(1, len(panels))
    with look():
        figure = Figure(figsize=(4.6 * count, 4.9), layout="constrained")
        axes = figure.subplots(1, count, squeeze=False)[0]
        for axis, (what, results) in zip(axes, panels, strict=False):
            _panel(axis, what, results, report.claimed_weak if what == "weak order" else report.claimed_order)
        verdict = fill(report.verdict.partition("; ")[0], int(11 * figure.get_figwidth()))
        figure.suptitle(verdict, fontsize=10, fontweight="bold", color=BLACK if report.passed else VERMILLION)
    return figure


def _panel(axis: Any, what: str, results: Sequence[OrderResult], claim: float | None) -> None:
    shown = []
    for result, (colour, marker) in zip(results, _LOOKS, strict=False):
        good = [(n, e) for n, e in zip(result.nfe, result.errors, strict=True) if np.isfinite(e) and e > 0.0]
        if not good:
            continue
        shown.append(good)
        slope = f": {result.order.slope:.2f}" if result.order is not None else ""
        label = f"{result.conditions.target}, {result.conditions.grid}{slope}"
        axis.loglog(*zip(*good, strict=True), color=colour, marker=marker, label=label, markeredgecolor="white")
    if claim and any(len(good) > 1 for good in shown):
        first, last = min(good[0][0] for good in shown), max(good[-1][0] for good in shown)
        n = np.array([first, last], float)
        top = max(e for good in shown for m, e in good if m == good[0][0])
        axis.loglog(n, 2.5 * top * (n / n[0]) ** -claim, color=MUTED, linestyle="--", label=f"slope {claim:g}, as claimed")
    axis.set_title(what)
    axis.set_xlabel("evaluations of the model")
    axis.set_ylabel("error of mean and variance" if what == "weak order" else "RMS error against the exact flow")
    if shown:  # the numbers that were run, so far as they have room
        ticks = sorted({n for n, _ in max(shown, key=len)})
        axis.set_xticks(ticks[:: 1 + len(ticks) // 7], labels=list(map(str, ticks[:: 1 + len(ticks) // 7])))
        axis.xaxis.set_minor_locator(NullLocator())
    axis.grid(True)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=8.0)
