"""Every kind of grid by name: those of ``solvers.grid``, and those of ``solvers.spacing`` with the parameters that suit a target.

``align_gaussian``, ``align_klub`` and ``simple_diffusion`` take the root mean square of the target's standard deviations, c, the last as
the resolution 64 c that means the same shift; ``tangent`` and ``lipschitz`` take the spectrum of its covariance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from scorebed.solvers import GRIDS, Node, Schedule
from scorebed.solvers.spacing import SPACINGS
from scorebed.toy.problems.euclidean import Problem

KINDS = tuple(dict.fromkeys((*GRIDS, *SPACINGS)))
"""The names."""


def fitted(target: Any) -> dict[str, Callable[..., list[Node]]]:
    """Every kind as a function of (schedule, n, start, end); ``target`` has a ``covariance()``."""
    variances = np.clip(np.linalg.eigvalsh(np.atleast_2d(target.covariance())), 0.0, None)
    c = math.sqrt(float(variances.mean()))
    options: dict[str, dict[str, Any]] = {
        "simple_diffusion": {"resolution": 64.0 * c},
        "align_gaussian": {"c": c},
        "align_klub": {"c": c},
        "tangent": {"variances": variances},
        "lipschitz": {"variances": variances},
    }
    return {name: partial((GRIDS | SPACINGS)[name], **options.get(name, {})) for name in KINDS}


@lru_cache(maxsize=4096)
def _made(problem: Problem, n: int, grid: str) -> tuple[Node, ...]:
    return tuple(fitted(problem.gaussian)[grid](problem.schedule, n, start=problem.start, end=problem.end))


def nodes(problem: Problem, n: int, grid: str | None = None) -> list[Node]:
    """The problem's grid of ``n`` steps by any of the names; None is its own.

    Raises:
        ValueError: an unknown name, or parameters for which the grid does not exist.
    """
    name = grid or problem.grid
    if name not in KINDS:
        raise ValueError(f"grid = {name!r} is not known: give one of {', '.join(KINDS)}")
    return list(_made(problem, n, name))


def kinds(schedule: Schedule, target: Any) -> dict[str, Callable[[int], list[Node]]]:
    """Every kind as a function of the number of steps alone."""
    return {name: partial(make, schedule) for name, make in fitted(target).items()}
