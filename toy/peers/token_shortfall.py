"""One thing that a sampler of tokens of another library falls short of: two numbers, as shipped and with a few words replaced in memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from scorebed.toy.peers.mend import line_of, mended, origin

TV, WORKS, DRAWN = "Total variation", "A run", "A value of probability 1e-9 at the largest uniform number"
MASKED_LEFT = "Masked tokens of three after the first of three steps"


@dataclass(frozen=True)
class Shortfall:
    """One of them.

    Attributes:
        module, words: the installed file, and what in it is at fault.
        trial: the number, of a module that is the installed or the mended one; an exception is nan.
        changes: words to replace.
        before, after: windows in which the number lies as shipped and mended; nan is "fails".
        kind: "defect", or "limit": documented, or of the published method.
    """

    key: str
    title: str
    library: str
    module: str
    words: str
    cause: str
    what: str
    trial: Callable[[Any], float]
    changes: tuple[tuple[str, str], ...]
    before: tuple[float, float]
    after: tuple[float, float]
    kind: str = "defect"

    @property
    def where(self) -> str:
        """File and line, from the package on."""
        return f"{'/'.join(origin(self.module).parts[-self.module.count('.') - 1 :])}:{line_of(self.module, self.words)}"

    def values(self) -> tuple[float, float]:
        """As shipped, and mended."""
        return self._value(import_module(self.module)), self._value(mended(self.module, *self.changes))

    def _value(self, module: Any) -> float:
        try:
            return float(self.trial(module))
        except Exception:  # whatever a peer raises is a result
            return math.nan

    def said(self, value: float) -> str:
        """A number as a reader says it."""
        if math.isnan(value):
            return "fails"
        if self.what == MASKED_LEFT:
            return f"{value:.0f}"
        return f"{value:.4f}" if self.what == TV else {WORKS: "works", DRAWN: "drawn" if value else "never drawn"}[self.what]
