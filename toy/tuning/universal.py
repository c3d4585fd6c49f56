r"""Universal few-step methods: a course of levels, told levels and combinations for one number of evaluations, tuned on many laws at once.

A step from one level to the next is that of DDIM with a combination of the evaluations so far in the place of the newest,

    u_{s+1} = (sigma_{s+1}/sigma_s) u_s + (alpha_{s+1} − alpha_s sigma_{s+1}/sigma_s) Σ_{j≤s} c_sj D_j,    Σ_j c_sj = 1,

and the levels stand at lam_i = −log scale + stretch · l_i on any process. Data of another scale c have the same course at lam − log c; the
stretch says over how many levels the data become what they are. Where one more step of the size of the last would go beyond the end of the
range by b, level i is lower by b (i/m)², so that steps grow shorter towards the end and the last is not cut off. What is shared by all are
l, c and how far the told levels are from the levels. The weights of a ``Form`` follow: with R_i = alpha_i − alpha_T sigma_i/sigma_T and
T_s the second factor above,

    R_i w_ij = Σ_{j≤s<i} (sigma_i/sigma_{s+1}) T_s c_sj.

To share c and not w is what lets one course serve networks: w belongs to one range and one spacing, c hardly changes with them.

These methods have no order: with another number of evaluations c means nothing. So they are Plans, which ``advise`` races at all of
``SCALES`` and ``STRETCHES`` beside every method on every grid. What they were fitted to, and what they are worth on what they were not
(``python -m benchmarks.universal``), ``docs/tuned.md`` shows.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from scorebed.solvers import Node, Plan, Schedule
from scorebed.toy.tuning.form import PARTS, Form

SCALES = (0.15, 0.2, 0.27, 0.37, 0.5, 0.7, 1.0, 1.4, 1.9, 2.6, 3.5)
STRETCHES = (0.75, 1.0, 1.2, 1.4, 1.7)
"""Where ``advise`` tries them."""


@dataclass(frozen=True)
class Course:
    """What a universal method of m evaluations has on every process.

    Attributes:
        levels: l_1 … l_{m−1}, shape (m − 1,); the first level is that of the state.
        told: the level told to the network less that of its input, over the stretch, shape (m,); of the first less l_1.
        combinations: c, shape (m, m), lower triangular, whose rows add up to 1.
    """

    levels: np.ndarray
    told: np.ndarray
    combinations: np.ndarray

    @property
    def m(self) -> int:
        return len(self.told)

    def free(self) -> np.ndarray:
        """Its numbers as one vector: levels, told, and the combinations but for the newest evaluation, which takes what is left of 1."""
        return np.concatenate([self.levels, self.told, *(self.combinations[s, :s] for s in range(1, self.m))])

    def moved(self, values: np.ndarray) -> Course:
        """The course with these numbers in the place of ``free()``."""
        m, c = self.m, np.zeros((self.m, self.m))
        below = np.tril_indices(m, -1)
        c[below] = values[2 * m - 1 :]
        c[np.diag_indices(m)] = [1.0 - math.fsum(row[:s]) for s, row in enumerate(c)]
        return Course(np.array(values[: m - 1]), np.array(values[m - 1 : 2 * m - 1]), c)

    def form(self, schedule: Schedule, start: float, end: float, *, scale: float = 1.0, stretch: float = 1.0) -> Form:
        """The course between two times of a schedule, as a form.

        Args:
            schedule: any.
            start, end: its times.
            scale: of the data.
            stretch: of the levels.

        Returns:
            the Form of the Plan there.

        Raises:
            ValueError: a scale or stretch that is not positive, or levels that do not fit between the ends.
        """
        for name, value, what in (
            ("scale", scale, "the standard deviation of the data"),
            ("stretch", stretch, "1 for the course as it is"),
        ):
            if not (math.isfinite(value) and value > 0.0):
                raise ValueError(f"{name} = {value!r}: give a positive number, {what}")
        first, last = schedule.node(start), schedule.node(end)
        lams = np.concatenate([[first.lam], stretch * self.levels - math.log(scale)])
        if self.m > 2:  # one more step of the size of the last would go beyond the end by so much
            beyond = max(0.0, 2.0 * float(lams[-1]) - float(lams[-2]) - last.lam)
            lams[1:] -= beyond * (np.arange(1, self.m) / self.m) ** 2
        if not np.all(np.diff([*lams, last.lam]) > 0.0):
            raise ValueError(
                f"scale = {scale!r}, stretch = {stretch!r}: levels from {lams[1]:.2f} to {lams[-1]:.2f} in lam do not fit in order between "
                f"the ends {first.lam:.2f} and {last.lam:.2f}"
            )
        told = lams + stretch * self.told
        told[0] += lams[1] - lams[0]
        weights = np.zeros((self.m + 1, self.m))
        weights[1:] = _from_combinations(schedule, first, last, lams) @ self.combinations
        for i in range(1, self.m + 1):
            weights[i, i - 1] += 1.0 - math.fsum(weights[i, :i])
        return Form(schedule, first, last, lams, np.clip(told, first.lam, last.lam), weights)

    def slopes(self, schedule: Schedule, start: float, end: float, *, scale: float, stretch: float) -> np.ndarray:
        """How the form's free numbers change with ``free()``, −log scale and stretch: by differences, with the combinations in closed form.

        Args:
            schedule, start, end, scale, stretch: as of ``form``.

        Returns:
            the Jacobian, shape (numbers of the form, numbers here + 2).

        Raises:
            ValueError: as ``form``.
        """
        m, values = self.m, np.concatenate([self.free(), [-math.log(scale), stretch]])
        form = self.form(schedule, start, end, scale=scale, stretch=stretch)
        from_c = _from_combinations(form.schedule, form.first, form.last, form.lams)
        out = np.zeros((len(form.free(PARTS)), len(values)))
        for k in (*range(2 * m - 1), len(values) - 2, len(values) - 1):
            ends = []
            for h in (_SMALL, -_SMALL):
                at = values.copy()
                at[k] += h
                near = self.moved(at[:-2]).form(schedule, start, end, scale=math.exp(-at[-2]), stretch=float(at[-1]))
                ends.append(near.free(PARTS))
            out[:, k] = (ends[0] - ends[1]) / (2.0 * _SMALL)
        row = {(i, j): k for k, (i, j) in enumerate(((i, j) for i in range(2, m + 1) for j in range(i - 1)), 2 * m - 1)}
        for k, (s, j) in enumerate(((i, j) for i in range(1, m) for j in range(i)), 2 * m - 1):
            for i in range(s + 1, m + 1):  # c_sj up, c_ss down by as much
                out[row[i, j], k] += from_c[i - 1, s]
                if s < i - 1:
                    out[row[i, s], k] -= from_c[i - 1, s]
        return out


_SMALL = 1e-5
"""Of the differences, in lam."""


def _from_combinations(schedule: Schedule, first: Node, last: Node, lams: np.ndarray) -> np.ndarray:
    """The matrix that takes combinations to the weights of rows 1 to m."""
    nodes = [first, *(schedule.at_lam(float(lam)) for lam in lams[1:]), last]
    alpha, sigma = (np.array([getattr(node, name) for node in nodes], dtype=float) for name in ("alpha", "sigma"))
    rest, step = alpha[1:] - alpha[0] * sigma[1:] / sigma[0], alpha[1:] - alpha[:-1] * sigma[1:] / sigma[:-1]
    with np.errstate(all="ignore"):  # a range may end at sigma = 0
        shrunk = sigma[1:, None] / sigma[None, 1:]
    np.fill_diagonal(shrunk, 1.0)
    return np.where(np.tri(len(step)) > 0.0, shrunk * step[None, :], 0.0) / rest[:, None]


def course_of(form: Form) -> Course:
    """The course of a form, at scale and stretch 1.

    Args:
        form: whose levels are in order.

    Returns:
        the Course.

    Raises:
        ValueError: levels out of order, between which no step can be told.
    """
    if not form.ordered:
        raise ValueError("form: its levels are not in order, so that it has no steps; give one with one evaluation a step")
    from_c = _from_combinations(form.schedule, form.first, form.last, form.lams)
    told = form.told - form.lams
    told[0] += form.lams[0] - form.lams[1]
    return Course(form.lams[1:].copy(), told, np.linalg.solve(from_c, form.weights[1:]))


@cache
def table() -> dict[int, Course]:
    """The universal courses, by their numbers of evaluations."""
    made = json.loads(files("scorebed.toy.tuning").joinpath("universal.json").read_text(encoding="utf-8"))
    return {int(nfe): load(one) for nfe, one in made["courses"].items()}


def load(made: dict[str, list[float]]) -> Course:
    """What ``saved`` wrote."""
    levels, told = np.array(made["levels"]), np.array(made["told"])
    return Course(levels, told, np.zeros((len(told), len(told)))).moved(np.concatenate([levels, told, made["combinations"]]))


def saved(course: Course) -> dict[str, list[float]]:
    """A course as plain JSON."""
    values, m = [float(f"{value:.9g}") for value in course.free()], course.m
    return {"levels": values[: m - 1], "told": values[m - 1 : 2 * m - 1], "combinations": values[2 * m - 1 :]}


def universal(
    nfe: int, schedule: Schedule, start: float | None = None, end: float | None = None, *, scale: float = 1.0, stretch: float = 1.0
) -> Plan:
    """The universal method of so many evaluations, on a schedule.

    Args:
        nfe: one of ``table()``.
        schedule: any; start and end are its times, None its own ends.
        scale: of the data, in the units of x0; 1 is that of families whose coordinates have variances near 1.
        stretch: of the levels in lam; more than 1 where data have structure at many scales. ``advise`` finds both.

    Returns:
        the universal Plan of ``nfe`` evaluations.

    Raises:
        ValueError: a number of evaluations that there is none for, a scale or stretch that is not positive, or levels that do not fit.
    """
    if nfe not in table():
        raise ValueError(f"nfe = {nfe!r}: there are universal methods for {', '.join(map(str, table()))} evaluations")
    begin, stop = schedule.t_max if start is None else start, schedule.t_min if end is None else end
    return table()[nfe].form(schedule, begin, stop, scale=scale, stretch=stretch).plan(f"universal_{nfe}")
