r"""Exact maps of the probability flow dx/dt = -½ ∇ log p_t, t = sigma², on the spaces where one coordinate decides.

The flow carries mass, so in one dimension a distribution function is constant along it, up to what flows past its reference point:

    d/dt ∫_a^{x(t)} p_t = ½ (p_t'(x) - p_t'(a)) - ½ p_t'(x) = -½ p_t'(a).

box     a at a wall, where p' = 0: F_t(x(t)) is constant. Unfolded, p_t is a mixture of normals on the line, with mirror images.
circle  p_t' vanishes at no fixed point, the flow may turn the whole circle. On the universal cover the mixture of all images,
        H_t(x) = Σ_k w_k ((x - μ_k)/2π + Σ_{n>=1} e^{-n²(t+τ_k)/2} sin n(x-μ_k)/(πn)), has ∂_t H = ½ ∂_x p, and p_t' vanishes at infinity:
        H_t(x(t)) is constant, with the rotation in it. So both are one problem of ``line.py``, on enough images.
radius  a law symmetric about a pole: the flow moves along rays and F_t(r(t)) is constant, F the law of the distance from the pole
        (``radial.py``). Components at the antipode of a sphere belong to it, with r replaced by π - r.

With several components F - W_A = Σ_{k not in A} w_k F_k - Σ_{k in A} w_k (1 - F_k) is compared for the set A of components that are mostly
below x, so that nothing is lost where F is flat. Later than the time at which a kernel is uniform to 1e-17 nothing moves any more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scorebed.analytic.gaussian.line import Line, transport
from scorebed.analytic.heat.radial import Radial, RadialLaw
from scorebed.solvers.space import Space

_DEEP = 80.0
_TAILS = 10.0  # standard deviations beyond which a normal holds nothing
_SAME = 1e-7  # means closer than this are one pole (√eps: points are kept to round-off)


@dataclass(frozen=True)
class Cover:
    """How a coordinate is unrolled to the line: with a period from ``low`` on, and mirrored at ``low`` where that is a wall."""

    low: float
    period: float
    mirrored: bool


def line_flow(cover: Cover | None, weights: np.ndarray, means: np.ndarray, x: np.ndarray, s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """One coordinate, as a flow of the mixture of all images on the line; without a cover it lies there already."""
    if cover is None:
        return transport(_comb(weights, means, s), _comb(weights, means, t), x)
    # later than this everything is uniform, e^{-(2π/period)² t/2} < e^{-_DEEP/2}
    latest = _DEEP * (cover.period / (2.0 * math.pi)) ** 2
    s, t = np.minimum(s, latest), np.minimum(t, latest)
    count = math.ceil(_TAILS * math.sqrt(max(s.max(), t.max())) / cover.period) + 1
    shift = cover.period * np.arange(-count, count + 1.0)
    centres = [means, 2.0 * cover.low - means] if cover.mirrored else [means]
    images = np.concatenate([(c[:, None] + shift).reshape(-1) for c in centres])
    spread = [np.tile(np.repeat(a, len(shift)), len(centres)) for a in (weights, s, t)]
    return transport(_comb(spread[0], images, spread[1]), _comb(spread[0], images, spread[2]), x)


def _comb(weights: np.ndarray, means: np.ndarray, times: np.ndarray) -> Line:
    return Line(np.log(weights), means, np.sqrt(times))


def radial_flow(
    space: Space, radial: Radial, weights: np.ndarray, means: np.ndarray, x: np.ndarray, s: np.ndarray, t: np.ndarray
) -> np.ndarray:
    """Along rays from a pole, by the law of the distance from it.

    Returns:
        points at ``t``, of the shape of x.

    Raises:
        ValueError: means that are not all at one pole, or at its antipode.
    """
    pole = means[:1]
    away = space.distance(np.broadcast_to(pole, means.shape), means)
    far = np.abs(away - radial.end) < _SAME if radial.antipode else np.zeros(len(means), dtype=bool)
    if not np.all((away < _SAME) | far):
        raise ValueError(
            f"the means are {away.max():.3g} apart: flow() on {space.name} needs a law symmetric about a pole, with all means there "
            "(or on a sphere at its antipode)"
        )
    poles = np.broadcast_to(pole, x.shape)
    r = space.distance(poles, x)
    source = [Ray(radial.law(float(time)), bool(flip)) for time, flip in zip(s, far, strict=True)]
    target = [Ray(radial.law(float(time)), bool(flip)) for time, flip in zip(t, far, strict=True)]
    moved = transport_radius(weights, source, target, r, radial.end)
    # from the pole or the antipode, whichever is nearer, so that the direction keeps its digits
    trailing = (None,) * len(space.shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = np.where(r > 0.0, moved / np.where(r > 0.0, r, 1.0), 1.0)
    step = space.log(x, poles)  # towards the pole, of length r
    with np.errstate(invalid="ignore"):
        return space.exp(x, (1.0 - factor)[(..., *trailing)] * step)


class Ray:
    """The law of the distance from the pole of one component, at the pole or (flipped) at the antipode."""

    def __init__(self, law: RadialLaw, flip: bool) -> None:
        self.law, self.flip = law, flip

    @property
    def end(self) -> float:
        """The largest r that this component knows."""
        return math.pi if self.flip else self.law.end

    def logs(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not self.flip:
            return self.law.logs(r)
        low, high = self.law.logs(math.pi - r)
        return high, low

    def inverse(self, log_low: np.ndarray, log_high: np.ndarray) -> np.ndarray:
        return math.pi - self.law.inverse(log_high, log_low) if self.flip else self.law.inverse(log_low, log_high)

    def log_density(self, r: np.ndarray) -> np.ndarray:
        return self.law.log_density(math.pi - r if self.flip else r)


def transport_radius(weights: np.ndarray, source: list[Ray], target: list[Ray], r: np.ndarray, diameter: float) -> np.ndarray:
    """The radii q with Σ w_k F_k^target(q) = Σ w_k F_k^source(r).

    Returns:
        radii q, of the shape of r.

    Raises:
        ValueError: a radius at which no component has a density above e^{-700}, where the tables end.
    """
    logs = [ray.logs(r) for ray in source]
    fixed = (r == 0.0) | (r >= diameter * (1.0 - 1e-15))  # the pole and the cut point, where the flow stands still
    if np.any(np.all([np.minimum(low, high) == -np.inf for low, high in logs], axis=0) & ~fixed):
        raise ValueError("x holds a point that the law at the node s reaches with less than e^-700 of its mass: start closer to its means")
    ends = [ray.inverse(low, high) for ray, (low, high) in zip(target, logs, strict=True)]
    if len(weights) == 1:
        return np.where(fixed, r, ends[0])
    # a component that does not reach r says nothing about the bracket, and may come into it at the other node
    says = np.all([np.minimum(low, high) > -690.0 for low, high in logs], axis=0)
    a = np.where(says, np.min(ends, axis=0), 0.0)
    b = np.where(says, np.max(ends, axis=0), max(ray.end for ray in target))
    below = np.array([low > high for low, high in logs])  # A: mostly below r
    log_weights = np.log(weights)[:, None]

    def signed(pairs: list[tuple[np.ndarray, np.ndarray]], scale: np.ndarray) -> np.ndarray:
        terms = np.array([np.where(left, high, low) for left, (low, high) in zip(below, pairs, strict=True)])
        return (np.where(below, -1.0, 1.0) * np.exp(np.minimum(terms + log_weights - scale, 700.0))).sum(0)

    scale = (np.array([np.where(left, high, low) for left, (low, high) in zip(below, logs, strict=True)]) + log_weights).max(0)
    scale = np.where(np.isfinite(scale), scale, 0.0)
    goal = signed(logs, scale)
    margin = 1e-14 * (1.0 + np.abs(b))
    a, b = np.maximum(a - margin, 0.0), b + margin
    y = 0.5 * (a + b)
    for turn in range(100):
        gap = signed([ray.logs(y) for ray in target], scale) - goal
        a, b = np.where(gap <= 0.0, y, a), np.where(gap >= 0.0, y, b)
        slope = np.exp(np.minimum(np.array([ray.log_density(y) for ray in target]) + log_weights - scale, 700.0)).sum(0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            new = y - gap / slope
        new = np.where((new > a) & (new < b) & (turn % 3 != 2), new, np.where((new > a) & (new < b) & (b - a < 1e-6), new, 0.5 * (a + b)))
        done = (np.abs(new - y) <= 2e-16 * (1.0 + np.abs(y))) | (gap == 0.0)
        y = np.where(gap == 0.0, y, new)
        if done.all():
            break
    return np.where(fixed, r, y)
