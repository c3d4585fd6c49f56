r"""The mean-field limit of particles that see each other through their mean, and what of it a finite number of them has.

Of N particles (``solvers.process.particles``) begun independently at N(m, v), one has in the limit N → ∞ the nonlinear law

    dx = −a x dt + b (E x − x) dt + g dW:   N(m e^{−at},  v e^{−2(a+b)t} + g² (1 − e^{−2(a+b)t})/2(a + b)),

for whose mean alone the interaction drops out. Two of N have the variance s_∥/N + (1 − 1/N) s_⊥ each and the covariance (s_∥ − s_⊥)/N,
s_∥ and s_⊥ the variances of what is forgotten at the rates a and a + b: both are 1/N off, W2 falls as 1/N and KL as 1/N²
(arXiv:2406.05396).

``Populations`` are the same without noise, and told or not told which of them a particle is from (arXiv:2408.14608).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from scorebed.analytic.distance.gaussian import gaussian_kl, gaussian_w2
from scorebed.analytic.gaussian.mixture import GaussianMixture
from scorebed.analytic.process.linear import LinearLaw
from scorebed.solvers.process import Point
from scorebed.solvers.process.particles import Particles


class Chaos(NamedTuple):
    """W2 and KL of a few of N particles from as many of the limit."""

    w2: float
    kl: float


class MeanField:
    """Particles begun independently at N(``mean``, ``variance``) on the line.

    Raises:
        ValueError: a variance that is negative or not finite, or such a mean.
    """

    def __init__(self, process: Particles, mean: float = 0.0, variance: float = 1.0) -> None:
        if not (math.isfinite(mean) and math.isfinite(variance) and variance >= 0.0):
            raise ValueError(f"mean = {mean!r} and variance = {variance!r} must be finite, the variance at least 0")
        self.process, self.begin, self.variance = process, float(mean), float(variance)

    def all(self) -> LinearLaw:
        """The law of all N, on their process."""
        n = self.process.count
        return LinearLaw(self.process, [1.0], np.full((1, n), self.begin), self.variance * np.eye(n)[None])

    def limit(self, node: Point) -> GaussianMixture:
        """The law of one particle as N → ∞."""
        p = self.process
        c = p.rate + p.interaction
        spread = self.variance * math.exp(-2.0 * c * node.t) + p.spread(c, node.t)
        return GaussianMixture([1.0], [[self.begin * math.exp(-p.rate * node.t)]], spread)

    def few(self, k: int, node: Point) -> GaussianMixture:
        """The law of the first k of the N particles.

        Returns:
            the GaussianMixture of one component in k dimensions.

        Raises:
            ValueError: k that is not 1 to N.
        """
        if not 1 <= k <= self.process.count:
            raise ValueError(f"k = {k!r}: give 1 to {self.process.count} particles")
        every = self.all().marginal(node)
        return GaussianMixture([1.0], every.mean()[None, :k], np.asarray(every.covariance())[None, :k, :k])

    def chaos(self, k: int, node: Point) -> Chaos:
        """How far k of the N particles are from k independent ones of the limit."""
        one, few = self.limit(node), self.few(k, node)
        mean, field = np.full(k, float(one.mean()[0])), float(one.covariance()[0, 0]) * np.eye(k)
        both = (few.mean(), np.asarray(few.covariance()), mean, field)
        return Chaos(gaussian_w2(*both), gaussian_kl(*both))


@dataclass(frozen=True)
class Populations:
    """Populations N(m, spread²) of ẋ = −a (x − m(t)) + b m(t), whose means m are N(0, width²): ``rate`` a, ``pull`` b.

    m(t) = m e^{bt}, and a particle keeps its place among its own: x(t) = m e^{bt} + e^{−at} (x − m).
    """

    rate: float = 1.0
    pull: float = 0.5
    spread: float = 1.0
    width: float = 1.0

    def velocity(self, x: np.ndarray, t: float, mean: float | None = None) -> np.ndarray:
        """That of the population with this ``mean`` at t = 0; without it the average over all of them at x."""
        if mean is not None:
            centre: np.ndarray | float = mean * math.exp(self.pull * t)
        else:
            own, all_of_it = (self.spread * math.exp(-self.rate * t)) ** 2, (self.width * math.exp(self.pull * t)) ** 2
            centre = all_of_it / (all_of_it + own) * x
        return -self.rate * (x - centre) + self.pull * centre

    def carried(self, x: np.ndarray, t: float, mean: float | None = None) -> np.ndarray:
        """Where that velocity carries x in the time t."""
        if mean is None:
            return np.asarray(self.gain(t) * x)
        return np.asarray(mean * math.exp(self.pull * t) + math.exp(-self.rate * t) * (x - mean))

    def gain(self, t: float) -> float:
        """What the average velocity multiplies by: the width of the mixture of populations at t over that at 0."""
        return math.hypot(self.width * math.exp(self.pull * t), self.spread * math.exp(-self.rate * t)) / math.hypot(
            self.width, self.spread
        )
