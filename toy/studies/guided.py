"""The study of guidance: for each rule, solver, scale and number of steps, the bias of guidance and the discretisation error, apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from scorebed.solvers import SOLVERS
from scorebed.solvers.guide import CFG, Rule, guided, interval
from scorebed.toy.measure.guided_law import limit_cdf, split
from scorebed.toy.problems.guided import GUIDED, GuidedProblem, scales

Report = Callable[[int, int, str], None]
RULES: dict[str, Callable[[float], Rule]] = {"cfg": CFG, "interval": lambda w: interval(w, 0.2, 2.0)}
"""Rules by name. APG, CFG-Zero* and rescaling are trivial on the line, where a sample has one entry; CFG++ has no limit of small steps."""


def table(
    problem: GuidedProblem | str = "classes",
    rules: Sequence[str] = ("cfg",),
    solvers: Sequence[str] = ("ddim", "ddpm"),
    *,
    scale: Sequence[float] = (1.0, 2.0, 3.0, 5.0, 8.0),
    steps: Sequence[int] = (5, 10, 20, 40, 80),
    report: Report | None = None,
) -> pd.DataFrame:
    """One row for each run: columns problem, rule, solver, scale, steps, bias, discretisation, total (W1).

    Raises:
        ValueError: an unknown rule, or a scale at which nothing was meant.
    """
    place = GUIDED[problem] if isinstance(problem, str) else problem
    if unknown := [name for name in rules if name not in RULES]:
        raise ValueError(f"rules = {unknown} are not measured on the line: give some of {', '.join(RULES)}")
    rows: list[dict[str, Any]] = []
    whole, done = len(rules) * len(solvers) * len(scales(scale)), 0
    for rule in rules:
        for name in solvers:
            for w in scales(scale):
                model = guided(place.given.denoised, place.null.denoised, RULES[rule](w))
                limit = limit_cdf(place, model, name)
                for n in sorted(set(steps)):
                    parts = split(place, model, w, SOLVERS[name], n, limit)
                    rows.append({"problem": place.name, "rule": rule, "solver": name, "scale": w, "steps": n, **vars(parts)})
                done += 1
                if report is not None:
                    report(done, whole, f"{rule}, {name}, w = {w:g}")
    return pd.DataFrame(rows)
