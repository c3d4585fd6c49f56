"""The scoreboard as Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scorebed.toy.peers.board import peer_versions
from scorebed.toy.peers.defect import Defect
from scorebed.toy.peers.defects import DEFECTS
from scorebed.toy.peers.entries import APART, entries
from scorebed.toy.peers.faces import DISTRIBUTIONS, LIBRARIES
from scorebed.toy.peers.program import mend, three_lines
from scorebed.toy.peers.reviewed import REVIEWED
from scorebed.toy.store.files import replace_text

SLACK = 0.2
"""An order this far below the nominal one still counts as reached."""
SETTLED = 0.6

LEGEND = """\
Targets: a 1-D mixture with its exact flow (paths), a pair of Gaussians with exact moments (laws, no Monte Carlo). Orders stand with the
range of the single slopes they are made of.

- **nominal**: the order that the library or the paper it names states; `w` for the weak order of a stochastic method.
- **smooth**: measured on a grid of ours, sigma/alpha from 8 to 0.1, uniform in its cube root, in float64, the network at the sampler's own
  sigma: what the formula does, its start included, without the last step to sigma = 0. Schedulers of integer timesteps: on a table of
  131,072 entries, to an eighth of it. `*`: on the library's own grid, where the interface takes no other.
- **uneven**: the same on three modes and steps in lam of alternating lengths 2 : 3, between the usual ends of the schedule.
- **gentle start**: as smooth, even in log(sigma/alpha) after two very short first steps; where it is higher, a first-order start costs the
  difference.
- **as shipped**: the library's own grid (k-diffusion, physicsnemo: Karras, 80 to 0.002, then 0; azula: VP, t from 1 to 0), float32, the
  network at the timestep it is handed. `-` where slopes do not agree.
- `scorebed check` measures by the same calls: its orders are these, under the conditions that both print.
- **floor**: the least error as shipped, up to 256 steps.
- **failures**: at 1 to 16, 24, 32, 48 and 64 steps, as shipped.
- **calls**: evaluations of the network in a run of 16 steps.
- **reads**: values read from tensors by the host per evaluation, on the CPU; on a GPU those of device tensors are synchronisations.
"""


def formula(result: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The measurement that tells the order of the formula, and its mode."""
    for mode in ("smooth", "fine", "ideal", "shipped"):
        found = result["measured"].get(mode)
        if found is not None:
            return mode, found
    return None


def nominal(result: Mapping[str, Any]) -> int | None:
    """The nominal order, weak for a stochastic method, None where none is stated."""
    return (result["weak"] if result["weak"] is not None else result["order"]) or None


def reached(result: Mapping[str, Any]) -> bool | None:
    """Whether the formula has its nominal order; None where none is stated, False where nothing could be measured."""
    wanted, found = nominal(result), formula(result)
    if wanted is None:
        return None
    return found is not None and slope(found[1]) >= wanted - SLACK


def slope(measured: Mapping[str, Any] | None, part: str = "slope") -> float:
    """The order of a measurement before it stalls, or an end of its range; nan where there is none."""
    before = None if measured is None else measured["before"]
    return float("nan") if before is None else float(before[part])


def _order(found: Mapping[str, Any] | None, star: bool = False) -> str:
    if found is None or found["before"] is None:
        return ""
    return f"{slope(found):.2f} [{slope(found, 'low'):.2f}, {slope(found, 'high'):.2f}]" + ("*" if star else "")


def _shipped(found: Mapping[str, Any] | None, failed: str = "") -> str:
    if found is None:
        return "nan" if "nan" in failed else failed.split(":")[0]
    text = f"{slope(found):.2f}" if slope(found, "high") - slope(found, "low") <= SETTLED else "-"
    return text + (", stalls" if found["stalls"] or slope(found) < 0.5 else "")


