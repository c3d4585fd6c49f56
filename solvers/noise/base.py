r"""Unit normals tied to (seed, sample, interval): the same values for any batch size, order or split, and on every ask.

The address of a value, for a re-implementation on another machine (``philox.py`` has the generator and the words-to-normals map):

    element j of a sample (C order) -> normal j % 4 of the Philox4x32-10 block with
        counter = (j // 4, index low word, index high word, h2),     key = (h0, h1),
        h0, h1, h2 = the little-endian 32-bit words of blake2b(what, digest_size=12, person=kind).

Without refinement, kind = b"interval" and what = (seed as uint64, the smaller and the larger of the two lam as integers round(2^30 lam),
ties to even, int64), little-endian. So direction does not matter, nor does the round-off of lam: a grid made again from its own times has
the same noise, whereas distinct intervals, overlapping or not, have independent normals. Ends closer than 2^-30 are refused.

The draws of an interval after the first, of a process that has several, have kind = b"interval 1", b"interval 2" and so on. Uniform
numbers, for draws of tokens, have kind = b"uniform k" for the k-th question of an interval (``philox.uniforms``).

With refinement the noise is an increment of one Brownian path W per (seed, sample, element) in the clock tau = (sigma/alpha)² = e^{-2 lam},

    noise(s, t) = (W(tau_s) - W(tau_t)) / sqrt(tau_s - tau_t),       tau_s > tau_t,

so that for every b between a and c, asked in any order,

    sqrt(tau_a - tau_c) noise(a, c) = sqrt(tau_a - tau_b) noise(a, b) + sqrt(tau_b - tau_c) noise(b, c).

W is expanded in Haar functions (Lévy-Ciesielski) on the cells got by halving -64 <= lam <= 64. The cell [lo, hi] in lam, halved at mid,
with tau_1 and tau_2 the clock in its noisy and in its clean half, owns one normal Z and

    psi = sqrt(tau_2 / (tau_1 (tau_1 + tau_2))) on the noisy half,   -sqrt(tau_1 / (tau_2 (tau_1 + tau_2))) on the clean half.

An increment is the sum of Z ∫psi over the cells; the integral vanishes except on those that hold an end of the interval inside, about 60
for each end. It is a sum of independent normals with coefficients known to round-off: no two values of W are subtracted, so that small
intervals keep their digits. lam is read as the integer trunc(2^120 lam), which is all of a float64 where |lam| > 2^-68. Here
kind = b"cell" and what = (seed as uint64, 2^120 mid as int128), little-endian; the constant function on the root goes by mid = 64.
"""

from __future__ import annotations

import math
import operator
import secrets
import struct
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import takewhile
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scorebed.solvers.model import Array
from scorebed.solvers.noise.philox import normals, uniforms
from scorebed.solvers.process import Point
from scorebed.solvers.schedule import Node
from scorebed.solvers.state import alike

_BITS = 120  # of lam behind the binary point; a path ends where the bits of lam end, so that more of them cost nothing
_KEY_BITS = 30  # of lam that name an interval without refinement: far above the round-off of lam, far below any step
_LAM = 64
_TOP = _LAM << _BITS
_DEEP = 16  # cells this deep (0.002 wide in lam) and deeper are summed once per end and remembered: a sampler asks for [a, b], then [b, c]
_KEEP = 4  # ends remembered

_Cell = tuple[int, int, int]
"""(lo, mid, hi) in units of 2^-120 of lam; lo is the noisy end."""


class Noise(Protocol):
    """Unit normals of the state's shape for the interval between two nodes; the same interval gives the same values."""

    def __call__(self, s: Node, t: Node) -> Array: ...


