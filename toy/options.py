"""Options that commands share beyond ``console``: what figures are for, whose network it is, and a bar over a loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import typer

from scorebed.toy.console import bar

Dark = Annotated[bool, typer.Option("--dark", help="Also draw every figure for a dark slide.")]


def _purpose(ctx: typer.Context, name: str | None) -> str | None:
    """Figures of this run are for a slide or a paper; of the next, for the screen again."""
    if name is not None and not ctx.resilient_parsing:
        from scorebed.toy.figures.style import purpose

        try:
            purpose(name)
        except ValueError as unknown:
            raise typer.BadParameter(str(unknown), ctx=ctx, param_hint="--for") from None
        ctx.call_on_close(lambda: purpose("screen"))
    return name


For = Annotated[
    str | None,
    typer.Option("--for", metavar="WHAT", callback=_purpose, help="Of the figures: slide (large text), or paper (fine, and as PDF)."),
]
MODEL = Annotated[str, typer.Option(metavar="NAME", help="A pretrained network, or your own: module:callable, file.py:callable.")]
SHAPE = Annotated[str | None, typer.Option(metavar="3,32,32", help="Of one sample, for a model of your own.")]
SCHEDULE = Annotated[str, typer.Option(metavar="NAME", help="The process of a model of your own: VP, Cosine, VE, EDM, RectifiedFlow.")]
PREDICTION = Annotated[str, typer.Option(metavar="NAME", help="What a model of your own predicts: denoised, eps, score, v, flow.")]


def network(model: str, shape: str | None = None, schedule: str = "VP", prediction: str = "eps") -> Any:
    """A pretrained network by its name, or one's own; what is not there is said in one line.

    Returns:
        the network, as of ``named.network_of``.

    Raises:
        BadParameter: an unknown name, or what is not installed.
        Exit: weights that are not installed.
    """
    try:
        from scorebed.gpu.models import Missing
        from scorebed.toy.foreign.named import network_of
    except ModuleNotFoundError as absent:
        raise typer.BadParameter(f"{absent.name} is not installed: pip install 'scorebed[models]'", param_hint="--model") from None
    try:
        return network_of(model, shape, schedule, prediction)
    except ValueError as unknown:
        raise typer.BadParameter(str(unknown), param_hint="--model") from None
    except Missing as absent:
        typer.echo(str(absent), err=True)
        raise typer.Exit(1) from None


def each(things: Sequence[Any], what: Callable[[Any], str]) -> Iterator[Any]:
    """The things one by one under a bar that says what comes next."""
    with bar() as report:
        for i, one in enumerate(things):
            report(i, len(things), what(one))
            yield one
