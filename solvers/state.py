"""States as values: what may be one, and where it stops being finite."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from scorebed.solvers.memory import plain

Array = Any
"""A NumPy array, a torch tensor, or the tracer's linear form: whatever knows +, - and float *."""

State = Any
"""An ``Array``, or a tuple of them, one for each component of the process."""


def parts(value: State) -> tuple[Any, ...]:
    """The components of a state, a prediction or a draw, also where there is one, which stands bare."""
    return value if isinstance(value, tuple) else (value,)


def bare(values: tuple[Any, ...]) -> State:
    """The inverse of ``parts``."""
    return values[0] if len(values) == 1 else values


def alike(values: Any, x: Array) -> Array:
    """A NumPy array in the library, dtype and device of x."""
    return x.new_tensor(np.ascontiguousarray(values)) if hasattr(x, "new_tensor") else np.asarray(values).astype(x.dtype, copy=False)


class NonFinite(FloatingPointError, ValueError):
    """A nan or an infinity appeared. ``run`` holds what was computed before it, a ``solvers.Run``."""

    run: Any = None


def is_finite(a: State) -> bool:
    """Whether every entry is finite; one pass in the usual case, for NumPy and torch."""
    if isinstance(a, tuple):
        return all(map(is_finite, a))
    a = a.detach() if hasattr(a, "detach") else a
    with np.errstate(all="ignore"):  # the caller raises; a warning beside it says nothing more
        if math.isfinite(float(a.sum())):
            return True
        return bool((a - a == 0).all())  # a sum of finite numbers may overflow: look at each


def check_state(x: Array, name: str = "x") -> None:
    """Refuse what is not a finite floating-point array with at least one entry."""
    if not (hasattr(x, "shape") and hasattr(x, "dtype")):
        raise TypeError(f"{name} is a {type(x).__name__}: give a NumPy array or a torch tensor of shape (..., d)")
    plain(x, name)
    floating = x.is_floating_point() if hasattr(x, "is_floating_point") else x.dtype.kind == "f"
    if not floating:
        raise TypeError(f"{name} has dtype {x.dtype}: give a floating-point state, e.g. {name}.astype('float64')")
    if math.prod(x.shape) == 0 or len(x.shape) == 0:
        raise ValueError(f"{name} has shape {tuple(x.shape)}: give at least one sample, shape (..., d)")
    if not is_finite(x):
        raise NonFinite(f"{name} has nan or inf entries before the first step")


def check_like(value: Array, x: Array, what: str) -> None:
    """Refuse a value that is not an array of the state's own shape and dtype; shapes that would broadcast are refused too."""
    if not (hasattr(value, "shape") and hasattr(value, "dtype")):
        raise TypeError(f"{what} is a {type(value).__name__}, not an array of shape {tuple(x.shape)}")
    plain(value, what)
    if tuple(value.shape) != tuple(x.shape):
        raise ValueError(f"{what} has shape {tuple(value.shape)}, the state has {tuple(x.shape)}: they must be equal")
    if value.dtype != x.dtype:
        raise TypeError(f"{what} has dtype {value.dtype}, the state has {x.dtype}: they must be equal")


def check_alike(value: State, x: State, what: str) -> None:
    """Refuse a value that has not the state's components, or one of them of another shape or dtype."""
    if isinstance(value, tuple) and not isinstance(x, tuple):
        raise TypeError(f"{what} is a tuple, not an array of shape {tuple(x.shape)}")
    if isinstance(value, tuple) != isinstance(x, tuple) or len(parts(value)) != len(parts(x)):
        raise TypeError(f"{what} is {_said(value)}, the state is {_said(x)}: they must have the same components")
    for one, other in zip(parts(value), parts(x), strict=True):
        check_like(one, other, what)


def _said(value: State) -> str:
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else f"a {type(value).__name__}"
