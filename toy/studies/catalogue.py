"""The catalogue: what each solver claims, what its Plan shows, and what is measured of it.

Orders are measured as the properties do: on the line of three modes with jagged VP grids (deterministic methods), by exact moments on an
ellipsoid with EDM's grid (weak), and by exact distances of paths (strong); methods of phase space, bridges and sequences alone on the
problems of their own properties; the weak order of methods on spaces by the exact laws of their chains. The stability interval is that of
dy/drho = lambda y with equal steps of rho, for methods that are autonomous there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scorebed.solvers import EDM, SOLVERS, VP, NotLinear, Solver, methods_on, sample, trace
from scorebed.solvers.grid import uniform_lam
from scorebed.toy.measure.convergence import Order, order_of
from scorebed.toy.measure.runs import order_on
from scorebed.toy.problems.linear import LinearProblem
from scorebed.toy.problems.problem import enrolled
from scorebed.toy.properties import bridge, phase, sequence
from scorebed.toy.properties.cases import cases
from scorebed.toy.properties.jump import problems as jump_cases
from scorebed.toy.properties.linear_paths import path_errors as linear_path_errors
from scorebed.toy.properties.paths import path_errors
from scorebed.toy.properties.registry import chooses_steps
from scorebed.toy.properties.space_laws import bound
from scorebed.toy.studies.stability import real_interval

_STEPS = (128, 256, 512)
_PATHS = (64, 128, 256)
_CHAIN = (32, 64, 128)


@dataclass(frozen=True)
class Entry:
    """One line of the catalogue. None where a method has no such thing, or it was not measured."""

    name: str
    kind: str
    order: int
    weak: float | None
    strong: float | None
    nfe: int | None
    start: int | None
    history: int | None
    measured: Order | None
    measured_strong: Order | None
    interval: float | None
    reference: str
    alias_of: str | None = None


def order_measured(solver: Solver) -> Order | None:
    """Order of a deterministic method that keeps to its grid."""
    return order_on(cases()[0], solver, steps=_STEPS).order


def weak_measured(solver: Solver) -> Order | None:
    """Weak order of a stochastic method by exact moments."""
    return order_on(cases()[2], solver, law=True, steps=_STEPS).order


def space_weak_measured(solver: Solver) -> Order | None:
    """Weak order of a stochastic method on spaces: by the exact law of its chain, on one space that it claims, curved if possible."""
    case, moving = bound(solver)[-1]
    return order_on(case, moving, law=True, steps=_CHAIN).order


def jump_measured(solver: Solver) -> Order | None:
    """Order in total variation of a method on tokens, on the first problem of its properties that it belongs on; None where it is exact."""
    case, moving = next(enrolled(jump_cases(), solver))
    return order_on(case, moving, law=True, steps=_CHAIN).order


def linear_cases(solver: Solver) -> Sequence[LinearProblem] | None:
    """The problems of a method that is on linear processes other than schedules alone: a linear flow and a curved one. None for others."""
    kinds = {"phase": phase, "bridge": bridge, "sequence": sequence}
    own = [kind for kind in kinds if kind in solver.on]
    return kinds[own[0]].problems() if own and "gaussian" not in solver.on else None


def evaluations(solver: Solver) -> int:
    """Evaluations per step of a method on spaces, counted in a run."""
    x, nodes = np.ones((1, 1)), uniform_lam(EDM(), 17)
    runs = [sample(solver, lambda x, node: 0.5 * x, x, nodes[:n], terminal="none", noise=0, record=True) for n in (17, 18)]
    return runs[1].nfe - runs[0].nfe


def interval_measured(solver: Solver) -> float | None:
    """The stability interval on the negative real axis, None for a method that has none."""
    try:
        return real_interval(solver)
    except ValueError:
        return None


def entry(name: str, measure: bool = True) -> Entry:
    """The line of one solver."""
    s = SOLVERS[name]
    kind = "adaptive" if chooses_steps(s) else "SDE" if s.weak is not None else "ODE"
    nfe = start = history = None
    linear = linear_cases(s)
    try:
        short, long = (trace(s, linear[0].nodes(n) if linear else uniform_lam(VP(), n)) for n in (16, 17))
        nfe, history = long.nfe - short.nfe, long.history
        start = short.nfe - 16 * nfe  # what the first steps of a multistep method cost beyond the others
    except (NotLinear, ValueError):  # no Plan, or made for another kind of process
        nfe = evaluations(s) if s.spaces else None
    order: Order | None = None
    strong = interval = None
    measure = measure and s.takes == "denoised"  # few-step maps have no posterior mean to be measured with
    if measure and linear:
        order = order_on(linear[0] if kind == "SDE" else linear[1], s, law=kind == "SDE", steps=_PATHS).order
        strong = order_of(_PATHS, linear_path_errors(s, linear[0], _PATHS)) if s.strong is not None else None
    elif measure and kind == "ODE":
        order, interval = order_measured(s), interval_measured(s)
    elif measure and kind == "SDE" and s.nonlinear is None:
        order = weak_measured(s)
        strong = order_of(_PATHS, path_errors(s, _PATHS)) if s.strong is not None else None
    elif measure and kind == "SDE":
        order = space_weak_measured(s) if s.spaces else jump_measured(s)
    return Entry(
        name=name,
        kind=kind,
        order=s.order,
        weak=s.weak,
        strong=s.strong,
        nfe=nfe,
        start=start,
        history=history,
        measured=order,
        measured_strong=strong,
        interval=interval,
        reference=s.reference,
    )


def catalogue(
    names: Sequence[str] | None = None, measure: bool = True, report: Callable[[int, int, str], object] | None = None
) -> list[Entry]:
    """The lines of these solvers, of all by default; measured in parallel.

    ``report(done, all, name)`` is called with every line. A method is measured once, whatever its names.

    Returns:
        one Entry for each name asked, in order.
    """
    asked = list(names or methods_on())
    names = list(dict.fromkeys(SOLVERS[name].alias_of or name for name in asked))
    lines = {line.name: line for line in _lines(names, measure, report)}
    return [lines[name] if name in lines else _under(SOLVERS[name], lines) for name in asked]


def _under(method: Solver, lines: dict[str, Entry]) -> Entry:
    """The line of a method under another of its names."""
    assert method.alias_of is not None
    return replace(lines[method.alias_of], name=method.name, reference=method.reference, alias_of=method.alias_of)


def _lines(names: list[str], measure: bool, report: Callable[[int, int, str], object] | None) -> list[Entry]:
    if not measure:
        return [entry(name, measure=False) for name in names]
    from joblib import Parallel, delayed

    lines: list[Entry] = []
    for line in Parallel(n_jobs=-1, return_as="generator")(delayed(entry)(name) for name in names):
        lines.append(line)
        if report is not None:
            report(len(lines), len(names), line.name)
    return lines
