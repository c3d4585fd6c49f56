r"""The search of ``tune``: steps of Levenberg and Marquardt on the residuals of training states, each divided by its own state's error.

Σ_s log |r_s|² falls along −(JᵀJ + damping)⁻¹ Jᵀ r with r_s and J_s divided by |r_s|. J comes from differences of runs, so that nothing is
asked of the model but to be called; a number that first touches evaluation i costs the evaluations from i on and no others, a third of all
on the average. At first all states are asked for their part of J, then a quarter of them at every step. What the others said is moved by
what the step did, J_s += (Δr_s − J_s Δθ) (D Δθ)ᵀ/(Δθᵀ D Δθ) with D the diagonal of JᵀJ (Broyden, Math. Comp. 19, 1965). Whether a step is
taken all training states decide, what is kept at the end the held-out ones.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from scorebed.solvers import NonFinite
from scorebed.toy.tuning.form import Form
from scorebed.toy.tuning.lockstep import measured
from scorebed.toy.tuning.setting import Array, Setting

Tell = Callable[[str], object]
_PATIENCE, _PARTS, _TRIES = 6, 4, 8


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
        self.y, self.held_y = (setting.answer(one, confirmed=False) for one in (self.x, self.held))
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
        flat = np.asarray(gap.detach().cpu() if hasattr(gap, "detach") else gap, dtype=float).reshape(len(gap), int(np.prod(gap.shape[1:])))
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

        Returns:
            (the best Form on held-out states, history of the steps as dicts).

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
        self.slopes: np.ndarray | None = None
        self.say(f"{len(history)}: held out {best_score:.3f}; {len(form.free(self.parts))} numbers, {len(self.x)} states")
        while len(history) < iterations and stale < _PATIENCE and time.monotonic() - began < seconds:
            fresh = self.slopes is None
            moved, now, damping, loss = self._step(form, now, damping, len(history))
            if moved is None:
                if fresh:
                    break
                self.slopes, damping = None, 1e-2  # what the states said is too old
                continue
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
        theta, before = form.free(self.parts), _loss(gap)
        if self.slopes is None:
            self.slopes = self.jacobian(form, theta, np.arange(len(gap)), gap, made)
        else:
            rows = np.arange(count % _PARTS, len(gap), _PARTS)
            self.slopes[rows] = self.jacobian(form, theta, rows, gap[rows], made)
        normal, slope = _normal(self.slopes, gap)
        if not float(np.trace(normal)) > 0.0:  # nothing that may move changes anything
            return None, now, damping, before
        weights = np.diag(normal) + 1e-6 * float(np.trace(normal)) / len(theta)
        for _ in range(_TRIES):
            step = np.linalg.solve(normal + damping * np.diag(weights), -slope)
            moved_form = form.moved(self.parts, theta + step)
            moved = self.residuals(moved_form) if moved_form.ordered else None
            if moved is not None and (after := _loss(moved[0])) < before:
                wrong = (moved[0] - gap) - self.slopes @ step
                self.slopes += (wrong[..., None] * (weights * step / float(step @ (weights * step)))).astype(np.float32)
                return moved_form, moved, max(damping / 4.0, 1e-8), after
            damping *= 4.0
        return None, now, damping, before

    def jacobian(self, form: Form, theta: np.ndarray, rows: np.ndarray, gap: np.ndarray, made: list[Array]) -> np.ndarray:
        """What each number does to the residuals of some states, (states, entries, numbers); ``gap`` is theirs, ``made`` of all states."""
        known = [value[rows] for value in made]
        columns = np.zeros((*gap.shape, len(theta)), dtype=np.float32)
        for k, first in enumerate(form.touches(self.parts)):
            shifted = theta.copy()
            shifted[k] += self.step
            moved = self.residuals(form.moved(self.parts, shifted), rows, known[:first])
            if moved is not None:
                columns[..., k] = (moved[0] - gap) / self.step
        return columns

    def normal(self, form: Form, theta: np.ndarray, rows: np.ndarray, gap: np.ndarray, made: list[Array]) -> tuple[np.ndarray, np.ndarray]:
        """JᵀJ and Jᵀr of the scaled residuals of some states."""
        return _normal(self.jacobian(form, theta, rows, gap, made), gap)


def _loss(gap: np.ndarray) -> float:
    """The mean over states of the log of the RMS error."""
    return float(np.mean(np.log(np.sqrt(np.mean(gap**2, axis=1)) + 1e-300)))


def _normal(slopes: np.ndarray, gap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """JᵀJ and Jᵀr with each state's part divided by the size of its residual."""
    size = np.sqrt(np.mean(gap**2, axis=1))
    scale = 1.0 / np.maximum(size, 1e-3 * float(np.median(size)) + 1e-300)[:, None] / math.sqrt(gap.shape[1])
    jacobian = (slopes * scale[..., None]).reshape(gap.size, -1)
    return (jacobian.T @ jacobian).astype(float), (jacobian.T @ (gap * scale).ravel()).astype(float)
