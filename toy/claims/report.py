"""What ``scorebed claims`` prints and saves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scorebed.toy.claims.registry import Claim, Row, Verdict
from scorebed.toy.store.files import replace_text

if TYPE_CHECKING:
    from rich.console import Console


def show(claim: Claim, verdict: Verdict, console: Console) -> None:
    """One claim: paper, statement, each quantity with its bound and its control, and the verdict."""
    from rich.table import Table

    console.print(f"\n[bold]{claim.id}  {claim.paper}[/bold]  [dim]{claim.reference}[/dim]")
    console.print(claim.statement)
    page = Table(box=None, padding=(0, 1, 0, 1))
    for head in ("quantity", "measured", "bound", "", "control", ""):
        page.add_column(head, justify="right" if head in ("measured", "control") else "left", header_style="dim", overflow="fold")
    for row, other in zip(verdict.rows, verdict.control, strict=True):
        name = f"{row.quantity}{' [as printed]' if row.printed else ''}".replace("[as", r"\[as")
        page.add_row(name, f"{row.measured:.4g}", f"{row.bound} {row.unit}".strip(), _mark(row), *_control(row, other))
    console.print(page)
    console.print(f"  verdict: [bold]{verdict.sentence}[/bold]")
    said = "fails as it must" if verdict.control_fails else f"PASSES, as it must not: {'; '.join(verdict.survivors)}"
    console.print(f"  control, {claim.control}: [bold]{said}[/bold]")


def _mark(row: Row) -> str:
    return "[green]holds[/green]" if row.holds else "[red]not so[/red]"


def _control(row: Row, other: Row) -> tuple[str, str]:
    if row.kept or row.printed:
        return "", ""
    return f"{other.measured:.4g}", "[red]holds[/red]" if other.holds else "[green]fails[/green]"


def heads(chosen: Sequence[Claim]) -> list[dict[str, Any]]:
    """Which claims these are, without their verdicts."""
    names = ("id", "paper", "reference", "family", "statement", "expected", "control")
    return [{name: getattr(claim, name) for name in names} for claim in chosen]


def record(claim: Claim, verdict: Verdict) -> dict[str, Any]:
    """A claim and its verdict as plain data; infinite bounds are null."""

    def row(r: Row) -> dict[str, Any]:
        numbers = {k: v if math.isfinite(v) else None for k, v in (("measured", r.measured), ("low", r.low), ("high", r.high))}
        return {"quantity": r.quantity, **numbers, "unit": r.unit, "printed": r.printed, "kept": r.kept, "holds": r.holds}

    return {
        "id": claim.id,
        "paper": claim.paper,
        "reference": claim.reference,
        "family": claim.family,
        "statement": claim.statement,
        "verdict": verdict.sentence,
        "expected": claim.expected,
        "rows": [row(r) for r in verdict.rows],
        "control": {"breaks": claim.control, "fails": verdict.control_fails, "rows": [row(r) for r in verdict.control]},
    }


def save_all(found: Mapping[Claim, Verdict], folder: Path) -> list[Path]:
    """Write ``claims.json`` and ``claims.csv``."""
    import pandas as pd

    records = [record(claim, verdict) for claim, verdict in found.items()]
    replace_text(folder / "claims.json", json.dumps(records, indent=1, ensure_ascii=False) + "\n")
    table = pd.concat([claim.table(verdict) for claim, verdict in found.items()], ignore_index=True)
    replace_text(folder / "claims.csv", table.to_csv(index=False))
    return [folder / "claims.json", folder / "claims.csv"]
