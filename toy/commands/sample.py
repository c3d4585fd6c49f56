"""``scorebed sample``."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scorebed.toy.commands.tune import setting_of
from scorebed.toy.console import bar, known, main, one_thread
from scorebed.toy.options import MODEL, PREDICTION, SCHEDULE, SHAPE
from scorebed.toy.options import network as network_named

if TYPE_CHECKING:
    from scorebed.gpu.models import Pretrained
    from scorebed.solvers import Solver

PICTURES = (".png", ".svg", ".pdf")


@main.command()
def sample(
    model: MODEL,
    solver: Annotated[
        str,
        typer.Option(metavar="NAME", help="A solver that is a linear program; auto: the best of a short list for this network and budget."),
    ] = "unipc_2",
    nfe: Annotated[int, typer.Option(metavar="N", min=1, help="Evaluations of the network, the last one to sigma = 0 included.")] = 10,
    n: Annotated[int, typer.Option("--n", metavar="N", min=1, help="Samples.")] = 64,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="A picture (.png .svg .pdf), or the samples themselves (.npy).")] = None,
    grid: Annotated[str | None, typer.Option(metavar="NAME", help="Spacing of the steps; the network's own by default.")] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the initial states and of the noise.")] = 0,
    device: Annotated[str, typer.Option(metavar="NAME", help="Where to run: cpu, cuda, …")] = "cpu",
    shape: SHAPE = None,
    schedule: SCHEDULE = "VP",
    prediction: PREDICTION = "eps",
    force: Annotated[bool, typer.Option("--force", help="Write over the file.")] = False,
) -> None:
    """Draw from a pretrained network with any solver, and look at it.

    [dim]scorebed sample --model galaxy-hsc-32 --nfe 10 --n 64 --out galaxies.png[/dim]
    [dim]scorebed sample --model crystals --solver heun --nfe 35 --n 16 --out crystals.png[/dim]
    [dim]scorebed sample --model 21cm --solver dpmpp_2m --nfe 25 --n 12 --grid uniform_lam --out spectra.png[/dim]
    """
    one_thread()
    path = out or Path("out") / f"{re.sub(r'[^A-Za-z0-9.-]+', '-', model)}.png"
    if path.suffix.lower() not in (*PICTURES, ".npy"):
        raise typer.BadParameter(f"{path} ends in none of {', '.join((*PICTURES, '.npy'))}", param_hint="--out")
    from scorebed.solvers import GRIDS, SOLVERS
    from scorebed.solvers import sample as run

    if grid is not None:
        known([grid], GRIDS, "grid", "--grid")
    chosen = [] if solver == "auto" else known([solver], SOLVERS, "solver", "--solver")
    network = network_named(model, shape, schedule, prediction)
    import torch

    try:
        network.to(device)
    except (RuntimeError, AssertionError) as wrong:
        raise typer.BadParameter(f"{device!r}: {str(wrong).splitlines()[0]}", param_hint="--device") from None
    from scorebed.toy.store.files import ready, whole

    ready(path.parent)
    if path.exists() and not force:
        raise typer.BadParameter(f"{path} exists: give another name, or --force", param_hint="--out")
    if solver == "auto":
        solver, grid = _auto(setting_of(model, shape, schedule, prediction, "torch"), nfe, grid)
        name, _, begin = solver.partition(", start ")
        chosen = [SOLVERS[name](start=begin) if begin else SOLVERS[name]]
    method = chosen[0]
    steps = _steps(network, method, nfe, grid)
    typer.echo(f"{model}: {network.about}")
    began = time.perf_counter()
    with bar() as report, torch.no_grad():
        x = network.start(n, seed)
        if steps == 0:
            x = network.denoise(x, network.schedule.node(network.schedule.t_max))
        else:
            nodes = network.grid(steps, grid)
            report(0, steps, solver)
            x = run(method, network.denoise, x, nodes, noise=seed, callback=lambda step: report(step.index + 1, steps, solver))
    took = time.perf_counter() - began
    values = x.cpu().numpy()
    if path.suffix.lower() == ".npy":
        import numpy as np

        with whole(path) as part, part.open("wb") as file:
            np.save(file, values)
    else:
        from scorebed.toy.figures.samples import draw
        from scorebed.toy.figures.style import look

        with look(), whole(path) as part:
            draw(network, values).savefig(part, bbox_inches="tight")
    typer.echo(f"{n} samples, {solver}, {steps} steps, {took:.1f} s, seed {seed}.{_summary(model, x)} Written to {path}")


def _auto(model: Any, nfe: int, grid: str | None) -> tuple[str, str]:
    """Method and grid for this network; the last evaluation of ``nfe`` is the one to sigma = 0."""
    from scorebed.toy.tuning.advise import SHORT, SHORT_GRIDS, advise

    with bar() as report:
        found = advise(model, max(nfe - 1, 1), states=8, methods=SHORT, grids=(grid,) if grid else SHORT_GRIDS, report=report).best
    typer.echo(f"auto: {found.label}, {found.steps} steps")
    return found.method, found.grid


def _steps(network: Pretrained, solver: Solver, nfe: int, grid: str | None) -> int:
    """The most steps that, with the terminal evaluation, take at most ``nfe`` evaluations; 0 is that evaluation alone."""
    from scorebed.solvers import NotLinear, trace
    from scorebed.toy.measure.cost import most_steps

    def cost(steps: int) -> int:
        return trace(solver, network.grid(steps, grid), "denoise").nfe

    try:
        steps = most_steps(cost, nfe) if nfe > 1 else 0
    except NotLinear as why:
        raise typer.BadParameter(str(why), param_hint="--solver") from None
    if steps == 0 and nfe > 1:
        raise typer.BadParameter(f"{nfe} is too few for {solver.name}: one step and the last evaluation take {cost(1)}", param_hint="--nfe")
    return steps


def _summary(model: str, x: Any) -> str:
    if model != "crystals":
        return ""
    from scorebed.gpu.models.crystals import one_hot

    checked = one_hot(x)
    sound = int((checked["elements"] & checked["sites"]).sum())
    return f" {sound} of {len(x)} crystals sound, one-hot entries within {float(checked['distance'].median()):.4f} of 0 or 1."
