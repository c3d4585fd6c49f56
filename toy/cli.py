"""The command ``scorebed``: what ``--help`` shows is all of it. Each command is a file of ``toy/commands``."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import scorebed.toy.commands as commands
from scorebed.toy.console import main

for _found in pkgutil.iter_modules(commands.__path__):
    import_module(f"scorebed.toy.commands.{_found.name}")

__all__ = ["main"]

if __name__ == "__main__":
    main()
