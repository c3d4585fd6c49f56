"""The report of ``check_posterior``: findings, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from scorebed.toy.check.findings import Findings
from scorebed.toy.check.posterior_causes import Cause


@dataclass
class PosteriorReport(Findings):
    """What ``check_posterior`` found.

    Attributes:
        problem: its name.
        compared: the known faults by their distance from what was seen, the nearest first, where something is not right; where something
            failed the nearest is the ``cause``.
        seconds: of the check.
    """

    problem: str = ""
    compared: list[Cause] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        nearest = [f"  {cause}" for cause in self.compared[:4]] if self.cause else []
        return "\n".join([super().__str__(), *nearest])

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        compared = [{"name": c.name, "distance": c.distance, "detail": c.detail} for c in self.compared]
        return super().as_dict() | {"problem": self.problem, "cause": self.cause, "compared": compared, "seconds": self.seconds}
