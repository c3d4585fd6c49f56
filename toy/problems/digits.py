"""Handwritten digits as a mixture: a target as data are, whose flow is not closed."""

from __future__ import annotations

from scorebed.analytic import GaussianMixture, from_data
from scorebed.solvers import VP
from scorebed.toy.problems.euclidean import EuclideanProblem


def digits(bandwidth: float = 0.25) -> GaussianMixture:
    """scikit-learn's 1,797 handwritten digits, 8 × 8 pixels in [-1, 1], each the centre of a Gaussian of std ``bandwidth``."""
    from sklearn.datasets import load_digits  # here, for it takes a second

    return from_data(load_digits().data / 8.0 - 1.0, bandwidth)


PROBLEMS = (
    EuclideanProblem(
        name="digits",
        description="1,797 digits, 64 dimensions, bandwidth 0.25",
        make=digits,
        image=(8, 8),
        process=VP(),
        closed=False,
        samples=8,
        finest=320,
    ),
)
