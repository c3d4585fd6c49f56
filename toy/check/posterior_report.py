"""The report of ``check_posterior``: findings, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from scorebed.toy.check.finding import Finding
from scorebed.toy.check.posterior_causes import Cause


@dataclass
class PosteriorReport:
    """What ``check_posterior`` found; ``passed``, ``cause`` (None, or the name of what is wrong), ``findings``, ``causes`` (all that were
    compared, the nearest first)."""

    name: str
    problem: str
    findings: list[Finding] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return not any(f.status == "fail" for f in self.findings)

    @property
    def cause(self) -> str | None:
        return self.causes[0].name if self.causes and not self.passed else None

    def __getitem__(self, name: str) -> Finding:
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(f"no finding is called {name!r}; there are {', '.join(f.name for f in self.findings)}")

    def __str__(self) -> str:
        wide = max((len(f.name) for f in self.findings), default=0)
        lines = [f"{self.name} on {self.problem}"]
        for f in self.findings:
            lines.append(
                f"  {f.status.upper():5} {f.name:{wide}}  {f.tried}: {f.measured}" + (f" (expected {f.expected})" if f.expected else "")
            )
            if f.detail:
                lines.append(" " * (wide + 10) + f.detail)
        if self.cause is not None:
            lines += [f"  What is wrong: {self.cause}", *(f"    {c}" for c in self.causes[:4])]
        lines.append(f"{'PASSED' if self.passed else 'FAILED'}: {self.name}; {self.seconds:.1f} s")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        causes = [{"name": c.name, "distance": c.distance, "detail": c.detail} for c in self.causes]
        plain = {"name": self.name, "problem": self.problem, "passed": self.passed, "cause": self.cause, "seconds": self.seconds}
        return plain | {"findings": [f.as_dict() for f in self.findings], "causes": causes}
