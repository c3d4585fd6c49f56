r"""Which part costs the order: each is switched off where the candidate allows, and the order is measured again.

start-up              the first steps are taken by the exact flow, or on a grid refined towards its start
last step             the grid is refined towards its end, or ends at the last positive sigma instead of 0
timestep rounding     our own real-valued grid, or one whose nodes lie on the table
float32 coefficients  what is named float32 is double precision
stage noise           the draws of one interval are increments of one path
formula               none of these brings it back: the response of one step is read and compared (``formula.py``)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from scorebed.solvers import Node, Schedule
from scorebed.toy.check import order as orders
from scorebed.toy.check import weak as weaks
from scorebed.toy.check.candidate import Candidate, Refused
from scorebed.toy.check.formula import Symptom, noise_symptom, symptoms
from scorebed.toy.check.invariance import moves, proportional
from scorebed.toy.check.order import Series
from scorebed.toy.check.trials import Make, Trial, between, trials

_FINE = 12  # halvings of the first or last step
_STEPS = (32, 64, 128, 256)


@dataclass(frozen=True)
class Switch:
    """A part that was switched off, the order without it, and whether that brings the claim back."""

    part: str
    how: str
    found: str
    back: bool

    def __str__(self) -> str:
        return f"{self.part}: {self.how}: {self.found}{', the order is back' if self.back else ''}"


@dataclass
class Diagnosis:
    """``cause``: ``start-up``, ``last step``, ``timestep rounding``, ``float32 coefficients``, ``stage noise``, or a fault of the formula:
    ``wrong sign``, ``missing factor``, ``swapped sigma``, ``wrong sigma``, ``wrong alpha``, ``wrong coefficient``, ``formula``."""

    cause: str
    switches: list[Switch] = field(default_factory=list)
    symptoms: list[Symptom] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        return [*map(str, self.switches), *map(str, self.symptoms)]


def graded(make: Make, first: bool) -> Make:
    """The grids of ``make`` with the first (or last) step cut into pieces that halve towards the end of the grid."""

    def made(n: int) -> list[Node]:
        grid = list(make(n))
        cuts = [2.0**-k for k in range(_FINE, 0, -1)]
        if first:
            return [grid[0], *(grid[0].toward(grid[1], r) for r in cuts), *grid[1:]]
        return [*grid[:-1], *(grid[-2].toward(grid[-1], 1.0 - r) for r in reversed(cuts)), grid[-1]]

    return made


def diagnose(candidate: Candidate, trial: Trial, claim: float, own: bool = False) -> Diagnosis:
    """Why a deterministic candidate misses its claim on a trial."""
    if own:
        return _own_grid(candidate, trial, claim)
    switches: list[Switch] = []

    def tried(part: str, how: str, where: Trial, **options: Any) -> bool:
        return _try(switches, candidate, part, how, where, claim, **options)

    first = replace(trial, make=graded(trial.make, True))
    last = replace(trial, make=graded(trial.make, False))
    start: dict[str, Any] = {"exact_start": 4} if candidate.freedom.start else {}
    words = "the first four steps exact" if start else "the first step cut finely"
    causes: list[str] = []
    if tried("start-up", words, trial if start else first, **start):
        causes.append("start-up")
    if tried("last step", "the last step cut finely", last):
        causes.append("last step")
    if tried("float32 coefficients", "double precision throughout", trial, double=True):
        causes.append("float32 coefficients")
    if not causes and (snapped := _on_table(candidate, trial)) is not None:
        where, steps = snapped
        if _try(switches, candidate, "timestep rounding", "nodes on the table", where, claim, slack=0.35, steps=steps, finer=()):
            causes.append("timestep rounding")
    if not causes:
        both = replace(trial, make=graded(graded(trial.make, True), False))
        if tried("start-up and last step", "both cut finely", both):
            causes.append("start-up and last step")
    if not causes and (found := _coarse(candidate)) is not None:
        switches.append(found)
        causes.append("timestep rounding")
    if causes:
        return Diagnosis(" and ".join(causes), switches)
    return _formula(candidate, claim, switches)


def _coarse(candidate: Candidate) -> Switch | None:
    """Whether the candidate does not even answer moves of its nodes by a hundredth of a step in proportion."""
    answers = moves(candidate, (0.1, 0.01, 3e-3, 1e-3))
    if all(0.5 < a < 2.0 for a in answers):
        return None
    shown = ", ".join(f"{a:.2g}" for a in answers)
    return Switch(
        "timestep rounding", "nodes moved by 0.1, 0.01, 0.003, 0.001 of a step", f"answers {shown} of what is in proportion", False
    )


def _try(
    switches: list[Switch], candidate: Candidate, part: str, how: str, where: Trial, claim: float, slack: float = 0.2, **options: Any
) -> bool:
    """Measure without the part; note what came out."""
    options = {"steps": _STEPS, "finer": (), **options}
    try:
        found = orders.measure(candidate, where, claim, **options)
    except (Refused, ValueError, RuntimeError, TypeError, FloatingPointError) as problem:
        switches.append(Switch(part, how, f"cannot be switched off ({type(problem).__name__})", False))
        return False
    exact = not found.diverged and max(found.errors) <= found.floor
    back = exact or (found.order is not None and found.order.slope >= claim - slack)
    switches.append(Switch(part, how, found.shown(), back))
    return back


def _formula(candidate: Candidate, claim: float, switches: list[Switch]) -> Diagnosis:
    try:
        found = symptoms(candidate, claim)
    except (Refused, ValueError, RuntimeError, TypeError, FloatingPointError, ZeroDivisionError) as problem:
        switches.append(Switch("formula", "one step read from outside", f"cannot be read ({type(problem).__name__}: {problem})", False))
        found = []
    return Diagnosis(found[0].cause if found else "formula", switches, found)


def _on_table(candidate: Candidate, trial: Trial) -> tuple[Trial, Sequence[int]] | None:
    """The trial on nodes of the table that the candidate rounds to, where there is one and our grids may be chosen."""
    grid = trial.make(200)
    schedule = grid[0].schedule
    if schedule is None:
        return None
    seen = candidate.run(trial.target.denoised, trial.states(grid[0]), grid).nodes
    spacing = _spacing([node.t for node in seen]) or _spacing([node.t * 1000 for node in seen])
    if not spacing:
        return None
    low, high = sorted((grid[0].t, grid[-1].t))
    count = int((high - low) / spacing + 1e-9) // 160 * 160
    if count == 0:
        return None
    begin = math.ceil(low / spacing - 1e-9) * spacing
    ends = (begin + count * spacing, begin) if grid[0].t > grid[-1].t else (begin, begin + count * spacing)
    return replace(trial, make=between(_tabled(spacing), schedule, *ends)), (20, 40, 80, 160)


def _tabled(spacing: float) -> Any:
    def make(schedule: Schedule, n: int, start: float, end: float) -> list[Node]:
        a, b = round(start / spacing), round(end / spacing)
        return [schedule.node((a + (b - a) * i // n) * spacing) for i in range(n + 1)]

    return make


def _spacing(times: list[float]) -> float | None:
    """The spacing of a table that all times lie on, or None."""
    values = sorted(set(times))
    gaps = [b - a for a, b in pairwise(values) if b - a > 1e-9 * max(map(abs, values))]
    if len(gaps) < 4:
        return None
    spacing = min(gaps)
    refined = (values[-1] - values[0]) / round((values[-1] - values[0]) / spacing)
    on = all(abs(v / refined - round(v / refined)) < 1e-4 for v in values)
    return refined if on else None


def rounding(candidate: Candidate) -> Diagnosis | None:
    """What is rounded in a candidate whose order is right but which does not answer small changes of the grid; None where nothing is."""
    answers = moves(candidate)
    if proportional(answers):
        return None
    shown = ", ".join(f"{a:.2g}" for a in answers)
    try:
        again = moves(candidate, double=True)
    except Exception as problem:
        switch = Switch("float32 coefficients", "double precision throughout", f"does not run ({type(problem).__name__})", False)
    else:
        back = proportional(again)
        switch = Switch("float32 coefficients", "double precision throughout", "answers " + ", ".join(f"{a:.2g}" for a in again), back)
        if back:
            return Diagnosis("float32 coefficients", [switch])
    coarse = not 0.5 < answers[1] < 2.0 or not all(0.5 < a < 2.0 for a in answers[:2])
    words = Switch("rounding", "nodes moved by 1e-2, 1e-3, 1e-5, 1e-8 of a step", f"answers {shown}", False)
    return Diagnosis("timestep rounding" if coarse else "float32 coefficients", [switch, words])


def _own_grid(candidate: Candidate, trial: Trial, claim: float) -> Diagnosis:
    """A candidate that misses its claim on the grid it makes itself: our grid, ending before 0, in double precision; then one by one."""
    switches: list[Switch] = []
    if not candidate.freedom.grid:
        steps = orders.OWN_STEPS
        if _try(switches, candidate, "float32 coefficients", "double precision throughout", trial, claim, double=True, steps=steps):
            return Diagnosis("float32 coefficients", switches)
        return Diagnosis("its own grid", switches)
    ours = next(t for t in trials(candidate) if t.linear == trial.linear)
    best: dict[str, Any] = {"end": "last", "double": True}
    if not _try(switches, candidate, "own grid, last step and float32", "our grid to sigma_min in double", ours, claim, **best):
        inner = diagnose(candidate, ours, claim)
        return Diagnosis(inner.cause, [*switches, *inner.switches], inner.symptoms)
    causes = []
    if not _try(switches, candidate, "last step", "our grid, but to 0", ours, claim, end="zero", double=True):
        causes.append("last step")
    if not _try(switches, candidate, "float32 coefficients", "our grid, but in float32", ours, claim, end="last"):
        causes.append("float32 coefficients")
    if not _try(switches, candidate, "its grid", "its own grid in double", trial, claim, double=True, steps=orders.OWN_STEPS):
        causes.append("timestep rounding" if candidate.tabled else "its own grid")
    return Diagnosis(" and ".join(causes) or "its own grid and float32 together", switches)


def diagnose_weak(candidate: Candidate, trial: Trial, claim: float) -> Diagnosis:
    """Why a stochastic candidate misses its weak order on a Gaussian."""
    switches: list[Switch] = []

    def tried(part: str, how: str, where: Trial, **options: Any) -> bool:
        try:
            found: Series = weaks.measure(candidate, where, claim, finer=(), **options)
        except Exception as problem:
            switches.append(Switch(part, how, f"cannot be switched off ({type(problem).__name__})", False))
            return False
        back = found.order is not None and found.order.slope >= claim - 0.2
        switches.append(Switch(part, how, found.shown(), back))
        return back

    causes: list[str] = []
    asked = weaks.asks(candidate, trial.make(8))
    addressed = any(interval is not None for interval in asked)
    if addressed and not candidate.path:
        if tried("stage noise", "draws of overlapping intervals from one path", trial, path=True):
            causes.append("stage noise")
    elif not addressed and (per := len(asked) // 8) > 1:
        for c, words in ((1.0, "one draw for the whole step"), (math.sqrt(0.5), "the draw of a half step a part of the step's")):
            if not causes and tried("stage noise", words, trial, pair=(per, c)):
                causes.append("stage noise")
    if tried("float32 coefficients", "double precision throughout", trial, double=True):
        causes.append("float32 coefficients")
    if not causes and tried("start-up", "the first step cut finely", replace(trial, make=graded(trial.make, True))):
        causes.append("start-up")
    if not causes and tried("last step", "the last step cut finely", replace(trial, make=graded(trial.make, False))):
        causes.append("last step")
    if causes:
        return Diagnosis(" and ".join(causes), switches)
    found = noise_symptom(candidate)
    if found is not None:
        return Diagnosis(found.cause, switches, [found])
    return _formula(candidate, claim, switches)
