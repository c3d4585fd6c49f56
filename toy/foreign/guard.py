"""Running somebody's code so that it cannot hang us: in a thread, with a limit of its own time, and stopped where it runs on."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_OURS = tuple(str(Path(__file__).resolve().parents[2] / room) + os.sep for room in ("analytic", "gpu", "solvers", "toy"))
_IDLE = 10.0
"""A call that waits instead of computing is given up after this many times its limit."""


class Stopped(BaseException):
    """Raised inside a run that was given up. Not an ``Exception``, so that a broad ``except`` does not swallow it."""


class TooLong(RuntimeError):
    """A call did not come back in time."""


@dataclass
class Result:
    """What a guarded call did: ``value``, or ``error``, or neither where it did not come back in time."""

    value: Any = None
    error: BaseException | None = None
    hung: bool = False


def guarded(call: Callable[[], Any], seconds: float) -> Result:
    """Call it, for at most ``seconds`` of its own computing time, so that a busy machine makes no hang of a slow run.

    A run that is given up is stopped at its next line of Python.

    Returns:
        the Result: what came back, what was raised, or ``hung``.
    """
    result, done = Result(), threading.Event()

    def work() -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result.value = call()
        except BaseException as error:  # whatever it raises is the answer
            result.error = error
        finally:
            done.set()

    thread = threading.Thread(target=work, daemon=True, name="scorebed guard")
    thread.start()
    began = time.monotonic()
    try:
        while not done.wait(min(0.05, seconds)):
            waited = time.monotonic() - began
            if waited > seconds and _spent(thread, waited) > seconds:
                break
        else:
            thread.join(1.0)
            return result
    except BaseException:
        _stop(thread, done)
        raise
    _stop(thread, done)
    return Result(hung=True)


def _spent(thread: threading.Thread, waited: float) -> float:
    """Seconds that the thread has computed; where the platform does not tell, or it only waits, those that passed."""
    if not hasattr(time, "pthread_getcpuclockid") or thread.ident is None or not thread.is_alive():
        return waited
    return max(time.clock_gettime(time.pthread_getcpuclockid(thread.ident)), waited / _IDLE)


def _stop(thread: threading.Thread, done: threading.Event) -> None:
    for _ in range(20):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Stopped))
        if done.wait(0.1):
            return


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """The value of a call, or what it raises.

    Returns:
        the value of ``call``.

    Raises:
        TooLong: it took longer.
    """
    with quiet():
        result = guarded(call, seconds)
    if result.hung:
        raise TooLong(f"no result after {seconds:g} s")
    if result.error is not None:
        raise result.error
    return result.value


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings of the code inside: its results are looked at instead."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def said(error: BaseException, most: int = 110) -> str:
    """An exception in one short line, with the place in somebody else's code where it was raised."""
    text = " ".join(str(error).split())
    place = where(error)
    return f"{type(error).__name__}: {text[:most]}" + ("…" if len(text) > most else "") + (f" at {place}" if place else "")


def where(error: BaseException) -> str:
    """file:line of the innermost frame that is neither ours nor an installed package's, or ""."""
    installed = (*_OURS, sys.prefix + os.sep, sys.base_prefix + os.sep)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = os.path.realpath(frame.filename)
        if os.path.exists(path) and not path.startswith(installed):
            return f"{os.path.relpath(path) if path.startswith(os.getcwd() + os.sep) else path}:{frame.lineno}"
    return ""
