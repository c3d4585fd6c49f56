r"""The Triton kernel of a move in a Space: x, the vectors and the noise of a step are read or made once, and its end is written once.

    out = move(x, Σ_k c_k P_x in_k + Σ_j d_j ξ_j),    ξ_j the unit tangent normal of the space, from the normals of ``solvers.noise``

One lane is one point of D numbers: a sphere's d + 1, the nine of a rotation; in a torus or a box, where coordinates move alone, four.
"""

# mypy: disable-error-code="no-untyped-def, assignment, var-annotated"
# Triton reads the annotations of its kernels: only constexpr may stand there.
from __future__ import annotations

import triton
import triton.language as tl

from scorebed.gpu.plan.kernel import _pair, philox

BLOCK = tl.constexpr(128)
"""Points in one program."""
TORUS, BOX, SPHERE, ROTATION = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2), tl.constexpr(3)
_PI = tl.constexpr(3.141592653589793)


@triton.jit
def _normal(block, place, name, k0, k1, stream, WIDE: tl.constexpr):
    """Normal number ``place`` of the counter ``block`` of a sample."""
    low, high = (name & 0xFFFFFFFF).to(tl.uint32), (name >> 32).to(tl.uint32)
    w0, w1, w2, w3 = philox(block.to(tl.uint32), low, high, tl.zeros_like(low) + stream, k0, k1)
    cosine, sine = _pair(tl.where(place < 2, w0, w2), tl.where(place < 2, w1, w3), WIDE)
    return tl.where(place % 2 == 0, cosine, sine)


@triton.jit
def _wrap(x):
    """x modulo 2π in [−π, π)."""
    y = x - 2.0 * _PI * tl.floor((x + _PI) / (2.0 * _PI))
    y = tl.where((y >= _PI) | (y < -_PI), -_PI, y)
    return tl.where((x >= -_PI) & (x < _PI), x, y)


@triton.jit
def _fold(y, low, high):
    """The end of a path to y that is reflected at low and high."""
    length = high - low
    phase = (y - low) - 2.0 * length * tl.floor((y - low) / (2.0 * length))
    folded = tl.where(phase > length, high - (phase - length), low + phase)
    return tl.where((y >= low) & (y <= high), y, tl.minimum(tl.maximum(folded, low), high))


@triton.jit
def _size(v, D: tl.constexpr):
    """|v|, scaled so that no square leaves the range of the type."""
    top = tl.abs(v[0])
    for i in tl.static_range(1, D):
        top = tl.maximum(top, tl.abs(v[i]))
    safe = tl.where(top > 0.0, top, 1.0)
    square = tl.zeros_like(top)
    for i in tl.static_range(D):
        square += (v[i] / safe) * (v[i] / safe)
    return top * tl.sqrt(square)


@triton.jit
def _sinc(t):
    """sin(t)/t."""
    small = tl.abs(t) < 1e-4
    safe = tl.where(small, 1.0, t)
    return tl.where(small, 1.0 - t * t / 6.0, tl.sin(safe) / safe)


@triton.jit
def _on_sphere(x, v, D: tl.constexpr):
    """exp_x(P_x v), normalised."""
    along = tl.zeros_like(x[0])
    for i in tl.static_range(D):
        along += x[i] * v[i]
    u = ()
    for i in tl.static_range(D):
        u = u + (v[i] - along * x[i],)
    length = _size(u, D)
    cosine, s = tl.cos(length), _sinc(length)
    y = ()
    for i in tl.static_range(D):
        y = y + (cosine * x[i] + s * u[i],)
    size = _size(y, D)
    over = 1.0 / tl.where(size > 0.0, size, 1.0)
    out = ()
    for i in tl.static_range(D):
        out = out + (y[i] * over,)
    return out


@triton.jit
def _product(a, b, TURNED: tl.constexpr):
    """a b of 3 x 3 matrices by rows, or aᵀ b."""
    out = ()
    for i in tl.static_range(3):
        for j in tl.static_range(3):
            if TURNED:
                out = out + (a[i] * b[j] + a[3 + i] * b[3 + j] + a[6 + i] * b[6 + j],)
            else:
                out = out + (a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j],)
    return out


@triton.jit
def _rotated(x, v):
    """x exp(skew(xᵀ v)), made orthogonal again to round-off."""
    a = _product(x, v, True)
    p, q, r = 0.5 * (a[7] - a[5]), 0.5 * (a[2] - a[6]), 0.5 * (a[3] - a[1])
    angle = _size((p, q, r), 3)
    half = _sinc(0.5 * angle)
    c, s, h = tl.cos(angle), _sinc(angle), 0.5 * half * half
    turn = (
        c + h * p * p, h * p * q - s * r, h * p * r + s * q,
        h * p * q + s * r, c + h * q * q, h * q * r - s * p,
        h * p * r - s * q, h * q * r + s * p, c + h * r * r,
    )  # fmt: skip
    y = _product(x, turn, False)
    again = _product(y, _product(y, y, True), False)
    out = ()
    for i in tl.static_range(9):
        out = out + (1.5 * y[i] - 0.5 * again[i],)
    return out


@triton.jit
def move(
    x,
    ins,
    out,
    numbers,
    index,
    ends,
    n,
    d,
    batch,
    K: tl.constexpr,
    N: tl.constexpr,
    D: tl.constexpr,
    KIND: tl.constexpr,
    WIDE: tl.constexpr,
):
    """K vectors ``ins`` and N draws on ``batch`` samples of ``n`` numbers, ``d`` of them a point.

    ``numbers`` holds, in 64 bits each, the K coefficients, then for every draw its coefficient and the three words of its address;
    ``ends`` the lower, then the upper ends of a box.
    """
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    per = (n + D - 1) // D
    sample = lane // per
    first = (lane - sample * per) * D
    name = tl.load(index + sample, mask=sample < batch, other=0)
    point, v = (), ()
    for i in tl.static_range(D):
        e = first + i
        inside = (sample < batch) & (e < n)
        here = tl.load(x + sample * n + e, mask=inside, other=0.0).to(tl.float64 if WIDE else tl.float32)
        total = tl.zeros_like(here)
        for k in tl.static_range(K):
            c = tl.load(numbers + k).to(tl.float64, bitcast=True).to(tl.float64 if WIDE else tl.float32)
            total += c * tl.load(ins[k] + sample * n + e, mask=inside, other=0.0).to(tl.float64 if WIDE else tl.float32)
        for j in tl.static_range(N):
            at = numbers + K + 4 * j
            c = tl.load(at).to(tl.float64, bitcast=True).to(tl.float64 if WIDE else tl.float32)
            k0, k1, stream = tl.load(at + 1).to(tl.uint32), tl.load(at + 2).to(tl.uint32), tl.load(at + 3).to(tl.uint32)
            if D == 4:
                total += c * _normal(first // 4, tl.zeros_like(e) + i, name, k0, k1, stream, WIDE)
            else:
                total += c * _normal(e // 4, e % 4, name, k0, k1, stream, WIDE)
        point, v = point + (here,), v + (total,)
    if KIND == SPHERE:
        point = _on_sphere(point, v, D)
    elif KIND == ROTATION:
        point = _rotated(point, v)
    for i in tl.static_range(D):
        e = first + i
        inside = (sample < batch) & (e < n)
        end = point[i]
        if KIND == TORUS:
            end = _wrap(point[i] + _wrap(v[i]))
        elif KIND == BOX:
            end = _fold(point[i] + v[i], tl.load(ends + e % d), tl.load(ends + d + e % d))
        tl.store(out + sample * n + e, end.to(out.dtype.element_ty), mask=inside)
