"""Handwritten digits as a mixture: a target as data are, whose flow is not closed."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from scorebed.analytic import GaussianMixture, from_data
from scorebed.solvers import VP
from scorebed.toy.problems.euclidean import EuclideanProblem


def handwritten() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's handwritten digits from the file that it comes with: to import it, with all of its methods, takes a second.

    Returns:
        pixels (1797, 64) from 0 to 16, row by row, and the digits that they are (1797,).

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("scikit-learn is not installed: pip install scikit-learn, which has the handwritten digits")
    with gzip.open(Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz", "rt", encoding="utf-8") as file:
        table = np.loadtxt(file, delimiter=",")
    return table[:, :-1], table[:, -1].astype(int)


def digits(bandwidth: float = 0.25) -> GaussianMixture:
    """scikit-learn's 1,797 handwritten digits, 8 × 8 pixels in [-1, 1], each the centre of a Gaussian of std ``bandwidth``."""
    return from_data(handwritten()[0] / 8.0 - 1.0, bandwidth)


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
