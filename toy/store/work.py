"""Chains of tasks carried out: the store opened, the workers started, everything closed again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from scorebed.toy.store.database import Store, set_aside
from scorebed.toy.store.engines import engine
from scorebed.toy.store.tasks import Chain, Engine, Outcome, Report, Run


def work(
    chains: Sequence[Chain],
    where: str | Path | None = None,
    report: Report | None = None,
    *,
    fresh: bool = False,
    jobs: int | None = None,
    backend: str | Engine = "local",
    scheduler: str | None = None,
    patience: float | None = None,
    order: Sequence[int] = (),
) -> Outcome:
    """Follow every chain to its end; their rows are kept in a store, and what it has is not computed.

    Args:
        where: the folder or the file of the store; None keeps nothing.
        report: called with (chains done, chains in all, what is begun).
        fresh: begin a new store; the one that is there is set aside.
        jobs, backend, scheduler: who computes, as ``engines.engine`` says.
        patience: seconds without any row after which the rest is given up.
        order: in which the chains are begun, the dear ones first so that none is left for the end; nothing else depends on it.

    Returns:
        the Outcome: values of every chain, with counts of kept and made rows.

    Raises:
        ValueError: an engine that is not.
        StoreError: the store or the engine cannot be used, or patience is at its end.
    """
    with engine(backend, jobs, scheduler, len(chains)) as who:
        if fresh and where is not None:
            set_aside(where)
        with nullcontext() if where is None else Store(where) as store:
            return Run(chains, store, who, report, patience, order).all()
