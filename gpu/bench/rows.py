"""A measured ratio, and the shortest times of things done in turn."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Row:
    """A ratio ``value`` of what is ours and what it is held against; ``target`` is the largest (``least``: smallest) value wished for."""

    section: str
    what: str
    value: float
    unit: str = "×"
    target: float | None = None
    least: bool = False
    ours: float | None = None
    other: float | None = None

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value >= self.target if self.least else self.value <= self.target


def clock_of(device: torch.device) -> Callable[[], float]:
    """This thread's own time on one CPU thread, else the wall's."""
    return time.thread_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def seconds(works: Sequence[Callable[[], Any]], device: torch.device, repeats: int) -> list[float]:
    """The shortest time of each of the works, done in turn ``repeats`` times after one round that is not counted.

    With one CPU thread it is that thread's own time, so that other work on the machine counts as little as can be.

    Returns:
        the shortest time of each work, in seconds.
    """
    clock = clock_of(device)
    best = [math.inf] * len(works)
    for turn in range(repeats + 1):
        for i, work in enumerate(works):
            if device.type == "cuda":
                torch.cuda.synchronize()
            began = clock()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                best[i] = min(best[i], clock() - began)
    return best
