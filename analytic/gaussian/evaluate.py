r"""Weighted sums over the components of a mixture at one node: the weights of the posterior, and Σ_k γ_k (something of component k).

    γ_k ∝ exp l_k,   l_k = log w_k - log det C_k / 2 - q_k / 2,   q_k = r_k^T C_k^{-1} r_k,   r_k = x - alpha mu_k.

float64 is tried first. A state is computed again in ``Extended`` where float64 would show: where two or more components compete and their q
is so large that its round-off moves the weights, or where C is so near to singular that C^{-1} r has lost digits. So the precision of a
state depends on that state alone, not on the batch. Memory: components times states are taken in blocks of at most ``_BLOCK`` numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from scorebed.analytic.gaussian.covariance import Cloud, Covariance, Pick
from scorebed.analytic.gaussian.extended import Extended, Number, difference, two_prod, value

Part = Callable[[Pick, np.ndarray, np.ndarray, Number, Number], Number]
"""What is summed: a function of (pick, mu (components, 1, d), x (…, n, d), r, y = C^{-1} r)."""

_BLOCK = 1 << 19
SMALL = 4096  # K d up to which components are taken all at once
LEADERS = 50.0  # e^-50 = 2e-22 of the largest weight is left out
ALL = 750.0  # e^-750 = 0
NEVER = -1e300  # log 0, finite so that extended sums stay numbers
Q_LIMIT = 2000.0  # in units of eps, as ``strain`` gives them: q is off by at most 2.5 of them, 0.5 in the mean (measured)
_STRAIN_LIMIT = 1000.0  # the same for C^{-1} r, which is off by at most 2 units


class Evaluator:
    """One mixture at one node."""

    def __init__(
        self, log_weights: np.ndarray, means: np.ndarray, cloud: Cloud, covariance: Covariance, alpha: float, sigma: float
    ) -> None:
        self.means, self.cloud, self.alpha, self.sigma = means, cloud, alpha, sigma
        self.k, self.d = means.shape
        self.at = covariance.at(alpha, sigma)
        if self.at.singular:
            raise no_density(alpha, sigma)
        self.offset = log_weights - 0.5 * self.at.logdet
        self.wide = covariance.wide
        self.small = self.k * self.d <= SMALL and (self.wide or self.k * self.d * self.d <= _BLOCK >> 1)
        self._centres = two_prod(np.float64(alpha), means) if self.small else None

    def centres(self, pick: Pick) -> tuple[np.ndarray, np.ndarray]:
        """alpha mu as an exact pair of float64, shape (components, 1, d) each."""
        if self._centres is not None:
            return self._centres[0][pick][:, None, :], self._centres[1][pick][:, None, :]
        p, e = two_prod(np.float64(self.alpha), self.means[pick])
        return p[:, None, :], e[:, None, :]

    def residual(self, pick: Pick, x: np.ndarray, extended: bool) -> Number:
        """x - alpha mu; the rounding of alpha mu is never lost."""
        p, e = self.centres(pick)
        return difference(x, p) - e if extended else (x - p) - e

    def needs(self, delta: np.ndarray, strain: tuple[np.ndarray, np.ndarray | None], span: float = LEADERS) -> np.ndarray:
        """Which states (axis 1 of (components, n) arrays) float64 cannot serve."""
        size, relative = strain
        leads = delta > -span
        needs = ((size > Q_LIMIT) & leads).any(0) & (leads.sum(0) > 1)
        return needs if relative is None else needs | ((relative > _STRAIN_LIMIT) & leads).any(0)

    def logits(self, pick: Pick, x: np.ndarray, extended: bool) -> tuple[Number, Number, Number, Number]:
        """(l, r, y, q) for the picked components, l of shape (components, n)."""
        r = self.residual(pick, x, extended)
        y, q = self.at.solve(pick, r)
        return q * -0.5 + self.offset[pick][:, None], r, y, q

    def reduce(self, x: np.ndarray, part: Part | None, span: float = LEADERS) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """For states (n, d): the log-density up to d log(2π)/2 (n,), γ (K, n), and Σ_k γ_k part_k (n, d) if a part is given.

        Weights down to e^-span of the largest are accurate to their last digits.

        Returns:
            (log-density (n,), γ (K, n), Σ_k γ_k part_k (n, d) or None without a part).
        """
        if not self.small:
            return self._reduce_in_blocks(x, part)
        everything = slice(None)
        logits, r, y, q = self.logits(everything, x, False)
        top = logits.max(0)
        delta = logits - top
        strain = self.at.strain(everything, r, y, q)
        parts = part(everything, self.means[:, None, :], x, r, y) if part else None
        if not (strain[0].max(initial=0.0) < Q_LIMIT and (strain[1] is None or strain[1].max(initial=0.0) < _STRAIN_LIMIT)):
            needs = self.needs(delta, strain, span)
            if needs.any():
                sharp, rest, better, _ = self.logits(everything, x[needs], True)
                delta[:, needs], top[needs] = below(sharp)
                if parts is not None and part:
                    parts[:, needs] = value(part(everything, self.means[:, None, :], x[needs], rest, better))
        log_density, weights = normalise(delta, top)
        return log_density, weights, None if parts is None else np.einsum("kn,knd->nd", weights, parts)

    def blocks(self, n: int) -> list[slice]:
        """Slices of components so small that ``n`` states of each, or a d×d matrix of each, can be held."""
        step = max(1, _BLOCK // (max(n, 1 if self.wide else self.d, 1) * self.d))
        return [slice(i, i + step) for i in range(0, self.k, step)]

    def _reduce_in_blocks(self, x: np.ndarray, part: Part | None) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """``reduce`` that holds no more than a block of components at a time, at the price of solving twice."""
        n = len(x)
        logits, size, relative = np.empty((self.k, n)), np.empty((self.k, n)), np.zeros((self.k, n))
        for pick in self.blocks(n):
            logits[pick], r, y, q = self.logits(pick, x, False)
            size[pick], strained = self.at.strain(pick, r, y, q)
            if strained is not None:
                relative[pick] = strained
        top = logits.max(0)
        delta = logits - top
        needs = self.needs(delta, (size, relative))
        if needs.any():
            sharp = Extended(np.full((self.k, int(needs.sum())), NEVER))
            for pick in self.blocks(8 * len(sharp.hi[0])):
                if (delta[pick][:, needs] > -2.0 * LEADERS).any():
                    found = self.logits(pick, x[needs], True)[0]
                    sharp.hi[pick], sharp.lo[pick] = found.hi, found.lo
            delta[:, needs], top[needs] = below(sharp)
        log_density, weights = normalise(delta, top)
        if part is None:
            return log_density, weights, None
        total = np.zeros((n, self.d))
        for rows, extended in ((~needs, False), (needs, True)):
            for pick in self.blocks((8 if extended else 1) * int(rows.sum())) if rows.any() else []:
                mine = weights[pick][:, rows]
                if not (mine <= 1e-30).all():  # so that nan is not passed over
                    r = self.residual(pick, x[rows], extended)
                    found = part(pick, self.means[pick][:, None, :], x[rows], r, self.at.solve(pick, r)[0])
                    total[rows] += np.einsum("kn,knd->nd", mine, value(found))
        return log_density, weights, total


def no_density(alpha: float, sigma: float) -> ValueError:
    """The error where a covariance is singular."""
    return ValueError(
        f"a covariance is singular at the node alpha = {alpha}, sigma = {sigma}: there is no density or score; ask at sigma > 0"
    )


def below(logits: Any) -> tuple[np.ndarray, np.ndarray]:
    """Extended logits (K, …) minus the largest of each state, and the largest, in float64."""
    lead = np.argmax(logits.hi, axis=0)[None]
    hi, lo = np.take_along_axis(logits.hi, lead, 0), np.take_along_axis(logits.lo, lead, 0)
    with np.errstate(invalid="ignore"):
        return (logits.hi - hi) + (logits.lo - lo), hi[0]


def normalise(delta: np.ndarray, top: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log Σ e^l and the weights e^l / Σ e^l, from l - max l and max l, over axis 0."""
    weights = np.exp(delta)
    total = weights.sum(0)
    return top + np.log(total), weights / total
