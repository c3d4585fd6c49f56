"""``scorebed report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorebed.toy.console import main, one_thread


@main.command()
def report(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The folder that a study was written to.")] = Path("out"),
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where it goes; report.html in STUDY by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a page that is there and was not written by this command.")] = False,
) -> None:
    """One page of a study, that needs nothing but a browser: sortable tables, plots that zoom, a slider through time, how to do it again.

    [dim]scorebed study --out out && scorebed report out[/dim]
    """
    one_thread()
    from scorebed.toy.figures.page import content, html, plotly
    from scorebed.toy.store.files import StoreError, ready, replace_text

    if not study.is_dir():
        raise typer.BadParameter(f"{study} is no folder: give the --out of a study", param_hint="STUDY")
    target = out or study / "report.html"
    ready(target.parent)
    if target.exists() and not force and "<title>scorebed report</title>" not in target.read_text(encoding="utf-8", errors="replace"):
        raise StoreError(f"{target} is another page: --force replaces it")
    replace_text(target, html(content(study), plotly()))
    typer.echo(f"wrote {target}: {target.stat().st_size / 1e6:.1f} MB, nothing else is needed to read it")
