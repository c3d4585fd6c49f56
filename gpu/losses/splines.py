r"""Students that are linear in their parameters, on the line, where the data have modes and the map is curved: splines with closed optima.

    Rows       f(x, s_i, t_j) = Σ_l θ_ijl B_l(z) at pairs of nodes: discrete losses, from the shortest steps up
    Smooth     f(x, s) = affine map + (1 − a)/2 Σ_kl θ_kl B_l(z) T_k(a),  u(x, s, t) = Σ_kl θ_kl B_l(z) T_k(a),
               a ∈ [−1, 1] the place of lam_s, z = (x − α m)/c standardised, T_k Chebyshev's: losses with derivatives in time

B are cubic B-splines on even knots, with 1 and z. The gradient of a loss that holds its target is affine in the parameters, so that its
zero is one linear system; where it is not, because a held map carries the student on, Newton's method goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri
from scipy.stats import qmc
from torch import Tensor, nn

from scorebed.gpu.losses.line import LineWorld
from scorebed.gpu.losses.world import Batch, Time

Loss = Callable[..., Any]


def basis(z: Tensor, count: int, reach: float) -> Tensor:
    """1, z and ``count`` cubic B-splines of even knots over (−reach, reach), (B, count + 2), from (B, 1)."""
    centres = torch.linspace(-reach, reach, count, dtype=torch.float64)
    u = torch.abs(z - centres) * ((count - 1) / (2.0 * reach))
    bumps = (torch.clamp(2.0 - u, min=0.0) ** 3 - 4.0 * torch.clamp(1.0 - u, min=0.0) ** 3) / 6.0
    return torch.cat([torch.ones_like(z), z, bumps], -1)


def first(time: Time) -> float:
    """A time that a whole batch shares."""
    return float(torch.as_tensor(time, dtype=torch.float64).reshape(-1)[0])


class Rows(nn.Module):
    """A student at pairs of nodes, (B, 1) from (B, 1). Pairs that it has no row for are exact: steps shorter than the grid, and the way
    on to the data.

    Args:
        world: the teacher.
        gives: "endpoint", of which the last node is the data; "map"; or "velocity".
        nodes: noise to data.
        pairs: (i, j) of the rows.
        count, reach: of the splines.
    """

    def __init__(self, world: LineWorld, gives: str, nodes: Sequence[Any], pairs: Sequence[tuple[int, int]], count: int = 20) -> None:
        super().__init__()
        self.world, self.gives, self.nodes, self.count, self.reach = world, gives, list(nodes), count, 4.0
        self.row = {(nodes[i].t, nodes[j].t): k for k, (i, j) in enumerate(pairs)}
        self.theta = nn.Parameter(torch.zeros(len(pairs), count + 2, dtype=torch.float64))

    def forward(self, x: Tensor, s: Time, t: Time | None = None) -> Tensor:
        last = self.nodes[-1]
        a, b = first(s), last.t if t is None else first(t)
        k = self.row.get((a, b))
        if k is not None:
            return (
                basis((x - self.world.at(a)[0] * self.world.mean) / self.world.spread(a), self.count, self.reach) @ self.theta[k][:, None]
            )
        if self.gives == "velocity":
            return self.world.average_velocity(x, torch.full_like(x, a), torch.full_like(x, b))
        return self.world.flow(x, a, b) / (last.alpha if t is None else 1.0)


class Smooth(nn.Module):
    """A student between two nodes, to the last of them; (B, 1) from (B, 1), differentiable in state and time."""

    def __init__(self, world: LineWorld, gives: str, ends: tuple[Any, Any], count: int = 16, degree: int = 3) -> None:
        super().__init__()
        self.world, self.gives, self.ends, self.count = world, gives, ends, count
        self.degree, self.reach = degree, 4.0
        self.theta = nn.Parameter(torch.zeros(count + 2, degree + 1, dtype=torch.float64))

    def forward(self, x: Tensor, s: Time, t: Time | None = None) -> Tensor:
        alpha, sigma = self.world.at(torch.as_tensor(s, dtype=torch.float64) + torch.zeros_like(x))
        low, high, last = self.ends[0].lam, self.ends[1].lam, self.ends[1]
        a = (torch.log(alpha / sigma) - low) * (2.0 / (high - low)) - 1.0
        powers = [torch.ones_like(a), a]
        while len(powers) <= self.degree:
            powers.append(2.0 * a * powers[-1] - powers[-2])
        z = (x - alpha * self.world.mean) / torch.sqrt(alpha * alpha * self.world.variance + sigma * sigma)
        away = ((basis(z, self.count, self.reach) @ self.theta) * torch.cat(powers, -1)).sum(-1, keepdim=True)
        if self.gives == "velocity":
            return away
        return self.world.mean + (self.world.spread(last.t) / last.alpha) * z + (0.5 - 0.5 * a) * away


def samples(world: LineWorld, s: Any, t: Any, states: int) -> Batch:
    """Even quantiles of x_s, each twice, x0 a standard deviation to either side of its posterior mean: two exact moments of p(x0 | x)."""
    law = world.law
    assert law is not None
    x = np.asarray(law.marginal(s).quantile((np.arange(states) + 0.5) / states))[:, None]
    away = np.sqrt(np.asarray(law.posterior_covariance(x, s))[:, 0])
    x0 = np.concatenate([np.asarray(law.denoised(x, s)) + sign * away for sign in (-1.0, 1.0)])
    return _batch(world, x0, (np.tile(x, (2, 1)) - s.alpha * x0) / s.sigma, s, t)


def pairs(world: LineWorld, s: Any, t: Any, n: int) -> Batch:
    """n pairs of data and noise, evenly spread."""
    law = world.law
    assert law is not None
    u = qmc.Sobol(2, seed=0).random(n)
    return _batch(world, np.asarray(law.quantile(u[:, :1])), ndtri(u[:, 1:]), s, t)


def _batch(world: LineWorld, x0: np.ndarray, eps: np.ndarray, s: Any, t: Any) -> Batch:
    clean, noise = torch.as_tensor(x0), torch.as_tensor(eps)
    one = torch.ones_like(clean)
    return Batch(clean, noise, s.t * one, t.t * one, one, world, noise)


def joined(batches: Sequence[Batch]) -> Batch:
    """One batch of several."""
    names = ("x0", "eps", "s", "t", "weight", "z")
    parts: dict[str, Any] = {name: torch.cat([getattr(b, name) for b in batches]) for name in names}
    return Batch(teacher=batches[0].teacher, **parts)


def zero(gradient: Callable[[np.ndarray], np.ndarray], start: np.ndarray, rounds: int = 1, h: float = 1.0) -> np.ndarray:
    """Where a gradient vanishes, by Newton's method with differences of step h; one round is the answer where it is affine."""
    theta = start.copy()
    for _ in range(rounds):
        here = gradient(theta)
        matrix = np.stack([(gradient(theta + h * e) - here) / h for e in np.eye(len(theta))], 1)
        theta = theta + np.linalg.lstsq(matrix, -here, rcond=1e-9)[0]
    return theta


