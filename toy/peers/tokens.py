"""Samplers of tokens of other libraries on joint tables: total variation of the exact law of their output, beside ours of the same formula.

Draws are followed exactly where a sampler draws values or compares uniform numbers; else runs are counted, and the noise of that is said.
What a library's sampler falls short of is in ``toy.peers.token_shortfalls``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd

from scorebed.analytic.finite import TableLaw, total_variation
from scorebed.solvers import SOLVERS
from scorebed.solvers.process.jump import JumpProcess
from scorebed.solvers.process.share import Power
from scorebed.solvers.process.steps import StepProcess
from scorebed.toy.check.discrete import start_of, times_of
from scorebed.toy.check.discrete_run import Candidate, Law
from scorebed.toy.foreign import token_schedulers as theirs
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.problems.jump import random_table

LIBRARIES = {"diffusers": "diffusers", "flow_matching": "flow-matching"}
"""Names to import, and those of the distributions."""
TABLE = random_table(2, 2, 1)
STEPS = (2, 4, 8)


def on(process: Any) -> Callable[[int], TableLaw]:
    """Two dependent bits on a process, whatever the number of steps."""
    law = TableLaw(TABLE, process)
    return lambda n: law


def vq_law(n: int) -> TableLaw:
    """Two bits in n steps of VQ-Diffusion's matrices."""
    return TableLaw(TABLE, StepProcess(2, theirs.vq_matrices(2, n)))


MASKED = on(JumpProcess(2))
UNIFORM = on(JumpProcess(2, "uniform", t_max=0.5))


@dataclass(frozen=True)
class TokenEntry:
    """One sampler with options.

    Attributes:
        make: makes it.
        law: the truth for a number of steps.
        order: what the library or its paper claims, None for rules that claim none.
        ours: the method of ours with the same formula, and its options.
        shortfalls: keys of ``token_shortfalls.SHORTFALLS``.
    """

    library: str
    name: str
    make: Callable[[], theirs.Sampler]
    law: Callable[[int], TableLaw]
    order: int | None = None
    ours: tuple[str, dict[str, Any]] | None = None
    shortfalls: tuple[str, ...] = ()
    note: str = ""


_FM = "MixtureDiscreteEulerSolver"
_LOOKS = "keeps what looks best of what was drawn: no number of steps makes the law right"
ENTRIES = (
    TokenEntry("flow_matching", f"{_FM}, masks", lambda: theirs.flow_euler(3), MASKED, 1, ("flow_leaping", {}), ("fm-one-step",)),
    TokenEntry(
        "flow_matching",
        f"{_FM}, masks, κ = t²",
        lambda: theirs.flow_euler(3, 2.0),
        on(JumpProcess(2, share=Power(2.0))),
        1,
        ("flow_leaping", {}),
    ),
    TokenEntry("flow_matching", f"{_FM}, uniform source", lambda: theirs.flow_euler(2), UNIFORM, 1, ("flow_leaping", {})),
    TokenEntry(
        "flow_matching",
        f"{_FM}, uniform source, div_free = 1",
        lambda: theirs.flow_euler(2, free=1.0, source=[0.5, 0.5]),
        UNIFORM,
        1,
        ("flow_leaping", {"free": 1.0}),
        ("fm-free-at-start",),
    ),
    TokenEntry("diffusers", "DiscreteDDIMScheduler, temperature = 1", theirs.discrete_ddim, UNIFORM, 1, ("jump_ancestral", {})),
    TokenEntry("diffusers", "DiscreteDDIMScheduler", lambda: theirs.discrete_ddim(None), UNIFORM, 1, None, ("ddim-draws-nothing",)),
    TokenEntry(
        "diffusers",
        "VQDiffusionScheduler, all its steps",
        lambda: theirs.vq_diffusion(2),
        vq_law,
        1,
        ("jump_ancestral", {}),
        ("vq-first-steps", "vq-float32"),
        "begins with all masked, of which its own noise leaves a share of 1e-5 out",
    ),
    TokenEntry(
        "diffusers", "AmusedScheduler", theirs.amused, MASKED, None, None, ("amused-confidence", "amused-floor", "amused-one-token"), _LOOKS
    ),
    TokenEntry(
        "diffusers", "BlockRefinementScheduler, temperature = 1", theirs.block_refinement, MASKED, None, None, ("block-confidence",), _LOOKS
    ),
    TokenEntry(
        "diffusers",
        "EntropyBoundScheduler",
        theirs.entropy_bound,
        UNIFORM,
        None,
        None,
        (),
        "decides on all tokens anew in every step, and cools the draws from 0.8 to 0.4: its law moves away from the data with the steps",
    ),
)


