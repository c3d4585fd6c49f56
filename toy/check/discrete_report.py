"""The report of ``check_discrete``: findings, and what is wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from scorebed.toy.check.finding import Finding


@dataclass
class DiscreteReport:
    """What ``check_discrete`` found.

    Attributes:
        passed: whether nothing failed; ``cause`` names what is wrong, the most telling first among ``causes``.
        steps, errors, order: total variation at numbers of steps, and the slope; nan where it is exact or below the noise.
        exact: whether laws were followed exactly; else ``noise`` is what counting costs.
        total_correlation: what one step for all tokens must lose, in nats.
        changes: whether known tokens changed.
    """

    name: str
    problem: str
    findings: list[Finding] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)
    steps: tuple[int, ...] = ()
    errors: tuple[float, ...] = ()
    order: float = math.nan
    exact: bool = True
    noise: float = 0.0
    total_correlation: float = math.nan
    changes: bool = False
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return not any(f.status == "fail" for f in self.findings)

    @property
    def cause(self) -> str | None:
        if self.passed:
            return None
        failed = [f.name for f in self.findings if f.status == "fail"]
        left = "masks are left in the output: the mask is drawn as a value, or not all are shown at the end"
        if "masks left" in failed and not any("off by one" in c or "renormalisation" in c or "remasking" in c for c in self.causes):
            return left
        if self.causes:
            return self.causes[0]
        if failed == ["order"]:
            return "an order of showing tokens that looks at what was drawn, or too many tokens drawn again at once"
        return failed[0]

    def __getitem__(self, name: str) -> Finding:
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(f"no finding is called {name!r}; there are {', '.join(f.name for f in self.findings)}")

    def __str__(self) -> str:
        wide = max((len(f.name) for f in self.findings), default=0)
        lines = [f"{self.name} on {self.problem}"]
        for f in self.findings:
            wanted = f" (expected {f.expected})" if f.expected else ""
            lines.append(f"  {f.status.upper():5} {f.name:{wide}}  {f.tried}: {f.measured}{wanted}")
            if f.detail:
                lines.append(" " * (wide + 10) + f.detail)
        if self.cause is not None:
            lines.append(f"  What is wrong: {self.cause}" + "".join(f"; {c}" for c in self.causes[1:]))
        lines.append(f"{'PASSED' if self.passed else 'FAILED'}: {self.name}; {self.seconds:.1f} s")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        plain = {"name": self.name, "problem": self.problem, "passed": self.passed, "cause": self.cause, "causes": self.causes}
        numbers = {"steps": list(self.steps), "errors": list(self.errors), "order": None if math.isnan(self.order) else self.order}
        numbers |= {"exact": self.exact, "noise": self.noise, "seconds": self.seconds}
        return plain | numbers | {"findings": [f.as_dict() for f in self.findings]}
