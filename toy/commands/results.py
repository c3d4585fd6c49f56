"""``scorebed results``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scorebed.toy.console import ManyValues, Plain, main, screen

if TYPE_CHECKING:
    import pandas as pd

    from scorebed.toy.store.database import Record

results = typer.Typer(
    name="results", help="What studies have kept: list, filter, compare, export, delete.", no_args_is_help=True, rich_markup_mode="rich"
)
main.add_typer(results)

Where = Annotated[Path, typer.Argument(metavar="PLACE", help="The folder of a study, or a store's file.")]
Filter = Annotated[list[str] | None, typer.Option("--where", metavar="COLUMN=VALUE…", help="Rows that have these values only.")]


def _chosen(place: Path, where: list[str] | None) -> list[Record]:
    from scorebed.toy.store.tables import chosen, conditions, everything

    try:
        return chosen(everything(place), conditions(where or ()))
    except ValueError as refused:
        raise typer.BadParameter(str(refused), param_hint="--where") from None


@results.command("list", cls=ManyValues)
def show(
    place: Where = Path("out"),
    where: Filter = None,
    columns: Annotated[list[str] | None, typer.Option(metavar="NAME…", help="Columns to show.")] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=0, help="Rows to show, 0 for all.")] = 20,
) -> None:
    """How many rows of which study there are, and the rows themselves.

    [dim]scorebed results list out[/dim]
    [dim]scorebed results list out --where problem=digits solver=heun|dpmpp_2m --columns solver steps nfe error --limit 0[/dim]
    """
    from scorebed.toy.store.tables import table

    records = _chosen(place, where)
    for study in dict.fromkeys(r.study for r in records):
        mine = [r for r in records if r.study == study]
        _print(table(mine), columns, limit, study)
        typer.echo(f"{study}: {len(mine)} rows, {min(r.made for r in mine)} to {max(r.made for r in mine)}")
    if not records:
        typer.echo("no rows")


def _print(rows: pd.DataFrame, columns: list[str] | None, limit: int, title: str = "") -> None:
    from rich.table import Table

    names = columns or [name for name in rows.columns if name != "message"]
    if unknown := [name for name in names if name not in rows.columns]:
        raise typer.BadParameter(f"no column {', '.join(unknown)}; there are {', '.join(rows.columns)}", param_hint="--columns")
    page = Table(box=None, padding=(0, 2, 0, 0), title=title or None, title_justify="left")
    for name in names:
        page.add_column(name, header_style="dim", justify="right" if rows[name].dtype.kind in "if" else "left", overflow="fold")
    shown = rows if limit == 0 else rows.head(limit)
    for values in shown[names].itertuples(index=False):
        page.add_row(*(_cell(value) for value in values))
    screen().print(page)
    if len(shown) < len(rows):
        typer.echo(f"… and {len(rows) - len(shown)} more (--limit 0 shows all)")


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@results.command(cls=ManyValues)
def compare(
    first: Where,
    second: Annotated[Path, typer.Argument(metavar="PLACE", help="Another, or the same.")],
    where: Filter = None,
    value: Annotated[str, typer.Option(metavar="NAME", help="What is compared.")] = "error",
    within: Annotated[float, typer.Option(metavar="X", min=0.0, help="Relative differences up to this are none.")] = 0.0,
    limit: Annotated[int, typer.Option(metavar="N", min=0, help="Rows to show, 0 for all.")] = 20,
) -> None:
    """Rows of one store beside those of another: where they differ, and what only one has. Exit status 1 if there are any.

    [dim]scorebed results compare out/before out/after --within 1e-9[/dim]
    """
    from scorebed.toy.store import tables

    try:
        rows = tables.compare(_chosen(first, where), _chosen(second, where), value, within)
    except ValueError as refused:
        raise typer.BadParameter(str(refused), param_hint="--value") from None
    if rows.empty:
        typer.echo("no row differs")
        return
    _print(rows, None, limit)
    raise typer.Exit(1)


@results.command(cls=Plain)
def export(
    place: Where,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A name that ends in .csv or .parquet.")],
    where: Filter = None,
) -> None:
    """Write rows as CSV or Parquet.

    [dim]scorebed results export out rows.parquet --where study=study status=ok[/dim]
    """
    from scorebed.toy.store.tables import export as write

    try:
        records = _chosen(place, where)
        path = write(records, file)
    except ValueError as refused:
        raise typer.BadParameter(str(refused), param_hint="FILE") from None
    typer.echo(f"{len(records)} rows written to {path}")


@results.command(cls=Plain)
def delete(
    place: Where,
    where: Filter = None,
    everything: Annotated[bool, typer.Option("--all", help="All rows, where no condition is given.")] = False,
) -> None:
    """Delete rows, so that they are measured again.

    [dim]scorebed results delete out --where solver=heun[/dim]
    """
    from scorebed.toy.store.database import Store

    if not where and not everything:
        raise typer.BadParameter("give conditions, or --all for every row", param_hint="--where")
    records = _chosen(place, where)
    with Store(place) as store:
        gone = store.delete([r.key for r in records])
    typer.echo(f"{gone} rows deleted")
