"""The study of guidance: for each rule, solver, scale and number of steps, the bias of guidance and the discretisation error, apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from scorebed.solvers import SOLVERS, Solver
from scorebed.solvers.guide import CFG, guided, interval
from scorebed.solvers.methods.steering.composition import thresholded
from scorebed.solvers.methods.steering.rules import APG, CFGZero, Rescaled
from scorebed.toy.measure import guided_plane
from scorebed.toy.measure.guided_law import Split, limit_cdf, split
from scorebed.toy.problems.guided import GUIDED, GuidedPlane, GuidedProblem, scales

Report = Callable[[int, int, str], None]
Make = Callable[[Any, Any, float], Any]
"""(given, null, w) -> the guided model."""

RULES: dict[str, Make] = {
    "cfg": lambda given, null, w: guided(given, null, CFG(w)),
    "interval": lambda given, null, w: guided(given, null, interval(w, 0.2, 2.0)),
}
"""Rules by name. APG, CFG-Zero* and rescaling are trivial on the line, where a sample has one entry; CFG++ has no limit of small steps."""

PLANE_RULES: dict[str, Make] = {
    **RULES,
    "rescaled": lambda given, null, w: guided(given, null, Rescaled(w, 0.7)),
    "apg": lambda given, null, w: guided(given, null, APG(w, 0.0, 1.0)),
    "cfg_zero": lambda given, null, w: guided(given, null, CFGZero(w)),
    "thresholded": lambda given, null, w: thresholded(guided(given, null, CFG(w)), 0.995, 1.5),
}
"""Rules in the plane. Rescaling divides by the spread of the entries of a sample, of two entries by their difference: its field is singular
where they agree."""


def rules_of(place: GuidedProblem) -> dict[str, Make]:
    """The rules that are measured on a problem, by name."""
    return PLANE_RULES if isinstance(place, GuidedPlane) else RULES


def table(
    problem: GuidedProblem | str = "classes",
    rules: Sequence[str] = ("cfg",),
    solvers: Sequence[str | Solver] = ("ddim", "ddpm"),
    *,
    scale: Sequence[float] = (1.0, 2.0, 3.0, 5.0, 8.0),
    steps: Sequence[int] = (5, 10, 20, 40, 80),
    report: Report | None = None,
) -> pd.DataFrame:
    """One row for each run: columns problem, rule, solver, scale, steps, bias, discretisation, total (W1); in the plane also floor.

    Returns:
        one row for each run, with bias, discretisation and total W1, in order of the rules.

    Raises:
        ValueError: an unknown rule, or a scale at which nothing was meant.
    """
    place = GUIDED[problem] if isinstance(problem, str) else problem
    known = rules_of(place)
    if unknown := [name for name in rules if name not in known]:
        where = "in the plane" if isinstance(place, GuidedPlane) else "on the line"
        raise ValueError(f"rules = {unknown} are not measured {where}: give some of {', '.join(known)}")
    rows: list[dict[str, Any]] = []
    whole, done = len(rules) * len(solvers) * len(scales(scale)), 0
    for one in solvers:
        by = SOLVERS[one] if isinstance(one, str) else one
        least = guided_plane.floor(place, by) if isinstance(place, GuidedPlane) else 0.0
        for w in scales(scale):
            for rule in rules:
                parts_of = _measure(place, known[rule](place.given.denoised, place.null.denoised, w), w, by, least)
                for n in sorted(set(steps)):
                    parts = parts_of(n)
                    rows.append({"problem": place.name, "rule": rule, "solver": by.name, "scale": w, "steps": n, **vars(parts)})
                done += 1
                if report is not None:
                    report(done, whole, f"{rule}, {by.name}, w = {w:g}")
    order = {name: i for i, name in enumerate(rules)}
    return pd.DataFrame(rows).sort_values("rule", key=lambda c: c.map(order), kind="stable", ignore_index=True)


def _measure(place: GuidedProblem, model: Any, w: float, solver: Solver, least: float) -> Callable[[int], Split]:
    """Steps -> the two parts, with the limit found once."""
    if isinstance(place, GuidedPlane):
        meant, end = place.meant_states(w, guided_plane.POINTS), guided_plane.limit(place, model, solver)
        return lambda n: guided_plane.split_points(place, model, meant, solver, n, end, least)
    line = limit_cdf(place, model, solver)
    return lambda n: split(place, model, w, solver, n, line)
