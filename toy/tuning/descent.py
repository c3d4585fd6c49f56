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
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from scorebed.solvers import NonFinite
from scorebed.toy.tuning.adjoint import taped
from scorebed.toy.tuning.form import Form
from scorebed.toy.tuning.search import Search

_BATCH, _EVERY, _PATIENCE = 32, 5, 8
"""Least states of a step, steps from one look at the held-out states to the next, looks without a better one that end a search."""
_FORGET, _SOON, _MEAN = 0.06, 0.3, 0.15
"""What H, g and the mean of the forms forget, of what they knew, when they are told something new."""
_DAMPING, _SHARE = 3e-2, 0.3
"""Of H; by how much of themselves a step may change residuals."""
_NEAR, _FAR = 0.2, 0.4
"""Of the median error, what counts at least as one, so that few states that are nearly right do not rule; how much worse sends it back."""
_SMALLEST = 1e-3
"""Where steps that small lead nowhere, the search ends."""
_FIRST, _BATCHES, _SEEN = 5, 3, 3
"""Vectors v for each state of so many batches before any step; after that one at every third step."""


class Objective(Protocol):
    """What goes down, as a function of a vector of numbers."""

    def judge(self, theta: np.ndarray) -> float:
        """The mean log error on the states that decide; inf where theta may not be."""

    def tell(self, theta: np.ndarray, k: int, vectors: int) -> tuple[float, np.ndarray, np.ndarray] | None:
        """(mean log error, g, the mean of c cᵀ over so many vectors) on the states of step k; None where a run is not finite."""

    def kept(self, theta: np.ndarray, step: np.ndarray) -> np.ndarray:
        """As far along a step as theta may go."""


@dataclass(frozen=True)
class Step:
    """A look at the held-out states: after how many steps, the mean log error of those since the last look, that of held-out states and
    the best there, where the search is and where it was best, and how much smaller than usual its steps are."""

    done: int
    loss: float
    score: float
    best_score: float
    theta: np.ndarray
    best: np.ndarray
    cut: float


def descend(
    objective: Objective,
    theta: np.ndarray,
    *,
    best: tuple[np.ndarray, float],
    iterations: int,
    done: int = 0,
    cut: float = 1.0,
    patience: float = math.inf,
    until: float = math.inf,
    looked: Callable[[Step], object] = lambda step: None,
) -> np.ndarray:
    """The numbers that are best on held-out states.

    Args:
        objective: what goes down.
        theta: where to begin.
        best: what is best so far, and its mean log error on held-out states.
        iterations: steps, of which ``done`` are behind.
        cut: how much smaller than usual steps are.
        patience: looks without a better one that end it.
        until: no step begins after this time of ``time.monotonic``.
        looked: called after every look at the held-out states.

    Returns:
        the best theta.

    Raises:
        ValueError: a first theta that diverges.
    """
    first_looks = [objective.tell(theta, done + k, _FIRST) for k in range(_BATCHES)]
    if any(one is None for one in first_looks):
        raise ValueError("the start diverges on this model: give another one")
    curve = np.mean([one[2] for one in first_looks if one is not None], axis=0)
    (best_theta, best_score), losses = best, list[float]()
    slope, mean, first, stale = np.zeros(len(theta)), theta, done, 0
    while done < iterations and stale < patience and cut >= _SMALLEST and time.monotonic() < until:
        found = objective.tell(theta, done, int(done % _SEEN == 0))
        done += 1
        if found is None:  # too far: back to the best, and smaller steps from there
            theta, mean, slope, first, cut = best_theta, best_theta, 0.0 * slope, done, cut / 2.0
            continue
        losses.append(found[0])
        if (done - 1) % _SEEN == 0:
            curve = (1.0 - _FORGET) * curve + _FORGET * found[2]
        slope = (1.0 - _SOON) * slope + _SOON * found[1]
        share = _SHARE * cut * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done / iterations)))
        theta = objective.kept(theta, damped_step(curve, slope / (1.0 - (1.0 - _SOON) ** (done - first)), share))
        mean = mean + max(_MEAN, 1.0 / (done - first + 1.0)) * (theta - mean)
        if done % _EVERY and done < iterations:
            continue
        score = objective.judge(mean)
        stale = 0 if score < best_score - 1e-3 else stale + 1
        if score < best_score:
            best_theta, best_score = mean, score
        elif score > best_score + _FAR:
            theta, mean, slope, first, cut = best_theta, best_theta, 0.0 * slope, done, cut / 2.0
        looked(Step(done, float(np.mean(losses)), score, best_score, theta, best_theta, cut))
        losses = []
    return best_theta


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
