"""The report of a check of a sampler: its findings, the orders with their conditions, and why one was missed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scorebed.toy.check.diagnose import Diagnosis
from scorebed.toy.check.findings import Findings
from scorebed.toy.measure.convergence import Order
from scorebed.toy.measure.order import OrderResult


@dataclass
class Report(Findings):
    """What ``check_solver`` found.

    Attributes:
        claimed_order, claimed_weak: what was held against it, or None.
        order, weak: the lowest measured slope over all settings of our grids, or None.
        diagnosis: why an order was missed, or None; ``cause`` is its name.
        series: the measurements, each with its conditions, by what was measured: ``order``, ``order towards noise``, ``order, own grid``,
            ``weak order``.
    """

    claimed_order: float | None = None
    claimed_weak: float | None = None
    order: Order | None = None
    weak: Order | None = None
    diagnosis: Diagnosis | None = None
    series: dict[str, list[OrderResult]] = field(default_factory=dict)
    seconds: float = 0.0

    def blame(self, diagnosis: Diagnosis | None) -> None:
        """Note the first cause that is found."""
        if self.diagnosis is None and diagnosis is not None:
            self.diagnosis = diagnosis
            self.causes = [diagnosis.cause]

    @property
    def summary(self) -> str:
        counts = {status: sum(f.status == status for f in self.findings) for status in ("pass", "fail", "note", "skip")}
        said = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
        found = f"order {self.order}" if self.order is not None else f"weak order {self.weak}" if self.weak is not None else "no order"
        claim = self.claimed_weak if self.claimed_weak is not None else self.claimed_order
        claimed = f", claimed {claim:g}" if claim is not None else ", nothing claimed"
        why = f"; cause: {self.cause}" if self.cause and not self.passed else ""
        return f"{'PASSED' if self.passed else 'FAILED'}: {self.name}: {found}{claimed}{why}; {said}; {self.seconds:.1f} s"

    @property
    def verdict(self) -> str:
        """What fails, in one line, for a test's summary."""
        first = self.failures[0] if self.failures else None
        if first is None:
            return self.summary
        expected = f", expected {first.expected}" if first.expected else ""
        looks = next((s.like for s in self.diagnosis.symptoms if s.like), "") if self.diagnosis is not None else ""
        why = ": ".join(filter(None, (self.cause, looks))) or first.detail
        why = f" ({why})" if why else ""
        return f"{self.name}: {first.name}: {first.measured}{expected}{why}"

    def __str__(self) -> str:
        *lines, _, summary = super().__str__().splitlines()
        if self.diagnosis is not None:
            orders = any("order" in f.name for f in self.failures)
            what = "The order is missed because of" if orders or not self.failures else "Accuracy is lost to"
            lines += ["", f"{what}: {self.diagnosis.cause}. What was looked at:", *(f"  {line}" for line in self.diagnosis.lines)]
        return "\n".join([*lines, "", summary])

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        from scorebed.toy.store.versions import versions

        plain: dict[str, Any] = _plain(
            {
                **super().as_dict(),
                "claims": {"order": self.claimed_order, "weak": self.claimed_weak},
                "order": None if self.order is None else asdict(self.order),
                "weak": None if self.weak is None else asdict(self.weak),
                "cause": self.cause,
                "diagnosis": None if self.diagnosis is None else asdict(self.diagnosis),
                "series": {what: [r.as_dict() for r in results] for what, results in self.series.items()},
                "seconds": self.seconds,
                "versions": versions(),
            }
        )
        return plain

    def save(self, path: str | Path) -> list[Path]:
        """Write ``path`` (.json) and the figure beside it (.png and .svg); with a folder, ``check.json`` and ``check`` in it."""
        from scorebed.toy.figures.style import save
        from scorebed.toy.store.files import replace_text

        path = Path(path)
        if path.suffix != ".json":
            path = path / "check.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, json.dumps(self.as_dict(), indent=2) + "\n")
        return [path, *save(self.figure(), path.parent, path.stem)] if any(self.series.values()) else [path]

    def figure(self) -> Any:
        """Error against evaluations, with the claimed slope: a figure of matplotlib."""
        from scorebed.toy.check.figure import draw

        return draw(self)


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
