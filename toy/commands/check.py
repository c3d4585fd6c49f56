"""``scorebed check``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from scorebed.toy.console import ManyValues, bar, main, one_thread, screen
from scorebed.toy.options import For
from scorebed.toy.tables import document


@main.command(cls=ManyValues)
def check(
    place: Annotated[str, typer.Argument(metavar="MODULE:CALLABLE", help="What to check: module:callable, file.py:callable, or a solver.")],
    order: Annotated[float | None, typer.Option(metavar="P", help="The order it claims; measured and reported without.")] = None,
    weak: Annotated[float | None, typer.Option(metavar="P", help="The weak order it claims, of a stochastic sampler.")] = None,
    kind: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="function, k-diffusion, comfy-flow, velocity, …; most are seen."),
    ] = None,
    library: Annotated[str | None, typer.Option(metavar="NAME", help="numpy or torch; seen by its module.")] = None,
    options: Annotated[
        str | None, typer.Option(metavar="JSON", help='Options of its face, e.g. \'{"config": {"solver_order": 3}}\'.')
    ] = None,
    quick: Annotated[bool, typer.Option("--quick/--full", help="Fewer targets and numbers of steps.")] = False,
    only: Annotated[list[str] | None, typer.Option(metavar="CHECK…", help="The checks to make, e.g. order precision.")] = None,
    same_as: Annotated[str | None, typer.Option(metavar="NAME", help="The method of ours that it should be: where does it depart?")] = None,
    seconds: Annotated[float, typer.Option(metavar="S", help="Computing time after which the check is given up.")] = 600.0,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where check.json and the figure go; nowhere without.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    purpose: For = None,
) -> None:
    """Is a sampler right? Its order, weak order, stability, exactness, and manners, measured against exact maps and moments.

    The sampler is a function f(denoise, x, nodes) with denoise(x, node) -> E[x0 | x] and nodes from noise to data, each with t, alpha,
    sigma, lam; or one in the style of k-diffusion, f(model, x, sigmas) with model(x, sigma); or a diffusers scheduler; or a Solver.
    The exit status is 0 where everything passes, 1 where something fails, 2 for a wrong use.

    [dim]scorebed check mysampler:sample --order 2[/dim]
    [dim]scorebed check mysampler.py:sample --weak 1 --out out/check[/dim]
    [dim]scorebed check diffusers:HeunDiscreteScheduler --order 2[/dim]
    [dim]scorebed check dpmpp_2m[/dim]
    [dim]scorebed check mysampler.py:sample --same-as dpmpp_2m --only order formula "same as"[/dim]
    """
    one_thread()
    kinds = ("function", "k-diffusion", "comfy-flow", "velocity", "diffusers", "azula", "solver")
    if kind is not None and kind not in kinds:
        raise typer.BadParameter(f"{kind!r} is none of {', '.join(kinds)}", param_hint="--kind")
    if library not in (None, "numpy", "torch"):
        raise typer.BadParameter(f"{library!r} is neither numpy nor torch", param_hint="--library")
    try:
        more = json.loads(options or "{}")
    except json.JSONDecodeError as problem:
        raise typer.BadParameter(f"{options!r} is not JSON: {problem}", param_hint="--options") from None
    from scorebed.solvers import SOLVERS
    from scorebed.toy.foreign.place import load

    try:
        candidate = load(place, SOLVERS)
    except ValueError as problem:
        raise typer.BadParameter(str(problem)) from None
    from scorebed.toy.check import check_solver

    try:
        with bar() as report:
            found = check_solver(
                *(candidate,),
                order=order,
                weak=weak,
                kind=kind,
                library=library,
                quick=quick,
                report=report,
                **{"only": only or None, "same_as": same_as, "seconds": seconds, **more},
            )
    except (TypeError, ValueError) as problem:
        raise typer.BadParameter(str(problem)) from None
    text = Text(str(found))
    for status, colour in (("PASS", "green"), ("FAIL", "bold red"), ("NOTE", "yellow"), ("SKIP", "dim")):
        text.highlight_regex(rf"(?m)^ *{status}(ED)?\b", colour)
    if as_json:
        typer.echo(document(found.as_dict()))
    else:
        screen(160).print(text)
    if out is not None:
        typer.echo("wrote " + ", ".join(map(str, found.save(out))), err=as_json)
    raise typer.Exit(0 if found.passed else 1)
