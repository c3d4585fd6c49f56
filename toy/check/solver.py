"""``check_solver``: one call that tells whether a sampler is right."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from scorebed.toy.check import order as orders
from scorebed.toy.check import weak as weaks
from scorebed.toy.check.candidate import Candidate, as_candidate, host
from scorebed.toy.check.diagnose import diagnose, diagnose_weak, rounding
from scorebed.toy.check.finding import Finding
from scorebed.toy.check.invariance import batch, device, dtype, evaluations, exactness, noise, parameterisations, precision, waits
from scorebed.toy.check.order import Series
from scorebed.toy.check.report import Report
from scorebed.toy.check.robust import bad_input, finite, last_step, some_grid, stability
from scorebed.toy.check.trials import Trial, modes, own_trials, trials
from scorebed.toy.measure.convergence import Order

Tell = Callable[[int, int, str], object]
_ADAPTIVE_ERROR = 0.02


def check_solver(
    candidate: Any,
    *,
    order: float | None = None,
    weak: float | None = None,
    name: str | None = None,
    kind: str | None = None,
    library: str | None = None,
    quick: bool = False,
    diagnosis: bool = True,
    only: Sequence[str] | None = None,
    seed: int = 0,
    report: Tell | None = None,
    **options: Any,
) -> Report:
    """Check a sampler against exact maps and moments.

    Args:
        candidate: a ``Solver``; a function ``f(denoise, x, nodes)``; a sampler ``(model, x, sigmas, …)`` in the style of k-diffusion; a
            diffusers scheduler, class or instance; or a ``Candidate``. NumPy or torch.
        order: the claimed order of a deterministic sampler; None takes the candidate's own claim, and without one the order is reported.
        weak: the claimed weak order of a stochastic one, likewise.
        name, kind, library: see ``as_candidate``.
        quick: fewer trials and fewer numbers of steps.
        diagnosis: whether to look for the cause of a missed order.
        only: the names of the checks to make, e.g. ``("order", "precision")``; all of them by default.
        seed: of the initial states and the noise where they are drawn.
        report: told of every check, ``report(done, all, what)``.
        options: of the candidate's face, e.g. ``options={"eta": 0.5}``, ``config={"solver_order": 3}``, ``end="denoised"``.

    Raises:
        TypeError: the candidate is no sampler.
        ValueError: a claim that is not positive.
    """
    for claim, value in (("order", order), ("weak", weak)):
        if value is not None and not 0.0 < value < math.inf:
            raise ValueError(f"{claim} = {value!r} must be positive, or None where nothing is claimed")
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = as_candidate(candidate, name=name, kind=kind, library=library, order=order, weak=weak, **options)
        found = Report(made.name, made.kind, made.order, made.weak)
        if _runs(made, found, told=library is not None, end=options.get("end")):
            _measure(made, found, quick, diagnosis, only, seed, report)
    found.seconds = time.perf_counter() - began
    return found


def _runs(candidate: Candidate, found: Report, told: bool, end: str | None) -> bool:
    """Whether it runs at all; settles its library, whether it draws noise, and what it gives back."""
    make = some_grid(candidate)
    problem: Exception | None = None
    for library in dict.fromkeys(
        [candidate.library] if told or candidate.kind in ("solver", "diffusers") else [candidate.library, "torch"]
    ):
        candidate.library = library
        try:
            grid = make(12)
            x = Trial("", modes(), make).states(grid[0])
            done = candidate.run(modes().denoised, x, grid)
            if done.x.shape != x.shape:
                raise ValueError(f"a state of shape {x.shape} came back with shape {done.x.shape}")
            break
        except Exception as raised:
            problem = problem or raised
    else:
        words = f"{type(problem).__name__}: {problem}"
        found.findings.append(
            Finding("runs", "fail", "12 steps on 3 modes", words, "a state", "called as its kind is; say kind= or library=")
        )
        return False
    found.findings.append(Finding("runs", "pass", f"12 steps on 3 modes, {candidate.library}", f"{done.nfe} evaluations"))
    if candidate.stochastic is None:
        candidate.stochastic, held = _draws(candidate, grid, x)
        if not held:
            candidate.freedom = replace(candidate.freedom, draws=False)
    if candidate.stochastic and candidate.weak is None and candidate.order is not None:  # its order is a weak one
        candidate.weak = found.claimed_weak = candidate.order
        found.claimed_order = None
    if candidate.kind == "function" and end is None:
        _settle_end(candidate, grid, x)
    return True


def _draws(candidate: Candidate, grid: Any, x: np.ndarray) -> tuple[bool, bool]:
    """Whether it draws noise that changes the result, and whether all of it can be held fixed."""

    def run(value: float) -> np.ndarray:
        return candidate.run(modes().denoised, x, grid, draws=lambda shape, _: np.full(shape, value)).x

    try:
        none, again, ones = run(0.0), run(0.0), run(1.0)
    except Exception:
        plain = [candidate.run(modes().denoised, x, grid, seed=seed).x for seed in (0, 1)]
        return not np.array_equal(plain[0], plain[1]), False
    if not np.array_equal(none, again):
        return True, False
    return not np.array_equal(none, ones), True


def _settle_end(candidate: Candidate, grid: Any, x: np.ndarray) -> None:
    """A function may end with one more evaluation at the last node, and give that back: seen by comparing."""
    last: list[Any] = []

    def denoise(y: Any, node: Any) -> Any:
        last[:] = [node, modes().denoised(y, node)]
        return last[1]

    done = candidate.run(denoise, x, grid)
    if last and last[0].lam == grid[-1].lam and np.array_equal(host(last[1]), done.x):
        candidate.freedom = replace(candidate.freedom, ends=("denoised",))


def _measure(
    candidate: Candidate, found: Report, quick: bool, diagnosis: bool, only: Sequence[str] | None, seed: int, tell: Tell | None
) -> None:
    jobs = [(what, job) for what, job in _jobs(candidate, found, quick, diagnosis, seed) if only is None or what in only]
    for i, (what, job) in enumerate(jobs):
        if candidate.stochastic and not candidate.freedom.draws and what in _HELD:
            found.findings.append(_loose(what))
            continue
        if tell is not None:
            tell(i, len(jobs), what)
        try:
            out = job()
        except Exception as problem:  # a candidate may raise anything; that is a finding
            out = Finding(what, "fail", "", f"{type(problem).__name__}: {problem}", "", "it raised where it should run")
        found.findings += [out] if isinstance(out, Finding) else list(out or [])


_HELD = ("precision", "parameterisations", "batch")
"""Checks that need the noise held fixed."""


def _loose(what: str) -> Finding:
    return Finding(what, "skip", "with the noise held fixed", "it draws from a generator of its own")


def _jobs(candidate: Candidate, found: Report, quick: bool, diagnosis: bool, seed: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    free = candidate.freedom
    if candidate.adaptive:
        yield "accuracy", partial(_accuracy, candidate)
    elif candidate.stochastic:
        yield "weak order", partial(_weak, candidate, found, quick, diagnosis, seed)
    else:
        if free.own:
            yield "order, own grid", partial(_order, candidate, found, "order, own grid", own_trials(candidate), quick, diagnosis, True)
        if free.grid:
            yield "order", partial(_order, candidate, found, "order", trials(candidate, small=quick), quick, diagnosis)
        if free.grid and free.both_ways:
            back = trials(candidate, back=True, small=quick)
            yield "order towards noise", partial(_back, candidate, found, back, quick, diagnosis)
    if not candidate.adaptive:
        yield "precision", partial(_precision, candidate, found, diagnosis)
    yield "exactness", partial(exactness, candidate) if not candidate.stochastic else lambda: None
    yield "parameterisations", partial(parameterisations, candidate)
    yield "evaluations", partial(evaluations, candidate)
    yield "finite", partial(finite, candidate, quick)
    yield "stability", partial(stability, candidate)
    yield "last step", partial(last_step, candidate)
    yield "batch", partial(batch, candidate)
    yield "dtype", partial(dtype, candidate)
    yield "device", partial(device, candidate)
    if candidate.stochastic:
        yield "noise", partial(noise, candidate)
    yield "host waits", partial(waits, candidate)
    yield "bad input", partial(bad_input, candidate)


def _accuracy(candidate: Candidate) -> list[Finding]:
    """What a method that chooses its steps reaches, whatever the grid."""
    out = []
    for trial in trials(candidate, small=True):
        value, nfe, size = orders.error(candidate, trial, trial.make(16))
        kept = value < _ADAPTIVE_ERROR * max(1.0, size)
        words = f"error {value:.1e} with {nfe} evaluations"
        status = "pass" if kept else "fail"
        out.append(Finding("accuracy", status, trial.name, words, f"< {_ADAPTIVE_ERROR:g}", "" if kept else "its tolerance is not kept"))
    return out


def _lowest(found: list[Series]) -> Order | None:
    measured = [s.order for s in found if s.order is not None]
    return min(measured, key=lambda o: o.slope) if measured else None


def _order(
    candidate: Candidate, found: Report, what: str, where: list[Trial], quick: bool, diagnosis: bool, own: bool = False
) -> list[Finding]:
    """A finding for each trial; the first that fails is diagnosed."""
    claim, out = candidate.order, []
    series = found.series.setdefault(what, [])
    for trial in where:
        if own:
            measured = orders.measure(candidate, trial, claim, steps=orders.OWN_STEPS[:4] if quick else orders.OWN_STEPS, finer=())
        else:
            measured = orders.measure(candidate, trial, claim)
        series.append(measured)
        name = f"{what}: {trial.name}"
        if claim is None:
            out.append(Finding(name, "pass", _steps(measured), measured.shown(), "no claim"))
            continue
        status, words = orders.verdict(measured, claim, trial.linear)
        if status == "fail" and diagnosis and found.diagnosis is None:
            found.diagnosis = diagnose(candidate, trial, claim, own)
        # on its own grid a scheduler is judged too, but what a final step to 0 costs there is not a fault of the formula
        detail = f"{words}; the diagnosis below says which part costs it" if status == "fail" else ""
        out.append(
            Finding(name, status, _steps(measured), measured.shown(), f"{claim:g}" + (f", {words}" if status == "pass" else ""), detail)
        )
    lowest = _lowest(series)
    if what == "order" or (found.order is None and what != "order towards noise"):
        found.order = lowest
    return out


def _back(candidate: Candidate, found: Report, where: list[Trial], quick: bool, diagnosis: bool) -> list[Finding]:
    """From data to noise; a sampler that cannot go there is not at fault."""
    try:
        out = _order(candidate, found, "order towards noise", where, quick, diagnosis and candidate.kind == "solver")
        if candidate.kind == "solver":
            return out
        words = "not its order there; it matters only where it is used for inversion"
        return [replace(f, status="note", detail=words) if f.status == "fail" else f for f in out]
    except Exception as problem:
        if candidate.kind == "solver":
            raise
        found.series.pop("order towards noise", None)
        words = f"{type(problem).__name__}: {problem}"
        return [Finding("order towards noise", "skip", "grids from data to noise", words, "", "it only runs from noise to data")]


def _steps(series: Series) -> str:
    return f"{series.steps[0]}…{series.steps[-1]} steps against the exact flow" if series.steps else ""


def _weak(candidate: Candidate, found: Report, quick: bool, diagnosis: bool, seed: int) -> list[Finding]:
    """Weak order and moments on Gaussians."""
    claim, out = candidate.weak, []
    where = [t for t in (trials(candidate) if candidate.freedom.grid else own_trials(candidate)) if t.linear][: 1 if quick else None]
    if not candidate.freedom.draws:
        for trial in where:
            off, relative = weaks.monte_carlo(candidate, trial, 64, seed=seed)
            words = f"moments off by {off:.1f} standard errors (variance {relative:.1%})"
            status = "pass" if relative < 0.15 else "fail"
            out.append(Finding("moments", status, f"{trial.name}, 20000 samples, 64 steps", words, "within noise and step error"))
        return out
    series = found.series.setdefault("weak order", [])
    for trial in where:
        measured = (
            weaks.measure(candidate, trial, claim, finer=weaks.FINER[:1] if quick else weaks.FINER)
            if candidate.freedom.grid
            else weaks.measure(candidate, trial, claim, steps=orders.OWN_STEPS, finer=())
        )
        series.append(measured)
        tried = f"{measured.steps[0]}…{measured.steps[-1]} steps, exact mean and covariance"
        name = f"weak order: {trial.name}"
        if claim is None:
            out.append(Finding(name, "pass", tried, measured.shown(), "no claim"))
            continue
        status, words = orders.verdict(measured, claim, linear=True)
        if status == "fail" and diagnosis and found.diagnosis is None:
            found.diagnosis = diagnose_weak(candidate, trial, claim)
        detail = f"{words}; the diagnosis below says which part costs it" if status == "fail" else ""
        out.append(Finding(name, status, tried, measured.shown(), f"{claim:g}" + (f", {words}" if status == "pass" else ""), detail))
    found.weak = _lowest(series)
    return out


def _precision(candidate: Candidate, found: Report, diagnosis: bool) -> Finding | None:
    out = precision(candidate)
    if out is not None and out.status == "fail" and diagnosis and found.diagnosis is None:
        found.diagnosis = rounding(candidate)
    return out
