r"""Arrays of about 32 decimal digits: each number is an unevaluated sum hi + lo of two float64 with |lo| <= ulp(hi)/2.

Where a result of 1e-12 hangs on a difference of two numbers of size 1e6 (log-weights far in the tails, solves with a nearly singular
covariance), float64 is not enough, and ``numpy.longdouble`` is float64 again on some platforms. The error-free transformations behind it
are those of Dekker (Numer. Math. 18, 1971) and Knuth; sums and products follow Hida, Li & Bailey (ARITH-15, 2001).
Matrix products are split into slices short enough for BLAS to multiply exactly (Ozaki et al., Numer. Algorithms 59, 2012).

``Extended`` knows + - * / with itself and with float64, ``sum`` and indexing, so that one formula serves both precisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_SPLITTER = 134217729.0  # 2^27 + 1, Veltkamp
_BITS = 108  # of a matrix product, relative to the largest entries of the row and the column


def two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """a + b = s + e exactly, s the rounded sum (Knuth)."""
    s = a + b
    c = s - a
    return s, (a - (s - c)) + (b - c)


def _split(a: Any) -> tuple[Any, Any]:
    c = _SPLITTER * a
    high = c - (c - a)
    return high, a - high


def two_prod(a: Any, b: Any) -> tuple[Any, Any]:
    """a b = p + e exactly, p the rounded product (Dekker); for magnitudes below 1e290."""
    p = a * b
    a_high, a_low = _split(a)
    b_high, b_low = _split(b)
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


class Extended:
    """An array of hi + lo; ``hi`` is the value rounded to float64."""

    __slots__ = ("hi", "lo")
    __array_ufunc__ = None  # so that ndarray + Extended comes to __radd__

    def __init__(self, hi: Any, lo: Any = None) -> None:
        self.hi = np.asarray(hi, dtype=np.float64)
        self.lo = np.zeros_like(self.hi) if lo is None else np.asarray(lo, dtype=np.float64)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.hi.shape

    def __getitem__(self, key: Any) -> Extended:
        return Extended(self.hi[key], self.lo[key])

    @staticmethod
    def joined(parts: Sequence[Extended], axis: int = 0) -> Extended:
        """Arrays put together along an existing axis."""
        return Extended(np.concatenate([p.hi for p in parts], axis), np.concatenate([p.lo for p in parts], axis))

    def swapaxes(self, a: int, b: int) -> Extended:
        return Extended(self.hi.swapaxes(a, b), self.lo.swapaxes(a, b))

    def __neg__(self) -> Extended:
        return Extended(-self.hi, -self.lo)

    def __add__(self, other: Any) -> Extended:
        s, e = two_sum(self.hi, other.hi if isinstance(other, Extended) else other)
        if isinstance(other, Extended):
            t, f = two_sum(self.lo, other.lo)
            s, e = renormal(s, e + t)
            return Extended(*renormal(s, e + f))
        return Extended(*renormal(s, e + self.lo))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Extended:
        return self + (-other)

    def __rsub__(self, other: Any) -> Extended:
        return (-self) + other

    def __mul__(self, other: Any) -> Extended:
        if isinstance(other, Extended):
            p, e = two_prod(self.hi, other.hi)
            return Extended(*renormal(p, e + (self.hi * other.lo + self.lo * other.hi)))
        p, e = two_prod(self.hi, other)
        return Extended(*renormal(p, e + self.lo * other))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Extended:
        high = other.hi if isinstance(other, Extended) else other
        q = self.hi / high
        rest = self - other * Extended(q)
        second = rest.hi / high
        rest = rest - other * Extended(second)
        return Extended(*renormal(q, second)) + rest.hi / high

    def __rtruediv__(self, other: Any) -> Extended:
        return Extended(np.broadcast_to(np.asarray(other, dtype=np.float64), self.shape)) / self

    def sqrt(self) -> Extended:
        """The square root by one Newton step; 0 stays 0."""
        root = np.sqrt(self.hi)
        rest = self - Extended(*two_prod(root, root))
        with np.errstate(divide="ignore", invalid="ignore"):
            return Extended(*renormal(root, np.where(root > 0.0, 0.5 * rest.hi / root, 0.0)))

    def log(self) -> np.ndarray:
        """The natural logarithm, in float64."""
        return np.log(self.hi) + self.lo / self.hi

    def sum(self, axis: int) -> Extended:
        """The sum along ``axis``, by halving."""
        hi, lo = np.moveaxis(self.hi, axis, -1), np.moveaxis(self.lo, axis, -1)
        if hi.shape[-1] == 0:
            return Extended(hi.sum(-1))
        out = Extended(hi, lo)
        while (n := out.shape[-1]) > 1:
            half = n // 2
            folded = out[..., :half] + out[..., half : 2 * half]
            if n % 2:
                last = folded[..., -1:] + out[..., -1:]
                folded = Extended.joined([folded[..., :-1], last], -1)
            out = folded
        return out[..., 0]


def renormal(a: Any, b: Any) -> tuple[Any, Any]:
    """a + b with |a| >= |b| as a normalised pair."""
    s = a + b
    return s, b - (s - a)


Number = Any
"""A float64 array or an ``Extended`` one."""


def value(a: Number) -> np.ndarray:
    """``a`` rounded to float64."""
    return a.hi if isinstance(a, Extended) else a


def like(parameter: Extended, a: Number) -> Number:
    """``parameter`` in the precision of ``a``."""
    return parameter if isinstance(a, Extended) else parameter.hi


def difference(a: Any, b: Any) -> Extended:
    """a - b of float64 arrays, exactly."""
    return Extended(*two_sum(a, -b))


def product(a: Any, b: Any) -> Extended:
    """a b of float64 arrays, exactly."""
    return Extended(*two_prod(a, b))


def matmul(a: Number, b: Number) -> Number:
    """a @ b with leading axes broadcast; Extended if either is."""
    if not isinstance(a, Extended) and not isinstance(b, Extended):
        return np.matmul(a, b)
    n = a.shape[-1]
    bits = (53 - (8 * max(n, 1)).bit_length()) // 2  # so that up to 8 n products of slices add up exactly
    count = -(-_BITS // bits)
    left, right = _slices(a, -1, bits, count), _slices(b, -2, bits, count)
    out = Extended(np.zeros(np.broadcast_shapes(a.shape[:-2], b.shape[:-2]) + (a.shape[-2], b.shape[-1])))
    for order in range(count - 1, -1, -1):  # small products first; those of one order side by side in one product
        out = out + np.matmul(np.concatenate(left[: order + 1], -1), np.concatenate(right[order::-1], -2))
    return out


def _slices(a: Number, axis: int, bits: int, count: int) -> list[np.ndarray]:
    """``a`` as a sum of float64 arrays of at most ``bits`` bits below the largest entry along ``axis``."""
    hi, lo = (a.hi, a.lo) if isinstance(a, Extended) else (a, None)
    top = np.max(np.abs(hi), axis=axis, keepdims=True, initial=0.0)
    _, exponent = np.frexp(top)
    out = []
    for i in range(1, count + 1):
        anchor = np.ldexp(0.75, exponent + 54 - i * bits)  # adding it rounds to a multiple of 2^(exponent - i bits + 1)
        piece = (hi + anchor) - anchor
        hi = hi - piece
        if lo is not None:
            hi, lo = two_sum(hi, lo)
        out.append(piece)
    return out
