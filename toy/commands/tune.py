"""``scorebed advise`` and ``scorebed tune``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scorebed.toy.console import ManyValues, Plain, bar, known, main, one_thread, screen
from scorebed.toy.options import PREDICTION, SCHEDULE, SHAPE
from scorebed.toy.tables import document

if TYPE_CHECKING:
    from scorebed.toy.tuning.setting import Setting

MODEL = Annotated[str, typer.Option(metavar="NAME", help="An exact problem, a pretrained network, or module:callable, file.py:callable.")]
NFE = Annotated[int, typer.Option(metavar="N", min=1, help="Evaluations of the model that a run may take.")]
LIBRARY = Annotated[str, typer.Option(metavar="NAME", help="The states that it takes: torch or numpy.")]


def setting_of(model: str, shape: str | None, schedule: str, prediction: str, library: str) -> Setting:
    """What the options of a command name.

    Returns:
        the Setting of the model that the options name.

    Raises:
        BadParameter: unknown names, or what is not installed.
    """
    from scorebed.solvers import SCHEDULES
    from scorebed.toy.foreign.named import shape_of
    from scorebed.toy.foreign.place import load
    from scorebed.toy.tuning.setting import named, own

    try:
        if ":" not in model:
            return named(model)
        size = shape_of(shape)
        if schedule not in SCHEDULES:
            raise ValueError(f"--schedule {schedule!r} is not known: give one of {', '.join(SCHEDULES)}")
        return own(load(model), schedule=SCHEDULES[schedule](), shape=size, prediction=prediction, library=library, name=model)
    except (ValueError, TypeError) as problem:
        raise typer.BadParameter(str(problem), param_hint="--model") from None
    except ModuleNotFoundError as absent:
        raise typer.BadParameter(f"{absent.name} is not installed: pip install 'scorebed[models]'", param_hint="--model") from None


@main.command(cls=ManyValues)
def advise(
    model: MODEL,
    nfe: NFE = 8,
    states: Annotated[
        int | None, typer.Option(metavar="N", min=4, help="States that the finalists see: 96, or 192 of few numbers, where none is given.")
    ] = None,
    solvers: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="Methods to choose among, universal too, your own as file.py:name; all by default."),
    ] = None,
    grids: Annotated[list[str] | None, typer.Option(metavar="NAMES", help="Grids to choose among; all by default.")] = None,
    seconds: Annotated[float, typer.Option(metavar="S", min=0.0, help="No round of the race begins after so many.")] = math.inf,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the states.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the best one goes as a Plan, plain JSON.")] = None,
    shape: SHAPE = None,
    schedule: SCHEDULE = "VP",
    prediction: PREDICTION = "eps",
    library: LIBRARY = "torch",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Which method and grid for this model at this budget? Every registered one, raced on states of the model itself.

    [dim]scorebed advise --model galaxy-hsc-32 --nfe 8[/dim]
    [dim]scorebed advise --model mynet.py:predict --shape 3,32,32 --schedule VP --prediction eps --nfe 10[/dim]
    [dim]scorebed advise --model product2d --nfe 8 --out plan.json[/dim]
    """
    from rich.table import Table

    from scorebed.toy.tuning.advise import advise as ask

    one_thread()
    from scorebed.solvers import SOLVERS

    choice = {**SOLVERS, "universal": "universal"}
    methods = known(solvers, choice, "solver", "--solvers") if solvers and solvers != ["all"] else None
    setting = setting_of(model, shape, schedule, prediction, library)
    try:
        with bar() as report:
            advice = ask(setting, nfe, states=states, seed=seed, methods=methods, grids=grids, seconds=seconds, report=report)
    except ValueError as problem:
        raise typer.BadParameter(str(problem)) from None
    rows = advice.rows()
    if out is not None:
        try:
            advice.best.plan.save(out)
        except (OSError, TypeError) as problem:
            raise typer.BadParameter(f"{out} cannot be written: {problem}", param_hint="--out") from None
    if as_json:
        typer.echo(document({"model": setting.name, "nfe": nfe, "ranking": rows, "code": advice.best.code}))
        return
    table = Table(box=None, title=f"[bold]{setting.name}[/bold], {nfe} evaluations", title_justify="left")
    for head in ("method", "grid", "steps", "nfe", "error", "95 %", "against the best", "the same Plan as"):
        table.add_column(head, header_style="dim", overflow="fold")
    for row in rows:
        between = f"{row['low']:.3g} to {row['high']:.3g}"
        against = f"{row['against the best']:.2f} [{row['ratio low']:.2f}, {row['ratio high']:.2f}]"
        cells = [row["method"], row["grid"], str(row["steps"]), str(row["nfe"]), f"{row['error']:.3g}", between, against, row["same as"]]
        table.add_row(*cells)
    screen(140).print(table)
    plans = len(advice.ranking) + len(advice.others)
    share = advice.evaluations / advice.exhaustive
    seen = f"{len(advice.best.errors)} states of seed {seed}"
    typer.echo(f"\n{plans} distinct plans raced on {seen}, for {share:.0%} of the evaluations of trying all, by the mean log error of the")
    typer.echo("middle half of the states, which is nearly the median; the best:\n")
    typer.echo(f"    {advice.best.code}\n")
    if out is not None:
        typer.echo(f"wrote {out}: Plan.load({str(out)!r}).run(denoise, x), ScorebedScheduler(plan={str(out)!r})\n")
    typer.echo(f"One made for this model may be better: scorebed tune --model {model} --nfe {nfe} --out plan.json")


