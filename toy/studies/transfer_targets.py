r"""Exact stand-ins for a network: laws with closed-form scores in its dimension, under its schedule.

    generic   five isotropic Gaussians at random, std 0.1 to 0.5 at centres of unit spread; ``generic-narrow`` with a tenth of the std
    digits    scikit-learn's digits, resized to the network's pictures, one Gaussian of std h per item
    patches   windows of scikit-learn's two photographs, likewise
    samples   the network's own samples, one Gaussian of std h per sample; ``samples-sharp`` with h/4
    gaussian  one Gaussian with the mean and covariance of the network's samples
    clusters  the samples in clusters by k-means, one low-rank Gaussian for each

``-matched`` moves and scales a law to the mean and the spread of the network's samples, so that scale and structure can be told apart.
A bandwidth h is the one of largest leave-one-out likelihood, Π_i Σ_{j≠i} N(y_i; y_j, h² I). Low-rank covariances are those of probabilistic
PCA: Q diag(l - δ) Q^T + δ I with the leading r eigenpairs of the sample covariance, and δ the mean of the others (Tipping & Bishop 1999,
eqs. 7, 8).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorebed.solvers import Denoiser
from scorebed.toy.problems.digits import handwritten

Points = NDArray[np.float64]
ITEMS, RANK, CLUSTERS = 1500, 24, 8


@dataclass(frozen=True)
class Target:
    """An exact law as a denoiser of torch states (B, *shape).

    Attributes:
        kind: ``generic``, ``data`` or ``fitted``.
        description: one line for tables.
        mixture: the law.
    """

    name: str
    kind: str
    description: str
    denoise: Denoiser
    mixture: Any


@dataclass(frozen=True)
class Recipe:
    """How a target is made: ``make(shape, seed, draws)`` with draws (m, d), the network's samples, gives (what, weights, means,
    covariances)."""

    kind: str
    matched: bool
    make: Callable[[tuple[int, ...], int, Points], tuple[str, Points, Points, Any]]

    @property
    def fitted(self) -> bool:
        """Whether the network's samples are needed."""
        return self.matched or self.kind == "fitted"


def build(name: str, shape: tuple[int, ...], seed: int, draws: Points | None) -> Target:
    """The target called ``name`` for states of this shape; ``draws`` (m, d) may be None where it is not fitted.

    Returns:
        the Target for states of this shape.

    Raises:
        ValueError: unknown name, or a target that needs draws without at least 8 of them.
    """
    if name not in TARGETS:
        raise ValueError(f"target {name!r} not known; known: {', '.join(TARGETS)}")
    recipe, d = TARGETS[name], math.prod(shape)
    if recipe.fitted and (draws is None or draws.ndim != 2 or draws.shape[1] != d or len(draws) < 8):
        found = None if draws is None else draws.shape
        raise ValueError(f"target {name!r} is fitted to the network's samples: give at least 8 of {d} entries, not {found}")
    given = np.empty((0, d)) if draws is None else draws
    what, weights, means, covariances = recipe.make(shape, seed, given)
    if recipe.matched:
        what, means, covariances = _matched(what, means, covariances, given)

    import torch

    from scorebed.gpu.mixture import GaussianMixture

    law = GaussianMixture(weights, means, covariances, dtype=torch.float64)
    return Target(name, recipe.kind, what, law.images(shape), law)


