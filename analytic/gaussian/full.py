r"""Full covariances, diagonalised once to 32 digits: Σ = Q Λ Q^T.

``eigh`` leaves errors of one unit in the last place of the largest eigenvalue; at sigma = 1e-3 they would be 1e-10 of the smallest
eigenvalue of C = alpha² Σ + sigma² I. So its Q is improved: made orthogonal by Newton's Q <- Q (3 I - Q^T Q)/2, and turned by what is left
off the diagonal of Q^T Σ Q = Λ + E. Where eigenvalues lie apart the turn is W_ij = E_ij/(λ_j - λ_i) (first order,
|W| <= 1e-8, so that E is squared); among eigenvalues closer than 1e-8 the small block is diagonalised anew. 1e-24 of Σ remains.

At a node, with D = alpha² Λ + sigma²:

    C^{-1} r = Q D^{-1} Q^T r,   log det C = Σ log D,   S = sigma² Σ C^{-1} = Q (sigma² Λ/D) Q^T,
    m = Q ((sigma²/D) Q^T mu + (alpha Λ/D) Q^T x).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from scorebed.analytic.gaussian.covariance import Pick, noisy, weighted_sum
from scorebed.analytic.gaussian.extended import Extended, Number, like, matmul

_EPS = float(np.finfo(np.float64).eps)
_APART = 1e-8  # of the largest eigenvalue: eigenvalues closer than this are a cluster


class Full:
    """K symmetric positive semidefinite matrices (K, d, d)."""

    wide = False

    def __init__(self, matrices: np.ndarray) -> None:
        self.k, self.d, _ = matrices.shape
        skew = np.abs(matrices - matrices.swapaxes(-1, -2)).max(initial=0.0)
        if skew > 1e-10 * np.abs(matrices).max(initial=0.0):
            raise ValueError(f"covariances is not symmetric: entries differ from the transpose's by up to {skew:.3g}")
        self.matrices = 0.5 * (matrices + matrices.swapaxes(-1, -2))
        least, largest = self._rough[0].min(-1), np.abs(self._rough[0]).max(-1)
        if np.any(bad := least < -1e-12 * largest):
            k = int(np.argmax(bad))
            raise ValueError(f"covariances[{k}] is not positive semidefinite: its smallest eigenvalue is {least[k]:.6g}")

    @cached_property
    def _rough(self) -> tuple[np.ndarray, np.ndarray]:
        return np.linalg.eigh(self.matrices)

    @cached_property
    def basis(self) -> tuple[Extended, Extended]:
        """Q (K, d, d) and Λ (K, d), a bounded number of components at a time."""
        step = max(1, (1 << 18) // max(1, self.d * self.d))
        parts = [diagonalise(self.matrices[i : i + step], self._rough[1][i : i + step]) for i in range(0, self.k, step)]
        return Extended.joined([p[0] for p in parts]), Extended.joined([p[1] for p in parts])

    def at(self, alpha: float, sigma: float) -> FullAt:
        return FullAt(self, alpha, sigma)

    def raw(self) -> np.ndarray:
        return self.matrices

    def marginal(self, alpha: float, sigma: float) -> np.ndarray:
        return alpha * alpha * self.matrices + sigma * sigma * np.eye(self.d)

    def along(self, directions: np.ndarray) -> np.ndarray:
        rotated = np.einsum("md,kde->mke", directions, self.basis[0].hi, optimize=True)  # as a sum of squares, so never negative
        return np.einsum("mke,ke->mk", np.square(rotated), np.maximum(self.basis[1].hi, 0.0))

    def pooled(self, weights: np.ndarray) -> np.ndarray:
        return weighted_sum(weights[None], self.matrices)[0]

    def colour(self, pick: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        out = rng.standard_normal((len(pick), self.d)) * np.sqrt(np.maximum(self.basis[1].hi, 0.0))[pick]
        for k in np.unique(pick):
            out[pick == k] = out[pick == k] @ self.basis[0].hi[k].T
        return out

    def eigen(self, k: int) -> tuple[np.ndarray, np.ndarray | None]:
        return np.maximum(self.basis[1].hi[k], 0.0), self.basis[0].hi[k]


class FullAt:
    """The same at one node."""

    def __init__(self, source: Full, alpha: float, sigma: float) -> None:
        self.source, self.alpha, self.sigma = source, alpha, sigma
        self.q, spectrum = source.basis
        self.spread = noisy(spectrum, alpha, sigma)  # D
        self.least = self.spread.hi.min(-1)
        self.singular = bool(np.any(self.least <= (source.d * _EPS * self.spread.hi.max(-1) if sigma == 0.0 else 0.0)))
        with np.errstate(divide="ignore", invalid="ignore"):
            self.logdet = self.spread.log().sum(-1)
            self.keep = noisy(spectrum, 0.0, sigma) / self.spread  # sigma²/D
            self.gain = spectrum * alpha / self.spread

    def solve(self, pick: Pick, r: Number) -> tuple[Number, Number]:
        q = like(self.q, r)[pick]
        z = matmul(r, q)
        w = z / like(self.spread, r)[pick][:, None, :]
        return matmul(w, q.swapaxes(-1, -2)), (z * w).sum(-1)

    def posterior_mean(self, pick: Pick, mu: np.ndarray, x: np.ndarray, r: Number, y: Number) -> Number:
        q, keep, gain = (like(a, r)[pick] for a in (self.q, self.keep, self.gain))
        inner = matmul(mu, q) * keep[:, None, :] + matmul(x, q) * gain[:, None, :]
        return matmul(inner, q.swapaxes(-1, -2))

    def strain(self, pick: Pick, r: np.ndarray, y: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        size, solved = np.sqrt(np.square(r).sum(-1)), np.sqrt(np.square(y).sum(-1))
        return size * solved, np.maximum(size / (self.least[pick][:, None] * solved), size * solved / (1.0 + np.abs(q)))

    def posterior(self) -> np.ndarray:
        q = self.q.hi
        out = (q * (self.source.basis[1] * self.keep).hi[:, None, :]) @ q.swapaxes(-1, -2)
        return 0.5 * (out + out.swapaxes(-1, -2))

    def posterior_sum(self, weights: np.ndarray) -> np.ndarray:
        return weighted_sum(weights, self.posterior())

    def posterior_times(self, weights: np.ndarray, v: np.ndarray) -> np.ndarray:
        out = np.zeros_like(v)
        for k, s in enumerate(self.posterior()):
            out += weights[:, k, None] * (v @ s)
        return out


def diagonalise(matrices: Number, vectors: np.ndarray) -> tuple[Extended, Extended]:
    """Q and Λ of symmetric ``matrices`` (K, d, d), from the ``vectors`` that ``eigh`` finds."""
    d = vectors.shape[-1]
    i = np.arange(d)
    q = orthogonal(Extended(vectors), 2)
    for apart in (False, True):  # clusters first, then what couples them
        turned = matmul(q.swapaxes(-1, -2), matmul(matrices, q))
        turn = _between(turned) if apart else _within(turned)
        q = orthogonal(matmul(q, turn), 2)
    turned = matmul(q.swapaxes(-1, -2), matmul(matrices, q))
    return q, turned[:, i, i]


def orthogonal(q: Extended, rounds: int) -> Extended:
    """Newton's Q <- Q (3 I - Q^T Q)/2 from a nearly orthogonal matrix."""
    for _ in range(rounds):
        q = q + matmul(q, np.eye(q.shape[-1]) - matmul(q.swapaxes(-1, -2), q)) * 0.5
    return q


