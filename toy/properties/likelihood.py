"""The property of log p: along a deterministic method it converges with the method's order, by determinants and by its own quadrature."""

from __future__ import annotations

from functools import cache

import numpy as np

from scorebed.analytic.output.density import exact_jacobian, pushed
from scorebed.solvers import Solver, trace
from scorebed.toy.measure.convergence import rms
from scorebed.toy.measure.order import Conditions, OrderResult, measure_order
from scorebed.toy.properties.cases import cases
from scorebed.toy.properties.registry import any_of, chooses_steps, prop, require, stochastic, unplanned

_STEPS, _FINER = (32, 64, 128), (256, 512)


def likelihood_results(solver: Solver) -> dict[str, OrderResult]:
    """The errors of log p at data of three modes, run from data to noise with the exact law at its end, in both ways."""
    case = cases()[0].reversed()
    law, (s, t) = case.target, case.ends
    x = np.asarray(case.states(s))
    exact = law.log_prob(x, s)

    @cache
    def errors(n: int) -> dict[str, float]:
        run = pushed(trace(solver, case.nodes(n)), law.denoised, exact_jacobian(law), x)
        rest = law.log_prob(run.end, t) - exact
        return {"determinant": rms(rest + run.log_det), "quadrature": rms(rest + run.quadrature)}

    return {
        by: measure_order(
            lambda n, by=by: errors(n)[by],  # type: ignore[misc]
            conditions=Conditions(target=case.name),
            steps=_STEPS,
            finer=_FINER,
            enough=lambda r: r.reaches(solver.order),
        )
        for by in ("determinant", "quadrature")
    }


@prop(exempt=any_of(stochastic, chooses_steps, unplanned))
def likelihood_order(solver: Solver) -> None:
    """log p by the determinant of the method's map, and by its quadrature of the divergence, is of the method's order or better."""
    for by, result in likelihood_results(solver).items():
        require(result.reaches(solver.order), solver, f"log p by {by} {result}, claimed {solver.order}; errors {result.errors}")
