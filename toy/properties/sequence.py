"""Properties of methods on sequences, whose frames have levels of noise of their own."""

from __future__ import annotations

from functools import cache

import numpy as np

from scorebed.analytic.process import LinearLaw
from scorebed.solvers import VP, RectifiedFlow
from scorebed.solvers.process.frames import Field, Levels
from scorebed.toy.problems.linear import LinearProblem
from scorebed.toy.problems.uneven import jagged, warped
from scorebed.toy.properties import linear

_LEVELS = Levels(VP(), (0.8, 0.0, -0.5))
_FIELD = Field(RectifiedFlow(), ((1.0, 0.6), (0.6, 1.0)))


def chain() -> LinearLaw:
    """A Gaussian sequence of three frames in the plane."""
    rho = 0.7 ** np.abs(np.subtract.outer(np.arange(3), np.arange(3)))
    return LinearLaw(_LEVELS, [1.0], np.linspace(-1.0, 1.0, 6)[None], np.kron(rho, [[1.0, 0.3], [0.3, 0.2]])[None])


def two_walks() -> LinearLaw:
    """Two frames on the line that stay together or change sides."""
    means, spread = [[1.0, 1.2], [-0.8, 0.9]], [[0.2, 0.1], [0.1, 0.3]]
    return LinearLaw(_FIELD, [0.6, 0.4], means, [spread, spread])


@cache
def problems() -> tuple[LinearProblem, ...]:
    """Levels of each frame's own on a linear flow, and noise with a covariance over the frames on a curved one."""
    return (
        LinearProblem(name="chain, levels, jagged", make=chain, process=_LEVELS, grid=jagged, start=0.8, end=0.05, closed=False),
        LinearProblem(name="walks, field, warped", make=two_walks, process=_FIELD, grid=warped, start=0.9, end=0.1, closed=False),
    )


linear.enrol("sequence", problems)
