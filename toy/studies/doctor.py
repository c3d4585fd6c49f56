"""The table of bad input: every registered method by every face of the library under every kind, each method a part of the store.

A call with one change is either refused, in one error of a known kind that names what was wrong, or it gives what the good call gives.
Everything else is silently wrong.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scorebed.solvers import Solver
from scorebed.solvers.ranges import allowed
from scorebed.solvers.state import parts
from scorebed.toy.properties.faces import CLEAR, FACES, Call, at, good, outside
from scorebed.toy.properties.hostile import Kind, kinds, own
from scorebed.toy.store.parts import Part, counted, tabulate
from scorebed.toy.store.tasks import Report

BAD = ("silent", "unclear")
"""What must not be: a result that is not the good call's, and an error that does not say what was wrong."""


def table(
    solvers: Sequence[Solver],
    faces: Sequence[str] = tuple(FACES),
    report: Report | None = None,
    where: str | Path | None = None,
    **how: Any,
) -> pd.DataFrame:
    """A row for every method, face and kind. Columns: solver, face, kind, verdict (refused, right, hole, silent, unclear), said.

    ``where`` is the store that keeps the rows, ``how`` who computes them, as ``store.work.work`` says.

    Returns:
        one row for each method, face and kind, with its verdict.
    """
    done = tabulate("doctor", [Part(examined, (solver, tuple(faces)), solver.name) for solver in solvers], where, report, **how)
    return counted(pd.DataFrame([row for part in done.values for row in part]), done)


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """How many methods have each verdict, by kind and face."""
    return found.groupby(["kind", "face", "verdict"], sort=False).size().unstack(fill_value=0)


def judge(call: Callable[[], Any], wanted: Any, says: tuple[str, ...]) -> tuple[str, str]:
    """(verdict, what was said): ``refused`` clearly, ``right``, ``silent``, or ``unclear``, another error."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            found = call()
        except CLEAR as error:
            said = f"{type(error).__name__}: {error}"
            return ("refused" if not says or any(word in said for word in says) else "unclear"), said[:200]
        except Exception as error:
            return "unclear", f"{type(error).__name__}: {error}"[:200]
    same = all(
        np.shape(f) == np.shape(w) and np.allclose(f, w, rtol=1e-9, atol=1e-9) for f, w in zip(parts(found), parts(wanted), strict=True)
    )
    return ("right" if same else "silent"), "" if same else f"returned {np.asarray(parts(found)[0]).ravel()[:2].tolist()}"


def options_outside(solver: Solver) -> list[dict[str, Any]]:
    """For every numeric option a value that it must refuse."""
    numeric = [k for k, v in solver.options.items() if isinstance(v, int | float) and not isinstance(v, bool)]
    ranges = allowed(solver.step)
    return [{k: value} for k in numeric for value in (math.nan, -1e9, "0.5") if k not in ranges or value not in ranges[k]]


def examined(solver: Solver, faces: tuple[str, ...] = tuple(FACES)) -> list[dict[str, Any]]:
    """A row for every face and kind: method, face, kind, verdict, said."""
    rows, plain = [], good(solver)
    for face in faces:
        run, why, base, wanted = FACES[face], outside(solver, face), at(face, plain), None
        try:
            wanted = None if why else run(base)
        except CLEAR as refused:
            why = f"even the good call is refused: {refused}"
        for kind in kinds(face):
            hole = why or kind.hole(solver, face)
            if hole:
                verdict, said = "hole", hole
            elif kind.name == "option out of range":
                verdict, said = _worst(solver, base, run, wanted)
            else:
                verdict, said = judge(partial(_changed, run, kind, base), wanted, kind.says)
            rows.append({"solver": solver.name, "face": face, "kind": kind.name, "verdict": verdict, "said": said})
    return rows


def _changed(run: Callable[[Call], Any], kind: Kind, base: Call) -> Any:
    return run(kind.change(replace(base, x=own(base.x))))


def _worst(solver: Solver, base: Call, run: Callable[[Call], Any], wanted: Any) -> tuple[str, str]:
    """The worst verdict over the options of a method."""
    wrong = options_outside(solver)
    if not wrong:
        return "hole", "no numeric option"
    order = ("silent", "right", "unclear", "refused")
    found = [judge(partial(_with_options, run, base, bad), wanted, ("must", "option")) for bad in wrong]
    worst = min(found, key=lambda pair: order.index(pair[0]))
    return ("silent", worst[1]) if worst[0] == "right" else worst


def _with_options(run: Callable[[Call], Any], base: Call, bad: dict[str, Any]) -> Any:
    return run(replace(base, solver=base.solver(**bad)))
