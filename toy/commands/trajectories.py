"""``scorebed trajectories``."""

from __future__ import annotations

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
from scorebed.toy.options import PREDICTION, SCHEDULE, SHAPE, Dark, For
from scorebed.toy.options import network as network_named

if TYPE_CHECKING:
    from scorebed.toy.studies.trajectories import Trajectories


@main.command(cls=ManyValues)
def trajectories(
    problem: Annotated[str, typer.Option(metavar="NAME", help="A problem of the study.")] = "product2d",
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="A network in its place: a pretrained one, module:callable or file.py:callable.")
    ] = None,
    shape: SHAPE = None,
    schedule: SCHEDULE = "VP",
    prediction: PREDICTION = "eps",
    solvers: Annotated[list[str] | None, typer.Option(metavar="NAME…", help="Solvers; ddim heun dpmpp_2m ddpm.")] = None,
    nfe: Annotated[int, typer.Option(metavar="N", min=1, help="Evaluations of the denoiser, at most.")] = 20,
    paths: Annotated[int, typer.Option(metavar="N", min=1, help="Paths of each solver.")] = 32,
    coordinates: Annotated[str, typer.Option(metavar="NAME", help="Of the geometry: x, data (x/α) or unit (x/√(α² + σ²)).")] = "x",
    animate: Annotated[bool, typer.Option("--animate", help="Also write an animation, in one and two dimensions.")] = False,
    mp4: Annotated[bool, typer.Option("--mp4", help="The animation as MP4, which needs ffmpeg; a GIF otherwise.")] = False,
    jacobian: Annotated[int, typer.Option(metavar="K", min=0, help="Directions in which the sensitivity of a network is measured.")] = 0,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where tables and figures go.")] = Path("out/trajectories"),
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the initial states and of the noise.")] = 0,
    figures: Annotated[bool, typer.Option("--figures/--no-figures", help="Draw the figures.")] = True,
    dark: Dark = False,
    purpose: For = None,
    jobs: Jobs = None,
    backend: Backend = "local",
    scheduler: Scheduler = None,
    fresh: Fresh = False,
    force: Force = False,
) -> None:
    """How paths move: geometry, planes and rotation, commitment to modes, order of decisions, sensitivity, distance to the exact flow.

    [dim]scorebed trajectories[/dim]
    [dim]scorebed trajectories --problem mixture1d --solvers ddim heun dpmpp_2m --nfe 10 --animate[/dim]
    [dim]scorebed trajectories --problem product8d --nfe 30 --coordinates unit --out out/rotation --dark[/dim]
    [dim]scorebed trajectories --model galaxy-hsc-32 --solvers ddim dpmpp_2m --nfe 12 --paths 8 --jacobian 4[/dim]
    """
    one_thread()
    from scorebed.solvers import NonFinite, methods_on
    from scorebed.toy.problems.registry import PROBLEMS
    from scorebed.toy.store.files import replace_text
    from scorebed.toy.store.owner import begin, sign
    from scorebed.toy.studies.paths import COORDINATES
    from scorebed.toy.studies.trajectories import DEFAULT
    from scorebed.toy.studies.trajectories import trajectories as study

    known(solvers, methods_on(), "solver", "--solvers")
    known([problem], PROBLEMS, "problem", "--problem")
    if problem not in PROBLEMS:
        raise typer.BadParameter("give one problem", param_hint="--problem")
    if coordinates not in COORDINATES:
        raise typer.BadParameter(f"{coordinates!r} not known; known: {', '.join(COORDINATES)}", param_hint="--coordinates")
    if mp4 and animate:
        from scorebed.toy.figures.animate import has_ffmpeg

        if not has_ffmpeg():
            raise typer.BadParameter("ffmpeg is not installed: leave --mp4 out for a GIF", param_hint="--mp4")
    if animate and (model is not None or PROBLEMS[problem].d > 2):
        raise typer.BadParameter(f"{model or problem} has more than two dimensions: animations need one or two", param_hint="--animate")
    check_engine(backend, scheduler)
    net = None if model is None else network_named(model, shape, schedule, prediction)
    name = problem if net is None else net.name
    arguments = {"of": name, "solvers": list(solvers or DEFAULT), "nfe": nfe, "paths": paths, "seed": seed, "coordinates": coordinates}
    begin(out, f"{name}-paths.csv", f"{name}.json", arguments, force)
    how: dict[str, Any] = {"where": out, "jobs": jobs, "backend": backend, "scheduler": scheduler, "fresh": fresh}
    try:
        if model is None:
            with keeping(out), bar() as report:
                found = study(PROBLEMS[problem], solvers or DEFAULT, nfe, paths, seed, coordinates, report=report, **how)
        else:
            alone = {"where": None, "jobs": 1} if ":" in model else {}  # a store knows a network by its name
            with keeping(out), bar() as report:
                found = _network(net, solvers or DEFAULT[:3], nfe, paths, seed, coordinates, jacobian, report=report, **how | alone)
    except NonFinite as diverged:
        typer.echo(str(diverged), err=True)
        raise typer.Exit(1) from None
    except ValueError as refused:
        raise typer.BadParameter(str(refused)) from None
    written = []
    for kind, rows in (("paths", found.paths), ("nodes", found.nodes), ("directions", found.directions)):
        replace_text(out / f"{name}-{kind}.csv", rows.to_csv(index=False))
        written.append(f"{name}-{kind}.csv")
    sign(out, f"{name}.json", arguments)
    screen().print(_summary(found))
    written += _draw(found, out, name, dark, nfe, seed) if figures else []
    if animate:
        from scorebed.toy.figures.animate import animate as film

        written += [film(found, out, name, dark=d, kind="mp4" if mp4 else "gif").name for d in ((False, True) if dark else (False,))]
    typer.echo(f"{found.kept} runs kept, {found.made} followed; seed {seed}. Written to {out}: " + "  ".join(written))


