"""A limit of time around other people's code, and what it did written down instead of raised."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class TooLong(Exception):
    """The code did not return in time."""


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raise ``TooLong`` after ``seconds`` of the process's own time, so that a busy machine makes no hang of a slow run.

    A loop without end uses that time; it is what peers hang in. Works in the main thread of a process, where the workers run.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "ITIMER_PROF"):
        yield
        return

    def stop(*_: Any) -> None:
        raise TooLong(f"no result after {seconds:g} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings and no NumPy floating-point errors of the code inside: its results are looked at instead."""
    import numpy as np

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def said(error: BaseException) -> str:
    """An exception in one short line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:110]}" + ("…" if len(text) > 110 else "")
