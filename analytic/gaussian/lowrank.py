r"""Low rank plus diagonal: Σ_k = F F^T + diag(δ), F (d, r), without a d×d matrix.

At a node, with D = alpha² δ + sigma² and the r×r matrix M = I + alpha² F^T D^{-1} F = L L^T (Woodbury, and the determinant lemma):

    C^{-1} r = D^{-1} r - alpha² H H^T r,   H = D^{-1} F L^{-T},         log det C = Σ log D + log det M,
    S = sigma² Σ C^{-1} = G G^T + diag(sigma² δ/D),   G = sigma² H,      m = mu + alpha (S/sigma²) r.

Where sigma² is small against F the first line is a difference of nearly equal vectors; M, L and H are therefore held in ``Extended``,
and ``strain`` tells when the solve has to be. S and m are sums of nonnegative parts and lose nothing.
"""

from __future__ import annotations

import numpy as np

from scorebed.analytic.gaussian.covariance import LowRank, Pick, noisy
from scorebed.analytic.gaussian.extended import Extended, Number, like, matmul, product
from scorebed.analytic.gaussian.full import diagonalise


class LowRankDiagonal:
    """K covariances factor factor^T + diag(diagonal)."""

    wide = False

    def __init__(self, factor: np.ndarray, diagonal: np.ndarray) -> None:
        self.factor, self.diagonal = factor, diagonal
        self.k, self.d, self.rank = factor.shape

    def at(self, alpha: float, sigma: float) -> LowRankAt:
        return LowRankAt(self, alpha, sigma)

    def raw(self) -> LowRank:
        return LowRank(self.factor, self.diagonal)

    def marginal(self, alpha: float, sigma: float) -> LowRank:
        return LowRank(alpha * self.factor, noisy(self.diagonal, alpha, sigma).hi)

    def along(self, directions: np.ndarray) -> np.ndarray:
        shadow = np.einsum("md,kdr->mkr", directions, self.factor, optimize=True)
        return np.square(shadow).sum(-1) + np.square(directions) @ self.diagonal.T

    def pooled(self, weights: np.ndarray) -> np.ndarray:
        flat = (np.sqrt(weights)[:, None, None] * self.factor).transpose(1, 0, 2).reshape(self.d, -1)
        return flat @ flat.T + np.diag(weights @ self.diagonal)

    def colour(self, pick: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        out = rng.standard_normal((len(pick), self.d)) * np.sqrt(self.diagonal)[pick]
        hidden = rng.standard_normal((len(pick), self.rank))
        for k in np.unique(pick):
            mine = pick == k
            out[mine] += hidden[mine] @ self.factor[k].T
        return out

    def eigen(self, k: int) -> tuple[np.ndarray, np.ndarray | None]:
        factor = Extended(self.factor[k : k + 1])
        dense = matmul(factor, factor.swapaxes(-1, -2)) + self.diagonal[k, :, None] * np.eye(self.d)
        q, spectrum = diagonalise(dense, np.linalg.eigh(dense.hi)[1])
        return np.maximum(spectrum.hi[0], 0.0), q.hi[0]


class LowRankAt:
    """The same at one node."""

    def __init__(self, source: LowRankDiagonal, alpha: float, sigma: float) -> None:
        self.source, self.alpha, self.sigma = source, alpha, sigma
        self.noise = noisy(source.diagonal, alpha, sigma)  # D
        self.singular = bool(np.any(self.noise.hi <= 0.0))
        self.least = self.noise.hi.min(-1)
        self.scale = product(np.float64(alpha), np.float64(alpha))
        self.share = source.diagonal / np.where(self.noise.hi > 0.0, self.noise.hi, 1.0)  # δ/D
        step = max(1, (1 << 18) // max(1, source.d * source.rank))
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = [self._factorise(slice(i, i + step)) for i in range(0, source.k, step)]
        self.h = Extended.joined([p[0] for p in parts])
        self.inverse = np.concatenate([p[1] for p in parts])  # L^{-1}
        self.logdet = self.noise.log().sum(-1) + np.concatenate([p[2] for p in parts])

    def _factorise(self, pick: slice) -> tuple[Extended, np.ndarray, np.ndarray]:
        """H = D^{-1} F L^{-T}, L^{-1} and log det M of a few components."""
        factor = self.source.factor[pick]
        scaled = Extended(factor) / self.noise[pick][:, :, None]
        middle = matmul(factor.swapaxes(-1, -2), scaled * self.scale) + np.eye(self.source.rank)
        inverse, logdet = inverse_cholesky(middle)
        return matmul(scaled, inverse.swapaxes(-1, -2)), inverse.hi, logdet

    def _shadow(self, pick: Pick, r: Number) -> tuple[Number, Number]:
        """H^T r and H H^T r."""
        h = like(self.h, r)[pick]
        inner = matmul(r, h)
        return inner, matmul(inner, h.swapaxes(-1, -2))

    def solve(self, pick: Pick, r: Number) -> tuple[Number, Number]:
        noise = like(self.noise, r)[pick][:, None, :]
        inner, shadow = self._shadow(pick, r)
        y = r / noise - shadow * like(self.scale, r)
        if isinstance(r, Extended):
            return y, (r * y).sum(-1)
        # q = min_t |D^{-1/2}(r - alpha F t)|² + |t|²: at the minimum the error of t is felt only squared
        t = self.alpha * np.matmul(inner, self.inverse[pick])
        rest = r - self.alpha * np.matmul(t, self.source.factor[pick].swapaxes(-1, -2))
        return y, (rest * rest / noise).sum(-1) + (t * t).sum(-1)

    def posterior_mean(self, pick: Pick, mu: np.ndarray, x: np.ndarray, r: Number, y: Number) -> Number:
        if isinstance(r, Extended):
            f = self.source.factor[pick]
            return (matmul(matmul(y, f), f.swapaxes(-1, -2)) + y * self.source.diagonal[pick][:, None, :]) * self.alpha + mu
        return mu + self.alpha * (self.sigma * self.sigma * self._shadow(pick, r)[1] + self.share[pick][:, None, :] * r)

    def strain(self, pick: Pick, r: np.ndarray, y: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        size, solved = np.sqrt(np.square(r).sum(-1)), np.sqrt(np.square(y).sum(-1))
        return size * solved, np.maximum(size / (self.least[pick][:, None] * solved), size * solved / (1.0 + np.abs(q)))

    def posterior(self) -> LowRank:
        return LowRank(self.sigma * self.sigma * self.h.hi, self.sigma * self.sigma * self.share)

    def posterior_times(self, weights: np.ndarray, v: np.ndarray) -> np.ndarray:
        factor, diagonal = self.posterior()
        out = (weights @ diagonal) * v
        for k, f in enumerate(factor):
            out += weights[:, k, None] * ((v @ f) @ f.T)
        return out

    def posterior_sum(self, weights: np.ndarray) -> np.ndarray:
        factor, diagonal = self.posterior()
        d = self.source.d
        out = (weights @ diagonal)[:, :, None] * np.eye(d)
        for n in range(len(weights)):
            flat = (np.sqrt(weights[n])[:, None, None] * factor).transpose(1, 0, 2).reshape(d, -1)
            out[n] += flat @ flat.T
        return out


def inverse_cholesky(m: Extended) -> tuple[Extended, np.ndarray]:
    """L^{-1} and log det M for M = L L^T, stacked, by columns in ``Extended``."""
    rank = m.shape[-1]
    rest = Extended(m.hi.copy(), m.lo.copy())
    inverse = Extended(np.broadcast_to(np.eye(rank), m.shape))
    logdet = np.zeros(m.shape[:-2])
    if rank == 0:
        return inverse, logdet
    pivots = []
    for j in range(rank):  # eliminate column j from M and from I at once
        pivot = rest[..., j, j]
        logdet += pivot.log()
        below = rest[..., j + 1 :, j] / pivot[..., None]
        factor = Extended(_pad(below.hi, j + 1), _pad(below.lo, j + 1))[..., :, None]
        rest = rest - factor * rest[..., j : j + 1, :]
        inverse = inverse - factor * inverse[..., j : j + 1, :]
        pivots.append(pivot[..., None])
    return inverse / Extended.joined(pivots, -1).sqrt()[..., None], logdet


def _pad(below: np.ndarray, zeros: int) -> np.ndarray:
    return np.concatenate([np.zeros(below.shape[:-1] + (zeros,)), below], -1)
