"""Properties of convergence: global order in both directions, and weak order by exact moments. ``paths`` has the strong order."""

from __future__ import annotations

import numpy as np

from scorebed.analytic.output.moments import moments
from scorebed.solvers import Solver, trace
from scorebed.toy.measure.convergence import global_errors, order_of, rms
from scorebed.toy.properties.cases import Case, cases, ellipsoid
from scorebed.toy.properties.registry import any_of, chooses_steps, deterministic, prop, require, stochastic

_STEPS = (64, 128, 256, 512)
_FINER = (1024, 2048)
_SETTLED = 0.2
_FLOOR = 1e-12


def _order(solver: Solver, case: Case, start: float, end: float) -> None:
    first, last = case.schedule.node(start), case.schedule.node(end)
    x = case.states(first)
    exact = case.target.flow(x, first, last)
    floor = _FLOOR * max(1.0, rms(exact))
    # the flow of a Gaussian is linear, and some methods do better there than they claim
    above = 0.35 if case.target.k > 1 else 2.0
    steps: list[int] = []
    errors: list[float] = []
    # slopes that still rise to the claim are refined further; those of a lower order only fall
    for n in (*_STEPS, *_FINER):
        steps.append(n)
        errors += global_errors(solver, case.target.denoised, x, exact, [case.grid(case.schedule, n, start, end)])
        if n >= _STEPS[-1] and (errors[-1] <= floor or order_of(steps, errors, floor).inside(solver.order, above=above)):
            break
    found = order_of(steps, errors, floor)
    where = f"on {case.name}, t {start} -> {end}; errors {errors}"
    require(found.inside(solver.order, above=above), solver, f"order {found}, claimed {solver.order}, {where}")


@prop(exempt=any_of(stochastic, chooses_steps))
def order(solver: Solver) -> None:
    """From noise to data the global error falls with the claimed order, start-up and last step included."""
    for case in cases():
        _order(solver, case, case.noisy, case.clean)


@prop(exempt=any_of(stochastic, chooses_steps))
def order_towards_noise(solver: Solver) -> None:
    """So it does from data to noise."""
    for case in cases()[:3]:
        _order(solver, case, case.clean, case.noisy)


def weak_error(solver: Solver, case: Case, n: int) -> float:
    """RMS error of mean and covariance of the output on the case's Gaussian, exact from the Plan of n steps."""
    grid = case.grid(case.schedule, n, case.noisy, case.clean)
    marginal = case.target.marginal(grid[-1])
    mean, covariance = moments(trace(solver, grid), case.target)
    return rms(np.append(mean - marginal.mean(), covariance - marginal.covariance()))


@prop(exempt=deterministic)
def weak_order(solver: Solver) -> None:
    """Mean and covariance of the output on a Gaussian, exact from the Plan, converge with the claimed weak order.

    The run starts from the exact marginal, whose mean most methods then carry exactly; what is left is the covariance.
    """
    assert solver.weak is not None
    for case in (c for c in cases() if c.target is ellipsoid()):
        steps: list[int] = []
        errors: list[float] = []
        for n in (*_STEPS, *_FINER):
            steps.append(n)
            errors.append(weak_error(solver, case, n))
            # judged where the slopes have settled, whatever they are
            if n >= _STEPS[-1] and (found := order_of(steps, errors, _FLOOR)).high - found.low <= _SETTLED:
                break
        found = order_of(steps, errors, _FLOOR)
        require(found.inside(solver.weak), solver, f"weak order {found}, claimed {solver.weak}, on {case.name}; errors {errors}")
