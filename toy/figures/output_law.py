"""The exact law of solvers' outputs against the target, its tails, and how its error falls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scorebed.analytic import GaussianMixture
from scorebed.solvers import Node, Solver
from scorebed.toy.figures.style import EXACT, MUTED, appearances, headline, look
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.measure.output_law import law, weak_errors


def figure(solvers: Sequence[Solver], target: GaussianMixture, grids: Sequence[Sequence[Node]]) -> Figure:
    """The law of each solver on the first grid against the target, its tails, and the weak error of the variance against the steps."""
    looks, first = appearances(solvers), grids[0]
    slopes: dict[str, float] = {}
    off: dict[str, float] = {}
    truth = target.line(first[-1])
    spread = float(truth.scales.max())
    x = np.linspace(truth.means.min() - 5 * spread, truth.means.max() + 5 * spread, 1200)
    exact = np.exp(np.asarray(target.log_prob(x[:, None], first[-1])))
    with look():
        result = Figure(figsize=(10.5, 3.9), layout="constrained")
        body, tails, errors = result.subplots(1, 3)
        for axis in (body, tails):
            axis.plot(x, exact, color=EXACT, linewidth=3.2, alpha=0.3)
        for solver in solvers:
            style = {k: v for k, v in looks[solver.name].items() if k in ("color", "linestyle")}
            density = law(solver, target, first).density(x)
            off[solver.name] = 0.5 * float(np.trapezoid(np.abs(density - exact), x))
            body.plot(x, density, **style)
            tails.plot(x, np.where(density > 1e-14, density, np.nan), **style)
            table = weak_errors(solver, target, grids, (2,))
            rows = table[table.quantity == "x^2"]
            errors.plot(rows.steps, rows.error, **looks[solver.name])
            if len(grids) > 1:
                slopes[solver.name] = order_of(list(rows.steps), list(rows.error)).slope
        body.set(title=f"density after {len(first) - 1} steps", xlabel="x")
        tails.set(title="the same, logarithmic", xlabel="x", yscale="log", ylim=(1e-10, 3 * exact.max()))
        errors.set(title="error of E x²", xlabel="steps", xscale="log", yscale="log")
        steps = [len(nodes) - 1 for nodes in grids]
        errors.set_xticks(steps, [str(n) for n in steps])
        errors.minorticks_off()
        handles = [Line2D([], [], color=EXACT, linewidth=3.2, alpha=0.3, label="exact")]
        handles += [Line2D([], [], **looks[s.name], label=f"{s.name} (slope {slopes[s.name]:.2f})" if slopes else s.name) for s in solvers]
        result.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)))
        best, worst = min(off, key=lambda name: off[name]), max(off, key=lambda name: off[name])
        said = f"After {len(first) - 1} steps the law of {best} is {off[best]:.2g} from the target in total variation"
        said += f", that of {worst} {off[worst]:.2g}" if len(off) > 1 else ""
        headline(result, f"{said}. Tails are off by orders of magnitude. No samples.")
        for axis in result.axes:
            axis.grid(visible=True, which="major")
            axis.tick_params(colors=MUTED)
    return result
