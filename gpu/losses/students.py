"""Students: the exact map, or the exact generator, plus parameters times what is affine in the state, so that 0 is the truth; a network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from scorebed.gpu.losses.world import GaussianWorld, Time


class MapStudent(nn.Module):
    """f(x, s) = flow(x, s, 0) + s' Σ θ_j ψ_j;  f(x, s, t) = flow(x, s, t) + (s' − t') Σ θ_j ψ_j;  u(x, s, t) = mean velocity + Σ θ_j ψ_j.

    ψ = 1, x, s', s' x, (t' x), with times over the longest; so the class keeps the boundary, holds the exact map at θ = 0, and is affine in
    the parameters and in the state.

    Args:
        world: whose map it is.
        gives: "endpoint", "map" or "velocity".
        longest: the unit of time.
    """

    def __init__(self, world: GaussianWorld, gives: str, longest: float) -> None:
        super().__init__()
        self.world, self.gives, self.longest = world, gives, longest
        self.theta = nn.Parameter(torch.zeros(4 if gives == "endpoint" else 5, dtype=torch.float64))

    def forward(self, x: Tensor, s: Time, t: Time = 0.0) -> Tensor:
        a, b = (torch.as_tensor(time, dtype=torch.float64) / self.longest for time in (s, t))
        one = x - x + 1.0
        terms = [one, x, a * one, a * x, b * x][: len(self.theta)]
        away = torch.stack(terms, -1) @ self.theta
        if self.gives == "velocity":
            return self.world.average_velocity(x, s, t) + away
        return self.world.flow(x, s, t) + (a - b) * away

    def as_state(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """Where it sends x."""
        return x + (t - s) * self(x, s, t) if self.gives == "velocity" else self(x, s, t)


class Generator(nn.Module):
    """G(z) = m + θ_0 + (√v + θ_1) z; what it makes is a Gaussian, known exactly."""

    def __init__(self, world: GaussianWorld) -> None:
        super().__init__()
        self.world = world
        self.theta = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self, z: Tensor) -> Tensor:
        return self.world.mean + self.theta[0] + (torch.sqrt(self.world.variance) + self.theta[1]) * z

    @property
    def made(self) -> GaussianWorld:
        """The law of G(z), its parameters held."""
        theta, world = self.theta.detach(), self.world
        return GaussianWorld(world.process, world.mean + theta[0], (torch.sqrt(world.variance) + theta[1]) ** 2)


class Network(nn.Module):
    """A tiny network of (x, s, t), (x, s) or z: two hidden layers of tanh, with a path that is affine in the state.

    Maps keep their boundary, x + (s' − t') n(x, s', t').
    """

    def __init__(self, d: int, gives: str, longest: float, width: int = 24, seed: int = 0) -> None:
        super().__init__()
        self.gives, self.longest = gives, longest
        inputs = d + {"generator": 0, "endpoint": 1}.get(gives, 2)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.body = nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, d))
            self.straight = nn.Linear(inputs, d)
        self.double()

    def forward(self, x: Tensor, s: Time = 0.0, t: Time = 0.0) -> Tensor:
        times = [torch.as_tensor(time, dtype=x.dtype) / self.longest + 0.0 * x[..., :1] for time in (s, t)]
        parts: list[Any] = [x, *times][: 1 + {"generator": 0, "endpoint": 1}.get(self.gives, 2)]
        value: Tensor = self.body(torch.cat(parts, -1)) + self.straight(torch.cat(parts, -1))
        if self.gives in ("generator", "velocity"):
            return value
        return x + (times[0] - times[1]) * value

    def as_state(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """Where it sends x."""
        return x + (t - s) * self(x, s, t) if self.gives == "velocity" else self(x, s, t)
