"""Properties of convergence: global order in both directions, and weak order by exact moments. ``paths`` has the strong order."""

from __future__ import annotations

from scorebed.solvers import Solver
from scorebed.toy.measure.order import OrderResult
from scorebed.toy.measure.runs import order_on
from scorebed.toy.problems.euclidean import EuclideanProblem
from scorebed.toy.problems.problem import enrolled
from scorebed.toy.properties.cases import cases
from scorebed.toy.properties.registry import any_of, chooses_steps, deterministic, prop, require, stochastic

_STEPS = (64, 128, 256, 512)
_FINER = (1024, 2048)
_SETTLED = 0.2


def _order(solver: Solver, case: EuclideanProblem) -> None:
    # the flow of a Gaussian is linear, and some methods do better there than they claim
    above = 2.0 if case.linear_flow else 0.35

    def inside(result: OrderResult) -> bool:
        return result.inside(solver.order, above=above)

    # slopes that still rise to the claim are refined further; those of a lower order only fall
    result = order_on(case, solver, steps=_STEPS, finer=_FINER, enough=inside)
    require(inside(result), solver, f"order {result}, claimed {solver.order}, on {result.conditions}; errors {result.errors}")


def _cases(solver: Solver) -> tuple[EuclideanProblem, ...]:
    """All; of a method on spaces one: it is the same on Euclidean(d) (``space_flat``), and has its orders on spaces (``space_order``)."""
    return cases()[:1] if solver.spaces else cases()


@prop(exempt=any_of(stochastic, chooses_steps))
def order(solver: Solver) -> None:
    """From noise to data the global error falls with the claimed order, start-up and last step included."""
    for case, moving in enrolled(_cases(solver), solver):
        _order(moving, case)


@prop(exempt=any_of(stochastic, chooses_steps))
def order_towards_noise(solver: Solver) -> None:
    """So it does from data to noise."""
    for case, moving in enrolled(_cases(solver)[:3], solver):
        _order(moving, case.reversed())


def weak_error(solver: Solver, case: EuclideanProblem, n: int) -> float:
    """W2 between the law of the output of n steps and the exact one, on the case's Gaussian, exact from the Plan."""
    return case.law_error(solver, case.nodes(n)).error


@prop(exempt=deterministic)
def weak_order(solver: Solver) -> None:
    """Mean and covariance of the output on a Gaussian, exact from the Plan, converge with the claimed weak order.

    The run starts from the exact marginal, whose mean most methods then carry exactly; what is left is the covariance.
    """
    weak = solver.weak or 0.0
    for case, moving in enrolled((c for c in cases() if c.linear_flow), solver):
        # judged where the slopes have settled, whatever they are
        result = order_on(case, moving, law=True, steps=_STEPS, finer=_FINER, enough=lambda found: found.settled <= _SETTLED)
        require(result.inside(weak), solver, f"weak order {result}, claimed {weak}, on {result.conditions}; errors {result.errors}")
