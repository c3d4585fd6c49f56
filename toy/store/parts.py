"""Tables made of parts: each is what a function makes of its arguments, and is kept the moment it is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scorebed.solvers import Solver
from scorebed.toy.store import code
from scorebed.toy.store.key import keyed
from scorebed.toy.store.tasks import Chain, Outcome, Report, Task
from scorebed.toy.store.versions import numerical
from scorebed.toy.store.work import work

if TYPE_CHECKING:
    import pandas as pd

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Part:
    """``call(*args)``: rows of a table, or a mapping of arrays.

    Attributes:
        call: a function with a name, of this house or one's own.
        args: what the part is of; with the code of ``call`` and of the methods among them they are its key.
        label: what the progress bar says.
    """

    call: Callable[..., Rows | Mapping[str, Any]]
    args: tuple[Any, ...]
    label: str = ""


def chain(study: str, part: Part, arrays: bool = False) -> Chain:
    """The rows, or the arrays, of one part."""
    steps = [a.step for a in part.args if isinstance(a, Solver)]
    modules = code.modules(part.call, *steps, *part.args)
    what, kept = keyed(study, call=part.call, args=part.args, code=code.digest(*modules), versions=numerical())
    row = yield Task(what, kept, _made, (part.call, part.args, arrays), part.label, arrays, modules=modules)
    return row if arrays else row["table"]


def counted(table: pd.DataFrame, done: Outcome) -> pd.DataFrame:
    """The table, which says how many parts of it were ``kept`` and ``made``."""
    table.attrs.update(kept=done.kept, made=done.made)
    return table


def _made(call: Callable[..., Any], args: tuple[Any, ...], arrays: bool) -> Mapping[str, Any]:
    made = call(*args)
    return made if arrays else {"table": made}


def tabulate(
    study: str,
    wanted: Sequence[Part],
    where: str | Path | None = None,
    report: Report | None = None,
    *,
    arrays: bool = False,
    jobs: int | None = 1,
    **how: Any,
) -> Outcome:
    """The rows of every part, or its arrays, in their order; ``where`` and ``how`` are those of ``store.work.work``.

    Returns:
        the Outcome, rows or arrays of every part in order.

    Raises:
        StoreError: the store or the engine cannot be used.
    """
    return work([chain(study, part, arrays) for part in wanted], where, report, jobs=jobs, **how)
