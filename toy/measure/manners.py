"""How somebody's sampler behaves, whatever its order: failures by number of steps, repetition, calls, dtypes, reads by the host."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.solvers import Node
from scorebed.toy.foreign.candidate import Candidate, Outcome, Refused
from scorebed.toy.foreign.guard import guarded, said
from scorebed.toy.measure.settings import Setting, own, settings
from scorebed.toy.measure.targets import modes


def some_setting(candidate: Candidate) -> Setting:
    """A usual kind of grid of the candidate, and the mixture."""
    found = [s for s in settings(candidate, small=True) if not s.linear_flow] if candidate.interface.grid else []
    return found[0] if found else own(candidate, "float64 state", "node")


def no_draws(shape: tuple[int, ...], interval: Any) -> np.ndarray:
    """Noise that is 0."""
    return np.zeros(shape)


def one_run(candidate: Candidate, n: int = 12, setting: Setting | None = None, **how: Any) -> Outcome:
    """A run of n steps on the three modes."""
    grid = (setting or some_setting(candidate)).nodes(n)
    return candidate.run(modes().denoised, modes().states(grid[0]), grid, **how)


def failures(
    candidate: Candidate, counts: Sequence[int], seconds: float, setting: Setting | None = None, **how: Any
) -> tuple[dict[str, list[int]], list[int]]:
    """What goes wrong at which number of steps: the text of the exception, ``nan``, ``inf`` or ``hang``; and the numbers tried.

    The small numbers and the powers of 2 come first, then the rest, as far as the time goes. A run has half of it, however late it begins:
    what is cut short because the time is over is no hang.

    Returns:
        (step numbers by kind of failure, all numbers tried), both sorted.
    """
    result: dict[str, list[int]] = {}
    tried: list[int] = []
    first = [n for n in counts if n <= 8 or n & (n - 1) == 0]
    began = time.monotonic()
    for n in [*first, *(n for n in counts if n not in first)]:
        if time.monotonic() - began > seconds:
            break
        tried.append(n)
        done = guarded(partial(one_run, candidate, n, setting, **how), seconds / 2)
        if isinstance(done.error, Refused):
            continue
        kind = "hang" if done.hung else said(done.error) if done.error is not None else _of(done.value.x)
        if kind:
            result.setdefault(kind, []).append(n)
    return {kind: sorted(at) for kind, at in result.items()}, sorted(tried)


def _of(x: np.ndarray) -> str:
    return "nan" if np.isnan(x).any() else "inf" if not np.isfinite(x).all() else ""


def repeats(candidate: Candidate, seeds: Sequence[int] = (1, 1, 2), n: int = 12, **how: Any) -> tuple[bool, bool]:
    """Whether the same seed gives the same samples, and another seed others."""
    runs = [one_run(candidate, n, seed=seed, **how).x for seed in seeds]
    return bool(np.array_equal(runs[0], runs[1])), not np.array_equal(runs[0], runs[2])


def keeps_memory(candidate: Candidate) -> str:
    """What six runs of one batch of equal samples tell: "" where they agree; ``memory`` where they differ but no noise is in it, for the
    samples of each agree, or the runs come to agree as what was left over fades; else ``noise``.

    Returns:
        one of "", ``memory`` and ``noise``.
    """
    grid = some_setting(candidate).nodes(12)
    x = np.repeat(modes().states(grid[0])[2:3], 7, axis=0)
    draws = no_draws if candidate.interface.draws else None
    runs = [candidate.run(modes().denoised, x, grid, draws=draws).x for _ in range(6)]
    moved = [float(np.abs(b - a).max()) for a, b in pairwise(runs)]
    if not any(moved):
        return ""
    alike = all(np.array_equal(run, np.repeat(run[:1], len(run), axis=0)) for run in runs)
    return "memory" if alike or moved[-1] < 0.01 * moved[0] else "noise"


def returned(candidate: Candidate, dtype: str, seed: int = 2) -> tuple[str, np.ndarray]:
    """The dtype that comes back for a state of this one, and the state."""
    grid = some_setting(candidate).nodes(12)
    x = candidate.state(modes().states(grid[0]), dtype)
    done = candidate.run(modes().denoised, x, grid, seed=seed)
    return str(getattr(done.raw, "dtype", type(done.raw))).removeprefix("torch."), done.x


class Reads:
    """Counts what makes the host wait for the device."""

    names = ("item", "cpu", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__", "nonzero", "__array__")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.on = True

    def mode(self) -> Any:
        import torch
        from torch.overrides import TorchFunctionMode

        watched = {getattr(torch.Tensor, name): name for name in self.names if hasattr(torch.Tensor, name)}
        reads = self

        class Mode(TorchFunctionMode):
            def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                if reads.on and func in watched:
                    reads.counts[watched[func]] = reads.counts.get(watched[func], 0) + 1
                return func(*args, **(kwargs or {}))

        return Mode()

    def denoise(self, x: Any, node: Node) -> Any:
        """A cheap denoiser whose own work is not counted."""
        before, self.on = self.on, False
        try:
            return (node.alpha / (node.alpha**2 + node.sigma**2)) * x
        finally:
            self.on = before


def reads(candidate: Candidate, n: int) -> tuple[dict[str, int], int]:
    """By kind, the values that the host reads from tensors in a run of n steps, without those of the adapter; and evaluations."""
    grid = some_setting(candidate).nodes(n)
    counter = Reads()
    candidate.watch = counter
    try:
        with counter.mode():
            done = candidate.run(counter.denoise, modes().states(grid[0]), grid)
    finally:
        candidate.watch = None
    return counter.counts, done.nfe
