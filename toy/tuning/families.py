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


def tables(seed: int) -> GaussianMixture:
    """Rows of a table: two to four categories as one-hot entries from −1 to 1, and numbers that go with them; 120 distinct ones."""
    rng = np.random.default_rng(5000 + seed)
    columns, kinds, numbers = (int(rng.integers(low, end)) for low, end in ((2, 5), (6, 25), (4, 25)))
    chosen = rng.choice(kinds, (120, columns), p=rng.dirichlet(np.ones(kinds)))
    shift = rng.normal(0.0, 0.6, (columns, kinds, numbers))[np.arange(columns), chosen].sum(1) / np.sqrt(columns)
    beside = np.clip(shift + rng.normal(0.0, 0.3, shift.shape), -1.0, 1.0)
    means = np.concatenate([2.0 * np.eye(kinds)[chosen].reshape(120, -1) - 1.0, beside], axis=1)
    variances = np.repeat([0.02**2, 0.1**2], [columns * kinds, numbers])
    return GaussianMixture(rng.dirichlet(np.full(120, 2.0)), means, np.tile(variances, (120, 1)))


class Rippled:
    r"""A law whose denoiser has ripples, as that of a network has: D + size · spread · Σ_k 2^−k sin(R_k z + 2^k lam + b_k).

    Here z = x/√(alpha² + sigma²) and spread = sigma/√(alpha² + sigma²); R_k has entries of size 2^k. Its flow is no law's, and is followed.
    """

    def __init__(self, law: Any, seed: int, size: float, octaves: int = 3) -> None:
        rng, d = np.random.default_rng(900 + seed), len(np.asarray(law.covariance()))
        self.law, self.size = law, size
        self.waves = [(2.0**k, rng.standard_normal((d, d)) / np.sqrt(d) * 2.0**k, rng.uniform(0.0, 6.3, d)) for k in range(octaves)]

    def _phases(self, x: np.ndarray, node: Any) -> tuple[float, float, list[tuple[float, np.ndarray, np.ndarray]]]:
        length = float(np.hypot(node.alpha, node.sigma))
        return length, node.sigma / length, [(f, r, x / length @ r.T + f * node.lam + b) for f, r, b in self.waves]

    def denoised(self, x: np.ndarray, node: Any) -> np.ndarray:
        """The law's, with the ripples."""
        _, spread, phases = self._phases(x, node)
        return np.asarray(self.law.denoised(x, node) + self.size * spread * sum(np.sin(p) / f for f, _, p in phases))

    def vjp(self, x: np.ndarray, node: Any, v: np.ndarray) -> np.ndarray:
        """Jᵀ v."""
        length, spread, phases = self._phases(x, node)
        return np.asarray(self.law.vjp(x, node, v) + self.size * spread / length * sum((np.cos(p) * v) @ r / f for f, r, p in phases))


FAMILIES: dict[str, Callable[[int], Any]] = {
    "products": products,
    "mixtures": mixtures,
    "spectra": spectra,
    "sheets": sheets,
    "clusters": clusters,
    "tables": tables,
}
TRAIN = ("products", "mixtures", "spectra", "tables")
"""The families that universal methods are tuned on; the others are held out."""
CLOSED = ("products", "spectra", "sheets")


def member(family: str, seed: int, ripples: float = 0.0) -> Setting:
    """A member of a family as a setting.

    Args:
        family: one of ``FAMILIES``.
        seed: of the member.
        ripples: of its denoiser, as ``Rippled``; 0 leaves the law as it is.

    Returns:
        the Setting of the member, with its exact flow where it has no ripples.

    Raises:
        ValueError: an unknown family.
    """
    if family not in FAMILIES:
        raise ValueError(f"family = {family!r} is not known: give one of {', '.join(FAMILIES)}")
    law = FAMILIES[family](seed)
    schedule = VP()
    first = schedule.node(schedule.t_max)
    exact = (lambda x, s, t: law.flow(x, s, t)) if family in CLOSED and not ripples else None
    denoise = Rippled(law, seed, ripples).denoised if ripples else law.denoised
    variances = np.linalg.eigvalsh(np.asarray(law.covariance())).tolist()

    def draw(n: int, seed: int) -> Any:
        return law.sample(n, seed, first)

    return Setting(
        name=f"{family} {seed}" + (f", ripples {ripples:g}" if ripples else ""),
        denoise=denoise,
        schedule=schedule,
        draw=draw,
        exact=exact,
        variances=tuple(variances),
        pull=law_pull(denoise),
    )
