"""One picture of guidance: how far what is sampled is from what was meant, its bias apart from its discretisation error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scorebed.solvers import SOLVERS
from scorebed.solvers.guide import guided
from scorebed.toy.figures.style import BLUE, EXACT, GREEN, MUTED, ORANGE, PURPLE, SKY, VERMILLION, look
from scorebed.toy.measure.guided_law import output
from scorebed.toy.problems.guided import GuidedProblem

_COLOURS = (GREEN, BLUE, SKY, ORANGE, VERMILLION, PURPLE)


def bias_and_steps(table: pd.DataFrame) -> Figure:
    """W1 against steps, a panel for each rule and solver: lines for the discretisation error, level lines for the bias, colours for scales.

    Where a line crosses the level of its own colour, more steps begin to be of no use.
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
    return figure


def laws(
    problem: GuidedProblem, solvers: Sequence[str] = ("ddim", "ddpm"), scale: Sequence[float] = (1.0, 3.0, 8.0), steps: int = 40
) -> Figure:
    """What was meant and what is sampled, on the line: densities, a panel for each scale."""
    x = problem.points
    with look():
        figure = Figure(figsize=(3.6 * len(scale), 3.0), layout="constrained")
        for axes, w in zip(figure.subplots(1, len(scale), squeeze=False)[0], scale, strict=True):
            meant = problem.meant(w)
            axes.fill_between(x, meant.density, color=EXACT, alpha=0.15, linewidth=0, label="meant")
            model = guided(problem.given.denoised, problem.null.denoised, w)
            for colour, name in zip((BLUE, VERMILLION, GREEN), solvers, strict=False):
                law = output(problem, model, SOLVERS[name], steps)
                axes.plot(x, np.gradient(law.cdf(x), x), color=colour, label=name)
            low, high = (x[np.searchsorted(meant.distribution, p)] for p in (1e-4, 1.0 - 1e-4))
            axes.set(title=f"w = {w:g}", yticks=[], xlim=(low - 0.8, high + 0.8))
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(solvers) + 1)
    return figure
