r"""A generator on the line that is linear in its parameters, G(z) = Σ_l θ_l B_l(z), cubic B-splines with 1 and z, and what it makes.

The law of G(z) is that of many points G(z_k), weighed by the normal density; noised to a level it is a smooth density, known with its score
and the posterior mean, and it follows the parameters. So the gradients of losses between laws are sums, and their zero near the data's own
generator, the quantiles of the data at those of the normal, is found by Newton's method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import least_squares
from scipy.special import ndtr, ndtri
from torch import Tensor, nn

from scorebed.analytic import GaussianMixture
from scorebed.gpu.losses.line import LineWorld
from scorebed.gpu.losses.splines import basis, joined
from scorebed.gpu.losses.world import Batch

Loss = Callable[..., Any]
_POINTS = np.linspace(-5.0, 5.0, 201)


class SplineGenerator(nn.Module):
    """G(z), (B, 1) from (B, 1)."""

    def __init__(self, world: LineWorld, count: int = 12, reach: float = 3.0) -> None:
        super().__init__()
        self.world, self.count, self.reach = world, count, reach
        self.theta = nn.Parameter(torch.zeros(count + 2, dtype=torch.float64))

    def forward(self, z: Tensor) -> Tensor:
        return basis(z, self.count, self.reach) @ self.theta[:, None]

    def law(self) -> LineWorld:
        """What it makes, with its gradient."""
        weights = np.exp(-0.5 * _POINTS**2)
        made = self(torch.as_tensor(_POINTS[:, None]))[:, 0]
        return LineWorld(self.world.process, weights / weights.sum(), made, torch.zeros_like(made))

    @property
    def made(self) -> LineWorld:
        """The same, its parameters held."""
        with torch.no_grad():
            return self.law()

    def fit(self, law: GaussianMixture) -> None:
        """The best fit to the data's own generator, F^{-1}(Φ(z)), in the mean square over z."""
        z = np.linspace(-4.0, 4.0, 401)
        tail = ndtr(-np.abs(z))
        goal = np.where(z < 0.0, np.asarray(law.quantile(tail)), np.asarray(law.isf(tail)))
        root = np.exp(-0.25 * z * z)
        matrix = basis(torch.as_tensor(z[:, None]), self.count, self.reach).numpy()
        with torch.no_grad():
            self.theta.copy_(torch.as_tensor(np.linalg.lstsq(root[:, None] * matrix, root * goal, rcond=None)[0]))


def even(world: LineWorld, nodes: Sequence[Any], latents: int, noises: int) -> Batch:
    """At each level a product of even quantiles of z and of the noise, of variance 1; data in the order of z."""
    law = world.law
    assert law is not None
    z, eps = (ndtri((np.arange(n) + 0.5) / n) for n in (latents, noises))
    z, eps = np.repeat(z / z.std(), noises), np.tile(eps / max(float(eps.std()), 1e-300), latents)
    x0 = np.asarray(law.quantile(np.repeat((np.arange(latents) + 0.5) / latents, noises)))
    clean, noise, latent = (torch.as_tensor(a[:, None]) for a in (x0, eps, z))
    one = torch.ones_like(clean)
    return joined([Batch(clean, noise, node.t * one, 0.5 * node.t * one, one, world, latent) for node in nodes])


def generator_minimiser(
    loss: Loss, world: LineWorld, nodes: Sequence[Any], *, pooled: bool = False, away: float = 0.05, rounds: int = 12
) -> tuple[SplineGenerator, float, float]:
    """The generator near the data's own at which the gradient of a loss vanishes; how far it is from that, and how far the best fit is.

    Args:
        loss: ``loss(student, batch)``.
        world: the data.
        nodes: the levels; those of a pooled loss are not asked for.
        pooled: whether the loss compares whole batches.
        away: from the best fit to where the search begins, in the parameters.
        rounds: of Newton's method.

    Returns:
        The generator, and two RMS distances over z from F^{-1}(Φ(z)).
    """
    law = world.law
    assert law is not None
    student = SplineGenerator(world)
    student.fit(law)
    start = student.theta.detach().numpy().copy()
    b = even(world, nodes[:1], 160, 1) if pooled else even(world, nodes, 40, 10)

    def slope(value: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            student.theta.copy_(torch.as_tensor(value))
        b.fake = student.made
        return np.asarray(torch.autograd.grad(loss(student, b).mean(), student.theta)[0])

    def distance() -> float:
        u = (np.arange(401) + 0.5) / 401
        with torch.no_grad():
            value = student(torch.as_tensor(ndtri(u)[:, None])).numpy()[:, 0]
        return float(np.sqrt(np.mean((value - np.asarray(law.quantile(u))) ** 2)))

    best = distance()
    begin = start + away * np.random.default_rng(0).standard_normal(len(start))
    found = least_squares(slope, begin, diff_step=1e-4, max_nfev=rounds)
    slope(found.x)
    return student, distance(), best
