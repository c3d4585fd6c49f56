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
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from scorebed.solvers import Node, Schedule
from scorebed.toy.check.formula import Symptom, noise_symptom, symptoms
from scorebed.toy.check.invariance import moves, proportional
from scorebed.toy.foreign.candidate import Candidate
from scorebed.toy.measure import targets
from scorebed.toy.measure.order import OrderResult
from scorebed.toy.measure.sampler import asks, measure
from scorebed.toy.measure.settings import Make, Setting, between, own, smooth

_FINE = 12  # halvings of the first or last step


_HINTS = {
    "clipped denoised": "it converges to another map; is the denoised clipped? On a target inside [-1, 1] the order is back",
    "memory between runs": "same input, two answers: every other measurement is spoilt by what is left over from the run before",
}


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
    """``cause``: ``start-up``, ``last step``, ``timestep rounding``, ``float32 coefficients``, ``stage noise``, ``clipped denoised``,
    ``memory between runs``, ``its own grid``, or a fault of the formula: ``wrong sign``, ``missing factor``, ``swapped sigma``,
    ``wrong sigma``, ``wrong alpha``, ``equal steps``, ``wrong coefficient``, ``formula``."""

    cause: str
    switches: list[Switch] = field(default_factory=list)
    symptoms: list[Symptom] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        hint = [_HINTS[self.cause]] if self.cause in _HINTS else []
        return [*hint, *map(str, self.switches), *map(str, self.symptoms)]


def graded(make: Make, first: bool) -> Make:
    """The grids of ``make`` with the first (or last) step cut into pieces that halve towards the end of the grid."""

    def made(n: int) -> list[Node]:
        grid = list(make(n))
        cuts = [2.0**-k for k in range(_FINE, 0, -1)]
        if first:
            return [grid[0], *(grid[0].toward(grid[1], r) for r in cuts), *grid[1:]]
        return [*grid[:-1], *(grid[-2].toward(grid[-1], 1.0 - r) for r in reversed(cuts)), grid[-1]]

    return made


def diagnose(candidate: Candidate, setting: Setting, claim: float) -> Diagnosis:
    """Why a deterministic candidate misses its claim under a setting."""
    switches: list[Switch] = []

    def tried(part: str, how: str, where: Setting) -> bool:
        return _try(switches, candidate, part, how, where, claim)

    if not candidate.interface.grid:
        return _own_grid(candidate, setting, claim)
    cut = {first: replace(setting, spaced=graded(setting.spaced, first)) for first in (True, False)}
    causes: list[str] = []
    if candidate.interface.start:
        begun = tried("start-up", "the first four steps exact", setting.under(start="exact"))
    else:
        begun = tried("start-up", "the first step cut finely", cut[True])
    if begun:
        causes.append("start-up")
    if tried("last step", "the last step cut finely", cut[False]):
        causes.append("last step")
    wide = setting.under(dtype="float64")
    if setting != wide and tried("float32 coefficients", "double precision throughout", wide):
        causes.append("float32 coefficients")
    snapped = None if causes else _on_table(candidate, setting)
    if snapped is not None and _try(switches, candidate, "timestep rounding", "nodes on the table", snapped, claim, slack=0.35):
        causes.append("timestep rounding")
    if not causes and tried("start-up and last step", "both cut finely", replace(setting, spaced=graded(cut[True].spaced, False))):
        causes.append("start-up and last step")
    if not causes and (rounded := _coarse(candidate)) is not None:
        switches.append(rounded)
        causes.append("timestep rounding")
    if not causes and tried("clipping", "a target inside [-1, 1]", _inside(setting)):
        causes.append("clipped denoised")
    if causes:
        return Diagnosis(" and ".join(causes), switches)
    return _formula(candidate, claim, switches)


def _inside(setting: Setting) -> Setting:
    """The same with a target where clipping the denoised to [-1, 1] changes nothing."""
    return replace(setting, make=targets.inner)


def _coarse(candidate: Candidate) -> Switch | None:
    """Whether the candidate does not even answer moves of its nodes by a hundredth of a step in proportion.

    A wrong formula may answer a tenth of a step by less than in proportion, as it bends; what is rounded jumps however small the move.

    Returns:
        the Switch "timestep rounding", or None.
    """
    answers = moves(candidate, (0.1, 0.01, 3e-3, 1e-3))
    if all(0.5 * answers[1] < a < 2.0 * answers[1] for a in answers[2:]):
        return None
    shown = ", ".join(f"{a:.2g}" for a in answers)
    return Switch(
        "timestep rounding", "nodes moved by 0.1, 0.01, 0.003, 0.001 of a step", f"answers {shown} of what is in proportion", False
    )


