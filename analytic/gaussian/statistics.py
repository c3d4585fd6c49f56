r"""The model statistics of DPM-Solver-v3, computed on mixtures (Zheng et al., arXiv:2310.13268, eqs. 5, 11 and appendix C.1.1).

With z = x/alpha, f = (sigma eps - l x)/alpha = (1 - l) z - D, a dot for d/dlam along the probability flow, and x distributed as at that
lam,

    l = E[diag(sigma ∂eps/∂x)] = 1 - e^{2 lam} E[diag Cov[x0|x]],
    s, b minimise E (ḟ - s f - b)²,      ḟ = (1 - l) (D - z) - l' z - Ḋ,
    Ḋ = e^lam Cov[x0|x] eps - e^{2 lam} E[(x0 - D) |x0 - D|² | x].

The paper has one l, s and b for each coordinate (``shared=False``). One l and s for all, and b = 0, keep a solver linear
(``shared=True``); then l is the mean over the coordinates and s = E f·ḟ / E f·f. Expectations are a trapezoidal sum in one dimension,
exact to round-off, and elsewhere a mean over fixed draws, as in the paper. Only lam matters, so everything is computed at alpha = 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import Chebyshev

from scorebed.analytic.gaussian.covariance import LowRank
from scorebed.analytic.gaussian.mixture import GaussianMixture
from scorebed.solvers.schedule import Node

_REACH = 9.0  # standard deviations that the trapezoidal sum reaches beyond the outermost means
_STEPS = 0.2  # its spacing in units of the smallest standard deviation
_LINE = 1 << 14  # its most points
_ROUND = 1e-24  # a mean square below this part of that of the terms is round-off squared


def _rates(target: GaussianMixture, x: np.ndarray, node: Node) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """D, Ḋ and diag Cov[x0|x] at states (n, d)."""
    posterior = target.posterior(x, node)
    weights, means, cov = posterior.weights, posterior.means, posterior.covariances
    if isinstance(cov, LowRank):
        dense = cov.factor @ cov.factor.swapaxes(1, 2) + cov.diagonal[:, :, None] * np.eye(target.d)
    else:
        dense = cov if np.ndim(cov) == 3 else np.reshape(cov, (target.k, -1))[:, :, None] * np.eye(target.d)
    denoised = np.asarray(target.denoised(x, node))
    apart = means - denoised[:, None, :]
    spread = np.einsum("nk,nki,nkj->nij", weights, apart, apart) + np.einsum("nk,kij->nij", weights, dense)
    size = np.square(apart).sum(2) + np.trace(dense, axis1=1, axis2=2)
    third = np.einsum("nk,nki->ni", weights * size, apart) + 2.0 * np.einsum("nk,kij,nkj->ni", weights, dense, apart)
    eps = np.asarray(target.eps(x, node))
    mu = math.exp(node.lam)
    return denoised, mu * np.einsum("nij,nj->ni", spread, eps) - mu * mu * third, np.einsum("nii->ni", spread)


def denoised_rate(target: GaussianMixture, x: np.ndarray, node: Node) -> np.ndarray:
    """Ḋ, the derivative of D in lam along the probability flow through states x (n, d), in closed form."""
    return _rates(target, np.asarray(x, dtype=float), node)[1]


def _states(target: GaussianMixture, sigma: float, clean: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, d) and weights (n, 1) for expectations over x0 + sigma eps."""
    if target.d > 1:
        return clean + sigma * noise, np.full((len(clean), 1), 1.0 / len(clean))
    node = Node(sigma, 1.0, sigma, -math.log(sigma))
    law = target.marginal(node)
    stds = np.sqrt([law.structure.along(np.ones((1, 1)))[0]]).ravel()
    low, high = (law.means[:, 0] - _REACH * stds).min(), (law.means[:, 0] + _REACH * stds).max()
    n = min(_LINE, math.ceil((high - low) / (_STEPS * stds.min())))
    x = np.linspace(low, high, n)[:, None]
    weights = np.exp(np.asarray(target.log_prob(x, node)))[:, None]
    return x, weights / weights.sum()


