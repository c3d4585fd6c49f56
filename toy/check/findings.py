"""What every check gives back: findings, whether they pass, what is wrong in a word, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Any

from scorebed.toy.check.finding import Finding

_WIDTHS = {"what": 26, "tried": 38, "came out": 38, "expected": 32}


@dataclass
class Findings:
    """The result of a check.

    Attributes:
        name: of what was checked.
        kind: what kind of thing it is, e.g. "grid".
        findings: every line.
        causes: the names of the faults that were recognised, the likeliest first.
    """

    name: str
    kind: str
    findings: list[Finding] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> list[Finding]:
        return [f for f in self.findings if f.status == "fail"]

    @property
    def cause(self) -> str | None:
        """The likeliest fault, or None."""
        return self.causes[0] if self.causes else None

    def __bool__(self) -> bool:
        return self.passed

    def __getitem__(self, name: str) -> Finding:
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(f"no finding is called {name!r}; there are {', '.join(dict.fromkeys(f.name for f in self.findings))}")

    @property
    def summary(self) -> str:
        counts = {status: sum(f.status == status for f in self.findings) for status in ("pass", "fail", "note", "skip")}
        said = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
        why = f": {', '.join(self.causes)}" if self.causes else ""
        return f"{'PASSED' if self.passed else 'FAILED'}: {self.name} ({self.kind}){why}; {said}"

    def __str__(self) -> str:
        lines = [_row(("", *_WIDTHS))]
        for f in self.findings:
            lines.append(_row((f.status.upper(), f.name, f.tried, f.measured, f.expected)))
        lines += [f"  {f.status.upper()} {f.name}: {f.detail}" for f in self.findings if f.detail and f.status in ("fail", "note")]
        return "\n".join([*lines, "", self.summary])

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "passed": self.passed,
            "causes": self.causes,
            "findings": [f.as_dict() for f in self.findings],
        }


def _row(cells: Sequence[str]) -> str:
    head, *rest = cells
    columns = [wrap(cell, width) or [""] for cell, width in zip(rest, _WIDTHS.values(), strict=True)]
    height = max(map(len, columns))
    lines = []
    for i in range(height):
        shown = [(column[i] if i < len(column) else "").ljust(width) for column, width in zip(columns, _WIDTHS.values(), strict=True)]
        lines.append(f"{head if i == 0 else '':<5} {'  '.join(shown)}".rstrip())
    return "\n".join(lines)
