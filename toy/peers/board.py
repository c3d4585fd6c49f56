"""Running the scoreboard: every entry once, in parallel, each result on disk the moment it is known, and none computed twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scorebed.toy.peers.entries import entries
from scorebed.toy.peers.entry import Entry
from scorebed.toy.peers.faces import DISTRIBUTIONS, LIBRARIES, PACKAGES
from scorebed.toy.store import code
from scorebed.toy.store.files import StoreError
from scorebed.toy.store.key import key
from scorebed.toy.store.tasks import Chain, Task
from scorebed.toy.store.versions import versions
from scorebed.toy.store.work import work

MEASURING = "scorebed.toy.peers.measure"

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
            f"not installed: {', '.join(missing)}. Install the extra: pip install -c constraints.txt 'scorebed[peers]'; and those that ask "
            "for far more than their samplers use: pip install --no-deps -c constraints.txt azula k-diffusion, or sbi, deepinv, "
            "nvidia-physicsnemo (with jaxtyping, tensordict), skrample (Python 3.12)"
        )


def peer_versions() -> dict[str, str]:
    """Versions of everything that a result depends on."""
    return versions(("scorebed", "numpy", "scipy", "torch", *(DISTRIBUTIONS.get(name, name) for name in LIBRARIES)))


def key_of(entry: Entry, quick: bool) -> str:
    """The key of an entry's result: the code that measures, the versions, and the entry with its options."""
    return key(entry=entry, quick=quick, code=code.digest(MEASURING), versions=peer_versions())


def measured(library: str, name: str, quick: bool, wanted: dict[str, str]) -> dict[str, Any]:
    """Measure one entry; PyTorch with one thread.

    Returns:
        the measured row, by column.

    Raises:
        StoreError: this process has other versions than those that the result is kept under.
    """
    import torch

    if wanted != (mine := peer_versions()):
        other = ", ".join(f"{k} {mine.get(k)}, not {v}" for k, v in wanted.items() if mine.get(k) != v)
        raise StoreError(f"a worker has other versions ({other}): install the same on all")

    from scorebed.toy.peers.measure import measure

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        silence()
        return measure(next(e for e in entries(library) if e.name == name), quick)
    finally:
        torch.set_num_threads(threads)


def chain(entry: Entry, quick: bool) -> Chain:
    """The result of an entry; a thorough one that is known does for a quick one."""
    also, args = (key_of(entry, False),) if quick else (), (entry.library, entry.name, quick, peer_versions())
    return (yield Task(key_of(entry, quick), "peers", measured, args, entry.name, modules=(MEASURING,), also=also))


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
    jobs: int | None = 2,
    only: Callable[[Entry], bool] = lambda _: True,
    **how: Any,
) -> list[dict[str, Any]]:
    """All results, in the order of the scoreboard. What an earlier, interrupted run measured is taken from the store of the folder;
    ``how`` is that of ``store.work.work``.

    Returns:
        one dict for each entry of the scoreboard, in its order.

    Raises:
        MissingPeer: a library is not installed.
        ValueError: an unknown library.
    """
    unknown = [name for name in libraries if name not in LIBRARIES]
    if unknown:
        raise ValueError(f"library = {unknown[0]!r} is not known: give one of {', '.join(PACKAGES)}")
    check_installed(libraries)
    wanted = [e for name in libraries for e in entries(name) if only(e)]
    wait = None if jobs == 1 else STALE_AFTER  # one process has nobody to watch it but its own limits
    return [dict(row) for row in work([chain(e, quick) for e in wanted], folder, report, jobs=jobs, patience=wait, **how).values]
