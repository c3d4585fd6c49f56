r"""``guiders.md`` of the scoreboard: diffusers' guiders beside our rules."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from scorebed.toy.peers.guider import laws, numbers
from scorebed.toy.peers.guider_passes import passes
from scorebed.toy.peers.guiders import guiders
from scorebed.toy.store.files import replace_text

LEGEND = """\
Called without a pipeline, each beside our rule of the same paper.

- **numbers**: the largest difference of the guided answers over ten steps on random ones, relative to their size.
- **law**: the distance of what DDIM samples by them from what it samples by our rule, with the exact models of a class in the plane.
- **meant**: that of theirs to p_c^w p_u^{1−w}, which no guidance samples.
- **mended**: the numbers with the difference mended in memory, by the words at **where**, by an option, or by what it is handed.
- Guiders that perturb a network are run on a small one of diffusers' own blocks: whether the perturbed pass is another than the plain one.

kornia's pyramid, which the frequency-decoupled guider asks for, is one of means here.
"""
_HEADS = ("guider", "handed", "ours", "numbers", "law", "meant", "mended", "where", "why")


def rows(tell: Callable[[int, int, str], object] | None = None) -> pd.DataFrame:
    """A row for each: columns guider, handed, ours, numbers, law, meant, mended, why, where."""
    out, all_of_them = [], guiders()
    for i, one in enumerate(all_of_them):
        if tell is not None:
            tell(i, len(all_of_them), one.label)
        law, meant = laws(one)
        found: dict[str, Any] = {"guider": one.label, "handed": one.prediction, "ours": one.words, "numbers": numbers(one)}
        changed = numbers(one, mend=True) if one.changes or one.other else math.nan
        out.append(found | {"law": law, "meant": meant, "mended": changed, "why": one.why, "where": one.where})
    return pd.DataFrame(out)


def markdown(tell: Callable[[int, int, str], object] | None = None) -> str:
    """The table, and the guiders that do not perturb."""
    lines = ["# Guiders of diffusers", "", LEGEND, f"| {' | '.join(_HEADS)} |", "|" + "---|" * len(_HEADS)]
    lines += [f"| {' | '.join(_said(head, row[head]) for head in _HEADS)} |" for row in rows(tell).to_dict("records")]
    lines += ["", "| guider that perturbs a network | as shipped | mended | where | why |", "|" + "---|" * 5]
    for one in passes():
        said = ["does" if one.works(mend) else "does not" for mend in (False, True)]
        lines.append(f"| {one.name} | {said[0]} | {said[1]} | `{one.where}` | {one.why} |")
    return "\n".join([*lines, ""])


def _said(head: str, value: Any) -> str:
    if isinstance(value, str):
        return f"`{value}`" if head == "where" and value else value
    if math.isnan(value):
        return "raises" if head == "numbers" else ""
    return f"{value:.1e}"


def write_guiders(folder: Path, tell: Callable[[int, int, str], object] | None = None) -> Path:
    """``guiders.md`` in the folder."""
    path = folder / "guiders.md"
    replace_text(path, markdown(tell))
    return path
