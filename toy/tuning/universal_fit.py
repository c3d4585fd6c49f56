"""The search behind ``universal``: one form for many members of families, by the steps of ``search``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from scorebed.toy.tuning.form import PARTS, Form
from scorebed.toy.tuning.search import Search


def fit(searches: Sequence[Search], form: Form, iterations: int = 20, say: Callable[[str], object] = lambda line: None) -> Form:
    """The form whose mean log error over all searches' training states is least, kept where their held-out states say so.

    Args:
        searches: one for each member, all on one schedule and range.
        form: where to begin.
        iterations: at most.
        say: called with a line about every step.

    Returns:
        the best Form found.
    """
    damping, best, stale = 1e-2, form, 0
    now = [search.residuals(form) for search in searches]

    def loss(found: Sequence[tuple[np.ndarray, list[np.ndarray]] | None]) -> float:
        if any(one is None for one in found):
            return math.inf
        return float(np.mean([np.mean(np.log(np.sqrt(np.mean(one[0] ** 2, axis=1)) + 1e-300)) for one in found if one is not None]))

    score = best_score = float(np.mean([search.judge(form) for search in searches]))
    for k in range(iterations):
        theta, before = form.free(PARTS), loss(now)
        normal, slope = np.zeros((len(theta), len(theta))), np.zeros(len(theta))
        for search, one in zip(searches, now, strict=True):
            assert one is not None
            part = search.normal(form, theta, np.arange(len(one[0])), one[0], one[1])
            normal, slope = normal + part[0] / len(one[0]), slope + part[1] / len(one[0])
        for _ in range(10):
            ridge = damping * (np.diag(normal) + 1e-6 * float(np.trace(normal)) / len(theta))
            moved = form.moved(PARTS, theta + np.linalg.solve(normal + np.diag(ridge), -slope))
            found = [search.residuals(moved) for search in searches] if moved.ordered else list(now)
            if loss(found) < before:
                break
            damping *= 4.0
        else:
            break
        form, now, damping = moved, found, max(damping / 4.0, 1e-8)
        score = float(np.mean([search.judge(form) for search in searches]))
        stale = 0 if score < best_score - 1e-3 else stale + 1
        if score < best_score:
            best, best_score = form, score
        say(f"{k + 1}: log error {loss(now):.3f}, held out {score:.3f}, damping {damping:.1g}")
        if stale >= 5:
            break
    return best
