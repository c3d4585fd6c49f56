"""Problems on paths of discrete flow matching, and on steps of D3PM: joint tables under noise that no generator with one clock makes."""

from __future__ import annotations

import numpy as np

from scorebed.analytic.finite import TableLaw
from scorebed.solvers.process.paths import MetricPath, MixturePath
from scorebed.solvers.process.share import Cubic
from scorebed.solvers.process.steps import gaussian_steps
from scorebed.toy.problems.jump import JumpProblem, random_table

HYBRID = MixturePath(3, share=Cubic(1.5, 0.5), height=0.1)
METRIC = MetricPath(np.abs(np.arange(3)[:, None] - np.arange(3)) ** 2.0)
LEVELS = gaussian_steps(3, list(np.linspace(0.1, 0.3, 192)))


def hybrid() -> TableLaw:
    """Two tokens between masks and uniform noise that comes and goes."""
    return TableLaw(random_table(3, 2, 2), HYBRID)


def metric() -> TableLaw:
    """Two levels whose noise keeps near them."""
    return TableLaw(random_table(3, 2, 6), METRIC)


def levels() -> TableLaw:
    """Two levels in 192 discretised Gaussian steps."""
    return TableLaw(random_table(3, 2, 6), LEVELS)


PROBLEMS = (
    JumpProblem(
        name="hybrid_tokens", description="masks and uniform noise, a cubic share", make=hybrid, process=HYBRID, start=0.95, end=0.05
    ),
    JumpProblem(name="metric_levels", description="two levels, a metric path", make=metric, process=METRIC, start=0.95, end=0.15),
    JumpProblem(name="d3pm_levels", description="two levels, D3PM's Gaussian steps", make=levels, process=LEVELS),
)
