"""The command ``scorebed``: what ``--help`` shows is all of it. Each command is a file of ``toy/commands``."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import toy.commands
from toy.console import main

for _found in pkgutil.iter_modules(toy.commands.__path__):
    import_module(f"toy.commands.{_found.name}")

__all__ = ["main"]

if __name__ == "__main__":
    main()
