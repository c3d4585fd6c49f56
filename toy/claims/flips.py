"""A claim on bits that flip."""

from __future__ import annotations

import numpy as np

from scorebed.analytic.finite import TableLaw
from scorebed.solvers import SOLVERS
from scorebed.solvers.process.jump import JumpProcess
from scorebed.toy.claims.registry import Row, above, below, claim
from scorebed.toy.problems.jump import JumpProblem, random_table


def _error(table: np.ndarray, process: JumpProcess, steps: int, start: float, end: float = 0.0) -> float:
    problem = JumpProblem(name="table", make=lambda: TableLaw(table, process), process=process, start=start, end=end)
    return problem.law_error(SOLVERS["jump_ancestral"], problem.nodes(steps)).error


@claim(
    252,
    paper="Binary diffusion (XOR noise)",
    reference="arXiv:2409.13882",
    statement="Flips compose as p ∗ q = p (1 − q) + q (1 − p), with ½ stationary; with the bit-wise posterior a step is exact for "
    "independent "
    "bits, and biased for dependent ones where it is long.",
    control="probabilities of flips are added; dependent and independent bits change places",
)
def flips(broken: bool) -> list[Row]:
    """Uniform noise on two values is a flip with probability (1 − α)/2."""
    process = JumpProcess(2, "uniform")
    s, t, u = (process.node(v) for v in (0.0, 0.3, 0.7))
    p, q = float(process.between(s, t)[0, 1]), float(process.between(t, u)[0, 1])
    both = p + q if broken else p * (1.0 - q) + q * (1.0 - p)
    free = np.einsum("a,b,c->abc", [0.3, 0.7], [0.6, 0.4], [0.2, 0.8])
    tied = random_table(2, 3, 1)
    alone, together = (tied, free) if broken else (free, tied)
    start = np.array([0.5, 0.5]) @ process.between(s, u)
    return [
        below("flip of both intervals against p ∗ q", abs(float(process.between(s, u)[0, 1]) - both), 1e-14),
        below("½ after an interval, off ½", float(np.abs(start - 0.5).max()), 1e-15, kept=True),
        below("independent bits, 1 and 3 steps, total variation", max(_error(alone, process, n, 0.9) for n in (1, 3)), 1e-13),
        above("dependent bits, 1 step, total variation", _error(together, process, 1, 0.9), 0.02),
    ]
