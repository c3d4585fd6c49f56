"""``scorebed peers``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from scorebed.toy.console import Backend, Force, Fresh, Jobs, ManyValues, Scheduler, bar, check_engine, keeping, main, one_thread, screen
from scorebed.toy.options import For


@main.command(cls=ManyValues)
def peers(
    library: Annotated[
        list[str] | None, typer.Option(metavar="NAME…", help="diffusers, k-diffusion, skrample, …; all that are installed by default.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer step numbers: a first look, in about a fifth of the time.")] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where results, tables and the figure go.")] = Path("out/peers"),
    purpose: For = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="Only samplers of tokens, diffusers' and flow_matching's: tokens.md.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Also agreement.md: the orders of check_solver beside these.")] = False,
    jobs: Jobs = None,
    backend: Backend = "local",
    scheduler: Scheduler = None,
    fresh: Fresh = False,
    force: Force = False,
) -> None:
    """The scoreboard: other libraries' samplers against exact truth, and their defects, each confirmed by mending it.

    diffusers, k-diffusion, azula, torchdiffeq, flow-matching, torchsde, sbi, deepinv, physicsnemo, skrample. ``scoreboard.md`` has for each
    defect its cause, its mend, three lines that fail and a program with the library alone; ``guiders.md`` has diffusers' guiders beside
    our rules.

    A run that was stopped goes on where it was; what is known is not measured again.

    [dim]scorebed peers --quick[/dim]
    [dim]scorebed peers --library azula k-diffusion --out out/peers[/dim]
    [dim]scorebed peers --library azula --quick --check[/dim]
    [dim]scorebed peers --tokens[/dim]
    """
    one_thread()
    if tokens:
        _tokens(out)
        return
    from scorebed.toy.peers.board import MissingPeer, check_installed, run_board, silence
    from scorebed.toy.peers.faces import LIBRARIES, installed
    from scorebed.toy.store.owner import begin, sign

    chosen = list(dict.fromkeys(library or installed() or LIBRARIES))
    for name in chosen:
        if name not in LIBRARIES:
            raise typer.BadParameter(f"{name!r} is not known: give one of {', '.join(LIBRARIES)}", param_hint="--library")
    try:
        check_installed(chosen)
    except MissingPeer as missing:
        typer.echo(str(missing), err=True)
        raise typer.Exit(1) from None
    check_engine(backend, scheduler)
    began, arguments = time.perf_counter(), {"library": chosen}
    begin(out, "scoreboard.md", "peers.json", arguments, force)
    silence()
    with keeping(out), bar() as report:
        results = run_board(out, chosen, quick, report, jobs, backend=backend, scheduler=scheduler, fresh=fresh)
        measured = time.perf_counter() - began
        report(len(results), len(results), "defects, as shipped and mended")
        from scorebed.toy.peers.figure import draw
        from scorebed.toy.peers.report import confirm, reached, write

        values = confirm(chosen)
        page = []
        if "diffusers" in chosen:
            from scorebed.toy.peers.guiders_report import write_guiders

            page = [write_guiders(out, report)]
        guiders = "".join(path.read_text(encoding="utf-8") for path in page)
        paths = [*write(out, results, values, guiders), *draw(results, out), *page]
        if check:
            from scorebed.toy.peers.agreement import compare_all

            paths.append(compare_all(out, results, report))
    sign(out, "peers.json", arguments)
    screen().print(_counted(results))
    below = sum(reached(r) is False for r in results)
    typer.echo(
        f"{len(results)} samplers, {below} below their nominal order, {len(values)} defects and limits; {measured:.0f} s. Written to {out}:"
    )
    typer.echo("  " + "  ".join(path.name for path in paths))


def _counted(results: Sequence[Mapping[str, Any]]) -> Any:
    """How many samplers of each library reach the order of their name."""
    from rich.table import Table

    from scorebed.toy.peers.report import nominal, reached

    page = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("library", "samplers", "with an order", "reach it", "fall short"):
        page.add_column(head, justify="left" if head == "library" else "right", header_style="dim", no_wrap=True)
    for library in dict.fromkeys(r["library"] for r in results):
        mine = [r for r in results if r["library"] == library]
        judged = [bool(reached(r)) for r in mine if nominal(r) is not None]
        page.add_row(library, *(f"{n}" for n in (len(mine), len(judged), sum(judged), len(judged) - sum(judged))))
    return page


def _tokens(out: Path) -> None:
    from scorebed.toy.peers.board import silence
    from scorebed.toy.peers.token_shortfalls import confirm
    from scorebed.toy.peers.tokens import markdown, rows
    from scorebed.toy.store.files import ready, replace_text

    ready(out)
    silence()
    with bar() as report:
        table = rows(report)
    if table.empty:
        typer.echo("neither diffusers nor flow_matching is installed: pip install --no-deps -c constraints.txt flow-matching", err=True)
        raise typer.Exit(1)
    confirmed = confirm(set(table["library"]))
    replace_text(out / "tokens.md", markdown(table, confirmed))
    replace_text(out / "tokens.csv", table.to_csv(index=False))
    from rich.table import Table

    page = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("library", "sampler", "order", "ours"):
        page.add_column(head, justify="right" if head == "order" else "left", header_style="dim", overflow="fold")
    for row in table.to_dict("records"):
        page.add_row(row["library"], row["sampler"], f"{row['order']:.2f}", row["ours"])
    screen().print(page)
    typer.echo(f"{len(table)} samplers of tokens, {len(confirmed)} shortfalls. Written to {out}: tokens.md  tokens.csv")
