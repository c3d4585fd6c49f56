"""Work as chains of tasks: what is known is not computed, what is computed is kept at once, and the order changes nothing.

A chain is a generator that yields a ``Task`` and is sent its row; what it asks next may depend on what it was told. Chains know nothing of
one another, so they run side by side on whatever engine there is (``engines``). Only this process writes: a row is in the store before its
chain goes on. Two chains that ask for one key wait for one computation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any, Protocol

from scorebed.toy.store.database import Store
from scorebed.toy.store.files import StoreError

Row = Mapping[str, Any]
Report = Callable[[int, int, str], Any]
TRIES = 3
"""How often a task is begun whose process dies."""


@dataclass(frozen=True)
class Task:
    """A row to be computed: ``call(*args)``, both of which can be pickled.

    Attributes:
        key: of the row, by ``key.key``.
        study: under which name it is kept; empty for a row that is not.
        label: what the progress bar says.
        arrays: whether the row is a mapping of arrays.
        counted: whether it is a row of the table, and not something on the way to one.
        modules: whose code must be the same wherever it is computed.
        also: keys of rows that would do as well.
    """

    key: str
    study: str
    call: Callable[..., Row]
    args: tuple[Any, ...]
    label: str = ""
    arrays: bool = False
    counted: bool = True
    modules: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


Chain = Generator[Task, Row, Any]


class Engine(Protocol):
    """Who computes: ``width`` tasks at once, on this machine where it is ``near``.

    ``deaths`` are the errors that say that a process died. ``watch`` is called while nothing comes back.
    """

    near: bool

    @property
    def width(self) -> int: ...
    @property
    def deaths(self) -> tuple[type[BaseException], ...]: ...
    def submit(self, task: Task) -> Future[Row]: ...
    def watch(self) -> None: ...


@dataclass
class Outcome:
    """What the chains returned, in their order, and how many of their rows were kept from before or made now."""

    values: list[Any]
    kept: int = 0
    made: int = 0


class Run:
    """Chains under way."""

    def __init__(
        self,
        chains: Sequence[Chain],
        store: Store | None,
        engine: Engine,
        report: Report | None = None,
        patience: float | None = None,
        order: Sequence[int] = (),
    ) -> None:
        self.chains, self.store, self.engine, self.report, self.patience = chains, store, engine, report, patience
        self.order = order or range(len(chains))
        self.outcome, self.done = Outcome([None] * len(chains)), 0
        self.flight: dict[Future[Row], Task] = {}
        self.waiting: dict[str, list[int]] = {}  # chains, by the key that they wait for
        self.arrays: dict[str, Row] = {}
        self.mine: set[str] = set()  # keys that are no news: made in this run, or counted as kept
        self.deaths: dict[str, int] = {}

    def all(self) -> Outcome:
        """Follow every chain to its end; what is finished when this is interrupted is kept."""
        chains = iter(self.order)
        try:
            self._start(chains)
            heard = time.monotonic()
            while self.flight:
                done, _ = wait(self.flight, timeout=5.0, return_when=FIRST_COMPLETED)
                if done:
                    heard = time.monotonic()
                elif self.patience is not None and time.monotonic() - heard > self.patience:
                    names = ", ".join(task.label for task in self.flight.values())
                    raise StoreError(f"no result for {self.patience:.0f} s of {names}: what was finished is kept")
                else:
                    self.engine.watch()
                for future in done:
                    self._collect(future)
                self._start(chains)
        except BaseException:
            for future, task in self.flight.items():
                if future.done() and not future.cancelled() and future.exception() is None:
                    self._keep(task, future.result())
            raise
        return self.outcome

    def _start(self, chains: Iterator[int]) -> None:
        width = self.engine.width
        while len(self.flight) < (2 * width if width > 1 else 1) and (i := next(chains, None)) is not None:
            self._proceed(i, None)

    def _proceed(self, i: int, row: Row | None) -> None:
        """Tell chain i its row, and follow it until it waits or ends."""
        while True:
            try:
                task = next(self.chains[i]) if row is None else self.chains[i].send(row)
            except StopIteration as end:
                self.outcome.values[i] = end.value
                self.done += 1
                self._say("")
                return
            self._say(task.label)
            row = self._known(task)
            if row is None:
                if task.key not in self.waiting:
                    self.flight[self.engine.submit(task)] = task
                self.waiting.setdefault(task.key, []).append(i)
                return

    def _known(self, task: Task) -> Row | None:
        if task.key in self.arrays:
            return self.arrays[task.key]
        if self.store is None or not task.study:
            return None
        read = self.store.arrays if task.arrays else self.store.get
        row = next((row for key in (task.key, *task.also) if (row := read(key)) is not None), None)
        if row is not None:
            self.outcome.kept += task.counted and task.key not in self.mine
            self.mine.add(task.key)
            if task.arrays:
                self.arrays[task.key] = row
        return row

    def _keep(self, task: Task, row: Row) -> None:
        self.outcome.made += task.counted
        self.mine.add(task.key)
        if task.arrays:
            self.arrays[task.key] = row
        if self.store is not None and task.study:
            put = self.store.put_arrays if task.arrays else self.store.put
            put(task.key, task.study, row)

    def _collect(self, future: Future[Row]) -> None:
        """Keep what a task came to, and go on with every chain that waits for it."""
        task = self.flight[future]
        try:
            row = future.result()
        except self.engine.deaths as died:
            self.deaths[task.key] = self.deaths.get(task.key, 0) + 1
            if self.deaths[task.key] >= TRIES:
                raise StoreError(f"{task.label}: the process that computed it died {TRIES} times; is the memory enough?") from died
            del self.flight[future]
            self.flight[self.engine.submit(task)] = task
            return
        self._keep(task, row)
        del self.flight[future]
        for i in self.waiting.pop(task.key):
            self._proceed(i, row)

    def _say(self, what: str) -> None:
        if self.report is not None:
            self.report(self.done, len(self.chains), what)


def run(chains: Sequence[Chain], store: Store | None, engine: Engine, report: Report | None = None) -> Outcome:
    """Follow every chain to its end.

    Args:
        store: where rows are kept; None keeps nothing.
        report: called with (chains done, chains in all, what is begun).

    Returns:
        the Outcome of all chains.

    Raises:
        StoreError: the store cannot be used, or the process of a task died again and again.
    """
    return Run(chains, store, engine, report).all()
