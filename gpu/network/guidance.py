r"""Guidance of a network that takes (x, node, condition), in one batched call.

``solvers.guide`` has the rules and ``conditions.py`` the calls; ``gpu.wrap(network, …, null=…, guidance=w)`` is the same for a network with
a time of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scorebed.gpu.network.conditions import Conditions
from scorebed.gpu.network.wrap import linear
from scorebed.solvers.guide import Rule, Scale
from scorebed.solvers.schedule import Node


class Guided:
    """The guided denoiser of a network that takes a condition; ``take(rows)`` is that of a part of the batch. Made by ``guided``."""

    def __init__(self, network: Callable[..., Tensor], conditions: Conditions) -> None:
        self.network, self.conditions = network, conditions
        self.prediction = getattr(network, "prediction", "denoised")

    def __call__(self, x: Tensor, node: Node) -> Tensor:
        means = None if self.conditions.guidance.linear else (x, *linear(self.prediction, node))
        value = self.conditions(lambda y, condition: self.network(y, node, condition), x, node, means)
        return value.to(x.dtype) if torch.promote_types(x.dtype, torch.float32) != x.dtype else value  # formed in float32

    def take(self, rows: Any) -> Guided:
        """The guided denoiser of these samples of the batch."""
        return Guided(self.network, self.conditions.take(rows))


def guided(network: Callable[..., Tensor], condition: Any, unconditional: Any, scale: Rule | Scale, *, chunk: int | None = None) -> Guided:
    """A denoiser (x, node) that calls ``network(x, node, condition)`` once, on both halves of a batch of 2 B.

    Args:
        network: predicts from (x, node, condition), whichever prediction; what it is marked with (``solvers.predicts``) goes for the
            result.
        condition, unconditional: tensors (B, …), or with one row for all, or dicts, lists and tuples of them, of one structure. What is no
            tensor goes to the network as it is in ``condition``.
        scale: w, one w for each sample, a function of the node that gives either, or a rule of ``solvers.guide``.
        chunk: at most this many rows in a call, which bounds the memory.

    Returns:
        the Guided denoiser (x, node) -> E[x0 | x] of B samples.

    Raises:
        TypeError: a network that is not callable; conditions of different structure.
        ValueError: a scale that is nan or inf, or a chunk below 1.
    """
    if not callable(network):
        raise TypeError(f"network = {network!r} is not callable: give a function of (x, node, condition)")
    if unconditional is None:
        raise TypeError(f"the conditions differ in structure: {type(condition).__name__}, NoneType: give the unconditional half")
    return Guided(network, Conditions(condition, unconditional, scale, chunk))
