"""The report of ``check_discrete``: findings, and what is wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from scorebed.toy.check.findings import Findings


@dataclass
class DiscreteReport(Findings):
    """What ``check_discrete`` found.

    Attributes:
        problem: the number of values to the number of tokens, and the process.
        steps, errors, order: total variation at numbers of steps, and the slope; nan where it is exact or below the noise.
        exact: whether laws were followed exactly; else ``noise`` is what counting costs.
        total_correlation: what one step for all tokens must lose, in nats.
        changes: whether known tokens changed.
        seconds: of the check.
    """

    problem: str = ""
    steps: tuple[int, ...] = ()
    errors: tuple[float, ...] = ()
    order: float = math.nan
    exact: bool = True
    noise: float = 0.0
    total_correlation: float = math.nan
    changes: bool = False
    seconds: float = 0.0

    def settle(self) -> None:
        """Put the most telling cause first; none where nothing failed."""
        failed = [f.name for f in self.failures]
        told = any("off by one" in c or "renormalisation" in c or "remasking" in c for c in self.causes)
        if not failed:
            self.causes = []
        elif "masks left" in failed and not told:
            self.causes.insert(0, "masks are left in the output: the mask is drawn as a value, or not all are shown at the end")
        elif failed == ["order"] and not self.causes:
            self.causes = ["an order of showing tokens that looks at what was drawn, or too many tokens drawn again at once"]
        elif not self.causes:
            self.causes = failed[:1]

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        numbers = {"steps": list(self.steps), "errors": list(self.errors), "order": None if math.isnan(self.order) else self.order}
        numbers |= {"exact": self.exact, "noise": self.noise, "seconds": self.seconds}
        return super().as_dict() | {"problem": self.problem, "cause": self.cause} | numbers
