r"""Exponentials of generators a ∈ so(n) or so(n−1, 1), applied to a vector: what a commutator-free step does.

    exp(a) y = (Σ_{k ≤ 18} (a/m)^k / k!)^m y,     m = ⌈max row sum⌉

With row sums at most 1 the remainder is below 1/19! = 8e-18. Taken as products of a matrix with a vector, it needs no factorisation and
runs batched in any library and dtype.
"""

from __future__ import annotations

from math import ceil

from scorebed.solvers.model import Array
from scorebed.solvers.space.xp import namespace

_TERMS = 18
_MOST = 1 << 20


def apply_exp(a: Array, y: Array) -> Array:
    """exp(a) y for matrices a (..., n, n) and vectors y (..., n).

    Returns:
        exp(a) y, (..., n).

    Raises:
        ValueError: a is not finite, or so large that it would take more than a million products.
    """
    xp = namespace(a, y)
    size = float(xp.amax(xp.abs(a).sum(axis=-1))) if a.shape[-1] else 0.0
    if not size < _MOST:
        raise ValueError(f"a generator of size {size:.3g} cannot be exponentiated: give finite ones below {_MOST}")
    parts = max(1, ceil(size))
    a = a * (1.0 / parts)
    for _ in range(parts):
        term, total = y, y
        for k in range(1, _TERMS + 1):
            term = (a * term[..., None, :]).sum(axis=-1) * (1.0 / k)
            total = total + term
        y = total
    return y


def skew_split(a: Array, y: Array) -> Array:
    """Π_{i<j} exp(a_ij (E_ij − E_ji)) y for skew a: the Lie-Trotter splitting of exp(a) into rotations of coordinate planes."""
    xp = namespace(a, y)
    n = y.shape[-1]
    parts = [y[..., i] for i in range(n)]
    for i in range(n):
        for j in range(i + 1, n):
            c, s = xp.cos(a[..., i, j]), xp.sin(a[..., i, j])
            parts[i], parts[j] = c * parts[i] + s * parts[j], c * parts[j] - s * parts[i]
    return xp.stack(parts, axis=-1)
