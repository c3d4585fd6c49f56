r"""The pieces of samplers by themselves, as people write them down in other languages, and what they get wrong.

    noise          Philox4x32-10 at a counter and a key; the four normals that its words give
    coefficients   the weights of every step of a method of fixed weights, from alpha, sigma, lam of its nodes
    law            mean and standard deviation of a method's output, where the data are one Gaussian and the model is exact
    step           the row of probabilities of one token after one step of a jump process

Each is a function of its inputs and of a fault, None for the right answer. The right answers are those of the library; the tests hold that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from scorebed.solvers.schedule import Node
from scorebed.toy.conform.faults import FAULTS, Floats, sampler

WORD_FAULTS = {
    "seven rounds in place of ten": "Philox4x32-7",
    "high and low words swapped": "lo stands where hi of a product belongs",
    "key not raised between rounds": "every round has the first key",
    "multipliers swapped": "M0 stands where M1 belongs",
}
NORMAL_FAULTS = {
    **WORD_FAULTS,
    "sine and cosine swapped": "the first normal of a pair is r sin(phi)",
    "angle from 0 in place of -pi": "phi = 2 pi u: both normals change their sign",
    "factor 2 of the radius left out": "r² = −log u",
    "words paired one with three": "(w0, w2) and (w1, w3) make the pairs",
}
_MEMORY = {name: text for name, text in FAULTS["dpmpp_2m"].items() if name not in ("memory one step late", "last step left out")}
WEIGHT_FAULTS = {
    "ddim": {name: FAULTS["ddim"][name] for name in ("alpha of the old node", "sign of h", "sigma ratio inverted")},
    "dpmpp_2m": _MEMORY,
    "unipc_2": {
        **_MEMORY,
        "B1 in place of B2": "h stands where 1 − e^{−h} belongs, where a₁ = 1/2",
        "corrector left out": "the predictor's weights again",
        "corrector of order 2": "a₁ = 1/2 in every corrector",
    },
}
LAW_FAULTS = {
    "variance in place of standard deviation": "the square of the second number",
    "noise of the start left out": "the start is its mean",
    "standard deviations added": "those of the start and of the draws, in place of their squares",
}
STEP_FAULTS = {
    "probabilities not renormalised": "the row does not sum to 1",
    "mass of staying left out": "the jumps alone",
    "prediction in place of the step": "p(x0 | x) whatever the time",
    "rate of the forward process": "Bayes' factor left out of the reverse rate",
    "share of the new level": "1 − α_t in the denominator of (α_t − α_s)/(1 − α_s)",
}


def words(row: Sequence[int], fault: str | None = None) -> list[int]:
    """The four words of Philox4x32-10 at (c0, c1, c2, c3, k0, k1); the formula is ``solvers.noise.philox``'s."""
    c0, c1, c2, c3, k0, k1 = map(int, row)
    m0, m1, low = 0xD2511F53, 0xCD9E8D57, 0xFFFFFFFF
    if fault == "multipliers swapped":
        m0, m1 = m1, m0
    for _ in range(7 if fault == "seven rounds in place of ten" else 10):
        p0, p1 = m0 * c0, m1 * c2
        h0, l0, h1, l1 = p0 >> 32, p0 & low, p1 >> 32, p1 & low
        if fault == "high and low words swapped":
            h0, l0, h1, l1 = l0, h0, l1, h1
        c0, c1, c2, c3 = h1 ^ c1 ^ k0, l1, h0 ^ c3 ^ k1, l0
        if fault != "key not raised between rounds":
            k0, k1 = (k0 + 0x9E3779B9) & low, (k1 + 0xBB67AE85) & low
    return [c0, c1, c2, c3]


