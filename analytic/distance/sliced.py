r"""Sliced distances: the mean over unit directions u of a 1-D distance between the projections u·X and u·Y.

The projection of a mixture is a 1-D mixture, exactly, so the only randomness is in the directions, which are given or drawn:

    SW_p = (mean_u W_p(u·X, u·Y)^p)^{1/p},      SC = (mean_u ∫ (F_u - G_u)² dx)^{1/2}.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from scorebed.analytic.distance.line import cramer
from scorebed.analytic.distance.wasserstein import wasserstein
from scorebed.analytic.gaussian.arrays import finite
from scorebed.analytic.gaussian.line_quadrature import Law
from scorebed.analytic.gaussian.mixture import GaussianMixture


def unit_directions(m: int, d: int, rng: np.random.Generator | int) -> np.ndarray:
    """``m`` independent uniform unit vectors in d dimensions, (m, d)."""
    z = np.random.default_rng(rng).standard_normal((m, d))
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def sliced_wasserstein(a: Any, b: Any, directions: Any, p: int = 2) -> float:
    """SW_p over ``directions`` (m, d) between two laws, each a ``GaussianMixture`` or samples (n, d)."""
    return float(np.mean([wasserstein(x, y, p) ** p for x, y in _projected(a, b, directions)]) ** (1.0 / p))


def sliced_cramer(a: Any, b: Any, directions: Any) -> float:
    """SC over ``directions`` (m, d) between two laws, each a ``GaussianMixture`` or samples (n, d)."""
    return float(np.sqrt(np.mean([cramer(x, y) ** 2 for x, y in _projected(a, b, directions)])))


def _projected(a: Any, b: Any, directions: Any) -> Iterator[tuple[Law, Law]]:
    u = finite("directions", directions, 2)
    if len(u) == 0:
        raise ValueError("directions is empty: give (m, d) with m >= 1")
    return zip(_shadows("a", a, u), _shadows("b", b, u), strict=True)


def _shadows(name: str, law: Any, u: np.ndarray) -> list[Law]:
    if isinstance(law, GaussianMixture):
        return list(law.project(u))
    samples = finite(name, law, 2)
    if samples.shape[1] != u.shape[1] or np.any(np.abs(np.linalg.norm(u, axis=1) - 1.0) > 1e-6):
        raise ValueError(f"directions has shape {u.shape}: give unit rows of length {samples.shape[1]}, the dimension of {name}")
    return list((samples @ u.T).T)
