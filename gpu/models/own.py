"""Somebody's own network, with what the commands ask of a pretrained one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from scorebed.gpu.models.pretrained import Pretrained
from scorebed.solvers.model import denoiser
from scorebed.solvers.schedule import Schedule


class Own(Pretrained):
    """A network of one's own; it goes to another process as it is pickled, not by a name."""

    @property
    def about(self) -> str:
        """That it is one's own: what it has learned is not seen from outside."""
        return self.what


class Called(nn.Module):
    """A function (x, node) as a module, with a number that has its device."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.place = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, x: torch.Tensor, node: Any) -> Any:
        """What the function predicts."""
        return self.function(x, node)


class GradFree:
    """A function (x, node) that keeps no graph of its weights; of a state that asks for gradients it keeps that of the state."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __getattr__(self, name: str) -> Any:
        if name == "function" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.function, name)  # what it is marked with

    def __call__(self, x: torch.Tensor, node: Any) -> Any:
        with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad):
            return self.function(x, node)


def own(function: Callable[..., Any], *, schedule: Schedule, shape: Sequence[int], prediction: str = "eps", name: str = "own") -> Own:
    """A network of one's own.

    Args:
        function: (x, node) -> its prediction, for float32 states (n, *shape).
        schedule: of its process; runs go from ``t_max`` to ``t_min``.
        shape: of one sample.
        prediction: what it predicts, one of ``PREDICTIONS``.
        name: for tables and records.

    Returns:
        What has ``grid``, ``start`` and ``denoise`` as the networks of ``load`` have; its grid is uniform in lam.

    Raises:
        ValueError: an unknown prediction.
    """
    denoise = denoiser(GradFree(function), prediction)
    network = function if isinstance(function, nn.Module) and any(True for _ in function.parameters()) else Called(function)
    about: Any = {"what": "a network of your own", "package": "your own", "licence": "yours", "spacing": "uniform_lam"}
    shown: Any = {"schedule": schedule, "prediction": prediction, "shape": tuple(shape), "denoise": denoise}
    return Own(name, network=network, **about, **shown)
