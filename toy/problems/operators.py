r"""Named forward operators: each a ``Linear`` of a known matrix, or a nonlinear operator on the plane.

Images of side n are rows of n² pixels, row by row. Every matrix is written down, so that adjoint and pseudo-inverse are those of the
matrix; ``solvers.operator.check_adjoint`` holds operators that come as functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from scorebed.solvers.operator import Linear


def identity(d: int, variance: float) -> Linear:
    """Denoising: A = I."""
    return Linear(np.eye(d), variance, "identity")


def mask(d: int, keep: Sequence[int], variance: float) -> Linear:
    """Inpainting: the coordinates ``keep`` are seen.

    Returns:
        the Linear operator of the seen coordinates.

    Raises:
        ValueError: none, repeated, or out of range.
    """
    keep = [int(i) for i in keep]
    if not keep or len(set(keep)) < len(keep) or min(keep) < 0 or max(keep) >= d:
        raise ValueError(f"keep = {keep!r}: give distinct coordinates from 0 to {d - 1}, one at least")
    return Linear(np.eye(d)[keep], variance, "mask")


def blur(side: int, width: float, variance: float) -> Linear:
    """A Gaussian blur of ``width`` pixels on a torus: circulant, symmetric, ill-conditioned for wide kernels."""
    gap = np.minimum(np.arange(side), side - np.arange(side))
    kernel = np.exp(-0.5 * np.square(gap / width))
    line = np.stack([np.roll(kernel / kernel.sum(), i) for i in range(side)])
    return Linear(np.kron(line, line), variance, "blur")


def pooling(side: int, factor: int, variance: float) -> Linear:
    """Super-resolution: means of blocks of ``factor`` × ``factor`` pixels.

    Returns:
        the Linear operator of block means.

    Raises:
        ValueError: blocks that do not fill the image.
    """
    if factor < 1 or side % factor:
        raise ValueError(f"factor = {factor}: give a divisor of side = {side}")
    line = np.kron(np.eye(side // factor), np.full((1, factor), 1.0 / factor))
    return Linear(np.kron(line, line), variance, "pooling")


def radon(side: int, angles: Sequence[float], variance: float, samples: int = 4) -> Linear:
    """Tomography: sums along parallel lines, one row per line and angle (radians), each pixel cut into ``samples``² points."""
    centre = 0.5 * (side - 1)
    fine = (np.arange(side * samples) + 0.5) / samples - 0.5 - centre
    rows = []
    for angle in angles:
        offset = math.cos(angle) * fine[None, :] + math.sin(angle) * fine[:, None]
        line = np.round(offset + centre).astype(int)
        for j in range(side):
            hit = (line == j).reshape(side, samples, side, samples).sum((1, 3)) / samples**2
            if hit.any():
                rows.append(hit.ravel())
    return Linear(np.array(rows), variance, "radon")


def random_rows(d: int, m: int, variance: float, seed: int = 0) -> Linear:
    """Compressed sensing: m rows of independent normals over sqrt(m)."""
    return Linear(np.random.default_rng(seed).standard_normal((m, d)) / math.sqrt(m), variance, "random")


class UnknownGain:
    """x = (signal, gain), y = gain · signal + n: blind in what multiplies the signal; the likelihood is constant along hyperbolas."""

    m = 1

    def __init__(self, variance: float) -> None:
        self.variance = float(variance)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return x[..., :1] * x[..., 1:2]

    def vjp(self, x: np.ndarray, r: np.ndarray) -> np.ndarray:
        return np.concatenate([x[..., 1:2] * r, x[..., :1] * r], axis=-1)


class PhaseRetrieval:
    """y = |A x|² + n entry by entry: signs are lost, and the posterior has a mirror image."""

    def __init__(self, matrix: Sequence[Sequence[float]], variance: float) -> None:
        self.matrix, self.variance = np.asarray(matrix, np.float64), float(variance)
        self.m = len(self.matrix)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.square(x @ self.matrix.T)

    def vjp(self, x: np.ndarray, r: np.ndarray) -> np.ndarray:
        return (2.0 * r * (x @ self.matrix.T)) @ self.matrix
