"""``scorebed posterior``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from scorebed.toy.console import Force, ManyValues, bar, known, main, one_thread, screen, taking
from scorebed.toy.options import PREDICTION, SCHEDULE, SHAPE, Dark, For, each
from scorebed.toy.options import network as network_named


@main.command(cls=ManyValues)
def posterior(
    methods: Annotated[
        list[str] | None, typer.Option(metavar="NAME…", help="Posterior samplers, your own as file.py:name, or all; fourteen by default.")
    ] = None,
    problems: Annotated[list[str] | None, typer.Option(metavar="NAME…", help="Inverse problems; gaussian2d and mixture2d.")] = None,
    steps: Annotated[list[int] | None, typer.Option(metavar="N…", min=1, help="Numbers of steps; 20 and 80.")] = None,
    samples: Annotated[int, typer.Option(metavar="N", min=2, help="Samples of each run.")] = 600,
    joint: Annotated[int, typer.Option(metavar="N", min=0, help="Pairs (x0, y) for calibration; 0 leaves it out.")] = 100,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of starts and draws.")] = 0,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the table and the figures go.")] = Path("out/posterior"),
    peers: Annotated[bool, typer.Option("--peers", help="Instead: the samplers of azula and diffusers by check_posterior.")] = False,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Instead: a network behind a mask, against a long run: a pretrained one, or file.py:callable."),
    ] = None,
    shape: SHAPE = None,
    schedule: SCHEDULE = "VP",
    prediction: PREDICTION = "eps",
    figures: Annotated[bool, typer.Option("--figures/--no-figures", help="Draw the three figures.")] = True,
    dark: Dark = False,
    purpose: For = None,
    force: Force = False,
) -> None:
    """Posterior samplers against exact posteriors: errors of mean, covariance and law, mode weights, coverage, cost; three pictures.

    [dim]scorebed posterior[/dim]
    [dim]scorebed posterior --methods exact dps pigdm tmpd --problems mixture2d --steps 10 20 40 80[/dim]
    [dim]scorebed posterior --peers[/dim]
    [dim]scorebed posterior --model galaxy-hsc-32 --methods ddnm pigdm pnp_dm --steps 10 40[/dim]
    [dim]scorebed posterior --problems digits_mask --methods dps ddnm pnp_dm --steps 20 --samples 100 --joint 0[/dim]
    """
    one_thread()
    if peers:
        _peers(out, samples)
        return
    if model is not None:
        net = network_named(model, shape, schedule, prediction)
        _network(net, methods, sorted(set(steps or (10, 40))), out, seed, dark)
        return
    from rich.table import Table

    from scorebed.solvers.inverse import METHODS
    from scorebed.toy.figures import posterior as draw
    from scorebed.toy.figures.style import save
    from scorebed.toy.problems.inverse import INVERSE
    from scorebed.toy.store.files import replace_text
    from scorebed.toy.store.owner import begin, sign
    from scorebed.toy.studies import posterior as study

    known(problems, INVERSE, "inverse problem", "--problems")
    chosen = known(methods or study.DEFAULT, METHODS, "posterior sampler", "--methods")
    places = [INVERSE[name] for name in dict.fromkeys(problems or ("gaussian2d", "mixture2d"))]
    counts = sorted(set(steps or (20, 80)))
    arguments: dict[str, Any] = {"methods": [m.name for m in chosen], "problems": [p.name for p in places], "steps": counts}
    arguments |= {"samples": samples, "joint": joint, "seed": seed}
    begin(out, "posterior.csv", "posterior.json", arguments, force)
    with bar() as report:
        table = study.table(chosen, places, counts, report, samples=samples, joint=joint, seed=seed)
    replace_text(out / "posterior.csv", table.to_csv(index=False))
    sign(out, "posterior.json", arguments)
    heads = ("method", "problem", "steps", "NFE", "J^T v", "mean", "cov", "law", "by", "exact draws", "modes", "coverage")
    page = Table(box=None, padding=(0, 2, 0, 0))
    for head in heads:
        page.add_column(head, justify="left" if head in ("method", "problem", "by") else "right", header_style="dim", no_wrap=True)
    for row in table.itertuples():
        numbers = (row.mean, row.covariance, row.error)
        tail = ("" if v != v else f"{v:.3f}" for v in (row.noise, row.modes, row.coverage))
        cost = (str(row.steps), f"{row.nfe:.0f}", f"{row.vjp:.0f}")
        page.add_row(row.method, row.problem, *cost, *(f"{v:.3f}" for v in numbers), row.measure, *tail)
    screen().print(page)
    files = []
    if figures:
        most = counts[-1]
        flat = next((p for p in places if p.d == 2 and p.linear), None)
        linear = next((p for p in places if p.linear), None)
        if flat is not None:
            at = INVERSE["mixture2d"] if INVERSE["mixture2d"] in places else flat
            files += save(draw.samples(chosen, at, most, seed=seed), out, "samples", dark=dark)
        guides = [m for m in chosen if m.make is not None and m.name != "exact"]
        if linear is not None and guides:
            files += save(draw.along_t(guides, places[-1] if places[-1].linear else linear), out, "score_error", dark=dark)
        if linear is not None and joint:
            at = places[-1] if places[-1].linear else linear
            several = each(chosen, lambda m: f"calibration, {m.name}")
            found = [(m.name, study.calibrate(m, at, most, joint, 19, seed)) for m in several]
            files += save(draw.calibration(found), out, "calibration", dark=dark)
    typer.echo(f"Seed {seed}. Written to {out}: posterior.csv  " + "  ".join(path.name for path in files))


def _peers(out: Path, samples: int) -> None:
    from rich.table import Table

    from scorebed.toy.peers.posterior import rows
    from scorebed.toy.store.files import replace_text

    signed = taking("peers.csv")
    with bar() as report:
        table = rows(report, samples=max(samples, 2500))
    if table.empty:
        typer.echo("neither azula nor diffusers is installed: python -m pip install azula diffusers", err=True)
        raise typer.Exit(1)
    replace_text(out / "peers.csv", table.to_csv(index=False))
    signed()
    page = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("sampler", "problem", "verdict", "mean", "cov", "mean far off", "cov far off", "ours", "its mean", "its cov", "cause"):
        page.add_column(head, header_style="dim")
    for row in table.to_dict("records"):
        quantities = ("mean, y", "covariance, y", "mean, y far off", "covariance, y far off")
        ours = (row[f"ours: {q}"] for q in quantities[:2])
        page.add_row(row["sampler"], row["problem"], row["verdict"], *(row[q] for q in quantities), row["ours"], *ours, row["cause"])
    screen().print(page)
    typer.echo(f"Written to {out}: peers.csv")


def _network(model: Any, methods: list[str] | None, steps: list[int], out: Path, seed: int, dark: bool) -> None:
    from rich.table import Table

    from scorebed.solvers.inverse import METHODS
    from scorebed.toy.figures.posterior_network import images
    from scorebed.toy.figures.style import save
    from scorebed.toy.store.files import replace_text
    from scorebed.toy.studies.posterior_network import DEFAULT, Masked, reference, rows

    chosen = known(methods or DEFAULT, METHODS, "posterior sampler", "--methods")
    signed = taking("network.csv")
    problem = Masked(model, seed=seed)
    with bar() as report:
        report(0, 1, "the long run")
        truth = reference(problem)
        moments = {"long run": (truth.mean, truth.std)}
        table = rows(problem, truth, chosen, steps, report, moments)
    replace_text(out / "network.csv", table.to_csv(index=False))
    signed()
    page = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("method", "steps", "NFE", "J^T v", "mean", "spread", "residual", "s"):
        page.add_column(head, justify="left" if head == "method" else "right", header_style="dim")
    for row in table.itertuples():
        numbers = (f"{v:.3g}" for v in (row.mean, row.spread, row.residual, row.seconds))
        page.add_row(row.method, str(row.steps), str(row.nfe), str(row.vjp), *numbers)
    screen().print(page)
    typer.echo(
        f"Means in units of the long run's std. The long run ({truth.nfe} evaluations) is {truth.own:.2f} from one of half its length; "
        f"{problem.samples} exact samples twice would be {truth.chance:.2f} apart. Seed {seed}."
    )
    files = save(images(moments, problem.seen, problem.y, problem.network.shape), out, "network", dark=dark)
    typer.echo(f"Written to {out}: network.csv  " + "  ".join(path.name for path in files))
