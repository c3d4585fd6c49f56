"""Which structure a mixture's argument ``covariances`` names."""

from __future__ import annotations

from typing import Any

import numpy as np

from scorebed.analytic.gaussian.arrays import finite
from scorebed.analytic.gaussian.covariance import Covariance, LowRank
from scorebed.analytic.gaussian.diagonal import Diagonal, Isotropic
from scorebed.analytic.gaussian.full import Full
from scorebed.analytic.gaussian.lowrank import LowRankDiagonal
from scorebed.analytic.gaussian.rotated import Rotated, RotatedDiagonal


def structure(covariances: Any, k: int, d: int) -> Covariance:
    """The structure that the argument ``covariances`` of a mixture of K components in d dimensions names.

    A number or shape (K,): isotropic variance. (K, d): diagonal. (K, d, d): full. ``LowRank(factor, diagonal)`` or such a pair: low rank
    plus diagonal. ``Rotated(basis, variance)``: diagonal in one basis.

    Returns:
        the Covariance: Isotropic, Diagonal, Full, LowRank or Rotated.

    Raises:
        ValueError: another shape, values that are nan, inf or negative variances, a matrix not symmetric or not positive semidefinite.
    """
    if isinstance(covariances, Rotated):
        basis, variance = finite("covariances.basis", covariances.basis), finite("covariances.variance", covariances.variance)
        if basis.shape != (d, d) or variance.shape != (k, d):
            raise ValueError(f"covariances: basis {basis.shape} and variance {variance.shape} must be ({d}, {d}) and ({k}, {d})")
        return RotatedDiagonal(basis, _variances(variance))
    if isinstance(covariances, LowRank) or (isinstance(covariances, tuple) and len(covariances) == 2 and np.ndim(covariances[0]) == 3):
        factor, diagonal = finite("covariances.factor", covariances[0]), finite("covariances.diagonal", covariances[1])
        if factor.ndim != 3 or factor.shape[:2] != (k, d) or diagonal.shape != (k, d):
            raise ValueError(f"covariances: factor {factor.shape} and diagonal {diagonal.shape} must be ({k}, {d}, r) and ({k}, {d})")
        return LowRankDiagonal(factor, _variances(diagonal))
    given = finite("covariances", covariances)
    if given.ndim == 0:
        given = np.full(k, given)
    if given.shape == (k,):
        return Isotropic(_variances(given), d)
    if given.shape == (k, d):
        return Diagonal(_variances(given))
    if given.shape == (k, d, d):
        return Full(given)
    raise ValueError(
        f"covariances has shape {given.shape}, but means has shape {(k, d)}: give a number or shape ({k},) for isotropic variances, "
        f"({k}, {d}) for diagonal, ({k}, {d}, {d}) for full, or LowRank(factor ({k}, {d}, r), diagonal ({k}, {d}))"
    )


def _variances(values: np.ndarray) -> np.ndarray:
    if np.any(values < 0.0):
        where = tuple(int(i) for i in np.argwhere(values < 0.0)[0])
        raise ValueError(f"covariances holds the negative variance {float(values[where])} at index {where}: not positive semidefinite")
    return values
