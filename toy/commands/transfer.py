"""``scorebed transfer``."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scorebed.toy.console import (
    Backend,
    Force,
    Fresh,
    Jobs,
    ManyValues,
    Scheduler,
    bar,
    check_engine,
    keeping,
    known,
    main,
    one_thread,
    screen,
)
from scorebed.toy.options import MODEL, PREDICTION, SCHEDULE, SHAPE, Dark, For
from scorebed.toy.options import network as network_named

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


def _budget(text: str | int) -> int:
    try:
        if int(text) < 2:
            raise ValueError
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a budget: give integers of at least 2, one step and the last evaluation") from None
    return int(text)


@main.command(cls=ManyValues)
def transfer(
    model: MODEL = "galaxy-hsc-32",
    solvers: Annotated[list[str] | None, typer.Option(metavar="NAME…", help="Deterministic solvers, or all; 23 by default.")] = None,
    nfe: Annotated[
        list[int] | None,
        typer.Option(metavar="N…", parser=_budget, help="Budgets of evaluations, the last one to sigma = 0 included; 5 10 20."),
    ] = None,
    n: Annotated[int, typer.Option("--n", metavar="N", min=2, help="Initial states, the same on every target.")] = 16,
    targets: Annotated[list[str] | None, typer.Option(metavar="NAME…", help="Exact targets, or all; all by default.")] = None,
    draws: Annotated[int, typer.Option(metavar="N", min=8, help="Samples of the network that the fitted targets are made of.")] = 256,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where results and the figure go; out/transfer/MODEL by default.")] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the initial states.")] = 0,
    shape: SHAPE = None,
    schedule: SCHEDULE = "VP",
    prediction: PREDICTION = "eps",
    dark: Dark = False,
    purpose: For = None,
    jobs: Jobs = None,
    backend: Backend = "local",
    scheduler: Scheduler = None,
    fresh: Fresh = False,
    force: Force = False,
) -> None:
    """Ask whether exact targets predict which solver is best on a real network.

    Runs the solvers from the same states on the network and on exact laws of the same dimension, and compares the two orders. A run that
    was stopped goes on where it was.

    [dim]scorebed transfer --model galaxy-hsc-32[/dim]
    [dim]scorebed transfer --model galaxy-hsc-32 --solvers heun dpmpp_2m unipc_3 ddim --nfe 6 12 --targets generic samples --n 4[/dim]
    [dim]scorebed transfer --model 21cm --solvers all --out out/transfer/21cm-all --dark[/dim]
    """
    one_thread()
    from scorebed.toy.figures.style import save
    from scorebed.toy.figures.transfer import figure
    from scorebed.toy.studies.transfer import BUDGETS, eligible, run_transfer
    from scorebed.toy.studies.transfer_targets import TARGETS

    check_engine(backend, scheduler)
    known(solvers, eligible(), "deterministic solver with a Plan", "--solvers")
    known(targets, TARGETS, "target", "--targets")
    network = network_named(model, shape, schedule, prediction)
    folder = out or Path("out") / "transfer" / network.name
    typer.echo(f"{model}: {network.about}")
    began = time.perf_counter()
    how: dict[str, Any] = {"fresh": fresh, "force": force, "jobs": jobs, "backend": backend, "scheduler": scheduler}
    with keeping(folder), bar() as report:
        study = run_transfer(network, solvers, nfe or BUDGETS, n, targets, folder, seed, draws, report, **how)
    screen().print(_best(study.best))
    typer.echo(_line(study.best, network.spacing))
    typer.echo(f"Grids too: scorebed advise --model {model} --nfe {max(nfe or BUDGETS)}\n")
    if study.agreements.empty:
        typer.echo("too few solvers have a run on both sides at any budget for a rank correlation; give more")
    else:
        for space, rows in study.agreements.groupby("space", sort=False):
            screen().print(_table(rows, str(space)))
    drawn = save(figure(study), folder, "transfer", dark=dark)
    for line in _remarks(study.errors):
        typer.echo(line)
    files = [folder / "best.csv", folder / "errors.csv", folder / "agreement.csv", *(path for path in drawn if path.suffix == ".png")]
    typer.echo(f"{study.kept} rows kept, {study.made} measured, {time.perf_counter() - began:.0f} s; seed {seed}. Written to {folder}:")
    typer.echo("  " + "  ".join(path.name for path in files))


def _best(rows: pd.DataFrame, shown: int = 4) -> Table:
    """The best solvers on the network at each budget, with intervals over states."""
    from rich.table import Table

    table = Table(title="Which solver on the network? RMS error of the state", title_justify="left", box=None)
    for head in ("budget", "solver", "steps", "NFE", "error", "95 %", "against the best", "beyond doubt?"):
        table.add_column(head, header_style="dim", no_wrap=True)
    for budget, mine in rows.groupby("budget", sort=True):
        for i, row in enumerate(mine.head(shown).itertuples()):
            ratio = "" if i == 0 else f"{row.ratio:.2f} [{row.ratio_low:.2f}, {row.ratio_high:.2f}]"
            doubt = "the best" if i == 0 else "not beyond doubt worse" if row.ratio_low <= 1.0 else ""
            cells = (f"{row.steps}", f"{row.nfe}", f"{row.error:.3g}", f"{row.low:.3g} … {row.high:.3g}", ratio, doubt)
            table.add_row(f"{budget}" if i == 0 else "", str(row.solver), *cells)
    return table


def _line(rows: pd.DataFrame, spacing: str) -> str:
    """The line of code of the best at each budget."""
    made = [
        f"    {r.budget}: sample({_called(r.solver)}, denoise, x, GRIDS[{spacing!r}](schedule, {r.steps}))"
        for r in rows.drop_duplicates("budget").itertuples()
    ]
    return "\n".join(["", *made])


def _called(name: str) -> str:
    """A method in code, with its options."""
    plain, bracket, options = name.partition("(")
    return f'SOLVERS["{plain}"]{bracket}{options}'


def _table(rows: pd.DataFrame, space: str) -> Table:
    """Spearman's rho at each budget, in the mean with its interval and over the best half, and the regret; more is in agreement.csv.

    ``half of the states`` is what the network's order from one half of the states says of that from the other.

    Returns:
        the Table, a row for each target, a column for each budget.
    """
    from rich.table import Table

    budgets = [b for b in sorted(set(rows["budget"])) if b]
    title = f"Spearman's rho over solvers, error of the {space} on the target against the network's"
    table = Table(title=title, title_justify="left", box=None)
    means = ("mean", "95 %", "best half", "regret")
    for name in ("target", *(f"at {b}" for b in budgets), *means):
        table.add_column(name, justify="left" if name == "target" else "right", no_wrap=True, header_style="dim")
    for target, mine in rows.groupby("target", sort=False):
        at = mine.set_index("budget")
        every = at.loc[0]
        cells = [f"{at.loc[b, 'spearman']:+.2f}" if b in at.index else "-" for b in budgets]
        cells += [f"{every['spearman']:+.2f}", f"{every['low']:+.2f} … {every['high']:+.2f}", f"{every['top']:+.2f}"]
        table.add_row(str(target), *cells, f"{every['regret']:.2f} [{every['regret_low']:.2f}, {every['regret_high']:.2f}]")
    table.add_section()
    at = rows.drop_duplicates("budget").set_index("budget")
    for mark, text in (("halves", "half of the states"), ("chance", "chance stays below")):
        cells = [f"{at.loc[b, mark]:+.2f}" if b in at.index else "-" for b in budgets]
        mean = at.loc[0, mark]
        table.add_row(text, *cells, "" if math.isnan(mean) else f"{mean:+.2f}", *[""] * (len(means) - 1), style="dim")
    return table


def _remarks(errors: pd.DataFrame) -> list[str]:
    """What was left out or is not resolved."""
    lines = []
    network = errors[errors["target"] == "network"]
    for status, text in (("same", "one program, ranked once"), ("dear", "not affordable"), ("refused", "refused")):
        found = network[network["status"] == status]
        if len(found):
            lines.append(f"{text}: " + ", ".join(f"{r.solver} at {r.budget}" for r in found.itertuples()))
    for status, text in (("floor", "within ten times the error of the reference"), ("diverged", "diverged")):
        found = errors[errors["status"] == status]
        if len(found):
            lines.append(f"{text}: " + ", ".join(f"{r.solver} at {r.budget} on {r.target}" for r in found.itertuples()))
    return lines
