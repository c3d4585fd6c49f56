r"""Philox4x32-10 and unit normals from it: a counter-based generator, so that every value is a pure function of its address.

One round maps the counter (c0, c1, c2, c3) with the key (k0, k1), all 32-bit words, to

    (hi(M1 c2) ^ c1 ^ k0,   lo(M1 c2),   hi(M0 c0) ^ c3 ^ k1,   lo(M0 c0)),

ten times, the key growing by (W0, W1) between rounds (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
The words become normals by Box-Muller, two and two: for (w0, w1), and in the same way for (w2, w3),

    z0 = r cos(phi),  z1 = r sin(phi),   r² = -2 log((w0 + 1/2) 2^-32),   phi = 2 pi (w1 + 1/2) 2^-32 - pi.

The half keeps the logarithm off 0. Radius and angle each take 2^32 values: |z| <= 6.77, where a true normal has 1.3e-11 of its mass beyond;
the mean is 0 and the variance 1 to 2e-10. Arithmetic is in float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scorebed.solvers.noise.philox_compiled import loops

Words = NDArray[np.uint64]
"""32-bit words held in 64-bit lanes: the product of two fits, and shift and mask split it."""


def _word(value: int) -> Words:
    return np.array(value, np.uint64)  # a 0-d array: NumPy takes it faster than a scalar


_M0, _M1 = _word(0xD2511F53), _word(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW, _32 = _word(0xFFFFFFFF), _word(32)
_HALF, _MINUS_2, _2_31, _2_32, _CENTRE = map(np.array, (0.5, -2.0, 2.0**-31, 2.0**-32, 2.0**31 - 0.5))
# sin(pi a)/a as a polynomial in a² for |a| <= 1/2, highest power first: Chebyshev fit in 60 digits, relative error 7e-19. NumPy's own sine
# of a float64 is not vectorised and costs several times as much; and these sums and products are the same on every machine.
COEFFICIENTS = (
    7.697826768224191e-07,
    -2.1903497074626018e-05,
    0.0004662998161898394,
    -0.007370430505916944,
    0.0821458865731029,
    -0.5992645293189447,
    2.5501640398773007,
    -5.167712780049969,
    3.141592653589793,
)
_SINE = [np.array(c) for c in COEFFICIENTS]
_ROUNDS = 10
_LANES = 8192  # counters worked on at once: few enough for the buffers to stay in cache, enough to hide the cost of a NumPy call


def philox(even: Words, odd: Words, key: tuple[int, int], spare: Words | None = None) -> None:
    """Ten rounds in place on L counters: ``even`` holds the rows (c0, c2) and ``odd`` (c3, c1), both C-contiguous of shape (2, L).

    The order of ``odd`` is the one in which a round needs it, so that most of its operations run over both rows at once.
    ``spare``, of shape (2, 2, L), is overwritten.
    """
    schedule = [(k + r * w) & 0xFFFFFFFF for r in range(_ROUNDS) for k, w in zip(key, (_W0, _W1), strict=True)]
    words = np.array(schedule, np.uint64)
    keys = iter([words[i, ...] for i in range(len(schedule))])
    product, high = np.empty((2, *even.shape), np.uint64) if spare is None else spare
    (c0, c2), (p0, p1), (h0, h1) = even, product, high
    for k0, k1 in zip(keys, keys, strict=True):
        np.multiply(c0, _M0, p0)
        np.multiply(c2, _M1, p1)
        np.right_shift(product, _32, high)
        np.bitwise_xor(high, odd, high)
        np.bitwise_xor(h1, k0, c0)
        np.bitwise_xor(h0, k1, c2)
        np.bitwise_and(product, _LOW, odd)


def normals(index: Words, n: int, key: tuple[int, int], stream: int) -> NDArray[np.float64]:
    """Unit normals of shape (len(index), n): row i, element j comes from the counter (j // 4, index_i low, index_i high, stream).

    Element j is normal number j % 4 of that counter. Rows depend on nothing but their own index, ``key`` and ``stream``.

    Args:
        index: sample indices, shape (B,), 64 bits each.
        n: elements per sample.
        key: two 32-bit words.
        stream: the 32-bit word that becomes c3.

    Returns:
        (len(index), n) unit normals, float64.
    """
    pairs = 1 if n <= 2 else 2  # of the two pairs of normals that a counter gives, those that are used
    blocks = -(-n // (2 * pairs))
    out = np.empty((len(index), blocks, pairs, 2))
    cols = -(-blocks // max(1, -(-blocks // _LANES)))
    rows = max(1, _LANES // max(1, cols))
    work = np.empty(22 * min(rows, len(index)) * cols)  # for one tile after the other, so that it stays in cache
    compiled = loops(out.size, COEFFICIENTS)
    for i in range(0, len(index), rows):
        some = index[i : i + rows, None]
        for j in range(0, blocks, cols):
            tile = out[i : i + rows, j : j + cols]
            lanes = len(tile) * tile.shape[1]
            if compiled:
                u, y, r = work[: 3 * pairs * lanes].reshape(3, pairs, lanes)
                compiled[0](index[i : i + rows], j, tile.shape[1], key, stream, u, y)
                compiled[1](np.log(u, r), y, u, tile.reshape(-1, pairs, 2))
                continue
            even, odd = work[: 4 * lanes].view(np.uint64).reshape(2, 2, *tile.shape[:2])
            even[0] = np.arange(j, j + tile.shape[1], dtype=np.uint64)
            even[1] = some >> _32
            odd[0] = stream
            odd[1] = some & _LOW
            even, odd = even.reshape(2, -1), odd.reshape(2, -1)
            philox(even, odd, key, work[4 * lanes : 8 * lanes].view(np.uint64).reshape(2, 2, -1))
            _box_muller(even[:pairs], odd[::-1][:pairs], tile.reshape(-1, pairs, 2), work[4 * lanes :])
    return np.ascontiguousarray(out.reshape(len(index), -1)[:, :n])


def _box_muller(radius: Words, angle: Words, out: NDArray[np.float64], work: NDArray[np.float64]) -> None:
    """Normals from words of shape (pairs, L) into ``out``, shape (L, pairs, 2); ``work`` holds 9 pairs L numbers."""
    # contiguous buffers throughout, and never in place for log: NumPy then runs the same code on every element, wherever it lies
    pairs, lanes = radius.shape
    r, y, u = work[: 3 * pairs * lanes].reshape(3, pairs, lanes)
    turns, squared, sine = work[3 * pairs * lanes : 9 * pairs * lanes].reshape(3, 2, pairs, lanes)
    np.copyto(u, radius.view(np.int64))
    np.add(u, _HALF, u)
    np.multiply(u, _2_32, u)
    np.log(u, r)
    np.multiply(r, _MINUS_2, r)
    np.sqrt(r, r)

    # phi = pi y, -1 < y < 1: cos(phi) = sin(pi c) with c = 1/2 - |y|, and sin(phi) = sign(y) sin(pi (1/2 - |c|)), both below a quarter turn
    to_cos, to_sin = turns
    np.copyto(y, angle.view(np.int64))
    np.subtract(y, _CENTRE, y)
    np.multiply(y, _2_31, y)
    np.absolute(y, to_cos)
    np.subtract(_HALF, to_cos, to_cos)
    np.absolute(to_cos, to_sin)
    np.subtract(_HALF, to_sin, to_sin)
    np.copysign(to_sin, y, to_sin)
    np.multiply(turns, turns, squared)
    np.multiply(squared, _SINE[0], sine)
    for coefficient in _SINE[1:-1]:
        np.add(sine, coefficient, sine)
        np.multiply(sine, squared, sine)
    np.add(sine, _SINE[-1], sine)
    np.multiply(sine, turns, sine)
    np.multiply(r, sine, out.transpose(2, 1, 0))


def uniforms(index: Words, n: int, key: tuple[int, int], stream: int) -> NDArray[np.float64]:
    """Uniform numbers of [0, 1) with 53 bits, shape (len(index), n): row i, element j is number j % 2 of counter (j // 2, index_i, stream).

    Of the words (w0, w1), and likewise (w2, w3), it is (2^26 (w0 >> 5) + (w1 >> 6)) 2^-53. Arguments as for ``normals``.

    Returns:
        (len(index), n) uniform numbers in [0, 1), float64.
    """
    blocks = -(-n // 2)
    even, odd = np.empty((2, 2, len(index), blocks), np.uint64)
    even[0], even[1] = np.arange(blocks, dtype=np.uint64), (index >> _32)[:, None]
    odd[0], odd[1] = stream, (index & _LOW)[:, None]
    even, odd = even.reshape(2, -1), odd.reshape(2, -1)
    philox(even, odd, key)
    high = np.stack((even[0], even[1]), -1) >> np.uint64(5)  # words 0 and 2
    low = np.stack((odd[1], odd[0]), -1) >> np.uint64(6)  # words 1 and 3
    values = (high << np.uint64(26)) + low
    return values.astype(np.float64).reshape(len(index), -1)[:, :n] * 2.0**-53
