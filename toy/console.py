"""What the commands share: the application, lists of values, tables, bars, and how what cannot be done is said in one line.

Lists are given as ``--nfe 5 10 20``, ``--nfe 5,10,20`` or ``--nfe 5 --nfe 10 --nfe 20``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from typer.core import TyperCommand, TyperGroup, TyperOption

from scorebed.toy.store.files import StoreError
from scorebed.toy.tables import Tables

WIDTH = 120
"""Columns of a table that goes to a file or a pipe."""


def spread(args: Sequence[str], many: Iterable[str]) -> list[str]:
    """Write ``--flag a b,c`` as ``--flag a --flag b --flag c`` for the flags in ``many``; all else stays as it is."""
    many, flag, given = set(many), "", True
    out: list[str] = []
    for i, arg in enumerate(args):
        if arg == "--":
            return [*out, *args[i:]]
        head, equals, tail = arg.partition("=")
        if head in many and (equals or arg == head):
            if not given:
                out.append(flag)  # a flag without a value: let the parser say so
            flag, given = head, bool(equals)
            values = tail.split(",") if equals else []
        elif arg.startswith("-") and not _number(arg):
            if not given:
                out.append(flag)
            flag, given, values = "", True, []
            out.append(arg)
        elif flag:
            given, values = True, arg.split(",")
        else:
            values = []
            out.append(arg)
        out += [part for value in values if value.strip() for part in (flag, value.strip())]
    return out if given else [*out, flag]


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class ManyValues(TyperCommand):
    """A command whose list options take several values after one flag, and which prints tables: ``--json`` prints them as JSON.

    ``given`` is what the running one was called with. A command with a ``--json`` of its own keeps it; one without tables is a ``Plain``.
    """

    given: ClassVar[dict[str, Any]] = {}
    tables: ClassVar[bool] = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.tables and not any("--json" in p.opts for p in self.params):
            self.params.append(_json_option())

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        many = [name for p in self.params if isinstance(p, TyperOption) and p.multiple for name in p.opts]
        rest = super().parse_args(ctx, spread(args, many))
        ManyValues.given = dict(ctx.params)
        return rest

    def invoke(self, ctx: Any) -> Any:
        if not ctx.meta.get(_JSON):
            return super().invoke(ctx)
        with Tables.collected():
            return super().invoke(ctx)


class Plain(ManyValues):
    """A command that prints no table."""

    tables: ClassVar[bool] = False


_JSON = "scorebed.json"


def _wanted(ctx: typer.Context, value: bool) -> bool:
    ctx.meta[_JSON] = value
    return value


def _carrier(
    json: Annotated[
        bool, typer.Option("--json", callback=_wanted, expose_value=False, help="Print tables as JSON, all else on standard error.")
    ] = False,
) -> None: ...


def _json_option() -> Any:
    """The option ``--json``, made by typer as it makes those of a function."""
    app = typer.Typer(add_completion=False)
    app.command()(_carrier)
    return typer.main.get_command(app).params[0]


class House(TyperGroup):
    """The command: it prints on any console, and says in one line which file or folder could not be used."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if getattr(stream, "errors", None) == "strict":
                stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a code page without Greek shows a question mark
        return super().main(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except StoreError as refused:
            typer.echo(f"scorebed: {refused}", err=True)
        except OSError as error:
            if error.filename is None:
                raise
            typer.echo(f"scorebed: {error.filename}: {error.strerror}", err=True)
        raise typer.Exit(1)


main = typer.Typer(
    name="scorebed",
    cls=House,
    help="Diffusion and flow solvers, tested against closed-form truth. Every command that prints a table takes --json.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"scorebed {version('scorebed')}")
        except PackageNotFoundError:
            typer.echo("scorebed, not installed: run from the folder of the sources")
        raise typer.Exit


@main.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Show the version and stop.", callback=_version, is_eager=True)] = False,
) -> None:
    pass


def screen(width: int = WIDTH) -> Console:
    """Where tables go: the width of the terminal, or a fixed one where there is none."""
    if Tables.kept is not None:
        return Tables(width=width)
    console = Console()
    return console if console.is_terminal else Console(width=width)


@contextmanager
def bar() -> Iterator[Callable[[int, int, str], None]]:
    """A live progress bar with the time left on a terminal, and nothing elsewhere; yields ``report(done, all, what)``."""
    clock = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    columns = (TextColumn("{task.description:<32}"), BarColumn(), MofNCompleteColumn(), *clock)
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total, what: progress.update(task, completed=done, total=total, description=what)


Jobs = Annotated[int | None, typer.Option(metavar="N", min=1, help="Processes; one for each core by default.")]
Backend = Annotated[str, typer.Option(metavar="NAME", help="Who computes: local, or dask.")]
Scheduler = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Of a dask scheduler, such as tcp://head:8786.")]
Place = Annotated[Path | None, typer.Option(metavar="FILE", help="Where rows are kept; store.sqlite in --out by default.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Begin a new store; the one that is there is set aside.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the results of another study in --out.")]


def check_engine(backend: str, scheduler: str | None) -> None:
    """Refuse an unknown backend, and one whose scheduler is missing or would not be used; exit status 2."""
    if backend not in ("local", "dask"):
        raise typer.BadParameter(f"backend {backend!r} not known; known: local, dask", param_hint="--backend")
    if (backend == "dask") != (scheduler is not None):
        raise typer.BadParameter("--backend dask and --scheduler ADDRESS go together", param_hint="--scheduler")


def taking(results: str) -> Callable[[], None]:
    """The --out of the running command, ready and losing no ``results`` of another study; call what comes back once they are written."""
    from scorebed.toy.store.owner import take

    return take(ManyValues.given, results)


@contextmanager
def keeping(where: Path) -> Iterator[None]:
    """Say on Ctrl-C where what was finished is kept; exit status 130."""
    from scorebed.toy.store.database import place

    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"\nstopped; what was finished is kept in {place(where)}, and the same command goes on from there", err=True)
        raise typer.Exit(130) from None


def known(names: Sequence[str] | None, registry: Mapping[str, Any], what: str, flag: str) -> list[Any]:
    """What the names stand for, all of the registry where there are none; unknown ones are refused with a list of the known; exit status 2.

    A solver may also be given with options, ``unipc_3(start=ddim)``, and as ``file.py:name``.

    Returns:
        list of the entries, in the order of the names.

    Raises:
        BadParameter: a name that is not known.
    """
    from scorebed.toy.studies.study import pick

    try:
        return pick(names, registry, what)
    except ValueError as unknown:
        raise typer.BadParameter(str(unknown), param_hint=flag) from None


def one_thread() -> None:
    """One BLAS thread, said before NumPy is loaded: on matrices this small, threads cost more than they give."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
