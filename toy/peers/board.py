"""Running the scoreboard: every entry once, in parallel, each result on disk the moment it is known, and none computed twice."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scorebed.toy.peers.entries import PACKAGES, entries
from scorebed.toy.peers.entry import LIBRARIES, Entry
from scorebed.toy.store.files import replace_text
from scorebed.toy.store.versions import versions

STALE_AFTER = 600.0
"""Seconds without any result after which the rest is given up."""


class MissingPeer(RuntimeError):
    """A library of the scoreboard is not installed."""


def check_installed(libraries: Sequence[str] = LIBRARIES) -> None:
    """Refuse, naming the extra, where a library or torch is missing.

    Raises:
        MissingPeer: with what to install.
    """
    missing = [name for name in libraries if find_spec(PACKAGES[name]) is None]
    if find_spec("torch") is None:
        missing.insert(0, "torch")
    if missing:
        raise MissingPeer(
            f"not installed: {', '.join(missing)}. Install the extra: pip install -c constraints.txt 'scorebed[peers]'; and k-diffusion "
            "and azula, which ask for far more than their samplers use: pip install --no-deps -c constraints.txt azula k-diffusion"
        )


def peer_versions() -> dict[str, str]:
    """Versions of everything that a result depends on."""
    return versions(("scorebed", "numpy", "scipy", "torch", "diffusers", "k-diffusion", "azula", "torchsde"))


@cache
def _stamp() -> str:
    """A digest of the code that measures, and of the versions."""
    toy = Path(__file__).parents[1]
    of_measure = ("convergence", "order", "sampler", "settings", "targets", "manners")
    measuring = [toy / "peers" / "measure.py", *sorted((toy / "foreign").glob("*.py")), *(toy / "measure" / f"{m}.py" for m in of_measure)]
    text = "".join(_bare(path.read_text(encoding="utf-8")) for path in measuring)
    return hashlib.sha256((text + json.dumps(peer_versions(), sort_keys=True)).encode()).hexdigest()[:16]


def _bare(source: str) -> str:
    """What of a file computes: without layout, comments and docstrings."""
    tree = ast.parse(source)
    for part in ast.walk(tree):
        if isinstance(part, ast.Module | ast.ClassDef | ast.FunctionDef):
            part.body = [line for line in part.body if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))]
    return ast.dump(tree)


def stamp(entry: Entry) -> str:
    """What a result depends on: the code that measures, the versions, and the entry's options. Another stamp is measured again."""
    peer = entry.peer
    return f"{_stamp()} {peer.name} {dict(peer.options)} {dict(peer.step)} {entry.weak} {entry.order}"


def _file(folder: Path, entry: Entry) -> Path:
    return folder / "entries" / f"{entry.key}.json"


def _known(folder: Path, entry: Entry, quick: bool) -> dict[str, Any] | None:
    """A result of this code and these versions, at least as thorough as wanted."""
    path = _file(folder, entry)
    if not path.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError:
        return None
    fits = found.get("stamp") == stamp(entry) and (quick or not found.get("quick"))
    return found if fits else None


def _one(library: str, name: str, folder: Path, quick: bool) -> dict[str, Any]:
    """Measure one entry in a worker and write it."""
    import torch

    from scorebed.toy.peers.measure import measure

    torch.set_num_threads(1)
    silence()
    entry = next(e for e in entries(library) if e.name == name)
    found = measure(entry, quick) | {"stamp": stamp(entry), "quick": quick}
    path = _file(folder, entry)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps(found, indent=1) + "\n")
    return found


def silence() -> None:
    """No logging of diffusers: its results are looked at instead."""
    if find_spec("diffusers") is not None:
        from diffusers.utils import logging

        logging.set_verbosity_error()


def run_board(
    folder: Path,
    libraries: Sequence[str] = LIBRARIES,
    quick: bool = False,
    report: Callable[[int, int, str], None] = lambda *_: None,
    jobs: int = 2,
    only: Callable[[Entry], bool] = lambda _: True,
) -> list[dict[str, Any]]:
    """All results, in the order of the scoreboard. What an earlier, interrupted run measured is taken from its files.

    Raises:
        MissingPeer: a library is not installed.
        ValueError: an unknown library.
    """
    unknown = [name for name in libraries if name not in LIBRARIES]
    if unknown:
        raise ValueError(f"library = {unknown[0]!r} is not known: give one of {', '.join(PACKAGES)}")
    check_installed(libraries)
    from joblib import Parallel, delayed

    wanted = [e for name in libraries for e in entries(name) if only(e)]
    results = {e.key: found for e in wanted if (found := _known(folder, e, quick)) is not None}
    todo = [e for e in wanted if e.key not in results]
    report(len(results), len(wanted), "")
    if todo:
        workers = min(jobs, len(todo))
        wait = STALE_AFTER if workers > 1 else None  # one process has nobody to watch it but its own limits
        parallel = Parallel(n_jobs=workers, return_as="generator_unordered", timeout=wait, batch_size=1)
        calls = (delayed(_one)(e.library, e.name, folder, quick) for e in todo)
        keys = {(e.library, e.name): e.key for e in todo}
        for found in parallel(calls):
            results[keys[found["library"], found["name"]]] = found
            report(len(results), len(wanted), found["name"])
    return [results[e.key] for e in wanted]
