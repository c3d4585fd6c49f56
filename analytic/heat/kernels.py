r"""The heat kernel of a space at a pair of points: its logarithm, its gradient, and exact draws from it.

``kernel_of(space)`` gives, for ½Δ with reflection where the space has a boundary,

    at(x, means, t)    log p_t(x | mean_k), (K, n), and its Riemannian gradient in x as an ambient tangent vector, (K, n, *shape)
    draw(means, t)     one draw of p_t(· | mean_i) for each mean_i, (n, *shape)

Densities are with respect to the Riemannian volume. On isotropic spaces both come from the radial kernel in r = d(x, mean), the gradient
being ∂_r log K times -log_x(mean)/r; draws have a uniform direction and the radius of the exact radial law (``radial.py``).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import singledispatch
from typing import Any

import numpy as np

from scorebed.analytic.heat import hyperbolic, rotation  # noqa: F401  with sphere and wrapped they enter radial_of
from scorebed.analytic.heat.flow import Cover, line_flow, radial_flow
from scorebed.analytic.heat.radial import Radial, radial_of
from scorebed.analytic.heat.wrapped import reflected, wrapped
from scorebed.solvers.space import Box, Euclidean, HalfSpace, Product, Space, Torus

Pair = tuple[np.ndarray, np.ndarray]


class Kernel(ABC):
    """What a space's heat kernel can do."""

    space: Space

    @abstractmethod
    def at(self, x: np.ndarray, means: np.ndarray, t: float) -> Pair:
        """log p_t(x | mean_k), (K, n), and its gradient in x, (K, n, *shape)."""

    @abstractmethod
    def draw(self, means: np.ndarray, t: float, rng: np.random.Generator) -> np.ndarray:
        """One draw of p_t(· | mean_i) for each mean_i."""

    def flow(self, weights: np.ndarray, means: np.ndarray, x: np.ndarray, s: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Where the probability flow of the mixture with these weights and means takes x, its components' times going from s to t.

        Raises:
            ValueError: a mixture whose flow has no closed form.
        """
        raise ValueError(
            f"flow() has no closed form for k = {len(weights)} components on {self.space.name}: use one dimension, one component, "
            "HeatProduct, a law symmetric about a pole, or integrate the flow with a tight tolerance"
        )


class _Flat(Kernel):
    """Coordinates x_i independent of each other given the mean; ``covers`` says how each lies on the line."""

    def __init__(
        self,
        space: Space,
        pair: Callable[[np.ndarray, np.ndarray, float], Pair],
        fold: Callable[[np.ndarray], np.ndarray],
        covers: Sequence[Cover | None],
    ) -> None:
        self.space, self._pair, self._fold, self._covers = space, pair, fold, covers

    def at(self, x: np.ndarray, means: np.ndarray, t: float) -> Pair:
        log, slope = self._pair(x[None], means[:, None], t)
        return log.sum(-1), slope

    def draw(self, means: np.ndarray, t: float, rng: np.random.Generator) -> np.ndarray:
        return self._fold(means + math.sqrt(t) * rng.standard_normal(means.shape))

    def flow(self, weights: np.ndarray, means: np.ndarray, x: np.ndarray, s: np.ndarray, t: np.ndarray) -> np.ndarray:
        if self.space.dim > 1 and len(weights) > 1:
            return super().flow(weights, means, x, s, t)
        columns = [line_flow(cover, weights, means[:, i], x[:, i], s, t) for i, cover in enumerate(self._covers)]
        return self.space.project(np.stack(columns, axis=-1))


def _normal(x: np.ndarray, mean: np.ndarray, t: float) -> Pair:
    apart = x - mean
    return -0.5 * apart * apart / t - 0.5 * math.log(2.0 * math.pi * t), -apart / t


def _circle(x: np.ndarray, mean: np.ndarray, t: float) -> Pair:
    return wrapped(x - mean, t)


class _Interval:
    def __init__(self, space: Box) -> None:
        self.low, self.length = space.lower, space.upper - space.lower

    def __call__(self, x: np.ndarray, mean: np.ndarray, t: float) -> Pair:
        unit_x, unit_mean = (x - self.low) / self.length, (mean - self.low) / self.length
        shape = np.broadcast_shapes(unit_x.shape, unit_mean.shape)
        log, slope = np.empty(shape), np.empty(shape)
        for i, length in enumerate(self.length):  # sides of different length have different times
            log[..., i], slope[..., i] = reflected(unit_x[..., i], unit_mean[..., i], t / length**2)
        return log - np.log(self.length), slope / self.length


class _Mirror(Kernel):
    """The half-space {n·x <= c}: a normal and its mirror image."""

    space: HalfSpace

    def __init__(self, space: HalfSpace) -> None:
        self.space = space

    def _image(self, means: np.ndarray) -> np.ndarray:
        return means + 2.0 * self.space.gaps(means) * self.space.outward

    def at(self, x: np.ndarray, means: np.ndarray, t: float) -> Pair:
        near, near_slope = _normal(x[None], means[:, None], t)
        far, far_slope = _normal(x[None], self._image(means)[:, None], t)
        log_near, log_far = near.sum(-1), far.sum(-1)
        log = np.logaddexp(log_near, log_far)
        return log, np.exp(log_near - log)[..., None] * near_slope + np.exp(log_far - log)[..., None] * far_slope

    def draw(self, means: np.ndarray, t: float, rng: np.random.Generator) -> np.ndarray:
        y = means + math.sqrt(t) * rng.standard_normal(means.shape)
        return y + np.minimum(2.0 * self.space.gaps(y), 0.0) * self.space.outward


class _Radial(Kernel):
    """A space that looks the same in all directions from every point."""

    def __init__(self, space: Space, radial: Radial) -> None:
        self.space, self.radial = space, radial

    def at(self, x: np.ndarray, means: np.ndarray, t: float) -> Pair:
        trailing = (None,) * len(self.space.shape)
        points, centres = np.broadcast_arrays(x[None], means[:, None])
        r = self.space.distance(points, centres)
        log, slope = self.radial.kernel(r, t)
        with np.errstate(invalid="ignore", divide="ignore"):
            rate = np.where(r > 0.0, slope / np.where(r > 0.0, r, 1.0), 0.0)
        return log, -rate[(..., *trailing)] * self.space.log(points, centres)

    def draw(self, means: np.ndarray, t: float, rng: np.random.Generator) -> np.ndarray:
        r = self.radial.law(t).sample(len(means), rng)
        v = self.space.noise(means, rng.standard_normal(means.shape))
        length = self.space.norm(means, v)
        trailing = (None,) * len(self.space.shape)
        return self.space.exp(means, (r / length)[(..., *trailing)] * v)

    def flow(self, weights: np.ndarray, means: np.ndarray, x: np.ndarray, s: np.ndarray, t: np.ndarray) -> np.ndarray:
        return radial_flow(self.space, self.radial, weights, means, x, s, t)


class _Parts(Kernel):
    """Side by side: logarithms add up, gradients stand beside each other."""

    space: Product

    def __init__(self, space: Product) -> None:
        self.space, self.parts = space, [kernel_of(part) for part in space.spaces]

    def at(self, x: np.ndarray, means: np.ndarray, t: float) -> Pair:
        columns = zip(self.parts, self.space.split(x), self.space.split(means), strict=True)
        logs, slopes = zip(*(part.at(a, b, t) for part, a, b in columns), strict=True)
        return np.sum(logs, axis=0), self.space.join(list(slopes))

    def draw(self, means: np.ndarray, t: float, rng: np.random.Generator) -> np.ndarray:
        return self.space.join([part.draw(m, t, rng) for part, m in zip(self.parts, self.space.split(means), strict=True)])

    def flow(self, weights: np.ndarray, means: np.ndarray, x: np.ndarray, s: np.ndarray, t: np.ndarray) -> np.ndarray:
        if len(weights) > 1:
            return super().flow(weights, means, x, s, t)
        columns = zip(self.parts, self.space.split(means), self.space.split(x), strict=True)
        return self.space.join([part.flow(weights, mean, point, s, t) for part, mean, point in columns])


def _fold(space: Any) -> Callable[[np.ndarray], np.ndarray]:
    def fold(y: np.ndarray) -> np.ndarray:
        length = space.upper - space.lower
        phase = np.mod(y - space.lower, 2.0 * length)
        return np.clip(space.lower + np.minimum(phase, 2.0 * length - phase), space.lower, space.upper)

    return fold


@singledispatch
def kernel_of(space: Any) -> Kernel:
    """The heat kernel of a space. A space of another kind registers its own: ``@kernel_of.register``, or a ``radial_of`` alone.

    Returns:
        the Kernel of the space.

    Raises:
        TypeError: a space whose heat kernel is not known in closed form (polytopes and simplices among them).
    """
    radial = radial_of(space)
    if radial is None:
        raise TypeError(
            f"space = {space!r} has no heat kernel in closed form here: give Euclidean, Torus, Box, HalfSpace, Sphere, SU2, SO3, "
            "Hyperbolic, or a Product of them"
        )
    return _Radial(space, radial)


@kernel_of.register
def _(space: Product) -> Kernel:
    return _Parts(space)


@kernel_of.register
def _(space: Euclidean) -> Kernel:
    return _Flat(space, _normal, lambda y: y, [None] * space.dim)


@kernel_of.register
def _(space: Torus) -> Kernel:
    return _Flat(space, _circle, space.project, [Cover(-math.pi, 2.0 * math.pi, mirrored=False)] * space.dim)


@kernel_of.register
def _(space: Box) -> Kernel:
    covers = [Cover(float(a), 2.0 * float(b - a), mirrored=True) for a, b in zip(space.lower, space.upper, strict=True)]
    return _Flat(space, _Interval(space), _fold(space), covers)


@kernel_of.register
def _(space: HalfSpace) -> Kernel:
    return _Mirror(space)
