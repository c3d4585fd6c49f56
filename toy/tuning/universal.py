r"""Universal few-step methods: levels, told levels and weights for one number of evaluations, tuned on families of exact targets.

A form (``form.py``) in x/alpha knows the schedule by lam alone, so that with its levels as shares of the way from the first lam to the last
it runs on any. One set of numbers goes down on all members of the training families at once, Σ_members mean log|x − y|, by the steps of
``search`` (``universal_fit``); members and families that were never used say what it is worth. These methods have no order: with another
number of evaluations their weights mean nothing, so that they are Plans, which ``advise`` races beside every method on every grid.

Measured, against the best of a short list, at 5, 8 and 10 evaluations, geometric means over six members that nothing was fitted
to (``python -m benchmarks.universal``): .46, .26 and .17 of its error on clusters and .20, .08 and .04 on sheets, families that were
never used; .01 to .31 on the others. Where the search begins decides: fitted at once to all three families, where Gaussians have by
far the most to gain, it stands still at .5 on products at 10 evaluations; fitted to products and mixtures first, and from there to all,
it comes to .03. On networks they fail: 2 to 3 times its error on galaxies, 15 to 24 times on crystals. What serves smooth laws of unit
scale need not serve a network: tune. Fitting to power laws with a floor and to smoothed points, held to a plain start by a ridge, was
tried and gained nothing there (``docs/tuned.md``).
"""

from __future__ import annotations

import math

import numpy as np

from scorebed.solvers import Plan, Schedule
from scorebed.toy.tuning.form import Form
from scorebed.toy.tuning.universal_table import NUMBERS


def shares(form: Form) -> dict[str, list[float]]:
    """A form's numbers without its schedule: levels and told levels as shares of the way in lam, and the rows of weights."""
    start, way = form.first.lam, form.last.lam - form.first.lam
    return {
        "levels": ((form.lams - start) / way).tolist(),
        "told": ((form.told - start) / way).tolist(),
        "weights": [float(w) for i in range(1, form.m + 1) for w in form.weights[i, :i]],
    }


def universal(nfe: int, schedule: Schedule, start: float | None = None, end: float | None = None) -> Plan:
    """The universal method of so many evaluations, on a schedule.

    Args:
        nfe: one of ``NUMBERS``.
        schedule: any; start and end are its times, None its own ends.

    Returns:
        the universal Plan of ``nfe`` evaluations.

    Raises:
        ValueError: a number of evaluations that there is none for.
    """
    if nfe not in NUMBERS:
        raise ValueError(f"nfe = {nfe!r}: there are universal methods for {', '.join(map(str, NUMBERS))} evaluations")
    first = schedule.node(schedule.t_max if start is None else start)
    last = schedule.node(schedule.t_min if end is None else end)
    return bound(NUMBERS[nfe], schedule, first.t, last.t).plan(f"universal_{nfe}")


def bound(numbers: dict[str, list[float]], schedule: Schedule, start: float, end: float) -> Form:
    """The form with these shares between two times of a schedule."""
    first, last = schedule.node(start), schedule.node(end)
    way, m = last.lam - first.lam, len(numbers["levels"])
    lams, told = (first.lam + way * np.array(numbers[k]) for k in ("levels", "told"))
    weights, at = np.zeros((m + 1, m)), 0
    for i in range(1, m + 1):
        weights[i, :i] = numbers["weights"][at : at + i]
        weights[i, i - 1] += 1.0 - math.fsum(weights[i, :i])
        at += i
    return Form(schedule, first, last, lams, told, weights)
