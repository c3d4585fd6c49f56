"""Problems and solvers on their way to another process, where each arrives once and keeps what it has worked out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Generic, TypeVar

import cloudpickle

from scorebed.solvers import SOLVERS, Solver

T = TypeVar("T")


@dataclass(frozen=True)
class Sent(Generic[T]):
    """A value that is pickled as it was made, without what it has cached, and unpickled to one object however often it comes."""

    value: T

    def __reduce__(self) -> Any:
        return _arrived, (_packed(self.value),)


@lru_cache(maxsize=256)
def _packed(value: Any) -> bytes:
    return cloudpickle.dumps(_plain(value) if isinstance(value, Solver) else replace(value))


@lru_cache(maxsize=256)
def _arrived(data: bytes) -> Sent[Any]:
    return Sent(cloudpickle.loads(data))


def _plain(solver: Solver) -> Solver:
    """A solver of this house goes by its name; any other by its parts, for the other process does not have it in its registry."""
    if SOLVERS.get(solver.name) is solver and solver.step.__module__.startswith("scorebed."):
        return solver
    return replace(solver, start=None if solver.start is None else _plain(solver.start))
