"""Methods on tokens on joint tables: total variation of the exact law of the output at numbers of steps, and the step that loses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from scorebed.analytic.finite import total_variation
from scorebed.analytic.finite.parallel import step_correlation
from scorebed.analytic.finite.table import kl
from scorebed.solvers import Solver, methods_on
from scorebed.solvers.methods.jump_exact import TIMES
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.measure.cost import cost
from scorebed.toy.problems import dna, jump, token_paths
from scorebed.toy.problems.jump import JumpProblem
from scorebed.toy.problems.jump_law import output_table
from scorebed.toy.problems.problem import refusal

FLOOR = 1e-12
DEFAULT = ("jump_euler", "tau_leaping", "jump_ancestral", "theta_rk2", "theta_trapezoidal", "jump_corrector", "remdm", "first_hitting")
TABLES = {problem.name: problem for file in (jump, token_paths, dna) for problem in file.PROBLEMS}
"""The problems, by name."""
USUAL = ("masked_bits", "uniform_tokens", "ordered_tokens", "dna")
"""Those of a study that names none."""


def followed(method: Solver) -> bool:
    """Whether it is a method on tokens whose draws can all be followed."""
    return "jump" in method.on and method.nonlinear != TIMES


def known() -> dict[str, Solver]:
    """The methods whose draws can all be followed, each once."""
    return {name: s for name, s in methods_on("jump", aliases=False).items() if followed(s)}


def table(
    methods: Sequence[Solver],
    problems: Sequence[JumpProblem],
    steps: Sequence[int],
    report: Callable[[int, int, str], object] | None = None,
) -> pd.DataFrame:
    """One row for method × problem × number of steps: total variation, KL from the exact marginal, evaluations, and the order so far.

    ``order`` is the slope of the finest three errors up to this row; nan where the error is round-off. A method that does not belong on a
    problem has no row there.

    Returns:
        one row for each method, problem and number of steps.
    """
    pairs = [(p, m) for p in problems for m in methods if not refusal(p, m)]
    rows = []
    for done, (problem, method) in enumerate(pairs):
        errors: list[float] = []
        for n in steps:
            nodes = problem.nodes(n)
            law, exact = problem.law(method, nodes), problem.target.marginal(nodes[-1])
            errors.append(total_variation(law, exact))
            some = [e > FLOOR for e in errors]
            slope = order_of(steps[: len(errors)], errors, FLOOR).slope if sum(some) > 1 and some[-1] else np.nan
            rows.append(
                {
                    "method": method.name,
                    "problem": problem.name,
                    "steps": n,
                    "nfe": cost(problem, method, n),
                    "tv": errors[-1],
                    "kl": kl(exact, np.maximum(law, 0.0)),
                    "order": slope,
                    "claim": method.order,
                }
            )
        if report is not None:
            report(done + 1, len(pairs), f"{method.name} · {problem.name}")
    return pd.DataFrame(rows)


def profile(method: Solver, problem: JumpProblem, steps: int) -> pd.DataFrame:
    """Where the error is made: for each step, from the exact law at its beginning, the total variation at its end, and the conditional
    total correlation that any draw of all tokens at once loses there.

    Returns:
        one row for each step, with total variation and lost total correlation.
    """
    rows = []
    for s, t in pairwise(problem.nodes(steps)):
        found = output_table(method, problem.known, problem.target.marginal(s), [s, t])
        off = total_variation(found, problem.target.marginal(t))
        rows.append({"s": s.t, "t": t.t, "tv": off, "correlation": step_correlation(problem.target, s, t)})  # type: ignore[arg-type]
    return pd.DataFrame(rows)
