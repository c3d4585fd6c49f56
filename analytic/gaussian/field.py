r"""Stationary Gaussian fields on a ring or a torus: every spectrum, in Fourier, DCT, Haar or pixel coordinates, in crops, tiles and pools.

The covariance of a stationary field is a convolution, C(p, q) = c(p − q), so that the Fourier modes are its eigenvectors and the transform
of c its eigenvalues S(f). With x_t = alpha x0 + sigma eps the posterior mean is the Wiener filter, frequency by frequency,

    D̂(f) = alpha S(f)/(alpha² S(f) + sigma²) x̂(f),

and everything linear that is done to the field (a crop, a mean over blocks, another basis, two of them together) stays Gaussian with a
covariance A C Bᵀ. What a denoiser loses that sees a part of the field, or a coarse one, is then closed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property, reduce
from typing import Any

import numpy as np

from scorebed.analytic.gaussian.mixture import GaussianMixture
from scorebed.analytic.gaussian.rotated import Rotated
from scorebed.solvers.schedule import Node


class StationaryField:
    """N(0, C) with C a convolution.

    Args:
        spectrum: eigenvalues S(f) ≥ 0 at the frequencies of ``numpy.fft``, shape (n,) or (n, m); S(−f) = S(f).

    Raises:
        ValueError: another shape, values that are negative or not finite, or a spectrum that is not symmetric.
    """

    def __init__(self, spectrum: Any) -> None:
        s = np.asarray(spectrum, dtype=float)
        if s.ndim not in (1, 2) or not s.size or not np.isfinite(s).all() or (s < 0.0).any():
            raise ValueError(f"spectrum of shape {s.shape} must have one or two axes and finite values, none negative")
        axes = tuple(range(s.ndim))
        if not np.allclose(s, np.roll(np.flip(s, axes), 1, axes), rtol=1e-9, atol=1e-12 * s.max()):
            raise ValueError("spectrum: S(-f) differs from S(f), so that the field would not be real")
        self.spectrum, self.shape, self.d = s, s.shape, s.size

    @classmethod
    def power_law(cls, shape: int | Sequence[int], exponent: float = 2.0, *, low: float = 1.0, variance: float = 1.0) -> StationaryField:
        """S(f) ∝ (low² + |f|²)^{−exponent/2}, f in cycles per picture, with this variance of every pixel."""
        sides = (shape,) if isinstance(shape, int) else tuple(shape)
        grids = np.meshgrid(*(np.fft.fftfreq(n, 1.0 / n) for n in sides), indexing="ij")
        s = (low**2 + sum(g**2 for g in grids)) ** (-0.5 * exponent)
        return cls(variance * s / s.mean())

    @property
    def variances(self) -> np.ndarray:
        """The eigenvalues of C, (d,)."""
        return self.spectrum.ravel()

    @cached_property
    def autocovariance(self) -> np.ndarray:
        """c(p), of the field's shape."""
        return np.fft.ifftn(self.spectrum).real

    def covariance(self) -> np.ndarray:
        """C of the pixels, row by row, (d, d)."""
        return self.cross(np.eye(self.d), np.eye(self.d))

    def mean(self) -> np.ndarray:
        """0, (d,)."""
        return np.zeros(self.d)

    def sample(self, n: int, seed: int | np.random.Generator = 0) -> np.ndarray:
        """n fields, (n, *shape)."""
        return self._filtered(np.random.default_rng(seed).standard_normal((n, *self.shape)), np.sqrt(self.spectrum))

    def denoised(self, x: np.ndarray, node: Node) -> np.ndarray:
        """E[x0 | x_t] for x of shape (…, *shape), by two transforms."""
        return self._filtered(np.asarray(x, dtype=float), self.gain(node))

    def gain(self, node: Node) -> np.ndarray:
        """alpha S/(alpha² S + sigma²) at every frequency."""
        return np.asarray(node.alpha * self.spectrum / (node.alpha**2 * self.spectrum + node.sigma**2))

    def _filtered(self, x: np.ndarray, factor: np.ndarray) -> np.ndarray:
        axes = tuple(range(-len(self.shape), 0))
        return np.asarray(np.fft.ifftn(factor * np.fft.fftn(x, axes=axes), axes=axes).real)

    def cross(self, a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
        """Cov(A x, B x) = A C Bᵀ for matrices over the pixels, (p, d) and (q, d); B = A where it is not given."""
        other = a if b is None else b
        moved = self._filtered(np.asarray(other, dtype=float).reshape(-1, *self.shape), self.spectrum).reshape(len(other), self.d)
        return np.asarray(np.asarray(a, dtype=float) @ moved.T)

    def law(self) -> GaussianMixture:
        """The field as a mixture of one component, with states (n, d) and the real Fourier basis as its own."""
        return GaussianMixture([1.0], np.zeros((1, self.d)), Rotated(self._modes[0], self._modes[1][None]))

    @cached_property
    def _modes(self) -> tuple[np.ndarray, np.ndarray]:
        basis = reduce(np.kron, (fourier(n) for n in self.shape))
        return basis, np.einsum("ij,ij->j", basis, self._filtered(basis.T.reshape(-1, *self.shape), self.spectrum).reshape(self.d, -1).T)

    def observed(self, a: np.ndarray) -> GaussianMixture:
        """The law of A x: of a crop, of a pooled field, of coefficients in a basis."""
        c = self.cross(a)
        return GaussianMixture([1.0], np.zeros((1, len(c))), (0.5 * (c + c.T))[None])

    def given(self, a: np.ndarray, b: np.ndarray, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """A x given y = B x + noise · n: the gain G of E[A x | y] = G y, and the covariance of what is left."""
        caa, cab, cbb = self.cross(a), self.cross(a, b), self.cross(b)
        g = np.linalg.solve(cbb + noise**2 * np.eye(len(cbb)) + 1e-13 * np.trace(cbb) / len(cbb) * np.eye(len(cbb)), cab.T).T
        left = caa - g @ cab.T
        return g, 0.5 * (left + left.T)

    def patched(self, patches: Sequence[np.ndarray], contexts: Sequence[np.ndarray] | None = None) -> Callable[[Node], tuple[Any, Any]]:
        """node -> (A, 0): the denoiser that knows each patch from its own context alone, for ``moments(plan, law, affine=…)``.

        Args:
            patches: pixel numbers of each patch; every pixel in one of them, or the mean of those that have it.
            contexts: pixel numbers that each patch sees; the patches themselves where they are not given.

        Returns:
            function node -> (A, 0) of the patched denoiser, offset (d,) of zeros.

        Raises:
            ValueError: a pixel that is in no patch.
        """
        seen = list(patches) if contexts is None else list(contexts)
        c, count = self.covariance(), np.zeros(self.d)
        for patch in patches:
            count[patch] += 1.0
        if (count == 0.0).any():
            raise ValueError(f"patches leave out pixel {int(np.argmin(count))}: every pixel must be in one of them")

        def affine(node: Node) -> tuple[np.ndarray, np.ndarray]:
            out = np.zeros((self.d, self.d))
            for patch, context in zip(patches, seen, strict=True):
                noisy = node.alpha**2 * c[np.ix_(context, context)] + node.sigma**2 * np.eye(len(context))
                out[np.ix_(patch, context)] += node.alpha * np.linalg.solve(noisy, c[np.ix_(context, patch)]).T / count[patch][:, None]
            return out, np.zeros(self.d)

        return affine


def fourier(n: int) -> np.ndarray:
    """The orthonormal real Fourier basis of n points as columns: constant, then cosine and sine of each frequency."""
    k = np.arange(n)
    columns = [np.full(n, math.sqrt(1.0 / n))]
    for f in range(1, (n - 1) // 2 + 1):
        columns += [math.sqrt(2.0 / n) * np.cos(2 * math.pi * f * k / n), math.sqrt(2.0 / n) * np.sin(2 * math.pi * f * k / n)]
    if n % 2 == 0:
        columns.append(math.sqrt(1.0 / n) * (-1.0) ** k)
    return np.stack(columns, axis=1)


def dct(n: int) -> np.ndarray:
    """The orthonormal DCT-II basis of n points as columns, coarse to fine."""
    k = np.arange(n)
    columns = [math.sqrt((1.0 if f == 0 else 2.0) / n) * np.cos(math.pi * f * (k + 0.5) / n) for f in range(n)]
    return np.stack(columns, axis=1)


def haar(n: int) -> np.ndarray:
    """The orthonormal Haar basis of n = 2^m points as columns, coarse to fine.

    Returns:
        (n, n) orthonormal basis, one vector a column.

    Raises:
        ValueError: n is no power of 2.
    """
    if n < 1 or n & (n - 1):
        raise ValueError(f"n = {n}: give a power of 2")
    basis = np.ones((1, 1))
    while len(basis) < n:
        m = len(basis)
        basis = np.hstack([np.kron(basis, [[1.0], [1.0]]), np.kron(np.eye(m), [[1.0], [-1.0]])]) / math.sqrt(2.0)
    return basis


def planar(basis: Callable[[int], np.ndarray], shape: Sequence[int]) -> np.ndarray:
    """The product basis of a picture, (d, d), from ``fourier``, ``dct`` or ``haar``."""
    return np.asarray(reduce(np.kron, (basis(n) for n in shape)))


def crop(shape: Sequence[int], start: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """Pixel numbers of a window of a picture, around its edges where it leaves it."""
    axes = [(s + np.arange(n)) % side for side, s, n in zip(shape, start, size, strict=True)]
    return np.ravel_multi_index(np.meshgrid(*axes, indexing="ij"), tuple(shape)).ravel()


def tiles(shape: Sequence[int], size: Sequence[int], offset: Sequence[int] | None = None) -> list[np.ndarray]:
    """Pixel numbers of the tiles that cover a picture, begun at an offset.

    Returns:
        list of integer arrays, the pixel numbers of each tile.

    Raises:
        ValueError: a size that does not divide the shape.
    """
    if any(side % n for side, n in zip(shape, size, strict=True)):
        raise ValueError(f"size = {tuple(size)} does not divide the shape {tuple(shape)}")
    first = [0] * len(size) if offset is None else list(offset)
    counts = [side // n for side, n in zip(shape, size, strict=True)]
    return [crop(shape, [o + n * i for o, n, i in zip(first, size, where, strict=True)], size) for where in np.ndindex(*counts)]


def rows(numbers: np.ndarray, d: int) -> np.ndarray:
    """The matrix that takes these pixels out of a picture of d, (len(numbers), d)."""
    return np.eye(d)[numbers]


def pool(shape: Sequence[int], s: int) -> np.ndarray:
    """The matrix of the mean over blocks of s pixels a side, (d/s^axes, d)."""
    blocks = tiles(shape, [s] * len(shape))
    return np.stack([rows(block, int(np.prod(shape))).mean(0) for block in blocks])
