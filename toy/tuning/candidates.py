"""What is raced: every deterministic method on every grid with the most steps that a budget of evaluations pays for, each Plan once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from scorebed.solvers import SOLVERS, Node, NotLinear, Plan, Solver, methods_on, trace
from scorebed.solvers.grid import GRIDS, fitted, make
from scorebed.toy.measure.cost import most_steps
from scorebed.toy.tuning.form import Form
from scorebed.toy.tuning.race import middle_half
from scorebed.toy.tuning.setting import Setting
from scorebed.toy.tuning.universal import FITTED_TO, SCALES, STRETCHES, table


@dataclass
class Candidate:
    """A method on a grid; ``same`` are other names of the same Plan, ``errors`` the RMS distance of each state that it has seen."""

    method: str
    grid: str
    steps: int
    plan: Plan
    same: list[str] = field(default_factory=list)
    errors: np.ndarray = field(default_factory=lambda: np.zeros(0))
    own: Solver | None = None
    """A method that no registry knows."""
    form: Form | None = None
    """What ``tune`` may move, where the method is ``universal``; and what it is called with."""
    called: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the grid, fitted to the data."""

    @property
    def error(self) -> float:
        """The ``middle_half`` of the errors of the states that it has seen."""
        return float(middle_half(self.errors)) if len(self.errors) else math.inf

    @property
    def label(self) -> str:
        return f"{self.method} on {self.grid}"

    @property
    def solver(self) -> Solver:
        """The method, with its start."""
        if self.own is not None:
            return self.own
        name, _, start = self.method.partition(", start ")
        return SOLVERS[name](start=start) if start else SOLVERS[name]

    @property
    def code(self) -> str:
        """The line that runs it, with the ends and the options of its grid where they are not those that the grid takes by itself."""
        first, last = self.plan.grid[0], self.plan.grid[-1]
        if self.method == "universal":
            return f"universal({self.steps}, {self.called}).run(denoise, x)"
        name, _, start = self.method.partition(", start ")
        method = self.method if self.own is not None else f'SOLVERS["{name}"]' + (f'(start="{start}")' if start else "")
        return f'sample({method}, denoise, x, {_grid_code(self.grid, self.steps, first, last, self.options)}, terminal="none")'


def candidates(
    setting: Setting, budget: int, methods: Sequence[str | Solver] | None = None, grids: Sequence[str] | None = None
) -> list[Candidate]:
    """Every distinct Plan of a deterministic method on a grid that the budget pays for; methods by name, "universal" too, or one's own.

    Returns:
        the Candidates, each Plan once.

    Raises:
        ValueError: an unknown method or grid, or a budget below 1.
    """
    if isinstance(budget, bool) or int(budget) != budget or budget < 1:
        raise ValueError(f"budget = {budget!r}: give a number of evaluations, at least 1")
    with_universal = grids is None if methods is None else "universal" in methods
    methods = None if methods is None else [one for one in methods if one != "universal"]
    named = [one for one in methods or () if isinstance(one, str)]
    for given, known, what in ((named, SOLVERS, "method"), (grids, GRIDS, "grid")):
        for one in given or ():
            if one not in known:
                others = ", universal" if what == "method" else ""
                raise ValueError(f"{what} {one!r} is not known: give some of {', '.join(known)}{others}")
    chosen = {(one if isinstance(one, str) else one.name): SOLVERS[one] if isinstance(one, str) else one for one in methods or ()}
    for one, method in chosen.items():
        if not _usable(method):
            raise ValueError(f"method {one!r} has no deterministic Plan on R^d, so that it cannot be compared here")
    made: dict[Any, Candidate] = {}
    for name, method in _started(chosen if methods is not None else {name: SOLVERS[name] for name in registered()}).items():
        own = None if name.partition(", start ")[0] in SOLVERS else method
        usual = _steps(setting, method, "uniform_lam", budget)  # what a step costs depends on the grid in few methods: one search does
        for kind in grids or GRIDS:
            steps, plan = usual, _plan(setting, method, kind, usual) if usual else None
            if plan is None or plan.nfe > budget:
                steps = _steps(setting, method, kind, budget)
                plan = _plan(setting, method, kind, steps) if steps else None
            if plan is None:
                continue
            rows = np.concatenate([plan.inputs.ravel(), plan.output, [node.lam for node in plan.nodes]])
            key = (plan.nfe, *np.round(rows, 9).tolist())
            if key in made:
                made[key].same.append(f"{name} on {kind}")
            else:
                made[key] = Candidate(name, kind, steps, plan, own=own, options=fitted(kind, setting.variances))
    return [*made.values(), *(_universals(setting, budget) if with_universal else ())]