def _try(
    switches: list[Switch], candidate: Candidate, part: str, how: str, where: Setting, claim: float, slack: float = 0.2, **law: Any
) -> bool:
    """Measure without the part; note what came out."""
    try:
        result: OrderResult = measure(candidate, where, claim, refine=False, **law)
    except Exception as problem:  # a candidate may raise anything
        switches.append(Switch(part, how, f"cannot be switched off ({type(problem).__name__})", False))
        return False
    back = result.reaches(claim, below=slack)
    switches.append(Switch(part, how, str(result), back))
    return back


def _formula(candidate: Candidate, claim: float, switches: list[Switch]) -> Diagnosis:
    try:
        found = symptoms(candidate, claim)
    except Exception as problem:  # a candidate may raise anything
        switches.append(Switch("formula", "one step read from outside", f"cannot be read ({type(problem).__name__}: {problem})", False))
        found = []
    return Diagnosis(found[0].cause if found else "formula", switches, found)


def _on_table(candidate: Candidate, setting: Setting) -> Setting | None:
    """The setting on nodes of the table that the candidate rounds to, where there is one."""
    grid = setting.nodes(200)
    schedule = grid[0].schedule
    if schedule is None:
        return None
    seen = candidate.run(setting.model, setting.states(grid[0]), grid).nodes
    spacing = _spacing([node.t for node in seen]) or _spacing([node.t * 1000 for node in seen])
    if not spacing:
        return None
    low, high = sorted((grid[0].t, grid[-1].t))
    count = int((high - low) / spacing + 1e-9) // 160 * 160
    if count == 0:
        return None
    begin = math.ceil(low / spacing - 1e-9) * spacing
    ends = (begin + count * spacing, begin) if grid[0].t > grid[-1].t else (begin, begin + count * spacing)
    return replace(setting, spaced=between(_tabled(spacing), schedule, *ends), steps=(20, 40, 80, 160), finer=())


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


def costs_of_own_grid(candidate: Candidate, claim: float) -> Diagnosis:
    """What keeps a candidate, whose formula has its order, from it on the grid that it makes itself, as shipped: one by one."""
    switches: list[Switch] = []
    ours = smooth(candidate)
    causes = []
    if "zero" in candidate.interface.ends and not _try(
        switches, candidate, "last step", "our grid, but to 0", ours.under(terminal="zero"), claim
    ):
        causes.append("last step")
    if not _try(switches, candidate, "float32 coefficients", "our grid, but in float32", ours.under(dtype="float32"), claim):
        causes.append("float32 coefficients")
    if candidate.tabled and not _try(
        switches, candidate, "timestep rounding", "our grid, told its timesteps", ours.under(network="timestep"), claim
    ):
        causes.append("timestep rounding")
    return Diagnosis(" and ".join(causes) or "its own grid", switches)


def _own_grid(candidate: Candidate, setting: Setting, claim: float) -> Diagnosis:
    """A candidate that can only be looked at on the grid it makes itself."""
    switches: list[Switch] = []
    if _try(switches, candidate, "float32 coefficients", "double precision throughout", own(candidate, "float64", "node"), claim):
        return Diagnosis("float32 coefficients", switches)
    if _try(switches, candidate, "clipping", "a target inside [-1, 1]", _inside(setting), claim):
        return Diagnosis("clipped denoised", switches)
    return Diagnosis("its own grid", switches)


def diagnose_weak(candidate: Candidate, setting: Setting, claim: float) -> Diagnosis:
    """Why a stochastic candidate misses its weak order on a Gaussian."""
    switches: list[Switch] = []

    def tried(part: str, how: str, where: Setting, **law: Any) -> bool:
        return _try(switches, candidate, part, how, where, claim, **law)

    causes: list[str] = []
    asked = asks(candidate, setting.nodes(8))
    addressed = any(interval is not None for interval in asked)
    if addressed and not candidate.path:
        if tried("stage noise", "draws of overlapping intervals from one path", setting, path=True):
            causes.append("stage noise")
    elif not addressed and (per := len(asked) // 8) > 1:
        for c, words in ((1.0, "one draw for the whole step"), (math.sqrt(0.5), "the draw of a half step a part of the step's")):
            if not causes and tried("stage noise", words, setting, pair=(per, c)):
                causes.append("stage noise")
    wide = setting.under(dtype="float64")
    if setting != wide and tried("float32 coefficients", "double precision throughout", wide):
        causes.append("float32 coefficients")
    for part, first in (("start-up", True), ("last step", False)):
        cut = replace(setting, spaced=graded(setting.spaced, first))
        if not causes and candidate.interface.grid and tried(part, f"the {'first' if first else 'last'} step cut finely", cut):
            causes.append(part)
    if causes:
        return Diagnosis(" and ".join(causes), switches)
    if (symptom := noise_symptom(candidate)) is not None:
        return Diagnosis(symptom.cause, switches, [symptom])
    return _formula(candidate, claim, switches)
