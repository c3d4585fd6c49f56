"""Claim 198: networks rounded to integers, floating point and a few times, and what becomes of it."""

from __future__ import annotations

import math

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.solvers import VP
from scorebed.solvers.grid import uniform_lam
from scorebed.toy.claims.registry import Row, below, claim, near
from scorebed.toy.measure.convergence import rms

VARIANCES = np.array([4.0, 1.0, 0.3, 0.05])
GAUSSIAN = GaussianMixture(np.ones(1), np.zeros((1, 4)), VARIANCES[None])
NODES = uniform_lam(VP(), 12)


def _floating(x: np.ndarray, bits: int = 3) -> np.ndarray:
    """x with so many bits behind the leading one (FP8 E4M3 without its limits of range)."""
    size = 2.0 ** np.floor(np.log2(np.maximum(np.abs(x), 2.0**-9)))
    return np.asarray(size * 2.0**-bits * np.rint(x / (size * 2.0**-bits)))


@claim(
    198,
    paper="Low-bitwidth floating-point quantisation of diffusion models",
    reference="arXiv:2408.06995",
    statement="The mean squared error of rounding is closed for Gaussian weights, Δ²/12 for integers over a fixed range and the mean of "
    "the local Δ²/12 for floating point; floating point wins where tails are heavy, and rounding that is chosen for the output loses "
    "less.",
    control="integers have a step that follows the size, and floating point a fixed one",
)
def floating(broken: bool) -> list[Row]:
    """Eight bits: 255 integers over the range of the weights, or a sign, four bits of exponent and three of fraction."""
    rng = np.random.default_rng(0)
    normal, heavy = rng.standard_normal(200_000), rng.standard_t(2.2, 200_000)

    def integer(w: np.ndarray) -> np.ndarray:
        delta = 2.0 * np.abs(w).max() / 255.0
        return np.asarray(delta * np.rint(w / delta))

    fixed, local = (_floating, integer) if broken else (integer, _floating)
    delta = 2.0 * np.abs(normal).max() / 255.0
    grid = np.linspace(-6.0, 6.0, 40_001)
    density = np.exp(-0.5 * grid**2) / math.sqrt(2 * math.pi) * (grid[1] - grid[0])
    step = 2.0 ** np.floor(np.log2(np.maximum(np.abs(grid), 2.0**-9))) / 8.0
    closed = float((density * step**2 / 12.0).sum())
    mse = lambda q, w: float(np.mean((q(w) - w) ** 2))  # noqa: E731
    w = rng.standard_normal((64, 16))
    features = rng.standard_normal((400, 3)) @ rng.standard_normal((3, 64))
    coarse = 0.25
    nearest = coarse * np.rint(w / coarse)
    learned = nearest.copy()
    for i in range(64):  # one row after the other takes the rounding that leaves least of the output
        for option in (coarse * np.floor(w[i] / coarse), coarse * np.ceil(w[i] / coarse)):
            trial = learned.copy()
            trial[i] = option
            better = np.square(features @ (trial - w)).sum(0) < np.square(features @ (learned - w)).sum(0)
            learned[i] = np.where(better, option, learned[i])
    return [
        near("integers: mean squared error over Δ²/12", mse(fixed, normal) / (delta**2 / 12.0), 1.0, 0.05),
        near("floating point: mean squared error over the closed form", mse(local, normal) / closed, 1.0, 0.05),
        below("floating point over integers, heavy tails", mse(local, heavy) / mse(fixed, heavy), 0.8),
        below(
            "output error of chosen over nearest rounding", rms(features @ (learned - w)) / rms(features @ (nearest - w)), 0.7, kept=True
        ),
    ]
