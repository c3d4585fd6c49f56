"""One thing that was tried: what, what came out, what was expected, and what to look at where they differ."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

STATUSES = ("pass", "fail", "note", "skip")
"""``fail`` decides; ``note`` is worth knowing and decides nothing; ``skip`` says why something was not tried."""


@dataclass(frozen=True)
class Finding:
    """A line of the report.

    Attributes:
        name: what was looked at, stable for programs.
        status: one of ``STATUSES``.
        tried: what was done, in words.
        measured, expected: numbers or words, as they are printed.
        detail: on a fail what to look at; else a remark.
    """

    name: str
    status: str
    tried: str
    measured: str
    expected: str = ""
    detail: str = ""

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status = {self.status!r} is not known: give one of {', '.join(STATUSES)}")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def judged(kept: bool, name: str, tried: str, measured: str, expected: str = "", detail: str = "", otherwise: str = "fail") -> Finding:
    """A finding that passes where ``kept`` and is ``otherwise`` where not; the detail is for the second case."""
    return Finding(name, "pass" if kept else otherwise, tried, measured, expected, "" if kept else detail)


def one_digit_up(value: float) -> int:
    """The next integer of one significant digit: 41 200 is 50 000."""
    digits = 10 ** math.floor(math.log10(value))
    return math.ceil(value / digits) * digits
