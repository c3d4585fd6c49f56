r"""Projection has weak order 1/2, reflection 1, Heun on the unfolded torus 2: the exact law of each chain on [0, 1], without Monte Carlo.

The chains are those of the methods' own steps (``walled_chain``, ``radial_law``). A clipped normal sits on the wall with probability O(1)
when x is within √h of it, and that happens during a fraction √h of the time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from scorebed.analytic.heat import HeatMixture
from scorebed.solvers import EDM, SOLVERS, Node, Solver
from scorebed.solvers.space import Box
from scorebed.toy.measure.convergence import Order, order_of
from scorebed.toy.problems.radial_law import RadialChain
from scorebed.toy.problems.walled_chain import followed

if TYPE_CHECKING:
    import pandas as pd

SCHEMES: dict[str, Solver] = {
    "projected_euler": SOLVERS["projected_euler"],
    "penalised_euler": SOLVERS["penalised_euler"](strength=1.5),  # at 1 its chain, seen through the clip, is the projected one
    "reflected_euler": SOLVERS["reflected_euler"],
    "reflected_heun": SOLVERS["reflected_heun"],
}
"""What is compared."""
STEPS = (8, 16, 32, 64, 128, 256, 512)


@cache
def chain() -> RadialChain:
    """Two wide kernels on [0, 1], towards a wall: the drift is small, and what the walls do is seen at moderate steps."""
    return RadialChain(HeatMixture(Box(1), [0.5, 0.5], [[0.1], [0.4]], 0.1), points=64, rule=(16, 2))


def clock_grid(n: int, start: float = 0.1, end: float = 0.01) -> list[Node]:
    """n equal steps of the clock sigma²."""
    return [EDM().node(math.sqrt(start + (end - start) * i / n)) for i in range(n + 1)]


def second_cosine(u: np.ndarray) -> np.ndarray:
    """cos 2πx of u = cos πx."""
    return 2.0 * u * u - 1.0


def weak_error(solver: Solver, n: int) -> float:
    """The error of E cos 2πx after n steps of a stochastic method on [0, 1]."""
    return abs(followed(solver, chain()).error(solver(space=chain().space), clock_grid(n), second_cosine))


def measure(schemes: Sequence[str] = tuple(SCHEMES), steps: Sequence[int] = STEPS) -> pd.DataFrame:
    """One line per scheme and number of steps: scheme, claimed weak order, steps, h, error."""
    import pandas as pd

    grid = clock_grid(1)
    span = grid[0].sigma ** 2 - grid[-1].sigma ** 2
    rows = [(name, SCHEMES[name].weak, n, span / n, weak_error(SCHEMES[name], n)) for name in schemes for n in steps]
    return pd.DataFrame(rows, columns=["scheme", "claimed", "steps", "h", "error"])


def orders(frame: pd.DataFrame) -> dict[str, Order]:
    """The weak order of each scheme, from its finest steps."""
    return {str(name): order_of(list(part.steps), list(part.error), 1e-11) for name, part in frame.groupby("scheme", sort=False)}
