r"""A course of levels, told levels and combinations: what a few-step method has on every process.

A step from one level to the next is that of DDIM with a combination of the evaluations so far in the place of the newest,

    u_{s+1} = (sigma_{s+1}/sigma_s) u_s + (alpha_{s+1} − alpha_s sigma_{s+1}/sigma_s) Σ_{j≤s} c_sj D_j,    Σ_j c_sj = 1,

and the levels stand at lam_i = −log scale + stretch · l_i on any process. Data of another scale c have the same course at lam − log c; the
stretch says over how many levels the data become what they are. Where one more step of the size of the last would go beyond the end of the
range by b, level i is lower by b (i/m)², so that steps grow shorter towards the end and the last is not cut off. Or they are those of a
grid. What is shared by all are l, c and where in a step the told levels are,

    told_i = lam_i + tau_i (lam_i − lam_{i−1}),    told_0 = lam_1 + tau_0 (lam_2 − lam_1),    told_1 = lam_1 + tau_1 (lam_2 − lam_1).

The weights of a ``Form`` follow: with R_i = alpha_i − alpha_T sigma_i/sigma_T and T_s the second factor above,

    R_i w_ij = Σ_{j≤s<i} (sigma_i/sigma_{s+1}) T_s c_sj.

To share c and not w is what lets one course serve networks: w belongs to one range and one spacing, c hardly changes with them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from scorebed.solvers import Node, Schedule
from scorebed.toy.tuning.form import PARTS, Form


@dataclass(frozen=True)
class Course:
    """What a universal method of m evaluations has on every process.

    Attributes:
        levels: l_1 … l_{m−1}, shape (m − 1,); the first level is that of the state.
        told: tau, where in a step the level is that is told to the network, shape (m,).
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
        return self._at(first, last, lams)

    def on(self, grid: Sequence[Node]) -> Form:
        """The course with the levels of a grid in the place of its own.

        Args:
            grid: m + 1 nodes from noise to data.

        Returns:
            the Form of the Plan there.

        Raises:
            ValueError: another number of nodes, or such that are not in order.
        """
        if len(grid) != self.m + 1:
            raise ValueError(f"grid has {len(grid)} nodes: give {self.m + 1}, for {self.m} evaluations")
        lams = np.array([node.lam for node in grid], dtype=float)
        if not np.all(np.diff(lams) > 0.0):
            raise ValueError("grid: its nodes are not in order, from noise to data: give levels that rise in lam")
        return self._at(grid[0], grid[-1], lams[:-1])

    def _at(self, first: Node, last: Node, lams: np.ndarray) -> Form:
        told = lams[[1, *range(1, self.m)]] + self.told * _steps(lams)
        weights = np.zeros((self.m + 1, self.m))
        weights[1:] = _from_combinations(first.process, first, last, lams) @ self.combinations
        for i in range(1, self.m + 1):
            weights[i, i - 1] += 1.0 - math.fsum(weights[i, :i])
        return Form(first.process, first, last, lams, np.clip(told, first.lam, last.lam), weights)

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
            for h in (_SMALL, -_SMALL, 0.0):
                at = values.copy()
                at[k] += h
                with suppress(ValueError):  # beyond an end of the range: the difference to where it is
                    near = self.moved(at[:-2]).form(schedule, start, end, scale=math.exp(-at[-2]), stretch=float(at[-1]))
                    ends.append((h, near.free(PARTS)))
            (above, one), (below, other) = ends[:2]
            out[:, k] = (one - other) / (above - below)
        row = {(i, j): k for k, (i, j) in enumerate(((i, j) for i in range(2, m + 1) for j in range(i - 1)), 2 * m - 1)}
        for k, (s, j) in enumerate(((i, j) for i in range(1, m) for j in range(i)), 2 * m - 1):
            for i in range(s + 1, m + 1):  # c_sj up, c_ss down by as much
                out[row[i, j], k] += from_c[i - 1, s]
                if s < i - 1:
                    out[row[i, s], k] -= from_c[i - 1, s]
        return out


_SMALL = 1e-5
"""Of the differences, in lam."""


def _steps(lams: np.ndarray) -> np.ndarray:
    """In what each told level is measured: the step before it; of the first two, where the range may begin anywhere, the second step."""
    steps = np.diff(lams)
    return np.concatenate([steps[[min(1, len(steps) - 1)] * 2], steps[1:]])


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
    told = form.told - form.lams[[1, *range(1, form.m)]]
    return Course(form.lams[1:].copy(), told / _steps(form.lams), np.linalg.solve(from_c, form.weights[1:]))