@main.command(cls=Plain)
def tune(
    model: MODEL,
    nfe: NFE = 8,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the Plan goes, as plain JSON.")] = Path("out/plan.json"),
    parameters: Annotated[list[str] | None, typer.Option(metavar="NAMES", help="nodes, times, weights; all by default.")] = None,
    states: Annotated[int | None, typer.Option(metavar="N", min=2, help="States that move the numbers.")] = None,
    raced: Annotated[
        int, typer.Option(metavar="N", min=4, help="States of the race that finds what to beat; more where errors have heavy tails.")
    ] = 48,
    gradient: Annotated[
        bool | None, typer.Option("--gradient/--differences", help="How the numbers are moved; by default as suits the model.")
    ] = None,
    iterations: Annotated[int | None, typer.Option(metavar="N", min=1, help="At most; by default 120 by gradient, else 30.")] = None,
    seconds: Annotated[float, typer.Option(metavar="S", min=0.0, help="At most; what was reached by then is judged.")] = math.inf,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the states.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the checkpoint of a broken-off search, and write over the file.")] = False,
    shape: SHAPE = None,
    schedule: SCHEDULE = "VP",
    prediction: PREDICTION = "eps",
    library: LIBRARY = "torch",
) -> None:
    """Make a Plan for one model and one budget: levels, times and weights moved from the best registered method.

    It is judged on states that were never used, and is never worse there than what it started from. Broken off, it goes on where it was.

    [dim]scorebed tune --model galaxy-hsc-32 --nfe 8 --out plan.json[/dim]
    [dim]python -c "from scorebed import Plan; plan = Plan.load('plan.json'); plan.run(denoise, x)"[/dim]
    """
    from scorebed.solvers import Plan
    from scorebed.solvers.plan.file import from_dict, to_dict
    from scorebed.toy.store import code
    from scorebed.toy.store.database import Store
    from scorebed.toy.store.key import keyed
    from scorebed.toy.store.versions import numerical
    from scorebed.toy.tuning.form import PARTS
    from scorebed.toy.tuning.tune import tune as make

    one_thread()
    unfinished = out.with_name(f"{out.name}.unfinished")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if fresh:
            unfinished.unlink(missing_ok=True)
            out.unlink(missing_ok=True)
        if out.exists():
            raise typer.BadParameter(f"{out} exists: give another name, or --fresh", param_hint="--out")
        out.touch()
        out.unlink()
    except OSError as problem:
        raise typer.BadParameter(f"{out} cannot be written: {problem}", param_hint="--out") from None
    setting = setting_of(model, shape, schedule, prediction, library)
    options: dict[str, Any] = {"iterations": iterations, "seconds": seconds, "seed": seed, "states": states, "gradient": gradient}
    options |= {"raced": raced}
    moved = tuple(parameters or PARTS)
    what, study = keyed("tune", setting=setting, nfe=nfe, moved=moved, code=code.digest(make.__module__), versions=numerical(), **options)
    with Store(out.parent) as store:
        row = store.get(what)
        try:
            if row is None or fresh:
                plan = make(setting, nfe, parameters=moved, checkpoint=unfinished, report=typer.echo, **options)
                if study and math.isinf(seconds):  # what time allowed is another plan another time
                    store.put(what, study, to_dict(plan, plan.record), replace=True)
            else:
                plan = from_dict(Plan, row)
                typer.echo(f"the same search is kept in {store.path}; --fresh repeats it")
            plan.save(out)
        except (ValueError, TypeError) as problem:
            raise typer.BadParameter(str(problem)) from None
    unfinished.unlink(missing_ok=True)
    kept = plan.record.get("kept", "")
    typer.echo(f"\nkept: {kept}\nseed: {seed}\nwrote {out}\n\n    plan = Plan.load({str(out)!r}); x0 = plan.run(denoise, x)")
