"""The tidy rows of a study: one for each run of one solver on one grid of one problem."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Row:
    """One run of one solver on one grid of one problem.

    Attributes:
        kind: ``path``, the RMS distance of end states from the exact flow map; ``law``, the W2 distance of the law of the output from the
            exact marginal, on the Gaussian with the problem's mean and covariance; ``weak``, the RMS error of the means of a
            few observables, on a space other than R^d.
        claim: the claimed order, for ``law`` the weak one.
        nfe: evaluations of the denoiser, start-up included, counted from the Plan or the run.
        error: nan where there is none, because the solver diverged or the run was refused.
        reference_error: estimated error of what ``error`` is measured against.
        status: ``ok``; ``floor``, the error is less than two orders above that of the reference; ``diverged``; ``refused``.
        message: why the status is not ``ok``.
    """

    problem: str
    d: int
    schedule: str
    grid: str
    solver: str
    kind: str
    claim: float
    steps: int
    nfe: int
    error: float
    reference_error: float
    samples: int
    seed: int
    status: str = "ok"
    message: str = ""


COLUMNS = tuple(f.name for f in fields(Row))


def frame(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as a table, in the order of the study: as they were, steps ascending within each solver."""
    import pandas as pd

    table = pd.DataFrame([asdict(row) for row in rows], columns=list(COLUMNS))
    for name in ("problem", "grid", "kind", "solver"):  # the order of first appearance, not of the alphabet
        table[name] = pd.Categorical(table[name], categories=list(dict.fromkeys(table[name])), ordered=True)
    table = table.sort_values(["problem", "grid", "kind", "solver", "steps"], kind="stable", ignore_index=True)
    return table.astype(dict.fromkeys(("problem", "grid", "kind", "solver"), object))


def read(path: str | Path) -> pd.DataFrame:
    """The rows of a ``results.csv``."""
    import pandas as pd

    return pd.read_csv(path, keep_default_na=False, na_values={"error": ["", "nan"], "reference_error": ["", "nan"]})
