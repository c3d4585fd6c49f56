r"""``tune``: a Plan made for one model and one budget.

It starts from the best registered method × grid (``advise``), from the universal method or from one with few stages, whichever a short
search brings furthest, and moves levels, times told to the network and weights (``form``) so that the mean of log |x_s − y_s| over training
states falls, y_s where the flow takes state s: by gradient through the network (``descent``), or, where there is none, by differences of
runs (``search``). States that were never used to move anything decide what is kept, and others again what is told. By gradient the states
change from step to step; where numbers are few, some steps by differences on states that stay the same come after them, as chance no longer
hides the little that is left. What it gains on networks, and what counts for it, ``docs/tuned.md`` shows as it was measured.

Relatives: with ``parameters=("nodes",)`` this is the problem of AYS, GITS and DMN with the true error as the objective; with ("times",)
LD3's second set; with ("weights",) S4S's coefficients; with all three BNS and S4S-Alt.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scorebed.solvers import Plan
from scorebed.solvers.plan.file import from_dict, to_dict
from scorebed.toy.tuning.descent import Descent
from scorebed.toy.tuning.form import PARTS, Form
from scorebed.toy.tuning.lockstep import measured
from scorebed.toy.tuning.race import ratio_interval
from scorebed.toy.tuning.search import Search
from scorebed.toy.tuning.setting import Setting, named
from scorebed.toy.tuning.starts import most_promising, starts

Tell = Callable[[str], object]
_MANY, _STEPS, _ENTRIES = 384, 120, 64
"""States and steps by gradient; the entries of a state from which on it is the usual way: with fewer, differences of all are soon had."""
_AFTER, _FIXED, _LEAST = 12, 256, 64
"""Steps by differences after those by gradient, their states, and the most numbers that take them, as each asks for runs of its own."""


def tune(
    model: str | Setting,
    nfe: int,
    *,
    start: Plan | None = None,
    parameters: Sequence[str] = PARTS,
    gradient: bool | None = None,
    states: int | None = None,
    held_out: int = 48,
    test: int = 64,
    raced: int = 48,
    iterations: int | None = None,
    seconds: float = math.inf,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    report: Tell | None = None,
) -> Plan:
    """A Plan of at most ``nfe`` evaluations that follows the model's flow more closely than any registered one, or the best registered one.

    Args:
        model: the name of an exact problem or of a pretrained network, or a ``Setting`` of one's own.
        nfe: evaluations of the model that a run may take.
        start: a deterministic Plan to start from, a tuned one too; None tries the best that ``advise`` finds and that can be moved, and the
            universal one.
        parameters: some of "nodes", "times", "weights".
        gradient: whether the search goes by gradient; None does so where the model has one, ``setting.pull``, and states have 64 entries.
        states, held_out, test: how many states move the numbers, decide what is kept, and tell how good it is; None takes 384 by gradient,
            and by differences 96, or as many as give forty residuals to each number that moves.
        raced: states of the races that find the best registered Plans, and where the universal one stands best. More where errors have
            heavy tails: what wins on few states is not the best there, and what is gained against it is not what is gained.
        iterations, seconds: bounds of the search; what was reached by then is judged. None takes 120 steps by gradient, 30 by differences;
            up to twelve by differences come after those by gradient where at most 64 numbers move.
        seed: of the states.
        checkpoint: a file that is written after every improvement and read at the start where it belongs to the same search.
        report: called with a line about every iteration.

    Returns:
        The Plan; its ``record`` holds what made it: model, budget, start, parameters, seed, the ratio of the median error to that of the
        best registered Plan on the test states with its interval, and to that of the universal one.

    Raises:
        ValueError: unknown names or parts, a budget below 2, fewer than one state or step, a start that cannot be moved, or a gradient
            of a model that has none.
    """
    setting = named(model) if isinstance(model, str) else model
    for part in parameters:
        if part not in PARTS:
            raise ValueError(f"parameters has {part!r}: give some of {', '.join(PARTS)}")
    if nfe < 2:
        raise ValueError(f"nfe = {nfe!r}: one evaluation leaves nothing to tune, give at least 2")
    for name, value in {"states": states, "held_out": held_out, "test": test, "iterations": iterations}.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} = {value!r}: give at least 1")
    if raced < 4:
        raise ValueError(f"raced = {raced!r}: give at least 4")
    say = report or (lambda line: None)
    entries = int(np.prod(setting.draw(1, seed).shape[1:]))
    path = None if checkpoint is None else Path(checkpoint)
    gradient = _by_gradient(setting, gradient, entries)
    kind: type[Search] = Descent if gradient else Search
    if iterations is None:
        iterations = _STEPS if gradient else 30
    about = {"model": setting.name, "nfe": nfe, "parts": list(parameters), "states": states, "held_out": held_out}
    about |= {"raced": raced, "seed": seed, "gradient": gradient}
    about |= {"iterations": iterations} if gradient else {}  # its steps grow shorter towards the last
    saved = _saved(path, about, say)
    if saved is None:
        begin = starts(setting, nfe, start, gradient=gradient, raced=raced, seed=seed, say=say)
        rivals, universal = begin.rivals, begin.universal
        form, moved_from = most_promising(kind, setting, begin.forms, parts=tuple(parameters), most=states, seed=seed, say=say)
    else:
        rivals, universal, form, moved_from = _again(saved)
    states = states or (_MANY if gradient else max(96, math.ceil(40 * len(form.free(parameters)) / entries)))
    constant = {"about": about, "rivals": {k: to_dict(plan) for k, plan in rivals.items()}, "moved from": moved_from}
    constant["universal"] = {name: one.save() for name, one in universal.items()}
    reached = dict(saved or {})
    if saved is None:  # a race takes long, and is not run twice
        begun = form.save()
        reached = {"start": begun, "form": begun, "best": begun, "history": [], "damping": 1.0 if gradient else 1e-2}
        _keep(path, {**constant, **reached})
    search, until = kind(setting, tuple(parameters), states=states, held_out=held_out, seed=seed, say=say), time.monotonic() + seconds

    def keep(made: dict[str, Any]) -> None:
        reached.update(made)
        _keep(path, {**constant, **reached})

    tuned, history = search.run(form, iterations=iterations, seconds=seconds, saved=saved, keep=keep)
    more: list[dict[str, float]] = []
    if isinstance(search, Descent) and len(form.free(parameters)) <= _LEAST and time.monotonic() < until:
        fixed = search.fixed(_FIXED)
        if fixed.residuals(tuned) is not None:
            left = until - time.monotonic()
            tuned, more = fixed.run(
                tuned, iterations=_AFTER, seconds=left, saved=reached.get("after"), keep=lambda made: keep({"after": made})
            )
    x = setting.draw(test, seed + 2)
    answer = setting.answer(x)
    plans = rivals | {name: one.plan(name) for name, one in universal.items()}
    plans["tuned"] = tuned.plan(f"tuned({setting.name}, {nfe})")
    errors = {name: measured(setting, plan, x, answer) for name, plan in plans.items()}
    label = min(rivals, key=lambda name: float(np.median(errors[name])))
    kept = min(reversed(errors), key=lambda name: float(np.median(errors[name])))
    before, after = errors[label], errors[kept]
    ratio, low, high = ratio_interval(after, before)
    record = {
        "model": setting.name,
        "nfe": nfe,
        "start": label,
        "moved from": moved_from,
        "parameters": list(parameters),
        "gradient": gradient,
        "seed": seed,
        "states": states,
        "raced": raced,
        "iterations": round(history[-1].get("step", len(history))) if history else 0,
        "iterations after": len(more),
        "median error": float(np.median(after)),
        "median error of the start": float(np.median(before)),
        "ratio": ratio,
        "ratio interval": [low, high],
        "90th percentile ratio": float(np.quantile(after, 0.9) / np.quantile(before, 0.9)),
        "rms ratio": float(np.sqrt(np.mean(after**2) / np.mean(before**2))),
        "universal ratio": next((ratio_interval(after, errors[name])[0] for name in universal), None),
        "kept": kept if kept == "tuned" else f"{kept}, which is better on states never used",
        "history": [*history, *more],
    }
    say(f"on {test} states never used: {ratio:.3f} [{low:.3f}, {high:.3f}] of the error of {label}")
    plan = plans[kept]
    return Plan(plan.solver, plan.grid, plan.ops, plan.states, plan.result, plan.ends, record)


def _by_gradient(setting: Setting, asked: bool | None, entries: int) -> bool:
    """Whether the search goes by gradient: as it is asked, or where there is one and states have many entries."""
    if setting.pull is None and asked:
        raise ValueError(f"gradient = True: {setting.name} has no pull, the model with its transposed Jacobian: give gradient=False")
    if setting.pull is None or asked is False or (asked is None and entries < _ENTRIES):
        return False
    try:
        setting.pull(setting.draw(1, 0), setting.ends[0])
    except ValueError:
        if asked:
            raise
        return False
    return True


def _saved(path: Path | None, about: dict[str, Any], say: Tell) -> dict[str, Any] | None:
    """What a search that was broken off left behind, if it is this one.

    Returns:
        the saved state of the search, or None where there is none.

    Raises:
        ValueError: the file belongs to another search, or is of an earlier version.
    """
    if path is None or not path.exists():
        return None
    made: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if made.get("about") != about:
        raise ValueError(f"checkpoint = {str(path)!r} belongs to another search: {made.get('about')}")
    if "universal" not in made:
        raise ValueError(
            f"checkpoint = {str(path)!r} is of an earlier version, which did not keep the universal Plan apart: give another file"
        )
    say(f"going on after {len(made['history'])} iterations of {path}")
    return made


def _again(saved: dict[str, Any]) -> tuple[dict[str, Plan], dict[str, Form], Form, str]:
    rivals = {name: from_dict(Plan, made) for name, made in saved["rivals"].items()}
    universal = {name: Form.load(made) for name, made in saved["universal"].items()}
    return rivals, universal, Form.load(saved["start"]), str(saved["moved from"])


def _keep(path: Path | None, made: dict[str, Any]) -> None:
    """Write the checkpoint, whole or not at all."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_text(json.dumps(made), encoding="utf-8")
        part.replace(path)
