"""Whether ``check_solver`` and the scoreboard give the same order of a sampler, and where not, which conditions differ by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from scorebed.toy.check.solver import check_solver
from scorebed.toy.measure.order import Conditions, OrderResult
from scorebed.toy.peers.entries import entries
from scorebed.toy.peers.entry import Entry
from scorebed.toy.store.files import replace_text

_ORDERS = ("order", "weak order", "order, own grid")


@dataclass(frozen=True)
class Compared:
    """One order of ``check_solver`` beside that of the scoreboard under the nearest conditions; ``differs``: the names of those that are
    others, none where both are the same."""

    library: str
    name: str
    setting: str
    board: float | None
    check: float | None
    conditions: str
    differs: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """The same order to the last bit, or conditions that say why not."""
        return bool(self.differs) or self.board == self.check


def compare(entry: Entry, measured: Mapping[str, Mapping[str, Any]], quick: bool = True) -> list[Compared]:
    """The orders that the scoreboard ``measured`` of an entry, by setting, beside those of ``check_solver``."""
    report = check_solver(
        entry.peer.candidate(entry.stochastic),
        order=entry.order or None,
        weak=entry.weak or None,
        only=_ORDERS,
        diagnosis=False,
        quick=quick,
    )
    board = {name: _conditions(found["conditions"]) for name, found in measured.items()}
    out = []
    for result in (r for what in _ORDERS for r in report.series.get(what, ())):
        near = min(board, key=lambda name: len(result.conditions.differs(board[name])), default=None)
        if near is not None:
            out.append(_compared(entry, near, measured[near]["order"], result, result.conditions.differs(board[near])))
    return out


def compare_all(folder: Path, results: Sequence[Mapping[str, Any]], report: Callable[[int, int, str], None]) -> Path:
    """``agreement.md``: all results of the scoreboard beside those of the check."""
    now = {(e.library, e.name): e for e in entries()}
    rows: list[Compared] = []
    for i, result in enumerate(results):
        report(i, len(results), f"check_solver on {result['name']}")
        rows += compare(now[result["library"], result["name"]], result["measured"])
    path = folder / "agreement.md"
    replace_text(path, table(rows))
    return path


def _conditions(plain: Mapping[str, Any]) -> Conditions:
    return Conditions(**{f.name: plain[f.name] for f in fields(Conditions)})


def _compared(entry: Entry, setting: str, board: Mapping[str, float] | None, result: OrderResult, differs: tuple[str, ...]) -> Compared:
    return Compared(
        library=entry.library,
        name=entry.name,
        setting=setting,
        board=None if board is None else board["slope"],
        check=None if result.order is None else result.order.slope,
        conditions=str(result.conditions),
        differs=differs,
    )


def table(rows: Sequence[Compared]) -> str:
    """All of them, as Markdown."""
    same = [r for r in rows if not r.differs]
    samplers = len({(r.library, r.name) for r in rows})
    equal = f"{len(same)} under the same conditions, of which {sum(r.agrees for r in same)} are equal to the last bit"
    lines = [
        "# Orders of check_solver and of the scoreboard",
        "",
        f"{len(rows)} orders of {samplers} samplers; {equal}; the others differ in the conditions that are named.",
        "",
        "| sampler | setting | scoreboard | check_solver | conditions of check_solver | differs in |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        cells = (f"{r.library}: {r.name}", r.setting, _shown(r.board), _shown(r.check), r.conditions, ", ".join(r.differs))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _shown(order: float | None) -> str:
    return "none" if order is None else f"{order:.2f}"
