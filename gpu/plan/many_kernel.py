r"""The Triton kernel of many trajectories: a whole run of a Plan on an exact mixture, from the initial state to the output, in one launch.

A Plan is a table here, so that one compiled kernel runs every method on every grid. Row i of ``ops`` is (what, target, first, count):

    0   slot target = Σ weights[j] · slot terms[j],    first <= j < first + count
    1   slot target = E[x0 | x_t = slot first] at node ``count``
    2   slot target = unit normals of the interval ``first``

Slots lie in scratch memory of a program's own, which stays in the cache next to it. With α, σ of the node and diagonal covariances v_k,

    E[x0 | x] = Σ γ_k (m_k + α v_k (x − α m_k)/c_k),   c_k = α² v_k + σ²,   log γ_k = log w_k − ½ Σ log c_k − ½ Σ (x − α m_k)²/c_k + const,

in one pass over k, the largest exponent so far taken out.
"""

# mypy: disable-error-code="no-untyped-def, assignment"
# Triton reads the annotations of its kernels: only constexpr may stand there.
from __future__ import annotations

import triton
import triton.language as tl

from scorebed.gpu.plan.kernel import _pair, philox


@triton.jit
def denoised(z, alpha, sigma, log_weights, means, variances, k, cols, BLOCK: tl.constexpr, D: tl.constexpr, WIDE: tl.constexpr):
    """E[x0 | x] of BLOCK states (BLOCK, D)."""
    kind = tl.float64 if WIDE else tl.float32
    top = tl.full([BLOCK], -1e30, kind)
    mass = tl.zeros([BLOCK], kind)
    total = tl.zeros([BLOCK, D], kind)
    for j in range(k):
        mean = tl.load(means + j * D + cols)[None, :]
        v = tl.load(variances + j * D + cols)[None, :]
        c = alpha * alpha * v + sigma * sigma
        rest = z - alpha * mean
        logit = tl.load(log_weights + j) - 0.5 * tl.sum(rest * rest / c + tl.log(c), axis=1)
        new = tl.maximum(top, logit)
        keep, weight = tl.exp(top - new), tl.exp(logit - new)
        mass = mass * keep + weight
        total = total * keep[:, None] + weight[:, None] * (mean + alpha * v / c * rest)
        top = new
    return total / mass[:, None]


@triton.jit
def normals(name, cols, k0, k1, stream, BLOCK: tl.constexpr, D: tl.constexpr, WIDE: tl.constexpr):
    """Unit normals (BLOCK, D) of the samples ``name``: element j is number j % 4 of the counter j // 4."""
    zero = tl.zeros([BLOCK, D], tl.uint32)
    c0 = zero + (cols // 4).to(tl.uint32)[None, :]
    c1 = zero + (name & 0xFFFFFFFF).to(tl.uint32)[:, None]
    c2 = zero + (name >> 32).to(tl.uint32)[:, None]
    w0, w1, w2, w3 = philox(c0, c1, c2, zero + stream, k0, k1)
    second = (cols % 4 >= 2)[None, :]
    a, b = _pair(tl.where(second, w2, w0), tl.where(second, w3, w1), WIDE)
    return tl.where((cols % 2 == 0)[None, :], a, b)


@triton.jit
def trajectories(
    x, out, scratch, ops, terms, weights, nodes, keys, log_weights, means, variances, first_index, n, d, count, result, slots, k,
    BLOCK: tl.constexpr, D: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """``count`` operations on n states (n, d), padded to (BLOCK, D) in each program; sample i has the index first_index + i."""
    kind = tl.float64 if WIDE else tl.float32
    rows = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    cols = tl.arange(0, D)
    inside = (rows[:, None] < n) & (cols[None, :] < d)
    place = rows[:, None] * d + cols[None, :]
    at = tl.arange(0, BLOCK)[:, None] * D + cols[None, :]
    size = BLOCK * D
    local = scratch + tl.program_id(0).to(tl.int64) * slots * size
    tl.store(local + at, tl.load(x + place, mask=inside, other=0.0).to(kind))
    for i in range(count):
        what = tl.load(ops + 4 * i)
        target = tl.load(ops + 4 * i + 1)
        first = tl.load(ops + 4 * i + 2)
        number = tl.load(ops + 4 * i + 3)
        tl.debug_barrier()
        value = tl.zeros([BLOCK, D], kind)
        if what == 0:
            for j in range(first, first + number):
                value += tl.load(weights + j) * tl.load(local + tl.load(terms + j) * size + at)
        elif what == 1:
            z = tl.load(local + first * size + at)
            alpha = tl.load(nodes + 2 * number)
            sigma = tl.load(nodes + 2 * number + 1)
            value = denoised(z, alpha, sigma, log_weights, means, variances, k, cols, BLOCK, D, WIDE)
        else:
            k0 = tl.load(keys + 3 * first).to(tl.uint32)
            k1 = tl.load(keys + 3 * first + 1).to(tl.uint32)
            stream = tl.load(keys + 3 * first + 2).to(tl.uint32)
            value = normals(rows + first_index, cols, k0, k1, stream, BLOCK, D, WIDE).to(kind)
        tl.debug_barrier()
        tl.store(local + target * size + at, value)
    tl.debug_barrier()
    tl.store(out + place, tl.load(local + result * size + at).to(out.dtype.element_ty), mask=inside)
