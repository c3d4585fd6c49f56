r"""Which method and grid for this model at this budget: every registered one, raced on pilot states.

The ``candidates`` are Plans, each measured once, in a ``race``. The error is the RMS distance from the exact flow, its mean log over the
middle half of the states (``race.middle_half``), which is nearly the median; the interval is that of the bootstrap.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scorebed.solvers import Solver
from scorebed.toy.tuning.candidates import Candidate, candidates
from scorebed.toy.tuning.lockstep import errors_of
from scorebed.toy.tuning.race import interval, middle_half, race, ratio_interval
from scorebed.toy.tuning.setting import Setting, named

_FIRST, _MANY = 2, 64
"""States in the first round of a race, at least, where states have fewer numbers than the second says, and evaluations cost little."""
_STATES, _CHEAP = 96, 192
"""States that the finalists see, of those with many numbers and of those with few."""
Tell = Callable[[int, int, str], object]


@dataclass(frozen=True)
class Advice:
    """The ranking.

    Attributes:
        setting, budget: what was asked.
        ranking: the candidates that saw every state, or all until time was up, the best first; ``others`` those left behind, likewise.
        evaluations: of the model, by samples; ``exhaustive``: what trying every candidate on every state takes.
    """

    setting: Setting
    budget: int
    ranking: list[Candidate]
    others: list[Candidate]
    evaluations: int
    exhaustive: int

    @property
    def best(self) -> Candidate:
        return self.ranking[0]

    def rows(self) -> list[dict[str, Any]]:
        """One row for each finalist, with the interval of its error, and whether the best is beyond doubt better."""
        out = []
        for c in self.ranking:
            low, high = interval(c.errors, of=middle_half)
            ratio = ratio_interval(c.errors, self.best.errors, of=middle_half) if c is not self.best else (1.0, 1.0, 1.0)
            about = {"method": c.method, "grid": c.grid, "steps": c.steps, "nfe": c.plan.nfe, "error": c.error, "low": low, "high": high}
            out.append({**about, "against the best": ratio[0], "ratio low": ratio[1], "ratio high": ratio[2], "same as": ", ".join(c.same)})
        return out


def advise(
    model: str | Setting,
    nfe: int,
    *,
    states: int | None = None,
    seed: int = 0,
    methods: Sequence[str | Solver] | None = None,
    grids: Sequence[str] | None = None,
    seconds: float = math.inf,
    report: Tell | None = None,
) -> Advice:
    """The ranking of method × grid for a model at a budget.

    Args:
        model: the name of an exact problem or of a pretrained network, or a ``Setting`` of one's own.
        nfe: evaluations of the model that a run may take.
        states: how many states the finalists see; None takes 96, and 192 where a state has fewer than 64 numbers.
        seed: of the states.
        methods, grids: names to choose among, of methods also "universal" and Solvers of one's own; None takes all.
        seconds: no round begins after so many; what is left then is ranked by the states seen so far.
        report: called with (done, of, label).

    Returns:
        ``Advice``: ``best``, the ``ranking`` with intervals, and what it cost.

    Raises:
        ValueError: an unknown name, a budget below 1, fewer than 4 states, or a budget that pays for no candidate.
    """
    setting = named(model) if isinstance(model, str) else model
    few = int(np.prod(setting.draw(1, seed).shape[1:])) < _MANY
    states = (_CHEAP if few else _STATES) if states is None else states
    if states < 4:
        raise ValueError(f"states = {states!r}: give at least 4, for an interval")
    alive = candidates(setting, nfe, methods, grids)
    if not alive:
        raise ValueError(f"nfe = {nfe} pays for no method on any grid of {setting.name}")
    until, x = time.monotonic() + seconds, setting.draw(states, seed)
    answer = setting.answer(x)

    def ask(some: Sequence[int], rows: slice) -> tuple[list[np.ndarray], int]:
        what = f"states {rows.start} to {rows.stop}"
        return errors_of(setting, [alive[k].plan for k in some], x[rows], answer[rows], report, what)

    run = race(len(alive), states, ask, first=_FIRST if few else 1, until=until)
    for c, errors in zip(alive, run.errors, strict=True):
        c.errors = errors
    ranking, others = ([alive[k] for k in some] for some in (run.ranking, run.others))
    return Advice(setting, nfe, ranking, others, run.evaluations, states * sum(c.plan.nfe for c in alive))


SHORT = ("ab2", "deis_tab3", "dpmpp_2m", "dpmpp_3m", "exp_rk_2", "heun", "rf_solver_2", "trig_abm_2", "unipc_2", "unipc_3")
SHORT_GRIDS = ("flow_shift", "karras", "quadratic", "tangent", "uniform_lam")
"""What ``auto`` chooses among: near the best on exact problems and on networks, and few enough for a choice in seconds."""


def auto(model: str | Setting, nfe: int, *, states: int = 8, seed: int = 0, report: Tell | None = None) -> Candidate:
    """What "auto" as the name of a solver stands for: the best of a short list for this model and budget, as ``advise`` finds it."""
    return advise(model, nfe, states=states, seed=seed, methods=SHORT, grids=SHORT_GRIDS, report=report).best
