"""Mending a peer in memory: its module compiled again from its own source with a few words replaced. Installed files are not touched."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from scorebed.toy.foreign import kdiffusion


def origin(module: str) -> Path:
    """The installed file of a module; ``k_diffusion.sampling`` is found without importing its package."""
    if module == "k_diffusion.sampling":
        return kdiffusion.origin()
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{module} is not installed", name=module.split(".")[0])
    return Path(spec.origin)


def line_of(module: str, words: str) -> int:
    """The line of the installed file where ``words`` first stand.

    Returns:
        the line number, counted from 1.

    Raises:
        LookupError: they are not there: another release, perhaps a mended one.
    """
    text = origin(module).read_text(encoding="utf-8")
    if words not in text:
        raise LookupError(f"{module} has no {words!r}: another release than the one that was read")
    return text[: text.index(words)].count("\n") + 1


@cache
def mended(module: str, *changes: tuple[str, str]) -> ModuleType:
    """The module with every ``(old, new)`` replaced, under a name of its own.

    Returns:
        the mended module, under a name of its own.

    Raises:
        LookupError: an ``old`` is not there.
    """
    text = origin(module).read_text(encoding="utf-8")
    for old, new in changes:
        if old not in text:
            raise LookupError(f"{module} has no {old!r}: another release than the one that was read")
        text = text.replace(old, new)
    if module == "k_diffusion.sampling":
        base = kdiffusion.sampling().__name__
    else:
        base = module
    name = f"{base}_mended_{abs(hash(changes)):x}"
    made = ModuleType(name)
    made.__package__ = base.rpartition(".")[0]
    made.__file__ = str(origin(module))
    sys.modules[name] = made
    exec(compile(text, made.__file__, "exec"), made.__dict__)
    return made
