"""Noising by a scheduler's levels: what training, image-to-image and inpainting pipelines ask of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scorebed.gpu.diffusers.levels import Levels, alphas_cumprod


class Noising:
    """alpha x0 + sigma eps at the timesteps of ``levels``."""

    levels: Levels
    config: Any

    def trained(self, levels: Levels) -> tuple[Tensor, Tensor, Tensor]:
        """alphas_cumprod, timesteps and sigmas of the network's training, before a run is set: what others read from a scheduler."""
        total = levels.total
        table = torch.tensor(alphas_cumprod(self.config), dtype=torch.float32)
        if levels.kind in ("edm", "continuous"):
            ends = [levels.schedule.t_max, levels.schedule.t_min] if levels.kind == "edm" else [float(total - 1), 0.0]
            nodes = [levels.schedule.node(t) for t in ends]
        else:
            first = 1 if levels.kind == "flow" else 0
            told = range(total - 1 + first, first - 1, -1)
            nodes = [levels.at(t / total) if levels.kind == "flow" else levels.node(float(t)) for t in told]
        times = torch.tensor([levels.told(node) for node in nodes], dtype=torch.float32)
        return table, times, torch.tensor([*(levels.level(node) for node in nodes), levels.clean])

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """alpha x0 + sigma noise at each sample's timestep (real-valued), or at one for all.

        Returns:
            noised samples, of the shape of ``original_samples``.

        Raises:
            ValueError: a noise of another shape, a timestep that is none of the network's, or as many timesteps as fit neither.
        """
        alpha, sigma = self._mixed(timesteps, original_samples, noise)
        return alpha * original_samples + sigma * noise

    def scale_noise(self, sample: Tensor, timestep: Tensor, noise: Tensor) -> Tensor:
        """``add_noise`` by the name that flow pipelines use."""
        return self.add_noise(sample, noise, timestep)

    def get_velocity(self, sample: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """v = alpha noise − sigma x0."""
        alpha, sigma = self._mixed(timesteps, sample, noise)
        return alpha * noise - sigma * sample

    def _mixed(self, timesteps: Any, like: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        if noise.shape != like.shape:
            raise ValueError(f"noise has shape {tuple(noise.shape)}, the samples {tuple(like.shape)}: give each sample its own noise")
        times = timesteps.reshape(-1).tolist() if isinstance(timesteps, Tensor) else [float(timesteps)]
        if len(times) not in (1, like.shape[0]):
            raise ValueError(f"{len(times)} timesteps for {like.shape[0]} samples: give one for each, or one for all")
        nodes = [self.levels.node(t) for t in times]
        shape = (-1, *([1] * (like.ndim - 1)))
        return like.new_tensor([n.alpha for n in nodes]).reshape(shape), like.new_tensor([n.sigma for n in nodes]).reshape(shape)