def _network(network: Any, solvers: Any, nfe: int, paths: int, seed: int, coordinates: str, jacobian: int, **how: Any) -> Trajectories:
    from scorebed.gpu.models.own import Own
    from scorebed.toy.store.versions import version_of
    from scorebed.toy.studies.network_trajectories import network_trajectories
    from scorebed.toy.studies.paths import Named, flat

    x = network.start(paths, seed).reshape(paths, -1).double().numpy()
    return network_trajectories(
        flat(network.denoise, network.shape)
        if isinstance(network, Own)
        else Named(network.name, f"{network.package} {version_of(network.package)}"),
        x,
        network.schedule,
        solvers,
        nfe,
        grid=network.spacing,
        name=network.name,
        description=f"{network.name}, {network.what}",
        seed=seed,
        coordinates=coordinates,
        jacobian=jacobian,
        **how,
    )


def _draw(found: Trajectories, out: Path, name: str, dark: bool, nfe: int, seed: int) -> list[str]:
    from scorebed.toy.figures.scenes import trajectory
    from scorebed.toy.figures.space_time import space_time
    from scorebed.toy.figures.style import save
    from scorebed.toy.figures.trajectories import along_paths, projections

    figures = {"along": along_paths(found)}
    if found.problem.d == 1:
        figures["space_time"] = space_time(found)
    else:
        figures["projections"] = projections(found)
    if found.problem.d == 2 and found.problem.closed:
        solvers = [run for run in found.runs if run != "exact flow"]
        figures["plane"] = trajectory(found.problem, solvers, nfe, found.paths["path"].nunique(), seed)
    return [path.name for kind, figure in figures.items() for path in save(figure, out, f"{name}-{kind}", dark=dark)]


def _summary(found: Trajectories) -> Any:
    """Means over paths."""
    from rich.table import Table

    page = Table(box=None, padding=(0, 2, 0, 0))
    heads = {
        "straightness": "straightness",
        "plane": "in its plane",
        "rotation": "rotation, °",
        "pc2": "two components",
        "committed_rho": "committed, σ/α",
        "distance": "RMS distance",
    }
    shown = {key: head for key, head in heads.items() if key in found.paths and found.paths[key].notna().any()}
    page.add_column("solver", header_style="dim", no_wrap=True)
    page.add_column("NFE", justify="right", header_style="dim")
    for head in shown.values():
        page.add_column(head, justify="right", header_style="dim")
    for name, run in found.runs.items():
        rows = found.paths[found.paths["solver"] == name]
        cells = []
        for key in shown:
            values = rows[key].dropna()
            number = (values**2).mean() ** 0.5 if key == "distance" else values.mean()
            cells.append(
                "–"
                if values.empty or (key == "distance" and name == "exact flow")
                else f"{57.29578 * number if key == 'rotation' else number:.3g}"
            )
        page.add_row(name, str(run.nfe) if run.nfe else "–", *cells)
    return page
