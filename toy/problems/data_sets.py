"""Small data sets whose smoothed law, and so whose exact score at every noise, is known: what networks are trained on and held against."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorebed.analytic import GaussianMixture, from_data
from scorebed.analytic.heat import HeatMixture
from scorebed.analytic.heat.wrapped import wrapped
from scorebed.solvers import EDM
from scorebed.solvers.space import Torus
from scorebed.toy.problems.digits import handwritten

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Domain:
    """A data set with its exact noised laws.

    Attributes:
        name, description: of the data.
        law: the smoothed data set, a mixture on R^d or on the torus.
        periodic: whether the coordinates are angles.
        sigmas: the least and the largest noise of the budget.
    """

    name: str
    description: str
    law: Any
    periodic: bool
    sigmas: tuple[float, float]

    @property
    def d(self) -> int:
        return int(self.law.space.dim if self.periodic else self.law.d)

    @property
    def spread(self) -> float:
        """Standard deviation of a coordinate."""
        return 1.0 if self.periodic else math.sqrt(float(np.trace(self.law.covariance())) / self.d)

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        return np.asarray(self.law.sample(n, rng))

    def score(self, x: Floats, sigma: float) -> Floats:
        return np.asarray(self.law.score(x, EDM().node(sigma)))

    def log_prob(self, x: Floats, sigma: float) -> Floats:
        return np.asarray(self.law.log_prob(x, EDM().node(sigma)))

    def log_prior(self, x: Floats) -> Floats:
        if self.periodic:
            return np.full(len(x), -self.d * math.log(2.0 * math.pi))
        return self.log_normal(x, self.sigmas[1] ** 2)

    def log_normal(self, gap: Floats, variance: float) -> Floats:
        """Log-density of a step by ``gap``; on the torus that of the angle, summed over windings."""
        if self.periodic:
            return np.asarray(wrapped(gap, variance)[0].sum(1))
        return np.asarray(-0.5 * (gap * gap).sum(1) / variance - 0.5 * self.d * math.log(2.0 * math.pi * variance))

    def levels(self, steps: int) -> Floats:
        """sigma from noise to data, geometric."""
        return np.geomspace(self.sigmas[1], self.sigmas[0], steps + 1)


def digits() -> GaussianMixture:
    """200 of scikit-learn's digits, 64 pixels in [−1, 1], centred, each the centre of a Gaussian of deviation 0.25."""
    data = handwritten()[0][:200] / 8.0 - 1.0
    return from_data(data - data.mean(0), 0.25)


def torsions() -> HeatMixture:
    """150 pairs of angles from three basins, as backbone angles have them, each the pole of a heat kernel of time 0.04."""
    rng = np.random.default_rng(0)
    basins = np.array([[-1.1, -0.8], [-2.0, 2.4], [1.0, 0.7]])
    pick = rng.choice(3, 150, p=[0.5, 0.4, 0.1])
    angles = basins[pick] + rng.standard_normal((150, 2)) @ np.array([[0.3, -0.15], [0.0, 0.25]])
    space = Torus(2)
    return HeatMixture(space, np.full(150, 1.0 / 150), np.asarray(space.project(angles)), 0.04)


def wine() -> GaussianMixture:
    """scikit-learn's table of 178 wines, 13 columns to mean 0 and variance 1, smoothed by 0.3."""
    from sklearn.datasets import load_wine

    data = load_wine().data
    return from_data((data - data.mean(0)) / data.std(0), 0.3)


@cache
def domains() -> dict[str, Domain]:
    """The three data sets by name."""
    made = (
        Domain("digits", "200 digits, 64 pixels", digits(), False, (0.1, 30.0)),
        Domain("torsions", "150 pairs of angles on the torus", torsions(), True, (0.1, 3.0)),
        Domain("wine", "178 wines, 13 columns", wine(), False, (0.1, 30.0)),
    )
    return {domain.name: domain for domain in made}