def bandwidth(points: Points) -> float:
    """The h of largest Σ_i log Σ_{j≠i} N(y_i; y_j, h² I) over the rows of ``points`` (n, d).

    Returns:
        the bandwidth h, positive.

    Raises:
        ValueError: fewer than three points, or nearest neighbours all at distance 0.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    n, d = points.shape
    if n < 3:
        raise ValueError(f"{n} points have no bandwidth: give at least 3")
    centred = points - points.mean(axis=0)
    sizes = np.square(centred).sum(axis=1)
    squares = np.maximum(sizes[:, None] + sizes - 2.0 * centred @ centred.T, 0.0)
    np.fill_diagonal(squares, np.inf)
    nearest, spread = float(np.median(squares.min(axis=1))), float(sizes.mean())
    if nearest <= 1e-12 * spread:
        raise ValueError("half of the points or more are copies of others: their bandwidth is 0")
    low, high = 0.5 * math.log(nearest / d) - 3.0, 0.5 * math.log(max(spread, nearest) / d) + 1.0

    def loss(log_h: float) -> float:
        return d * log_h - float(np.mean(logsumexp(-0.5 * squares * math.exp(-2.0 * log_h), axis=1)))

    return math.exp(float(minimize_scalar(loss, bounds=(low, high), method="bounded").x))


def _matched(what: str, means: Points, variances: Points, draws: Points) -> tuple[str, Points, Points]:
    """Isotropic components moved to the mean of the draws and scaled to their RMS about it."""
    centre = means.mean(axis=0)
    wanted = math.sqrt(float(np.mean((draws - draws.mean(axis=0)) ** 2)))
    scale = wanted / math.sqrt(float(np.mean((means - centre) ** 2) + np.mean(variances)))
    return f"{what}, at the mean and spread of the network's samples", scale * (means - centre) + draws.mean(axis=0), scale**2 * variances


def _equal(points: Points, h: float) -> tuple[Points, Points, Points]:
    return np.full(len(points), 1.0 / len(points)), points, np.full(len(points), h * h)


def _generic(least: float, most: float) -> Callable[[tuple[int, ...], int, Points], tuple[str, Points, Points, Points]]:
    def make(shape: tuple[int, ...], seed: int, draws: Points) -> tuple[str, Points, Points, Points]:
        rng = np.random.default_rng([seed, 5])
        means, stds = rng.standard_normal((5, math.prod(shape))), rng.uniform(least, most, 5)
        return f"5 isotropic Gaussians at random, std {least:g} to {most:g}", np.full(5, 0.2), means, stds**2

    return make


def _pictures(pictures: Points, shape: tuple[int, ...]) -> Points:
    """Pictures (n, h, w) resized to the last two axes of ``shape``, repeated along the first, as rows."""
    import torch

    size = (shape[-2], shape[-1]) if len(shape) > 1 else (1, shape[-1])
    resized = torch.nn.functional.interpolate(torch.from_numpy(pictures)[:, None], size, mode="bilinear", antialias=True).numpy()
    return np.tile(resized.reshape(len(pictures), -1), (1, math.prod(shape) // math.prod(size)))


@lru_cache(maxsize=4)
def _digit_items(shape: tuple[int, ...]) -> tuple[Points, float]:
    items = _pictures(handwritten()[0][:ITEMS].reshape(-1, 8, 8) / 8.0 - 1.0, shape)
    return items, bandwidth(items)


def _digits(shape: tuple[int, ...], seed: int, draws: Points) -> tuple[str, Points, Points, Points]:
    items, h = _digit_items(shape)
    return f"{len(items)} digits, h = {h:.3g}", *_equal(items, h)


@lru_cache(maxsize=4)
def _patch_items(shape: tuple[int, ...], seed: int) -> tuple[Points, float]:
    from numpy.lib.stride_tricks import sliding_window_view
    from sklearn.datasets import load_sample_images

    size = (shape[-2], shape[-1]) if len(shape) > 1 else (1, shape[-1])
    down, right = (max(4, side // 3) for side in size)
    found = []
    for picture in load_sample_images().images:
        windows = sliding_window_view(picture.mean(axis=2) / 127.5 - 1.0, size)
        found.append(windows[::down, ::right].reshape(-1, *size))
    every = np.concatenate(found)
    picked = np.random.default_rng([seed, 6]).permutation(len(every))[:ITEMS]
    items = _pictures(every[np.sort(picked)], shape)
    return items, bandwidth(items)


def _patches(shape: tuple[int, ...], seed: int, draws: Points) -> tuple[str, Points, Points, Points]:
    items, h = _patch_items(shape, seed)
    return f"{len(items)} windows of two photographs, h = {h:.3g}", *_equal(items, h)


def _samples(sharper: float) -> Callable[[tuple[int, ...], int, Points], tuple[str, Points, Points, Points]]:
    def make(shape: tuple[int, ...], seed: int, draws: Points) -> tuple[str, Points, Points, Points]:
        h = bandwidth(draws) / sharper
        return f"{len(draws)} samples of the network, h = {h:.3g}", *_equal(draws, h)

    return make


def principal(points: Points, rank: int) -> tuple[Points, Points, float]:
    """Mean (d,), factor (d, r) and isotropic rest of probabilistic PCA; r is at most what the points span."""
    n, d = points.shape
    mean = points.mean(axis=0)
    _, singular, axes = np.linalg.svd(points - mean, full_matrices=False)
    spectrum = singular**2 / n
    r = max(0, min(rank, n - 2, d - 1))
    rest = max(float(spectrum[r:].sum()) / (d - r), 1e-6 * float(spectrum.sum()) / d, 1e-12)
    return mean, axes[:r].T * np.sqrt(np.maximum(spectrum[:r] - rest, 0.0)), rest


def _low_rank(parts: list[Points], rank: int) -> tuple[Points, Points, Any]:
    from scorebed.analytic import LowRank

    fits = [principal(part, rank) for part in parts]
    d, r = parts[0].shape[1], max(factor.shape[1] for _, factor, _ in fits)
    factors = np.stack([np.pad(factor, ((0, 0), (0, r - factor.shape[1]))) for _, factor, _ in fits])
    weights = np.array([len(part) for part in parts], dtype=np.float64)
    rests = np.stack([np.full(d, rest) for *_, rest in fits])
    return weights / weights.sum(), np.stack([mean for mean, *_ in fits]), LowRank(factors, rests)


def _gaussian(shape: tuple[int, ...], seed: int, draws: Points) -> tuple[str, Points, Points, Any]:
    rank = min(4 * RANK, len(draws) - 2)
    return f"Gaussian of rank {rank} and a rest, fitted to {len(draws)} samples", *_low_rank([draws], rank)


def _clusters(shape: tuple[int, ...], seed: int, draws: Points) -> tuple[str, Points, Points, Any]:
    from sklearn.cluster import KMeans

    most = min(CLUSTERS, len(draws) // 8)
    labels = KMeans(max(1, most), n_init=4, random_state=seed).fit_predict(draws)
    parts = [part for k in range(most) if len(part := draws[labels == k]) >= 4]
    return f"{len(parts)} Gaussians of rank at most {RANK} and a rest, fitted to {len(draws)} samples", *_low_rank(parts, RANK)


TARGETS: dict[str, Recipe] = {
    "generic": Recipe("generic", False, _generic(0.1, 0.5)),
    "generic-matched": Recipe("generic", True, _generic(0.1, 0.5)),
    "generic-narrow": Recipe("generic", False, _generic(0.01, 0.05)),
    "digits": Recipe("data", False, _digits),
    "digits-matched": Recipe("data", True, _digits),
    "patches": Recipe("data", False, _patches),
    "patches-matched": Recipe("data", True, _patches),
    "samples": Recipe("fitted", False, _samples(1.0)),
    "samples-sharp": Recipe("fitted", False, _samples(4.0)),
    "gaussian": Recipe("fitted", False, _gaussian),
    "clusters": Recipe("fitted", False, _clusters),
}
"""The targets by name."""
