"""Where ``tune`` begins: the best of the registered methods that can be moved, and which of them a short search brings furthest."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from scorebed.solvers import SOLVERS, Node, Plan, trace
from scorebed.solvers.grid import uniform_lam
from scorebed.toy.tuning.advise import advise
from scorebed.toy.tuning.candidates import Candidate, registered
from scorebed.toy.tuning.descent import Descent
from scorebed.toy.tuning.form import PARTS, Form, form_of
from scorebed.toy.tuning.search import Search
from scorebed.toy.tuning.setting import Setting

Tell = Callable[[str], object]
_RIVALS = 8
"""Registered Plans that are measured on the test states beside the tuned one: the best of them there is the opponent."""
_FEW, _SHORT = 32, 4
"""States and steps of the short searches by differences that choose where to start."""
_SOME, _BRIEF, _ALIKE = 128, 12, 2
"""States and steps of those by gradient, and how many registered methods they try."""
_ORDERS = (2, 3, 4)
"""Of methods with one evaluation a step, the best of each of which is tried too."""


@dataclass(frozen=True)
class Starts:
    """What a search is held against and where it may begin, by name.

    Attributes:
        rivals: registered Plans to beat.
        universal: the universal method where it stands best, to beat too; empty where there is none.
        forms: what may be moved: that one, the best rivals, those with few stages, or a plain one.
    """

    rivals: dict[str, Plan]
    universal: dict[str, Form]
    forms: dict[str, Form]


def starts(setting: Setting, nfe: int, start: Plan | None, *, gradient: bool, raced: int, seed: int, say: Tell) -> Starts:
    """What to beat and what to move, where a Plan to start from is given and where none is."""
    if start is not None:
        return Starts({start.solver: start}, {}, {start.solver: form_of(start)})
    advice = advise(setting, nfe, states=raced, seed=seed + 3, methods=registered())
    best = advice.best
    say(f"best of {len(advice.ranking) + len(advice.others)} registered plans: {best.label}, {best.steps} steps, {best.error:.3g}")
    rivals = {c.label: c.plan for c in advice.ranking[:_RIVALS]}
    universal = _universal(setting, nfe, raced, seed, say)
    plain = {"dpmpp_2m, start ddim on uniform_lam": form_of(trace(SOLVERS["dpmpp_2m"](start="ddim"), _even(setting, nfe)))}
    found: dict[str, Form] = {}
    for c in advice.ranking[:_RIVALS]:
        with suppress(ValueError):
            found[c.label] = form_of(c.plan)
    held = Search(setting, PARTS, states=1, held_out=_FEW, seed=seed, say=say)  # a race on few states chooses by chance among near ones
    first = sorted(found, key=lambda name: held.judge(found[name]))[: _ALIKE if gradient else 1]
    chosen = {**universal, **{name: found[name] for name in first}}
    if not gradient:
        return Starts(rivals, universal, {**chosen, **plain})
    chosen |= _once_a_step(setting, [*advice.ranking, *advice.others])  # they often lead further than those that are better
    return Starts(rivals, universal, chosen if len(chosen) > _ALIKE + len(universal) else {**chosen, **plain})


def _universal(setting: Setting, nfe: int, raced: int, seed: int, say: Tell) -> dict[str, Form]:
    """The universal method as a form, where its race says that it stands best; none where no table or range has room for it."""
    with suppress(ValueError):
        best = advise(setting, nfe, states=raced, seed=seed + 3, methods=["universal"]).best
        say(f"{best.label}: {best.error:.3g}")
        return {} if best.form is None else {best.label: best.form}
    return {}


def _once_a_step(setting: Setting, ranked: list[Candidate]) -> dict[str, Form]:
    """Of those with one evaluation a step, and at most one more, the best of each order from 2 to 4 that can be moved."""
    found: dict[float | None, tuple[str, Form]] = {}
    for c in ranked:
        if c.plan.nfe <= c.steps + 1 and math.isfinite(c.error):
            order = SOLVERS[c.method.partition(", start ")[0]].order  # with a start of its own; one of lower order lowers it
            if order in _ORDERS and order not in found:
                with suppress(ValueError):
                    found[order] = c.label, form_of(c.plan)
    return dict(found.values())


def _even(setting: Setting, n: int) -> list[Node]:
    first, last = setting.ends
    return uniform_lam(setting.schedule, n, first.t, last.t)


def most_promising(
    kind: type[Search], setting: Setting, forms: dict[str, Form], *, parts: tuple[str, ...], most: int | None, seed: int, say: Tell
) -> tuple[Form, str]:
    """The form that a short search brings furthest, where it was brought, and its name: the better start is not always the better end."""
    if len(forms) == 1:
        return next((form, name) for name, form in forms.items())
    by_gradient = issubclass(kind, Descent)
    search = kind(setting, parts, states=min(_SOME, most or _SOME) if by_gradient else _FEW, held_out=_FEW, seed=seed, say=say)
    moved: dict[str, Form] = {}
    refused = ""
    for name, form in forms.items():
        say(f"a short search from {name}")
        try:
            moved[name], _ = search.run(
                form, iterations=_BRIEF if by_gradient else _SHORT, seconds=math.inf, saved=None, keep=lambda made: None
            )
        except ValueError as problem:
            refused = str(problem)
            say(refused)
    if not moved:
        raise ValueError(f"none of {', '.join(forms)} could be moved: {refused}")
    best = min(moved, key=lambda name: search.judge(moved[name]))
    return moved[best], best
