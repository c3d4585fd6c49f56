r"""Calibration from joint draws: where x0 lies among posterior samples, when (x0, y) was drawn from the joint law.

For (x0, y) ~ p(x0, y) and L independent draws of a sampler given y, the rank of a statistic f(x0) among f of the draws is uniform on
0…L if the sampler draws from p(x0 | y), whatever f is (Talts et al., arXiv:1804.06788). So

    ranks too often at the ends    the samples spread too little         ranks too often in the middle    too much
    coverage                       how often x0 lies in the central interval of mass c, with a Clopper-Pearson interval

Statistics are the coordinates along given unit vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta, chi2

LEVELS = (0.5, 0.8, 0.9)
"""Masses of the central intervals whose coverage is told."""


@dataclass(frozen=True)
class Calibration:
    """Ranks of n joint draws among ``draws`` posterior samples each, for each statistic: (n, statistics)."""

    ranks: np.ndarray
    draws: int

    @property
    def n(self) -> int:
        return len(self.ranks)

    def histogram(self, bins: int = 10) -> np.ndarray:
        """Counts (statistics, bins) of equally likely bins; ``bins`` divides draws + 1.

        Returns:
            (statistics, bins) counts.

        Raises:
            ValueError: bins that are not equally likely.
        """
        if (self.draws + 1) % bins:
            raise ValueError(f"bins = {bins}: give a divisor of draws + 1 = {self.draws + 1}")
        each = (self.draws + 1) // bins
        return np.array([np.bincount(column // each, minlength=bins) for column in self.ranks.T])

    def p_value(self, bins: int = 10) -> float:
        """The probability of ranks less even than these, by χ² for each statistic and Bonferroni over them."""
        counts = self.histogram(bins)
        expected = self.n / bins
        values = chi2.sf((np.square(counts - expected) / expected).sum(1), bins - 1)
        return float(min(1.0, len(values) * values.min()))

    @property
    def dispersion(self) -> float:
        """Variance of the ranks over that of a uniform one: above 1 the samples spread too little, below 1 too much."""
        size = self.draws + 1
        return float(np.mean(np.square(self.ranks - 0.5 * self.draws)) * 12.0 / (size * size - 1.0))

    def coverage(self, level: float) -> tuple[float, float, float]:
        """How often x0 lies in the central interval of mass ``level``, over all statistics, with a 95 % interval that counts n draws.

        The interval is that between order statistics of the samples; its mass is rounded to what they can give (``achieved``).

        Returns:
            (rate, lower, upper bound of its 95 % interval).
        """
        low, high = self._central(level)
        inside = (self.ranks >= low) & (self.ranks <= high)
        rate = float(inside.mean())
        hits = rate * self.n
        below = float(beta.ppf(0.025, hits, self.n - hits + 1)) if hits > 0 else 0.0
        above = float(beta.ppf(0.975, hits + 1, self.n - hits)) if hits < self.n else 1.0
        return rate, below, above

    def _central(self, level: float) -> tuple[int, int]:
        cut = round(0.5 * (1.0 - level) * (self.draws + 1))
        return cut, self.draws - cut

    def achieved(self, level: float) -> float:
        """The mass of that interval under right samples: a whole number of the L + 1 gaps."""
        low, high = self._central(level)
        return (high - low + 1) / (self.draws + 1)

    @property
    def error(self) -> float:
        """Mean over ``LEVELS`` of |coverage − achieved mass|."""
        return float(np.mean([abs(self.coverage(c)[0] - self.achieved(c)) for c in LEVELS]))


def ranks(x0: np.ndarray, samples: np.ndarray, directions: np.ndarray, seed: int = 0) -> Calibration:
    """Ranks of u·x0 among u·samples: x0 (n, d), samples (n, L, d), directions (s, d); ties are broken at random.

    Returns:
        the Calibration: ranks (n, s) among L samples.

    Raises:
        ValueError: shapes that do not go together.
    """
    if samples.ndim != 3 or len(samples) != len(x0) or samples.shape[2] != x0.shape[1]:
        raise ValueError(f"samples has shape {samples.shape}: give ({len(x0)}, L, {x0.shape[1]}), L draws for each x0")
    own, others = x0 @ directions.T, samples @ directions.T
    rng = np.random.default_rng(seed)
    ties = (others == own[:, None]).sum(1)
    return Calibration((others < own[:, None]).sum(1) + rng.integers(0, ties + 1), samples.shape[1])


def shape(calibration: Calibration, bins: int = 10) -> str:
    """What the histogram looks like, in words; "flat" unless χ² says otherwise at 1 %."""
    if calibration.p_value(bins) > 0.01:
        return "flat"
    counts = calibration.histogram(bins).sum(0).astype(float)
    tilt = abs(counts[bins // 2 :].sum() - counts[: bins // 2].sum()) / counts.sum()
    if tilt > 2.0 * abs(calibration.dispersion - 1.0):
        return "tilted: the mean is off"
    return "samples spread too little" if calibration.dispersion > 1.0 else "samples spread too much"


def unit_axes(d: int, seed: int = 0, most: int = 6) -> np.ndarray:
    """The coordinate axes, or ``most`` random unit vectors in more dimensions."""
    if d <= most:
        return np.eye(d)
    z = np.random.default_rng(seed).standard_normal((most, d))
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def summary(calibration: Calibration, levels: Sequence[float] = LEVELS) -> str:
    """Coverage at the levels with intervals, and the shape, in one line."""
    parts = []
    for level in levels:
        rate, low, high = calibration.coverage(level)
        parts.append(f"{rate:.0%} [{low:.0%}, {high:.0%}] of {calibration.achieved(level):.0%}")
    return "; ".join(parts) + f"; {shape(calibration)}"