def slope(loss: Loss, student: nn.Module, b: Batch, rows: int | slice) -> Callable[[np.ndarray], np.ndarray]:
    """The gradient of the mean of a loss in some rows of the student's parameters, as a function of them."""
    theta: Any = student.theta

    def at(value: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            theta[rows] = torch.as_tensor(value).reshape(theta[rows].shape)
        (g,) = torch.autograd.grad(loss(student, b).mean(), theta)
        return np.asarray(g[rows]).ravel()

    return at


def rows_minimiser(loss: Loss, gives: str, world: LineWorld, nodes: Sequence[Any], *, curved: bool = False) -> Rows:
    """The student at which the gradient of a discrete loss vanishes, row by row: to the last node from the cleanest up, or, of two times,
    over 1, 2, 4, … steps, and no step for velocities.

    Args:
        loss: ``loss(student, batch)``.
        gives: what the student is.
        world: the teacher.
        nodes: noise to data; even in time for maps of two times, whose number of steps is a power of 2.
        curved: whether the gradient is no affine function of the parameters.

    Returns:
        the student, with one row of spline values for each node.
    """
    n = len(nodes) - 1
    if gives == "endpoint":
        order = [(i, n) for i in range(n - 1, -1, -1)]
    else:
        order = [(i, i + d) for d in [2**k for k in range(n.bit_length())] for i in range(0, n - d + 1, d)]
    student = Rows(world, gives, nodes, order)
    for k, (i, j) in enumerate(order):
        b = pairs(world, nodes[i], nodes[i + 1], 2048) if gives == "endpoint" else samples(world, nodes[i], nodes[j], 160)
        start = _affine(student, nodes[i], nodes[j])
        slope(loss, student, b, k)(zero(slope(loss, student, b, k), start, 3 if curved else 1, 1e-3 if curved else 1.0))
    return student


def _affine(student: Rows, s: Any, t: Any) -> np.ndarray:
    """Parameters of the map of the moments."""
    world, out = student.world, np.zeros(student.count + 2)
    here, there, m = (float(a) for a in (world.spread(s.t), world.spread(t.t), world.mean))
    out[0], out[1] = t.alpha * m, there
    if student.gives == "velocity":
        out[0], out[1] = (out[0] - s.alpha * m) / (t.t - s.t), (there - here) / (t.t - s.t)
    elif student.gives == "endpoint":
        out[:2] /= t.alpha
    return out


def smooth_minimiser(loss: Loss, gives: str, world: LineWorld, ends: tuple[Any, Any], *, levels: int = 6) -> Smooth:
    """The student at which the gradient of a loss with derivatives in time vanishes, from levels between two nodes to the last: one system.

    Args:
        loss: ``loss(student, batch)``, whose gradient is affine in the student.
        gives: "endpoint" or "velocity".
        world: the teacher.
        ends: the first and the last node.
        levels: Gauss nodes in lam.

    Returns:
        the student, smooth in time.
    """
    start, last = ends
    z = 0.5 * (1.0 + np.polynomial.legendre.leggauss(levels)[0])
    student = Smooth(world, gives, ends)
    b = joined([samples(world, start.toward(last, float(one)), last, 64) for one in z])
    at = slope(loss, student, b, slice(None))
    at(zero(at, np.zeros(student.theta.numel())))
    return student
