r"""What an observation y = A x0 + n does to K Gaussians N(mu_k, Σ_k), each in its own structure (white coordinates: R = I).

    log N(y; A mu, A Σ A^T + I) = -½ (q + log det P) - …,   P = I + A Σ A^T,   e = y - A mu,   q = e^T P^{-1} e,
    mean mu + K e,   K = Σ A^T P^{-1},   covariance S = Σ - K A Σ.

``Along``: Σ and G = A^T A are diagonal in one basis, with v and g. Then P is never formed: with b = A^T y and c = b - g mu,

    S = v/(1 + v g),   K e = S c,   log det P = Σ log(1 + v g),   q = |y|² - mu·(b + c) - S c·c.

This holds for isotropic Σ and any A, in the eigenbasis of G; and for diagonal Σ where G is diagonal: masks, with noise of any variances.
``Low rank`` F F^T + diag(δ) with such a G stays low rank: F' = (F/(1 + δ g)) L^{-T}, δ' = δ/(1 + δ g), L L^T = I + F^T (g/(1 + δ g)) F.
Everything else becomes a full matrix. All is held in ``Extended``; where R is small, S is a difference of nearly equal matrices.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from scorebed.analytic.gaussian.covariance import Covariance, LowRank, Pick
from scorebed.analytic.gaussian.diagonal import Diagonal, Isotropic
from scorebed.analytic.gaussian.extended import Extended, Number, like, matmul, value
from scorebed.analytic.gaussian.full import Full, diagonalise
from scorebed.analytic.gaussian.lowrank import LowRankDiagonal, inverse_cholesky
from scorebed.analytic.gaussian.observation import Observation
from scorebed.analytic.gaussian.rotated import Rotated, RotatedDiagonal

_NULL = 1e-20  # of the largest eigenvalue of G: below it a direction is not observed


class Gain(Protocol):
    """K Gaussians and one observation."""

    def update(self, pick: Pick, means: Number) -> tuple[Number, Number]:
        """log N(y; A mu, P) up to m log(2π)/2, (components, n), and K e, (components, n, d), for means (components, n, d)."""

    def covariances(self) -> Any:
        """S of every component, as a mixture's argument."""


def gain(structure: Covariance, seen: Observation) -> Gain:
    """The gain of ``structure``, in the simplest structure that holds it."""
    flat = _diagonal(seen.precision)
    if isinstance(structure, Isotropic):
        variance = structure.variance[:, None]
        if flat:
            return Along(seen, None, _entries(seen.precision), variance)
        q, spectrum = diagonalise(seen.precision[None], np.linalg.eigh(seen.precision.hi)[1][None])
        return Along(seen, q[0], _observed(spectrum[0]), variance)
    if isinstance(structure, Diagonal) and flat:
        return Along(seen, None, _entries(seen.precision), structure.variance)
    if isinstance(structure, RotatedDiagonal):
        q = structure.basis
        turned = matmul(q.swapaxes(0, 1), matmul(seen.precision, q))
        if _diagonal(turned, 1e-15):
            return Along(seen, q, _observed(_entries(turned)), structure.variance)
    if isinstance(structure, LowRankDiagonal) and flat:
        return AlongLowRank(seen, structure)
    return Dense(seen, structure)


def _entries(g: Extended) -> Extended:
    i = np.arange(g.shape[0])
    return g[i, i]


def _observed(g: Extended) -> Extended:
    kept = g.hi > _NULL * g.hi.max(initial=0.0)
    return Extended(np.where(kept, g.hi, 0.0), np.where(kept, g.lo, 0.0))


def _diagonal(g: Extended, slack: float = 1e-28) -> bool:
    """Whether what stands off the diagonal is round-off of what stands on it."""
    size = np.sqrt(np.maximum(np.diagonal(g.hi), 0.0))
    off = np.abs(g.hi - np.diag(np.diagonal(g.hi)))
    return bool(np.all(off <= slack * size[:, None] * size))


