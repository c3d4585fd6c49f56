r"""Measuring one entry of the scoreboard: the orders under the settings of ``toy.measure.settings``, by name, and its manners.

Each of the settings differs from the next in one thing, so that together they tell what costs an order: ``shipped``, ``ideal``, ``smooth``,
``uneven``, ``gentle``; schedulers of integer timesteps have ``fine`` in place of ours. ``check_solver`` measures by the same calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from scorebed.toy.foreign import Candidate
from scorebed.toy.foreign.guard import quiet, said, within
from scorebed.toy.measure.manners import failures, one_run, reads, repeats, returned
from scorebed.toy.measure.sampler import measure as measure_order
from scorebed.toy.measure.settings import Setting, bound, fine, gentle, own, smooth
from scorebed.toy.peers.entry import Entry

QUICK = 3
FINITE = (*range(1, 17), 24, 32, 48, 64)


def entry_settings(entry: Entry, candidate: Candidate) -> dict[str, Setting]:
    """The settings that this entry's interface allows, by name."""
    if not candidate.interface.own:
        result = {"smooth": smooth(candidate)}
    else:
        result = {"shipped": own(candidate)}
    if candidate.interface.fine:
        return result | {"fine": fine(candidate)}
    if candidate.interface.own:
        result["ideal"] = own(candidate, "float64", "node")
    if candidate.interface.steady:
        result["smooth"] = smooth(candidate)
    if candidate.interface.grid and candidate.schedule is not None:
        if not candidate.stochastic:
            result["uneven"] = bound(candidate.schedule, candidate.kind)[0]
        if (entry.order or 0) >= 3:
            result["gentle"] = gentle(candidate)
    return result


def measure(entry: Entry, quick: bool = False) -> dict[str, Any]:
    """Everything about one entry, as plain values; never raises for what the peer does."""
    began = time.process_time()
    out: dict[str, Any] = {
        "library": entry.library,
        "name": entry.name,
        "order": entry.order,
        "weak": entry.weak,
        "source": entry.source,
        "defects": list(entry.defects),
        "note": entry.note,
        "measured": {},
        "failed": {},
    }
    candidate = entry.peer.candidate(entry.stochastic)
    claim = entry.weak if entry.stochastic else entry.order
    for name, setting in entry_settings(entry, candidate).items():
        if quick and name in ("gentle", "uneven"):
            continue
        used = replace(setting, steps=setting.steps[:QUICK], finer=()) if quick else setting
        try:
            result = within(60.0, lambda used=used: measure_order(candidate, used, claim or None))  # type: ignore[misc]
            if not result.finite:
                raise FloatingPointError(f"nan or inf at {result.steps[-1]} steps")
            out["measured"][name] = result.as_dict() | {"conditions_in_words": str(result.conditions)}
        except Exception as error:  # whatever a peer raises is a result
            out["failed"][name] = said(error)
    shipped: dict[str, Any] = {"dtype": "float32", "network": "timestep"}
    usual = own(candidate) if candidate.interface.own else smooth(candidate)
    with quiet():
        kinds, tried = failures(candidate, (1, 2, 3, 4, 8, 16) if quick else FINITE, 12.0, usual, **shipped)
    out["finite"], out["tried"] = kinds, tried
    out["calls"] = _or_none(lambda: one_run(candidate, 16, usual, **shipped).nfe)
    out["repeats"] = _or_none(lambda: repeats(candidate, setting=usual, **shipped)[0])
    out["dtype"] = _or_none(lambda: returned(candidate, "float64")[0]) or ""
    out["reads"] = _or_none(lambda: _per_evaluation(candidate)) if candidate.kind == "diffusers" else None
    out["seconds"] = round(time.process_time() - began, 2)
    return out


def _per_evaluation(candidate: Candidate) -> float:
    counts, nfe = reads(candidate, 16)
    return sum(counts.values()) / nfe


def _or_none(call: Callable[[], Any]) -> Any:
    """The value, or None where the peer raises or does not end."""
    try:
        return within(30.0, call)
    except Exception:  # whatever a peer raises is a result
        return None
