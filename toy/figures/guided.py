"""Pictures of guidance: how far what is sampled is from what was meant, bias apart from discretisation; samples; reward hacking."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scorebed.solvers import SOLVERS, Solver
from scorebed.solvers.guide import guided
from scorebed.toy.figures.style import BLUE, EXACT, GREEN, MUTED, ORANGE, PURPLE, SKY, VERMILLION, headline, look
from scorebed.toy.measure.guided_law import output
from scorebed.toy.measure.guided_plane import apart, carried
from scorebed.toy.problems.guided import GuidedPlane, GuidedProblem
from scorebed.toy.studies.guided import PLANE_RULES
from scorebed.toy.studies.hacking import hacked

_COLOURS = (GREEN, BLUE, SKY, ORANGE, VERMILLION, PURPLE)


def bias_and_steps(table: pd.DataFrame) -> Figure:
    """W1 against steps, a panel for each rule and solver: lines for the discretisation error, level lines for the bias, colours for scales.

    Where a line crosses the level of its own colour, more steps begin to be of no use.

    Returns:
        the Figure, a panel for each rule and solver.
    """
    groups = list(table.groupby(["rule", "solver"], sort=False))
    widths = sorted(table.scale.unique())
    with look():
        figure = Figure(figsize=(4.3 * len(groups), 4.0), layout="constrained")
        panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
        for axes, ((rule, solver), part) in zip(panels, groups, strict=True):
            for i, w in enumerate(widths):
                one, colour = part[part.scale == w], _COLOURS[i % len(_COLOURS)]
                axes.plot(one.steps, one.discretisation, "o-", color=colour, label=f"w = {w:g}")
                if one.bias.iloc[0] > 1e-4:
                    axes.axhline(one.bias.iloc[0], color=colour, linestyle=(0, (5, 1.5)), linewidth=1.3)
            axes.set(title=f"{rule}, {solver}", xscale="log", yscale="log", xlabel="steps")
            axes.set_xticks(sorted(table.steps.unique()), [str(n) for n in sorted(table.steps.unique())])
            axes.minorticks_off()
            axes.grid(visible=True, which="major")
        panels[0].set_ylabel(r"$W_1$")
        handles, labels = panels[0].get_legend_handles_labels()
        handles.append(panels[0].plot([], [], color=MUTED, linestyle=(0, (5, 1.5)))[0])
        figure.legend(handles, [*labels, "bias: no steps mend it"], loc="outside lower center", ncols=len(labels) + 1)
        headline(figure, _enough(table))
    return figure


def _enough(table: pd.DataFrame) -> str:
    """From how many steps on the bias of guidance is the larger part, at the largest scale."""
    w, said = table.scale.max(), []
    for (rule, solver), part in table[table.scale == w].groupby(["rule", "solver"], sort=False):
        below = sorted(part[part.discretisation < part.bias].steps)
        name = f"{rule} by {solver}" if table.rule.nunique() > 1 else str(solver)
        said.append(f"from {below[0]} steps on with {name}" if below else f"not up to {part.steps.max()} steps with {name}")
    return f"At w = {w:g} the bias of guidance is the larger part of the error {', '.join(said)}."


def laws(
    problem: GuidedProblem, solvers: Sequence[str | Solver] = ("ddim", "ddpm"), scale: Sequence[float] = (1.0, 3.0, 8.0), steps: int = 40
) -> Figure:
    """What was meant and what is sampled, on the line: densities, a panel for each scale."""
    x, off = problem.points, dict[float, float]()
    with look():
        figure = Figure(figsize=(3.6 * len(scale), 3.0), layout="constrained")
        for axes, w in zip(figure.subplots(1, len(scale), squeeze=False)[0], scale, strict=True):
            meant = problem.meant(w)
            axes.fill_between(x, meant.density, color=EXACT, alpha=0.15, linewidth=0, label="meant")
            model = guided(problem.given.denoised, problem.null.denoised, w)
            for colour, given in zip((BLUE, VERMILLION, GREEN), solvers, strict=False):
                one = SOLVERS[given] if isinstance(given, str) else given
                found = output(problem, model, one, steps).cdf(x)
                axes.plot(x, np.gradient(found, x), color=colour, label=one.name)
                off.setdefault(w, float(np.trapezoid(np.abs(found - meant.distribution), x)))
            low, high = (x[np.searchsorted(meant.distribution, p)] for p in (1e-4, 1.0 - 1e-4))
            axes.set(title=f"w = {w:g}", yticks=[], xlim=(low - 0.8, high + 0.8))
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(solvers) + 1)
        first = solvers[0] if isinstance(solvers[0], str) else solvers[0].name
        said = ", ".join(f"{value:.2g} at w = {w:g}" for w, value in off.items())
        headline(figure, f"What is sampled is apart from what was meant by W1 = {said} ({first}, {steps} steps).")
    return figure


def by_rule(table: pd.DataFrame) -> Figure:
    """Bias against the scale, and discretisation against the steps at the largest scale: a line for each rule and solver."""
    largest = table.scale.max()
    with look():
        figure = Figure(figsize=(8.6, 4.0), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for i, ((rule, solver), part) in enumerate(table.groupby(["rule", "solver"], sort=False)):
            how = {"color": _COLOURS[i % len(_COLOURS)], "linestyle": "-" if i < len(_COLOURS) else "--", "marker": "o", "markersize": 4.0}
            once, strong = part.drop_duplicates("scale").sort_values("scale"), part[part.scale == largest].sort_values("steps")
            left.plot(once.scale, once.bias, label=rule if table.solver.nunique() == 1 else f"{rule}, {solver}", **how)
            right.plot(strong.steps, strong.discretisation, **how)
        if "floor" in table and table.floor.max() > 0.0:
            for axes in (left, right):
                axes.axhline(table.floor.max(), color=MUTED, linestyle=":", label="floor: no bias at all")
        left.set(title="bias: no steps mend it", xlabel="scale w", ylabel=r"$W_1$, mean over directions", yscale="log")
        right.set(title=f"discretisation, w = {largest:g}", xlabel="steps", xscale="log")
        right.set_xticks(sorted(table.steps.unique()), [str(n) for n in sorted(table.steps.unique())])
        right.minorticks_off()
        for axes in (left, right):
            axes.grid(visible=True, which="major")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        strongest = table[table.scale == largest].drop_duplicates(["rule", "solver"])
        best, worst = (strongest.loc[i()] for i in (strongest.bias.idxmin, strongest.bias.idxmax))
        said = f"At w = {largest:g} the bias is least with {best.rule} ({best.bias:.2g})"
        headline(figure, f"{said} and largest with {worst.rule} ({worst.bias:.2g})." if len(strongest) > 1 else f"{said}.")
    return figure


def samples(
    place: GuidedPlane, rules: Sequence[str], scale: float, solver: str | Solver = "ddim", steps: int = 40, points: int = 512
) -> Figure:
    """What was meant, as contours, and what each rule samples, in the plane."""
    columns = min(3, len(rules))
    x, y = place.mesh()
    density = place.meant_density(scale)
    levels = density.max() * np.array([0.05, 0.2, 0.5, 0.8])
    seen = (x[density.max(1) > 0.01 * density.max()], y[density.max(0) > 0.01 * density.max()])
    limits = [(axis[0] - 0.7, axis[-1] + 0.7) for axis in seen]
    with look():
        rows = -(-len(rules) // columns)
        figure = Figure(figsize=(3.2 * columns, 3.1 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for axes in panels[len(rules) :]:
            axes.set_visible(False)
        meant, off = place.meant_states(scale, points), dict[str, float]()
        for axes, rule in zip(panels, rules, strict=False):
            out = carried(place, PLANE_RULES[rule](place.given.denoised, place.null.denoised, scale), solver, steps, points)
            off[rule] = apart(np.asarray(out), np.asarray(meant))
            axes.contour(x, y, density.T, levels=levels, colors=EXACT, linewidths=0.9)
            axes.scatter(out[:, 0], out[:, 1], s=5, color=BLUE, alpha=0.5, linewidths=0.0)
            axes.set(title=rule, aspect="equal", xlim=limits[0], ylim=limits[1])
        best, by = min(off, key=lambda rule: off[rule]), getattr(solver, "name", solver)
        text = place.description
        said = f"{text[0].upper()}{text[1:]}: meant at w = {scale:g} (lines), {by} of {steps} steps (points)"
        headline(figure, f"{said}. Nearest to it: {best}, {off[best]:.2g} off in W1.")
    return figure


def hacking(table: pd.DataFrame) -> Figure:
    """Proxy and true reward against the KL that was paid, a line for each method."""
    with look():
        figure = Figure(figsize=(8.6, 3.7), layout="constrained")
        titles = {"proxy": "proxy: what is searched", "true": "true: what was wanted"}
        for axes, (column, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
            for i, (method, part) in enumerate(table.groupby("method", sort=False)):
                part = part.sort_values("kl")
                axes.plot(part.kl, part[column], "o-", color=_COLOURS[i % len(_COLOURS)], markersize=4.0, label=method)
            axes.set(title=title, xlabel="KL to the model, nats", ylabel="mean reward" if column == "proxy" else None)
            axes.grid(visible=True, which="major")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        lost = {str(method): hacked(part) for method, part in table.groupby("method", sort=False)}
        said = ", ".join(f"{paid:.2g} nats ({name}, {loss:.2g} lost since)" for name, (paid, loss) in lost.items() if loss > 0.0)
        none = "The true reward never falls while the proxy grows."
        headline(figure, f"The proxy grows on, the true reward falls from a KL of {said} on." if said else none)
    return figure
