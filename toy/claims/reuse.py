r"""Claims 35, 211, 230: evaluations that are held, extrapolated or late, as the Plans that they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scorebed.solvers import EDM, SOLVERS, VP, Plan, Solver, trace
from scorebed.solvers.grid import from_times
from scorebed.solvers.parallel import late, rounds
from scorebed.solvers.reuse import Cache, cached, reuse
from scorebed.toy.claims.registry import Row, below, claim, near, order
from scorebed.toy.measure.convergence import order_of, rms
from scorebed.toy.properties.cases import cases, modes
from scorebed.toy.studies.stability import real_interval

CASE, LAW = cases()[0], modes()


def _slope(plan: Callable[[int], Plan], counts: Sequence[int] = (32, 64, 128)) -> float:
    """The order of a family of Plans on two modes, with steps of unequal length."""
    errors = []
    for n in counts:
        made = plan(n)
        x = CASE.states(made.grid[0])
        errors.append(rms(made.run(LAW.denoised, x) - LAW.flow(x, made.grid[0], made.grid[-1])))
    return order_of(counts, errors, 1e-13).slope


def _order_of(solver: Solver) -> float:
    return _slope(lambda n: trace(solver, CASE.nodes(n)), (64, 128, 256))


def _skipped(h: float, count: int, by: Any) -> float:
    """The error of one skipped value on the exact flow, after ``count`` made ones a step h of lam apart (the last half as far)."""
    first = VP().node(0.5)
    lams = [first.lam + h * k for k in (*range(count), count - 0.5)]
    x = CASE.states(first)
    cache = Cache(LAW.denoised, lambda call, y, node: call < count, order=count, by=by)
    values = [cache(LAW.flow(x, first, node), node) for node in map(VP().at_lam, lams)]
    last = VP().at_lam(lams[-1])
    return rms(values[-1] - LAW.denoised(LAW.flow(x, first, last), last))


@claim(
    35,
    paper="Inner Loop Feedback",
    reference="arXiv:2501.13107",
    statement="A block that predicts the next step's output leaves the sampler as it is where its gate is 0; a linear one is "
    "extrapolation, so that a skipped step errs by O(h²) with two earlier values, where holding one errs by O(h).",
    control="the extrapolation takes unequal steps for equal",
)
def feedback(broken: bool) -> list[Row]:
    """One skipped value on the exact flow of two modes."""
    plan = trace(SOLVERS["dpmpp_2m"], CASE.nodes(12))
    sizes = (0.1, 0.05, 0.025)
    held, drawn = ([_skipped(h, k, "index" if broken else "lam") for h in sizes] for k in (1, 2))
    counts = [round(1 / h) for h in sizes]
    same = float(np.abs(reuse(plan, [True] * plan.nfe).output - plan.output).max())
    return [
        below("gate 0: coefficients against the sampler's, largest difference", same, 0.0, kept=True),
        order("order of a held value", order_of(counts, held).slope, 1, kept=True),
        order("order of a value extrapolated from two", order_of(counts, drawn).slope, 2),
    ]


def _grows(plan: Plan, z: float) -> bool:
    """Whether a small state grows without end along a Plan on equal steps of rho, for dy/drho = λ y, z = λ h."""
    with np.errstate(over="ignore", invalid="ignore"):
        out = plan.run(lambda x, node: x + node.rho * z * x, np.ones((1, 1)))
    return bool(abs(out[0, 0]) > 1.0)


@claim(
    211,
    paper="ParaStep (reuse, then predict)",
    reference="arXiv:2505.14741",
    statement="Devices that advance with noise predicted d steps ago make, in sequence, Euler's method with a delay: consistent, of "
    "order 1, in d + 1 times fewer rounds, stable for |z| up to 2 sin(π/(4d + 2)), which shrinks with d; d = 0 is the sampler itself.",
    control="the noise is one step older than is said",
)
def delay(broken: bool) -> list[Row]:
    """DDIM on two modes, and on the test equation along 240 equal steps of rho."""
    more = 1 if broken else 0
    long = trace(SOLVERS["ddim"], from_times(EDM(), np.linspace(242.0, 2.0, 241)))
    rows = []
    for d in (0, 1, 2):
        low, high, plan = 0.02, 3.0, late(long, d + more, "eps")
        for _ in range(16):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if _grows(plan, -middle) else (middle, high)
        rows.append(near(f"length of the stable interval, delay {d}", low, 2.0 * math.sin(math.pi / (4 * d + 2)), 0.05))
    plan = trace(SOLVERS["ddim"], CASE.nodes(12))
    rows.append(near("rounds of 12 steps with a delay of 2", rounds(late(plan, 2 + more)), 4, 0.5))
    rows.append(
        order(
            "order with a delay of 2", _slope(lambda n: late(trace(SOLVERS["ddim"], CASE.nodes(n)), 2, "eps"), (64, 128, 256)), 1, kept=True
        )
    )
    return rows


@claim(
    230,
    paper="AB-Cache",
    reference="arXiv:2504.10540",
    statement="A skipped output extrapolated from the last k errs by O(h^k), k = 1 being plain reuse: interleaved with evaluations it "
    "leaves a solver the order min(p, k), and shortens its interval of stability, that of DDIM from 2 to 1, 2/3 and 4/9.",
    control="unequal steps are taken for equal, and values are read that are one older",
)
def interleaved(broken: bool) -> list[Row]:
    """DPM-Solver++(3M) with every second evaluation extrapolated, and DDIM on the test equation."""
    rows = []
    for k in (1, 2, 3):
        skipping = cached(SOLVERS["dpmpp_3m"], 2, order=k, by="index" if broken else "lam")
        rows.append(order(f"order, DPM-Solver++(3M) with k = {k}", _order_of(skipping), k, kept=k == 1))
    for k, interval in ((1, 1.0), (2, 2 / 3), (3, 4 / 9)):
        method = cached(SOLVERS["ddim"], 2, order=k, what="eps", by="rho", lag=1 if broken else 0)
        rows.append(
            near(f"length of the stable interval, k = {k}", real_interval(method, longest=4.0, period=2), interval, 1e-6, kept=k == 1)
        )
    return rows
