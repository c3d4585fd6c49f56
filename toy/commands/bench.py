"""``scorebed bench``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from scorebed.toy.console import Force, ManyValues, bar, main, screen, taking


@main.command(cls=ManyValues)
def bench(
    sections: Annotated[
        list[str] | None, typer.Option(metavar="NAME…", help="Of step, tuples, loop, score, noise, many; all by default.")
    ] = None,
    shape: Annotated[list[int] | None, typer.Option(metavar="N…", help="Of the state, the batch first; 64 4 64 64.")] = None,
    steps: Annotated[int, typer.Option(metavar="N", min=2, help="Steps of a run.")] = 10,
    repeats: Annotated[int, typer.Option(metavar="N", min=1, help="How often everything is timed; the shortest time counts.")] = 10,
    device: Annotated[str | None, typer.Option(metavar="NAME", help="Where; CUDA where there is one.")] = None,
    dtype: Annotated[str, typer.Option(metavar="NAME", help="Of the state: float32, float64, bfloat16, float16.")] = "float32",
    threads: Annotated[int, typer.Option(metavar="N", min=1, help="CPU threads.")] = 1,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where bench.json goes.")] = Path("out/bench"),
    force: Force = False,
) -> None:
    """What is spent outside the network, as ratios within one run: steps, loops, exact scores, noise.

    [dim]scorebed bench[/dim]
    [dim]scorebed bench --sections step --shape 1 4 64 64 --threads 2[/dim]
    [dim]scorebed bench --device cuda --dtype bfloat16 --out out/bench/cuda[/dim]
    """
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(threads)
    try:
        import torch

        from scorebed.gpu.bench import step as benches
    except ModuleNotFoundError as absent:
        raise typer.BadParameter(f"{absent.name} is not installed: pip install 'scorebed[gpu]'") from None
    torch.set_num_threads(threads)
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    kind = getattr(torch, dtype, None)
    if kind not in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        raise typer.BadParameter(f"{dtype!r} is not known: give float32, float64, bfloat16 or float16", param_hint="--dtype")
    from scorebed.toy.store.files import replace_text

    signed = taking("bench.json")
    try:
        with bar() as report:
            rows = benches.bench(
                shape or (64, 4, 64, 64),
                steps,
                repeats,
                device=chosen,
                dtype=kind,
                sections=sections or benches.SECTIONS,
                kdiffusion=_kdiffusion(),
                report=report,
            )
    except ValueError as wrong:
        raise typer.BadParameter(str(wrong)) from None
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head, side in (
        ("section", "left"),
        ("what", "left"),
        ("measured", "right"),
        ("target", "right"),
        ("ours", "right"),
        ("other", "right"),
    ):
        table.add_column(head, justify=side, header_style="dim")  # type: ignore[arg-type]
    for row in rows:
        sign = "" if row.target is None else ("≥ " if row.least else "≤ ") + f"{row.target:.3g}"
        colour = {None: "", True: "green", False: "red"}[row.met]
        value = f"{row.value:.3g} {row.unit}".strip()
        times = [_time(t) if row.what != "buffers / state" else "" for t in (row.ours, row.other)]
        table.add_row(row.section, row.what, f"[{colour}]{value}[/{colour}]" if colour else value, sign, *times)
    screen(150).print(table)
    facts = benches.record(rows, device=chosen, dtype=dtype, shape=list(shape or (64, 4, 64, 64)), steps=steps, repeats=repeats)
    replace_text(out / "bench.json", json.dumps(facts, indent=1) + "\n")
    signed()
    typer.echo(f"{torch.get_num_threads()} CPU threads, {chosen}, {dtype}. Written to {out / 'bench.json'}")


def _time(t: float | None) -> str:
    return "" if t is None else f"{1e3 * t:.3f} ms"


def _kdiffusion() -> Any:
    """k-diffusion's samplers, or None where they are not installed."""
    try:
        from scorebed.toy.foreign.kdiffusion import sampling

        return sampling()
    except (ImportError, StopIteration):
        return None
