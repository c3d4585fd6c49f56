r"""Classifier-free guidance in one batched call of the network (arXiv:2207.12598, eq. 6, in the denoised form).

    D = D_u + w (D_c - D_u),

where both halves go through the network as one batch of 2 B. Every prediction of ``solvers.model`` is affine in D with the same
coefficients for both halves, so the formula is the same for eps, v, score and flow. w = 1 and w = 0 need one half only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scorebed.solvers.schedule import Node

Scale = float | Callable[[Node], float]


class Guided:
    """The guided denoiser of a network that takes a condition; ``take(rows)`` is that of a part of the batch. Made by ``guided``."""

    def __init__(self, network: Callable[..., Tensor], condition: Any, unconditional: Any, scale: Scale, chunk: int | None) -> None:
        self.network, self.condition, self.unconditional, self.scale, self.chunk = network, condition, unconditional, scale, chunk
        self.prediction = getattr(network, "prediction", "denoised")
        self.both = _map(lambda pair: torch.cat(pair), condition, unconditional)
        self._twice: Tensor | None = None

    def __call__(self, x: Tensor, node: Node) -> Tensor:
        w = float(self.scale(node)) if callable(self.scale) else self.scale
        n = x.shape[0]
        if w in (0.0, 1.0):
            return self._network(x, node, self.condition if w else self.unconditional)
        if self._twice is None or self._twice.shape[1:] != x.shape or (self._twice.dtype, self._twice.device) != (x.dtype, x.device):
            self._twice = x.new_empty((2, *x.shape))
        self._twice.copy_(x.expand_as(self._twice))
        value = self._network(self._twice.view(2 * n, *x.shape[1:]), node, self.both)
        if value.shape[0] != 2 * n:
            raise ValueError(f"network returned a batch of {value.shape[0]} for one of {2 * n}: guidance needs one result for each sample")
        return torch.lerp(value[n:], value[:n], w)

    def _network(self, x: Tensor, node: Node, condition: Any) -> Tensor:
        n, chunk = x.shape[0], self.chunk
        for leaf in _leaves(condition):
            if leaf.shape[0] != n:
                raise ValueError(f"a condition holds {leaf.shape[0]} samples for a batch of {n}: give one for each")
        if chunk is None or chunk >= n:
            return self.network(x, node, condition)
        out = torch.empty_like(x)
        for i in range(0, n, chunk):
            rows = slice(i, i + chunk)
            out[rows] = self.network(x[rows], node, _rows(condition, rows))
        return out

    def take(self, rows: slice) -> Guided:
        """The guided denoiser of these samples of the batch."""
        some, none = (_rows(tree, rows) for tree in (self.condition, self.unconditional))
        return Guided(self.network, some, none, self.scale, self.chunk)


def guided(network: Callable[..., Tensor], condition: Any, unconditional: Any, scale: Scale, *, chunk: int | None = None) -> Guided:
    """A denoiser (x, node) that calls ``network(x, node, condition)`` once, on both halves of a batch of 2 B.

    Args:
        network: predicts from (x, node, condition), whichever prediction; what it is marked with (``solvers.predicts``) goes for the
        result. condition, unconditional: tensors (B, …), or dicts, lists and tuples of them, of one structure. What is no tensor goes to
            the network as it is in ``condition``.
        scale: w, or a function of the node (guidance on an interval, arXiv:2404.07724).
        chunk: at most this many samples in a call, which bounds the memory.

    Raises:
        TypeError: a network that is not callable; conditions of different structure.
        ValueError: a scale that is nan or inf, or a chunk below 1.
    """
    if not callable(network):
        raise TypeError(f"network = {network!r} is not callable: give a function of (x, node, condition)")
    if not callable(scale):
        scale = float(scale)
        if not abs(scale) < float("inf"):
            raise ValueError(f"scale = {scale!r} must be finite")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk = {chunk!r}: give a number of samples, at least 1")
    return Guided(network, condition, unconditional, scale, chunk)


def _map(f: Callable[[list[Tensor]], Any], *trees: Any) -> Any:
    """f of the tensors that stand at the same place of the trees; what is no tensor is taken from the first."""
    first = trees[0]
    if any(type(tree) is not type(first) for tree in trees) and not all(isinstance(tree, Tensor) for tree in trees):
        raise TypeError(f"the conditions differ in structure: {', '.join(type(tree).__name__ for tree in trees)}")
    if isinstance(first, Tensor):
        return f(list(trees))
    if isinstance(first, dict):
        if any(tree.keys() != first.keys() for tree in trees):
            raise TypeError(f"the conditions differ in their keys: {[sorted(map(str, tree)) for tree in trees]}")
        return {key: _map(f, *(tree[key] for tree in trees)) for key in first}
    if type(first) in (list, tuple):
        if any(len(tree) != len(first) for tree in trees):
            raise TypeError(f"the conditions differ in length: {[len(tree) for tree in trees]}")
        return type(first)(_map(f, *some) for some in zip(*trees, strict=True))
    return first


def _rows(tree: Any, rows: slice) -> Any:
    """The conditions of some samples."""
    return _map(lambda leaf: leaf[0][rows], tree)


def _leaves(tree: Any) -> list[Tensor]:
    found: list[Tensor] = []
    _map(lambda leaf: found.append(leaf[0]), tree)
    return found
