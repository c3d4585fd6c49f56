r"""The search of ``tune`` by gradient: steps on a few states at a time, measured by how much they change what the states end as.

What ``steps`` asks comes from walks back through the form (``adjoint``): g_s = J_sᵀ r_s/|r_s|² from one, and c_s = J_sᵀ v/|r_s| with v
normal, whose c_s c_sᵀ is J_sᵀ J_s/|r_s|² on the average, from another. A walk costs about a run, whatever the number of numbers: at 20
evaluations there are 229, of each of which ``search`` asks a run.

Where chance in the choice of states stands in the way of less, ``search`` goes further, on states that stay the same: ``fixed``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from scorebed.solvers import NonFinite
from scorebed.toy.tuning.adjoint import taped
from scorebed.toy.tuning.form import Form
from scorebed.toy.tuning.search import Search
from scorebed.toy.tuning.steps import Step, descend

_BATCH, _PATIENCE = 32, 8
"""Least states of a step, looks without a better one that end a search."""
_NEAR = 0.2
"""Of the median error, what counts at least as one, so that few states that are nearly right do not rule."""


class Descent(Search):
    """The states, and the steps on them: what ``Search`` has, by gradient. The setting has ``pull``."""

    def tell(
        self, form: Form, rows: np.ndarray, vectors: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """(log |r_s|, g_s, the c_s of so many vectors v) of some states; None where a run is not finite."""
        try:
            with np.errstate(all="ignore"):
                run = taped(self.setting, form, self.x[rows], parts=self.parts, step=self.step)
        except (NonFinite, ValueError, OverflowError):
            if self.setting.pull is None:
                raise
            return None
        gap = run.out - self.y[rows]
        flat = np.asarray(gap.detach().cpu() if hasattr(gap, "detach") else gap, dtype=float).reshape(len(gap), -1)
        size = np.sqrt(np.sum(flat**2, axis=1))
        if not np.isfinite(size).all():
            return None
        near = np.maximum(size, _NEAR * float(np.median(size)) + 1e-300)[:, None]

        def back(v: np.ndarray) -> np.ndarray:
            return run.back(_like(gap, v.reshape(gap.shape)), self.parts)

        slope = back(flat / near) / near
        seen = [back(rng.standard_normal(flat.shape)) / near for _ in range(vectors)]
        found = np.log(size / math.sqrt(flat.shape[1]) + 1e-300), slope, np.concatenate(seen) if seen else np.zeros((0, slope.shape[1]))
        return found if all(np.isfinite(one).all() for one in found) else None

    def run(
        self, form: Form, *, iterations: int, seconds: float, saved: dict[str, Any] | None, keep: Callable[[dict[str, Any]], object]
    ) -> tuple[Form, list[dict[str, float]]]:
        """The form that is best on the held-out states, and what happened; arguments and errors are those of ``Search.run``.

        Returns:
            (the best Form on held-out states, a dict for every look at them).

        Raises:
            ValueError: the first form diverges.
        """
        began, now, best, history, cut = time.monotonic(), form, form, list[dict[str, float]](), 1.0
        if saved is not None:
            now, best, history, cut = Form.load(saved["form"]), Form.load(saved["best"]), list(saved["history"]), saved["damping"]
        before = round(history[-1]["step"]) if history else 0
        moving = _Moving(self, form)
        theta = now.free(self.parts)
        score = self.judge(best)
        self.say(f"{before}: held out {score:.3f}; {len(theta)} numbers, {len(self.x)} states, by gradient")

        def looked(at: Step) -> None:
            history.append({"step": at.done, "train": at.loss, "held out": at.score, "damping": at.cut})
            left = (time.monotonic() - began) / (at.done - before) * (iterations - at.done)
            self.say(f"{at.done}: log error {at.loss:.3f}, held out {at.score:.3f}, best {at.best_score:.3f}, at most {left:.0f} s left")
            forms = {"start": form, "form": moving.form(at.theta), "best": moving.form(at.best)}
            keep({**{name: one.save() for name, one in forms.items()}, "history": history, "damping": at.cut})

        found = descend(
            moving,
            theta,
            best=(best.free(self.parts), score),
            iterations=iterations,
            done=before,
            cut=cut,
            patience=_PATIENCE,
            until=began + seconds,
            looked=looked,
        )
        return moving.form(found), history

    def fixed(self, states: int) -> Search:
        """The search by differences on the first of these states."""
        made = object.__new__(Search)
        vars(made).update({**vars(self), "x": self.x[:states], "y": self.y[:states]})
        return made

    def _rows(self, k: int, numbers: int) -> np.ndarray:
        """The states of step k: all in turn, in another order every time round; as many as numbers, at most half of all."""
        n = len(self.x)
        size = min(max(_BATCH, numbers), max(1, n // 2))
        rounds, at = divmod(k * size, n)
        orders = [np.random.default_rng([self.seed, 7, r]).permutation(n) for r in (rounds, rounds + 1)]
        return np.concatenate(orders)[at : at + size]


class _Moving:
    """A search as a function of the numbers that move in a form."""

    def __init__(self, search: Descent, start: Form) -> None:
        self.search, self.start = search, start

    def form(self, theta: np.ndarray) -> Form:
        return self.start.moved(self.search.parts, theta)

    def judge(self, theta: np.ndarray) -> float:
        form = self.form(theta)
        return self.search.judge(form) if _in_order(form, self.start) else math.inf

    def tell(self, theta: np.ndarray, k: int, vectors: int) -> tuple[float, np.ndarray, np.ndarray] | None:
        rows, rng = self.search._rows(k, len(theta)), np.random.default_rng([self.search.seed, k])
        found = self.search.tell(self.form(theta), rows, vectors, rng)
        return None if found is None else (float(found[0].mean()), found[1].mean(0), found[2].T @ found[2] / max(1, len(found[2])))

    def kept(self, theta: np.ndarray, step: np.ndarray) -> np.ndarray:
        for _ in range(8):
            if _in_order(form := self.form(theta + step), self.start):
                return form.free(self.search.parts)
            step = 0.5 * step
        return theta


def _in_order(form: Form, start: Form) -> bool:
    """Whether the levels go from noise to data; those of a start that goes back and forth need only stay between its ends."""
    return form.ordered or (not start.ordered and bool(np.all((form.lams[1:] >= form.first.lam) & (form.lams[1:] < form.last.lam))))


def _like(x: Any, values: np.ndarray) -> Any:
    """The values as an array of the kind of x."""
    if hasattr(x, "detach"):
        import torch

        return torch.from_numpy(values).to(x)
    return values