def installed(entry: TokenEntry) -> bool:
    """Whether the library is there, and torch."""
    return find_spec(entry.library) is not None and find_spec("torch") is not None


def output_law(sampler: Any, law: TableLaw, n: int, samples: int = 20_000) -> Law:
    """The law of n steps to the data, from the noisy end; from all masks where there are some."""
    made = Candidate(sampler, "torch", samples)
    start = start_of(law)
    if law.process.mask is not None:
        start = np.zeros_like(start)
        start[(law.process.mask,) * law.d] = 1.0
    made.look(law, times_of(law, 2), start)
    return made.law(law, times_of(law, n), start)


def off(sampler: Any, law: TableLaw, n: int, samples: int = 20_000) -> float:
    """Total variation between the law of the output and the data."""
    return output_law(sampler, law, n, samples).off(law.marginal(law.process.node(0.0)))


def measure(entry: TokenEntry, steps: Sequence[int] = STEPS, samples: int = 20_000) -> dict[str, Any]:
    """A row: total variation at numbers of steps, the order, and the difference from ours."""
    laws = {n: output_law(entry.make(), entry.law(n), n, samples) for n in steps}
    errors = {n: laws[n].off(entry.law(n).marginal(entry.law(n).process.node(0.0))) for n in steps}
    noise = max(found.noise for found in laws.values())
    order = order_of(list(steps)[-2:], list(errors.values())[-2:]).slope
    row: dict[str, Any] = {"library": entry.library, "sampler": entry.name, "claims": entry.order, "order": order, "noise": noise}
    row |= {f"tv, {n} steps": e for n, e in errors.items()}
    row |= {"ours": "", "apart": np.nan, "shortfalls": " ".join(entry.shortfalls), "note": entry.note}
    if entry.ours is not None:
        name, options = entry.ours
        same = [output_law(SOLVERS[name](**options), entry.law(n), n).table for n in steps]
        row |= {"ours": name, "apart": max(total_variation(laws[n].table, t) for n, t in zip(steps, same, strict=True))}
    return row


def rows(report: Callable[[int, int, str], object] | None = None, steps: Sequence[int] = STEPS, samples: int = 20_000) -> pd.DataFrame:
    """A row for each installed sampler."""
    out, chosen = [], [e for e in ENTRIES if installed(e)]
    for i, entry in enumerate(chosen):
        if report is not None:
            report(i, len(chosen), f"{entry.library} {entry.name}")
        out.append(measure(entry, steps, samples))
    return pd.DataFrame(out)


def markdown(table: pd.DataFrame, confirmed: Sequence[Any]) -> str:
    """The page: samplers, then what they fall short of, each with its two measurements."""
    there = {name: version(package) for name, package in LIBRARIES.items() if find_spec(name) is not None}
    lines = ["# Samplers of tokens of other libraries", "", ", ".join(f"{k} {v}" for k, v in there.items()) + ".", ""]
    lines += ["Two dependent bits; total variation between the law of the output and the data. `±`: counted, not followed.", ""]
    steps = [c for c in table.columns if c.startswith("tv, ")]
    lines += ["| sampler | claims | order | " + " | ".join(c.removeprefix("tv, ") for c in steps) + " | ours, and how far from it | see |"]
    lines += ["|---" * (5 + len(steps)) + "|"]
    for row in table.to_dict("records"):
        noise = f" ± {row['noise']:.0e}" if row["noise"] > 0.0 else ""
        ours = f"`{row['ours']}`, {row['apart']:.0e}" if row["ours"] else ""
        see = ", ".join(f"[{key}](#{key})" for key in row["shortfalls"].split())
        claims = "none" if row["claims"] is None or np.isnan(row["claims"]) else f"{row['claims']:.0f}"
        cells = [f"{row['library']} {row['sampler']}", claims, f"{row['order']:.2f}", *(f"{row[c]:.4f}{noise}" for c in steps), ours, see]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *(f"- {r['sampler']}: {r['note']}." for r in table.to_dict("records") if r["note"]), ""]
    for fault, shipped, mended in confirmed:
        lines += [f'### <a id="{fault.key}"></a>{fault.title}', "", f"`{fault.where}`", "", f"{fault.cause}", ""]
        lines += [f"{fault.what}: {fault.said(shipped)} as shipped, {fault.said(mended)} with it mended in memory.", ""]
    return "\n".join(lines)
