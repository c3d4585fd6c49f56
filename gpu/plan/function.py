"""A whole run as one function of the state, without side effects."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from scorebed.gpu.noise import Brownian
from scorebed.solvers.model import Denoiser
from scorebed.solvers.noise import Noise, fresh_seed
from scorebed.solvers.plan import Plan
from scorebed.solvers.schedule import Node
from scorebed.solvers.state import check_like


def function(plan: Plan, denoise: Denoiser, *, noise: Noise | int | None = None) -> Callable[[Tensor], Tensor]:
    """The whole loop as one function of the state without side effects, for ``torch.compile``, ``torch.export`` or gradients.

    Nothing is checked and nothing is in place. The noise is made when the function is called first with a shape, outside what is compiled
    or exported: sample i has the same noise in every batch.
    """

    if not plan.stochastic:
        return lambda x: looped(plan, denoise, x, {})
    given = noise if callable(noise) else None
    seed = fresh_seed() if noise is None else 0 if callable(noise) else noise
    made: dict[tuple[int, ...], dict[tuple[Node, Node], Tensor]] = {}

    def whole(x: Tensor) -> Tensor:
        shape = tuple(x.shape)
        if shape not in made:
            source = given or Brownian(seed, shape, like=x)
            draws = {(s, t): source(s, t) for s, t in plan.noises}
            for (s, t), value in draws.items():
                check_like(value, x, f"the noise on [{s.t}, {t.t}]")
            made[shape] = draws
        return looped(plan, denoise, x, made[shape])

    return whole


def looped(plan: Plan, denoise: Denoiser, x: Tensor, drawn: Mapping[tuple[Node, Node], Tensor]) -> Tensor:
    """The output of ``plan`` from ``x`` with the normals ``drawn`` by interval; sums in float32 at least."""
    wide = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype

    def combine(terms: list[tuple[float, Tensor]]) -> Tensor:
        total = torch.zeros_like(x, dtype=wide)
        for c, value in terms:
            total = total + c * value.to(wide)
        return total.to(x.dtype)

    result: Tensor = plan.fold(x, denoise, lambda s, t: drawn[s, t], combine)
    return result
