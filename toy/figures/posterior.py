"""Three pictures of posterior samplers: samples beside exact ones in the plane, score error along t, calibration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scorebed.solvers.inverse import Method, Sequential, posterior
from scorebed.toy.figures.style import (
    BLUE,
    DENSITY,
    EXACT,
    GREEN,
    INK,
    LINES,
    MUTED,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    headline,
    look,
    named,
)
from scorebed.toy.measure.calibration import Calibration, shape
from scorebed.toy.problems.inverse import InverseProblem
from scorebed.toy.studies.posterior import law_distance, profile

_COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, MUTED)


def samples(methods: Sequence[Method], problem: InverseProblem, steps: int, n: int = 600, seed: int = 0) -> Figure:
    """One panel per method: its samples on the exact posterior density; the first panel shows exact draws, and the prior.

    Returns:
        the Figure, a panel for each method, exact draws first.

    Raises:
        ValueError: a problem that is not in the plane.
    """
    if problem.d != 2:
        raise ValueError(f"{problem.name} has d = {problem.d}: this picture is of the plane; give mixture2d or gaussian2d")
    truth, prior = problem.posterior, problem.law
    drawn = truth.sample(n, np.random.default_rng(seed))
    centre, reach = truth.mean(), 2.5 * float(np.sqrt(np.linalg.eigvalsh(truth.covariance())[-1]))
    axis = np.linspace(-reach, reach, 161)
    points = np.stack(np.meshgrid(centre[0] + axis, centre[1] + axis), -1)
    density = np.exp(np.asarray(truth.log_prob(points)))
    before = np.exp(np.asarray(prior.log_prob(points)))
    columns = min(4, len(methods) + 1)
    rows, off, chance = -(-(len(methods) + 1) // columns), dict[str, float](), 0.0
    with look():
        figure = Figure(figsize=(2.75 * columns, 2.9 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, method in zip(panels, (None, *methods), strict=False):
            axes.contourf(points[..., 0], points[..., 1], np.sqrt(density), levels=12, cmap=DENSITY)
            if method is None:
                axes.contour(points[..., 0], points[..., 1], before, levels=4, colors=MUTED, linewidths=0.7)
                x, title = drawn, "exact draws, prior in grey"
            else:
                c, shape_of = problem.conditioned, (n, 2)
                with np.errstate(all="ignore"):
                    x = posterior(method, c, problem.start_states(n, seed), problem.nodes(steps), Sequential(seed, shape_of))
                title = method.name
                finite = np.isfinite(x).all()
                off[title], chance = law_distance(x, truth, problem.bandwidth, seed) if finite else (np.inf, chance)
            inside = np.isfinite(x).all(1) & (np.abs(x - centre).max(1) < reach)
            axes.plot(*x[inside].T, "o", color=EXACT if method is None else VERMILLION, markersize=1.6, alpha=0.45, markeredgewidth=0)
            if not inside.all():
                axes.text(0.03, 0.03, f"{(~inside).mean():.0%} outside", transform=axes.transAxes, color=INK, fontsize=8)
            axes.set(title=title, xticks=[], yticks=[], aspect="equal")
            axes.set_xlim(centre[0] - reach, centre[0] + reach)
            axes.set_ylim(centre[1] - reach, centre[1] + reach)
        for axes in panels[len(methods) + 1 :]:
            axes.set_axis_off()
        headline(figure, _nearest(off, chance, steps))
    return figure


def _nearest(off: dict[str, float], chance: float, steps: int) -> str:
    """Who draws the posterior best, and who worst, in what exact draws are from it."""
    near, far = (f(off, key=lambda name: off[name]) for f in (min, max))
    said = f"In {steps} steps {near} is nearest to the posterior, {off[near] / chance:.1f} times as far from it as exact draws are"
    if far == near:
        return f"{said}."
    return f"{said}; {far} diverges." if not np.isfinite(off[far]) else f"{said}; {far} is furthest, {off[far] / chance:.1f} times."


def along_t(methods: Sequence[Method], problem: InverseProblem, points: int = 25, samples: int = 400) -> Figure:
    """Where along t a guide's score is wrong: RMS error beside the RMS of the likelihood score itself, and their ratio."""
    table = profile(methods, problem, points, samples)
    names = list(dict.fromkeys(table.method))
    with look():
        figure = Figure(figsize=(9.6, 3.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        first = table[table.method == names[0]]
        left.plot(first.t, first.likelihood, color=EXACT, linewidth=3.2, alpha=0.3, label="likelihood score itself")
        for i, name in enumerate(names):
            part: pd.DataFrame = table[table.method == name]
            style = {"color": _COLOURS[i % len(_COLOURS)], "linestyle": LINES[i // len(_COLOURS) % len(LINES)]}
            left.plot(part.t, part.error.clip(lower=1e-12), label=name, **style)
            right.plot(part.t, part.relative.clip(lower=1e-12), **style)
        left.set(title="RMS error of the score", xlabel="t", yscale="log", ylim=(1e-3, None))
        right.set(title="as a part of the likelihood score", xlabel="t", yscale="log", ylim=(1e-3, None))
        right.axhline(1.0, color=MUTED, linewidth=0.8)
        where = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        right.annotate("as wrong as no guidance", (0.98, 1.0), (0, 3), ha="right", fontsize=8, **where)
        for axes in (left, right):
            axes.grid(visible=True, which="major")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5)
        worst = table.groupby("method", sort=False).relative.max()
        bad = [str(name) for name, value in worst.items() if value >= 1.0]
        said = f"The best of these guides, {worst.idxmin()}, is off by {worst.min():.0%} of the likelihood score where it is worst."
        headline(figure, f"{said} As wrong as no guidance at some t: {named(bad)}." if bad else said)
    return figure


def calibration(result: Sequence[tuple[str, Calibration]], bins: int = 10) -> Figure:
    """Rank histograms, one panel per method, all statistics together, with the band in which an even one lies 95 times of 100."""
    columns = min(4, len(result))
    rows = -(-len(result) // columns)
    with look():
        figure = Figure(figsize=(2.7 * columns, 2.35 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
        for axes, (name, one) in zip(panels, result, strict=False):
            counts = one.histogram(bins).sum(0) / one.ranks.size
            even = 1.0 / bins
            band = 1.96 * np.sqrt(even * (1.0 - even) / one.n)
            axes.axhspan(even - band, even + band, color=MUTED, alpha=0.18, linewidth=0)
            axes.axhline(even, color=MUTED, linewidth=0.8)
            axes.bar((np.arange(bins) + 0.5) / bins, counts, width=0.92 / bins, color=BLUE if shape(one, bins) == "flat" else VERMILLION)
            axes.set(title=name, xlim=(0, 1), yticks=[])
            axes.set_xlabel(shape(one, bins), fontsize=8)
        for axes in panels[len(result) :]:
            axes.set_axis_off()
        kinds: dict[str, list[str]] = {}
        for name, one in result:
            kinds.setdefault(shape(one, bins), []).append(name)
        flat = kinds.pop("flat", [])
        said = [
            f"{len(flat)} of {len(result)} are calibrated, as far as {result[0][1].n} pairs tell" + (f": {named(flat)}" if flat else "")
        ]
        headline(figure, ". ".join(said + [f"{kind[0].upper()}{kind[1:]}: {named(names)}" for kind, names in kinds.items()]) + ".")
    return figure
