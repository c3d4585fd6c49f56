r"""The Triton kernel of a pass: every operand read once, every result written once, the normals made in registers.

    out_j = Σ_i a_ji in_i + Σ_k c_jk z_k + Σ_{l<j} b_jl out_l

One lane is one Philox counter and so four elements of one sample (``solvers.noise`` has the addresses). Half and bfloat16 operands are
summed in float32, float64 ones in float64; a result that a later sum of the same pass reads is first rounded to the state's type, as if it
had been stored. Coefficients and keys come from tables in device memory, so that a captured graph can be replayed with another seed.

In float32 the radius r² = -2 log u needs care where u is near 1: with u = 1 - δ and δ <= 1/2, -log(1 - δ) = 2 atanh(z), z = δ/(2 - δ), by
its series. Every function but the square root and the logarithm of u <= 1/2 is a sum of products, the same on any machine.
"""

# mypy: disable-error-code="no-untyped-def, assignment"
# Triton reads the annotations of its kernels: only constexpr may stand there.
from __future__ import annotations

import triton
import triton.language as tl

BLOCK = tl.constexpr(256)
"""Counters, of four elements each, in one program."""


@triton.jit
def philox(c0, c1, c2, c3, k0, k1):
    """Ten rounds of Philox4x32 on uint32 lanes."""
    for _ in tl.static_range(10):
        h0 = tl.umulhi(c0, 0xD2511F53)
        h1 = tl.umulhi(c2, 0xCD9E8D57)
        low0 = c0 * 0xD2511F53
        low1 = c2 * 0xCD9E8D57
        c0 = h1 ^ c1 ^ k0
        c1 = low1
        c2 = h0 ^ c3 ^ k1
        c3 = low0
        k0 = k0 + 0x9E3779B9
        k1 = k1 + 0xBB67AE85
    return c0, c1, c2, c3


@triton.jit
def _sinpi(a):
    """sin(pi a) for |a| <= 1/2: the polynomial of ``solvers.noise.philox``."""
    q = a * a
    p = q * 7.697826768224191e-07 - 2.1903497074626018e-05
    p = p * q + 0.0004662998161898394
    p = p * q - 0.007370430505916944
    p = p * q + 0.0821458865731029
    p = p * q - 0.5992645293189447
    p = p * q + 2.5501640398773007
    p = p * q - 5.167712780049969
    p = p * q + 3.141592653589793
    return p * a


@triton.jit
def _radius(word, WIDE: tl.constexpr):
    """sqrt(-2 log((word + 1/2) 2^-32))."""
    if WIDE:
        squared = -2.0 * tl.log((word.to(tl.float64) + 0.5) * 2.3283064365386963e-10)
    else:
        low = word < 0x80000000
        u = (tl.where(low, word, word ^ 0xFFFFFFFF).to(tl.float32) + 0.5) * 2.3283064365386963e-10
        z = u / (2.0 - u)
        q = z * z
        p = q * 0.06666666666666667 + 0.07692307692307693
        p = p * q + 0.09090909090909091
        p = p * q + 0.1111111111111111
        p = p * q + 0.14285714285714285
        p = p * q + 0.2
        p = p * q + 0.3333333333333333
        squared = tl.where(low, -2.0 * tl.log(u), 4.0 * (p * q * z + z))
    return tl.sqrt(squared)


@triton.jit
def _pair(radius, angle, WIDE: tl.constexpr):
    """Two normals of two words (Box-Muller)."""
    r = _radius(radius, WIDE)
    # angle - (2^31 - 1/2) in units of 2^-31: the top bit turned over and read with a sign
    turned = (angle ^ 0x80000000).to(tl.int32, bitcast=True)
    if WIDE:
        y = (turned.to(tl.float64) + 0.5) * 4.656612873077393e-10
    else:
        y = (turned.to(tl.float32) + 0.5) * 4.656612873077393e-10
    c = 0.5 - tl.abs(y)
    s = 0.5 - tl.abs(c)
    return r * _sinpi(c), r * _sinpi(tl.where(y < 0.0, -s, s))


@triton.jit
def fused_pass(
    ins,
    outs,
    table,
    offset,
    keys,
    key_offset,
    index,
    n,
    batch,
    K: tl.constexpr,
    M: tl.constexpr,
    N: tl.constexpr,
    NEEDS: tl.constexpr,
    STORE: tl.constexpr,
    WIDE: tl.constexpr,
    EVEN: tl.constexpr,
):
    """K operands ``ins``, M results ``outs``, N draws, on ``batch`` samples of ``n`` elements.

    Row j of the table from ``offset`` holds K + N + M coefficients, of operands, draws and earlier results; bit j (K + N + M) + i of NEEDS
    says that coefficient i is there, bit j of STORE that result j is wanted in memory. EVEN: n is a multiple of 4, so that counters and
    elements run in step.
    """
    WIDTH: tl.constexpr = K + N + M
    at = tl.program_id(0).to(tl.int64) * (4 * BLOCK) + tl.arange(0, 4 * BLOCK)
    if EVEN:
        where = at
        inside = at < batch.to(tl.int64) * n
    else:
        per = (n + 3) // 4
        row = at // (4 * per)
        column = at - row * (4 * per)
        where = row * n + column
        inside = (row < batch) & (column < n)
    values = ()
    for i in tl.static_range(K):
        value = tl.load(ins[i] + where, mask=inside, other=0.0)
        values = values + (value.to(tl.float64 if WIDE else tl.float32),)
    if N > 0:
        lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        blocks = (n + 3) // 4
        sample = lane // blocks
        name = tl.load(index + sample, mask=sample < batch, other=0)
        c0 = (lane - sample * blocks).to(tl.uint32)
        c1 = (name & 0xFFFFFFFF).to(tl.uint32)
        c2 = (name >> 32).to(tl.uint32)
        for k in tl.static_range(N):
            k0 = tl.load(keys + key_offset + 3 * k).to(tl.uint32)
            k1 = tl.load(keys + key_offset + 3 * k + 1).to(tl.uint32)
            stream = tl.load(keys + key_offset + 3 * k + 2).to(tl.uint32)
            w0, w1, w2, w3 = philox(c0, c1, c2, tl.zeros_like(c0) + stream, k0, k1)
            z0, z1 = _pair(w0, w1, WIDE)
            z2, z3 = _pair(w2, w3, WIDE)
            values = values + (tl.interleave(tl.interleave(z0, z2), tl.interleave(z1, z3)),)
    for j in tl.static_range(M):
        total = tl.zeros([4 * BLOCK], tl.float64 if WIDE else tl.float32)
        for i in tl.static_range(K + N + j):
            if (NEEDS >> (j * WIDTH + i)) & 1:
                total += tl.load(table + offset + j * WIDTH + i) * values[i]
        rounded = total.to(outs[j].dtype.element_ty)
        values = values + (rounded.to(tl.float64 if WIDE else tl.float32),)
        if (STORE >> j) & 1:
            tl.store(outs[j] + where, rounded, mask=inside)
