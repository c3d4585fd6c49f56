r"""A noise level for each sample: B samples, each on a grid of its own, one call of the network for all.

The method is unrolled on every grid. Where that gives the same operations with other numbers, they are walked once with a column of
coefficients for each sum, and the i-th evaluation asks the network for the nodes that the samples have there. Where it does not, or where
the method has no Plan, the samples of each grid are run by themselves. Either way sample i is what it is alone.

A network made by ``gpu.wrap`` is asked once, with times by row. Any other denoiser knows one node at a time: it is asked for the samples
at each node, by ``take(rows)`` where it has that, else with the whole batch, of which these rows are taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scorebed.gpu.noise import Brownian
from scorebed.solvers.base import Solver
from scorebed.solvers.model import denoiser
from scorebed.solvers.noise import BrownianNoise, fresh_seed
from scorebed.solvers.noise.by_sample import NoiseBySample
from scorebed.solvers.plan import Combine, Draw, Evaluate, Plan
from scorebed.solvers.plan.tape import trace
from scorebed.solvers.schedule import Node
from scorebed.solvers.state import NonFinite, check_like, check_state, is_finite


@torch.no_grad()
def run_by_sample(
    alone: Any,
    method: Any,
    denoise: Any,
    x: Any,
    grids: Sequence[Sequence[Node]],
    *,
    noise: Any,
    terminal: str,
    prediction: str,
    index: Any,
    check: str,
) -> Tensor:
    """``gpu.run`` with a grid for each sample; arguments and errors as there, ``alone`` is ``gpu.run`` itself.

    Returns:
        samples at the last node of each grid, a tensor (B, …).

    Raises:
        ValueError: another number of grids than samples, or grids of different length.
        NonFinite: nan or inf, where ``check`` looks for it.
    """
    if not isinstance(method, Solver):
        raise ValueError("a grid for each sample needs a Solver: a Plan has one grid, for all")
    check_state(x)
    given = [tuple(grid) for grid in grids]
    if len(given) != x.shape[0] or len({len(grid) for grid in given}) != 1:
        lengths = sorted({len(grid) for grid in given})
        raise ValueError(f"{len(given)} grids of {lengths} nodes for {x.shape[0]} samples: give one for each, all of one length")
    model = denoise if prediction == "denoised" else denoiser(denoise, prediction)
    distinct = (
        {grid: trace(method, grid, terminal) for grid in dict.fromkeys(given)}
        if method.nonlinear is None and method.takes == "denoised"
        else {}
    )
    if len({_shape(plan) for plan in distinct.values()}) != 1:
        return _grid_by_grid(alone, method, model, x, given, _noise(noise, index, x), terminal, check)
    plans = [distinct[grid] for grid in given]
    source = _noise(noise, index, x) if plans[0].stochastic else None
    wide = torch.promote_types(x.dtype, torch.float32)
    live: dict[int, Tensor] = {0: x.detach().clone()}
    seen: list[Tensor] = []
    for made, *ops in zip(plans[0].made, *(plan.ops for plan in plans), strict=True):
        first = ops[0]
        if isinstance(first, Evaluate):
            live[made[0]] = _evaluate(model, live[first.source], [op.node for op in ops])
        elif isinstance(first, Draw):
            live[made[0]] = _draw(source, [(op.s, op.t) for op in ops], x)
        else:
            live[made[0]] = _combine([dict(op.terms) for op in ops], live, wide, x)
        if check == "step" and not is_finite(live[made[0]]):
            raise NonFinite(f"{method.name}: the result of operation {made[0]} has nan or inf entries")
        if made[0] in plans[0].states:
            seen.append(torch.isfinite(live[made[0]]).all())
        for register in [r for r in live if plans[0].last_use.get(r, -1) < made[0]]:
            del live[register]
    result = live[plans[0].result]
    if check != "none" and not (is_finite(result) and all(map(bool, seen))):
        raise NonFinite(f"the result or a state of {method.name} has nan or inf entries")
    return result.clone()


def _grid_by_grid(alone: Any, method: Solver, model: Any, x: Tensor, grids: list[Any], source: Any, terminal: str, check: str) -> Tensor:
    """The samples of each grid by themselves."""
    out = torch.empty_like(x)
    for grid, rows in _groups(grids).items():
        part = model.take(rows) if hasattr(model, "take") else _Among(model, x, rows)
        noise = source.take(np.array(rows))
        out[rows] = alone(method, part, x[rows], list(grid), noise=noise, terminal=terminal, check=check)
    return out


class _Among:
    """The denoiser of some rows of a batch that has no ``take``: the others stay where they are."""

    def __init__(self, denoise: Any, x: Tensor, rows: list[int]) -> None:
        self.denoise, self.x, self.rows = denoise, x, rows
        self.prediction = getattr(denoise, "prediction", "denoised")

    def __call__(self, y: Tensor, node: Node, *to: Node) -> Tensor:
        whole = self.x.detach().clone()
        whole[self.rows] = y
        value = self.denoise(whole, node, *to)
        check_like(value, self.x, f"denoise(x, node) at {node}")
        return value[self.rows].clone()


def _shape(plan: Plan) -> Any:
    """What two Plans have in common that differ in numbers only."""

    def kind(op: Any) -> Any:
        return ("sum", frozenset(i for i, _ in op.terms)) if isinstance(op, Combine) else (type(op).__name__, getattr(op, "source", None))

    return tuple(kind(op) for op in plan.ops), plan.states, plan.result


def _combine(terms: list[dict[int, float]], live: dict[int, Tensor], wide: torch.dtype, x: Tensor) -> Tensor:
    total = torch.zeros_like(x, dtype=wide)
    for register in terms[0]:
        column = torch.tensor([row[register] for row in terms], dtype=wide, device=x.device)
        total += column.view(-1, *[1] * (x.ndim - 1)) * live[register].to(wide)
    return total.to(x.dtype)


def _groups(keys: Iterable[Any]) -> dict[Any, list[int]]:
    """The places of equal keys."""
    out: dict[Any, list[int]] = {}
    for place, key in enumerate(keys):
        out.setdefault(key, []).append(place)
    return out


def _evaluate(denoise: Any, x: Tensor, nodes: list[Node]) -> Tensor:
    if hasattr(denoise, "at"):
        whole: Tensor = denoise.at(x.clone(), nodes)
        check_like(whole, x, "denoise.at(x, nodes)")
        return whole.clone()
    out = torch.empty_like(x)
    for node, rows in _groups(nodes).items():
        if hasattr(denoise, "take"):
            value, wanted = denoise.take(rows)(x[rows], node), x[rows]
        else:
            value, wanted = denoise(x.clone(), node), x
        check_like(value, wanted, f"denoise(x, node) at {node}")
        out[rows] = value if wanted is not x else value[rows]
    return out


def _noise(noise: Any, index: Any, x: Tensor) -> Any:
    if noise is None or isinstance(noise, Integral):
        return Brownian(fresh_seed() if noise is None else int(noise), tuple(x.shape), index, like=x)
    if isinstance(noise, Sequence | np.ndarray):
        return NoiseBySample(list(noise), tuple(x.shape), like=x)
    if isinstance(noise, BrownianNoise | NoiseBySample):
        return noise
    raise ValueError("a grid for each sample needs seeds or a BrownianNoise: another noise cannot be asked for a part of the batch")


def _draw(source: Any, intervals: list[tuple[Node, Node]], x: Tensor) -> Tensor:
    out = torch.empty_like(x)
    for (s, t), rows in _groups(intervals).items():
        out[rows] = torch.as_tensor(source.take(np.array(rows))(s, t), dtype=x.dtype, device=x.device)
    return out
