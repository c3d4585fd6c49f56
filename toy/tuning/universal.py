r"""Universal few-step methods: courses for one number of evaluations, tuned on many laws at once, that run on any process (``course``).

These methods have no order: with another number of evaluations c means nothing. So they are Plans, which ``advise`` races at all of
``SCALES`` and ``STRETCHES``, and on DDIM's grids for Gaussians of ``SCALES``, beside every method on every grid. There are three for each
number of evaluations: one fitted to exact laws whose denoisers are smooth; one to a network too, whose is rough, so that it leans less on
what went before; and one to tables of categories, where runs part between far ends early. What they were fitted to, and what they are worth
on what they were not (``python -m benchmarks.universal``), ``docs/tuned.md`` shows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files

import numpy as np

from scorebed.solvers import Node, Plan, Schedule
from scorebed.toy.tuning.course import Course

SCALES = (0.15, 0.2, 0.27, 0.37, 0.5, 0.7, 1.0, 1.4, 1.9, 2.6, 3.5)
STRETCHES = (0.75, 1.0, 1.2, 1.4, 1.7)
"""Where ``advise`` tries them."""
FITTED_TO = ("laws", "networks", "tables")
"""What the courses were fitted to: smooth exact laws, such with ripples and a network, or rows of tables with categories."""


@cache
def table(fitted_to: str = "networks") -> dict[int, Course]:
    """The universal courses, by their numbers of evaluations.

    Args:
        fitted_to: one of ``FITTED_TO``.

    Returns:
        a Course for each number.

    Raises:
        ValueError: another name.
    """
    if fitted_to not in FITTED_TO:
        raise ValueError(f"fitted_to = {fitted_to!r}: give one of {', '.join(FITTED_TO)}")
    made = json.loads(files("scorebed.toy.tuning").joinpath("universal.json").read_text(encoding="utf-8"))
    return {int(nfe): load(one) for nfe, one in made[fitted_to].items()}


def load(made: dict[str, list[float]]) -> Course:
    """What ``saved`` wrote."""
    levels, told = np.array(made["levels"]), np.array(made["told"])
    return Course(levels, told, np.zeros((len(told), len(told)))).moved(np.concatenate([levels, told, made["combinations"]]))


def saved(course: Course) -> dict[str, list[float]]:
    """A course as plain JSON."""
    values, m = [float(f"{value:.9g}") for value in course.free()], course.m
    return {"levels": values[: m - 1], "told": values[m - 1 : 2 * m - 1], "combinations": values[2 * m - 1 :]}


def universal(
    nfe: int,
    schedule: Schedule | Sequence[Node],
    start: float | None = None,
    end: float | None = None,
    *,
    scale: float = 1.0,
    stretch: float = 1.0,
    fitted_to: str = "networks",
) -> Plan:
    """The universal method of so many evaluations, on a schedule or on a grid.

    Args:
        nfe: one of ``table()``.
        schedule: any; start and end are its times, None its own ends. Or a grid of nfe + 1 nodes, whose levels are taken.
        scale: of the data, in the units of x0; 1 is that of families whose coordinates have variances near 1.
        stretch: of the levels in lam; more than 1 where data have structure at many scales.
        fitted_to: one of ``FITTED_TO``. ``advise`` finds all three, and on which grid.

    Returns:
        the universal Plan of ``nfe`` evaluations.

    Raises:
        ValueError: a number of evaluations that there is none for, an unknown ``fitted_to``, a scale or stretch that is not positive,
            levels that do not fit, what is neither a schedule nor a grid, a grid of another length, or ends, scale or stretch beside one.
    """
    courses = table(fitted_to)
    if nfe not in courses:
        raise ValueError(f"nfe = {nfe!r}: there are universal methods for {', '.join(map(str, courses))} evaluations")
    if isinstance(schedule, Iterable):
        grid = [*schedule]
        if not all(isinstance(node, Node) for node in grid):
            raise ValueError(f"schedule = {schedule!r}: give a schedule, or a grid of {nfe + 1} nodes")
        if (start, end, scale, stretch) != (None, None, 1.0, 1.0):
            raise ValueError("start, end, scale, stretch: a grid has its own levels; give a schedule with them, or the grid alone")
        form = courses[nfe].on(grid)
    elif hasattr(schedule, "node"):
        begin, stop = schedule.t_max if start is None else start, schedule.t_min if end is None else end
        form = courses[nfe].form(schedule, begin, stop, scale=scale, stretch=stretch)
    else:
        raise ValueError(f"schedule = {schedule!r}: give a schedule, or a grid of {nfe + 1} nodes")
    return form.plan(f"universal_{nfe}_{fitted_to}")
