r"""Mixtures of heat kernels on a torch device: the exact scores of ``analytic.heat``, with gradients, and without the host in a call.

On circles and intervals the kernels are image sums or Fourier series, as in ``analytic.heat.wrapped``. On spheres, SU(2) and SO(3) a
kernel is a function f(c) of c = cos r, r the distance, entire also where r has its kinks: with ⊤ the projection on the tangent space,

    ∇_x f = f'(c) ∇c,    ∇c = ⊤ m on spheres, the same on SO(3), where c = (tr mᵀx − 1)/2,

so that scores and their gradients are finite at the mean and at the cut locus. log f and its derivatives in c come from tables
(``heat_table.py``).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scorebed.analytic.heat import HeatMixture as Exact
from scorebed.analytic.heat.points import heat_time
from scorebed.analytic.heat.wrapped import TWO_PI, images
from scorebed.gpu.heat_table import Tabulated, radial_table
from scorebed.solvers.model import pointwise, predicts
from scorebed.solvers.schedule import Node
from scorebed.solvers.space import SO3, SU2, Box, Euclidean, Product, Sphere, Torus

_PAIRS = 1 << 22
"""Pairs of a state and a component at once."""


class HeatMixture:
    """Σ_k weights_k P_{times_k}(· | means_k) on a space, on a torch device.

    Args:
        law: an ``analytic`` ``HeatMixture`` or ``HeatProduct`` on Euclidean, Torus, Box, Sphere, SU2, SO3, or a Product of them.
        device: where.
        dtype: float32 or float64, in which sums are formed.

    Raises:
        TypeError: another law, or a space whose kernel is not here.
        ValueError: another dtype.

    States x have shape (..., *space.shape) and any floating type; results come back in it. Gradients in x are exact, once.
    """

    def __init__(self, law: Any, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype = {dtype}: give torch.float32 or torch.float64; states may have any floating type")
        factors = law.factors if hasattr(law, "factors") else (law,)
        if not all(isinstance(factor, Exact) for factor in factors):
            raise TypeError(f"law is a {type(law).__name__}: give a HeatMixture or a HeatProduct")
        self.space, self.dtype, self.device = law.space, dtype, torch.device(device)
        self._product = Product(*(factor.space for factor in factors))
        self._factors = [_Factor(factor, self.device, dtype) for factor in factors]

    def __repr__(self) -> str:
        return f"HeatMixture({self.space.name}, {self.dtype}, {self.device})"

    def _each(self, x: Tensor, node: Node | None, score: bool) -> tuple[list[Tensor], Tensor]:
        shape = tuple(self.space.shape)
        if not (isinstance(x, Tensor) and x.is_floating_point() and tuple(x.shape[x.ndim - len(shape) :]) == shape):
            raise ValueError(
                f"x has shape {tuple(getattr(x, 'shape', ()))}: give a floating-point tensor (..., {', '.join(map(str, shape))})"
            )
        if x.device != self.device:
            raise ValueError(f"x is on {x.device}, the mixture on {self.device}: they must be on one device")
        flat = x.reshape(-1, *shape).to(self.dtype)
        parts = self._product.split(flat) if len(self._factors) > 1 else [flat]
        time = heat_time(node)
        return [factor(part, time, score) for factor, part in zip(self._factors, parts, strict=True)], flat

    def log_prob(self, x: Tensor, node: Node | None = None) -> Tensor:
        """log p_t(x) with respect to the Riemannian volume, shape (...); of the law itself without a node."""
        parts, _ = self._each(x, node, score=False)
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total.reshape(x.shape[: x.ndim - len(self.space.shape)]).to(x.dtype)

    def _score(self, x: Tensor, node: Node | None) -> tuple[Tensor, Tensor]:
        parts, flat = self._each(x, node, score=True)
        return (self._product.join(parts) if len(parts) > 1 else parts[0]), flat

    @predicts("score")
    def score(self, x: Tensor, node: Node | None = None) -> Tensor:
        """The Riemannian gradient of log p_t at x, an ambient tangent vector of the shape of x."""
        return self._score(x, node)[0].reshape(x.shape).to(x.dtype)

    @predicts("denoised")
    @pointwise
    def denoised(self, x: Tensor, node: Node) -> Tensor:
        """x + sigma² score, an ambient vector of the shape of x."""
        value, flat = self._score(x, node)
        return (flat + heat_time(node) * value).reshape(x.shape).to(x.dtype)


class _Factor:
    """One mixture: log densities and scores of rows of states, a bounded number of pairs at a time."""

    def __init__(self, law: Any, device: torch.device, dtype: torch.dtype) -> None:
        live = law.weights > 0.0
        self.space, self.times = law.space, law.times[live]
        self.means = torch.as_tensor(law.means[live], device=device).to(dtype)
        self.logs = torch.as_tensor(np.log(law.weights[live]), device=device).to(dtype)
        self.kernel = kernel_for(law.space)

    def __call__(self, x: Tensor, time: float, score: bool) -> Tensor:
        times = self.times + time
        if np.any(times <= 0.0):
            raise ValueError("a component is a point mass and sigma = 0, no density: ask at a node with sigma > 0")
        size = max(1, math.prod(self.space.shape))
        rows = max(1, _PAIRS // (len(times) * size))
        return torch.cat([self._rows(some, times, score) for some in x.split(rows)])

    def _rows(self, x: Tensor, times: np.ndarray, score: bool) -> Tensor:
        logs: list[Tensor] = []
        slopes: list[Tensor] = []
        for t in np.unique(times):
            pick = torch.as_tensor(np.flatnonzero(times == t), device=x.device)
            log, slope = self.kernel(self.space, x, self.means[pick], float(t), score)
            logs.append(log + self.logs[pick, None])
            slopes.append(slope)
        log = torch.cat(logs)
        if not score:
            return torch.logsumexp(log, 0)
        share = torch.softmax(log, 0)
        return (share.reshape(*share.shape, *(1,) * (x.ndim - 1)) * torch.cat(slopes)).sum(0)


def kernel_for(space: Any) -> Any:
    """(space, x (n, …), means (K, …), t, slopes wanted) -> log p_t(x | mean) (K, n), and its gradient (K, n, …).

    Returns:
        function of (space, x, means, t, slopes) -> (log p_t (K, n), gradient (K, n, …)).

    Raises:
        TypeError: a space whose kernel is not here.
    """
    for kinds, kernel in (((Torus, Box, Euclidean), _flat), ((Sphere, SU2, SO3), _round), ((Product,), _side_by_side)):
        if isinstance(space, kinds):
            return kernel
    raise TypeError(f"space = {space!r} has no kernel on a device: give Euclidean, Torus, Box, Sphere, SU2, SO3 or a Product of them")


def _flat(space: Any, x: Tensor, means: Tensor, t: float, score: bool) -> tuple[Tensor, Tensor]:
    logs, slopes = [], []
    for i in range(space.dim):
        a, b = x[None, :, i], means[:, None, i]
        if isinstance(space, Torus):
            log, slope = wrapped(a - b, t, TWO_PI)
        elif isinstance(space, Euclidean):
            log, slope = -0.5 * (a - b) ** 2 / t - 0.5 * math.log(TWO_PI * t), (b - a) / t
        else:
            low, period = float(space.lower[i]), 2.0 * float(space.upper[i] - space.lower[i])
            (near, near_slope), (far, far_slope) = wrapped(a - b, t, period), wrapped(a + b - 2.0 * low, t, period)
            log = torch.logaddexp(near, far)
            slope = torch.exp(near - log) * near_slope + torch.exp(far - log) * far_slope
        logs.append(log)
        slopes.append(slope)
    return torch.stack(logs).sum(0), torch.stack(slopes, -1)


def wrapped(u: Tensor, t: float, period: float) -> tuple[Tensor, Tensor]:
    """(log G_t(u), ∂_u log G_t(u)) on the circle of this circumference; formulas in ``analytic.heat.wrapped``."""
    scale = TWO_PI / period
    u, time = scale * (u - period * torch.round(u / period)), t * scale * scale
    if time <= TWO_PI:
        n = torch.arange(-images(time), images(time) + 1, device=u.device, dtype=u.dtype)
        weight = torch.exp(-TWO_PI * n * (u[..., None] + math.pi * n) / time)
        total = weight.sum(-1)
        log = -0.5 * u * u / time + torch.log(total) - 0.5 * math.log(TWO_PI * time)
        return log + math.log(scale), -scale * (u + TWO_PI * (weight @ n) / total) / time
    n = torch.arange(1, int(2.0 + math.sqrt(80.0 / time)) + 1, device=u.device, dtype=u.dtype)
    decay = 2.0 * torch.exp(-0.5 * n * n * time)
    rest = torch.cos(u[..., None] * n) @ decay
    slope = -(torch.sin(u[..., None] * n) @ (n * decay)) / (1.0 + rest)
    return torch.log1p(rest) - math.log(TWO_PI) + math.log(scale), scale * slope


def _round(space: Any, x: Tensor, means: Tensor, t: float, score: bool) -> tuple[Tensor, Tensor]:
    points, centres = torch.broadcast_tensors(x[None], means[:, None])
    axes = tuple(range(2, points.ndim))
    inner = (points * centres).sum(axes)
    c = 0.5 * (inner - 1.0) if isinstance(space, SO3) else inner
    with torch.no_grad():
        far, near = (((points + s * centres) ** 2).sum(axes) for s in (1.0, -1.0))
        r = space.distance(points, centres) if isinstance(space, SO3) else 2.0 * torch.atan2(near.sqrt(), far.sqrt())
        table = radial_table(space, t, x.device, x.dtype)
    log: Tensor = Tabulated.apply(c, r, table, 0)
    if not score:
        return log, log
    rate: Tensor = Tabulated.apply(c, r, table, 1)
    return log, -rate.reshape(*rate.shape, *(1,) * len(axes)) * space.tangent(points, centres)


def _side_by_side(space: Any, x: Tensor, means: Tensor, t: float, score: bool) -> tuple[Tensor, Tensor]:
    columns = zip(space.spaces, space.split(x), space.split(means), strict=True)
    logs, slopes = zip(*(kernel_for(part)(part, a, b, t, score) for part, a, b in columns), strict=True)
    return torch.stack(logs).sum(0), (space.join(list(slopes)) if score else logs[0])
