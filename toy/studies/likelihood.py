r"""Whose is which part of the error of log p: the prior's, the steps', the probes', the score's.

    exact log p  →  prior: the exact flow, with N(0, sigma_T² I) in place of p_T
                 →  discretisation: the solver in place of the exact flow
                 →  score error: the solver with a wrong model
                 →  probes: Hutchinson's estimate in place of the trace, whose mean moves nothing and whose deviation is known

Each part is the difference of two of these for every datum, so that the parts add up to the total at each point and in the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from scorebed.analytic.output.density import Floats, Model, exact_jacobian, normal_log_prob, pushed
from scorebed.analytic.output.likelihood import Flowing, likelihood_parts
from scorebed.solvers import Node, Solver, trace
from scorebed.toy.studies.budget import ScoreError

PARTS = ("prior", "discretisation", "score error")


def wrong_model(law: Any, error: ScoreError) -> tuple[Model, Model]:
    """D̃ = D + E (D − x/alpha) and its Jacobian, for the score s + E s with E = g 1 + S."""
    e, right = error.matrix(law.d), exact_jacobian(law)

    def denoise(x: Floats, node: Node) -> Floats:
        exact = np.asarray(law.denoised(x, node))
        return exact + (exact - x / node.alpha) @ e.T

    def jacobian(x: Floats, node: Node) -> Floats:
        a = right(x, node)
        return np.asarray(a + e @ (a - np.eye(law.d) / node.alpha))

    return denoise, jacobian


def split(
    solver: Solver,
    law: Flowing,
    nodes: Sequence[Node],
    x: Any,
    *,
    error: ScoreError | None = None,
    by: str = "quadrature",
    probes: int = 0,
    kept: bool = True,
) -> pd.DataFrame:
    """The parts of the error of log p at data x: columns solver, steps, part, mean, rms; the last rows are the total and the probes.

    Args:
        solver: deterministic, with a Plan.
        law: with an exact flow.
        nodes: from data to noise.
        x: at nodes[0], (n, d).
        error: of the score; none by default.
        by: "quadrature" of the divergence, or "determinant" of the solver's map.
        probes: how many of Hutchinson's (signs) stand in for the trace; 0 for the exact trace.
        kept: one probe along the run, or fresh ones at each evaluation.

    Returns:
        the parts of the log p error: solver, steps, part, mean, rms.

    Raises:
        ValueError: as ``pushed``; probes with determinants.
    """
    if probes < 0 or (probes and by != "quadrature"):
        raise ValueError(f"probes = {probes} with by = {by!r}: probes are a way to do the quadrature; give 0 or more, by='quadrature'")
    x, last = np.asarray(x, dtype=float), nodes[-1]
    truth = likelihood_parts(law, x, nodes[0], last)
    plan = trace(solver, list(nodes))

    def estimate(model: tuple[Model, Model]) -> tuple[Floats, Floats]:
        run = pushed(plan, *model, x)
        log_det = run.log_det if by == "determinant" else run.quadrature
        variance = run.probe_variance(kept=kept) / probes if probes else np.zeros(len(x))
        return normal_log_prob(run.end, last.sigma**2) + log_det, variance

    right, variance = estimate((law.denoised, exact_jacobian(law)))  # type: ignore[attr-defined]
    wrong, variance = estimate(wrong_model(law, error)) if error is not None else (right, variance)
    steps = [truth.log_prob, truth.usual, right, wrong]
    rows = [(part, after - before) for part, before, after in zip(PARTS, steps[:-1], steps[1:], strict=True)]
    rows.append(("total", wrong - truth.log_prob))
    made = [(solver.name, len(nodes) - 1, part, float(v.mean()), float(np.sqrt(np.mean(v**2)))) for part, v in rows]
    made.append((solver.name, len(nodes) - 1, "probes", 0.0, float(np.sqrt(np.mean(variance)))))
    return pd.DataFrame(made, columns=["solver", "steps", "part", "mean", "rms"])
