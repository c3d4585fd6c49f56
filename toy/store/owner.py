"""Whose results lie in a folder: a study never overwrites those of another unless it is told to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from scorebed.toy.store.files import StoreError, ready, replace_text
from scorebed.toy.store.versions import versions


def admit(folder: Path, results: str, about: str, lost: Callable[[Mapping[str, Any]], str], force: bool = False) -> None:
    """Refuse a folder where writing ``results`` would lose what is in it.

    Args:
        folder: where the study writes.
        results: the name of its table.
        about: the name of the file that says of which study the table is, JSON with ``arguments``.
        lost: given those arguments, what the new table would not have; empty where it has all of it.
        force: replace the table whatever it is.

    Raises:
        StoreError: the table would lose something, or nothing says what it is.
    """
    path = folder / results
    if force or not path.exists():
        return
    advice = "give another --out, or --force to replace it; rows stay in the store"
    try:
        arguments = json.loads((folder / about).read_text(encoding="utf-8"))["arguments"]
        why = lost(arguments)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise StoreError(f"{path} is there, and no {about} beside it says of which study: {advice}") from None
    if why:
        raise StoreError(f"{path} is of another study ({why}): {advice}")


def begin(folder: str | Path, results: str, about: str, arguments: Mapping[str, Any], force: bool = False) -> Path:
    """A folder that takes files and holds no other study than that of these arguments.

    Returns:
        the path of the folder for the study.

    Raises:
        StoreError: it takes nothing, or writing ``results`` would lose rows of another study.
    """
    made = ready(folder)
    admit(made, results, about, lambda old: missing(old, arguments), force)
    return made


_SHOWS = ("out", "figures", "dark", "purpose", "force", "fresh", "jobs", "backend", "scheduler")
"""Options that say how a study is made and shown, not what it is."""


def take(given: Mapping[str, Any], results: str) -> Callable[[], None]:
    """``begin`` for a command, of whose options ``given`` the study is made; what comes back signs the folder.

    Returns:
        function without arguments that signs the folder.

    Raises:
        StoreError: as ``begin``.
    """
    arguments = json.loads(json.dumps({name: value for name, value in given.items() if name not in _SHOWS}, default=str))
    about = f"{Path(results).stem}-about.json"
    return partial(sign, begin(given["out"], results, about, arguments, given["force"]), about, arguments)


def sign(folder: Path, about: str, arguments: Mapping[str, Any]) -> None:
    """Say of which study the results in a folder are."""
    replace_text(folder / about, json.dumps({"arguments": arguments, "versions": versions()}, indent=2) + "\n")


def missing(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What of the arguments ``old`` is not in ``new``: items of lists, and any other value that differs."""
    for name, value in old.items():
        other = new.get(name)
        if isinstance(value, list) and isinstance(other, list) and bool(value) == bool(other):
            gone = [item for item in value if item not in other]
            if gone:
                return f"{name} {', '.join(map(str, gone))}"
        elif value != other:
            return f"{name} {value}, not {other}"
    return ""
