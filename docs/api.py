"""Write down the public interface: every public name with its parameters, every method, every command with its options.

    python docs/api.py > docs/api.txt

``docs/versions.md`` says what is promised of it; ``tests/test_public_api.py`` holds the promise.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import scorebed
from scorebed.solvers import GRIDS, SOLVERS


def _parameters(value: Any) -> str:
    try:
        found = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return ""
    star = [i for i, p in enumerate(found) if p.kind is p.KEYWORD_ONLY]
    words = [
        {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "") + p.name + ("=" if p.default is not p.empty else "") for p in found
    ]
    if star and not any(p.kind is p.VAR_POSITIONAL for p in found):
        words.insert(star[0], "*")
    return f"({', '.join(words)})"


def names() -> Iterator[str]:
    """The names of the package, with their parameters."""
    for name in sorted(scorebed.__all__):
        value = getattr(scorebed, name)
        if inspect.ismodule(value):
            yield f"scorebed.{name}"
        elif callable(value) and not isinstance(value, dict):
            yield f"scorebed.{name}{_parameters(value)}"
        else:
            yield f"scorebed.{name}"


def methods() -> Iterator[str]:
    """The methods and grids by name, with their options."""
    for name, solver in sorted(SOLVERS.items()):
        yield f"SOLVERS[{name!r}]({', '.join(sorted(solver.options))})"
    for name in sorted(GRIDS):
        yield f"GRIDS[{name!r}]"


def commands() -> Iterator[str]:
    """The commands with their options."""
    import typer

    from scorebed.toy.cli import main

    def walk(command: Any, path: str) -> Iterator[str]:
        for name, inner in sorted(getattr(command, "commands", {}).items()):
            yield from walk(inner, f"{path} {name}")
        if not hasattr(command, "commands"):
            options = sorted({o for p in command.params for o in (*p.opts, *p.secondary_opts) if o.startswith("--") and o != "--help"})
            yield " ".join([path, *options])

    yield from walk(typer.main.get_command(main), "scorebed")


def listing() -> list[str]:
    """All of it."""
    return [*names(), *methods(), *commands()]


if __name__ == "__main__":
    print("\n".join(listing()))
