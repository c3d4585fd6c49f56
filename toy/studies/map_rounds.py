"""What each round of a distillation gains and loses: progressive distillation and reflow, by the exact laws of their output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.solvers import SOLVERS
from scorebed.toy.measure.output_law import law as output_law
from scorebed.toy.measure.rounds import progressive, reflow
from scorebed.toy.problems.lines import modes
from scorebed.toy.studies.maps import FINE, REFINE, distances, divides, training_grid

if TYPE_CHECKING:
    import pandas as pd


def table(
    count: int = 3,
    steps: Sequence[int] = (1, 2, 4, 8),
    fits: Sequence[float] = (0.0, -0.01),
    law: GaussianMixture | None = None,
    report: Callable[[int, int, str], object] | None = None,
) -> pd.DataFrame:
    """What each round of a distillation gains: one row for each kind, error δ of its fits, round and number of steps, with W1 and KS.

    Round 0 is the teacher: DDIM of ``FINE`` steps, halved by each round of "progressive"; Euler on the first velocity, of which round k of
    "reflow" is the k-th straightened one. A fit is off by a factor 1 + δ.

    Returns:
        one row for each kind, δ, round and number of steps, with W1 and KS.

    Raises:
        ValueError: more rounds than a tower of ``FINE`` steps has, or none; steps that do not divide ``FINE``.
    """
    import pandas as pd

    law = law or modes()
    if not 1 <= count <= FINE.bit_length() - 1:
        raise ValueError(f"count = {count}: {FINE} steps are halved at most {FINE.bit_length() - 1} times, give from 1")
    divides(steps)
    nodes, rows = training_grid(), []
    for fit in fits:

        def off(v: np.ndarray, fit: float = fit) -> np.ndarray:
            return (1.0 + fit) * v

        made = [("progressive", r, FINE >> r, progressive(SOLVERS["ddim"], law, nodes, off)) for r in range(count + 1)]
        for r, model in enumerate(reflow(law, nodes, count + 1, off)):
            made += [("reflow", r, n, model) for n in steps]
        for i, (kind, r, n, model) in enumerate(made):
            if report is not None:
                report(i, len(made), f"{kind}, round {r}, fits off by {fit:+.0%}")
            solver = SOLVERS["reflow" if kind == "reflow" else "flow_map"]
            w1, ks = distances(law, output_law(solver, law, nodes[:: FINE // n], model=model, refine=REFINE).cdf, nodes[-1])
            rows.append({"kind": kind, "fit": fit, "round": r, "steps": n, "w1": w1, "ks": ks})
    return pd.DataFrame(rows)
