"""A module of an installed package without what the package imports for its other purposes.

Many a package imports at its top all that it can do: weights, plots, image codecs. Its samplers need a few files of it. Those are imported
with empty packages above them, so that their own imports find their neighbours and nothing else runs. Who imports the package afterwards
gets the whole of it.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
from pathlib import Path
from types import ModuleType


def bare(module: str) -> ModuleType:
    """Import ``module`` with the packages above it empty, for as long as that takes; those that are imported already stay as they are.

    Args:
        module: full name, ``"deepinv.sampling.sde_solver"``.

    Returns:
        the module.

    Raises:
        ModuleNotFoundError: the package, or something that the module itself needs, is not installed.
    """
    parts = module.split(".")[:-1]
    names = [".".join(parts[: i + 1]) for i in range(len(parts))]
    hollow = {name: _empty(name) for name in names if name not in sys.modules}
    sys.modules.update(hollow)
    try:
        return importlib.import_module(module)
    finally:
        for name, empty in hollow.items():
            if sys.modules.get(name) is empty:
                del sys.modules[name]


def place(package: str) -> Path | None:
    """The folder of an installed top package, found without importing it."""
    spec = importlib.machinery.PathFinder.find_spec(package)
    return None if spec is None or not spec.submodule_search_locations else Path(next(iter(spec.submodule_search_locations)))


def _empty(name: str) -> ModuleType:
    first, *rest = name.split(".")
    folder = place(first)
    if folder is None:
        raise ModuleNotFoundError(f"{first} is not installed", name=first)
    empty = ModuleType(name)
    empty.__path__ = [str(folder.joinpath(*rest))]
    return empty