def _failures(result: Mapping[str, Any]) -> str:
    parts = []
    for what, at in result["finite"].items():
        name = what.split(":")[0]
        short = {"nan": "nan", "inf": "inf", "hang": "does not end"}.get(what, name)
        where = "every n" if len(at) == len(result["tried"]) else f"n = {', '.join(map(str, at))}"
        parts.append(f"{short} at {where}" if len(at) <= 6 or where == "every n" else f"{short} at {len(at)} of {len(result['tried'])} n")
    merged: dict[str, str] = {}
    for part in parts:
        head, _, tail = part.partition(" at n = ")
        merged[head] = f"{merged[head]}, {tail}" if head in merged and tail else tail
    return "; ".join(f"{head} at n = {tail}" if tail else head for head, tail in merged.items())


def row(result: Mapping[str, Any]) -> str:
    """One line of the table."""
    found = formula(result)
    wanted = nominal(result)
    mark = {True: "", False: "**below**", None: ""}[reached(result)]
    shipped = result["measured"].get("shipped")
    chosen = wanted is None and result["weak"] is None  # steps chosen by a tolerance
    cells = (
        result["name"],
        ("w " if result["weak"] is not None else "") + (str(wanted) if wanted else "none"),
        (("" if chosen else _order(found[1], found[0] in ("ideal", "shipped"))) if found else "not measurable")
        + (f" {mark}" if mark else ""),
        _order(result["measured"].get("uneven")),
        _order(result["measured"].get("gentle")),
        "" if chosen else _shipped(shipped, result["failed"].get("shipped", "")),
        f"{min(shipped['errors']):.0e}" if shipped else "",
        _failures(result),
        "" if result["calls"] is None else str(result["calls"]),
        "" if result["reads"] is None else f"{result['reads']:.0f}",
        ", ".join(f"[{key}](#{key})" for key in result["defects"]),
    )
    return "| " + " | ".join(cells) + " |"


HEAD = "| sampler | nominal | smooth | uneven | gentle start | as shipped | floor | failures | calls | reads | see |\n" + "|---" * 11 + "|"


def section(defect: Defect, values: Mapping[str, Sequence[float]] | None = None) -> str:
    """One defect as Markdown."""
    lines = [f'### <a id="{defect.key}"></a>{defect.title}', ""]
    kind = "" if defect.kind == "defect" else " · *a limit of the published method or documented, no mistake of the code*"
    lines += [f"`{defect.where}`{kind}", "", f"**Cause.** {defect.cause}", "", f"**Effect.** {defect.effect}.", ""]
    pair = (values or {}).get(defect.key)
    if pair is not None:
        lines += [f"**Confirmed.** {_said(defect, pair[0])} as shipped, {_said(defect, pair[1])} {_how(defect)}.", ""]
    lines += mend(defect)
    for remark in defect.also:
        lines += [f"{remark}.", ""]
    lines += ["**Fails as long as it is there.**", "", "```python", _named(three_lines(defect)), "```", ""]
    if defect.shows:
        lines += ["**The same with the library alone.**", "", "```python", _named(defect.shows), "```", ""]
    return "\n".join(lines)


def _summary(found: Sequence[Defect], values: Mapping[str, Sequence[float]]) -> list[str]:
    """The sections in one table."""
    lines = ["| | where | as shipped | mended |", "|---|---|---|---|"]
    for d in found:
        pair = values.get(d.key, ())
        lines.append(f"| [{d.title}](#{d.key}) | `{d.where}` | " + " | ".join(_said(d, v) for v in pair) + " |")
    return [*lines, ""] if found else []


def _named(program: str) -> str:
    return program.replace("{sampling}", "k_diffusion.sampling").strip()


def _how(defect: Defect) -> str:
    if defect.changes:
        return "with the words below replaced in memory"
    return "with it mended at run time" if defect.mended_setting is None else "without it (float64, or another grid)"


def _said(defect: Defect, value: float) -> str:
    if defect.trial.what == "works":
        return "works" if value else "fails"
    return f"{defect.trial.what} {value:.2f}" if "order" in defect.trial.what else f"error {value:.1e}"


