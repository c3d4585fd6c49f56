r"""A linear observation y = A x0 + n, n ~ N(0, R), checked and made white: Ã = L^{-1} A, ỹ = L^{-1} y with R = L L^T, to 32 digits."""

from __future__ import annotations

from typing import Any

import numpy as np

from scorebed.analytic.gaussian.arrays import finite
from scorebed.analytic.gaussian.extended import Extended, matmul
from scorebed.analytic.gaussian.lowrank import inverse_cholesky

_EPS = float(np.finfo(np.float64).eps)


class Observation:
    """A and R for laws in d dimensions, and y where it is given.

    Args:
        A: (m, d).
        R: a positive variance, (m,) variances, or a positive definite (m, m).
        y: (m,), or None.

    Attributes:
        a: Ã, extended (m, d).
        y: ỹ, extended (m,).
        precision: A^T R^{-1} A, extended (d, d).
        logdet: log det R.
        whiten: L^{-1} in float64.

    Raises:
        ValueError: another shape, nan or inf, R not symmetric or not positive definite.
    """

    def __init__(self, d: int, A: Any, R: Any, y: Any = None) -> None:
        matrix = finite("A", A, 2)
        self.m, self.d = matrix.shape
        if self.d != d or self.m == 0:
            raise ValueError(f"A has shape {matrix.shape}, but this law lives in {d} dimensions: give (m, {d}) with m >= 1")
        self.matrix, self.noise = matrix, noise_covariance(R, self.m)
        inverse, logdet = inverse_cholesky(Extended(self.noise[None]))
        self.logdet, self.whiten = float(logdet[0]), inverse.hi[0]
        self.a = matmul(inverse[0], matrix)
        self.precision = matmul(self.a.swapaxes(0, 1), self.a)
        if y is not None:
            given = finite("y", y)
            if given.shape != (self.m,):
                raise ValueError(f"y has shape {given.shape}, but A has {self.m} rows: give ({self.m},), one observation")
            self.y = matmul(inverse[0], given[:, None])[:, 0]

    def colour(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """n draws of N(0, R), (n, m)."""
        return rng.standard_normal((n, self.m)) @ np.linalg.cholesky(self.noise).T


def noise_covariance(R: Any, m: int) -> np.ndarray:
    """R as a positive definite (m, m), from a variance, (m,) variances or the matrix itself.

    Returns:
        (m, m) covariance, float64.

    Raises:
        ValueError: another shape, nan or inf, not symmetric, not positive definite.
    """
    given = finite("R", R)
    if given.ndim == 0 or given.shape == (m,):
        given = np.diag(np.broadcast_to(given, m))
    if given.shape != (m, m):
        raise ValueError(f"R has shape {given.shape}, but A has {m} rows: give a variance, ({m},) variances or ({m}, {m})")
    if np.abs(given - given.T).max() > 1e-10 * np.abs(given).max():
        raise ValueError("R is not symmetric: give the covariance matrix of the noise")
    given = 0.5 * (given + given.T)
    spectrum = np.linalg.eigvalsh(given)
    if spectrum[0] <= m * _EPS * abs(spectrum[-1]):
        raise ValueError(
            f"R is not positive definite: its smallest eigenvalue is {spectrum[0]:.6g}, its largest {spectrum[-1]:.6g}; "
            "give every observation some noise (a small variance stands for none)"
        )
    return given
