"""What a transfer study keeps on disk, so that a run that was stopped goes on where it was.

In the folder of the study: ``runs.jsonl``, one line per measured run, flushed as it is known (a line that was cut off is ignored);
``references/<target>.npz``, the finest reference so far; ``draws.npz``, the network's own samples. A reference remembers what its denoiser
said at one probe, and a run which reference it was measured against: results of another network, target, seed or batch are not taken up.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPACES = ("state", "picture")


@dataclass(frozen=True)
class Run:
    """One solver on one target within one budget.

    Attributes:
        budget, nfe: evaluations allowed, and taken; the last one, to sigma = 0, included.
        status: ``ok``; ``floor``, less than ten times the error of the reference in either space; ``diverged``; ``dear``, one step costs
            more than the budget; ``same``, the program is that of an earlier solver; ``refused``, the method does not walk this grid.
        message: why the status is not ``ok``.
        state, picture: the error of each sample, RMS over its entries; inf where the run diverged, empty where there was none.
        reference: the reference that the errors are measured against.
    """

    target: str
    solver: str
    budget: int
    steps: int
    nfe: int
    status: str
    message: str
    state: tuple[float, ...]
    picture: tuple[float, ...]
    reference: str

    def errors(self, space: str) -> NDArray[np.float64]:
        """Errors of the samples in the ``state`` or the ``picture``."""
        return np.array(self.state if space == "state" else self.picture, dtype=np.float64)

    def rms(self, space: str) -> float:
        """RMS over all samples and entries; nan where nothing was run."""
        errors = self.errors(space)
        with np.errstate(over="ignore"):
            return float(np.sqrt(np.mean(errors**2))) if errors.size else math.nan


@dataclass(frozen=True)
class Reference:
    """Where the flow takes the states, by the finest grid so far.

    Attributes:
        x, x0: states (n, …) at the last node, and the denoised means there.
        steps: of the grid.
        errors: estimated RMS error, by space; nan before there was a coarser run to compare with.
        settled: whether the estimate is as small as was asked.
    """

    x: NDArray[np.float64]
    x0: NDArray[np.float64]
    steps: int
    errors: dict[str, float]
    settled: bool

    @property
    def name(self) -> str:
        """A hash of the states."""
        return hashlib.sha256(np.ascontiguousarray(self.x).tobytes()).hexdigest()[:16]


class Folder:
    """The folder of one study."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        (self.path / "references").mkdir(parents=True, exist_ok=True)
        self.runs = {(run.target, run.solver, run.budget): run for run in _lines(self.path / "runs.jsonl")}
        _mend(self.path / "runs.jsonl")

    def known(self, target: str, solver: str, budget: int, steps: int, reference: str) -> Run | None:
        """The run, if it was made with these steps against this reference."""
        run = self.runs.get((target, solver, budget))
        return run if run is not None and run.state and (run.steps, run.reference) == (steps, reference) else None

    def append(self, run: Run) -> None:
        """Keep a run, on disk before this returns."""
        self.runs[run.target, run.solver, run.budget] = run
        with (self.path / "runs.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(run)) + "\n")
            file.flush()

    def reference(self, target: str, probe: NDArray[np.float64]) -> Reference | None:
        """The reference of a target whose denoiser says ``probe``; None where there is none, or it was another's."""
        held = load_arrays(self.path / "references" / f"{target}.npz")
        if held is None or held["probe"].shape != probe.shape or not np.allclose(held["probe"], probe, rtol=1e-3, atol=1e-6):
            return None
        errors = dict(zip(SPACES, held["errors"].tolist(), strict=True))
        return Reference(held["x"], held["x0"], int(held["steps"]), errors, bool(held["settled"]))

    def keep(self, target: str, probe: NDArray[np.float64], one: Reference) -> None:
        """Keep a reference in place of the one before."""
        errors = np.array([one.errors[space] for space in SPACES])
        path = self.path / "references" / f"{target}.npz"
        save_arrays(path, probe=probe, x=one.x, x0=one.x0, steps=np.array(one.steps), errors=errors, settled=np.array(one.settled))


def save_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Write a whole ``.npz`` or nothing of it."""
    memory = io.BytesIO()
    np.savez(memory, **arrays)  # type: ignore[arg-type]  # the stub takes allow_pickle for one of the arrays
    part = path.with_name(path.name + ".part")
    part.write_bytes(memory.getvalue())
    os.replace(part, path)


def load_arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays of an ``.npz``, or None where there is no file."""
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as held:
        return dict(held)


def _lines(path: Path) -> Iterator[Run]:
    if not path.exists():
        return
    names = {f.name for f in fields(Run)}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            held = json.loads(line)
        except json.JSONDecodeError:
            continue  # cut off when the run was stopped
        if isinstance(held, dict) and held.keys() == names:
            yield Run(**{**held, "state": tuple(held["state"]), "picture": tuple(held["picture"])})


def _mend(path: Path) -> None:
    """End a line that was cut off, so that the next one is not appended to it."""
    if path.exists() and not path.read_text(encoding="utf-8").endswith("\n"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")
