"""Two pictures of few-step maps: the error of each family by number of steps, and the maps themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scorebed.analytic import GaussianMixture
from scorebed.analytic.process.maps import FlowMap
from scorebed.solvers import SOLVERS
from scorebed.toy.figures.style import BLUE, EXACT, GREEN, INK, LINES, MUTED, ORANGE, PURPLE, SKY, VERMILLION, headline, look
from scorebed.toy.measure.distil import affine, chain, trained
from scorebed.toy.studies.maps import training_grid

_COLOURS = (VERMILLION, BLUE, GREEN, ORANGE, PURPLE, SKY)


def errors(table: pd.DataFrame) -> Figure:
    """W1 to the exact law against the number of steps; exact models, at the floor of the quadrature, are named below."""
    with look():
        figure = Figure(figsize=(7.2, 4.3), layout="constrained")
        axes = figure.subplots()
        groups = {"solver": 0, "student": 0}
        for name, rows in table[table.group != "exact"].groupby("family", sort=False):
            group = str(rows.group.iloc[0])
            colour = _COLOURS[groups[group] % len(_COLOURS)]
            line, marker = ("-", "o" if groups[group] < len(_COLOURS) else "^") if group == "student" else (LINES[1], "s")
            axes.plot(rows.steps, rows.w1, color=colour, linestyle=line, marker=marker, label=name)
            groups[group] += 1
        axes.set(title="Error of the law by number of steps", xlabel="steps", ylabel="W1 to the exact law", xscale="log", yscale="log")
        counts = sorted(set(table.steps))
        axes.set_xticks(counts, [str(n) for n in counts])
        axes.minorticks_off()
        axes.grid(visible=True, which="major")
        bound = table[table.group == "exact"]
        if len(bound):
            words = f"exact models, off the scale: at most {bound.w1.max():.0e}\n{', '.join(dict.fromkeys(bound.family))}"
            axes.annotate(words, (0.02, 0.03), xycoords="axes fraction", fontsize=8, color=INK)
            axes.set_ylim(bottom=0.25 * axes.get_ylim()[0])
        axes.legend(ncols=1, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        inexact = table[table.group != "exact"]
        said = []
        for n in dict.fromkeys((counts[0], counts[-1])):
            here = inexact[inexact.steps == n]
            if len(here):
                best, worst = here.loc[here.w1.idxmin()], here.loc[here.w1.idxmax()]
                said.append(
                    f"in {n} step{'s' * (n > 1)} {best.family} is nearest ({best.w1:.1e}), {worst.family} furthest ({worst.w1:.1e})"
                )
        if said:
            text = "; ".join(said)
            headline(figure, f"{text[0].upper()}{text[1:]}.")
    return figure


def maps(law: GaussianMixture, teachers: Sequence[int] = (4, 16)) -> Figure:
    """f(x, s) from the noisiest node: the exact endpoint, E[x0 | x], consistency training, distilled DDIM, the best affine map."""
    nodes = training_grid()
    s = nodes[0]
    u = np.linspace(0.002, 0.998, 400)
    x = np.asarray(law.marginal(s).quantile(u))
    rows = [
        ("exact endpoint", np.asarray(FlowMap(law).endpoint(x[:, None], s))[:, 0], EXACT, "-"),
        ("E[x0 | x]: stochastic consistency", np.asarray(law.denoised(x[:, None], s))[:, 0], VERMILLION, "-"),
        (f"consistency training, {len(nodes) - 1} steps", trained(law, nodes).at[0](x), BLUE, "-"),
        *(
            (f"distilled from DDIM, {n} steps", chain(SOLVERS["ddim"], law, nodes[:: (len(nodes) - 1) // n]).at[0](x), GREEN, line)
            for n, line in zip(teachers, LINES[1:], strict=False)
        ),
        ("best affine map", affine(law, nodes).at[0](x), MUTED, LINES[2]),
    ]
    with look():
        figure = Figure(figsize=(9.6, 4.0), layout="constrained")
        left, right = figure.subplots(1, 2)
        grid = np.linspace(-3.4, 3.4, 400)
        right.fill_between(grid, np.exp(np.asarray(law.log_prob(grid[:, None]))), color="#dbe7f0", linewidth=0, label="the data")
        for label, y, colour, line in rows:
            left.plot(x, y, color=colour, linestyle=line, label=label)
            density, edges = np.histogram(np.interp(np.linspace(0.002, 0.998, 40_000), u, y), bins=140, range=(-3.4, 3.4), density=True)
            right.plot(0.5 * (edges[1:] + edges[:-1]), density, color=colour, linestyle=line, linewidth=1.1)
        left.set(title="What is learned at the noisiest node", xlabel="x at s", ylabel="f(x, s)")
        right.set(title="The law that one step makes", xlabel="x", ylabel="density", ylim=(0.0, 1.3))
        for axes in (left, right):
            axes.grid(visible=True, which="major")
        left.legend(fontsize=7.5)
        right.legend()
        exact = np.asarray(law.quantile(u))
        off = {label: float(np.trapezoid(np.abs(np.sort(y) - exact), u)) for label, y, *_ in rows[1:]}
        best, worst = (f(off, key=lambda label: off[label]) for f in (min, max))
        headline(figure, f"The law of one step is off by W1 = {off[best]:.2g} for {best}, and by {off[worst]:.2g} for {worst}.")
    return figure