@dataclass(frozen=True, eq=False)
class Tabulated:
    """l, s and b as Chebyshev interpolants on [low, high]; the ``Statistics`` of ``solvers.methods.dpm_solver_v3``."""

    low: float
    high: float
    curves: tuple[list[Chebyshev], list[Chebyshev], list[Chebyshev]]
    linear: bool

    def _value(self, which: int, lam: np.ndarray) -> np.ndarray:
        slack = 1e-9 * (self.high - self.low)
        if np.min(lam) < self.low - slack or np.max(lam) > self.high + slack:
            raise ValueError(f"lam = {np.min(lam):g} to {np.max(lam):g} is not in the tabulated range, {self.low:g} to {self.high:g}")
        out = np.stack([curve(np.asarray(lam)) for curve in self.curves[which]], axis=-1)
        return out[..., 0] if out.shape[-1] == 1 else out

    def l(self, lam: np.ndarray) -> np.ndarray:  # noqa: E743
        return self._value(0, lam)

    def s(self, lam: np.ndarray) -> np.ndarray:
        return self._value(1, lam)

    def b(self, lam: np.ndarray) -> np.ndarray:
        return self._value(2, lam)


def model_statistics(
    target: GaussianMixture, low: float, high: float, *, shared: bool = False, points: int = 160, samples: int = 1024, seed: int = 0
) -> Tabulated:
    """The statistics of ``target`` for lam in [low, high].

    Args:
        shared: one l and s for all coordinates and b = 0, so that a solver made with them unrolls to a Plan.
        points: how many Chebyshev points tabulate the curves; on a range of 10 and modes 1 apart, 160 give 1e-7 of s and 1e-12 of l.
        samples, seed: the draws of the expectations in more than one dimension, the same at every lam.

    Returns:
        the Tabulated statistics l, s and b over lam in [low, high].

    Raises:
        ValueError: an empty range, or too few points or samples.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"low = {low!r}, high = {high!r}: give finite numbers, low below high")
    if points < 4 or samples < 2:
        raise ValueError(f"points = {points!r} must be at least 4 and samples = {samples!r} at least 2")
    rng = np.random.default_rng(seed)
    clean, noise = target.sample(samples, rng), rng.standard_normal((samples, target.d))
    lams = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(np.pi * (np.arange(points) + 0.5) / points)

    def curves(values: np.ndarray) -> list[Chebyshev]:
        return [Chebyshev.fit(lams, column, points - 1, domain=[low, high]) for column in values.T]

    seen = []
    for lam in lams:
        node = Node(math.exp(-lam), 1.0, math.exp(-lam), float(lam))
        x, weights = _states(target, node.sigma, clean, noise)
        seen.append((x, weights, *_rates(target, x, node)))
    l = np.array([1.0 - math.exp(2.0 * lam) * (w * spread).sum(0) for lam, (_, w, _, _, spread) in zip(lams, seen, strict=True)])
    l = l.mean(1, keepdims=True) if shared else l
    l_curves = curves(l)
    slopes = np.stack([curve.deriv()(lams) for curve in l_curves], axis=-1)
    s, b = np.empty_like(l), np.zeros_like(l)
    for i, (z, w, denoised, rate, _) in enumerate(seen):
        f = (1.0 - l[i]) * z - denoised
        f_rate = (1.0 - l[i]) * (denoised - z) - slopes[i] * z - rate
        floor = _ROUND * (w * (np.square((1.0 - l[i]) * z) + np.square(denoised))).sum(0)
        if shared:
            square = float((w * f * f).sum())
            s[i] = float((w * f * f_rate).sum()) / square if square > float(floor.sum()) else 0.0
            continue
        mean, mean_rate = (w * f).sum(0), (w * f_rate).sum(0)
        variance = (w * np.square(f - mean)).sum(0)
        alike = variance <= floor  # f is the same everywhere: any s will do, b says the rest
        s[i] = np.where(alike, 0.0, (w * (f - mean) * f_rate).sum(0) / np.where(alike, 1.0, variance))
        b[i] = mean_rate - s[i] * mean
    return Tabulated(low, high, (l_curves, curves(s), curves(b)), shared)
