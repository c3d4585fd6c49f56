"""Where a sampler stands among our methods at 5, 10 and 20 evaluations, on the target and the grid of its own schedule."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

from scorebed.solvers import SOLVERS, VP, Schedule
from scorebed.solvers.grid import karras
from scorebed.toy.check.finding import Finding
from scorebed.toy.check.same import names
from scorebed.toy.foreign.candidate import Candidate
from scorebed.toy.foreign.solvers import SolverCandidate
from scorebed.toy.measure import targets
from scorebed.toy.measure.order import Conditions
from scorebed.toy.measure.sampler import law_error, path_error
from scorebed.toy.measure.settings import Setting, ends

BUDGETS = (5, 10, 20)


def _setting(schedule: Schedule, stochastic: bool) -> Setting:
    noisy, clean = ends(schedule)
    conditions = Conditions("Gaussian" if stochastic else "3 modes", f"{type(schedule).__name__}, Karras", "float64 state")
    spaced = partial(karras, schedule, start=noisy, end=clean)
    return Setting(make=targets.ellipsoid if stochastic else targets.modes, spaced=spaced, conditions=conditions)


def errors(candidate: Candidate, schedule: Schedule) -> dict[int, float]:
    """The error with the most steps that each budget pays for; budgets that pay for none are left out."""
    setting = _setting(schedule, bool(candidate.stochastic))

    def run(n: int) -> tuple[float, int]:
        return law_error(candidate, setting, n) if candidate.stochastic else path_error(candidate, setting, setting.nodes(n))

    out = {}
    for budget in BUDGETS:
        n = budget
        while n > 0:
            error, nfe = run(n)
            if nfe <= budget:
                out[budget] = error
                break
            n = min(n - 1, n * budget // nfe + 1)
    return out


@lru_cache(maxsize=8)
def ours(schedule: Any, stochastic: bool) -> dict[str, dict[int, float]]:
    """The errors of all our methods of one kind, by name."""
    out = {}
    for name in names():
        if (SOLVERS[name].weak is not None) == stochastic:
            try:
                out[name] = errors(SolverCandidate(SOLVERS[name]), schedule)
            except (ValueError, RuntimeError, ArithmeticError):  # a method that refuses the grid has no place on it
                continue
    return out


def rank(candidate: Candidate) -> Finding:
    """Its place at each budget, and who is first."""
    tried = f"{', '.join(map(str, BUDGETS))} evaluations"
    if not candidate.interface.grid or (candidate.stochastic and not candidate.interface.draws):
        return Finding("rank", "skip", tried, "its error on a grid of ours cannot be measured")
    schedule: Any = candidate.schedule if candidate.schedule is not None else VP()
    mine, others = errors(candidate, schedule), ours(schedule, bool(candidate.stochastic))
    words = []
    for budget, error in mine.items():
        known = sorted((e[budget], name) for name, e in others.items() if budget in e)
        place = 1 + sum(e < error * (1.0 - 1e-9) for e, _ in known)
        words.append(f"{budget}: {place} of {len(known) + 1} (error {error:.1e}; best {known[0][1]}, {known[0][0]:.1e})")
    setting = _setting(schedule, bool(candidate.stochastic)).name
    return Finding("rank", "note", f"{tried}, {setting}", "; ".join(words) or "no budget pays for a step")