def normals_of(row: Sequence[int], fault: str | None = None) -> list[float]:
    """z0 = r cos φ, z1 = r sin φ for each pair of words, r² = −2 log((w0 + ½) 2⁻³²), φ = 2π (w1 + ½) 2⁻³² − π."""
    w, out = words(row, fault), list[float]()
    pairs = ((w[0], w[2]), (w[1], w[3])) if fault == "words paired one with three" else ((w[0], w[1]), (w[2], w[3]))
    for a, b in pairs:
        r = math.sqrt(-(1.0 if fault == "factor 2 of the radius left out" else 2.0) * math.log((a + 0.5) * 2.0**-32))
        phi = 2.0 * math.pi * (b + 0.5) * 2.0**-32 - (0.0 if fault == "angle from 0 in place of -pi" else math.pi)
        z = [r * math.cos(phi), r * math.sin(phi)]
        out += z[::-1] if fault == "sine and cosine swapped" else z
    return out


Level = Sequence[float]
"""(t, alpha, sigma, lam)."""


def weights(method: str, levels: Sequence[Level], fault: str | None = None) -> list[list[float]]:
    """For every step s → t, after r → s, the weights of x_s and of D.

    Args:
        method: ddim, dpmpp_2m or unipc_2 (with B₂).
        levels: of the grid.
        fault: of ``WEIGHT_FAULTS[method]``.

    Returns:
        Rows: of ddim (x, D_s); of dpmpp_2m (x, D_s, D_r); of unipc_2 the predictor's (x, D_s, D_r), then the corrector's
        (x, D_u, D_s, D_r), where u is the predicted x_t and D_s, D_r were evaluated at predicted states too. The first step has no D_r.
    """
    rows, before = list[list[float]](), math.nan
    for s, t in pairwise(levels):
        h, alpha, ratio = t[3] - s[3], t[1], t[2] / s[2]
        if fault == "alpha of the old node":
            alpha = s[1]
        if fault == "sigma ratio inverted":
            ratio = 1.0 / ratio
        gain = -alpha * math.expm1(h if fault == "sign of h" else -h)
        g = h if fault == "weights of equal steps" and rows else before
        w = 0.0 if not rows or fault == "no memory" else _memory(h, g, fault)
        if method == "ddim":
            rows.append([ratio, gain])
        elif method == "dpmpp_2m":
            rows.append([ratio, gain * (1.0 + w), -gain * w])
        else:
            first = alpha * h if fault == "B1 in place of B2" else gain
            predictor = [ratio, gain + w * first, -w * first]
            rows.append(predictor + _corrector(predictor, h, g if rows else None, alpha, gain, first, fault))
        before = h
    return rows


def _memory(h: float, before: float, fault: str | None) -> float:
    w = 0.5 * before / h if fault == "step ratio inverted" else 0.5 * h / before
    return w * {"missing factor 1/2": 2.0, "sign of the correction": -1.0}.get(fault or "", 1.0)


def _corrector(
    predictor: list[float], h: float, g: float | None, alpha: float, gain: float, first: float, fault: str | None
) -> list[float]:
    """UniC: with k_n = σ_t ∫ e^λ (λ − λ_s)^n dλ the weights of D at h, 0 and −g, the parabola's; ½ and ½ where there is no g."""
    if fault == "corrector left out":
        return [predictor[0], 0.0, predictor[1], predictor[2]]
    if g is None or fault == "corrector of order 2":
        return [predictor[0], 0.5 * first, gain - 0.5 * first, 0.0]
    k1 = alpha * h - gain
    k2 = alpha * h * h - 2.0 * k1
    new, old = (k2 + g * k1) / (h * (h + g)), (k2 - h * k1) / (g * (h + g))
    return [predictor[0], new, gain - new - old, old]


