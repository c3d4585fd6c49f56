"""Two pictures of methods on tokens: total variation against steps with the slopes, and where along t the error is made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scorebed.solvers import Solver
from scorebed.toy.figures.style import BLACK, BLUE, GREEN, INK, LINES, MUTED, ORANGE, PURPLE, SKY, VERMILLION, headline, look, named
from scorebed.toy.problems.jump import JumpProblem
from scorebed.toy.studies.discrete import FLOOR, profile

_COLOURS = (VERMILLION, BLUE, GREEN, ORANGE, PURPLE, SKY, BLACK)
_MARKERS = "osD^vP*X"


def _look(i: int) -> dict[str, object]:
    colour = _COLOURS[i % len(_COLOURS)]
    line = LINES[(i // len(_COLOURS)) % len(LINES)]
    return {"color": colour, "linestyle": line, "marker": _MARKERS[i % len(_MARKERS)], "markeredgecolor": "white", "markeredgewidth": 0.5}


def convergence(table: pd.DataFrame) -> Figure:
    """One panel for each problem: total variation against the number of steps; the order in the legend."""
    problems, methods = list(dict.fromkeys(table["problem"])), list(dict.fromkeys(table["method"]))
    with look():
        figure = Figure(figsize=(5.2 * len(problems), 4.4), layout="constrained")
        for axes, problem in zip(figure.subplots(1, len(problems), squeeze=False)[0], problems, strict=True):
            rows = table[table["problem"] == problem]
            shown = rows[rows["tv"] > FLOOR]
            for i, method in enumerate(methods):
                mine = rows[rows["method"] == method]
                some = mine[mine["tv"] > FLOOR]
                if len(some):
                    slope = mine["order"].iloc[-1]
                    axes.plot(some["steps"], some["tv"], label=f"{method}  {slope:.2f}", **_look(i))
                elif len(mine):
                    axes.plot([], [], label=f"{method}  exact", **_look(i))
            if len(shown):
                n = np.array([shown["steps"].min(), shown["steps"].max()], dtype=float)
                for order in (1, 2):
                    top = shown["tv"].max() * 1.4
                    axes.plot(n, top * (n / n[0]) ** -order, color=MUTED, linewidth=0.8, linestyle=(0, (1.5, 1.5)), zorder=0)
                    axes.annotate(f"{order}", (n[1], top * (n[1] / n[0]) ** -order), color=MUTED, fontsize=8, va="bottom")
            axes.set(xscale="log", yscale="log", title=problem, xlabel="steps", ylabel="total variation, exact")
            axes.set_xticks(sorted(set(table["steps"])), [str(n) for n in sorted(set(table["steps"]))])
            axes.minorticks_off()
            axes.grid(visible=True)
            axes.legend(title="method, order", loc="lower left", fontsize=8)
        headline(figure, _least(table))
    return figure


def _least(table: pd.DataFrame) -> str:
    """Who is nearest to the exact law in the most steps, on each problem, and who is exact."""
    most = int(table["steps"].max())
    last = table[table["steps"] == most]
    exact = list(dict.fromkeys(last[last["tv"] <= FLOOR]["method"]))
    some = last[last["tv"] > FLOOR]
    best = some.loc[some.groupby("problem", sort=False)["tv"].idxmin()]
    worst = some.loc[some.groupby("problem", sort=False)["tv"].idxmax()].set_index("problem")["tv"]
    said = [f"{r.method} on {r.problem} (1/{worst[r.problem] / r.tv:.0f} of the worst)" for r in best.itertuples()]
    text = f"Least total variation in {most} steps: {named(said)}." if said else ""
    return (text + (f" Exact, where it has a row: {named(exact)}." if exact else "")).strip()


def where(methods: Sequence[Solver], problem: JumpProblem, steps: int) -> Figure:
    """Error of each step from the exact law at its beginning, against t; below it the conditional total correlation of each step."""
    with look():
        figure = Figure(figsize=(7.6, 5.2), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        late: dict[str, float] = {}
        for i, method in enumerate(methods):
            rows = profile(method, problem, steps)
            some = rows[rows["tv"] > FLOOR]
            if len(some):
                late[method.name] = float(some["tv"][some["t"] < rows["t"].median()].sum() / some["tv"].sum())
                upper.plot(0.5 * (some["s"] + some["t"]), some["tv"], label=method.name, **_look(i))
        middle = 0.5 * (rows["s"] + rows["t"])
        lower.fill_between(middle, rows["correlation"], color=SKY, alpha=0.5, linewidth=0)
        lower.plot(middle, rows["correlation"], color=INK)
        upper.set(yscale="log", ylabel="total variation of one step", title=f"Where the error is made: {problem.name}, {steps} steps")
        upper.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        lower.set(xlabel="t, noise to data from right to left", ylabel="nats", title="conditional total correlation of the step")
        lower.set_ylim(bottom=0.0)
        for axes in (upper, lower):
            axes.grid(visible=True)
        if late:
            high, low = (f(late, key=lambda name: late[name]) for f in (max, min))
            said = f"Of the errors of single steps the later half, next to the data, makes {late[high]:.0%} for {high}"
            headline(figure, said + (f" and {late[low]:.0%} for {low}." if low != high else "."))
    return figure
