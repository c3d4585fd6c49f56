r"""Covariance structures of a large mixture: log-weights and posterior sums of a run of components, by matrix products.

With C = alpha² Σ + sigma², W = 1/C (diagonal) and r = x - alpha mu, a component's log-weight is l = o - q/2, o = log w - log det C / 2, and

    diagonal:   q = x²·W - 2 x·(alpha W mu) + alpha² mu²·W,
    low rank:   Σ = F F^T + diag(δ), W = 1/(alpha² δ + sigma²), M = I + alpha² F^T W F = L L^T, H = W F L^{-T},
                q = as for the diagonal, less alpha² |H^T r|².

The posterior sums over components with weights p need V = Σ p W mu, A = Σ p W, B = Σ p alpha v W with v the diagonal of Σ (δ for low rank),
and for low rank E = Σ p H H^T r:

    denoised = sigma² V + B x + alpha sigma² E,        score = alpha V - A x + alpha² E.

Only sums of one sign: 1 - sigma² W in place of alpha² v W would lose it where sigma is large. Every sum is a matrix product over the
components; nothing of size components × batch × d is held.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Sums = tuple[Tensor, Tensor, Tensor | None]
"""V, A or B, and E."""


class Isotropic:
    """Σ_k = variance_k I."""

    def __init__(self, variance: Tensor, d: int) -> None:
        self.variance, self.d = variance, d
        low, high = float(variance.min()), float(variance.max())
        self.least, self.most = low, high
        self.common = low == high
        self.row = 1
        """Numbers per component that the work on it takes, besides those per state."""
        self.pairs = 1
        """Numbers per pair of a state and a component."""

        self.own = variance

    def see(self, centred: Tensor) -> None:
        """Note |mu|² of the means that the log-weights will be formed with, in float64, a few rows at a time."""
        self.own = torch.cat([some.double().square().sum(1) for some in centred.split(1024)])

    def part(self, means: Tensor, log_weights: Tensor, alpha: float, sigma: float, rows: slice, score: bool) -> IsotropicPart:
        c = alpha * alpha * self.variance[rows].double() + sigma * sigma
        offset = log_weights - 0.5 * (self.d * c.log() + alpha * alpha * self.own[rows] / c)
        pull = alpha / (alpha * alpha * self.least + sigma * sigma) if self.common else alpha
        return IsotropicPart(means, offset, c, pull, self.common, None if score else alpha * self.variance[rows].double() / c)

    def exact(self, x: Tensor, means: Tensor, pick: Tensor, alpha: float, sigma: float) -> Tensor:
        """log det C / 2 + q / 2 of pairs (state, component ``pick``), float64, from the residuals."""
        c = alpha * alpha * self.variance[pick].double() + sigma * sigma
        r = means[pick].double().mul_(-alpha).add_(x)
        return 0.5 * (r.square_().sum(1) / c + self.d * c.log())

    def terms(self, p: Tensor, x: Tensor, means: Tensor, pick: Tensor, alpha: float, sigma: float, score: bool) -> Tensor:
        """p times the score or the posterior mean of each pair (state, component), in the type of p."""
        v = self.variance[pick].to(p.dtype)[:, None]
        w = p[:, None] / (alpha * alpha * v + sigma * sigma)
        if score:  # a small difference: formed in float64
            return w * means[pick].double().mul_(alpha).sub_(x).to(p.dtype)
        return w * (sigma * sigma * means[pick].to(p.dtype) + alpha * v * x)


class IsotropicPart:
    """A run of components at one node."""

    def __init__(self, means: Tensor, offset: Tensor, c: Tensor, pull: float, common: bool, gain: Tensor | None) -> None:
        self.means, self.common = means, common
        self.offset = offset.to(means.dtype)
        self.w = (1.0 / c).to(means.dtype)
        self.pull = pull
        self.second = self.w if gain is None else gain.to(means.dtype)

    def log_weights(self, x: Tensor, squares: Tensor, out: Tensor) -> Tensor:
        """l up to a constant of the state where the variance is common, else l; (n, K) in ``out``."""
        if self.common:
            return torch.addmm(self.offset, x, self.means.T, alpha=self.pull, out=out)
        torch.mm(x, self.means.T, out=out)
        out.mul_(self.pull).addr_(squares, torch.ones_like(self.w), alpha=-0.5).mul_(self.w)
        return out.add_(self.offset)

    def sums(self, p: Tensor, x: Tensor) -> Sums:
        if self.common:
            return (p @ self.means).mul_(self.w[0]), p.sum(1, keepdim=True) * self.second[0], None
        second = (p @ self.second)[:, None]
        return p.mul_(self.w) @ self.means, second, None


class Diagonal:
    """Σ_k = diag(variance_k)."""

    common = False

    def __init__(self, variance: Tensor) -> None:
        self.variance = variance
        self.d = variance.shape[1]
        self.least, self.most = float(variance.min()), float(variance.max())
        self.row, self.pairs = 5 * self.d, 1

    def see(self, centred: Tensor) -> None:
        """Nothing is kept."""

    def part(self, means: Tensor, log_weights: Tensor, alpha: float, sigma: float, rows: slice, score: bool) -> DiagonalPart:
        c = (alpha * alpha * self.variance[rows].double()).add_(sigma * sigma)
        offset = log_weights - 0.5 * c.log().sum(1)
        return DiagonalPart(means, offset, c.reciprocal_(), alpha, None if score else self.variance[rows])

    def exact(self, x: Tensor, means: Tensor, pick: Tensor, alpha: float, sigma: float) -> Tensor:
        c = (alpha * alpha * self.variance[pick].double()).add_(sigma * sigma)
        r = means[pick].double().mul_(-alpha).add_(x)
        return 0.5 * (r.square_().div_(c).sum(1) + c.log_().sum(1))

    def terms(self, p: Tensor, x: Tensor, means: Tensor, pick: Tensor, alpha: float, sigma: float, score: bool) -> Tensor:
        v = self.variance[pick].to(p.dtype)
        w = p[:, None] / (alpha * alpha * v + sigma * sigma)
        if score:  # a small difference: formed in float64
            return w * means[pick].double().mul_(alpha).sub_(x).to(p.dtype)
        return w * (sigma * sigma * means[pick].to(p.dtype) + alpha * v * x)


class DiagonalPart:
    """A run of components at one node; ``w`` is W in float64."""

    def __init__(self, means: Tensor, offset: Tensor, w: Tensor, alpha: float, variance: Tensor | None) -> None:
        own = torch.einsum("kd,kd,kd->k", w, means.double(), means.double())
        self.offset = (offset - 0.5 * alpha * alpha * own).to(means.dtype)
        self.w = w.to(means.dtype)
        self.weighted = self.w * means
        self.second = self.w if variance is None else (alpha * variance * w).to(means.dtype)
        self.alpha = alpha

    def log_weights(self, x: Tensor, squares: Tensor, out: Tensor) -> Tensor:
        torch.addmm(self.offset, x, self.weighted.T, alpha=self.alpha, out=out)
        return out.addmm_(x * x, self.w.T, alpha=-0.5)

    def sums(self, p: Tensor, x: Tensor) -> Sums:
        return p @ self.weighted, p @ self.second, None


class LowRank:
    """Σ_k = factor_k factor_k^T + diag(diagonal_k)."""

    common = False

    def __init__(self, factor: Tensor, diagonal: Tensor) -> None:
        self.factor, self.diagonal = factor, diagonal
        self.d, self.rank = factor.shape[1:]
        self.least = float(diagonal.min())
        self.most = float(diagonal.max()) + float(factor.square().sum((1, 2)).max())
        self.row, self.pairs = (8 + 8 * self.rank) * self.d, 1 + 2 * self.rank

    def see(self, centred: Tensor) -> None:
        """Nothing is kept."""

    def part(self, means: Tensor, log_weights: Tensor, alpha: float, sigma: float, rows: slice, score: bool) -> LowRankPart:
        w, h, _, logdet = self._factor(rows, alpha, sigma)
        diagonal = DiagonalPart(means, log_weights - 0.5 * logdet, w, alpha, None if score else self.diagonal[rows])
        return LowRankPart(diagonal, h, means, alpha)

    def _factor(self, pick: Any, alpha: float, sigma: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """W, H, L^{-T} and log det C of some components, float64."""
        factor = self.factor[pick].double()
        c = (alpha * alpha * self.diagonal[pick].double()).add_(sigma * sigma)
        h = factor / c[:, :, None]
        m = torch.eye(self.rank, dtype=torch.float64, device=factor.device) + alpha * alpha * (factor.mT @ h)
        root = torch.linalg.cholesky_ex(m)[0]
        eye = torch.eye(self.rank, dtype=torch.float64, device=factor.device).expand_as(root)
        back = torch.linalg.solve_triangular(root, eye, upper=False).mT
        logdet = c.log().sum(1) + 2.0 * root.diagonal(dim1=1, dim2=2).log().sum(1)
        return c.reciprocal_(), h @ back, back, logdet

    def exact(self, x: Tensor, means: Tensor, pick: Tensor, alpha: float, sigma: float) -> Tensor:
        """With t = L^{-T} H^T r alpha, q = |C_δ^{-1/2} (r - alpha F t)|² + |t|²: a sum of squares, in which an error of t is felt
        squared.

        Returns:
            (log det C + q)/2 of each pair (state, component), float64.
        """
        w, h, back, logdet = self._factor(pick, alpha, sigma)
        r = means[pick].double().mul_(-alpha).add_(x)
        t = alpha * (back @ (h.mT @ r[:, :, None]))
        rest = r[:, :, None] - alpha * (self.factor[pick].double() @ t)
        return 0.5 * (rest.square_().squeeze(2).mul_(w).sum(1) + t.square_().sum((1, 2)) + logdet)

    def terms(self, p: Tensor, x: Tensor, means: Tensor, pick: Tensor, alpha: float, sigma: float, score: bool) -> Tensor:
        w, h, _, _ = self._factor(pick, alpha, sigma)
        mu = means[pick].double()
        r = x - alpha * mu
        seen = (h @ (h.mT @ r[:, :, None])).squeeze(2)
        if score:
            made = alpha * alpha * seen - w * r
        else:
            made = mu + alpha * (sigma * sigma * seen + self.diagonal[pick] * w * r)
        return made.mul_(p[:, None]).to(p.dtype)


class LowRankPart:
    """A run of components at one node; ``h`` (K, d, r) in float64."""

    def __init__(self, diagonal: DiagonalPart, h: Tensor, means: Tensor, alpha: float) -> None:
        self.diagonal, self.alpha = diagonal, alpha
        self.rank = h.shape[2]
        flat = h.permute(1, 0, 2).reshape(h.shape[1], -1)
        self.shift = (alpha * torch.einsum("kd,kdr->kr", means.double(), h)).reshape(-1).to(means.dtype)
        self.h = flat.to(means.dtype)
        self.shadow: Tensor | None = None

    def log_weights(self, x: Tensor, squares: Tensor, out: Tensor) -> Tensor:
        self.diagonal.log_weights(x, squares, out)
        self.shadow = torch.addmm(self.shift, x, self.h, beta=-1.0)  # H^T r, (n, K r)
        seen = self.shadow.view(len(x), -1, self.rank)
        return out.add_(seen.square().sum(2), alpha=0.5 * self.alpha * self.alpha)

    def sums(self, p: Tensor, x: Tensor) -> Sums:
        assert self.shadow is not None
        v, a, _ = self.diagonal.sums(p, x)
        weighted = (self.shadow.view(len(x), -1, self.rank) * p[:, :, None]).view(len(x), -1)
        return v, a, weighted @ self.h.T


Structure = Isotropic | Diagonal | LowRank


@dataclass(frozen=True)
class Spread:
    """factor factor^T + diag(diagonal), of every component: (K, d, r) and (K, d)."""

    factor: np.ndarray
    diagonal: np.ndarray


def dense(covariances: Any) -> np.ndarray:
    """Full covariances (K, d, d): as they are, or of a common ``basis`` (d, d) with ``variance`` (K, d)."""
    if not hasattr(covariances, "basis"):
        return np.asarray(covariances)
    basis, variance = np.asarray(covariances.basis), np.asarray(covariances.variance)
    return (basis * variance[:, None, :]) @ basis.T


def full_rank(covariances: np.ndarray) -> Spread:
    """The same covariances as F F^T + δ I with δ the least eigenvalue."""
    values, vectors = np.linalg.eigh(covariances)
    least = np.maximum(values[:, :1], 0.0)
    return Spread(vectors * np.sqrt(np.maximum(values - least, 0.0))[:, None, :], np.repeat(least, values.shape[1], 1))


def structure(covariances: Any, k: int, d: int, dtype: torch.dtype, device: torch.device) -> Structure:
    """The structure of what the constructor of the mixture was given.

    Returns:
        the Structure: isotropic, diagonal or low rank, on the device.

    Raises:
        ValueError: full covariances, another shape, negative or nan entries.
    """

    def tensor(a: Any) -> Tensor:
        made = torch.as_tensor(a, device=device).to(dtype)
        if not bool(torch.isfinite(made).all()):
            raise ValueError("covariances has nan or inf entries")
        return made

    if hasattr(covariances, "factor"):
        factor, diagonal = tensor(covariances.factor), tensor(covariances.diagonal)
        if factor.ndim != 3 or tuple(factor.shape[:2]) != (k, d) or tuple(diagonal.shape) != (k, d):
            raise ValueError(f"LowRank has {tuple(factor.shape)} and {tuple(diagonal.shape)}: give ({k}, {d}, r) and ({k}, {d})")
        given: Tensor = diagonal
        made: Structure = LowRank(factor, diagonal) if factor.shape[2] else Diagonal(diagonal)
    else:
        given = tensor(covariances)
        if given.ndim == 0 or tuple(given.shape) == (k,):
            given = given.expand(k).contiguous() if given.ndim == 0 else given
            made = Isotropic(given, d)
        elif tuple(given.shape) == (k, d):
            made = Diagonal(given)
        elif given.ndim == 3:
            raise ValueError(
                f"covariances has shape {tuple(given.shape)}: full ones are not for large mixtures; give LowRank(factor, diagonal)"
            )
        else:
            raise ValueError(f"covariances has shape {tuple(given.shape)}: give a number, ({k},), ({k}, {d}) or LowRank")
    if float(given.min()) < 0.0:
        raise ValueError(f"covariances has a negative variance, {float(given.min()):g}")
    return made


HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
