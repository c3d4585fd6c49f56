r"""Mixtures of heat kernels: closed-form truth at every node on boxes, tori, spheres, rotations, hyperbolic spaces and their products.

With P_t the kernel of ½Δ (reflected where there is a wall), a mixture stays one under noising:

    p_0 = Σ_k w_k P_{τ_k}(· | μ_k)    ⇒    p_t = Σ_k w_k P_{τ_k + t}(· | μ_k),      t = sigma².

The semigroup has no drift, so nodes are those of schedules with alpha = 1 (VE, EDM). The score is the Riemannian gradient of log p_t as an
ambient tangent vector. On these spaces there is no E[x0 | x] to speak of; Tweedie's form is the definition of what solvers receive,

    denoised(x) = x + sigma² score(x),     an ambient vector.

On the torus this is the wrapped, in the box the reflected Gaussian mixture. Densities are with respect to the Riemannian volume.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from scorebed.analytic.gaussian.arrays import finite
from scorebed.analytic.heat.kernels import kernel_of
from scorebed.analytic.heat.points import heat_time, points
from scorebed.solvers.model import Array, pointwise, predicts
from scorebed.solvers.schedule import Node
from scorebed.solvers.space import Space

_BLOCK = 1 << 19


def count(n: int) -> int:
    """A number of draws.

    Returns:
        n as an int, 1 or more.

    Raises:
        ValueError: not an integer of at least 1.
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise ValueError(f"n = {n!r} must be an integer of at least 1")
    return int(n)


