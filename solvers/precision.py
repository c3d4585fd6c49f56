"""Round-off of a state: what a step-size control can resolve, and registers wide enough to add small steps in."""

from __future__ import annotations

from typing import Any

import numpy as np

from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.schedule import Node

_BITS = {"float16": 10, "bfloat16": 7, "float32": 23, "float64": 52}
"""Bits behind the binary point."""


def kind_of(x: Array) -> str:
    """``float32`` for NumPy's and for torch's."""
    return str(x.dtype).removeprefix("torch.")


def resolution(x: Array) -> float:
    """The distance of 1 to the next number of x's dtype; that of float64 where it is finer."""
    return 2.0 ** -_BITS.get(kind_of(x), 52)


def is_half(x: Array) -> bool:
    """Whether x has fewer digits than float32."""
    return resolution(x) > 2.0**-23


def widened(denoise: Denoiser, x: Array) -> tuple[Denoiser, Array]:
    """(denoiser, state) in float32 where x is in half precision; the network still sees the state's own dtype. Else as they are."""
    if not is_half(x):
        return denoise, x
    narrow = x.dtype
    if isinstance(x, np.ndarray):
        return _Wide(denoise, lambda y: y.astype(narrow), lambda y: y.astype(np.float32)), x.astype(np.float32)
    return _Wide(denoise, lambda y: y.to(narrow), lambda y: y.float()), x.float()


def narrowed(y: Array, x: Array) -> Array:
    """y in the dtype of x."""
    return y.astype(x.dtype) if isinstance(x, np.ndarray) else y.to(x.dtype)


class _Wide:
    """D of the rounded state, widened; parts of the batch as the denoiser has them."""

    def __init__(self, denoise: Denoiser, down: Any, up: Any) -> None:
        self.denoise, self.down, self.up = denoise, down, up
        self.pointwise = getattr(denoise, "pointwise", False)
        if hasattr(denoise, "take"):
            self.take = lambda rows: _Wide(denoise.take(rows), down, up)

    def __call__(self, y: Array, node: Node) -> Array:
        return self.up(self.denoise(self.down(y), node))
