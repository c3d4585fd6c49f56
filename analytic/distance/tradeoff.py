r"""Perception against distortion: how small can the mean squared error be, if the law of the estimates is within P of the law of the data?

With D* the least error, of the estimate x* = E[x0 | y], and P* = W2(law of x0, law of x*) (Freirich, Michaeli & Meir, arXiv:2107.02555),

    D(P) = D* + (P* − P)₊²,

reached by estimates between x* and its optimal transport to the law of x0. Draws of the posterior have P = 0 and 2 D*, off the curve.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scorebed.analytic.distance.gaussian import gaussian_w2
from scorebed.analytic.gaussian.mixture import GaussianMixture


def least_distortion(perception: float, mmse: float, gap: float) -> float:
    """D(P) from D* and P*."""
    return mmse + max(0.0, gap - perception) ** 2


def gaussian_tradeoff(law: GaussianMixture, A: Any, R: Any) -> tuple[float, float]:
    """D* and P* for one Gaussian and y = A x0 + n.

    Returns:
        (D*, P*): the least mean squared error and the W2 distance of its estimate from the law.

    Raises:
        ValueError: a mixture of several components, for which P* is not closed.
    """
    if law.k != 1:
        raise ValueError(f"law has k = {law.k} components: give one Gaussian")
    left = law.given(A, np.zeros(len(np.atleast_2d(A))), R).covariance()
    return float(np.trace(left)), gaussian_w2(law.mean(), law.covariance(), law.mean(), law.covariance() - left)
