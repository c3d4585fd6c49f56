"""What a runner wrote, judged: each answer is right, right in a lower precision, a known fault's, or wrong in a way that is not known."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from scorebed.toy.check.finding import Finding
from scorebed.toy.check.findings import Findings
from scorebed.toy.conform.grid import check_grid
from scorebed.toy.conform.vectors import VERSION, pack

_BIGGEST = 50_000_000
"""Bytes of a results file at most."""


def read(path: str | Path) -> dict[str, Any]:
    """Results: JSON {"runner": …, "version": 2, "results": {id: numbers}}, or text, a line ``id number number …`` for each case.

    Returns:
        a dict with ``runner``, the sampler's name, and ``results``, numbers by case id.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is neither, too large, or of another version of the vectors.
    """
    path = Path(path)
    if path.stat().st_size > _BIGGEST:
        raise ValueError(f"{path} has {path.stat().st_size} bytes: results of the vectors have less than {_BIGGEST}")
    text = path.read_text(encoding="utf-8")
    if text.lstrip().startswith("{"):
        made = json.loads(text)
        if made.get("version") != VERSION:
            raise ValueError(f"{path} has results of version {made.get('version')!r} of the vectors, these are of version {VERSION}")
        results = made.get("results")
        if not isinstance(results, dict):
            raise ValueError(f"{path} has no results: give {{case id: numbers}}")
        return {"runner": str(made.get("runner", path.name)), "results": results}
    lines = [line.split() for line in text.splitlines() if line.strip()]
    try:
        return {"runner": path.name, "results": {words[0]: [float(word) for word in words[1:]] for words in lines}}
    except ValueError as problem:
        raise ValueError(f"{path} is neither JSON nor lines of an id and numbers: {problem}") from None


@cache
def _cases() -> dict[str, dict[str, Any]]:
    return {case["id"]: case for case in pack()["cases"]}


def judge(results: dict[str, Any], name: str = "results") -> Findings:
    """Hold results against the vectors.

    Args:
        results: the answers by the id of their case; nested lists, or flat ones in row-major order.
        name: what the report calls the runner.

    Returns:
        ``Findings`` with one for each case; ``causes`` are the faults recognised, those of the most cases first.
    """
    cases = _cases()
    judged, counts = Findings(name, "vectors"), dict[str, int]()
    for unknown in sorted(set(results) - set(cases)):
        judged.findings.append(Finding(unknown, "note", "an answer", "", "", "no case of this name is in the vectors"))
    for key, case in cases.items():
        if key not in results:
            judged.findings.append(Finding(key, "skip", case["kind"], "no answer", "", "not run"))
            continue
        finding, cause = _one(case, results[key])
        judged.findings.append(finding)
        if cause is not None:
            counts[cause] = counts.get(cause, 0) + 1
    judged.causes = sorted(counts, key=lambda cause: -counts[cause])
    return judged


def _one(case: dict[str, Any], answer: Any) -> tuple[Finding, str | None]:
    expected = np.asarray(case["expected"], dtype=float).ravel()
    try:
        got = np.asarray(answer, dtype=float).ravel()
    except (TypeError, ValueError):
        return Finding(
            case["id"], "fail", case["kind"], "no numbers", f"{expected.size} numbers", "the answer is no list of numbers"
        ), "no numbers"
    twins = {fault: np.asarray(twin, dtype=float).ravel() for fault, twin in case["twins"].items()}
    named = _nearest(got, twins, case["within"])
    if got.shape != expected.shape:
        cause = named or "wrong number of values"
        text = f"{got.size} numbers"
        return Finding(case["id"], "fail", case["kind"], text, f"{expected.size} numbers", cause), cause
    if not np.isfinite(got).all():
        return Finding(case["id"], "fail", case["kind"], "nan or inf", "finite numbers", "not finite"), "not finite"
    error = float(np.abs(got - expected).max())
    good = next((precision for precision, allowed in case["within"].items() if error <= allowed), None)
    if good is not None and (named is None or good != "bfloat16"):
        status = "note" if good == "bfloat16" else "pass"
        detail = "right in half precision only" if good == "bfloat16" else ""
        return Finding(case["id"], status, case["kind"], f"off by {error:.1e}", f"{good}: {case['within'][good]:.1e}", detail), None
    if named is None and case["kind"] == "grid" and case["method"] == "flow-shift":
        options = case["options"]
        named = check_grid(got, convention="flow", shift=options["shift"], steps=int(options["n"])).cause
    if (
        named is None
        and case["kind"] == "step"
        and np.abs(got.reshape(len(case["rows"]), -1).sum(1) - 1.0).max() > case["within"]["float32"]
    ):
        named = "rows do not sum to 1"
    cause = named or "unknown"
    detail = f"it is the answer of a known fault: {cause}" if named else "no known fault gives this answer"
    return Finding(case["id"], "fail", case["kind"], f"off by {error:.1e}", f"{case['within']['float64']:.1e}", detail), cause


def _nearest(got: np.ndarray, twins: dict[str, np.ndarray], within: dict[str, float]) -> str | None:
    """The fault whose answer this is, to single precision, or to half where no other is near."""
    off = {fault: float(np.abs(got - twin).max()) for fault, twin in twins.items() if twin.shape == got.shape}
    if not off:
        return None
    best = min(off, key=lambda fault: off[fault])
    return best if off[best] <= within["float32"] else None
