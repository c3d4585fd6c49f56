r"""Squared maximum mean discrepancy with a Gaussian kernel, closed form against mixtures.

k(x, y) = e^{-|x-y|²/2h²} is h^d (2π)^{d/2} N(x; y, h² I), so that its mean over a mixture is a density of the mixture at noise level h,

    E k(X, y) = h^d (2π)^{d/2} Σ_k w_k N(y; mu_k, Σ_k + h² I),
    E k(X, Y) = h^d (2π)^{d/2} Σ_ij w_i v_j N(mu_i; nu_j, Σ_i + T_j + h² I),

in the structure of the covariances. MMD² = E k(X, X') - 2 E k(X, Y) + E k(Y, Y') (Gretton et al., JMLR 13, 2012).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy

from scorebed.analytic.gaussian.arrays import finite
from scorebed.analytic.gaussian.covariance import Covariance, LowRank
from scorebed.analytic.gaussian.diagonal import Diagonal, Isotropic
from scorebed.analytic.gaussian.lowrank import LowRankDiagonal
from scorebed.analytic.gaussian.mixture import GaussianMixture
from scorebed.solvers.schedule import Node

_BLOCK = 1 << 21


def mmd2(a: Any, b: Any, bandwidth: float, unbiased: bool = True) -> float:
    """MMD² between two laws, each a ``GaussianMixture`` or samples (n, d).

    ``unbiased`` leaves the pairs of a sample with itself out of the means over samples: the expectation is then the exact MMD² of the law
    the samples are from, and may come out negative. Mixtures enter exactly in both cases.

    Returns:
        MMD², negative only by chance with ``unbiased``.

    Raises:
        ValueError: a bandwidth not positive, dimensions that differ, fewer than two samples for the unbiased form.
    """
    h = float(bandwidth)
    if not (math.isfinite(h) and h > 0.0):
        raise ValueError(f"bandwidth = {bandwidth!r} must be positive and finite")
    first, second = _law("a", a), _law("b", b)
    d, other = (law.d if isinstance(law, GaussianMixture) else law.shape[1] for law in (first, second))
    if d != other:
        raise ValueError(f"a lives in {d} dimensions, b in {other}: give two laws in the same space")
    return _own("a", first, h, unbiased) - 2.0 * _mean_kernel(first, second, h) + _own("b", second, h, unbiased)


def _law(name: str, law: Any) -> GaussianMixture | np.ndarray:
    if isinstance(law, GaussianMixture):
        return law
    samples = finite(name, law, 2)
    if len(samples) == 0:
        raise ValueError(f"{name} has shape {samples.shape}: give samples (n, d) with n >= 1, or a GaussianMixture")
    return samples


def _own(name: str, law: GaussianMixture | np.ndarray, h: float, unbiased: bool) -> float:
    """E k(X, X') for independent X, X'."""
    mean = _mean_kernel(law, law, h)
    if isinstance(law, GaussianMixture) or not unbiased:
        return mean
    n = len(law)
    if n < 2:
        raise ValueError(f"{name} holds {n} sample: the unbiased form needs 2 or more")
    return (n * mean - 1.0) / (n - 1)


def _mean_kernel(a: GaussianMixture | np.ndarray, b: GaussianMixture | np.ndarray, h: float) -> float:
    if isinstance(a, GaussianMixture) and isinstance(b, GaussianMixture):
        return _mean_over_mixtures(a, b, h) if isinstance(a.structure, Isotropic) else _mean_over_mixtures(b, a, h)
    if isinstance(a, GaussianMixture):
        a, b = b, a
    if isinstance(b, GaussianMixture):
        return float(np.mean(_smoothed(b, np.asarray(a), h, h)))
    x, total, step = np.asarray(a), 0.0, max(1, _BLOCK // len(b))
    for i in range(0, len(x), step):
        total += float(np.exp(-0.5 / h**2 * scipy.spatial.distance.cdist(x[i : i + step], b, "sqeuclidean")).sum())
    return total / (len(x) * len(b))


def _smoothed(law: GaussianMixture, x: np.ndarray, noise: float, h: float) -> np.ndarray:
    """h^d (2π)^{d/2} times the density of ``law`` at noise level ``noise``."""
    log = law.log_prob(x, Node(t=0.0, alpha=1.0, sigma=noise, lam=-math.log(noise)))
    return np.exp(log + law.d * (math.log(h) + 0.5 * math.log(2.0 * math.pi)))


def _mean_over_mixtures(a: GaussianMixture, b: GaussianMixture, h: float) -> float:
    if isinstance(a.structure, Isotropic):  # components of the same variance together: they only add to the noise level
        total = 0.0
        for v in np.unique(a.structure.variance):
            mine = a.structure.variance == v
            total += float(a.weights[mine] @ _smoothed(b, a.means[mine], math.sqrt(v + h * h), h))
        return total
    return sum(
        float(w * _smoothed(GaussianMixture(b.weights, b.means, _added(b.structure, a.structure, i)), a.means[i : i + 1], h, h)[0])
        for i, w in enumerate(a.weights)
    )


def _added(b: Covariance, a: Covariance, i: int) -> Any:
    """Covariances of b, each plus the i-th of a, in the simplest structure that holds them."""
    own = _plain(a, i)
    if own.ndim == 1 and isinstance(b, Isotropic):
        return b.variance[:, None] + own
    if own.ndim == 1 and isinstance(b, Diagonal):
        return b.variance + own
    if own.ndim == 1 and isinstance(b, LowRankDiagonal):
        return LowRank(b.factor, b.diagonal + own)
    if isinstance(a, LowRankDiagonal) and not hasattr(b, "matrices"):
        shared = np.broadcast_to(a.factor[i], (b.k, *a.factor[i].shape))
        if isinstance(b, LowRankDiagonal):
            return LowRank(np.concatenate([b.factor, shared], axis=2), b.diagonal + a.diagonal[i])
        return LowRank(shared, np.stack([_plain(b, j) for j in range(b.k)]) + a.diagonal[i])
    return np.stack([_dense(b, j) for j in range(b.k)]) + _dense(a, i)


def _plain(structure: Covariance, i: int) -> np.ndarray:
    """The i-th covariance, its diagonal alone where it is diagonal."""
    if isinstance(structure, Isotropic):
        return np.full(structure.d, structure.variance[i])
    return structure.variance[i] if isinstance(structure, Diagonal) else _dense(structure, i)


def _dense(structure: Covariance, i: int) -> np.ndarray:
    return structure.pooled(np.eye(structure.k)[i])
