"""What keyed noise costs, as a ratio to NumPy's own normals of the same shape, both measured in this run: ``python -m benchmarks.noise``.

Each time is the least of several repetitions. ``refined`` asks for the intervals of a walk along a grid, as a sampler does, and is shown as
a multiple of the plain keyed draw.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import numpy as np

from scorebed.solvers.noise import BrownianNoise
from scorebed.solvers.schedule import VP, Node

SHAPES = ((1024, 2), (256, 3072), (64, 16384), (10000, 8), (1000, 1))
LIMIT = 5.0
_BUDGET = 0.4  # seconds of repetitions for each entry


def fastest(call: Callable[[], object]) -> float:
    """The least time of one call, in seconds."""
    best, end = float("inf"), time.perf_counter() + _BUDGET
    while (begin := time.perf_counter()) < end or best == float("inf"):
        call()
        best = min(best, time.perf_counter() - begin)
    return best


def walk(n: int) -> list[tuple[Node, Node]]:
    schedule = VP()
    lams = np.linspace(schedule.node(1.0).lam, schedule.node(1e-3).lam, n + 1).tolist()
    return list(itertools.pairwise(schedule.at_lam(lam) for lam in lams))


def measure(shape: tuple[int, ...]) -> tuple[float, float, float]:
    """Seconds of NumPy's draw, of the keyed draw, and of one refined interval of a walk of 8."""
    rng, intervals = np.random.default_rng(0), walk(8)
    plain, refined = BrownianNoise(0, shape), BrownianNoise(0, shape, refine=True)
    return (
        fastest(lambda: rng.standard_normal(shape)),
        fastest(lambda: plain(*intervals[3])),
        fastest(lambda: [refined(s, t) for s, t in intervals]) / len(intervals),
    )


def main() -> None:
    print(f"{'shape':>14} {'NumPy, us':>11} {'keyed, us':>11} {'ratio':>7} {'refined, us':>13} {'/ keyed':>8}")
    for shape in SHAPES:
        numpy_time, keyed, refined = measure(shape)
        row = (1e6 * numpy_time, 1e6 * keyed, keyed / numpy_time, 1e6 * refined, refined / keyed)
        print(f"{shape!s:>14} " + "{:11.1f} {:11.1f} {:7.2f} {:13.0f} {:8.1f}".format(*row))
    print(f"ratio = keyed / NumPy, below {LIMIT:g} for the first four shapes; the last cannot hide the cost of 100 NumPy calls")


if __name__ == "__main__":
    main()
