r"""The bench of schedules: usual ones, closed forms, and ones that are made, all judged on states that none of them has seen.

Beside every made schedule stands the best of as many random ones, for what is searched in sample always wins there; and beside every
schedule for one solver, a choice of a solver for every step (USF and S3, arXiv:2312.07243) on the best usual one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scorebed.solvers import Node, NonFinite, Solver, sample, trace
from scorebed.solvers.methods.compose import CHOICES, usf
from scorebed.toy.tuning.known import Known
from scorebed.toy.tuning.race import interval, ratio_interval
from scorebed.toy.tuning.schedule_makers import MAKERS, usual
from scorebed.toy.tuning.setting import Setting, distances


@dataclass(frozen=True)
class Scheduled:
    """A schedule on the bench.

    Attributes:
        name, kind: what it is; kind is "usual", "made" or "per step".
        nodes, solver: what runs.
        train: mean log error on the training states.
        errors: of the held-out states.
        seconds: that making it took.
    """

    name: str
    kind: str
    nodes: tuple[Node, ...]
    solver: Solver
    train: float
    errors: np.ndarray
    seconds: float = 0.0

    @property
    def median(self) -> float:
        return float(np.median(self.errors))


def bench(
    setting: Setting,
    solver: Solver,
    steps: int,
    *,
    makers: Sequence[str] | None = None,
    states: int = 24,
    held_out: int = 64,
    seed: int = 0,
    per_step: bool = True,
    report: Callable[[int, int, str], object] | None = None,
) -> list[Scheduled]:
    """Every schedule for a solver on a model, the best on the held-out states first.

    Args:
        setting: the model.
        solver: deterministic.
        steps: of every schedule.
        makers: names of ``MAKERS``; None takes all.
        states, held_out: how many states schedules are made on and judged on.
        seed: of both; they differ.
        per_step: whether a solver is chosen for every step too.
        report: called with (done, of, label).

    Returns:
        the schedules, best median on held-out states first.

    Raises:
        ValueError: a stochastic solver, an unknown maker, or fewer than 2 steps.
    """
    if solver.weak is not None:
        raise ValueError(f"{solver.name} draws noise: schedules are compared state by state, give a deterministic method")
    if steps < 2:
        raise ValueError(f"steps = {steps!r}: one step leaves nothing to schedule, give at least 2")
    wanted = list(MAKERS) if makers is None else list(makers)
    if unknown := [one for one in wanted if one not in MAKERS]:
        raise ValueError(f"maker {unknown[0]!r} is not known: give some of {', '.join(MAKERS)}")
    known = Known(setting, solver, steps, states, seed + 11)
    x = setting.draw(held_out, seed)
    answer = setting.answer(x)
    rows: list[Scheduled] = []

    def enter(name: str, kind: str, nodes: Sequence[Node], method: Solver, seconds: float = 0.0) -> None:
        rows.append(
            Scheduled(name, kind, tuple(nodes), method, known.error(nodes, method), _errors(setting, method, nodes, x, answer), seconds)
        )

    for name, nodes in usual(known).items():
        enter(name, "usual", nodes, solver)
    for i, name in enumerate(wanted):
        if report is not None:
            report(i, len(wanted) + 1, name)
        began = time.process_time()
        enter(name, "made", MAKERS[name](known), solver, time.process_time() - began)
    if per_step:
        if report is not None:
            report(len(wanted), len(wanted) + 1, "a solver for every step")
        began = time.process_time()
        best = min((row for row in rows if row.kind == "usual"), key=lambda row: row.train)
        chosen = choose(known, best.nodes)
        enter(f"{' '.join(chosen)} on {best.name}", "per step", best.nodes, usf(chosen), time.process_time() - began)
    return sorted(rows, key=lambda row: row.median)


def _errors(setting: Setting, solver: Solver, nodes: Sequence[Node], x: Any, answer: Any) -> np.ndarray:
    try:
        with np.errstate(all="ignore"):
            return distances(sample(solver, setting.denoise, x, nodes, terminal="none", noise=0), answer)
    except (NonFinite, ValueError, ZeroDivisionError):
        return np.full(len(x), math.inf)


def choose(known: Known, nodes: Sequence[Node], exhaustive: int = 300) -> tuple[str, ...]:
    """The formula of ``CHOICES`` for every step with the least error on the training states: all are tried where they are few, else one
    step after the other is changed, from the best choice that is the same for all steps, until nothing helps.

    Returns:
        the chosen formula for every step.
    """
    steps = len(nodes) - 1
    options = [CHOICES[:1], *([tuple(c for c in CHOICES if int(c[1]) <= 2)] * (steps > 1)), *([CHOICES] * (steps - 2))]

    def value(choice: tuple[str, ...]) -> float:
        return known.error(nodes, usf(choice))

    if math.prod(map(len, options)) <= exhaustive:
        every: list[tuple[str, ...]] = [()]
        for some in options:
            every = [(*start, one) for start in every for one in some]
        return min(every, key=value)
    now = min((tuple(one if one in some else "d1" for some in options) for one in CHOICES), key=value)
    score, moved = value(now), True
    while moved:
        moved = False
        for i, some in enumerate(options):
            for one in some:
                other = (*now[:i], one, *now[i + 1 :])
                if other != now and (found := value(other)) < score - 1e-9:
                    now, score, moved = other, found, True
    return now


def table(rows: Sequence[Scheduled]) -> list[dict[str, Any]]:
    """One row for each schedule: held-out median with interval, and its ratio to the best usual one with a paired interval."""
    usual_best = min((row for row in rows if row.kind == "usual"), key=lambda row: row.train)
    out = []
    for row in rows:
        low, high = interval(row.errors)
        ratio = ratio_interval(row.errors, usual_best.errors)
        out.append(
            {
                "schedule": row.name,
                "nfe": trace(row.solver, row.nodes).nfe,
                "kind": row.kind,
                "train": math.exp(row.train),
                "error": row.median,
                "low": low,
                "high": high,
                "ratio": ratio[0],
                "ratio low": ratio[1],
                "ratio high": ratio[2],
                "seconds": row.seconds,
                "times": [node.t for node in row.nodes],
                "lams": [node.lam for node in row.nodes],
            }
        )
    return out
