"""Targets that are products of lines in rotated coordinates, whose flow is closed in any dimension."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scorebed.analytic import GaussianMixture, RotatedProduct
from scorebed.solvers import EDM, Cosine, RectifiedFlow
from scorebed.toy.problems.euclidean import EuclideanProblem, line


def rotated(factors: Sequence[GaussianMixture], seed: int) -> RotatedProduct:
    """The product of 1-D ``factors`` in randomly rotated coordinates."""
    d = len(factors)
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))
    return RotatedProduct(q * np.sign(np.diag(r)), factors)


def product2d() -> RotatedProduct:
    """Six modes in the plane."""
    return rotated([line([0.35, 0.4, 0.25], [-1.5, 0.1, 1.4], [0.2, 0.3, 0.15]), line([0.6, 0.4], [-0.7, 0.9], [0.3, 0.25])], seed=4)


def product8d() -> RotatedProduct:
    """256 modes in 8 dimensions."""
    rng = np.random.default_rng(8)
    pairs = [(rng.uniform(0.3, 0.7), rng.uniform(0.6, 1.3), rng.uniform(0.2, 0.5, 2)) for _ in range(8)]
    return rotated([line([w, 1 - w], [-gap, gap], stds.tolist()) for w, gap, stds in pairs], seed=9)


def manifold() -> RotatedProduct:
    """Near a pair of lines in space."""
    along = line([0.3, 0.4, 0.3], [-1.2, 0.0, 1.1], [0.4, 0.3, 0.5])
    across = (line([1.0], [0.2], [0.02]), line([0.5, 0.5], [-0.6, 0.6], [0.02, 0.02]))
    return rotated([along, *across], seed=2)


PROBLEMS = (
    EuclideanProblem(
        name="product2d",
        description="6 modes in the plane, rotated product",
        make=product2d,
        process=RectifiedFlow(),
        grid="uniform",
        start=0.98,
        end=0.01,
    ),
    EuclideanProblem(
        name="product8d",
        description="256 modes in 8 dimensions, rotated product",
        make=product8d,
        process=Cosine(),
        grid="quadratic",
        start=0.98,
        samples=50,
    ),
    EuclideanProblem(
        name="manifold",
        description="near a line pair in space, std 0.02 across",
        make=manifold,
        process=EDM(),
        grid="karras",
    ),
)
