"""Networks on tokens as models of jump processes: logits of any kind, on any device, become clean conditionals in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from scorebed.solvers.process.jump import JumpProcess


class TokenModel:
    """(x, node) -> p(x0^i = k | x), (B, L, S), of a network that gives logits.

    The softmax is taken in float64, over the S values of the data: a logit of the mask, where the network has one, is left out. On masks,
    known tokens are what they are (as MDLM's SUBS, arXiv:2406.07524, sec. 3.2.3).

    Args:
        network: x -> logits (B, L, S) or (B, L, S + 1); with ``times`` (x, t) -> logits, t a vector of B times.
        process: the jump process it was made for.
        times: whether the network is told the time.
        temperature: logits are divided by it.

    Raises:
        TypeError: a network that is not callable.
        ValueError: a temperature that is not positive; logits of another shape, when it is asked.
    """

    prediction = "denoised"

    def __init__(self, network: Callable[..., Any], process: JumpProcess, *, times: bool = False, temperature: float = 1.0) -> None:
        if not callable(network):
            raise TypeError(f"network = {network!r} is not callable: give a function of tokens")
        if not temperature > 0.0:
            raise ValueError(f"temperature = {temperature!r} must be positive")
        self.network, self.process, self.times, self.temperature = network, process, times, temperature

    @torch.no_grad()
    def __call__(self, x: torch.Tensor, node: Any) -> torch.Tensor:
        size = self.process.size
        told = (x.new_full((len(x),), node.t, dtype=torch.get_default_dtype()),) if self.times else ()
        logits = self.network(x, *told)
        if tuple(logits.shape[:-1]) != tuple(x.shape) or logits.shape[-1] not in (size, self.process.alphabet):
            raise ValueError(f"the network gave logits of shape {tuple(logits.shape)}: give {(*x.shape, size)}, or one more for the mask")
        p = torch.softmax(logits[..., :size].double() / self.temperature, -1)
        if self.process.absorbing:
            known = (x != size)[..., None]
            p = torch.where(known, torch.nn.functional.one_hot(x.clamp(max=size - 1), size).double(), p)
        return p


def on_arrays(model: TokenModel, device: Any = "cpu") -> Callable[[Any, Any], Any]:
    """The model for NumPy states: what follows exact laws asks in NumPy."""

    def asked(x: Any, node: Any) -> Any:
        return model(torch.as_tensor(x, device=device), node).cpu().numpy()

    return asked
