r"""A world in torch where everything is known: data N(m, diag v) on a schedule, differentiable in states and times, and batches of it.

With c_t² = α_t² v + σ_t², elementwise,

    flow(x, s, t) = α_t m + (c_t/c_s)(x − α_s m),   score = −(x − α_s m)/c_s²,   denoised = m + (α_s v/c_s²)(x − α_s m),
    velocity = α' denoised + σ' (x − α denoised)/σ.

A batch has equal weights, so that a loss may end in ``.mean()``, and sample moments of its normals that are exact up to the second: what is
quadratic in (x0, eps), as the gradients of losses with affine students are, comes out as its expectation, to round-off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri
from scipy.stats import qmc
from torch import Tensor

from scorebed.solvers.schedule import EDM, VE, VP, RectifiedFlow

Time = Any
"""A float, or a tensor that broadcasts with states, (B, 1)."""


def alpha_sigma(process: Any, t: Tensor) -> tuple[Tensor, Tensor]:
    """α and σ of a schedule at times t, differentiable.

    Returns:
        (α, σ), tensors of the shape of t.

    Raises:
        TypeError: a schedule whose formulas are not here.
    """
    if isinstance(process, RectifiedFlow):
        return 1.0 - t, t
    if isinstance(process, EDM):
        return torch.ones_like(t), t
    if isinstance(process, VE):
        return torch.ones_like(t), process.sigma_min * torch.exp(t * math.log(process.sigma_max / process.sigma_min))
    if type(process) is VP:
        integral = process.beta_min * t + 0.5 * (process.beta_max - process.beta_min) * t * t
        return torch.exp(-0.5 * integral), torch.sqrt(-torch.expm1(-integral))
    raise TypeError(f"process = {process!r}: give RectifiedFlow(), EDM(), VE() or VP()")


class GaussianWorld:
    """Data N(mean, diag variance), (d,) each, on a process."""

    def __init__(self, process: Any, mean: Any, variance: Any) -> None:
        self.process = process
        self.mean, self.variance = (torch.as_tensor(a, dtype=torch.float64) for a in (mean, variance))
        self.d = len(self.mean)

    def at(self, t: Time) -> tuple[Tensor, Tensor]:
        """(α, σ) at times t."""
        return alpha_sigma(self.process, torch.as_tensor(t, dtype=torch.float64))

    def rates(self, t: Time) -> tuple[Tensor, Tensor]:
        """(α', σ') at times t."""
        t = torch.as_tensor(t, dtype=torch.float64)
        rates: tuple[Tensor, Tensor] = torch.func.jvp(lambda u: alpha_sigma(self.process, u), (t,), (torch.ones_like(t),))[1]
        return rates

    def spread(self, t: Time) -> Tensor:
        """c_t."""
        alpha, sigma = self.at(t)
        return torch.sqrt(alpha * alpha * self.variance + sigma * sigma)

    def flow(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """Where the probability flow takes x from s at t."""
        (a, _), (b, _) = self.at(s), self.at(t)
        return b * self.mean + self.spread(t) / self.spread(s) * (x - a * self.mean)

    def score(self, x: Tensor, s: Time) -> Tensor:
        """∇ log p_s(x)."""
        return -(x - self.at(s)[0] * self.mean) / self.spread(s) ** 2

    def log_prob(self, x: Tensor, s: Time) -> Tensor:
        """log p_s(x), (B, 1)."""
        z = (x - self.at(s)[0] * self.mean) / self.spread(s)
        return (-0.5 * z * z - torch.log(self.spread(s)) - 0.5 * math.log(2 * math.pi)).sum(-1, keepdim=True)

    def denoised(self, x: Tensor, s: Time) -> Tensor:
        """E[x0 | x_s = x]."""
        alpha = self.at(s)[0]
        return self.mean + alpha * self.variance / self.spread(s) ** 2 * (x - alpha * self.mean)

    def velocity(self, x: Tensor, s: Time) -> Tensor:
        """v(x, s) of the probability flow."""
        (_, sigma), (da, ds) = self.at(s), self.rates(s)
        return da * self.denoised(x, s) - ds * sigma * self.score(x, s)

    def average_velocity(self, x: Tensor, s: Time, t: Time) -> Tensor:
        """(flow − x)/(t − s), by the integral of the velocity where t = s would divide by 0."""
        gap = torch.as_tensor(t, dtype=torch.float64) - s
        near = gap == 0.0
        return torch.where(near, self.velocity(x, s), (self.flow(x, s, t) - x) / torch.where(near, torch.ones_like(gap), gap))


@dataclass
class Batch:
    """What a loss is given; float64 tensors, (B, d) or (B, 1).

    Attributes:
        x0, eps: data and noise.
        s, t: the times, t cleaner than s; ``middle`` between them.
        x, y: x_s and x_t of the same data and noise; ``at(time)`` for another time.
        velocity: dx_s/ds of that pair, α' x0 + σ' eps.
        weight: w(s, t), by which the loss is to be multiplied once.
        teacher: the exact model of the data: ``flow(x, s, t)``, ``velocity``, ``denoised``, ``score``, ``log_prob`` of (x, s).
        z: the latent of a generator; ``fake``: the exact model of what the generator makes now, its parameters held.
        process: the schedule.
    """

    x0: Tensor
    eps: Tensor
    s: Tensor
    t: Tensor
    weight: Tensor
    teacher: GaussianWorld
    z: Tensor
    fake: GaussianWorld | None = None

    @property
    def process(self) -> Any:
        return self.teacher.process

    def at(self, time: Time) -> Tensor:
        """α x0 + σ eps at a time."""
        alpha, sigma = self.teacher.at(time)
        return alpha * self.x0 + sigma * self.eps

    @property
    def x(self) -> Tensor:
        return self.at(self.s)

    @property
    def y(self) -> Tensor:
        return self.at(self.t)

    @property
    def middle(self) -> Tensor:
        return 0.5 * (self.s + self.t)

    @property
    def velocity(self) -> Tensor:
        da, ds = self.teacher.rates(self.s)
        return da * self.x0 + ds * self.eps


@lru_cache(maxsize=64)
def whitened(n: int, width: int, seed: int) -> np.ndarray:
    """n normals of ``width`` numbers, evenly spread (Sobol), with sample mean 0 and sample covariance I, exactly."""
    z = ndtri(qmc.Sobol(width, seed=seed).random(n))
    z -= z.mean(0)
    return np.asarray(z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / n)).T)


def batch(
    world: GaussianWorld,
    pairs: Sequence[tuple[float, float]],
    n: int,
    seed: int,
    weight: Callable[[float, float], float],
    exact: bool = True,
) -> Batch:
    """n samples at each of the pairs (s, t) of times; ``exact`` the same ones at each, of exact second moments, else independent draws."""
    rng, width = np.random.default_rng(seed), 3 * world.d
    draws = [whitened(n, width, seed) if exact else rng.standard_normal((n, width)) for _ in pairs]
    one, two, three = torch.as_tensor(np.concatenate(draws)).split(world.d, dim=1)
    table = np.repeat([(s, t, weight(s, t)) for s, t in pairs], n, axis=0)
    s, t, w = torch.as_tensor(table, dtype=torch.float64).split(1, dim=1)
    return Batch(world.mean + torch.sqrt(world.variance) * one, two, s, t, w, world, three)
