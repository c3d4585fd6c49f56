"""A model and an array in one, so that a sampler shows which of the two it takes its first argument for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class Asked:
    """The model, and what it says of the first state, in one: whoever calls it is told, and so are those who take it for an array."""

    def __init__(self, model: Callable[..., Any], value: Any) -> None:
        self.model, self.value, self.calls, self.touched = model, value, 0, False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.model(*args, **kwargs)

    def _array(self) -> Any:
        self.touched = True
        return self.value

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return np.asarray(self._array(), *args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._array(), name)

    def __getitem__(self, key: Any) -> Any:
        return self._array()[key]

    def __add__(self, other: Any) -> Any:
        return self._array() + other

    def __sub__(self, other: Any) -> Any:
        return self._array() - other

    def __mul__(self, other: Any) -> Any:
        return self._array() * other

    def __rmul__(self, other: Any) -> Any:
        return other * self._array()

    def __truediv__(self, other: Any) -> Any:
        return self._array() / other

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*(a._array() if isinstance(a, cls) else a for a in args), **(kwargs or {}))