def registered() -> list[str]:
    """The names of all methods that are candidates; universal ones, which are tuned, are not among them."""
    return [name for name, method in methods_on().items() if _usable(method)]


def _universals(setting: Setting, budget: int) -> list[Candidate]:
    """The universal methods that the budget pays for, at every place within the ends, and on DDIM's grid for every scale."""
    made, (first, last) = list[Candidate](), setting.ends

    def add(where: str, called: str, form: Form, fitted_to: str) -> None:
        plan = form.plan(f"universal_{form.m}_{fitted_to}")
        called = f'{called}, fitted_to="{fitted_to}"'
        made.append(Candidate("universal", f"{where}, fitted to {fitted_to}", form.m, plan, form=form, called=called))

    for fitted_to in FITTED_TO:
        nfe = max((n for n in table(fitted_to) if n <= budget), default=0)
        for scale, stretch in product(SCALES, STRETCHES) if nfe else ():
            with suppress(ValueError):  # levels that do not fit
                form = table(fitted_to)[nfe].form(setting.schedule, first.t, last.t, scale=scale, stretch=stretch)
                called = f"schedule{_ends_code(first, last)}, scale={scale:g}, stretch={stretch:g}"
                add(f"levels for scale {scale:g}, stretch {stretch:g}", called, form, fitted_to)
        for scale in SCALES if nfe else ():
            with suppress(ValueError, ZeroDivisionError, OverflowError):  # ends that the grid does not reach
                form = table(fitted_to)[nfe].on(GRIDS["align_gaussian"](setting.schedule, nfe, first.t, last.t, c=scale))
                called = _grid_code("align_gaussian", nfe, first, last, {"c": scale})
                add(f"align_gaussian for scale {scale:g}", called, form, fitted_to)
    return made


def _ends_code(first: Node, last: Node) -> str:
    whole = (first.t, last.t) == (first.process.t_max, first.process.t_min)
    return "" if whole else f", {float(first.t)!r}, {float(last.t)!r}"


def _grid_code(kind: str, steps: int, first: Node, last: Node, options: dict[str, Any]) -> str:
    given = _ends_code(first, last) + "".join(f", {name}={value!r}" for name, value in options.items())
    return f'GRIDS["{kind}"](schedule, {steps}{given})'


def _usable(method: Solver) -> bool:
    return "gaussian" in method.on and method.weak is None and not method.spaces and method.nonlinear is None


def _started(methods: Mapping[str, Solver]) -> dict[str, Solver]:
    """The methods, and beside each multistep one it with its other starts."""
    made: dict[str, Solver] = {}
    for name, method in methods.items():
        made[name] = method
        for how in ("ddim", "published"):
            try:
                made[f"{name}, start {how}"] = method(start=how)
            except TypeError:
                break
    return made


def _plan(setting: Setting, method: Solver, kind: str, steps: int) -> Plan | None:
    first, last = setting.ends
    try:
        return trace(method, make(kind, setting.schedule, steps, first.t, last.t, variances=setting.variances))
    except (NotLinear, ValueError, ZeroDivisionError, OverflowError):
        return None


def _steps(setting: Setting, method: Solver, kind: str, budget: int) -> int:
    def cost(n: int) -> int | None:
        plan = _plan(setting, method, kind, n)
        return None if plan is None else plan.nfe

    return most_steps(cost, budget)
