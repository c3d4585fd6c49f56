r"""The search of ``tune`` by gradient: steps on a few states at a time, measured by how much they change what the states end as.

The mean over states of log |r_s| falls along −(H + damping)⁻¹ g, where g is the mean of g_s = J_sᵀ r_s/|r_s|² and H that of
J_sᵀ J_s/|r_s|². Both come from walks back through the form (``adjoint``): g_s from one, and c_s = J_sᵀ v/|r_s| with v normal, whose
c_s c_sᵀ is H_s on the average, from another. A walk costs about a run, whatever the number of numbers: at 20 evaluations there are
229, of each of which ``search`` asks a run.

H is a mean over all states so far that forgets, g one that forgets soon. A step is cut where it would change the residuals by more than a
share of themselves, and this share goes down over the search as a cosine. What is judged on the held-out states, every few steps, is the
mean of the last forms, which is better than any of them.

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

_BATCH, _EVERY, _PATIENCE = 32, 5, 8
"""Least states of a step, steps from one look at the held-out states to the next, looks without a better one that end a search."""
FORGET, SOON, MEAN = 0.06, 0.3, 0.15
"""What H, g and the mean of the forms forget, of what they knew, when they are told something new."""
_DAMPING, SHARE = 3e-2, 0.3
"""Of H; by how much of themselves a step may change residuals."""
_NEAR, FAR = 0.2, 0.4
"""Of the median error, what counts at least as one, so that few states that are nearly right do not rule; how much worse sends it back."""
_SMALLEST = 1e-3
"""Where steps that small lead nowhere, the search ends."""
_FIRST, _BATCHES, _SEEN = 5, 3, 3
"""Vectors v for each state of so many batches before any step; after that one at every third step."""


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
        began, start = time.monotonic(), form
        best, best_score, history, theta, cut = form, self.judge(form), list[dict[str, float]](), form.free(self.parts), 1.0
        if saved is not None:
            best, history = Form.load(saved["best"]), list(saved["history"])
            best_score, theta, cut = self.judge(best), Form.load(saved["form"]).free(self.parts), saved["damping"]
        done = first = before = round(history[-1]["step"]) if history else 0
        rng = np.random.default_rng([self.seed, done])
        curve = self._curve(form.moved(self.parts, theta), rng)
        slope, mean, stale = np.zeros(len(theta)), theta.copy(), 0
        self.say(f"{done}: held out {best_score:.3f}; {len(theta)} numbers, {len(self.x)} states, by gradient")
        losses: list[float] = []
        while done < iterations and stale < _PATIENCE and time.monotonic() - began < seconds:
            found = self.tell(form.moved(self.parts, theta), self._rows(done, len(theta)), int(done % _SEEN == 0), rng)
            done += 1
            if found is None:  # a form too far: back to the best one, and smaller steps from there
                theta, slope, first, cut = best.free(self.parts), 0.0 * slope, done, cut / 2.0
                mean = theta.copy()
                if cut < _SMALLEST:
                    break
                continue
            losses.append(float(found[0].mean()))
            if len(found[2]):
                curve = (1.0 - FORGET) * curve + FORGET * found[2].T @ found[2] / len(found[2])
            slope = (1.0 - SOON) * slope + SOON * found[1].mean(0)
            share = SHARE * cut * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done / iterations)))
            theta = self._kept(form, theta, damped_step(curve, slope / (1.0 - (1.0 - SOON) ** (done - first)), share))
            mean += max(MEAN, 1.0 / (done - first + 1.0)) * (theta - mean)
            if done % _EVERY and done < iterations:
                continue
            looked = form.moved(self.parts, mean)
            score = self.judge(looked) if _in_order(looked, form) else math.inf
            stale = 0 if score < best_score - 1e-3 else stale + 1
            if score < best_score:
                best, best_score = looked, score
            elif score > best_score + FAR:
                theta, slope, first, cut = best.free(self.parts), 0.0 * slope, done, cut / 2.0
                mean = theta.copy()
            history.append({"step": done, "train": float(np.mean(losses)), "held out": score, "damping": cut})
            left = (time.monotonic() - began) / (done - before) * (iterations - done)
            self.say(f"{done}: log error {np.mean(losses):.3f}, held out {score:.3f}, best {best_score:.3f}, at most {left:.0f} s left")
            losses = []
            now = form.moved(self.parts, theta)
            keep({"start": start.save(), "form": now.save(), "best": best.save(), "history": history, "damping": cut})
        return best, history

    def fixed(self, states: int) -> Search:
        """The search by differences on the first of these states."""
        made = object.__new__(Search)
        vars(made).update({**vars(self), "x": self.x[:states], "y": self.y[:states]})
        return made

    def _curve(self, form: Form, rng: np.random.Generator) -> np.ndarray:
        """H at the first form."""
        numbers = len(form.free(self.parts))
        found = [self.tell(form, self._rows(k, numbers), _FIRST, rng) for k in range(_BATCHES)]
        if any(one is None for one in found):
            raise ValueError("the start diverges on this model: give another one")
        seen = np.concatenate([one[2] for one in found if one is not None])
        return np.asarray(seen.T @ seen / len(seen))

    def _rows(self, k: int, numbers: int) -> np.ndarray:
        """The states of step k: all in turn, in another order every time round; as many as numbers, at most half of all."""
        n = len(self.x)
        size = min(max(_BATCH, numbers), max(1, n // 2))
        rounds, at = divmod(k * size, n)
        orders = [np.random.default_rng([self.seed, 7, r]).permutation(n) for r in (rounds, rounds + 1)]
        return np.concatenate(orders)[at : at + size]

    def _kept(self, start: Form, theta: np.ndarray, step: np.ndarray) -> np.ndarray:
        """As much of a step as leaves the levels in order."""
        for _ in range(8):
            if _in_order(form := start.moved(self.parts, theta + step), start):
                return form.free(self.parts)
            step = 0.5 * step
        return theta


def _in_order(form: Form, start: Form) -> bool:
    """Whether the levels go from noise to data; those of a start that goes back and forth need only stay between its ends."""
    return form.ordered or (not start.ordered and bool(np.all((form.lams[1:] >= form.first.lam) & (form.lams[1:] < form.last.lam))))


def damped_step(curve: np.ndarray, slope: np.ndarray, share: float) -> np.ndarray:
    """−(H + damping)⁻¹ g, no longer than what changes residuals by the share of themselves: δᵀ H δ ≤ share²."""
    diagonal = np.diag(curve) + 1e-6 * float(np.trace(curve)) / len(slope) + 1e-300
    step = -np.linalg.solve(curve + _DAMPING * np.diag(diagonal), slope)
    size = math.sqrt(max(float(step @ curve @ step), 0.0))
    return step * min(1.0, share / size) if size > 0.0 else step


def _like(x: Any, values: np.ndarray) -> Any:
    """The values as an array of the kind of x."""
    if hasattr(x, "detach"):
        import torch

        return torch.from_numpy(values).to(x)
    return values