class Along:
    """Σ_k = Q diag(v_k) Q^T and G = Q diag(g) Q^T; Q None is the standard basis, v (K, 1) an isotropic one."""

    def __init__(self, seen: Observation, q: Extended | None, g: Extended, variance: np.ndarray) -> None:
        self.q, self.g, self.isotropic = q, g, variance.shape[1] == 1
        b = matmul(seen.y[None], seen.a)[0]
        self.b = b if q is None else matmul(b[None], q)[0]
        self.y2 = (seen.y * seen.y).sum(-1)
        spread = g * variance + 1.0
        self.s = Extended(np.broadcast_to(variance, spread.shape)) / spread
        self.logdet = spread.log().sum(-1)

    def update(self, pick: Pick, means: Number) -> tuple[Number, Number]:
        q = None if self.q is None else like(self.q, means)
        mu = means if q is None else matmul(means, q)
        b = like(self.b, means)
        c = b - mu * like(self.g, means)
        shift = c * like(self.s, means)[pick][:, None, :]
        square = like(self.y2, means) - (mu * (b + c)).sum(-1) - (shift * c).sum(-1)
        logs = (square + self.logdet[pick][:, None]) * -0.5
        return logs, shift if q is None else matmul(shift, q.swapaxes(-1, -2))

    def covariances(self) -> Any:
        s = value(self.s)
        if self.q is not None:
            return Rotated(self.q.hi, s)
        return s[:, 0] if self.isotropic and np.all(s == s[:, :1]) else s


class Dense:
    """P_k = I + A Σ_k A^T = L L^T and H_k = Σ_k A^T L^{-T}, so that K e = H (L^{-1} e) and S = Σ - H H^T."""

    def __init__(self, seen: Observation, structure: Covariance) -> None:
        self.seen, self.structure = seen, structure
        cross = times(structure, seen.a.swapaxes(0, 1))
        inner = matmul(seen.a, cross) + np.eye(seen.m)
        self.inverse, self.logdet = inverse_cholesky((inner + inner.swapaxes(-1, -2)) * 0.5)
        self.h = matmul(cross, self.inverse.swapaxes(-1, -2))

    def update(self, pick: Pick, means: Number) -> tuple[Number, Number]:
        e = like(self.seen.y, means) - matmul(means, like(self.seen.a, means).swapaxes(0, 1))
        z = matmul(e, like(self.inverse, means)[pick].swapaxes(-1, -2))
        logs = ((z * z).sum(-1) + self.logdet[pick][:, None]) * -0.5
        return logs, matmul(z, like(self.h, means)[pick].swapaxes(-1, -2))

    def covariances(self) -> Any:
        out = value(dense(self.structure) - matmul(self.h, self.h.swapaxes(-1, -2)))
        return 0.5 * (out + out.swapaxes(-1, -2))


class AlongLowRank(Dense):
    """Σ_k = F F^T + diag(δ) where G is diagonal."""

    structure: LowRankDiagonal

    def covariances(self) -> LowRank:
        factor, diagonal = self.structure.factor, self.structure.diagonal
        g = _entries(self.seen.precision)
        spread = g * diagonal + 1.0
        scaled = Extended(factor) / spread[:, :, None]
        middle = matmul(factor.swapaxes(-1, -2), scaled * g[:, None]) + np.eye(factor.shape[-1])
        inverse, _ = inverse_cholesky(middle)
        return LowRank(value(matmul(scaled, inverse.swapaxes(-1, -2))), value(Extended(diagonal) / spread))


def times(structure: Covariance, v: Extended) -> Extended:
    """Σ_k v for v (d, m), extended (K, d, m)."""
    if isinstance(structure, Isotropic):
        return v * structure.variance[:, None, None]
    if isinstance(structure, Diagonal):
        return v * structure.variance[:, :, None]
    if isinstance(structure, RotatedDiagonal):
        q = structure.basis
        return matmul(q, matmul(q.swapaxes(0, 1), v) * structure.variance[:, :, None])
    if isinstance(structure, LowRankDiagonal):
        f = structure.factor
        return matmul(f, matmul(f.swapaxes(-1, -2), v)) + v * structure.diagonal[:, :, None]
    if isinstance(structure, Full):
        return matmul(structure.matrices, v)
    raise TypeError(f"structure {type(structure).__name__} is not known: give one of analytic.gaussian")


def dense(structure: Covariance) -> Extended:
    """Σ_k itself, extended (K, d, d)."""
    return times(structure, Extended(np.eye(structure.d)))
