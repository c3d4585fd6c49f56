"""Who computes tasks: this process, processes on all cores of this machine (joblib's loky), or a dask cluster.

Everywhere a task runs with one BLAS thread, so that its sums are added in one order and its row is the same to the bit whatever the engine,
the number of workers and the order.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from contextlib import contextmanager
from importlib import import_module

from threadpoolctl import ThreadpoolController, threadpool_limits

from scorebed.toy.store import code
from scorebed.toy.store.files import StoreError
from scorebed.toy.store.tasks import Engine, Row, Task
from scorebed.toy.store.versions import numerical

BACKENDS = ("local", "dask")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1")
_IDLE, _PATIENCE = 20, 60.0


def cores() -> int:
    """The cores that this process may use."""
    from joblib import cpu_count

    return int(cpu_count())


class Here:
    """This process, one task after the other."""

    width, near = 1, True
    deaths: tuple[type[BaseException], ...] = ()

    def __init__(self) -> None:
        self._loaded, self._pools = 0, ThreadpoolController()

    def submit(self, task: Task) -> Future[Row]:
        if len(sys.modules) != self._loaded:  # another library may have come with threads of its own
            self._loaded, self._pools = len(sys.modules), ThreadpoolController()
        future: Future[Row] = Future()
        with self._pools.limit(limits=1):
            future.set_result(task.call(*task.args))
        return future

    def watch(self) -> None: ...

    def stop(self) -> None: ...


class Processes:
    """``width`` processes of this machine, started by joblib's loky; each loads the modules ``ready`` at once, while this one goes on."""

    near = True

    def __init__(self, width: int, ready: Sequence[str] = ()) -> None:
        self.width, self.deaths, self._ready = width, (BrokenExecutor,), tuple(ready)
        self._start()

    def _start(self) -> None:
        from joblib.externals.loky import ProcessPoolExecutor

        how = {"timeout": _IDLE, "env": _ONE_THREAD, "initializer": _begin, "initargs": (self._ready,)}
        self._pool = ProcessPoolExecutor(self.width, **how)
        if self._ready:
            self._pool.submit(os.getpid)  # the first task starts all of them

    def submit(self, task: Task) -> Future[Row]:
        try:
            future: Future[Row] = self._pool.submit(task.call, *task.args)
        except BrokenExecutor:  # one of its processes died, and it took the others down
            self._start()
            future = self._pool.submit(task.call, *task.args)
        return future

    def watch(self) -> None: ...

    def stop(self) -> None:
        """End the processes, whatever they are at."""
        self._pool.shutdown(wait=True, kill_workers=True)


def _begin(ready: tuple[str, ...]) -> None:
    """Ctrl-C is for the process that the user sees; it ends its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ready:
        import_module(name)


class Cluster:
    """The workers of a dask scheduler, as many threads as they have; a worker that dies has its tasks done by another."""

    near = False

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client, KilledWorker
        except ModuleNotFoundError as absent:
            raise StoreError("dask is not installed: pip install 'scorebed[distributed]', here and on every worker") from absent
        try:
            self._client = Client(address, timeout=10, set_as_default=False)
        except (OSError, ValueError) as error:
            raise StoreError(f"no dask scheduler answers at {address!r}: {error}; start one by: dask scheduler") from error
        self.address, self._pool = address, self._client.get_executor(pure=False, retries=2)
        self.deaths, self._idle_since = (KilledWorker,), 0.0

    @property
    def width(self) -> int:
        return max(1, sum(self._client.nthreads().values()))

    def submit(self, task: Task) -> Future[Row]:
        future: Future[Row] = self._pool.submit(remotely, task, numerical(), code.digest(*task.modules))
        return future

    def watch(self) -> None:
        """Give up where no worker has been connected for a minute."""
        if self._client.status not in ("running", "connecting"):
            raise StoreError(f"the dask scheduler at {self.address} is gone: what was finished is kept")
        if self._client.nthreads():
            self._idle_since = 0.0
            return
        self._idle_since = self._idle_since or time.monotonic()
        if time.monotonic() - self._idle_since > _PATIENCE:
            raise StoreError(f"no worker is connected to {self.address}: start one by: dask worker {self.address} --nthreads 1")

    def stop(self) -> None:
        self._client.close()


def remotely(task: Task, versions: dict[str, str], digest: str) -> Row:
    """A task on a worker, if the worker computes with the same versions and the same code.

    Returns:
        the Row that the task computes.

    Raises:
        StoreError: it does not, and its rows would be kept under keys that are not theirs.
    """
    threadpool_limits(1)
    if versions != (mine := numerical()):
        other = ", ".join(f"{name} {mine[name]}, not {v}" for name, v in versions.items() if mine[name] != v)
        raise StoreError(f"a worker computes with other versions ({other}): install the same on all")
    if digest != code.digest(*task.modules):
        raise StoreError(f"a worker has other code than this process in {', '.join(task.modules)}: install the same scorebed on all")
    return task.call(*task.args)


@contextmanager
def engine(
    backend: str | Engine = "local",
    jobs: int | None = None,
    scheduler: str | None = None,
    chains: int | None = None,
    ready: Sequence[str] = (),
) -> Iterator[Engine]:
    """Who computes, for the time of a ``with``.

    Args:
        backend: ``local`` or ``dask``; or an engine that is open already, which stays open: all else is then its own.
        jobs: processes of this machine; None takes a process for each core, and 1 none but this one.
        scheduler: the address of a dask scheduler.
        chains: how many there are: no more processes than that are started.
        ready: names of modules that the processes of this machine load as they start.

    Raises:
        ValueError: an unknown backend, jobs below 1, or a scheduler that does not go with the backend.
        StoreError: dask is not installed, or nobody answers at the address.
    """
    if not isinstance(backend, str):
        yield backend
        return
    if backend not in BACKENDS:
        raise ValueError(f"backend = {backend!r} is not known: give one of {', '.join(BACKENDS)}")
    if (backend == "dask") != (scheduler is not None):
        raise ValueError(f"scheduler = {scheduler!r}, backend = {backend!r}: dask takes the address of a scheduler, local takes none")
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs = {jobs!r}: give at least 1 process")
    width = min(jobs or cores(), chains or 1 << 30)
    chosen = Cluster(scheduler) if scheduler is not None else Processes(width, ready) if width > 1 else Here()
    try:
        yield chosen
    finally:
        chosen.stop()
