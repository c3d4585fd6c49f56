r"""What a claim is: a measurement with bounds, a verdict, a control that must fail, and a figure.

    @claim(3, paper="…", statement="…", control="what is broken", draw=figure)
    def momentum(broken: bool) -> list[Row]: ...

``measure(False)`` gives the verdict. ``measure(True)`` is the negative control: the same quantities against the same bounds with the
mechanism broken. Each of its rows must fail, but for rows marked ``kept``, which say something that the break leaves alone; one that holds
would show a bound that cannot tell right from wrong.

A row marked ``printed`` is what the paper prints where that is not so. Such a row fails, the verdict is "false as printed", and the other
rows measure the condition under which the claim is true.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from scorebed.toy.claims.families import OF

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Expected = Literal["holds", "false as printed"]
HOLDS: Expected = "holds"
FALSE: Expected = "false as printed"
BROKEN = "does not hold"
COLUMNS = (
    "id",
    "paper",
    "statement",
    "quantity",
    "role",
    "measured",
    "low",
    "high",
    "unit",
    "holds",
    "control",
    "control_fails",
    "verdict",
)


@dataclass(frozen=True)
class Row:
    """A measured quantity and the interval it must lie in; a nan lies in none."""

    quantity: str
    measured: float
    low: float = -math.inf
    high: float = math.inf
    unit: str = ""
    printed: bool = False
    kept: bool = False

    def __post_init__(self) -> None:
        for name in ("measured", "low", "high"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if not self.low <= self.high or (self.low, self.high) == (-math.inf, math.inf):
            raise ValueError(f"{self.quantity}: the bound [{self.low}, {self.high}] bounds nothing; give low, high or both, low <= high")

    @property
    def holds(self) -> bool:
        return self.low <= self.measured <= self.high

    @property
    def bound(self) -> str:
        """The bound in words of mathematics."""
        if self.low == -math.inf:
            return f"≤ {self.high:.4g}"
        if self.high == math.inf:
            return f"≥ {self.low:.4g}"
        middle, half = 0.5 * (self.low + self.high), 0.5 * (self.high - self.low)
        return f"{middle:.6g} ± {half:.2g}" if half < 0.1 * abs(middle) else f"[{self.low:.4g}, {self.high:.4g}]"


def below(quantity: str, measured: float, high: float, unit: str = "", *, printed: bool = False, kept: bool = False) -> Row:
    """A quantity that must not exceed ``high``."""
    return Row(quantity, measured, high=high, unit=unit, printed=printed, kept=kept)


def above(quantity: str, measured: float, low: float, unit: str = "", *, printed: bool = False, kept: bool = False) -> Row:
    """A quantity that must reach ``low``."""
    return Row(quantity, measured, low=low, unit=unit, printed=printed, kept=kept)


def near(quantity: str, measured: float, value: float, within: float, unit: str = "", *, printed: bool = False, kept: bool = False) -> Row:
    """A quantity that must be ``value``, give or take ``within``."""
    return Row(quantity, measured, value - within, value + within, unit, printed, kept)


def order(quantity: str, slope: float, claim: float, *, printed: bool = False, kept: bool = False) -> Row:
    """A measured order in the window of the order properties, [claim − 0.15, claim + 0.35]."""
    return Row(quantity, slope, claim - 0.15, claim + 0.35, "order", printed, kept)


@dataclass(frozen=True)
class Verdict:
    """What was measured, and what follows. ``control`` holds the same rows with the mechanism broken.

    Attributes:
        status: "holds", "false as printed", or "does not hold".
        sentence: the verdict in one sentence.
    """

    rows: tuple[Row, ...]
    control: tuple[Row, ...]
    status: str
    sentence: str

    @property
    def holds(self) -> bool:
        """Whether the claim holds as it is printed."""
        return self.status == HOLDS

    @property
    def survivors(self) -> tuple[str, ...]:
        """Quantities of the control that hold although the mechanism is broken; there must be none."""
        return tuple(row.quantity for row in self.control if row.holds and not row.kept and not row.printed)

    @property
    def control_fails(self) -> bool:
        return not self.survivors


@dataclass(frozen=True)
class Claim:
    """A checkable statement of a paper.

    Attributes:
        id: its number in the list of claims.
        paper, reference: name and arXiv number.
        statement: what is claimed, in our words.
        expected: the verdict that is asserted, "holds" or "false as printed".
        when: for a claim false as printed, when it is true.
        control: what the negative control breaks.
        measure: ``measure(broken)`` gives the rows.
        draw: makes the figure, where there is one.
    """

    id: int
    paper: str
    reference: str
    statement: str
    control: str
    measure: Callable[[bool], list[Row]] = field(repr=False)
    draw: Callable[[], Figure] | None = field(repr=False)
    expected: Expected = HOLDS
    when: str = ""

    @property
    def family(self) -> str:
        """Its subject, a key of ``families.FAMILIES``; "other" for a number that no family has."""
        return OF.get(self.id, "other")

    def says(self, words: str) -> bool:
        """Whether each of these words stands in its paper, reference, statement, control or family."""
        text = " ".join([self.paper, self.reference, self.statement, self.control, self.when, self.family, self.measure.__doc__ or ""])
        return all(word in text.lower() for word in words.lower().split())

    def run(self) -> Verdict:
        """Measure, and measure with the mechanism broken.

        Returns:
            the Verdict: rows, control, status and sentence.

        Raises:
            ValueError: the control has other quantities or bounds than the measurement, or nothing in it must fail.
        """
        rows, control = tuple(self.measure(False)), tuple(self.measure(True))
        if [(r.quantity, r.low, r.high, r.kept) for r in rows] != [(r.quantity, r.low, r.high, r.kept) for r in control]:
            raise ValueError(f"claim {self.id}: the control must measure the same quantities against the same bounds")
        if all(r.kept or r.printed for r in rows):
            raise ValueError(f"claim {self.id}: the control breaks no row")
        status = decide(rows)
        if status == HOLDS:
            sentence = "holds"
        elif status == FALSE:
            sentence = f"false as printed; true when {self.when}" if self.when else "false as printed"
        else:
            failed = [r.quantity for r in rows if not r.printed and not r.holds]
            sentence = f"does not hold: {'; '.join(failed)}"
        return Verdict(rows, control, status, sentence)

    def as_it_must(self, verdict: Verdict) -> bool:
        """Whether the verdict is the one asserted and the control fails."""
        return verdict.status == self.expected and verdict.control_fails

    def table(self, verdict: Verdict) -> pd.DataFrame:
        """One line per row, with the columns ``COLUMNS``."""
        import pandas as pd

        rows = []
        for row, other in zip(verdict.rows, verdict.control, strict=True):
            role = "as printed" if row.printed else "context" if row.kept else "statement"
            fails = None if row.kept or row.printed else not other.holds
            values = (row.measured, row.low, row.high, row.unit, row.holds, other.measured, fails, verdict.sentence)
            rows.append((self.id, self.paper, self.statement, row.quantity, role, *values))
        return pd.DataFrame(rows, columns=list(COLUMNS))


def decide(rows: tuple[Row, ...]) -> str:
    """ "does not hold" if a row that is not ``printed`` fails; else "false as printed" if one that is fails; else "holds"."""
    if not all(row.holds for row in rows if not row.printed):
        return BROKEN
    return HOLDS if all(row.holds for row in rows) else FALSE


CLAIMS: dict[int, Claim] = {}
"""Every claim by its number; ``load()`` fills it."""


def claim(
    id: int,
    *,
    paper: str,
    reference: str,
    statement: str,
    control: str,
    draw: Callable[[], Figure] | None = None,
    when: str = "",
) -> Callable[[Callable[[bool], list[Row]]], Claim]:
    """Make a measurement a ``Claim`` and enter it in ``CLAIMS``. With ``when`` the claim is expected to be false as printed.

    Returns:
        a decorator that turns the measurement into a Claim and registers it.

    Raises:
        ValueError: the number is taken.
    """

    def make(measure: Callable[[bool], list[Row]]) -> Claim:
        if id in CLAIMS:
            raise ValueError(f"claim {id} is registered already: {CLAIMS[id].paper}")
        expected: Expected = FALSE if when else HOLDS
        CLAIMS[id] = Claim(id, paper, reference, statement, control, measure, draw, expected, when)
        return CLAIMS[id]

    return make


def load() -> dict[int, Claim]:
    """Import every file of this folder, which fills ``CLAIMS``; sorted by number."""
    import scorebed.toy.claims as package

    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"scorebed.toy.claims.{module.name}")
    return dict(sorted(CLAIMS.items()))
