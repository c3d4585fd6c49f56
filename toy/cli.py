"""The command ``scorebed``: what ``--help`` shows is all of it. Each command is a file of ``toy/commands``."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

import scorebed.toy.commands as commands
from scorebed.toy.console import main

for _found in pkgutil.iter_modules(commands.__path__):
    import_module(f"scorebed.toy.commands.{_found.name}")

PANELS = {
    "Which method?": ("advise", "tune", "solvers", "study", "schedules", "transfer", "sample"),
    "Is it right?": ("check", "check-grid", "peers", "museum", "claims", "mutants", "doctor", "vectors", "conform"),
    "Whose is the error?": ("budget", "law", "stability", "trajectories", "likelihood", "learned"),
    "Other kinds of sampler": ("posterior", "guided", "discrete", "maps", "cache"),
    "Results and speed": ("results", "report", "bench"),
}
"""The commands by what somebody comes for, in the order of ``--help``."""


def _arrange() -> None:
    """Give every command its panel, and its place in it."""
    place = {name: (panel, i) for i, (panel, name) in enumerate((p, n) for p, names in PANELS.items() for n in names)}
    for group in (main.registered_commands, main.registered_groups):
        for one in group:
            one.rich_help_panel = place.get(_name(one), ("Others", 0))[0]
        group.sort(key=lambda one: place.get(_name(one), ("Others", len(place)))[1])


def _name(one: Any) -> str:
    return str(one.name or (one.callback.__name__ if getattr(one, "callback", None) else one.typer_instance.info.name))


_arrange()
__all__ = ["main"]

if __name__ == "__main__":
    main()
