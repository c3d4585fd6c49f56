"""What the measurements share: exact states on the line, orders, round trips, and figures of a few panels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from scorebed.analytic import GaussianMixture
from scorebed.solvers import Denoiser, Node, Schedule, Solver
from scorebed.toy.figures.style import headline, look
from scorebed.toy.measure.convergence import global_errors, order_of
from scorebed.toy.properties.cases import modes

if TYPE_CHECKING:
    from scorebed.toy.claims.registry import Claim, Verdict

Grids = Sequence[Sequence[Node]]


def states(target: GaussianMixture, node: Node, n: int = 21) -> np.ndarray:
    """n equally likely states of a 1-D law at a node, (n, 1)."""
    return np.asarray(target.marginal(node).quantile((np.arange(n) + 0.5) / n))[:, None]


def slope(solver: Solver, grids: Grids, target: GaussianMixture | None = None, denoise: Denoiser | None = None) -> float:
    """The order in which the end states of ``solver`` converge to those of the exact flow of a 1-D law."""
    target = target or modes()
    x = states(target, grids[0][0])
    errors = global_errors(solver, denoise or target.denoised, x, target.flow(x, grids[0][0], grids[0][-1]), grids)
    return order_of([len(g) - 1 for g in grids], errors, 1e-13).slope


def refinements(grid: Callable[..., Any], schedule: Schedule, steps: Sequence[int], start: float, end: float) -> list[list[Node]]:
    """The grids of one kind with these numbers of steps."""
    return [grid(schedule, n, start, end) for n in steps]


def sheet(panels: int, draw: Callable[..., None], height: float = 3.9) -> Figure:
    """A figure of ``panels`` axes side by side, filled by ``draw(*axes)`` in the project's style."""
    with look():
        figure = Figure(figsize=(5.0 * panels, height), layout="constrained")
        axes: list[Axes] = list(np.atleast_1d(figure.subplots(1, panels)))
        draw(*axes)
        for axis in axes:
            axis.grid(visible=True, which="major")
            axis.xaxis.set_minor_formatter(NullFormatter())  # few decades: the ticks that are set say enough
    return figure


def told(claim: Claim, verdict: Verdict) -> Figure:
    """The figure of a claim, above it number, paper, statement and verdict, and a measured quantity with its bound.

    The quantity is the first; where the claim is false as printed, also the first that the paper prints.

    Returns:
        the Figure, labelled with claim, verdict and bound.

    Raises:
        ValueError: a claim without a figure.
    """
    if claim.draw is None:
        raise ValueError(f"claim {claim.id} has no figure: give one with draw=")
    figure = claim.draw()
    named = [verdict.rows[0], *[row for row in verdict.rows if row.printed][:1]]
    rows = [f"{r.quantity}: {r.measured:.4g}, {'printed' if r.printed else 'bound'} {r.bound} {r.unit}".strip() for r in named]
    kept = sum(row.holds for row in verdict.rows)
    about = f"Claim {claim.id}, {claim.paper}, {claim.reference}. {claim.statement.rstrip('.')}: {verdict.status}."
    headline(figure, f"{about} {kept} of {len(verdict.rows)} bounds kept. {'; '.join(rows)}.")
    return figure
