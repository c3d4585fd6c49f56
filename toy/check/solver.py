"""``check_solver``: one call that tells whether a sampler is right."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from typing import Any

import numpy as np

from scorebed.toy.check import invariance, orders, rank, same
from scorebed.toy.check.finding import Finding
from scorebed.toy.check.report import Report
from scorebed.toy.check.robust import bad_input, finite, last_step, stability
from scorebed.toy.foreign.adapt import as_candidate
from scorebed.toy.foreign.candidate import Candidate, Outcome, host
from scorebed.toy.foreign.guard import guarded, said
from scorebed.toy.measure.manners import keeps_memory, one_run, some_setting
from scorebed.toy.measure.settings import settings
from scorebed.toy.measure.targets import modes

Tell = Callable[[int, int, str], object]
CHECKS = (
    *("input", "memory", "accuracy", "weak order", "order", "order towards noise", "order, own grid", "precision", "formula", "exactness"),
    *(
        "parameterisations",
        "evaluations",
        "finite",
        "stability",
        "last step",
        "batch",
        "dtype",
        "device",
        "noise",
        "host waits",
        "bad input",
    ),
    *("same as", "rank"),
)
"""What is looked at, in this order; each is a name for ``only``."""
_HELD = ("precision", "formula", "parameterisations", "batch")
"""Checks that need the noise held fixed."""
SECONDS = 600.0


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
    same_as: str | None = None,
    seconds: float = SECONDS,
    seed: int = 0,
    report: Tell | None = None,
    **options: Any,
) -> Report:
    """Check a sampler against exact maps and moments.

    Args:
        candidate: a ``Solver`` or its name; a function ``f(denoise, x, nodes)``; a sampler ``(model, x, sigmas, …)``
            in the style of k-diffusion; a diffusers scheduler or an azula sampler, class or instance; a ``Plan``; or a ``Candidate``.
            NumPy or torch.
        order: the claimed order of a deterministic sampler; None takes the candidate's own claim, and without one the order is a note.
        weak: the claimed weak order of a stochastic one, likewise.
        name, kind, library: see ``as_candidate``.
        quick: fewer targets and fewer numbers of steps.
        diagnosis: whether to look for the cause of a missed order.
        only: the names of the checks to make, e.g. ``("order", "precision")``, of ``CHECKS``; all of them by default.
        same_as: the name of a method of ours that this should be; the report says where it departs.
        seconds: of computing time for the whole check; what is left undone then is told, and the check fails.
        seed: of the initial states and the noise where they are drawn.
        report: told of every check, ``report(done, all, what)``.
        options: of the candidate's adapter, e.g. ``options={"eta": 0.5}``, ``config={"solver_order": 3}``, ``end="denoised"``.

    Returns:
        the Report, with what was found and whether it passes.

    Raises:
        TypeError: the candidate is no sampler.
        ValueError: a claim or limit that is not positive, an unknown check in ``only``, or an unknown method in ``same_as``.
    """
    for claim, value in (("order", order), ("weak", weak), ("seconds", seconds)):
        if value is not None and not 0.0 < value < math.inf:
            raise ValueError(f"{claim} = {value!r} must be positive" + ("" if claim == "seconds" else ", or None where nothing is claimed"))
    known("only", only or (), CHECKS)
    known("same_as", [same_as] if same_as else (), same.names())
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = as_candidate(candidate, name=name, kind=kind, library=library, order=order, weak=weak, **options)
        out = Report(made.name, made.kind, claimed_order=made.order, claimed_weak=made.weak)
        guard = guarded(partial(_runs, made, out, told=library is not None, end=options.get("end")), seconds)
        if guard.hung:
            out.findings.append(
                Finding("runs", "fail", "12 steps on 3 modes", f"no answer in {seconds:g} s", "a state", "a loop without end?")
            )
        elif guard.error is not None:
            raise guard.error
        elif guard.value:
            jobs = list(_jobs(made, out, quick, diagnosis, seed, same_as))
            if only is None and quick:
                only = [what for what, _ in jobs if what != "rank" and (what != "same as" or same_as)]
            _measure(made, out, jobs, only, seconds - (time.perf_counter() - began), report)
    out.seconds = time.perf_counter() - began
    return out


def known(what: str, names: Sequence[str], allowed: Sequence[str]) -> None:
    """Refuse a name that is none of these, with the one that it resembles.

    Raises:
        ValueError: naming it.
    """
    for name in names:
        if name not in allowed:
            near = get_close_matches(str(name), allowed, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"{what}: {name!r} is not known: {hint}Give one of {', '.join(allowed)}")


def _runs(candidate: Candidate, out: Report, told: bool, end: str | None) -> bool:
    """Whether it runs at all; settles its library, whether it draws noise, and what it gives back."""
    tried = "12 steps on 3 modes"
    problems: list[Exception] = []
    done: Outcome | None = None
    fixed = told or candidate.kind not in ("function", "k-diffusion")
    libraries = [candidate.library] if fixed else [candidate.library, "torch", "numpy"]
    for candidate.library in dict.fromkeys(libraries):
        try:
            made = one_run(candidate)
            if made.x.shape != modes().states(made.end).shape:
                raise ValueError(f"a state of shape {modes().states(made.end).shape} came back with shape {made.x.shape}")
            done = made
            break
        except Exception as problem:
            problems.append(problem)
            if not any(word in str(problem) for word in ("numpy", "ndarray", "Tensor", "tensor", "torch")):
                break  # no other library would help it
    if done is None:
        words = said(problems[-1])
        out.findings.append(Finding("runs", "fail", tried, words, "a state", "called as its kind is; say kind= or library="))
        return False
    out.findings.append(Finding("runs", "pass", f"{tried}, {candidate.library}", f"{done.nfe} evaluations", "", candidate.remark))
    if candidate.remark:
        out.findings.append(Finding("grid", "note", "its sigmas replaced by ours", "nothing changed", "our grid", candidate.remark))
    try:
        spoilt = candidate.stochastic is None and keeps_memory(candidate) == "memory"
    except Exception as problem:  # the first run was fine
        detail = "it keeps something from run to run; begin each run with empty memory"
        out.findings.append(Finding("memory", "fail", "the same run again", said(problem), "the same answer", detail))
        out.blame(orders.spoilt())
        return False
    if spoilt:
        candidate.stochastic = False
        out.blame(orders.spoilt())
    if candidate.stochastic is None:
        candidate.stochastic, held = _draws(candidate)
        if not held:
            candidate.interface = replace(candidate.interface, draws=False)
    if candidate.stochastic and candidate.weak is None and candidate.order is not None:  # its order is a weak one
        candidate.weak = out.claimed_weak = candidate.order
        out.claimed_order = None
    if candidate.kind == "function" and end is None:
        _settle_end(candidate)
    return True


def _draws(candidate: Candidate) -> tuple[bool, bool]:
    """Whether it draws noise that changes the result, and whether all of it can be held fixed."""

    def run(value: float) -> np.ndarray:
        return one_run(candidate, draws=lambda shape, _: np.full(shape, value)).x

    try:
        none, again, ones = run(0.0), run(0.0), run(1.0)
    except Exception:
        plain = [one_run(candidate, seed=seed).x for seed in (0, 1)]
        return not np.array_equal(plain[0], plain[1]), False
    if not np.array_equal(none, again):
        return True, False
    return not np.array_equal(none, ones), True


def _settle_end(candidate: Candidate) -> None:
    """A function may end with one more evaluation at the last node, and give that back: seen by comparing."""
    last: list[Any] = []
    grid = some_setting(candidate).nodes(12)

    def denoise(y: Any, node: Any) -> Any:
        last[:] = [node, modes().denoised(y, node)]
        return last[1]

    done = candidate.run(denoise, modes().states(grid[0]), grid)
    if last and last[0].lam == grid[-1].lam and np.array_equal(host(last[1]), done.x):
        candidate.interface = replace(candidate.interface, ends=("denoised",))


def _measure(
    candidate: Candidate,
    out: Report,
    jobs: Sequence[tuple[str, Callable[[], Any]]],
    only: Sequence[str] | None,
    seconds: float,
    tell: Tell | None,
) -> None:
    wanted = [(what, job) for what, job in jobs if only is None or what in only]
    began = time.perf_counter()
    for i, (what, job) in enumerate(wanted):
        if candidate.stochastic and not candidate.interface.draws and what in _HELD:
            out.findings.append(Finding(what, "skip", "with the noise held fixed", "it draws from a generator of its own"))
            continue
        if tell is not None:
            tell(i, len(wanted), what)
        done = guarded(job, max(seconds - (time.perf_counter() - began), 0.01))
        if done.hung:
            rest = ", ".join(name for name, _ in wanted[i:])
            detail = f"not made: {rest}; give more with seconds=, or name checks with only="
            out.findings.append(Finding("time limit", "fail", what, f"{seconds:.0f} s of computing time are over", "an answer", detail))
            return
        if done.error is not None:  # a candidate may raise anything; that is a finding
            out.findings.append(Finding(what, "fail", "", said(done.error), "", "it raised where it should run"))
            continue
        value = done.value
        out.findings += [value] if isinstance(value, Finding) else list(value or [])
    for what in only or ():
        if what not in [name for name, _ in jobs]:
            kind = "draws noise" if candidate.stochastic else "draws no noise"
            out.findings.append(Finding(what, "skip", "", f"does not apply to {candidate.name}, which {kind}"))


def _jobs(
    candidate: Candidate, out: Report, quick: bool, diagnosis: bool, seed: int, same_as: str | None
) -> Iterator[tuple[str, Callable[[], Any]]]:
    free = candidate.interface
    yield "input", partial(invariance.given_state, candidate)
    if not candidate.stochastic:
        yield "memory", partial(invariance.memory, candidate)
    diagnosis = diagnosis and out.diagnosis is None
    if candidate.adaptive:
        yield "accuracy", partial(orders.accuracy, candidate)
    elif candidate.stochastic:
        yield "weak order", partial(orders.weak, candidate, out, quick, diagnosis, seed)
    else:
        if free.steady:
            yield "order", lambda: orders.order(candidate, out, settings(candidate, small=quick), "order", diagnosis)
        if free.grid and free.both_ways:
            yield "order towards noise", lambda: orders.backwards(candidate, out, settings(candidate, True, quick), diagnosis)
        if free.own:
            yield "order, own grid", partial(orders.on_own_grid, candidate, out, diagnosis)
    if not candidate.adaptive:
        yield "precision", partial(orders.rounded, candidate, out, diagnosis)
        yield "formula", partial(orders.formula, candidate, out)
    if not candidate.stochastic:
        yield "exactness", partial(invariance.exactness, candidate)
    yield "parameterisations", partial(invariance.parameterisations, candidate)
    yield "evaluations", partial(invariance.evaluations, candidate)
    yield "finite", partial(finite, candidate, quick)
    yield "stability", partial(stability, candidate)
    yield "last step", partial(last_step, candidate)
    yield "batch", partial(invariance.batch, candidate)
    yield "dtype", partial(invariance.dtype, candidate)
    yield "device", partial(invariance.device, candidate)
    if candidate.stochastic:
        yield "noise", partial(invariance.noise, candidate)
    yield "host waits", partial(invariance.waits, candidate)
    yield "bad input", partial(bad_input, candidate)
    yield "same as", partial(same.same_as, candidate, same_as)
    yield "rank", partial(rank.rank, candidate)
