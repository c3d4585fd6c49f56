r"""Gaussian mixtures: closed-form truth at every node.

p_0 = Σ_k w_k N(mu_k, Σ_k) becomes p_t = Σ_k w_k N(alpha mu_k, C_k), C_k = alpha² Σ_k + sigma² I, under x_t = alpha x0 + sigma eps. With the
responsibilities γ_k(x) ∝ w_k N(x; alpha mu_k, C_k) and r_k = x - alpha mu_k,

    score    = -Σ γ_k C_k^{-1} r_k,
    denoised = Σ γ_k m_k,   m_k = mu_k + alpha Σ_k C_k^{-1} r_k,
    Cov[x0 | x] = Σ γ_k (S_k + (m_k - m)(m_k - m)^T),   S_k = sigma² Σ_k C_k^{-1},   m = denoised.

Score and denoised are each summed from their own terms, never one from the other, and agree with 50-digit arithmetic to 1e-12 of the size
of their terms (``evaluate.py`` says how; ``covariance.py`` what the structures do).
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from scorebed.analytic.gaussian import flow as flows
from scorebed.analytic.gaussian import line, sparse
from scorebed.analytic.gaussian.arrays import finite, rows
from scorebed.analytic.gaussian.condition import Observed
from scorebed.analytic.gaussian.covariance import Cloud, noisy
from scorebed.analytic.gaussian.evaluate import ALL, NEVER, Evaluator, Part
from scorebed.analytic.gaussian.extended import value
from scorebed.analytic.gaussian.nodes import Nodes
from scorebed.analytic.gaussian.posterior import Posterior, component_means, mean_part, scatter, score_part
from scorebed.analytic.gaussian.structure import structure
from scorebed.solvers.model import Array, pointwise, predicts
from scorebed.solvers.schedule import Node

CLEAN = Node(t=0.0, alpha=1.0, sigma=0.0, lam=math.inf)
"""The law itself, without noise."""

_BLOCK = 1 << 19


class GaussianMixture(Observed):
    """Σ_k weights_k N(means_k, covariances_k) in d dimensions.

    Args:
        weights: (K,), not negative, summing to 1 within 1e-6 (then normalised).
        means: (K, d), or (K,) on the line.
        covariances: a number or (K,): isotropic variances; (K, d): diagonal; (K, d, d): full; ``LowRank(factor (K, d, r), diagonal
            (K, d))`` or ``Rotated(basis (d, d), variance (K, d))``. Singular ones, point masses too, are welcome wherever sigma > 0.

    Raises:
        ValueError: shapes that do not match, nan or inf, weights that are no distribution, covariances not symmetric or not positive
        semidefinite.

    States x have shape (..., d); results come back in the library, device and float type of x, computed in float64 and beyond.
    """

    def __init__(self, weights: Any, means: Any, covariances: Any) -> None:
        self.weights = finite("weights", weights, 1)
        self.means = finite("means", means)
        if self.means.ndim == 1:
            self.means = self.means[:, None]
        if self.means.ndim != 2:
            raise ValueError(f"means has shape {self.means.shape}: give (K, d), or (K,) on the line")
        if len(self.weights) == 0 or self.means.shape[0] != len(self.weights) or self.means.shape[1] == 0:
            raise ValueError(f"means has shape {self.means.shape} and weights {self.weights.shape}: give (K, d) and (K,) with K, d >= 1")
        if np.any(self.weights < 0.0):
            raise ValueError(f"weights[{int(np.argmin(self.weights))}] = {self.weights.min():g} is negative")
        total = math.fsum(self.weights)
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"weights sum to {total:.9g}: give weights that sum to 1 (divide by their sum)")
        self.weights /= total
        self.k, self.d = self.means.shape
        self.structure = structure(covariances, self.k, self.d)
        with np.errstate(divide="ignore"):
            self.log_weights = np.maximum(np.log(self.weights), NEVER)
        self._cloud = Cloud(self.means)
        self._nodes: Nodes[Evaluator] = Nodes(self.k * self.d * (1 if self.structure.wide else self.d))

    def __repr__(self) -> str:
        return f"GaussianMixture(k={self.k}, d={self.d}, {type(self.structure).__name__})"

    @property
    def covariances(self) -> Any:
        """What the constructor was given, as arrays."""
        return self.structure.raw()

    def _at(self, node: Node) -> Evaluator:
        return self._nodes.at(*noise_of(node), partial(Evaluator, self.log_weights, self.means, self._cloud, self.structure))

    def _reduce(self, x: np.ndarray, node: Node, kind: str, part: Part | None) -> tuple[np.ndarray, Any]:
        """Log-density (n,) and the sum over components (n, d) for states (n, d), a bounded number at a time."""
        ev = self._at(node)
        with np.errstate(all="ignore"):
            if not ev.small and self.structure.wide:
                log_density, total = sparse.reduce(ev, x, kind, part)
            else:
                step = max(1, _BLOCK // (self.k * self.d if ev.small else self.k + self.d))
                if len(x) <= step:
                    log_density, _, total = ev.reduce(x, part)
                else:
                    pieces = [ev.reduce(x[i : i + step], part) for i in range(0, len(x), step)]
                    log_density = np.concatenate([p[0] for p in pieces])
                    total = None if part is None else np.concatenate([p[2] for p in pieces if p[2] is not None])
        return log_density - 0.5 * self.d * math.log(2.0 * math.pi), total

    def log_prob(self, x: Array, node: Node | None = None) -> Array:
        """log p_t(x), shape (...); of the law itself without a node."""
        flat, restore = rows(x, self.d)
        return restore(self._reduce(flat, node or CLEAN, "log_prob", None)[0])

    @predicts("score")
    def score(self, x: Array, node: Node) -> Array:
        """∇ log p_t(x), shape (..., d)."""
        flat, restore = rows(x, self.d)
        return restore(self._reduce(flat, node, "score", score_part)[1])

    @predicts("eps")
    def eps(self, x: Array, node: Node) -> Array:
        """E[eps | x] = -sigma ∇ log p_t(x), shape (..., d); 0 where sigma = 0."""
        flat, restore = rows(x, self.d)
        return restore(-node.sigma * self._reduce(flat, node, "score", score_part)[1] if node.sigma else np.zeros_like(flat))

    @predicts("denoised")
    @pointwise
    def denoised(self, x: Array, node: Node) -> Array:
        """E[x0 | x], shape (..., d); x / alpha where sigma = 0."""
        flat, restore = rows(x, self.d)
        if noise_of(node)[1] == 0.0:
            return restore(flat / node.alpha)
        part = partial(mean_part, self._at(node).at)
        return restore(self._reduce(flat, node, "denoised", part)[1])

    def posterior(self, x: Array, node: Node) -> Posterior:
        """The law of x0 given x: a mixture with weights and means of each state, and covariances that all states share."""
        flat, restore = rows(x, self.d)
        ev = self._at(node)
        weights, means = np.empty((len(flat), self.k)), np.empty((len(flat), self.k, self.d))
        step = max(1, (_BLOCK >> 3) // (self.k * self.d))
        with np.errstate(all="ignore"):
            for i in range(0, len(flat), step):
                here = flat[i : i + step]
                weights[i : i + step] = ev.reduce(here, None, ALL)[1].T
                for pick in ev.blocks(8 * len(here)):
                    means[i : i + step, pick] = value(component_means(ev, pick, here)).swapaxes(0, 1)
        return Posterior(restore(weights), restore(means), ev.at.posterior())

    def posterior_covariance(self, x: Array, node: Node) -> Array:
        """Cov[x0 | x] = (sigma²/alpha) ∂denoised/∂x, shape (..., d, d)."""
        flat, restore = rows(x, self.d)
        if noise_of(node)[1] == 0.0:
            return restore(np.zeros((len(flat), self.d, self.d)))
        ev = self._at(node)
        out = np.empty((len(flat), self.d, self.d))
        step = max(1, _BLOCK // (self.k + self.d * self.d))
        with np.errstate(all="ignore"):
            for i in range(0, len(flat), step):
                out[i : i + step] = scatter(ev, flat[i : i + step])
        return restore(out)

    def mean(self) -> np.ndarray:
        """E[x0], shape (d,)."""
        return self.weights @ self.means

    def covariance(self) -> np.ndarray:
        """Cov[x0], shape (d, d)."""
        apart = (self.means - self.mean()) * np.sqrt(self.weights)[:, None]
        return self.structure.pooled(self.weights) + apart.T @ apart

    def sample(self, n: int, rng: np.random.Generator | int, node: Node | None = None) -> np.ndarray:
        """``n`` independent draws, shape (n, d), of the law or of its marginal at a node. ``rng`` is a generator or a seed."""
        rng = np.random.default_rng(rng)
        pick = rng.choice(self.k, size=n, p=self.weights)
        x = self.means[pick] + self.structure.colour(pick, rng)
        return x if node is None else node.alpha * x + node.sigma * rng.standard_normal(x.shape)

    def marginal(self, node: Node) -> GaussianMixture:
        """The law of x_t."""
        return GaussianMixture(self.weights, node.alpha * self.means, self.structure.marginal(*noise_of(node)))

    def project(self, directions: Any) -> list[GaussianMixture]:
        """The 1-D laws of u·x for each unit row u of ``directions`` (m, d).

        Returns:
            list of m mixtures on the line, in the order of the rows.

        Raises:
            ValueError: another shape, or rows that are not of unit length.
        """
        u = finite("directions", directions, 2)
        if u.shape[1] != self.d or np.any(np.abs(np.linalg.norm(u, axis=1) - 1.0) > 1e-6):
            raise ValueError(f"directions has shape {u.shape}: give unit rows of length {self.d}")
        return [GaussianMixture(self.weights, m[:, None], v) for m, v in zip(u @ self.means.T, self.structure.along(u), strict=True)]

    def line(self, node: Node | None = None) -> line.Line:
        """A 1-D law at a node, as what ``line.py`` computes with."""
        if self.d != 1:
            raise ValueError(f"cdf and quantile need a law in 1 dimension; this one has d = {self.d}: use project(directions)")
        alpha, sigma = noise_of(node or CLEAN)
        variance = noisy(self.structure.along(np.ones((1, 1)))[0], alpha, sigma)
        return line.Line(self.log_weights, alpha * self.means[:, 0], variance.sqrt().hi)

    def cdf(self, x: Array) -> Array:
        """P(X <= x) of a 1-D law, elementwise on x of any shape, relatively accurate in the left tail (``sf`` in the right)."""
        return line.elementwise(self.line(), "cdf", x)

    def sf(self, x: Array) -> Array:
        """P(X > x) of a 1-D law, relatively accurate in the right tail."""
        return line.elementwise(self.line(), "sf", x)

    def log_cdf(self, x: Array) -> Array:
        """log P(X <= x), which does not underflow."""
        return line.elementwise(self.line(), "log_cdf", x)

    def log_sf(self, x: Array) -> Array:
        """log P(X > x), which does not underflow."""
        return line.elementwise(self.line(), "log_sf", x)

    def quantile(self, u: Array) -> Array:
        """The x with P(X <= x) = u, elementwise on u in [0, 1]; for u near 1 ask ``isf(1 - u)``."""
        return line.elementwise(self.line(), "quantile", u)

    def isf(self, u: Array) -> Array:
        """The x with P(X > x) = u, elementwise on u in [0, 1]."""
        return line.elementwise(self.line(), "isf", u)

    def flow(self, x: Array, s: Node, t: Node) -> Array:
        """The exact probability-flow map from node ``s`` to node ``t``, either way: where x, shape (..., d), is carried to.

        Returns:
            states at node ``t``, of the shape of x.

        Raises:
            ValueError: more than one component in more than one dimension (no closed form), or a law singular at ``s``.
        """
        return flows.flow(self, x, s, t)


def noise_of(node: Node) -> tuple[float, float]:
    """(alpha, sigma) of a node as floats.

    Returns:
        (alpha, sigma), both floats.

    Raises:
        ValueError: one of them is negative or not finite, or both are 0.
    """
    alpha, sigma = float(node.alpha), float(node.sigma)
    if not (math.isfinite(alpha) and math.isfinite(sigma) and alpha >= 0.0 and sigma >= 0.0 and alpha + sigma > 0.0):
        raise ValueError(f"node has alpha = {alpha}, sigma = {sigma}: both must be finite, not negative and not both 0")
    return alpha, sigma


def from_data(points: Any, bandwidth: float) -> GaussianMixture:
    """The exact law of a smoothed data set: N(point, bandwidth² I), of equal weights, for the rows of ``points`` (n, d)."""
    data = finite("points", points, 2)
    if not (math.isfinite(bandwidth) and bandwidth >= 0.0):
        raise ValueError(f"bandwidth = {bandwidth!r} must be finite and not negative")
    return GaussianMixture(np.full(len(data), 1.0 / max(1, len(data))), data, float(bandwidth) ** 2)
