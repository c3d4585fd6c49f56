"""Families of exact targets: a member for every seed, on VP, with the flow closed or, where it is not, run to 1e-4."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture, RotatedProduct
from scorebed.solvers import VP
from scorebed.toy.problems.euclidean import diagonal, line
from scorebed.toy.problems.products import rotated
from scorebed.toy.tuning.pull import law_pull
from scorebed.toy.tuning.setting import Setting


def products(seed: int) -> RotatedProduct:
    """Four independent lines of two or three modes, rotated."""
    rng = np.random.default_rng(seed)
    factors = []
    for _ in range(4):
        k = int(rng.integers(2, 4))
        factors.append(line(rng.dirichlet(np.full(k, 4.0)).tolist(), rng.normal(0.0, 1.0, k).tolist(), rng.uniform(0.15, 0.5, k).tolist()))
    return rotated(factors, seed)


def mixtures(seed: int) -> GaussianMixture:
    """Six isotropic components in four dimensions."""
    rng = np.random.default_rng(1000 + seed)
    return GaussianMixture(rng.dirichlet(np.full(6, 3.0)), rng.normal(0.0, 0.9, (6, 4)), rng.uniform(0.15, 0.4, 6) ** 2)


def spectra(seed: int) -> GaussianMixture:
    """One Gaussian of eight directions with variances k^-a, a from 1 to 3."""
    rng = np.random.default_rng(2000 + seed)
    return diagonal(rng.normal(0.0, 0.3, 8), (np.arange(1, 9.0) ** -rng.uniform(1.0, 3.0)).tolist())


def sheets(seed: int) -> RotatedProduct:
    """Modes along two directions, thin across two."""
    rng = np.random.default_rng(3000 + seed)
    along = [line([0.4, 0.6], rng.normal(0.0, 1.0, 2).tolist(), rng.uniform(0.2, 0.5, 2).tolist()) for _ in range(2)]
    return rotated([*along, *(line([1.0], [0.0], [float(rng.uniform(0.03, 0.1))]) for _ in range(2))], 3000 + seed)


def clusters(seed: int) -> GaussianMixture:
    """Clusters of clusters: three groups of four components in three dimensions."""
    rng = np.random.default_rng(4000 + seed)
    centres = np.repeat(rng.normal(0.0, 1.2, (3, 3)), 4, axis=0) + rng.normal(0.0, 0.35, (12, 3))
    return GaussianMixture(np.full(12, 1 / 12), centres, np.full(12, 0.15**2))


FAMILIES: dict[str, Callable[[int], Any]] = {
    "products": products,
    "mixtures": mixtures,
    "spectra": spectra,
    "sheets": sheets,
    "clusters": clusters,
}
TRAIN = ("products", "mixtures", "spectra")
"""The families that universal methods are tuned on; the others are held out."""
CLOSED = ("products", "spectra", "sheets")


def member(family: str, seed: int) -> Setting:
    """A member of a family as a setting.

    Returns:
        the Setting of the member, with its exact flow.

    Raises:
        ValueError: an unknown family.
    """
    if family not in FAMILIES:
        raise ValueError(f"family = {family!r} is not known: give one of {', '.join(FAMILIES)}")
    law = FAMILIES[family](seed)
    schedule = VP()
    first = schedule.node(schedule.t_max)
    exact = (lambda x, s, t: law.flow(x, s, t)) if family in CLOSED else None
    variances = np.linalg.eigvalsh(np.asarray(law.covariance())).tolist()

    def draw(n: int, seed: int) -> Any:
        return law.sample(n, seed, first)

    return Setting(
        name=f"{family} {seed}",
        denoise=law.denoised,
        schedule=schedule,
        draw=draw,
        exact=exact,
        variances=tuple(variances),
        pull=law_pull(law.denoised),
    )
