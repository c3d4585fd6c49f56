"""What the tidy rows of a study say about each solver: measured order against the claim, and errors at budgets of evaluations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd
from rich.table import Table

from scorebed.toy.measure.convergence import Order, order_of

SPREAD = 0.3
"""Slopes of the finest refinements that differ by more than this are not yet an order; by a quarter of it, no evidence against a claim."""


@dataclass(frozen=True)
class Summary:
    """One solver on one grid of one problem.

    Attributes:
        order: the measured order, weak where ``kind`` is ``law``; None where fewer than three errors lie above the floor.
        errors: the error at each budget of evaluations, as text.
        verdict: ``as claimed``; ``pre-asymptotic``, the slopes still change; ``below claim``; ``above claim``; ``at the floor``;
            ``diverged``; ``refused``; ``too few runs``.
    """

    problem: str
    grid: str
    solver: str
    kind: str
    claim: float
    order: Order | None
    errors: dict[int, str]
    verdict: str


def _apart(rows: pd.DataFrame) -> pd.DataFrame:
    """Of the rows, the finest and those at least 1.5 times coarser than the one before: close steps make noisy slopes."""
    kept: list[int] = []
    for steps in sorted(rows["steps"], reverse=True):
        if not kept or steps * 1.5 <= kept[-1]:
            kept.append(steps)
    return rows[rows["steps"].isin(kept)]


def measured(rows: pd.DataFrame) -> Order | None:
    """The order that the rows of one cell show, from their finest refinements above the floor; None where fewer than three are."""
    usable = _apart(rows[rows["status"] == "ok"])
    return order_of(list(usable["steps"]), list(usable["error"])) if len(usable) > 2 else None


UNMEASURED = {"refused": "refused", "diverged": "diverged", "floor": "at the floor"}


def verdict(order: Order | None, claim: float, statuses: Iterable[str]) -> str:
    """How the measured order stands to the claim."""
    if order is None:
        kinds = set(statuses)
        return next((words for kind, words in UNMEASURED.items() if kind in kinds), "too few runs")
    if order.inside(claim) and order.high - order.low <= SPREAD:
        return "as claimed"
    if order.high - order.low > SPREAD / 4:
        return "pre-asymptotic"
    return "below claim" if order.slope < claim else "above claim"


def error_at(rows: pd.DataFrame, budget: int) -> str:
    """The error of the run that used the most evaluations not above ``budget``."""
    paid = rows[(rows["nfe"] <= budget) & (rows["nfe"] > 0)]
    if paid.empty:
        return "–"
    best = paid.sort_values("nfe").iloc[-1]
    if best["status"] == "diverged":
        return "div."
    return ("<" if best["status"] == "floor" else "") + f"{best['error']:.1e}"


def summarise(table: pd.DataFrame, nfe: Sequence[int]) -> list[Summary]:
    """One ``Summary`` for each solver, grid and problem of the study, in its order."""
    out = []
    for key, rows in table.groupby(["problem", "grid", "solver", "kind"], sort=False):
        problem, grid, solver, kind = map(str, key)
        order, claim = measured(rows), float(rows["claim"].iloc[0])
        errors = {n: error_at(rows, n) for n in nfe}
        out.append(Summary(problem, grid, solver, kind, claim, order, errors, verdict(order, claim, rows["status"])))
    return out


HEADS = ("solver", "claim", "order and range", "weak order, range")


def cells(s: Summary, nfe: Sequence[int]) -> list[str]:
    """One line of the table, as text."""
    order = "–" if s.order is None else str(s.order)
    by_kind = (order, "") if s.kind == "path" else ("", order)
    return [s.solver, f"{s.claim:g}", *by_kind, *(s.errors[n] for n in nfe), s.verdict]


COLOURS = {"as claimed": "green", "pre-asymptotic": "yellow", "above claim": "yellow", "at the floor": "cyan"}


def terminal(problem: str, caption: str, summaries: Sequence[Summary], nfe: Sequence[int]) -> Table:
    """The table of one problem for a terminal of 100 columns or more."""
    table = Table(title=f"[bold]{problem}[/bold]  {caption}", title_justify="left", title_style="", box=None, padding=(0, 2, 0, 0))
    for i, head in enumerate((*HEADS, *(f"{n} NFE" for n in nfe), "verdict")):
        table.add_column(head, justify="left" if i == 0 or head == "verdict" else "right", no_wrap=True, header_style="dim")
    for s in summaries:
        *line, word = cells(s, nfe)
        table.add_row(*line, f"[{COLOURS.get(word, 'red')}]{word}[/]")
    return table


def overview(summaries: Sequence[Summary]) -> Table:
    """Measured orders, a line per solver and a column per problem; what is not as claimed carries a mark."""
    columns = list(dict.fromkeys((s.problem, s.grid) for s in summaries))
    alone = len({g for _, g in columns}) == len({p for p, _ in columns}) or len(columns) == len({p for p, _ in columns})
    table = Table(title="[bold]measured order[/bold]", title_justify="left", title_style="", box=None, padding=(0, 2, 0, 0))
    table.add_column("solver", no_wrap=True, header_style="dim")
    table.add_column("claim", justify="right", header_style="dim")
    for p, g in columns:
        table.add_column(p if alone else f"{p}\n{g}", justify="right", no_wrap=True, header_style="dim")
    by = {(s.solver, s.problem, s.grid): s for s in summaries}
    for name in dict.fromkeys(s.solver for s in summaries):
        result = [by.get((name, p, g)) for p, g in columns]
        first = next(s for s in result if s is not None)
        claim = f"{first.claim:g}" if first.kind == "path" else f"weak {first.claim:g}"
        table.add_row(name, claim, *("" if s is None else _short(s) for s in result))
    return table


MARKS = {"as claimed": "", "pre-asymptotic": "~", "above claim": "+", "below claim": "!", "at the floor": "·"}


def _short(s: Summary) -> str:
    colour = COLOURS.get(s.verdict, "red")
    if s.order is None:
        return f"[{colour}]{s.verdict}[/]"
    return f"[{colour}]{s.order.slope:.2f}{MARKS.get(s.verdict, '') or ' '}[/]"


def markdown(heading: str, caption: str, summaries: Sequence[Summary], nfe: Sequence[int]) -> str:
    """The table of one problem in Markdown."""
    heads = [*HEADS, *(f"{n} NFE" for n in nfe), "verdict"]
    lines = [heads, ["---" if i in (0, len(heads) - 1) else "---:" for i in range(len(heads))], *(cells(s, nfe) for s in summaries)]
    return f"## {heading}\n\n{caption}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
