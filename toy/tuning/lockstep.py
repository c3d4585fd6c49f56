"""Many deterministic Plans on the same states at once: inputs at one node go to the model in one call, and the same input goes there once.

Methods on one grid begin alike and meet at its nodes. A network is so called a tenth as often, on batches that are worth its while, and is
asked about a third less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from scorebed.solvers import Node, NonFinite, Plan
from scorebed.solvers.plan import Walk
from scorebed.solvers.plan.ops import total
from scorebed.solvers.state import is_finite
from scorebed.toy.tuning.setting import Array, Setting, distances

Tell = Callable[[int, int, str], object]
_MOST = 64
"""States in one call."""


def errors_of(
    setting: Setting,
    plans: Sequence[Plan],
    x: Array,
    answer: Array,
    report: Callable[[int, int, str], object] | None = None,
    what: str = "",
) -> tuple[list[np.ndarray], int]:
    """The RMS distance of each Plan's end states from the answer, and how many states the model was asked about.

    Args:
        setting: the model.
        plans: deterministic, on the same range.
        x, answer: states at the first node, and where the flow takes them.
        report: called with (Plans that are done, of, ``what``).
        what: the label of this work.

    Returns:
        (one array for each Plan, inf where its run is not finite; states times evaluations).
    """
    errors, asked, done = [np.full(len(x), np.inf) for _ in plans], 0, 0
    by_grid = sorted(range(len(plans)), key=lambda k: _second(plans[k]))
    for _, group in groupby(by_grid, key=lambda k: _second(plans[k])):  # those that share a grid; of the rest the memory is free again
        walks = {k: Walk(plans[k], x) for k in group}
        done += len(walks)
        asked += _walk(setting, walks)
        for k, walk in walks.items():
            out = walk.read(plans[k].result)
            if is_finite(out):
                errors[k] = distances(out, answer)
        if report is not None:
            report(done, len(plans), what)
    return errors, asked


def _second(plan: Plan) -> float:
    return float(round(plan.grid[1].lam, 9))


def _walk(setting: Setting, walks: dict[int, Walk]) -> int:
    """Walk all to their ends, those that diverge with nan; how many states the model was asked about."""
    asked, moved = 0, list(walks.values())
    while True:
        with np.errstate(all="ignore"):
            for walk in moved:
                walk.advance(_no_draw, total)
        nodes = [(walk, walk.waiting.node) for walk in walks.values() if walk.waiting is not None]
        if not nodes:
            return asked
        first = min((node for _, node in nodes), key=lambda node: float(node.lam))
        moved = [walk for walk, node in nodes if node.lam == first.lam]
        asked += _ask(setting, moved, first)


def _ask(setting: Setting, walks: Sequence[Walk], node: Node) -> int:
    """Answer walks that wait at one node; how many states that took."""
    inputs = [walk.read(walk.waiting.source) for walk in walks if walk.waiting is not None]
    keys = [np.asarray(u).tobytes() for u in inputs]
    distinct = {key: u for key, u in zip(keys, inputs, strict=True) if is_finite(u)}
    found: dict[bytes, Array] = {}
    at_once, todo = max(1, _MOST // len(inputs[0])), list(distinct)
    for i in range(0, len(todo), at_once):
        part = todo[i : i + at_once]
        with np.errstate(all="ignore"):
            values = setting.denoise(_stacked([distinct[key] for key in part]), node)
        n = len(inputs[0])
        found |= {key: values[k * n : (k + 1) * n] for k, key in enumerate(part)}
    for walk, key, u in zip(walks, keys, inputs, strict=True):
        walk.answer(found[key] if key in found else math.nan * u)
    return len(distinct) * len(inputs[0])


def _stacked(arrays: Sequence[Array]) -> Array:
    if hasattr(arrays[0], "detach"):
        import torch

        return torch.cat(list(arrays))
    return np.concatenate(arrays)


def _no_draw(s: Any, t: Any) -> Any:
    raise ValueError("a Plan that draws noise cannot be walked beside others: give deterministic ones")


def measured(setting: Setting, plan: Plan, x: Array, answer: Array) -> np.ndarray:
    """The RMS distance of each end state from the answer; inf where the run diverges."""
    try:
        with np.errstate(all="ignore"):
            return distances(plan.run(setting.denoise, x, noise=0), answer)
    except NonFinite:
        return np.full(len(x), math.inf)
