"""Claims measured side by side, each verdict kept the moment it is known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from scorebed.toy.claims.registry import CLAIMS, Claim, Row, Verdict, load
from scorebed.toy.store import code
from scorebed.toy.store.database import Store
from scorebed.toy.store.files import StoreError
from scorebed.toy.store.key import keyed
from scorebed.toy.store.tasks import Chain, Report, Task
from scorebed.toy.store.versions import numerical
from scorebed.toy.store.work import work

METHODS = "scorebed.solvers.methods"
"""Claims take methods by name, so each depends on the code of all."""


def row_of(verdict: Verdict) -> dict[str, Any]:
    """A verdict as a row of the store."""
    return {**asdict(verdict), "rows": [asdict(r) for r in verdict.rows], "control": [asdict(r) for r in verdict.control]}


def verdict_of(row: Mapping[str, Any]) -> Verdict:
    """The verdict that a row keeps."""
    rows, control = (tuple(Row(**r) for r in row[part]) for part in ("rows", "control"))
    return Verdict(rows, control, row["status"], row["sentence"])


def measured(claim: int | Claim) -> dict[str, Any]:
    """Measure a claim, by its number where it is registered."""
    return {"id": (one := load()[claim] if isinstance(claim, int) else claim).id, "paper": one.paper, **row_of(one.run())}


@cache
def _modules(module: str) -> tuple[str, ...]:
    return (__name__, module, METHODS)


def key_of(claim: Claim) -> tuple[str, str]:
    """The key of a claim's verdict, and the study that it is kept under."""
    modules = [name for name in _modules(claim.measure.__module__) if code.module(name) is not None]
    return keyed("claims", claim=claim, code=code.digest(*modules), versions=numerical())


def chain(claim: Claim) -> Chain:
    """The verdict of a claim."""
    ours = CLAIMS.get(claim.id) is claim and code.module(claim.measure.__module__) is not None
    modules = _modules(claim.measure.__module__) if ours else ()
    sent = claim.id if ours and claim.measure.__module__.startswith("scorebed.toy.claims.") else claim
    return verdict_of((yield Task(*key_of(claim), measured, (sent,), f"claim {claim.id}", modules=modules)))


def run_claims(
    chosen: Sequence[Claim], where: Path | None = None, report: Report | None = None, **how: Any
) -> tuple[dict[Claim, Verdict], int]:
    """The verdicts of these claims, in their order, and how many were kept from before; ``how`` is that of ``store.work.work``."""
    outcome = work([chain(claim) for claim in chosen], where, report, **how)
    return dict(zip(chosen, outcome.values, strict=True)), outcome.kept


def beside(folder: Path, where: Path, chosen: Sequence[Claim], force: bool = False) -> dict[Claim, Verdict]:
    """The other claims that ``claims.json`` of the folder has, with their verdicts from the store: they stay in the tables.

    Returns:
        verdicts by Claim; empty where the folder has no ``claims.json``.

    Raises:
        StoreError: one whose verdict the store does not have, because code has changed since, and ``force`` does not say to drop it.
    """
    path = folder / "claims.json"
    if not path.exists():
        return {}
    try:
        numbers = [int(record["id"]) for record in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, KeyError, TypeError):
        if force:
            return {}
        raise StoreError(f"{path} is not what scorebed claims writes: give another --out, or --force to replace it") from None
    others = [n for n in numbers if n not in {claim.id for claim in chosen}]
    found: dict[Claim, Verdict] = {}
    with Store(where) as store:
        for claim in (CLAIMS[n] for n in others if n in CLAIMS):
            row = store.get(key_of(claim)[0])
            if row is not None:
                found[claim] = verdict_of(row)
    gone = [n for n in others if n not in {claim.id for claim in found}]
    if gone and not force:
        some = ", ".join(map(str, gone))
        raise StoreError(f"{path} has claims {some}, measured by other code: name them too, give another --out, or --force to drop them")
    return found
