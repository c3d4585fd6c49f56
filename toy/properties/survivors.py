"""The table of mutants, and those that no property notices, with the reason of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scorebed.solvers import SOLVERS, methods_on
from scorebed.solvers.process import LINEAR
from scorebed.toy.properties.mutants import PROCESSES, judge
from scorebed.toy.store.parts import Part, tabulate
from scorebed.toy.store.tasks import Report

_FIRST = "a splitting asks about states of no node's law; an evaluation 1 % of the step away moves its step by O(h²), order 1 stays"
_UNREAD = "x does not depend on the prediction: nothing reads what is asked for it"
_SMALL = (
    "what comes into x of it within one step is of the order of h times the rest: its 1 % moves the step by the claimed order's O(h^{p+1})"
)
_THIRD = "third-order terms of the drift move the law of a step by O(h³): weak order 2 stays"
_ZETA = "the weight zeta of the pair's difference moves the step by one power of h more than its order needs"
EXPLAINED = {
    "dpmpp_3m_sde": (8, _THIRD),
    "seeds_3": (5, _THIRD),
    "hb_dpmpp_2m": (4, "the second-order correction of D moves the step by O(h²): order 1 stays"),
    "stork_2": (6, "the weight of the second derivative moves the step by O(h³): order 2 stays"),
    "edict": (3, "it asks about the moved half of its pair a step behind; 1 % of the step moves its step by O(h²), order 1 stays"),
    "bdia": (4, "gamma itself off by 1 % is another BDIA of the same order"),
    "rex_stochastic_heun": (8, "the weights of the pair's difference move the law of a step by O(h⁴): weak order 2 stays"),
    "rex_dpmpp_2s": (4, _ZETA),
    "rex_rk4": (8, _ZETA),
    **{f"pec_t on {kind}": (1, "only the first step asks twice: 1 % there adds O(h²) once, which order 2 allows") for kind in LINEAR[1:]},
    "exp_line_2 on phase": (2, _SMALL),  # the weight of v0 in x of the stage: O(h³), measured
    "exp_line_3 on phase": (1, _SMALL),  # of x0 in x of the first stage: O(h⁴)
    "conjugate on phase": (4, _SMALL),  # of both predictions in x: O(h²)
    "sscs on phase": (3, f"{_SMALL}; {_FIRST}"),  # the noise in x, and the evaluation in the middle: O(h²)
    "sscs_2 on phase": (1, "the prediction of the midpoint's stage enters with h²: an evaluation 1 % away moves the step by O(h³)"),
    **{f"{name} on phase": (1, _FIRST) for name in ("roba", "rvv")},
    "bao on phase": (1, _UNREAD),
    "oba on phase": (2, f"{_FIRST}; {_UNREAD}"),
    "nvv on phase": (2, f"{_FIRST}; {_UNREAD}"),
    "baoab on phase": (3, f"{_FIRST}; {_UNREAD}"),  # one, and two of A
}
"""How many mutants of a solver (on a kind of process, where that is no schedule) survive the properties, and why. By how much each of them
moves one step, ``local.moves_a_step`` measures. Tests of their families, with identities and formulas, see each of them."""


def main(
    names: Sequence[str] | None,
    show: Callable[..., Any],
    report: Report | None = None,
    *,
    where: Path | None = None,
    jobs: int | None = None,
) -> int:
    """Show what kills the mutants of every solver, or of ``names``, on every kind of process; what ``where`` keeps is not judged again.

    Returns:
        1 if more mutants of a solver survive than are explained, or over 2 % of the whole catalogue; else 0.

    Raises:
        StoreError: the store or the processes cannot be used.
    """
    from rich.table import Table

    table = Table(title="mutants: coefficients corrupted by 1 %", caption="killed by the first property that breaks")
    for heading in ("solver", "mutants", "killed", "by"):
        table.add_column(heading, justify="left" if heading in ("solver", "by") else "right")
    pairs = [(name, kind) for kind in PROCESSES for name in methods_on(kind, aliases=False) if names is None or name in names]
    parts = [Part(judge, (SOLVERS[name], kind), f"{name} on {kind}") for name, kind in pairs]
    total, survivors = 0, []
    for (method, kind), rows in zip(pairs, tabulate("mutants", parts, where, report, jobs=jobs).values, strict=True):
        name = method if kind == "gaussian" else f"{method} on {kind}"
        killers = Counter(row["by"] for row in rows if row["by"] is not None)
        survivors += [(name, row["what"]) for row in rows if row["by"] is None]
        total += len(rows)
        by = ", ".join(f"{which} {n}" for which, n in killers.most_common()) or "none"
        table.add_row(name, str(len(rows)), str(killers.total()), by)
    show(table)
    for name, what in survivors:
        show(f"survivor: {what}: {EXPLAINED.get(name, (0, 'NOT EXPLAINED'))[1]}")
    left = Counter(name for name, _ in survivors)
    for name in (surplus := [name for name, n in left.items() if n > EXPLAINED.get(name, (0, ""))[0]]):
        show(f"{name}: {left[name]} survivors, {EXPLAINED.get(name, (0, ''))[0]} explained")
    show(f"{total - len(survivors)} of {total} mutants killed")
    allowed = 1.0 if names else 0.02  # the share is a property of the whole catalogue
    return int(len(survivors) > allowed * total or bool(surplus))
