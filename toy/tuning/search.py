r"""The search of ``tune``: steps of Levenberg and Marquardt on the residuals of training states, each divided by its own state's error.

Σ_s log |r_s|² falls along −(JᵀJ + damping)⁻¹ Jᵀ r with r_s and J_s divided by |r_s|. J comes from differences of runs, so that nothing is
asked of the model but to be called, on a part of the states that changes from step to step; a number that first touches evaluation i costs
the evaluations from i on and no others, a third of all on the average. Whether a step is taken all training states decide, what is kept at
the end the held-out ones.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from scorebed.solvers import NonFinite
from scorebed.toy.tuning.advise import measured
from scorebed.toy.tuning.form import Form
from scorebed.toy.tuning.setting import Array, Setting

Tell = Callable[[str], object]
_PATIENCE, _ROWS = 5, 12


class Search:
    """The states, and the steps on them.

    Args:
        setting: the model.
        parts: what may move.
        states, held_out: how many states move the numbers and decide what is kept.
        seed: of the states, and of the parts of them that the Jacobians see.
        say: called with a line about every step.
    """

    def __init__(self, setting: Setting, parts: tuple[str, ...], *, states: int, held_out: int, seed: int, say: Tell) -> None:
        self.setting, self.parts, self.say, self.seed = setting, parts, say, seed
        self.x, self.held = setting.draw(states, seed), setting.draw(held_out, seed + 1)
        self.y, self.held_y = setting.answer(self.x), setting.answer(self.held)
        single = "32" in str(self.x.dtype) or "16" in str(self.x.dtype)
        self.step = 2e-3 if single else 1e-5

    def residuals(self, form: Form, rows: Any = slice(None), known: list[Array] | None = None) -> tuple[np.ndarray, list[Array]] | None:
        """x − y by sample, (n, entries), and the evaluations; None where the run is not finite or leaves the schedule."""
        try:
            with np.errstate(all="ignore"):
                out, made = form.run(self.setting.denoise, self.x[rows], known or ())
        except (NonFinite, ValueError, OverflowError):
            return None
        gap = out - self.y[rows]
        flat = np.asarray(gap.detach().cpu() if hasattr(gap, "detach") else gap, dtype=float).reshape(len(gap), -1)
        return (flat, made) if np.isfinite(flat).all() else None

    def judge(self, form: Form) -> float:
        """The mean log error of the states that decide."""
        return float(np.mean(np.log(measured(self.setting, form.plan(), self.held, self.held_y) + 1e-300)))

    def run(
        self, form: Form, *, iterations: int, seconds: float, saved: dict[str, Any] | None, keep: Callable[[dict[str, Any]], object]
    ) -> tuple[Form, list[dict[str, float]]]:
        """The form that is best on the held-out states, and what happened.

        Args:
            form: where to begin.
            iterations, seconds: bounds; those of ``saved`` are counted among the iterations.
            saved: what ``keep`` was given last in a search that was broken off.
            keep: called with the state of the search after every step.

        Raises:
            ValueError: the first form diverges.
        """
        began, history, damping = time.monotonic(), list[dict[str, float]](), 1e-2
        start, best, best_score = form, form, self.judge(form)
        if saved is not None:
            form, best, history, damping = Form.load(saved["form"]), Form.load(saved["best"]), list(saved["history"]), saved["damping"]
            best_score = self.judge(best)
        done, stale = len(history), 0
        now = self.residuals(form)
        if now is None:
            raise ValueError("the start diverges on this model: give another one")
        self.say(f"{len(history)}: held out {best_score:.3f}; {len(form.free(self.parts))} numbers, {len(self.x)} states")
        while len(history) < iterations and stale < _PATIENCE and time.monotonic() - began < seconds:
            moved, now, damping, loss = self._step(form, now, damping, len(history))
            if moved is None:
                break
            form, score = moved, self.judge(moved)
            stale = 0 if score < best_score - 1e-3 else stale + 1
            if score < best_score:
                best, best_score = form, score
            history.append({"train": loss, "held out": score, "damping": damping})
            left = (time.monotonic() - began) / (len(history) - done) * (iterations - len(history))
            self.say(f"{len(history)}: log error {loss:.3f}, held out {score:.3f}, damping {damping:.1g}, at most {left:.0f} s left")
            keep({"start": start.save(), "form": form.save(), "best": best.save(), "history": history, "damping": damping})
        return best, history

    def _step(
        self, form: Form, now: tuple[np.ndarray, list[Array]], damping: float, count: int
    ) -> tuple[Form | None, tuple[np.ndarray, list[Array]], float, float]:
        """One accepted step: (form, residuals, damping, mean log error), or None where none is found."""
        gap, made = now
        theta, before = form.free(self.parts), float(np.mean(np.log(np.sqrt(np.mean(gap**2, axis=1)) + 1e-300)))
        wanted = max(_ROWS, math.ceil(30 * len(theta) / gap.shape[1]))
        order = np.random.default_rng((self.seed, count)).permutation(len(gap))
        rows = np.sort(order[:wanted]) if wanted < len(gap) else np.arange(len(gap))
        normal, slope = self.normal(form, theta, rows, gap[rows], made)
        if not float(np.trace(normal)) > 0.0:  # nothing that may move changes anything
            return None, now, damping, before
        for _ in range(10):
            ridge = damping * (np.diag(normal) + 1e-6 * float(np.trace(normal)) / len(theta))
            moved_form = form.moved(self.parts, theta + np.linalg.solve(normal + np.diag(ridge), -slope))
            moved = self.residuals(moved_form) if moved_form.ordered else None
            if moved is not None:
                after = float(np.mean(np.log(np.sqrt(np.mean(moved[0] ** 2, axis=1)) + 1e-300)))
                if after < before:
                    return moved_form, moved, max(damping / 4.0, 1e-8), after
            damping *= 4.0
        return None, now, damping, before

    def normal(self, form: Form, theta: np.ndarray, rows: np.ndarray, gap: np.ndarray, made: list[Array]) -> tuple[np.ndarray, np.ndarray]:
        """JᵀJ and Jᵀr of the scaled residuals of some states."""
        size = np.sqrt(np.mean(gap**2, axis=1))
        scale = 1.0 / np.maximum(size, 1e-3 * float(np.median(size)) + 1e-300)[:, None] / math.sqrt(gap.shape[1])
        known = [value[rows] for value in made]
        columns = []
        for k, first in enumerate(form.touches(self.parts)):
            shifted = theta.copy()
            shifted[k] += self.step
            moved = self.residuals(form.moved(self.parts, shifted), rows, known[:first])
            columns.append(np.zeros(gap.size) if moved is None else (((moved[0] - gap) * scale) / self.step).ravel())
        jacobian = np.stack(columns, axis=1)
        return jacobian.T @ jacobian, jacobian.T @ (gap * scale).ravel()
