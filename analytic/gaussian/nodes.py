"""What a law prepares at a node, kept for the next method or grid that comes by.

Grids of 10, 20, 40, … steps share their nodes, and so do methods on one grid; what a law works out of alpha and sigma there is the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_NUMBERS = 1 << 18  # parameters of a law, over all the nodes that it keeps


class Nodes(Generic[T]):
    """The newest preparations, by (alpha, sigma): so many that they hold no more numbers than a few states do. Empty in a copy."""

    def __init__(self, parameters: int) -> None:
        self.parameters, self.most = parameters, max(1, min(4096, _NUMBERS // max(1, parameters)))
        self.kept: OrderedDict[tuple[float, float], T] = OrderedDict()

    def __reduce__(self) -> Any:
        return Nodes, (self.parameters,)

    def at(self, alpha: float, sigma: float, make: Callable[[float, float], T]) -> T:
        """What ``make(alpha, sigma)`` gives, or gave."""
        found = self.kept.get((alpha, sigma))
        if found is None:
            found = self.kept[alpha, sigma] = make(alpha, sigma)
            while len(self.kept) > self.most:
                self.kept.popitem(last=False)
        return found