class BrownianNoise:
    """Noise keyed by (seed, sample index, interval).

    Args:
        seed: an integer, 0 <= seed < 2^64.
        shape: the state's shape (B, ...), the batch first.
        index: B distinct sample indices, 0 <= index < 2^63; 0..B-1 by default. A sample's noise depends on its index, not on its place.
        like: an array or tensor of floating type; the noise comes back in its type, dtype and device, computed in float64 on the host.
        refine: False: every distinct interval has independent noise, which is fast but not consistent between overlapping intervals.
            True: the noise of an interval is the clock-weighted sum of the noises of its parts (formula in the module's text), at about 100
            times the cost. It needs |lam| <= 64.

    Raises:
        TypeError: seed, shape or index not made of integers; ``like`` neither an array nor a tensor.
        ValueError: seed, shape, index or the dtype of ``like`` not as above.
    """

    def __init__(
        self,
        seed: int,
        shape: Sequence[int],
        index: Sequence[int] | NDArray[Any] | None = None,
        *,
        like: Array = None,
        refine: bool = False,
    ) -> None:
        self.seed = _integer("seed", seed)
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed = {seed!r}: give an integer from 0 to 2^64 - 1")
        if isinstance(shape, (str, bytes)) or not isinstance(shape, Iterable):
            raise TypeError(f"shape = {shape!r} is not a shape: give (B, ...), the batch first")
        self.shape = tuple(_integer("shape", k) for k in shape)
        if not self.shape or min(self.shape) < 1:
            raise ValueError(f"shape = {self.shape}: give (B, ...), the batch first, with every extent at least 1")
        self.index = _indices(np.arange(self.shape[0]) if index is None else index, self.shape[0])
        self.refine = bool(refine)
        self._like = _sample_of(like)
        self._tails: dict[int, NDArray[np.float64]] = {}

    def __repr__(self) -> str:
        return f"BrownianNoise(seed={self.seed}, shape={self.shape}, refine={self.refine})"

    def __call__(self, s: Point, t: Point, part: int = 0) -> Array:
        """The unit normals of the interval between ``s`` and ``t``, in either direction; the ``part``-th of a process that draws several.

        Returns:
            unit normals of the noise's shape, in the dtype of ``like``.

        Raises:
            ValueError: lam not finite, the two nodes at the same lam, or (refined) |lam| > 64, or a second part.
        """
        low, high = sorted((s.clock + 0.0, t.clock + 0.0))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"noise needs finite lam at both ends, got {s.clock} and {t.clock}: stop short of sigma = 0 and of alpha = 0")
        if low == high:
            raise ValueError(f"noise needs two nodes with different lam, got s.lam = t.lam = {s.clock}")
        if self.refine and part:
            raise ValueError("refined noise has one draw for each interval: use refine=False on a process that draws several")
        if self.refine:
            values = self._increment(*_fixed_point(low, high))
        else:
            values = self._draw(kind_of(part), interval_key(self.seed, low, high))
        values = values.reshape(self.shape)
        if self._like is None:
            return values
        return alike(values, self._like)

    def uniforms(self, s: Point, t: Point, n: int, ask: int = 0) -> NDArray[np.float64]:
        """The n uniform numbers of each sample, (B, n), for question ``ask`` of the interval; errors as for normals."""
        what = interval_key(self.seed, *sorted((s.clock + 0.0, t.clock + 0.0)))
        h0, h1, h2 = struct.unpack("<III", blake2b(what, digest_size=12, person=f"uniform {ask}".encode()).digest())
        return uniforms(self.index, n, (h0, h1), h2)

    def take(self, rows: Sequence[int] | NDArray[Any]) -> BrownianNoise:
        """The noise of the samples at these positions of the batch: ``noise.take(rows)(s, t)`` equals ``noise(s, t)[rows]`` bit for bit.

        Returns:
            the BrownianNoise of those samples alone.

        Raises:
            TypeError: ``rows`` not made of integers.
            ValueError: none, repeated or out of range.
        """
        places = _indices(rows, None, "rows")
        if int(places.max()) >= self.shape[0]:
            raise ValueError(f"rows holds {int(places.max())}: give positions below the batch size {self.shape[0]}")
        return BrownianNoise(self.seed, (len(places), *self.shape[1:]), self.index[places], like=self._like, refine=self.refine)

    def _draw(self, kind: bytes, what: bytes) -> NDArray[np.float64]:
        h0, h1, h2 = struct.unpack("<III", blake2b(what, digest_size=12, person=kind).digest())
        return normals(self.index, math.prod(self.shape[1:]), (h0, h1), h2)

    def _sum(self, terms: Iterable[tuple[int, float]]) -> NDArray[np.float64]:
        """The sum of coefficient Z over (mid, coefficient), the cells named by their mid."""
        total = np.zeros((len(self.index), math.prod(self.shape[1:])))
        for mid, coefficient in terms:
            z = self._draw(b"cell", struct.pack("<Q", self.seed) + mid.to_bytes(16, "little", signed=True))
            total += np.multiply(z, coefficient, out=z)
        return total

    def _tail(self, x: int, cells: list[_Cell]) -> NDArray[np.float64]:
        """What the cells of depth ``_DEEP`` and more that hold x add to the increment from the noisy side up to x."""
        if x not in self._tails:
            while len(self._tails) >= _KEEP:
                self._tails.pop(next(iter(self._tails)))
            self._tails[x] = self._sum((cell[1], _hat(cell, x)) for cell in cells)
        return self._tails[x]

    def _increment(self, a: int, b: int) -> NDArray[np.float64]:
        """(W(tau_a) - W(tau_b)) / sqrt(tau_a - tau_b) for fixed-point lam a < b."""
        path_a, path_b = list(_path(a)), list(_path(b))
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(path_a, path_b, strict=False)))
        apart = _DEEP if shared <= _DEEP else None  # where the tails begin; ends in one deep cell are too close for them
        norm = 1.0 / math.sqrt(_tau(a, b))
        terms = [(_TOP, 1.0 / (norm * math.sqrt(_tau(-_TOP, _TOP))))]
        terms += [(cell[1], norm * _between(cell, a, b)) for cell in path_a[:shared]]
        terms += [(cell[1], -norm * _hat(cell, a)) for cell in path_a[shared:apart]]
        terms += [(cell[1], norm * _hat(cell, b)) for cell in path_b[shared:apart]]
        total = self._sum(terms)
        if apart is not None:
            total += norm * (self._tail(b, path_b[apart:]) - self._tail(a, path_a[apart:]))
        return total


