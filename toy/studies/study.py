"""The convergence study: solvers × problems × numbers of evaluations, against closed-form truth. What is measured is said in ``cell``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from scorebed.solvers import GRIDS, SOLVERS, Solver
from scorebed.solvers.grid import kinds_on
from scorebed.toy.foreign.named import kind_of, method_of
from scorebed.toy.problems.problem import Problem, refusal
from scorebed.toy.problems.registry import PLAIN, PROBLEMS
from scorebed.toy.store import code
from scorebed.toy.store.files import replace_text
from scorebed.toy.store.key import key, keyed
from scorebed.toy.store.owner import begin, sign
from scorebed.toy.store.tasks import Chain, Engine, Task
from scorebed.toy.store.versions import numerical
from scorebed.toy.store.work import work
from scorebed.toy.studies import cell
from scorebed.toy.studies.rows import Row, frame
from scorebed.toy.studies.sent import Sent

if TYPE_CHECKING:
    import pandas as pd

BUDGETS = (5, 10, 20, 40)
DEFAULT = ("euler", "heun", "ddim", "dpm_solver_2", "dpmpp_2s", "dpmpp_2m", "deis_tab2", "ipndm_2", "ddpm", "dpmpp_2m_sde")
"""The solvers of a study that names none: one of each kind, so that a minute is enough. ``"all"`` takes the whole catalogue, on each
problem the methods that belong there. A problem on a space has defaults of its own."""
AT_CHOICE = {name: method for name, method in SOLVERS.items() if method.takes == "denoised"}
"""The solvers that a study may name: those of every kind of process."""
STUDY = "study"
"""The name of its rows in the store."""

T = TypeVar("T")


def pick(wanted: Sequence[str | T] | None, known: Mapping[str, T], what: str) -> list[T]:
    """Objects by name; objects pass as they are; ``"all"``, alone, or None takes all.

    Where they are solvers or posterior samplers, also with options, ``unipc_3(start=ddim)``, and from a file, ``file.py:name``.

    Returns:
        the objects wanted, in order, each once.

    Raises:
        ValueError: a name that is not known, and the message lists those that are; an option or a file that is none.
    """
    if not wanted or list(wanted) == ["all"]:
        return list(known.values())
    own = kind_of(known) is not None
    made = [w for w in wanted if isinstance(w, str) and own and (":" in w or (w.endswith(")") and w.partition("(")[0] in known))]
    unknown = [w for w in wanted if isinstance(w, str) and w not in known and w not in made]
    if unknown:
        raise ValueError(f"{what} {', '.join(map(repr, unknown))} not known; known: all, {', '.join(known)}")
    return [(method_of(w, known) if w in made else known[w]) if isinstance(w, str) else w for w in dict.fromkeys(wanted)]


def pairs(
    problems: Sequence[str | Problem] | None = None, solvers: Sequence[str | Solver] | None = None
) -> list[tuple[Problem, list[Solver]]]:
    """The problems of a study and the solvers of each: as named, by default those of R^d with ``DEFAULT``, others with their own, or with
    all that belong there.

    Of ``["all"]`` each problem has the solvers that belong there. A solver that is named is kept wherever it is refused, so that the rows
    say so, if there is another problem for it and another solver for the problem.

    Returns:
        (problem, its solvers), one tuple for each problem.

    Raises:
        ValueError: an unknown name, a solver for which no problem is suited, or a problem for which no solver is.
    """
    chosen = pick(problems or PLAIN, PROBLEMS, "problem")
    if not solvers:
        return [(p, pick(p.solvers, SOLVERS, "solver") if p.solvers else _usual(p)) for p in chosen]
    methods = pick(solvers, AT_CHOICE, "solver")
    why = {(p, s): refusal(p, s) for p in chosen for s in methods}
    if list(solvers) == ["all"]:
        return [(p, [s for s in methods if not why[p, s]]) for p in chosen]
    for s in methods:
        if all(why[p, s] for p in chosen):
            raise ValueError(why[chosen[0], s])
    for p in chosen:
        if all(why[p, s] for s in methods):
            raise ValueError(why[p, methods[0]])
    return [(p, methods) for p in chosen]


def _usual(problem: Problem) -> list[Solver]:
    """``DEFAULT``, or where none of it belongs all that do."""
    usual: list[Solver] = pick(DEFAULT, SOLVERS, "solver")
    if all(refusal(problem, s) for s in usual):
        return [s for s in AT_CHOICE.values() if not refusal(problem, s)]
    return usual


def grids_of(problem: Problem, grids: Sequence[str] | None) -> list[str]:
    """The grids of a study on one problem: as named, its own where none is, and of ``["all"]`` those that are for its process.

    Returns:
        names of the grids, each once.

    Raises:
        ValueError: an unknown name, or a grid that is not for the process of this problem.
    """
    names = pick(grids, {name: name for name in GRIDS}, "grid")
    on = kinds_on(problem.process)
    if not grids:
        return [problem.grid_name]
    if list(grids) == ["all"]:
        return list(dict.fromkeys(GRIDS[name].__name__ for name in on))
    for name in names:
        if name not in on:
            raise ValueError(f"grid {name!r} is not for the process of {problem.name}: give one of {', '.join(on)}")
    return list(dict.fromkeys(names))


def chain(problem: Problem, solver: Solver, grid: str, budgets: Sequence[int], seed: int) -> Chain:
    """The rows of one solver on one grid of one problem, as tasks that the store may know. One row that says why, of a method that does
    not belong on the problem.

    Returns:
        the Chain of tasks, which gives the rows of the budgets.
    """
    kind, label = cell.kind_of(problem, solver), f"{problem.name} · {solver.name}"
    start, make = solver.start and solver.start.step, getattr(problem, "make", None)
    modules = code.modules(cell.measured, solver.step, start, problem, make)
    what, study = keyed(STUDY, problem=problem, solver=solver, grid=grid, code=code.digest(*modules), versions=numerical())
    sent, arrays = (Sent(problem), Sent(solver)), None

    def row_of(steps: int) -> Task:
        args = (*sent, steps, grid, seed, arrays)
        return Task(key(cell=what, steps=steps, seed=seed, kind=kind), study, cell.measured, args, label, modules=modules)

    if refusal(problem, solver):
        return [Row(**(yield row_of(cell.FIRST)))]
    known = key(cell=what, budgets=sorted(budgets))
    paid = yield Task(known, study and f"{study} steps", cell.paid, (*sent, grid, tuple(budgets)), label, counted=False, modules=modules)
    if kind == "path":
        about, _ = keyed(STUDY, problem=problem, seed=seed, code=code.digest(*modules[:1]), versions=numerical())
        arrays = yield Task(
            key=about,
            study=study and f"{study} references",
            call=cell.reference,
            args=(sent[0], seed),
            label=f"{problem.name} · exact flow",
            arrays=True,
            counted=False,
            modules=modules[:1],
        )
    rows: dict[int, Row] = {}
    asked = cell.steps_of(problem, solver, paid["steps"])
    steps = next(asked, None)
    while steps is not None:
        if steps not in rows:
            rows[steps] = Row(**(yield row_of(steps)))
        last = rows[steps]
        try:
            steps = asked.send(cell.Measured(last.status, last.nfe, last.error))
        except StopIteration:
            steps = None
    return list(rows.values())


def rows(problem: Problem, solver: Solver, grid: str | None = None, budgets: Sequence[int] = BUDGETS, seed: int = 0) -> list[Row]:
    """The rows of one cell, measured here and kept nowhere."""
    found: list[Row] = work([chain(problem, solver, grid or problem.grid_name, budgets, seed)], jobs=1).values[0]
    return found


def run_study(
    problems: Sequence[str | Problem] | None = None,
    solvers: Sequence[str | Solver] | None = None,
    grids: Sequence[str] | None = None,
    nfe: Sequence[int] = BUDGETS,
    seed: int = 0,
    out: str | Path | None = None,
    report: Callable[[int, int, str], Any] | None = None,
    *,
    store: str | Path | None = None,
    fresh: bool = False,
    force: bool = False,
    jobs: int | None = None,
    backend: str | Engine = "local",
    scheduler: str | None = None,
) -> pd.DataFrame:
    """Run the study and return its tidy rows (the columns are those of ``toy.studies.rows.Row``).

    Every row is in the store as soon as it is known, and what is in the store is not computed again. ``attrs`` of the table say how many
    rows were ``kept`` from before and how many ``made``.

    Args:
        problems: names, or objects of your own; None takes those of R^d, and ``["all"]`` those on other spaces too.
        solvers: likewise; None takes ``DEFAULT``, on spaces the problem's own, and ``["all"]`` the whole catalogue.
        grids: names of ``solvers.GRIDS``; None takes each problem's own.
        nfe: budgets of evaluations for the table of errors.
        seed: of the initial states.
        out: folder for ``results.csv`` and ``study.json``; None writes nothing.
        report: called with (cells done, cells in all, what is begun).
        store: the file of the store; None is ``store.sqlite`` in ``out``.
        fresh: begin a new store; the one that is there is set aside.
        force: replace a ``results.csv`` of another study.
        jobs, backend, scheduler: who computes, as ``toy.store.work.work`` says.

    Returns:
        the rows of the study, one for each problem, solver, grid and steps.

    Raises:
        ValueError: an unknown name, a budget below 1, or solvers that do not belong on the problems (``pairs``).
        StoreError: the folder holds another study, or takes nothing; a store that is damaged.
    """
    chosen = pairs(problems, solvers)
    if bad := [n for n in nfe if n < 1]:
        raise ValueError(f"nfe = {bad[0]!r} is not a number of evaluations: give integers of at least 1")
    spaced = {p: grids_of(p, grids) for p, _ in chosen}
    names = list(dict.fromkeys(g for p in spaced for g in spaced[p])) if grids else []
    cells = [(p, s, g) for p, methods in chosen for g in spaced[p] for s in methods]
    heavy = sorted(range(len(cells)), key=lambda i: (cells[i][0].closed, -cells[i][0].d))  # a reference to be integrated, many dimensions
    arguments: dict[str, Any] = {"problems": [p.name for p, _ in chosen]}
    arguments["solvers"] = list(dict.fromkeys(s.name for _, methods in chosen for s in methods))
    arguments |= {"grids": names, "nfe": list(nfe), "seed": seed}
    folder = None if out is None else begin(out, "results.csv", "study.json", arguments, force)
    how: dict[str, Any] = {"fresh": fresh, "jobs": jobs, "backend": backend, "scheduler": scheduler, "order": heavy}
    outcome = work([chain(*cell, nfe, seed) for cell in cells], store or folder, report, **how)
    table = frame(row for rows in outcome.values for row in rows)
    table.attrs.update(kept=outcome.kept, made=outcome.made)
    if folder is not None:
        sign(folder, "study.json", arguments)
        replace_text(folder / "results.csv", table.to_csv(index=False))
    return table
