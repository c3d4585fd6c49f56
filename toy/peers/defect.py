"""One defect of a peer: where it is, what it costs, and two measurements, before and after it is mended at run time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from scorebed.toy.peers.guard import TooLong, limit, quiet
from scorebed.toy.peers.measure import gentle, law_error, path_error
from scorebed.toy.peers.mend import line_of, mended, origin
from scorebed.toy.peers.schedulers import IDEAL, SHIPPED, Drive, Mode, even, karras
from scorebed.toy.peers.slopes import measured

OWN = Mode(wide=True, ideal=True, grid=karras)
GENTLE = Mode(wide=True, ideal=True, grid=gentle)
EVEN = Mode(wide=True, ideal=True, grid=even)
FINE = Mode(wide=True, fine=True)

ORDER, WEAK, ERROR, WORKS = "order", "weak order", "error", "works"


@dataclass(frozen=True)
class Trial:
    """A measurement: the order over ``steps``, the error at the last of them, or whether a run works (1.0 or 0.0)."""

    what: str
    drive: Any
    mode: Mode = GENTLE
    steps: Sequence[int] = (25, 49, 97)

    def value(self) -> float:
        """The number; nan where the peer returned nan or raised."""
        with quiet():
            if self.what == WORKS:
                return float(self._works())
            one = law_error if self.what == WEAK else path_error
            errors = [one(self.drive, n, self.mode) for n in self.steps]
        if self.what == ERROR:
            return errors[-1]
        return measured(self.steps, errors).order if np.all(np.isfinite(errors)) else float("nan")

    def _works(self) -> bool:
        try:
            with limit(1.5):
                return all(np.isfinite(path_error(self.drive, n, self.mode)) for n in self.steps)
        except TooLong:
            return False
        except (ArithmeticError, ValueError, UnboundLocalError, RuntimeError):
            return False


@dataclass(frozen=True)
class Defect:
    """One defect, or one documented limit, confirmed by a run with it mended.

    Attributes:
        kind: ``defect``: what is computed is not what the library says; ``limit``: documented, or of the published method.
        module, words: the installed file and the words in it that are at fault.
        cause, effect: in a sentence or two.
        trial: the measurement as shipped.
        mend: the drive of the trial with the defect mended; or ``changes``, words of the source to replace, with the class they change.
        before, after: windows in which the trial's value lies as shipped and mended.
        shows: a program of a few lines that shows it with the library alone.
    """

    key: str
    title: str
    kind: str
    library: str
    module: str
    words: str
    cause: str
    effect: str
    trial: Trial
    before: tuple[float, float]
    after: tuple[float, float]
    changes: tuple[tuple[str, str], ...] = ()
    mend: Callable[[Any], Any] | None = None
    mended_mode: Mode | None = None
    shows: str = ""
    also: tuple[str, ...] = field(default=())

    @property
    def line(self) -> int:
        """The line of the installed file."""
        return line_of(self.module, self.words)

    @property
    def where(self) -> str:
        """File and line, from the package on."""
        path = origin(self.module)
        depth = self.module.count(".") + 1
        return f"{'/'.join(path.parts[-depth:])}:{self.line}"

    def mended_trial(self) -> Trial:
        """The same measurement with the defect mended in memory."""
        drive = self.trial.drive
        if self.changes:
            module = mended(self.module, *self.changes)
            drive = replace(drive, changed=getattr(module, drive.name))
        if self.mend is not None:
            drive = self.mend(drive)
        return replace(self.trial, drive=drive, mode=self.mended_mode or self.trial.mode)


def subclass(maker: Callable[[Any], Any]) -> Callable[[Drive], Drive]:
    """Mend a drive by a subclass of its scheduler."""
    return lambda drive: replace(drive, changed=maker(drive.scheduler))


def with_options(**options: Any) -> Callable[[Any], Any]:
    """Mend a drive by options."""
    return lambda drive: replace(drive, options={**drive.options, **options})


__all__ = [
    "ERROR",
    "EVEN",
    "FINE",
    "GENTLE",
    "IDEAL",
    "ORDER",
    "OWN",
    "SHIPPED",
    "WEAK",
    "WORKS",
    "Defect",
    "Drive",
    "Trial",
    "subclass",
    "with_options",
]