def kind_of(part: int) -> bytes:
    """The kind of the ``part``-th draw of an interval: a process may have several."""
    return b"interval %d" % part if part else b"interval"


def interval_key(seed: int, low: float, high: float) -> bytes:
    """What the noise of the interval between two lam is drawn by.

    Returns:
        24 bytes: the seed and the two rounded lam.

    Raises:
        ValueError: ends that cannot be told apart, or |lam| of 2^32 and more.
    """
    if not max(abs(low), abs(high)) < 2.0**32:
        raise ValueError(f"noise needs |lam| < 2^32, got {low} and {high}: keep to that range")
    a, b = (round(math.ldexp(lam, _KEY_BITS)) for lam in (low, high))
    if a == b:
        raise ValueError(f"noise reads lam to 2^-{_KEY_BITS} and cannot tell {low!r} from {high!r}: move the nodes apart")
    return struct.pack("<Qqq", seed, a, b)


def fresh_seed() -> int:
    """A seed that nobody has drawn before, from the machine's entropy."""
    return secrets.randbits(63)


def _tau(x: int, y: int) -> float:
    """The clock between two values of lam, x <= y: e^{-2x} - e^{-2y} without the subtraction."""
    return -math.exp(-2.0 * math.ldexp(x, -_BITS)) * math.expm1(-2.0 * math.ldexp(y - x, -_BITS))


def _path(x: int) -> Iterator[_Cell]:
    """The cells that hold x strictly inside, from the root down to the one that x halves."""
    lo, hi = -_TOP, _TOP
    while lo < x < hi:
        mid = (lo + hi) // 2
        yield lo, mid, hi
        lo, hi = (lo, mid) if x <= mid else (mid, hi)


def _heights(cell: _Cell) -> tuple[float, float]:
    """The absolute values of psi on the noisy and on the clean half."""
    noisy, clean = _tau(*cell[:2]), _tau(*cell[1:])
    return math.sqrt(clean / noisy / (noisy + clean)), math.sqrt(noisy / clean / (noisy + clean))


def _hat(cell: _Cell, x: int) -> float:
    """The integral of psi over the clock from the cell's noisy end to x."""
    lo, mid, hi = cell
    noisy, clean = _heights(cell)
    return noisy * _tau(lo, x) if x <= mid else clean * _tau(x, hi)


def _between(cell: _Cell, a: int, b: int) -> float:
    """The integral of psi over the clock from a to b, both inside the cell."""
    mid = cell[1]
    noisy, clean = _heights(cell)
    return noisy * _tau(min(a, mid), min(b, mid)) - clean * _tau(max(a, mid), max(b, mid))


def _fixed_point(low: float, high: float) -> tuple[int, int]:
    if not -_LAM <= low < high <= _LAM:
        raise ValueError(f"refined noise needs |lam| <= {_LAM}, got {low} and {high}: keep to that range, or use refine=False")
    a, b = (int(math.ldexp(lam, _BITS)) for lam in (low, high))
    if a == b:
        raise ValueError(f"refined noise reads lam to 2^-{_BITS} and cannot tell {low!r} from {high!r}: move the nodes apart")
    return a, b


def _integer(name: str, value: Any) -> int:
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} = {value!r} is not an integer") from None


def _indices(index: Any, count: int | None, name: str = "index") -> NDArray[np.uint64]:
    """Distinct non-negative integers as a uint64 vector, ``count`` of them where that is given."""
    given = np.asarray(index)
    if given.ndim != 1 or given.size == 0 or (count is not None and given.size != count):
        raise ValueError(f"{name} has shape {given.shape}: give a vector of {count or 'one or more'} distinct integers >= 0")
    if not np.issubdtype(given.dtype, np.integer):
        raise TypeError(f"{name} has dtype {given.dtype}: give distinct integers >= 0")
    if int(given.min()) < 0 or int(given.max()) >= 2**63:
        raise ValueError(f"{name} runs from {given.min()} to {given.max()}: give integers from 0 to 2^63 - 1")
    values, counts = np.unique(given, return_counts=True)
    if counts.max() > 1:
        raise ValueError(f"{name} holds {values[counts.argmax()]} {counts.max()} times: give distinct integers")
    return given.astype(np.uint64)


def _sample_of(like: Array) -> Array:
    """A value of the type, dtype and device of ``like``, without its memory."""
    if like is None:
        return None
    if isinstance(like, (np.ndarray, np.generic)):
        if not np.issubdtype(like.dtype, np.floating):
            raise ValueError(f"like has dtype {like.dtype}: give a floating one")
        return np.empty(0, like.dtype)
    if not hasattr(like, "new_tensor"):
        raise TypeError(f"like is a {type(like).__name__}: give a NumPy array or a torch tensor")
    if not like.is_floating_point():
        raise ValueError(f"like has dtype {like.dtype}: give a floating one")
    return like.new_tensor(0.0)
