r"""What a network is told besides (x, time), sample by sample: conditions, classifier-free guidance, and calls of bounded size.

    F = F_null + w (F_given - F_null)          (arXiv:2207.12598, eq. 6; w = 1 + the w there)

with both halves in one call. Every prediction of ``solvers.model`` is affine in D with the same coefficients for both halves, so that the
formula is the same for eps, v, score, flow and D. w = 0 and w = 1 need one half only.

Conditions are trees: tensors whose rows are the samples (one row goes for all), in dicts, lists and tuples; what is no tensor is handed
over as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scorebed.gpu.chunks import check_chunk, chunks
from scorebed.solvers.schedule import Node

Scale = float | Tensor | Callable[[Node], Any]
"""w: a number, one for each sample, or a function of the node that gives either (an interval of guidance, arXiv:2404.07724)."""
Call = Callable[[Tensor, Any], Tensor]
"""The network at some rows of the state, with the conditions of these rows."""


@dataclass(frozen=True)
class Conditions:
    """``conditions(call, x, node)``: the prediction of ``call(x, given)``, guided where there is ``null``, at most ``chunk`` rows at once.

    Nothing is kept between calls, so that threads may share one; gradients go through.

    Attributes:
        given, null: trees of one structure with B rows, or one row for all; ``null=None``: no guidance.
        scale: w.
        chunk: the most rows that the network sees in a call.
    """

    given: Any = None
    null: Any = None
    scale: Scale = 1.0
    chunk: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "chunk", check_chunk(self.chunk))
        if self.null is not None:
            tree_map(lambda leaves: None, self.given, self.null)
        if not callable(self.scale):
            object.__setattr__(self, "scale", scale_of(self.scale))
        if self.null is None and not (isinstance(self.scale, float) and self.scale == 1.0):
            raise ValueError(f"guidance = {self.scale!r} needs null, the conditions of the unconditional half")

    def __call__(self, call: Call, x: Tensor, node: Node) -> Tensor:
        n = x.shape[0]
        w = 1.0 if self.null is None else self.scale
        if callable(w):
            w = scale_of(w(node))
        if isinstance(w, float) and w in (0.0, 1.0):
            return self._calls(call, x, spread(self.given if w else self.null, n, x.device))
        both = tree_map(torch.cat, *(spread(tree, n, x.device) for tree in (self.given, self.null)))
        value = self._calls(call, torch.cat((x, x)), both)
        value = value.to(torch.promote_types(value.dtype, torch.float32))
        if isinstance(w, Tensor):
            if w.shape[0] not in (1, n):
                raise ValueError(f"guidance has {w.shape[0]} scales for a batch of {n}: give one for each sample, or a number")
            w = w.to(value).view(-1, *[1] * (value.ndim - 1))
        return torch.lerp(value[n:], value[:n], w)

    def _calls(self, call: Call, x: Tensor, tree: Any) -> Tensor:
        """The network on all rows."""
        n = x.shape[0]
        parts = [(x[rows], take_rows(tree, rows)) for rows in chunks(n, self.chunk)] if self.chunk and self.chunk < n else [(x, tree)]
        values = []
        for y, some in parts:
            value = call(y, some)
            if value.shape[:1] != y.shape[:1]:
                raise ValueError(
                    f"network returned a batch of {tuple(value.shape)[:1]} for one of {y.shape[0]}: give one result per sample"
                )
            values.append(value)
        return values[0] if len(values) == 1 else torch.cat(values)

    def take(self, rows: Any) -> Conditions:
        """The conditions of these samples of the batch: a slice, a mask or positions."""
        scale = take_rows(self.scale, rows) if isinstance(self.scale, Tensor) else self.scale
        return replace(self, given=take_rows(self.given, rows), null=take_rows(self.null, rows), scale=scale)


def scale_of(w: Any) -> float | Tensor:
    """A guidance scale as a float, or as a vector of one for each sample.

    Raises:
        TypeError: neither a number nor a vector.
        ValueError: nan or inf.
    """
    if isinstance(w, Tensor | np.ndarray | list | tuple) and (vector := torch.as_tensor(w)).ndim > 0:
        if vector.ndim != 1 or vector.dtype.is_complex or vector.dtype == torch.bool:
            raise TypeError(f"guidance has shape {tuple(vector.shape)}: give a number, or a vector of one for each sample")
        if not bool(torch.isfinite(vector).all()):
            raise ValueError("guidance has nan or inf entries: every scale must be finite")
        return vector
    try:
        value = float(w)
    except (TypeError, ValueError):
        raise TypeError(f"guidance = {w!r}: give a number, or a vector of one for each sample") from None
    if not math.isfinite(value):
        raise ValueError(f"guidance = {w!r} must be finite")
    return value


def tree_map(f: Callable[[list[Tensor]], Any], *trees: Any) -> Any:
    """f of the tensors that stand at the same place of the trees; what is no tensor is taken from the first.

    Raises:
        TypeError: trees of different structure.
    """
    first = trees[0]
    if isinstance(first, Mapping) and all(isinstance(tree, Mapping) for tree in trees):
        if any(tree.keys() != first.keys() for tree in trees):
            raise TypeError(f"the conditions differ in their keys: {[sorted(map(str, tree)) for tree in trees]}")
        return {key: tree_map(f, *(tree[key] for tree in trees)) for key in first}
    if any(type(tree) is not type(first) for tree in trees) and not all(isinstance(tree, Tensor) for tree in trees):
        raise TypeError(f"the conditions differ in structure: {', '.join(type(tree).__name__ for tree in trees)}")
    if isinstance(first, Tensor):
        return f(list(trees))
    if type(first) in (list, tuple):
        if any(len(tree) != len(first) for tree in trees):
            raise TypeError(f"the conditions differ in length: {[len(tree) for tree in trees]}")
        return type(first)(tree_map(f, *some) for some in zip(*trees, strict=True))
    return first


def spread(tree: Any, n: int, device: torch.device) -> Any:
    """The tree on the device, with n rows.

    Raises:
        ValueError: a tensor with neither n rows nor one.
    """

    def rows(leaf: list[Tensor]) -> Tensor:
        value = leaf[0]
        if value.ndim == 0 or value.shape[0] not in (1, n):
            held = f"holds {value.shape[0]} samples" if value.ndim else "has no rows"
            raise ValueError(
                f"a condition {held} for a batch of {n}: give a tensor with {n} rows, one for each sample, or with one for all"
            )
        value = value.to(device)
        return value if value.shape[0] == n else value.expand(n, *value.shape[1:])

    return tree_map(rows, tree)


def take_rows(tree: Any, rows: Any) -> Any:
    """The conditions of some samples; one row for all stays."""
    pick = torch.as_tensor(rows) if isinstance(rows, np.ndarray | list | tuple) else rows

    def taken(leaf: list[Tensor]) -> Tensor:
        value = leaf[0]
        if value.ndim == 0 or value.shape[0] == 1:
            return value
        return value[pick.to(value.device) if isinstance(pick, Tensor) else pick]

    return tree_map(taken, tree)
