"""Uniform numbers that are only ever compared: ``rand(...) < p`` is a choice between two values, and can be followed like any other.

What is done to such numbers besides one comparison with probabilities cannot: it raises ``Continuous``, and runs are counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Choose = Callable[[np.ndarray], np.ndarray]
_BELOW = {np.less: True, np.less_equal: True, np.greater: False, np.greater_equal: False}
_NAMES = {"lt": True, "le": True, "gt": False, "ge": False, "less": True, "less_equal": True, "greater": False, "greater_equal": False}
_HARMLESS = ("shape", "dtype", "device", "ndim", "dim", "size", "to", "is_floating_point", "__get__")


class Continuous(BaseException):
    """A uniform number was asked for, of which there are too many to follow."""


class Uniform(np.ndarray):
    """Uniform numbers of [0, 1) that have no value: compared once with an array, they say which are below it."""

    ask: Choose
    spent: bool

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        swapped = len(inputs) == 2 and inputs[1] is self
        other = inputs[0] if swapped else inputs[-1]
        if ufunc not in _BELOW or method != "__call__" or kwargs or isinstance(other, Uniform) or self.spent:
            raise Continuous
        self.spent = True
        return below(np.asarray(other), self.shape, self.ask) == (_BELOW[ufunc] != swapped)

    def __array_function__(self, *args: Any, **kwargs: Any) -> Any:
        raise Continuous

    def __getitem__(self, key: Any) -> Any:
        raise Continuous

    def __float__(self) -> float:
        raise Continuous


def uniform(shape: tuple[int, ...], dtype: Any, choose: Choose) -> Uniform:
    """Numbers for NumPy."""
    made = np.full(shape, np.nan, dtype).view(Uniform)
    made.ask, made.spent = choose, False
    return made


def below(p: np.ndarray, shape: tuple[int, ...], choose: Choose) -> np.ndarray:
    """Which of uniform numbers of this shape are below p; the answer is asked of ``choose``.

    Returns:
        booleans of this shape.

    Raises:
        Continuous: p does not have the shape of the numbers, so that one number is compared with several.
    """
    if np.broadcast_shapes(p.shape, shape) != shape:
        raise Continuous
    q = np.clip(np.broadcast_to(p, shape).astype(np.float64).ravel(), 0.0, 1.0)
    return np.asarray(choose(np.stack((1.0 - q, q), -1))).reshape(shape) == 1


def uniform_tensor(shape: tuple[int, ...], dtype: Any, choose: Choose) -> Any:
    """Numbers for torch."""
    import torch

    class UniformTensor(torch.Tensor):
        spent = False

        @classmethod
        def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = getattr(function, "__name__", "")
            if name in _HARMLESS:
                with torch._C.DisableTorchFunctionSubclass():
                    found = function(*args, **(kwargs or {}))
                return args[0] if name == "to" else found
            mine = [isinstance(a, UniformTensor) for a in args]
            if name.strip("_") not in _NAMES or len(args) != 2 or sum(mine) != 1 or args[mine.index(True)].spent:
                raise Continuous
            number, other = args if mine[0] else args[::-1]
            number.spent = True
            p = other.detach().cpu().numpy() if isinstance(other, torch.Tensor) else np.asarray(other)
            return torch.from_numpy(below(p, tuple(number.shape), choose) == (_NAMES[name.strip("_")] == mine[0]))

    return torch.full(shape, float("nan"), dtype=dtype).as_subclass(UniformTensor)