class HeatMixture:
    """Σ_k weights_k P_{times_k}(· | means_k) on a space.

    Args:
        space: of ``solvers.space``: Euclidean, Torus, Box, HalfSpace, Sphere, SU2, SO3, Hyperbolic, or a Product of them.
        weights: (K,), not negative, summing to 1 within 1e-6 (then normalised).
        means: (K, *space.shape), points of the space.
        times: (K,) or a number, the time τ_k = variance that component k has diffused already; 0 is a point mass, welcome where sigma > 0.

    Raises:
        TypeError: a space whose heat kernel is not known.
        ValueError: shapes that do not match, nan or inf, weights that are no distribution, means outside the space, negative times.

    Points x have shape (..., *space.shape); results come back in the library, device and float type of x, computed in float64.
    """

    def __init__(self, space: Space, weights: Any, means: Any, times: Any) -> None:
        self.space, self.kernel = space, kernel_of(space)
        self.weights, self.means = finite("weights", weights, 1), finite("means", means)
        self.k = len(self.weights)
        if self.k == 0 or self.means.shape != (self.k, *space.shape):
            wanted = ", ".join(map(str, ("K", *space.shape)))
            raise ValueError(f"means has shape {self.means.shape} and weights {self.weights.shape}: give ({wanted}) and (K,) with K >= 1")
        if np.any(self.weights < 0.0):
            raise ValueError(f"weights[{int(np.argmin(self.weights))}] = {self.weights.min():g} is negative")
        total = math.fsum(self.weights)
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"weights sum to {total:.9g}: give weights that sum to 1 (divide by their sum)")
        space.check(self.means, "means")
        self.weights = self.weights / total
        given = finite("times", times)
        if given.ndim > 1 or (given.ndim == 1 and given.shape != (self.k,)):
            raise ValueError(f"times has shape {given.shape}: give a number or ({self.k},)")
        self.times = np.array(np.broadcast_to(given, (self.k,)))
        if np.any(self.times < 0.0):
            raise ValueError(f"times[{int(np.argmin(self.times))}] = {self.times.min():g} is negative: give the variance of each component")
        with np.errstate(divide="ignore"):
            self._log_weights = np.log(self.weights)

    def __repr__(self) -> str:
        return f"HeatMixture({self.space.name}, k={self.k})"

    def _at(self, node: Node | None) -> list[tuple[float, np.ndarray]]:
        """(time, components of that time)."""
        times = self.times + heat_time(node)
        if np.any(times[self.weights > 0.0] == 0.0):
            k = int(np.argmax((times == 0.0) & (self.weights > 0.0)))
            raise ValueError(f"component {k} is a point mass (times[{k}] = 0) and sigma = 0, no density: ask at a node with sigma > 0")
        live = [(float(t), np.flatnonzero((times == t) & (self.weights > 0.0))) for t in np.unique(times)]
        return [(t, pick) for t, pick in live if len(pick)]

    def _evaluate(self, x: np.ndarray, node: Node | None) -> tuple[np.ndarray, np.ndarray]:
        """log p_t (n,) and its gradient (n, *shape), a bounded number of points at a time."""
        groups = self._at(node)
        size = math.prod(self.space.shape)
        step = max(1, _BLOCK // (self.k * size))
        log_density, score = np.empty(len(x)), np.empty(x.shape)
        for i in range(0, len(x), step):
            logs, slopes = [], []
            for t, pick in groups:
                log, slope = self.kernel.at(x[i : i + step], self.means[pick], t)
                logs.append(log + self._log_weights[pick, None])
                slopes.append(slope)
            log = np.concatenate(logs)
            top = log.max(0)
            share = np.exp(log - top)
            total = share.sum(0)
            log_density[i : i + step] = top + np.log(total)
            score[i : i + step] = np.einsum("kn,kn...->n...", share / total, np.concatenate(slopes))
        return log_density, score

    def log_prob(self, x: Array, node: Node | None = None) -> Array:
        """log p_t(x) with respect to the Riemannian volume, shape (...); of the law itself without a node."""
        flat, restore = points(x, self.space)
        return restore(self._evaluate(flat, node)[0])

    @predicts("score")
    def score(self, x: Array, node: Node | None = None) -> Array:
        """The Riemannian gradient of log p_t at x, an ambient tangent vector of the shape of x."""
        flat, restore = points(x, self.space)
        return restore(self._evaluate(flat, node)[1])

    @predicts("denoised")
    @pointwise
    def denoised(self, x: Array, node: Node) -> Array:
        """x + sigma² score, an ambient vector of the shape of x; x itself where sigma = 0."""
        flat, restore = points(x, self.space)
        time = heat_time(node)
        return restore(flat + time * self._evaluate(flat, node)[1] if time else flat.copy())

    def sample(self, n: int, rng: np.random.Generator | int, node: Node | None = None) -> np.ndarray:
        """``n`` independent exact draws, (n, *shape), of the law or of its marginal at a node. ``rng`` is a generator or a seed.

        Returns:
            (n, *shape) points, float64.

        Raises:
            ValueError: n < 1.
        """
        rng = np.random.default_rng(rng)
        pick = rng.choice(self.k, size=count(n), p=self.weights)
        times = self.times + heat_time(node)
        x = self.means[pick]
        for t in np.unique(times[pick]):
            here = times[pick] == t
            if t > 0.0:
                x[here] = self.kernel.draw(x[here], float(t), rng)
        return x

    def marginal(self, node: Node) -> HeatMixture:
        """The law of x_t."""
        return HeatMixture(self.space, self.weights, self.means, self.times + heat_time(node))

    def flow(self, x: Array, s: Node, t: Node) -> Array:
        """The exact probability-flow map from node ``s`` to node ``t``, where it is known in closed form (``flow.py``)."""
        return heat_flow(self, x, s, t)


def heat_flow(law: HeatMixture, x: Array, s: Node, t: Node) -> Array:
    """Where the probability flow of ``law`` carries the points x, shape (..., *space.shape), from node ``s`` to node ``t``.

    Returns:
        points at ``t``, of the shape of x.

    Raises:
        ValueError: a node with alpha other than 1, a law singular at one of the nodes, or a law whose flow is not known: not in one
            dimension, not of one component on a box, torus or Euclidean space, not symmetric about a pole.
    """
    flat, restore = points(x, law.space)
    before, after = law.times + heat_time(s), law.times + heat_time(t)
    live = law.weights > 0.0
    if np.any(before[live] == 0.0):
        raise ValueError("a component is a point mass at the node s: flow from a node with sigma > 0")
    if np.any(after[live] == 0.0):
        raise ValueError("a component is a point mass at the node t: flow to a node with sigma > 0")
    if np.array_equal(before[live], after[live]):
        return restore(flat.copy())
    return restore(law.kernel.flow(law.weights[live], law.means[live], flat, before[live], after[live]))
