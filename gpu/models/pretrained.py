"""What a loaded network offers, whatever it draws: a ``Denoiser`` with its schedule, a grid, starting states, a licence."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from scorebed.solvers import GRIDS, BrownianNoise, Denoiser, Node, Schedule

_START = 0x5C0BED  # the initial states' own stream: a seed of the run xor this


@dataclass(frozen=True)
class Pretrained:
    """A pretrained network.

    Attributes:
        what: what it draws, in a few words.
        package, licence: the distribution that carries the weights, and what it declares.
        network: the torch module; ``schedule`` and ``prediction`` say what it predicts, ``shape`` is that of one sample.
        spacing: the name of the grid (``solvers.GRIDS``) that suits it; ``t_max`` and ``t_min`` are the schedule's.
        denoise: E[x0 | x] as a function of (x, node).
        condition: what a conditional network was given here, by name.
    """

    name: str
    what: str
    package: str
    licence: str
    network: nn.Module
    schedule: Schedule
    prediction: str
    shape: tuple[int, ...]
    spacing: str
    denoise: Denoiser = field(repr=False)
    condition: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def grid(self, n: int, spacing: str | None = None) -> list[Node]:
        """n steps from noise to data, spaced as suits the network, or by another entry of ``solvers.GRIDS``.

        Returns:
            n + 1 nodes from noise to data.

        Raises:
            ValueError: unknown spacing, or n < 1.
        """
        chosen = self.spacing if spacing is None else spacing
        if chosen not in GRIDS:
            raise ValueError(f"spacing = {chosen!r} is not a grid: give one of {', '.join(GRIDS)}")
        return GRIDS[chosen](self.schedule, n)

    def start(self, n: int, seed: int = 0, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """``n`` states at the schedule's noisiest node, sigma × unit normals; sample i is the same whatever n."""
        top = self.schedule.node(self.schedule.t_max)
        like = torch.zeros(1, dtype=dtype, device=next(self.network.parameters()).device)
        unit = BrownianNoise(seed ^ _START, (n, *self.shape), like=like)(top, self.schedule.node(self.schedule.t_min))
        return top.sigma * unit

    @property
    def parameters(self) -> int:
        """How many numbers the network has learned."""
        return sum(p.numel() for p in self.network.parameters())

    @property
    def about(self) -> str:
        """What it is, how large, whose and under which licence, in a line."""
        return f"{self.what}; {self.parameters:,} parameters. Weights of {self.package}, licence: {self.licence}"

    def to(self, device: str | torch.device) -> Pretrained:
        """Move the network, in place as ``nn.Module.to`` does; its condition follows the states."""
        self.network.to(device)
        return self
