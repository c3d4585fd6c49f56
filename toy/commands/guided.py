"""``scorebed guided``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from scorebed.toy.console import Force, ManyValues, bar, known, main, one_thread, screen, taking
from scorebed.toy.options import Dark, For, each

_SCALES, _STEPS = (1.0, 2.0, 3.0, 5.0, 8.0), (5, 10, 20, 40, 80)


@main.command(cls=ManyValues)
def guided(
    problem: Annotated[
        str,
        typer.Option(metavar="NAME", help="gaussian, classes: on the line; plane, modes: in the plane; digits: a network; reward."),
    ] = "classes",
    rules: Annotated[
        list[str] | None, typer.Option(metavar="NAME…", help="cfg, interval; in the plane also rescaled, apg, cfg_zero, thresholded.")
    ] = None,
    solvers: Annotated[
        list[str] | None, typer.Option(metavar="NAME…", help="Methods, your own as file.py:name; ddim and ddpm, ddim in the plane.")
    ] = None,
    scales: Annotated[
        list[float] | None, typer.Option(metavar="W…", help="Guidance scales, 1 2 3 5 8; of reward the strengths of the proxy.")
    ] = None,
    steps: Annotated[list[int] | None, typer.Option(metavar="N…", min=2, help="Numbers of steps; 5 10 20 40 80.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the tables and the figures go.")] = Path("out/guided"),
    figures: Annotated[bool, typer.Option("--figures/--no-figures", help="Draw the figures.")] = True,
    dark: Dark = False,
    purpose: For = None,
    force: Force = False,
) -> None:
    """What guidance samples, against p_c^w p_u^(1-w), which it means: its bias apart from the discretisation error.

    On the line the laws are exact, in the plane those of even points, on digits those of samples of a network trained here and of the
    exact scores of its data. Of the reward: what search, guidance and particles by a proxy do to the true one.

    [dim]scorebed guided[/dim]
    [dim]scorebed guided --problem gaussian --scales 1 4 7.5 --solvers dpmpp_2m ddpm[/dim]
    [dim]scorebed guided --problem modes --rules cfg apg cfg_zero thresholded --scales 2 4[/dim]
    [dim]scorebed guided --problem reward[/dim]
    """
    one_thread()
    from scorebed.solvers import SOLVERS
    from scorebed.toy.figures.style import save
    from scorebed.toy.problems.guided import GUIDED
    from scorebed.toy.store.files import replace_text
    from scorebed.toy.studies.guided import rules_of

    known([problem], GUIDED | dict.fromkeys(("digits", "reward")), "problem of guidance", "--problem")
    if rules and problem not in GUIDED:
        raise typer.BadParameter(f"{problem} has one rule, cfg: leave the option out", param_hint="--rules")
    known(rules, rules_of(GUIDED[problem]) if problem in GUIDED else {}, f"rule measured on {problem}", "--rules")
    methods = known(solvers, SOLVERS, "solver", "--solvers") if solvers else []
    signed = taking("hacking.csv" if problem == "reward" else "guided.csv")
    try:
        tables, drawn = _measured(problem, rules, methods, scales, steps)
    except ValueError as problem_told:
        raise typer.BadParameter(str(problem_told)) from None
    for name, table in tables.items():
        replace_text(out / f"{name}.csv", table.to_csv(index=False))
        _print(table, name)
    signed()
    several = each(list(drawn.items()), lambda one: f"drawing {one[0]}") if figures else ()
    files = [path for name, make in several for path in save(make(), out, name, dark=dark)]
    typer.echo(f"Written to {out}: " + "  ".join([*(f"{name}.csv" for name in tables), *(path.name for path in files)]))


def _measured(problem: str, rules: Any, solvers: Any, scales: Any, steps: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tables and pictures (not drawn yet) by name."""
    from scorebed.toy.figures import guided as draw
    from scorebed.toy.problems.guided import GUIDED, GuidedPlane
    from scorebed.toy.studies import guided as study
    from scorebed.toy.studies import guided_network, hacking

    with bar() as report:
        if problem == "reward":
            by = (solvers or ["ddpm"])[0]
            table = hacking.table(scales or hacking.STRENGTHS, steps=max(steps or (40,)), solver=by, report=report)
            return {"hacking": table}, {"hacking": lambda: draw.hacking(table)}
        if problem == "digits":
            by = (solvers or ["ddim"])[0]
            table, curves = guided_network.table(scales or (1.0, 2.0, 4.0), steps or (5, 10, 20, 40), solver=by, report=report)
            pictures = {"guided": lambda: draw.bias_and_steps(table)}
            return (
                ({"guided": table, "hacking": curves}, pictures | {"hacking": lambda: draw.hacking(curves)})
                if len(curves)
                else (
                    {"guided": table},
                    pictures,
                )
            )
        place = GUIDED[problem]
        plane = isinstance(place, GuidedPlane)
        wanted = list(dict.fromkeys(solvers or (("ddim",) if plane else ("ddim", "ddpm"))))
        names = list(dict.fromkeys(rules or (study.PLANE_RULES if plane else ("cfg",))))
        some = scales or ((1.0, 2.0, 4.0) if plane else _SCALES)
        table = study.table(place, names, wanted, scale=some, steps=steps or (_STEPS[:4] if plane else _STEPS), report=report)
    if isinstance(place, GuidedPlane):
        scene = lambda: draw.samples(place, names, sorted(some)[len(some) // 2], wanted[0])  # noqa: E731
        return {"guided": table}, {"guided": lambda: draw.by_rule(table), "laws": scene}
    return {"guided": table}, {
        "guided": lambda: draw.bias_and_steps(table),
        "laws": lambda: draw.laws(place, wanted[:3], _three(sorted(table.scale.unique()))),
    }


def _three(chosen: Sequence[float]) -> list[float]:
    return list(chosen[:: max(1, (len(chosen) - 1) // 2)][:3])


def _print(table: Any, title: str) -> None:
    from rich.table import Table

    page, words = Table(box=None, padding=(0, 2, 0, 0), title=title, title_justify="left"), ("problem", "rule", "solver", "method")
    heads = [head for head in table.columns if head != "problem"]
    for head in heads:
        page.add_column(head, justify="left" if head in words else "right", header_style="dim", no_wrap=True)
    for row in table[heads].to_dict("records"):
        page.add_row(*(_said(head, value) for head, value in row.items()))
    screen().print(page)


def _said(head: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:g}" if head in ("scale", "steps", "strength") else f"{value:.4f}"
