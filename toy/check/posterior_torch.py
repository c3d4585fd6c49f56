"""A posterior sampler written in torch, checked like one in NumPy: the exact model as a differentiable function of float64 tensors."""

from __future__ import annotations

from typing import Any

import numpy as np


def in_torch(sampler: Any, seed: int) -> Any:
    """(model, operator, y, x, nodes) of NumPy around a sampler of torch."""
    import torch

    class Denoise(torch.autograd.Function):
        """D with J^T v as its derivative."""

        @staticmethod
        def forward(ctx: Any, x: Any, model: Any, node: Any) -> Any:
            ctx.save_for_backward(x)
            ctx.model, ctx.node = model, node
            return x.new_tensor(np.asarray(model(x.detach().numpy(), node)))

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            (x,) = ctx.saved_tensors
            return x.new_tensor(np.asarray(ctx.model.vjp(x.detach().numpy(), ctx.node, grads[0].numpy()))), None, None

    class Model:
        """(x, node) -> E[x0 | x_t], differentiable once."""

        prediction = "denoised"

        def __init__(self, model: Any) -> None:
            self.model = model

        def __call__(self, x: Any, node: Any) -> Any:
            return Denoise.apply(x, self.model, node)

        def vjp(self, x: Any, node: Any, v: Any) -> Any:
            return x.new_tensor(np.asarray(self.model.vjp(x.detach().numpy(), node, v.detach().numpy())))

    def run(model: Any, operator: Any, y: np.ndarray, x: np.ndarray, nodes: Any) -> np.ndarray:
        state = torch.tensor(x.copy(), dtype=torch.float64)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            out = sampler(Model(model), operator.like(state), state.new_tensor(y), state, list(nodes))
        return np.asarray(out.detach().numpy())

    return run
