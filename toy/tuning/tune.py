r"""``tune``: a Plan made for one model and one budget.

It starts from the best registered method × grid (``advise``) and moves levels, times told to the network and weights (``form``) so that
Σ_s log |x_s − y_s|² over training states falls, y_s where the flow takes state s. Each iteration is a step of Levenberg and Marquardt on
the residuals divided by the error of their own state; the Jacobian comes from differences of runs, so that nothing is asked of the model
but to be called. States that were never used to move anything decide what is kept, and others again what is told.

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

from scorebed.solvers import NonFinite, Plan
from scorebed.solvers.plan_file import from_dict, to_dict
from scorebed.toy.tuning.advise import advise, measured, ratio_interval
from scorebed.toy.tuning.form import PARTS, Form, form_of
from scorebed.toy.tuning.setting import Setting, named

Tell = Callable[[str], object]
_PATIENCE = 4


def tune(
    model: str | Setting,
    nfe: int,
    *,
    start: Plan | None = None,
    parameters: Sequence[str] = PARTS,
    states: int | None = None,
    held_out: int = 24,
    test: int = 64,
    iterations: int = 30,
    seconds: float = math.inf,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    report: Tell | None = None,
) -> Plan:
    """A Plan of at most ``nfe`` evaluations that follows the model's flow more closely than any registered one, or the best registered one.

    Args:
        model: the name of an exact problem or of a pretrained network, or a ``Setting`` of one's own.
        nfe: evaluations of the model that a run may take.
        start: a deterministic Plan to start from; None takes the best that ``advise`` finds and that can be moved.
        parameters: some of "nodes", "times", "weights".
        states, held_out, test: how many states move the numbers, decide what is kept, and tell how good it is; None takes 24, or as many as
            give thirty residuals to each number that moves.
        iterations, seconds: bounds of the search; what was reached by then is judged.
        seed: of the states.
        checkpoint: a file that is written after every improvement and read at the start where it belongs to the same search.
        report: called with a line about every iteration.

    Returns:
        The Plan; its ``record`` holds what made it: model, budget, start, parameters, seed, the ratio of the median error to that of the
        start on the test states with its interval, and the same for the best registered method.

    Raises:
        ValueError: unknown names or parts, a budget below 2, or a start that cannot be moved.
    """
    setting = named(model) if isinstance(model, str) else model
    for part in parameters:
        if part not in PARTS:
            raise ValueError(f"parameters has {part!r}: give some of {', '.join(PARTS)}")
    if nfe < 2:
        raise ValueError(f"nfe = {nfe!r}: one evaluation leaves nothing to tune, give at least 2")
    say = report or (lambda line: None)
    opponent, form, label, moved_from = _start(setting, nfe, start, seed, say)
    entries = int(np.prod(setting.draw(1, seed).shape[1:]))
    states = states or max(24, math.ceil(30 * len(form.free(parameters)) / entries))
    search = _Search(setting, tuple(parameters), states=states, held_out=held_out, seed=seed, say=say)
    tuned, history = search.run(form, iterations=iterations, seconds=seconds, checkpoint=checkpoint)
    x = setting.draw(test, seed + 2)
    answer = setting.answer(x)
    before, after = measured(setting, opponent, x, answer), measured(setting, tuned.plan(), x, answer)
    ratio, low, high = ratio_interval(after, before)
    kept = ratio < 1.0
    record = {
        "model": setting.name,
        "nfe": nfe,
        "start": label,
        "moved from": moved_from,
        "parameters": list(parameters),
        "seed": seed,
        "states": states,
        "iterations": len(history),
        "median error": float(np.median(after if kept else before)),
        "median error of the start": float(np.median(before)),
        "ratio": ratio if kept else 1.0,
        "ratio interval": [low, high],
        "90th percentile ratio": float(np.quantile(after, 0.9) / np.quantile(before, 0.9)),
        "rms ratio": float(np.sqrt(np.mean(after**2) / np.mean(before**2))),
        "kept": "tuned" if kept else "the start, which is better on states never used",
        "history": history,
    }
    say(f"on {test} states never used: {ratio:.3f} [{low:.3f}, {high:.3f}] of the error of {label}")
    plan = tuned.plan(f"tuned({setting.name}, {nfe})") if kept else opponent
    return Plan(plan.solver, plan.grid, plan.ops, plan.states, plan.result, plan.ends, record)


def _start(setting: Setting, nfe: int, start: Plan | None, seed: int, say: Tell) -> tuple[Plan, Form, str, str]:
    """The Plan to beat, the form to move, and what they are; the best one may keep no constants, and then the next is moved."""
    if start is not None:
        return start, form_of(start), start.solver, start.solver
    advice = advise(setting, nfe, states=16, seed=seed + 3)
    best = advice.best
    say(f"best of {len(advice.ranking) + len(advice.others)} registered plans: {best.label}, {best.steps} steps, {best.median:.3g}")
    for c in advice.ranking:
        try:
            return best.plan, form_of(c.plan), best.label, c.label
        except ValueError:
            continue
    raise ValueError(f"none of the best registered plans of {setting.name} at {nfe} evaluations can be moved: give a start")


class _Search:
    """The states, and the steps of Levenberg and Marquardt on them."""

    def __init__(self, setting: Setting, parts: tuple[str, ...], *, states: int, held_out: int, seed: int, say: Tell) -> None:
        self.setting, self.parts, self.say = setting, parts, say
        self.x, self.held = setting.draw(states, seed), setting.draw(held_out, seed + 1)
        self.y, self.held_y = setting.answer(self.x), setting.answer(self.held)
        single = "32" in str(self.x.dtype) or "16" in str(self.x.dtype)
        self.step = 2e-3 if single else 1e-5
        self.about = {"model": setting.name, "parts": list(parts), "states": states, "held_out": held_out, "seed": seed}

    def residuals(self, form: Form) -> np.ndarray | None:
        """x − y by sample, shape (n, entries); None where the run is not finite."""
        try:
            with np.errstate(all="ignore"):
                out = form.plan().run(self.setting.denoise, self.x, noise=0)
        except (NonFinite, ValueError):
            return None
        gap = out - self.y
        gap = np.asarray(gap.detach().cpu() if hasattr(gap, "detach") else gap, dtype=float)
        return np.asarray(gap.reshape(len(gap), -1))

    def judge(self, form: Form) -> float:
        """The mean log error of the states that decide."""
        return float(np.mean(np.log(measured(self.setting, form.plan(), self.held, self.held_y))))

    def run(self, form: Form, *, iterations: int, seconds: float, checkpoint: str | Path | None) -> tuple[Form, list[dict[str, float]]]:
        """The form that is best on the held-out states, and what happened."""
        path = None if checkpoint is None else Path(checkpoint)
        began, history = time.monotonic(), list[dict[str, float]]()
        best, best_score = form, self.judge(form)
        form, history, damping = self._resume(path, form, history)
        if history and (score := self.judge(form)) < best_score:
            best, best_score = form, score
        gap, stale = self.residuals(form), 0
        if gap is None:
            raise ValueError("the start diverges on this model: give another one")
        while len(history) < iterations and stale < _PATIENCE and time.monotonic() - began < seconds:
            moved, gap, damping, loss = self._step(form, gap, damping)
            if moved is None:
                break
            form, score = moved, self.judge(moved)
            stale = 0 if score < best_score - 1e-3 else stale + 1
            if score < best_score:
                best, best_score = form, score
            history.append({"train": loss, "held out": score, "damping": damping})
            left = (time.monotonic() - began) / len(history) * (iterations - len(history))
            self.say(f"{len(history)}: log error {loss:.3f}, held out {score:.3f}, damping {damping:.1g}, at most {left:.0f} s left")
            self._keep(path, form, history, damping)
        return best, history

    def _step(self, form: Form, gap: np.ndarray, damping: float) -> tuple[Form | None, np.ndarray, float, float]:
        """One accepted step: (form, residuals, damping, mean log error), or None where none is found."""
        theta = form.free(self.parts)
        size = np.sqrt(np.mean(gap**2, axis=1))
        scale = 1.0 / np.maximum(size, 1e-3 * float(np.median(size)) + 1e-300)[:, None] / math.sqrt(gap.shape[1])
        columns = []
        for k in range(len(theta)):
            shifted = theta.copy()
            shifted[k] += self.step
            moved = self.residuals(form.moved(self.parts, shifted))
            columns.append(np.zeros(gap.size) if moved is None else (((moved - gap) * scale) / self.step).ravel())
        jacobian, r = np.stack(columns, axis=1), (gap * scale).ravel()
        normal, slope, before = jacobian.T @ jacobian, jacobian.T @ r, float(np.mean(np.log(size)))
        if not float(np.trace(normal)) > 0.0:  # nothing that may move changes anything
            return None, gap, damping, before
        for _ in range(8):
            ridge = damping * (np.diag(normal) + 1e-6 * float(np.trace(normal)) / len(theta))
            change = np.linalg.solve(normal + np.diag(ridge), -slope)
            moved_form = form.moved(self.parts, theta + change)
            moved = self.residuals(moved_form) if moved_form.ordered else None
            if moved is not None:
                after = float(np.mean(np.log(np.sqrt(np.mean(moved**2, axis=1)))))
                if after < before:
                    return moved_form, moved, max(damping / 4.0, 1e-8), after
            damping *= 4.0
        return None, gap, damping, before

    def _keep(self, path: Path | None, form: Form, history: list[dict[str, float]], damping: float) -> None:
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        made = {"about": self.about, "plan": to_dict(form.plan()), "told": form.told.tolist(), "history": history, "damping": damping}
        part = path.with_name(f".{path.name}.part")
        part.write_text(json.dumps(made), encoding="utf-8")
        part.replace(path)

    def _resume(self, path: Path | None, form: Form, history: list[dict[str, float]]) -> tuple[Form, list[dict[str, float]], float]:
        if path is None or not path.exists():
            return form, history, 1e-2
        made: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if made.get("about") != self.about:
            raise ValueError(f"checkpoint = {str(path)!r} belongs to another search: {made.get('about')}")
        plan = from_dict(Plan, made["plan"])
        self.say(f"going on after {len(made['history'])} iterations of {path}")
        inputs = np.concatenate([[plan.grid[0].lam], [node.lam for node in plan.grid[1:-1]]])
        rebuilt = Form(plan.grid[0].process, plan.grid[0], plan.grid[-1], inputs, np.array(made["told"]), _weights(plan))
        return rebuilt, list(made["history"]), float(made["damping"])


def _weights(plan: Plan) -> np.ndarray:
    """The rows of weights of a Plan that ``Form.plan`` made."""
    rows, first = [*plan.inputs, plan.output], plan.grid[0]
    out = np.zeros((plan.nfe + 1, plan.nfe))
    for i, (row, node) in enumerate(zip(rows, plan.grid, strict=True)):
        if i:
            out[i] = row[1:] / (node.alpha - first.alpha * node.sigma / first.sigma)
    return out
