"""Results as tidy rows, written the moment they are known.

A study appends each row to ``results.partial.csv``, one flushed line per row, so that nothing that was computed is lost when the run is
stopped. ``finish`` sorts the rows and puts them in place as ``results.csv`` in one atomic step: a ``results.csv`` is always complete.
"""

from __future__ import annotations

import csv
import json
import math
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

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
    table = pd.DataFrame([asdict(row) for row in rows], columns=list(COLUMNS))
    for name in ("problem", "grid", "kind", "solver"):  # the order of first appearance, not of the alphabet
        table[name] = pd.Categorical(table[name], categories=list(dict.fromkeys(table[name])), ordered=True)
    table = table.sort_values(["problem", "grid", "kind", "solver", "steps"], kind="stable", ignore_index=True)
    return table.astype(dict.fromkeys(("problem", "grid", "kind", "solver"), object))


def read(path: str | Path) -> pd.DataFrame:
    """The rows of a ``results.csv``, or of the ``results.partial.csv`` that a stopped run leaves."""
    return pd.read_csv(path, keep_default_na=False, na_values={"error": ["", "nan"], "reference_error": ["", "nan"]})


class Store:
    """A folder of results, open for writing.

    Use as a context manager: leaving it without ``finish`` (an error, Ctrl-C) keeps the rows so far in ``results.partial.csv``.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.partial, self.final = self.folder / "results.partial.csv", self.folder / "results.csv"
        self.rows: list[Row] = []
        self._file: TextIO | None = None

    def __enter__(self) -> Store:
        self._file = self.partial.open("w", newline="", encoding="utf-8")
        csv.writer(self._file).writerow(COLUMNS)
        self._file.flush()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def append(self, row: Row) -> None:
        """Keep a row, on disk before this returns."""
        if self._file is None:
            raise RuntimeError("the store is closed: append inside 'with Store(folder) as store'")
        self.rows.append(row)
        csv.writer(self._file).writerow(["" if isinstance(v, float) and math.isnan(v) else v for v in asdict(row).values()])
        self._file.flush()

    def finish(self, **arguments: Any) -> pd.DataFrame:
        """Put ``results.csv`` and ``study.json`` (arguments, versions) in place, drop the partial file, and return the table."""
        table = frame(self.rows)
        replace_text(self.final, table.to_csv(index=False))
        replace_text(self.folder / "study.json", json.dumps({"arguments": arguments, "versions": versions()}, indent=2) + "\n")
        self.__exit__(None, None, None)
        self.partial.unlink(missing_ok=True)
        return table


def replace_text(path: Path, text: str) -> None:
    """Write a whole file or nothing of it."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def versions(packages: Sequence[str] = ("scorebed", "numpy", "scipy", "pandas", "matplotlib", "scikit-learn")) -> dict[str, str]:
    """The versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version(), "platform": sys.platform}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
