"""A whole run as one function of the state, without side effects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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

    Returns:
        function from state (B, …) to samples (B, …).
    """
    return _Whole(plan, denoise, noise)


class _Whole:
    """What ``function`` gives back; it pickles where the model does, the noise drawn again from its seed."""

    def __init__(self, plan: Plan, denoise: Denoiser, noise: Noise | int | None) -> None:
        self.plan, self.denoise = plan, denoise
        self.given = noise if callable(noise) else None
        self.seed = fresh_seed() if noise is None else 0 if callable(noise) else noise
        self.made: dict[tuple[int, ...], dict[tuple[Node, Node], Tensor]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "made": {}}

    def __call__(self, x: Tensor) -> Tensor:
        """The output from the state ``x``."""
        shape = tuple(x.shape)
        if shape not in self.made:
            source = self.given or Brownian(self.seed, shape, like=x) if self.plan.stochastic else None
            draws = {(s, t): source(s, t) for s, t in self.plan.noises} if source else {}
            for (s, t), value in draws.items():
                check_like(value, x, f"the noise on [{s.t}, {t.t}]")
            self.made[shape] = draws
        return looped(self.plan, self.denoise, x, self.made[shape])


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
