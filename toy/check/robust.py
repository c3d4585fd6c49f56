"""What a candidate does at the edges: few and many steps, stiff and guided targets, the last step, and input that is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.solvers import EDM, Node
from scorebed.solvers.grid import karras
from scorebed.toy.check.finding import Finding, judged
from scorebed.toy.foreign.candidate import Candidate, Refused
from scorebed.toy.foreign.guard import guarded, said
from scorebed.toy.measure.convergence import rms
from scorebed.toy.measure.manners import failures, no_draws, some_setting
from scorebed.toy.measure.order import Conditions
from scorebed.toy.measure.sampler import affine, path_error
from scorebed.toy.measure.settings import Make, Setting, between, ends
from scorebed.toy.measure.targets import Affine, modes
from scorebed.toy.problems.uneven import jagged

_PATIENCE = 5.0
_COUNTS = (1, 2, 3, 4, 5, 7, 9, 12, 16, 24, 33, 48, 64)


def finite(candidate: Candidate, quick: bool = False, seconds: float = 60.0) -> Finding:
    """For N = 1…64 steps nothing overflows."""
    counts = _COUNTS if quick else tuple(range(1, 65))
    kinds, tried = failures(candidate, counts, seconds)
    if candidate.kind == "k-diffusion" and candidate.interface.grid:  # as users run it: the last of the levels is 0
        for n in range(1, 9):
            grid = some_setting(candidate).nodes(8)[:n]
            done = guarded(partial(candidate.run, modes().denoised, modes().states(grid[0]), grid, end="zero"), seconds / 2)
            if done.hung or done.error is not None or not np.isfinite(done.value.x).all():
                kinds.setdefault(said(done.error) if done.error is not None else "not finite in the step to 0", []).append(n)
    bad = sorted({n for at in kinds.values() for n in at})
    texts = "".join(f"; at N = {at[0]}: {kind}" for kind, at in kinds.items() if kind not in ("nan", "inf"))
    short = f", the first {len(tried)} of {len(counts)} in {seconds:g} s" if len(tried) < len(counts) else ""
    words = f"N = {counts[0]}…{counts[-1]} steps on 3 modes" + (f", {len(counts)} of them" if quick else "") + short
    measured = "finite everywhere" if not bad else f"not finite or an error at N = {_ranges(bad)}"
    detail = f"look at the first and last steps of short runs: memory that is not there yet, a division by a step of length zero{texts}"
    return judged(not bad, "finite", words, measured, "finite", detail)


def stability(candidate: Candidate) -> list[Finding]:
    """Stiff and guided Gaussians: from how many steps on the run stays within ten times the exact size."""
    targets = {
        "stiff": ("Gaussian with stds 0.001, 1 and 3", Affine([0.5, -1.0, 0.3], [1e-6, 1.0, 9.0])),
        "guided": ("Gaussian with guidance 7.5", Affine([0.5, -1.0, 0.3], [0.04, 0.25, 0.09], strength=7.5)),
    }
    out = []
    for name, (words, denoise) in targets.items():
        make = _whole(candidate)
        needed: int | None = None
        for n in (80, 40, 20, 10, 5):
            grid = make(n)
            x = np.linspace(-2.0, 2.0, 7)[:, None] * np.full(3, math.hypot(grid[0].alpha, grid[0].sigma))
            try:
                done = candidate.run(denoise, x, grid)
            except FloatingPointError:
                break
            if not np.isfinite(done.x).all() or rms(done.x) > 30.0 * (1.0 + rms(x) / max(1.0, grid[0].sigma)):
                break
            needed = n
        measured = "unbounded even at 80 steps" if needed is None else f"bounded from {needed} steps on"
        detail = "an explicit method leaves its stability region here: use a data-prediction (exponential) form, or more steps"
        out.append(judged(needed is not None, f"stability, {name}", f"{words}, N = 5…80", measured, "bounded", detail, "note"))
    return out


def _whole(candidate: Candidate) -> Make:
    """Grids over nearly all of the schedule, as a user walks them."""
    if not candidate.interface.grid:
        return candidate.own
    if candidate.schedule is None:
        return some_setting(candidate).nodes
    schedule = candidate.schedule
    return lambda n: karras(schedule, n)


def last_step(candidate: Candidate) -> list[Finding]:
    """The floor that the step to sigma = 0 leaves, and how it falls with the last positive sigma: as sigma² for the usual rule."""
    if "zero" not in candidate.interface.ends or not candidate.interface.grid:
        return []
    schedule = candidate.schedule or EDM()
    noisy, _ = ends(schedule)

    def off(make: Make, end: str) -> float:
        if candidate.stochastic:
            return _end_std(candidate, make(96), end)
        setting = Setting(make=modes, spaced=make, conditions=Conditions(dtype="float64 state", terminal=end))
        return path_error(candidate, setting, make(96))[0]

    rhos, floors = (0.1, 0.05, 0.025), []
    for rho in rhos:
        make = between(jagged, schedule, noisy, schedule.at_lam(-math.log(rho)).t)
        floors.append(off(make, "zero"))
    steps = off(make, "none")
    slope = math.log(floors[0] / floors[-1]) / math.log(rhos[0] / rhos[-1]) if min(floors) > 0.0 else math.inf
    measured = f"error {floors[0]:.1e} at sigma = {rhos[0]:g}, {floors[-1]:.1e} at {rhos[-1]:g}: sigma^{slope:.1f}"
    detail = "the step from the last sigma to 0 is not x0 = D(x, sigma_min): look at what it does where sigma = 0"
    kept = slope > 0.8 or max(floors) < 5e-3 or floors[-1] < 3.0 * steps  # or what the steps before leave is larger
    words = "std of a Gaussian" if candidate.stochastic else "3 modes"
    return [judged(kept, "last step", f"{words}, 96 steps to sigma_min and one to 0", measured, "falls with sigma_min", detail)]


def _end_std(candidate: Candidate, grid: Any, end: str) -> float:
    """How far the std of the output is from that of the target N(0, 1/4), at sigma = 0 or at the last node."""
    if not candidate.interface.draws:
        return 0.0
    target = GaussianMixture([1.0], np.zeros((1, 1)), np.full(1, 0.25))
    _, slope, noise, _, node = affine(candidate, target, grid, end=end)
    variance = float(slope[0]) ** 2 * (0.25 * grid[0].alpha ** 2 + grid[0].sigma ** 2) + float(noise[0])
    return abs(math.sqrt(variance) - math.hypot(0.5 * node.alpha, node.sigma))


class _Faulty:
    """A denoiser that goes wrong at its third call."""

    def __init__(self, spoil: Callable[[Any], Any]) -> None:
        self.spoil, self.calls = spoil, 0

    def __call__(self, x: Any, node: Node) -> Any:
        self.calls += 1
        value = modes().denoised(x, node)
        return self.spoil(value) if self.calls >= 3 or self.calls == 1 else value


@dataclass(frozen=True)
class _Bad:
    """A kind of bad input: the run that meets it, and the result that would be right all the same, where there is one."""

    name: str
    tried: str
    run: Callable[[], Any]
    right: np.ndarray | None = None
    tolerance: float = 1e-8


def _bad_runs(candidate: Candidate) -> Iterator[_Bad]:
    target = modes()
    grid = some_setting(candidate).nodes(8)
    host_x = target.states(grid[0])
    x = candidate.state(host_x)
    draws: dict[str, Any] = {"draws": no_draws} if candidate.stochastic and candidate.interface.draws else {}

    def run(denoise: Any, state: Any, nodes: Any) -> Callable[[], Any]:
        return lambda: candidate.run(denoise, state, nodes, **draws)

    yield _Bad("NaN", "a model that returns NaN", run(_Faulty(lambda v: v * math.nan), x, grid))
    yield _Bad("wrong shape", "a model that leaves out a sample", run(_Faulty(lambda v: v[:-1]), x, grid))
    yield _Bad("broadcastable shape", "a model that returns one sample of shape (d,)", run(_Faulty(lambda v: v[0]), x, grid))
    twice = np.round(2.0 * host_x)
    whole = twice.astype("int64") if candidate.library == "numpy" else candidate.state(twice).long()
    yield _Bad(
        "integer state", "a state of integers", run(target.denoised, whole, grid), candidate.run(target.denoised, twice, grid, **draws).x
    )
    if candidate.interface.grid:
        plain = candidate.run(target.denoised, host_x, grid, **draws)
        nodes = list(grid)
        yield _Bad("N = 0", "a grid of one node", run(target.denoised, x, nodes[:1]), host_x)
        yield _Bad("duplicate nodes", "a grid with a node twice", run(target.denoised, x, [*nodes[:4], nodes[3], *nodes[4:]]), plain.x)
        swapped = [*nodes[:3], nodes[4], nodes[3], *nodes[5:]]
        exact = np.asarray(target.flow(host_x, grid[0], plain.end))
        off = 3.0 * float(np.abs(plain.x - exact).max())
        yield _Bad("non-monotone grid", "a grid with two nodes swapped", run(target.denoised, x, swapped), exact, max(off, 1e-8))
    else:
        yield _Bad("N = 0", "no steps", lambda: candidate.run(target.denoised, x, candidate.own(0)))


def bad_input(candidate: Candidate, patience: float = _PATIENCE) -> list[Finding]:
    """Error, NaN, silent garbage or hang. An error is what a user needs; our own solvers promise it, of others it is noted."""
    strict = candidate.kind == "solver"
    out = []
    for bad in _bad_runs(candidate):
        result = guarded(bad.run, patience)
        name = f"bad input, {bad.name}"
        if result.hung:
            out.append(Finding(name, "fail", bad.tried, f"no answer in {patience:g} s", "an error", "a loop that this input never leaves"))
        elif isinstance(result.error, Refused):
            continue
        elif result.error is not None:
            out.append(Finding(name, "pass", bad.tried, said(result.error, 60), "an error"))
        else:
            values = result.value.x
            same = bad.right is not None and values.shape == bad.right.shape and np.abs(values - bad.right).max() < bad.tolerance
            if same and not strict:
                out.append(Finding(name, "pass", bad.tried, "no error, and the result is right", "an error, or that"))
                continue
            silent = "no error: nan comes back" if not np.isfinite(values).all() else "no error: finite numbers that mean nothing"
            detail = "nothing checks the input; a user finds out from the images, if at all"
            out.append(Finding(name, "fail" if strict else "note", bad.tried, silent, "an error", detail))
    return out


def _ranges(numbers: list[int]) -> str:
    """1, 2, 3, 7 as "1-3, 7"."""
    parts: list[list[int]] = []
    for n in numbers:
        if parts and n == parts[-1][-1] + 1:
            parts[-1].append(n)
        else:
            parts.append([n])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)
