r"""Forward operators y = A(x0) + n, n ~ N(0, r² I), with what posterior samplers ask of them.

``Linear`` holds a matrix A = U S V^T and answers, for states x (..., d) and data (..., m),

    A x,   A^T r,   A^+ r,   (w A A^T + r² I)^{-1} e,   and a draw of N(m, w I) · N(y; A x, r² I), whose moments are
    m + w A^T (w A A^T + r² I)^{-1} (y − A m)   and   V diag(w r²/(w s² + r²)) V^T on the rows of A, w off them.

An operator is nonlinear if it has only ``__call__``, ``vjp(x, r)`` (the transpose of its Jacobian at x times r) and ``variance``.
"""

from __future__ import annotations

import copy
from typing import Any, Protocol

import numpy as np

from scorebed.solvers.model import Array

_RANK = 1e-12  # of the largest singular value: smaller ones are 0


class Operator(Protocol):
    """What every method may ask of an operator."""

    m: int
    variance: float

    def __call__(self, x: Array) -> Array: ...
    def vjp(self, x: Array, r: Array) -> Array: ...


class Linear:
    """A x with A (m, d), observed with noise of ``variance``.

    Raises:
        ValueError: not a matrix, nan or inf in it, all zeros, or a variance that is not positive.
    """

    def __init__(self, matrix: Any, variance: float, name: str = "linear") -> None:
        given = np.asarray(matrix, dtype=np.float64)
        if given.ndim != 2 or given.size == 0:
            raise ValueError(f"matrix has shape {given.shape}: give A as (m, d)")
        if not np.isfinite(given).all():
            raise ValueError("matrix holds nan or inf: give finite numbers")
        if not (np.isfinite(variance) and variance > 0.0):
            raise ValueError(f"variance = {variance!r} must be positive and finite: a small one stands for none")
        self.m, self.d = given.shape
        self.variance, self.name = float(variance), name
        u, s, vt = np.linalg.svd(given, full_matrices=False)
        kept = s > _RANK * s[0]
        if not kept.any():
            raise ValueError("matrix is 0: nothing is observed")
        self.matrix, self.u, self.s, self.v = given, u[:, kept], s[kept], vt[kept].T

    def __repr__(self) -> str:
        return f"Linear({self.name}, {self.m} × {self.d}, variance={self.variance:g})"

    def like(self, x: Array) -> Linear:
        """The same operator in the library, device and dtype of ``x``."""
        if isinstance(x, np.ndarray):
            return self
        other = copy.copy(self)
        for name in ("matrix", "u", "s", "v"):
            setattr(other, name, x.new_tensor(getattr(self, name)))
        return other

    def __call__(self, x: Array) -> Array:
        return x @ self.matrix.T

    def adjoint(self, r: Array) -> Array:
        """A^T r."""
        return r @ self.matrix

    def vjp(self, x: Array, r: Array) -> Array:
        """A^T r, whatever x."""
        return self.adjoint(r)

    def pinv(self, r: Array) -> Array:
        """A^+ r, the least-squares solution of least norm."""
        return ((r @ self.u) / self.s) @ self.v.T

    def solve(self, e: Array, weight: float) -> Array:
        """(weight A A^T + r² I)^{-1} e."""
        inside = e @ self.u
        change = 1.0 / (weight * self.s * self.s + self.variance) - 1.0 / self.variance
        return (1.0 / self.variance) * e + (inside * change) @ self.u.T

    def prox(self, x: Array, y: Array, weight: float) -> Array:
        """argmin |y − A z|²/r² + |z − x|²/weight = x + weight A^T (weight A A^T + r² I)^{-1} (y − A x)."""
        return x + weight * self.adjoint(self.solve(y - self(x), weight))

    def draw(self, x: Array, y: Array, weight: float, xi: Array) -> Array:
        """A draw of the law ∝ N(z; x, weight I) N(y; A z, r² I), by the unit normals ``xi``."""
        scale = weight**0.5 * ((self.variance / (weight * self.s * self.s + self.variance)) ** 0.5 - 1.0)
        return self.prox(x, y, weight) + weight**0.5 * xi + ((xi @ self.v) * scale) @ self.v.T

    def with_variance(self, variance: float) -> Linear:
        """The same A with another noise."""
        other = copy.copy(self)
        other.variance = float(variance)
        return other


def check_adjoint(operator: Any, d: int, seed: int = 0) -> None:
    """Refuse an operator whose ``adjoint`` (linear) or ``vjp`` is not the transpose of what it does: <A x, r> = <x, A^T r>.

    A nonlinear one is differentiated at a point by central differences, and held to 1e-5 of the size; a linear one to 1e-10.

    Raises:
        ValueError: the two products differ, or shapes do.
    """
    rng = np.random.default_rng(seed)
    x, v, r = rng.standard_normal((1, d)), rng.standard_normal((1, d)), rng.standard_normal((1, operator.m))
    linear = hasattr(operator, "adjoint")
    h = 1e-5
    forward = np.asarray(operator(v) if linear else (operator(x + h * v) - operator(x - h * v)) / (2.0 * h))
    back = np.asarray(operator.adjoint(r) if linear else operator.vjp(x, r))
    if forward.shape != r.shape or back.shape != v.shape:
        raise ValueError(
            f"operator maps {v.shape} to {forward.shape} and back to {back.shape}: give A (m, d) with m = {operator.m}, d = {d}"
        )
    one, other = float((forward * r).sum()), float((v * back).sum())
    size = float(np.linalg.norm(forward) * np.linalg.norm(r) + np.linalg.norm(v) * np.linalg.norm(back))
    if not abs(one - other) <= (1e-10 if linear else 1e-5) * size:
        raise ValueError(f"operator's adjoint is wrong: <A v, r> = {one:.6g}, but <v, A^T r> = {other:.6g}; they must be equal")
