r"""A network as the model of a posterior sampler: flat states, and J^T v by autograd.

The samplers of ``solvers.inverse`` see rows x (n, d) and ask for D and for J^T v with J = ∂D/∂x. The network sees images; reverse-mode
differentiation gives J^T v at the cost of a forward and a backward pass.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from scorebed.solvers.inverse import Conditioned, Linear, Method, posterior
from scorebed.solvers.schedule import Node


class NetworkModel:
    """(x (n, d), node) -> E[x0 | x_t], with ``vjp``, of a denoiser of images.

    Args:
        denoise: (images (n, *shape), node) -> E[x0 | x_t], a function of torch tensors.
        shape: of one image.

    Attributes:
        evaluations, products: how often D and J^T v were asked for, a batch counting once.
    """

    prediction = "denoised"

    def __init__(self, denoise: Callable[[Any, Node], Any], shape: Sequence[int]) -> None:
        self.denoise, self.shape, self.d = denoise, tuple(shape), math.prod(shape)
        self.evaluations = self.products = 0

    def _flat(self, x: Any, node: Node) -> Any:
        if x.shape[-1] != self.d:
            raise ValueError(f"x has shape {tuple(x.shape)}, but the images {self.shape}: give (n, {self.d})")
        return self.denoise(x.reshape(-1, *self.shape), node).reshape(-1, self.d)

    def __call__(self, x: Any, node: Node) -> Any:
        self.evaluations += 1
        with torch.no_grad():
            return self._flat(x, node)

    def vjp(self, x: Any, node: Node, v: Any) -> Any:
        """J^T v, (n, d).

        Returns:
            J^T v, (n, d).

        Raises:
            ValueError: a denoiser that keeps no graph.
        """
        self.products += 1
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            out = self._flat(x, node)
            if not out.requires_grad:
                raise ValueError("denoise keeps no graph, so that it has no product: wrap the network with grad=True")
            return torch.autograd.grad(out, x, v)[0]


def reconstruct(
    method: Method | str, model: NetworkModel, operator: Linear, y: Any, x: Any, nodes: Sequence[Node], seed: int = 0
) -> dict[str, Any]:
    """Run a posterior sampler on a network: ``x0`` (n, d), the ``residual`` RMS |y − A x0| over r, evaluations, products and seconds."""
    model.evaluations = model.products = 0
    began = time.perf_counter()
    x0 = posterior(method, Conditioned(model, operator, y), x, nodes, seed)
    seconds = time.perf_counter() - began
    left = y - operator.like(x0)(x0)
    residual = float((left * left).mean()) ** 0.5 / operator.variance**0.5
    return {"x0": x0, "residual": residual, "nfe": model.evaluations, "vjp": model.products, "seconds": seconds}
