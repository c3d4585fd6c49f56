r"""Universal few-step methods: levels, told levels and weights for one number of evaluations, tuned on families of exact targets.

A form (``form.py``) in x/alpha knows the schedule by lam alone. On data of another scale c the same law stands at lam − log c, so that
with its levels in lam and a scale it runs on any process. One set of numbers goes down on all members of the training families at once,
Σ_members mean log|x − y|, by the steps of ``search`` (``universal_fit``); members and families that were never used say what it is
worth. These methods have no order: with another number of evaluations their weights mean nothing, so that they are Plans, which
``advise`` races at ten scales beside every method on every grid.

Measured, against the best of a short list, at 5, 8 and 10 evaluations, geometric means over six members that nothing was fitted
to (``python -m benchmarks.universal``): .46, .26 and .17 of its error on clusters and .20, .08 and .04 on sheets, families that were
never used; .01 to .31 on the others. Where the search begins decides: fitted at once to all three families, where Gaussians have by
far the most to gain, it stands still at .5 on products at 10 evaluations; fitted to products and mixtures first, and from there to all,
it comes to .03. On networks, at the best scale, they have .94 of the error of that list's best at 5 evaluations on galaxies, 1.10 on
crystals, and more with more evaluations (``docs/tuned.md``): what serves smooth laws need not serve a network.
"""

from __future__ import annotations

import math

import numpy as np

from scorebed.solvers import VP, Plan, Schedule
from scorebed.toy.tuning.form import Form
from scorebed.toy.tuning.universal_table import NUMBERS

SCALES = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0)
"""Of the data, that ``advise`` tries."""
_FROM, _TO = (VP().node(t).lam for t in (VP().t_max, VP().t_min))
"""The levels that a share 0 and 1 stand for: those where the numbers were fitted begin and end."""


def shares(form: Form) -> dict[str, list[float]]:
    """A form's numbers without its schedule: levels and told levels as shares of the way in lam, and the rows of weights."""
    return {
        "levels": ((form.lams - _FROM) / (_TO - _FROM)).tolist(),
        "told": ((form.told - _FROM) / (_TO - _FROM)).tolist(),
        "weights": [float(w) for i in range(1, form.m + 1) for w in form.weights[i, :i]],
    }


def universal(nfe: int, schedule: Schedule, start: float | None = None, end: float | None = None, *, scale: float = 1.0) -> Plan:
    """The universal method of so many evaluations, on a schedule.

    Args:
        nfe: one of ``NUMBERS``.
        schedule: any; start and end are its times, None its own ends.
        scale: of the data, in the units of x0; 1 is that of families whose coordinates have variances near 1.

    Returns:
        the universal Plan of ``nfe`` evaluations.

    Raises:
        ValueError: a number of evaluations that there is none for, a scale that is not positive, or levels beyond the ends.
    """
    if nfe not in NUMBERS:
        raise ValueError(f"nfe = {nfe!r}: there are universal methods for {', '.join(map(str, NUMBERS))} evaluations")
    first = schedule.node(schedule.t_max if start is None else start)
    last = schedule.node(schedule.t_min if end is None else end)
    return bound(NUMBERS[nfe], schedule, first.t, last.t, scale=scale).plan(f"universal_{nfe}")


def bound(numbers: dict[str, list[float]], schedule: Schedule, start: float, end: float, *, scale: float = 1.0) -> Form:
    """The form with these numbers between two times of a schedule, for data of a scale; a ValueError where its levels are beyond them."""
    if not (math.isfinite(scale) and scale > 0.0):
        raise ValueError(f"scale = {scale!r}: give a positive number, the standard deviation of the data")
    first, last = schedule.node(start), schedule.node(end)
    lams, told = (_FROM + (_TO - _FROM) * np.array(numbers[k]) - math.log(scale) for k in ("levels", "told"))
    lams[0], m = first.lam, len(lams)
    if not (first.lam < lams[1] and lams[-1] < last.lam):
        raise ValueError(
            f"scale = {scale!r}: levels from {lams[1]:.2f} to {lams[-1]:.2f} in lam, beyond the ends {first.lam:.2f} and {last.lam:.2f}"
        )
    weights, at = np.zeros((m + 1, m)), 0
    for i in range(1, m + 1):
        weights[i, :i] = numbers["weights"][at : at + i]
        weights[i, i - 1] += 1.0 - math.fsum(weights[i, :i])
        at += i
    return Form(schedule, first, last, lams, np.clip(told, first.lam, last.lam), weights)
