"""A model with its transposed Jacobian, (x, node) -> (D, v -> Jᵀ v) with J = ∂D/∂x: what a search by gradient asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scorebed.solvers import Denoiser, Node

Array = Any
Pull = Callable[[Array, Node], tuple[Array, Callable[[Array], Array]]]


def law_pull(denoise: Denoiser) -> Pull | None:
    """That of an exact law, Jᵀ v = (alpha/sigma²) Cov[x0 | x] v.

    Args:
        denoise: the ``denoised`` of a law.

    Returns:
        the function, or None where this is no law's ``denoised``, or of one that gives no ``vjp``.
    """
    vjp = getattr(getattr(denoise, "__self__", None), "vjp", None)
    if getattr(denoise, "__name__", "") != "denoised" or vjp is None:
        return None

    def pull(x: Array, node: Node) -> tuple[Array, Callable[[Array], Array]]:
        return denoise(x, node), lambda v: vjp(x, node, v)

    return pull


def network_pull(denoise: Callable[[Any, Node], Any]) -> Pull:
    """That of a torch denoiser which keeps its graph, by automatic differentiation.

    Args:
        denoise: (x, node) -> D.

    Returns:
        the function.

    Raises:
        ValueError: when it is called, by a denoiser whose value does not hang on x for torch.
    """

    def pull(x: Any, node: Node) -> tuple[Any, Callable[[Any], Any]]:
        import torch

        with torch.enable_grad():
            at = x.detach().requires_grad_()
            value = denoise(at, node)
        if not value.requires_grad:
            raise ValueError("model: for torch, what it gives does not hang on x: it runs without gradients; give gradient=False")
        return value.detach(), lambda v: torch.autograd.grad(value, at, v, retain_graph=True)[0]

    return pull