def _clusters(spectrum: np.ndarray) -> np.ndarray:
    """A label for every eigenvalue; the same for those in one cluster (they come sorted)."""
    gaps = np.abs(np.diff(spectrum, axis=-1)) > _APART * np.abs(spectrum).max(-1, keepdims=True)
    return np.concatenate([np.zeros((len(spectrum), 1), dtype=int), np.cumsum(gaps, axis=-1)], axis=-1)


def _within(turned: Extended) -> np.ndarray:
    """Eigenvectors of the clusters' blocks, whose own common value is taken off first, so that nothing large is left in them."""
    d = turned.shape[-1]
    i = np.arange(d)
    out = np.broadcast_to(np.eye(d), turned.shape).copy()
    labels = _clusters(turned.hi[:, i, i])
    for n in np.flatnonzero(labels[:, -1] < d - 1):
        for label in np.flatnonzero(np.bincount(labels[n]) > 1):
            mine = np.flatnonzero(labels[n] == label)
            block = turned[n][np.ix_(mine, mine)]
            small = (block - np.eye(len(mine)) * block.hi[0, 0]).hi
            out[n][np.ix_(mine, mine)] = np.linalg.eigh(0.5 * (small + small.T))[1]
    return out


def _between(turned: Extended) -> np.ndarray:
    """I + W + W²/2 with the first-order turn W between clusters."""
    i = np.arange(turned.shape[-1])
    spectrum = turned.hi[:, i, i]
    labels = _clusters(spectrum)
    gaps = spectrum[:, None, :] - spectrum[:, :, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        w = np.where(labels[:, None, :] != labels[:, :, None], turned.hi / gaps, 0.0)
    return np.eye(len(i)) + w + 0.5 * w @ w
