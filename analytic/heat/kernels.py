r"""The heat kernel of a space at a pair of points: its logarithm, its gradient, and exact draws from it.

``kernel_of(space)`` gives, for ½Δ with reflection where the space has a boundary,

    at(x, means, t)    log p_t(x | mean_k), (K, n), and its Riemannian gradient in x as an ambient tangent vector, (K, n, *shape)
    draw(means, t)     one draw of p_t(· | mean_i) for each mean_i, (n, *shape)

Densities are with respect to the Riemannian volume. On isotropic spaces both come from the radial kernel in r = d(x, mean), the gradient
being ∂_r log K times -log_x(mean)/r; draws have a uniform direction and the radius of the exact radial law (``radial.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from scorebed.analytic.heat import hyperbolic, rotation, sphere
from scorebed.analytic.heat.radial import RadialLaw, radial_law
from scorebed.analytic.heat.wrapped import reflected, wrapped
from scorebed.solvers.space import SO3, Box, Euclidean, HalfSpace, Hyperbolic, Product, Space, Sphere, Torus

Pair = tuple[np.ndarray, np.ndarray]


class Kernel(Protocol):
    """What a space's heat kernel can do."""

    def at(self, x: np.ndarray, means: np.ndarray, t: float) -> Pair: ...
    def draw(self, means: np.ndarray, t: float, rng: np.random.Generator) -> np.ndarray: ...


class _Flat:
    """Coordinates x_i independent of each other given the mean."""

    def __init__(self, pair: Callable[[np.ndarray, np.ndarray, float], Pair], fold: Callable[[np.ndarray], np.ndarray]) -> None:
        self._pair, self._fold = pair, fold

    def at(self, x: np.ndarray, means: np.ndarray, t: float) -> Pair:
        log, slope = self._pair(x[None], means[:, None], t)
        return log.sum(-1), slope

    def draw(self, means: np.ndarray, t: float, rng: np.random.Generator) -> np.ndarray:
        return self._fold(means + math.sqrt(t) * rng.standard_normal(means.shape))


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


class _Mirror:
    """The half-space {n·x <= c}: a normal and its mirror image."""

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


class _Radial:
    """A space that looks the same in all directions from every point."""

    def __init__(self, space: Space, pair: Callable[[np.ndarray, float], Pair], law: Callable[[float], RadialLaw]) -> None:
        self.space, self.pair, self.law = space, pair, law

    def at(self, x: np.ndarray, means: np.ndarray, t: float) -> Pair:
        trailing = (None,) * len(self.space.shape)
        points, centres = np.broadcast_arrays(x[None], means[:, None])
        r = self.space.distance(points, centres)
        log, slope = self.pair(r, t)
        with np.errstate(invalid="ignore", divide="ignore"):
            rate = np.where(r > 0.0, slope / np.where(r > 0.0, r, 1.0), 0.0)
        return log, -rate[(..., *trailing)] * self.space.log(points, centres)

    def draw(self, means: np.ndarray, t: float, rng: np.random.Generator) -> np.ndarray:
        r = self.law(t).sample(len(means), rng)
        v = self.space.noise(means, rng.standard_normal(means.shape))
        length = self.space.norm(means, v)
        trailing = (None,) * len(self.space.shape)
        return self.space.exp(means, (r / length)[(..., *trailing)] * v)


class _Parts:
    """Side by side: logarithms add up, gradients stand beside each other."""

    def __init__(self, space: Product) -> None:
        self.space, self.parts = space, [kernel_of(part) for part in space.spaces]

    def at(self, x: np.ndarray, means: np.ndarray, t: float) -> Pair:
        columns = zip(self.parts, self.space.split(x), self.space.split(means), strict=True)
        logs, slopes = zip(*(part.at(a, b, t) for part, a, b in columns), strict=True)
        return np.sum(logs, axis=0), self.space.join(list(slopes))

    def draw(self, means: np.ndarray, t: float, rng: np.random.Generator) -> np.ndarray:
        return self.space.join([part.draw(m, t, rng) for part, m in zip(self.parts, self.space.split(means), strict=True)])


def _fold(space: Any) -> Callable[[np.ndarray], np.ndarray]:
    def fold(y: np.ndarray) -> np.ndarray:
        length = space.upper - space.lower
        phase = np.mod(y - space.lower, 2.0 * length)
        return np.clip(space.lower + np.minimum(phase, 2.0 * length - phase), space.lower, space.upper)

    return fold


def kernel_of(space: Space) -> Kernel:
    """The heat kernel of a space.

    Raises:
        TypeError: a space whose heat kernel is not known in closed form (polytopes and simplices among them).
    """
    if isinstance(space, Product):
        return _Parts(space)
    if isinstance(space, Euclidean):
        return _Flat(_normal, lambda y: y)
    if isinstance(space, Torus):
        return _Flat(_circle, space.project)
    if isinstance(space, Box):
        return _Flat(_Interval(space), _fold(space))
    if isinstance(space, HalfSpace):
        return _Mirror(space)
    if radial_name(space):
        return _Radial(space, *radial_of(space))
    raise TypeError(
        f"space = {space!r} has no heat kernel in closed form here: give Euclidean, Torus, Box, HalfSpace, Sphere, SU2, SO3, Hyperbolic, "
        "or a Product of them"
    )


def radial_name(space: Space) -> str:
    """Which family of radial kernels a space has, or an empty string."""
    return next((type_.__name__ for type_ in (Sphere, SO3, Hyperbolic) if isinstance(space, type_)), "")


def radial_of(space: Space) -> tuple[Callable[[np.ndarray, float], Pair], Callable[[float], RadialLaw]]:
    """The radial kernel of an isotropic space and its radial law, as functions of (r, t) and of t."""
    name, d = radial_name(space), space.dim
    kernels: dict[str, Callable[[np.ndarray, float], Pair]] = {
        "Sphere": lambda r, t: sphere.kernel(r, t, d),
        "SO3": rotation.kernel,
        "Hyperbolic": lambda r, t: hyperbolic.kernel(r, t, d),
    }
    return kernels[name], lambda t: radial_law(name, d, t)
