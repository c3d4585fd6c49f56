"""Running somebody's code so that it cannot hang us: in a thread, with a time limit, and stopped where it runs on."""

from __future__ import annotations

import ctypes
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Stopped(BaseException):
    """Raised inside a run that was given up. Not an ``Exception``, so that a broad ``except`` does not swallow it."""


@dataclass
class Result:
    """What a guarded call did: ``value``, or ``error``, or neither where it did not come back in time."""

    value: Any = None
    error: BaseException | None = None
    hung: bool = False


def guarded(call: Callable[[], Any], seconds: float) -> Result:
    """Call it, for at most ``seconds``. A run that is given up is stopped at its next line of Python."""
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

    thread = threading.Thread(target=work, daemon=True, name="scorebed check")
    thread.start()
    if done.wait(seconds):
        thread.join(1.0)
        return result
    for _ in range(20):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Stopped))
        if done.wait(0.1):
            break
    return Result(hung=True)
