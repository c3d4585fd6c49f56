r"""What a network is told besides (x, time), sample by sample: conditions, both halves of guidance in one call, and calls of bounded size.

    F = rule(F_given, F_null)

with a rule of ``solvers.guide``; one that is not linear joins E[x0 | x] = a x + b F. Where it needs one half only, one is called.

Conditions are trees: tensors whose rows are the samples (one row goes for all), in dicts, lists and tuples; what is no tensor is handed
over as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scorebed.gpu.chunks import check_chunk, chunks
from scorebed.solvers.guide import CFG, Rule, Scale, rule_of
from scorebed.solvers.schedule import Node

Call = Callable[[Tensor, Any], Tensor]
"""The network at some rows of the state, with the conditions of these rows."""


@dataclass(frozen=True)
class Conditions:
    """``conditions(call, x, node)``: the prediction of ``call(x, given)``, guided where there is ``null``, at most ``chunk`` rows at once.

    Nothing is kept between calls, so that threads may share one; gradients go through.

    Attributes:
        given, null: trees of one structure with B rows, or one row for all; ``null=None``: no guidance.
        guidance: a rule of ``solvers.guide``, or a scale.
        chunk: the most rows that the network sees in a call.
    """

    given: Any = None
    null: Any = None
    guidance: Rule | Scale = 1.0
    chunk: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "chunk", check_chunk(self.chunk))
        object.__setattr__(self, "guidance", rule_of(self.guidance))
        if self.null is not None:
            tree_map(lambda leaves: None, self.given, self.null)
        elif not (isinstance(self.guidance, CFG) and isinstance(self.guidance.scale, float) and self.guidance.scale == 1.0):
            raise ValueError(f"guidance = {self.guidance!r} needs null, the conditions of the unconditional half")

    def __call__(self, call: Call, x: Tensor, node: Node, means: tuple[Tensor, Any, Any] | None = None) -> Tensor:
        """F at x.

        Args:
            means: (state, a, b) with E[x0 | state] = a state + b F, which a rule that is not linear needs.

        Returns:
            F at x as a tensor, guided where there is a rule, (n, …).

        Raises:
            ValueError: a rule that is not linear without ``means``.
        """
        n, rule = x.shape[0], self.guidance
        alone = 1.0 if self.null is None else rule.alone(node)
        if alone is not None:
            return self._calls(call, x, spread(self.given if alone else self.null, n, x.device))
        both = tree_map(torch.cat, *(spread(tree, n, x.device) for tree in (self.given, self.null)))
        value = self._calls(call, torch.cat((x, x)), both)
        value = value.to(torch.promote_types(value.dtype, torch.float32))
        given, null = value[:n], value[n:]
        if rule.linear:
            return rule(given, null, x, node)
        if means is None:
            raise ValueError(f"guidance = {rule!r} joins E[x0 | x], which this network's prediction does not tell: give a scale")
        state, a, b = means[0].to(value.dtype), means[1], means[2]
        base = a * state
        return (rule(base + b * given, base + b * null, state, node) - base) / b

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
        return replace(self, given=take_rows(self.given, rows), null=take_rows(self.null, rows), guidance=self.guidance.take(rows))


def tree_map(f: Callable[[list[Tensor]], Any], *trees: Any) -> Any:
    """f of the tensors that stand at the same place of the trees; what is no tensor is taken from the first.

    Returns:
        tree of the structure of the first, f's outputs as leaves.

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

    Returns:
        the tree with tensors of n rows on the device.

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
