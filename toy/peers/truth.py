r"""The targets that peers are measured on, and the exact maps and moments they are measured against.

Paths: a 1-D mixture, whose exact flow x_t = F_t^{-1}(F_s(x_s)) is closed. The states are its quantiles at the first node of the run.
Laws: two independent 1-D Gaussians, on which every sampler without clipping is affine in state and noise, so that mean and variance of its
output are exact (``toy/peers/affine.py``).
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.solvers import Node

LEVELS = 33
"""States per run: quantiles of the marginal between 2 % and 98 %."""


@cache
def mixture() -> GaussianMixture:
    """0.4 N(-1, 0.3²) + 0.6 N(0.8, 0.4²)."""
    return GaussianMixture([0.4, 0.6], [-1.0, 0.8], [0.09, 0.16])


@cache
def pair() -> GaussianMixture:
    """N((0.7, -0.4), diag(0.09, 0.64)): one coordinate tighter than a normalised image, one wider."""
    return GaussianMixture([1.0], [[0.7, -0.4]], [[0.09, 0.64]])


def mixture_denoised(x: np.ndarray, at: Node) -> np.ndarray:
    """E[x0 | x_t] of ``mixture()``, the textbook sum: a fifth of the time of the general class, equal to it to round-off (tested)."""
    mu, tau = np.array([-1.0, 0.8]), np.array([0.09, 0.16])
    c = at.alpha**2 * tau + at.sigma**2
    apart = x - at.alpha * mu
    log = np.log([0.4, 0.6]) - 0.5 * np.log(c) - 0.5 * apart**2 / c
    weight = np.exp(log - log.max(-1, keepdims=True))
    mean = mu + at.alpha * tau / c * apart
    return np.asarray((weight * mean).sum(-1, keepdims=True) / weight.sum(-1, keepdims=True))


def pair_denoised(x: np.ndarray, at: Node) -> np.ndarray:
    """E[x0 | x_t] of ``pair()``."""
    mu, tau = np.array([0.7, -0.4]), np.array([0.09, 0.64])
    return np.asarray(mu + at.alpha * tau / (at.alpha**2 * tau + at.sigma**2) * (x - at.alpha * mu))


def node(alpha: float, sigma: float) -> Node:
    """A node without schedule: the peers bring their own."""
    lam = math.inf if sigma == 0.0 else -math.inf if alpha == 0.0 else math.log(alpha / sigma)
    return Node(t=float(sigma), alpha=float(alpha), sigma=float(sigma), lam=lam)


def states(at: Node) -> np.ndarray:
    """Quantiles of the mixture's marginal at a node, shape (33, 1)."""
    line = mixture().line(at)
    low = np.full(LEVELS, float(np.min(line.means - 9.0 * line.scales)))
    high = np.full(LEVELS, float(np.max(line.means + 9.0 * line.scales)))
    wanted = np.linspace(0.02, 0.98, LEVELS)
    for _ in range(200):
        middle = 0.5 * (low + high)
        below = line.cdf(middle) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (0.5 * (low + high))[:, None]


def carried(x: np.ndarray, s: Node, t: Node) -> np.ndarray:
    """The exact flow of the mixture from ``s`` to ``t``, shape (n, 1)."""
    return np.asarray(mixture().flow(x, s, t))


def spread(at: Node) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the Gaussian pair at a node."""
    law = pair()
    variance = np.array([0.09, 0.64])
    return at.alpha * law.means[0], at.alpha**2 * variance + at.sigma**2


def as_output(denoised: np.ndarray, x: np.ndarray, at: Node, kind: str) -> Any:
    """What a network of the given prediction type says, from the exact E[x0 | x_t]."""
    if kind in ("sample", "denoised"):
        return denoised
    eps = (x - at.alpha * denoised) / at.sigma
    if kind == "epsilon":
        return eps
    if kind == "v_prediction":
        return at.alpha * eps - at.sigma * denoised
    if kind in ("flow_prediction", "flow"):
        return eps - denoised
    raise ValueError(f"prediction type {kind!r} is none of epsilon, sample, v_prediction, flow_prediction")