def labelled(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The results with the labels that the entries have now: a label is no measurement."""
    now = {(e.library, e.name): e for e in entries()}
    out = []
    for result in results:
        e = now[result["library"], result["name"]]
        out.append({**result, "order": e.order, "weak": e.weak, "source": e.source, "defects": list(e.defects), "note": e.note})
    return out


def markdown(results: Sequence[Mapping[str, Any]], values: Mapping[str, Sequence[float]], guiders: str = "") -> str:
    """The whole report; ``guiders`` is a page of its own that becomes a section."""
    versions = peer_versions()
    shown = ", ".join(f"{k} {v}" for k, v in versions.items() if k not in ("platform", "scorebed"))
    below = [r for r in results if reached(r) is False]
    lines = ["# Scoreboard of other libraries' samplers", "", f"Versions: {shown}.", ""]
    lines += [
        f"`scorebed peers` measures this again; it took {sum(r['seconds'] for r in results) / 60:.0f} minutes of one processor.",
        "",
        LEGEND,
    ]
    odd = [r["name"] for r in results if r["repeats"] is False and not any("nan" in str(f) for f in r["failed"].values())]
    same = "All" if not odd else f"All but {', '.join(odd)}"
    narrow = [f"{r['name']} ({r['dtype']})" for r in results if r["dtype"] not in ("", "float64")]
    kept = "All schedulers return float64 for float64 states" if not narrow else f"Not float64 for float64 states: {', '.join(narrow)}"
    lines += [f"{same} that run repeat themselves bit by bit after the same seed. {kept}, though many compute in float32 inside.", ""]
    lines += [f"{len(results)} entries; {len(below)} are below their nominal order, or could not be measured.", ""]
    lines += [REVIEWED]
    for library in LIBRARIES:
        mine = [r for r in results if r["library"] == library]
        if mine:
            lines += [f"## {library} {versions[DISTRIBUTIONS.get(library, library)]}", "", HEAD, *(row(r) for r in mine), ""]
            notes = [f"- {r['name']}: {r['note']}." for r in mine if r["note"]]
            lines += [*notes, ""] if notes else []
            failed = [f"- {r['name']}: {'; '.join(dict.fromkeys(r['failed'].values()))}." for r in mine if r["failed"]]
            lines += ["Not measurable:", "", *failed, ""] if failed else []
    libraries = {r["library"] for r in results}
    for kind, title in (("defect", "## Defects"), ("limit", "## Limits, documented or of the published methods")):
        found = [d for d in DEFECTS.values() if d.kind == kind and d.library in libraries]
        lines += [title, "", *_summary(found, values), *(section(d, values) for d in found)]
    lines += [f"#{guiders}"] if guiders else []
    lines += ["## Left off, and why", "", *(f"- {name}: {why}." for name, why in APART.items()), ""]
    return "\n".join(lines)


def confirm(libraries: Sequence[str] = LIBRARIES) -> dict[str, list[float]]:
    """Every defect measured as shipped and mended."""
    return {d.key: [d.trial.value(), d.mended_trial().value()] for d in DEFECTS.values() if d.library in libraries}


def write(folder: Path, results: Sequence[Mapping[str, Any]], values: Mapping[str, Sequence[float]], guiders: str = "") -> list[Path]:
    """``scoreboard.md`` and ``scoreboard.json``, each whole or not at all; ``guiders`` as ``markdown`` takes it."""
    results = labelled(results)
    page, data = folder / "scoreboard.md", folder / "scoreboard.json"
    replace_text(page, markdown(results, values, guiders))
    found = {
        key: {"where": DEFECTS[key].where, "kind": DEFECTS[key].kind, "measures": DEFECTS[key].trial.what, "shipped": v[0], "mended": v[1]}
        for key, v in values.items()
    }
    text = json.dumps({"versions": peer_versions(), "results": results, "defects": found, "apart": APART}, indent=1)
    replace_text(data, text.replace("NaN", "null") + "\n")
    return [page, data]
