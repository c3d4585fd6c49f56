"""The report of a check: a table for people, JSON for programs, and one figure."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from scorebed.toy.check.diagnose import Diagnosis
from scorebed.toy.check.finding import Finding
from scorebed.toy.check.order import Series
from scorebed.toy.figures.style import BLACK, BLUE, GREEN, MUTED, ORANGE, PURPLE, SKY, VERMILLION, look, save
from scorebed.toy.measure.convergence import Order
from scorebed.toy.store.files import replace_text
from scorebed.toy.store.versions import versions

_WIDTH = 140
_COLOURS = {"pass": "green", "fail": "bold red", "note": "yellow", "skip": "dim"}


@dataclass
class Report:
    """What ``check_solver`` found.

    Attributes:
        name, kind: of the candidate.
        claimed_order, claimed_weak: what was held against it, or None.
        order, weak: the lowest measured slope over all trials, or None.
        findings: every line.
        diagnosis: why an order was missed, or None; ``cause`` is its name.
        series: errors of every trial, by what was measured: ``order``, ``order towards noise``, ``order, own grid``, ``weak order``.
    """

    name: str
    kind: str
    claimed_order: float | None = None
    claimed_weak: float | None = None
    order: Order | None = None
    weak: Order | None = None
    findings: list[Finding] = field(default_factory=list)
    diagnosis: Diagnosis | None = None
    series: dict[str, list[Series]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return not any(f.status == "fail" for f in self.findings)

    @property
    def failures(self) -> list[Finding]:
        return [f for f in self.findings if f.status == "fail"]

    @property
    def cause(self) -> str | None:
        return None if self.diagnosis is None else self.diagnosis.cause

    def __getitem__(self, name: str) -> Finding:
        """The first finding of this name."""
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(f"no finding is called {name!r}; there are {', '.join(dict.fromkeys(f.name for f in self.findings))}")

    def __rich__(self) -> Group:
        table = Table(box=None, padding=(0, 2, 0, 0), title=f"[bold]{self.name}[/bold]  ({self.kind})", title_justify="left")
        for head in ("", "what", "tried", "came out", "expected"):
            table.add_column(head, header_style="dim", overflow="fold")
        for f in self.findings:
            table.add_row(
                Text(f.status.upper(), _COLOURS[f.status]), Text(f.name), Text(f.tried, "dim"), Text(f.measured), Text(f.expected)
            )
        parts: list[Any] = [table, Text()]
        noticed = [f for f in self.findings if f.status in ("fail", "note") and f.detail]
        for status, detail in dict.fromkeys((f.status, f.detail) for f in noticed):
            names = ", ".join(f.name for f in noticed if (f.status, f.detail) == (status, detail))
            words = Text.assemble((f"{status.upper()} ", _COLOURS[status]), (f"{names}: ", "bold"), detail)
            parts.append(Padding(words, (0, 0, 0, 2)))
        if self.diagnosis is not None:
            parts += [
                Text(),
                Text.assemble("The order is missed because of: ", (self.diagnosis.cause, "bold red"), ". What was switched off:"),
            ]
            if any(f.name.startswith("precision") for f in self.failures) and not any("order" in f.name for f in self.failures):
                parts[-1] = Text.assemble("Accuracy is lost to: ", (self.diagnosis.cause, "bold red"), ". What was switched off:")
            parts += [Padding(Text(line), (0, 0, 0, 2)) for line in self.diagnosis.lines]
        parts += [Text(), Text(self.summary, "bold")]
        return Group(*parts)

    @property
    def summary(self) -> str:
        counts = {status: sum(f.status == status for f in self.findings) for status in ("pass", "fail", "note", "skip")}
        said = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
        found = f"order {self.order}" if self.order is not None else f"weak order {self.weak}" if self.weak is not None else "no order"
        claim = self.claimed_weak if self.claimed_weak is not None else self.claimed_order
        claimed = f", claimed {claim:g}" if claim is not None else ", nothing claimed"
        return f"{'PASSED' if self.passed else 'FAILED'}: {self.name}: {found}{claimed}; {said}; {self.seconds:.1f} s"

    def __str__(self) -> str:
        out = io.StringIO()
        Console(file=out, width=_WIDTH, color_system=None).print(self)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "passed": self.passed,
            "claims": {"order": self.claimed_order, "weak": self.claimed_weak},
            "order": None if self.order is None else asdict(self.order),
            "weak": None if self.weak is None else asdict(self.weak),
            "cause": self.cause,
            "findings": [f.as_dict() for f in self.findings],
            "diagnosis": None
            if self.diagnosis is None
            else {
                "cause": self.diagnosis.cause,
                "switches": [asdict(s) for s in self.diagnosis.switches],
                "symptoms": [asdict(s) for s in self.diagnosis.symptoms],
            },
            "series": {what: [asdict(s) for s in found] for what, found in self.series.items()},
            "seconds": self.seconds,
            "versions": versions(),
        }

    def save(self, path: str | Path) -> list[Path]:
        """Write ``path`` (.json) and the figure beside it (.png and .svg); with a folder, ``check.json`` and ``check`` in it."""
        path = Path(path)
        if path.suffix != ".json":
            path = path / "check.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, json.dumps(_plain(self.as_dict()), indent=2) + "\n")
        return [path, *save(self.figure(), path.parent, path.stem)] if any(self.series.values()) else [path]

    def figure(self) -> Figure:
        """Error against evaluations, with the claimed slope."""
        panels = [(what, found) for what, found in self.series.items() if any(s.errors for s in found)]
        with look():
            figure = Figure(figsize=(4.6 * max(1, len(panels)), 4.6), layout="constrained")
            axes = np.atleast_1d(np.asarray(figure.subplots(1, max(1, len(panels)), squeeze=False))).ravel()
            for axis, (what, found) in zip(axes, panels, strict=False):
                self._panel(axis, what, found)
            figure.suptitle(self.name, fontsize=11, fontweight="bold")
        return figure

    def _panel(self, axis: Any, what: str, found: Sequence[Series]) -> None:
        claim = self.claimed_weak if what == "weak order" else self.claimed_order
        looks = ((BLUE, "o"), (VERMILLION, "s"), (GREEN, "^"), (ORANGE, "D"), (PURPLE, "v"), (SKY, "P"), (BLACK, "X"))
        for series, (colour, marker) in zip(found, looks, strict=False):
            good = [(n, e) for n, e in zip(series.nfe, series.errors, strict=True) if np.isfinite(e) and e > 0.0]
            if good:
                slope = f": {series.order.slope:.2f}" if series.order is not None else ""
                axis.loglog(*zip(*good, strict=True), color=colour, marker=marker, label=series.trial + slope, markeredgecolor="white")
        first = next((s for s in found if len([e for e in s.errors if np.isfinite(e) and e > 0.0]) > 1), None)
        if claim and first is not None:
            n = np.array([min(s.nfe[0] for s in found), max(s.nfe[-1] for s in found)], float)
            top = max(e for s in found for m, e in zip(s.nfe, s.errors, strict=True) if m == s.nfe[0] and np.isfinite(e))
            axis.loglog(n, 2.5 * top * (n / n[0]) ** -claim, color=MUTED, linestyle="--", label=f"slope {claim:g}, as claimed")
        axis.set_title(what)
        axis.set_xlabel("evaluations of the model")
        axis.set_ylabel("error of mean and covariance" if what == "weak order" else "RMS error against the exact flow")
        axis.grid(True)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=8.0)


def _plain(value: Any) -> Any:
    """NumPy scalars and what is not finite, as JSON takes them."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return repr(value)
    return value
