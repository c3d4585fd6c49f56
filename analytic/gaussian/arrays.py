"""What comes in and what goes back: states of any leading shape and float type, NumPy arrays or torch tensors, without importing torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from scorebed.solvers.model import Array


def _is_tensor(x: Any) -> bool:
    return hasattr(x, "detach") and hasattr(x, "new_tensor")


def to_numpy(x: Array, name: str = "x") -> np.ndarray:
    """``x`` as a real floating NumPy array of its own precision (integers become float64).

    Returns:
        array of the shape of x, in its own floating dtype or float64.

    Raises:
        TypeError: not an array of real numbers.
    """
    if _is_tensor(x):
        if not x.is_floating_point():
            raise TypeError(f"{name} has dtype {x.dtype}: give a tensor of a floating type")
        x = x.detach().cpu()
        return np.asarray(x.double().numpy() if x.element_size() < 4 else x.numpy())
    try:
        out = np.asarray(x)
        if out.dtype.kind not in "fiu":
            raise TypeError
        return out if out.dtype.kind == "f" else out.astype(np.float64)
    except (TypeError, ValueError) as problem:
        raise TypeError(f"{name} of type {type(x).__name__} is not an array of real numbers: give floats of shape (..., d)") from problem


def back(x: Array, out: np.ndarray) -> Array:
    """``out`` as the kind of array that ``x`` is: same library, device and float type."""
    if _is_tensor(x):
        return x.new_tensor(np.ascontiguousarray(out))
    dtype = getattr(x, "dtype", None)
    return out.astype(dtype, copy=False) if dtype is not None and np.dtype(dtype).kind == "f" and np.dtype(dtype).itemsize < 8 else out


def rows(x: Array, d: int) -> tuple[np.ndarray, Callable[[np.ndarray], Array]]:
    """States ``x`` of shape (..., d) as float64 rows (n, d), and the way back for results of shape (n, ...).

    Returns:
        (rows (n, d) float64, restore): restore takes (n, ...) back to the shape and kind of x.

    Raises:
        TypeError: not an array of real numbers.
        ValueError: the last dimension is not d.
    """
    given = to_numpy(x)
    if given.ndim == 0 or given.shape[-1] != d:
        raise ValueError(f"x has shape {given.shape}, but this law lives in {d} dimensions: give x of shape (..., {d})")
    lead = given.shape[:-1]
    flat = np.ascontiguousarray(given.reshape(-1, d), dtype=np.float64)

    def restore(out: np.ndarray) -> Array:
        return back(x, out.reshape(lead + out.shape[1:]))

    return flat, restore


def finite(name: str, values: Any, ndim: int | None = None) -> np.ndarray:
    """``values`` as a float64 array.

    Returns:
        float64 array of ``ndim`` dimensions, a copy, all entries finite.

    Raises:
        ValueError: not numbers, nan or inf among them, or another number of dimensions than ``ndim``.
    """
    try:
        out = np.array(to_numpy(values, name), dtype=np.float64)
    except TypeError as problem:
        raise ValueError(f"{name} must be an array of real numbers, got {type(values).__name__}") from problem
    if not np.all(np.isfinite(out)):
        raise ValueError(f"{name} holds {np.count_nonzero(~np.isfinite(out))} values that are nan or inf: give finite numbers")
    if ndim is not None and out.ndim != ndim:
        raise ValueError(f"{name} has shape {out.shape}: give {ndim} dimensions")
    return out
