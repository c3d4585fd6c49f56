"""``scorebed vectors`` and ``scorebed conform``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scorebed.toy.console import main
from scorebed.toy.tables import document


@main.command()
def vectors(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the vectors go.")] = Path("out/vectors"),
    runners: Annotated[bool, typer.Option("--runners/--no-runners", help="Copy the runners beside them.")] = True,
) -> None:
    """Write the vectors: what an implementation in any language must compute, with runners in Python, C++, Rust and JavaScript.

    [dim]scorebed vectors --out out/vectors[/dim]
    [dim]node out/vectors/runner.mjs out/vectors/vectors.json results.json[/dim]
    [dim]scorebed conform results.json[/dim]
    """
    import shutil

    from scorebed.toy.conform import runners as folder
    from scorebed.toy.conform.vectors import write

    try:
        paths = write(out)
        if runners:
            for source in sorted(Path(next(iter(folder.__path__))).glob("runner.*")):
                paths.append(Path(shutil.copy(source, out)))
    except OSError as problem:
        raise typer.BadParameter(f"{out} cannot be written: {problem}", param_hint="--out") from None
    typer.echo("wrote " + ", ".join(map(str, paths)))


@main.command()
def conform(
    results: Annotated[Path, typer.Argument(metavar="FILE", help="What a runner wrote: JSON, or lines of an id and numbers.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge what a runner of the vectors wrote: right, right in a lower precision, or the answer of a known fault.

    The exit status is 0 where everything passes, 1 where something fails, 2 for a wrong use.

    [dim]scorebed conform results.json[/dim]
    """
    from scorebed.toy.conform.judge import judge, read

    try:
        given = read(results)
    except (OSError, ValueError) as problem:
        raise typer.BadParameter(f"{results}: {problem}") from None
    judged = judge(given["results"], given["runner"])
    typer.echo(document(judged.as_dict()) if as_json else str(judged))
    raise typer.Exit(0 if judged.passed else 1)
