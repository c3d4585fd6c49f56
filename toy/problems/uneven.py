"""Spacings that no method expects, on which it must keep its order all the same."""

from __future__ import annotations

import math

import numpy as np

from scorebed.solvers import Node, Schedule
from scorebed.solvers.grid import check


def _ends(schedule: Schedule, start: float | None, end: float | None) -> tuple[Node, Node]:
    return schedule.node(schedule.t_max if start is None else start), schedule.node(schedule.t_min if end is None else end)


def jagged(schedule: Schedule, n: int, start: float | None = None, end: float | None = None) -> list[Node]:
    """Steps in lam of alternating lengths 2 : 3, so that a multistep method with constant coefficients loses its order."""
    first, last = _ends(schedule, start, end)
    lengths = np.where(np.arange(n) % 2, 3.0, 2.0)
    inner = np.cumsum(lengths)[:-1] / lengths.sum()
    return check([first, *(first.toward(last, float(r)) for r in inner), last])


def warped(schedule: Schedule, n: int, start: float | None = None, end: float | None = None) -> list[Node]:
    """Smoothly varying steps in t: t = start + (end - start)(u + sin(2 pi u)/10)."""
    first, last = _ends(schedule, start, end)
    u = np.arange(n + 1) / n
    inner = (u + 0.1 * np.sin(2.0 * math.pi * u))[1:-1]
    return check([first, *(schedule.node(first.t + (last.t - first.t) * float(r)) for r in inner), last])