def end_law(method: str, nodes: Sequence[Node], mean: float, variance: float, fault: str | None = None) -> list[float]:
    """Mean and standard deviation of the output for data N(m, v), begun in the marginal N(α m, α² v + σ²) of the first level.

    The exact model is affine, D(x) = (σ² m + α v x)/(α² v + σ²), and so is the output. So a run from the mean without noise gives the mean,
    and what one standard deviation of the start, and a draw of 1 in one step, add to it are the parts of the standard deviation.

    Args:
        method: of ``FAULTS``.
        nodes: the grid.
        mean, variance: of the data.
        fault: of ``FAULTS[method]`` or ``LAW_FAULTS``.

    Returns:
        [mean, standard deviation].
    """

    def denoise(x: Floats, node: Node) -> Floats:
        return (node.sigma**2 * mean + node.alpha * variance * x) / (node.alpha**2 * variance + node.sigma**2)

    s, steps = nodes[0], (len(nodes) - 1 if method == "ddpm" else 0)
    x = np.full(2 + steps, s.alpha * mean)
    if fault != "noise of the start left out":
        x[1] += math.sqrt(s.alpha**2 * variance + s.sigma**2)
    out = sampler(method, fault if fault in FAULTS[method] else None)(denoise, x, nodes, list(np.eye(2 + steps)[2:]))
    parts = np.abs(out[1:] - out[0])
    std = parts.sum() if fault == "standard deviations added" else math.hypot(*parts)
    return [float(out[0]), float(std * std if fault == "variance in place of standard deviation" else std)]


def step_row(method: str, p: Sequence[float], row: Sequence[float], fault: str | None = None) -> list[float]:
    """P(x_t = y | x_s = x) of one token.

    absorbing (S + 1 values, the mask last): a mask becomes y at the rate r(y) = −α'_s/(1 − α_s) p_y, or with (α_t − α_s)/(1 − α_s) p_y;
    other tokens stay. uniform, with K_a(k, y) = a 1{y = k} + (1 − a)/S:
    r(y) = −α'_s/(α_s S) Σ_k p_k K_s(k, y)/K_s(k, x), and the posterior is Σ_k p_k K_t(k, y) K_{α_s/α_t}(y, x)/K_s(k, x).
    euler: h r(y) to jump and 1 − h Σ r to stay; where h Σ r > 1 the jumps share 1. ancestral: the posterior.

    Args:
        method: "absorbing-euler", "absorbing-ancestral", "uniform-euler" or "uniform-ancestral".
        p: what the model gives over the S values.
        row: (x, α_s, α_t, h, −α'_s) with h = s − t.
        fault: of ``STEP_FAULTS``.

    Returns:
        The probabilities of all values.
    """
    kernel, rule = method.split("-")
    x, a, b, h, falls = int(row[0]), *map(float, row[1:])
    size = len(p)
    onto = [*p, 0.0] if kernel == "absorbing" else list(p)
    if fault == "prediction in place of the step":
        return onto
    if kernel == "absorbing":
        masked = float(x == size)
        rate = falls / a if fault == "rate of the forward process" else falls / (1.0 - a)
        share = (b - a) / (1.0 - (b if fault == "share of the new level" else a))
        jumps = [masked * q * (h * rate if rule == "euler" else share) for q in onto]
    elif rule == "euler":
        ratio = _bayes(p, x, a, a, [1.0] * size)
        ratio = [1.0] * size if fault == "rate of the forward process" else ratio
        jumps = [0.0 if y == x else h * falls / (a * size) * ratio[y] for y in range(size)]
    else:
        back = [_kernel(a / b, y, x, size) for y in range(size)]
        if fault == "probabilities not renormalised":
            return [sum(q * _kernel(b, k, y, size) for k, q in enumerate(p)) * back[y] for y in range(size)]
        return _bayes(p, x, b, a, back)
    total = sum(jumps)
    if total > 1.0 and fault != "probabilities not renormalised":
        jumps, total = [j / total for j in jumps], 1.0
    if fault != "mass of staying left out":
        jumps[x] += max(0.0, 1.0 - total)
    return jumps


def _kernel(a: float, k: int, y: int, size: int) -> float:
    return a * (k == y) + (1.0 - a) / size


def _bayes(p: Sequence[float], x: int, to: float, at: float, back: Sequence[float]) -> list[float]:
    """Σ_k p_k K_to(k, y) back(y)/K_at(k, x)."""
    n = len(p)
    return [sum(q * _kernel(to, k, y, n) / _kernel(at, k, x, n) for k, q in enumerate(p)) * back[y] for y in range(n)]
