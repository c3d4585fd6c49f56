r"""The Jacobi (Wright-Fisher) diffusion on [0, 1] and its exact kernel.

    dx = ½ (a (1 - x) - b x) dt + sqrt(x (1 - x)) dW,        a, b > 0,

has the stationary law Beta(a, b), rates λ_n = n (n + a + b - 1)/2 (gap (a + b)/2), and with R_n the Jacobi polynomials orthonormal under
Beta(a, b)

    p_t(y | x) = Beta(y; a, b) Σ_n e^{-λ_n t} R_n(x) R_n(y)                                                      (spectral)
               = Σ_m q_m(t) Σ_l Binomial(l; m, x) Beta(y; a + l, b + m - l)                                      (ancestral)

with q_m the law of the number of lineages left of infinitely many at time t (Griffiths & Spano, arXiv:1003.4650; Tavaré 1984),

    q_m(t) = Σ_{k>=m} (-1)^{k-m} e^{-λ_k t} (2k + θ - 1) Γ(m + θ + k - 1) / (Γ(m + θ) m! (k - m)!),    θ = a + b.

All terms of the ancestral form are positive. The spectral sum is used where it does not cancel, the ancestral one elsewhere and for exact
draws (Jenkins & Spano, arXiv:1506.06998). The sums for q_m alternate strongly; they are taken in as many digits as needed, for
t >= ``SHORTEST``.
"""

from __future__ import annotations

import math
from decimal import Context, Decimal, localcontext
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import betaln, gammaln, xlog1py, xlogy

SHORTEST = 0.01
"""Times below this are refused: the ancestral law would need thousands of digits and the spectral sum loses its own."""

_CANCELS = 1e-2  # a spectral sum smaller than this share of its terms is summed the other way
_BLOCK = 1 << 20


def lineages(theta: float, t: float) -> tuple[np.ndarray, np.ndarray]:
    """(m, q_m(t)) from m = 0 to where q_m falls below 1e-24, each of full relative precision.

    Returns:
        (m, q_m(t)), arrays of equal length.

    Raises:
        ValueError: t below ``SHORTEST``.
    """
    if not t >= SHORTEST:
        raise ValueError(f"time = {t:g} is too short for the Jacobi kernel: give at least {SHORTEST}")
    return _lineages(float(theta), float(t))


@lru_cache(maxsize=64)
def _lineages(theta: float, t: float) -> tuple[np.ndarray, np.ndarray]:
    centre, spread = 2.0 / t, math.sqrt(2.0 / (3.0 * t))
    last = int(centre + 14.0 * spread) + 20
    k = np.arange(last + 60 + int(math.sqrt(2.0 * (90.0 + 8.0 / t) / t)))
    m = np.arange(last)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.where(
            k >= m,
            gammaln(m + theta + k - 1.0)
            - gammaln(m + theta)
            - gammaln(m + 1.0)
            - gammaln(np.maximum(k - m, 0) + 1.0)
            - 0.5 * k * (k + theta - 1.0) * t,
            -np.inf,
        )
    # few lineages are rare, down to e^{-π²/2t}, and what the far tails of the kernel are made of: their q too keeps 40 digits
    rare = 40 + int(2.3 / t)
    digits = rare + int(np.nanmax(np.where(np.isfinite(size), size, 0.0)) / math.log(10.0))
    tiny = Decimal(10) ** -rare
    with localcontext(Context(prec=digits)):
        exact_t, exact_theta = Decimal(t), Decimal(theta)
        decay = (-exact_t).exp()  # λ_{k+1} - λ_k = k + θ/2
        half = (-exact_t * exact_theta / 2).exp()
        falls = [half]
        for _ in k[1:]:
            falls.append(falls[-1] * decay)
        q = []
        for i in range(last):
            # log of the first term by lgamma would lose digits: (i + θ)_{(i-1)} / i! as a product
            term = (-exact_t * i * (i + exact_theta - 1) / 2).exp()
            if i > 0:
                for j in range(i - 1):
                    term *= (i + exact_theta + j) / (j + 1)
                term *= (2 * i + exact_theta - 1) / i
            total, n = term, i
            while True:
                upper = 2 * n + exact_theta + 1
                if n == 0:  # k = 0 has (2k + θ - 1) Γ(θ - 1)/Γ(θ) = 1, and k = 1 has θ + 1
                    term = -falls[0] * upper
                else:
                    term = -term * falls[n] * upper / (2 * n + exact_theta - 1) * (i + exact_theta + n - 1) / (n + 1 - i)
                n += 1
                total += term
                if abs(term) < tiny and n > i + 2 and n * t > 2.0:
                    break
            q.append(float(total))
    values = np.array(q)
    end = int(np.flatnonzero(values > 1e-24)[-1]) + 1
    return np.arange(end), values[:end]


class Jacobi:
    """The diffusion with parameters a and b.

    Raises:
        ValueError: a or b not positive and finite.
    """

    def __init__(self, a: float, b: float) -> None:
        self.a, self.b = float(a), float(b)
        for name, value in (("a", self.a), ("b", self.b)):
            if not 0.0 < value < math.inf:
                raise ValueError(f"{name} = {value!r} must be positive and finite")
        self.theta = self.a + self.b

    def __repr__(self) -> str:
        return f"Jacobi(a={self.a:g}, b={self.b:g})"

    def rate(self, n: Any) -> Any:
        """λ_n = n (n + a + b - 1)/2."""
        return 0.5 * n * (n + self.theta - 1.0)

    def log_stationary(self, y: Any) -> np.ndarray:
        """log Beta(y; a, b)."""
        y = np.asarray(y, dtype=np.float64)
        return np.asarray(xlogy(self.a - 1.0, y) + xlog1py(self.b - 1.0, -y) - betaln(self.a, self.b))

    def polynomials(self, y: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """R_0 … R_{count-1} at y (n,) and their derivatives, (count, n) each, by the recurrence of the orthonormal family."""
        u, alpha, beta = 2.0 * y - 1.0, self.b - 1.0, self.a - 1.0
        value, slope = np.zeros((count, len(y))), np.zeros((count, len(y)))
        value[0] = 1.0
        before = 0.0
        for n in range(count - 1):
            total = 2.0 * n + alpha + beta
            middle = (beta - alpha) / (alpha + beta + 2.0) if n == 0 else (beta**2 - alpha**2) / (total * (total + 2.0))
            if n == 0:
                square = 4.0 * (1.0 + alpha) * (1.0 + beta) / ((alpha + beta + 2.0) ** 2 * (alpha + beta + 3.0))
            else:
                k = n + 1.0
                big = 2.0 * k + alpha + beta
                square = 4.0 * k * (k + alpha) * (k + beta) * (k + alpha + beta) / (big**2 * (big + 1.0) * (big - 1.0))
            after = math.sqrt(square)
            value[n + 1] = ((u - middle) * value[n] - (before * value[n - 1] if n else 0.0)) / after
            slope[n + 1] = (2.0 * value[n] + (u - middle) * slope[n] - (before * slope[n - 1] if n else 0.0)) / after
            before = after
        return value, slope

    def kernel(self, x: Any, y: Any, t: float) -> tuple[np.ndarray, np.ndarray]:
        """(log p_t(y | x), ∂_y log p_t(y | x)), elementwise on x in [0, 1] and y in (0, 1), densities with respect to dy.

        Returns:
            (log p_t(y | x), ∂_y log p_t(y | x)), both of the shape of x.

        Raises:
            ValueError: points outside, or a time below ``SHORTEST``.
        """
        x, y = np.broadcast_arrays(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
        if not (np.all((x >= 0.0) & (x <= 1.0)) and np.all((y > 0.0) & (y < 1.0))):
            raise ValueError("x or y holds a point outside the interval: give 0 <= x <= 1 and 0 < y < 1")
        if not t >= SHORTEST:
            raise ValueError(f"time = {t:g} is too short for the Jacobi kernel: give at least {SHORTEST}")
        start, end = x.reshape(-1), y.reshape(-1)
        log, slope, share = self.spectral(start, end, t)
        lost = np.flatnonzero(~(share > _CANCELS))
        if len(lost):
            log[lost], slope[lost] = self.ancestral(start[lost], end[lost], t)
        return log.reshape(x.shape), slope.reshape(x.shape)

    def spectral(self, x: np.ndarray, y: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The spectral sum for points (n,): log, slope, and |sum| over the sum of the sizes of its terms."""
        # orthonormal R_n grow like n^{max(a,b)} at the ends
        count = 8 + math.ceil(math.sqrt(2.0 * (45.0 + 6.0 * (1.0 + max(self.a, self.b))) / t))
        log, slope, share = np.empty(len(x)), np.empty(len(x)), np.empty(len(x))
        decay = np.exp(-self.rate(np.arange(count)) * t)[:, None]
        step = max(1, _BLOCK // count)
        for i in range(0, len(x), step):
            here = slice(i, i + step)
            weight = self.polynomials(x[here], count)[0] * decay
            value, derivative = self.polynomials(y[here], count)
            total = (weight * value).sum(0)
            share[here] = np.maximum(total, 0.0) / np.abs(weight * value).sum(0)
            with np.errstate(divide="ignore", invalid="ignore"):
                log[here] = np.log(np.maximum(total, 0.0)) + self.log_stationary(y[here])
                slope[here] = (weight * derivative).sum(0) / total + (self.a - 1.0) / y[here] - (self.b - 1.0) / (1.0 - y[here])
        return log, slope, share

    def ancestral(self, x: np.ndarray, y: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
        """The ancestral sum for points (n,): log and slope, with full relative accuracy."""
        m, q = lineages(self.theta, t)
        log_q = np.log(q)
        pairs = [(int(i), lq) for i, lq in zip(m, log_q, strict=True)]
        top, total, rise = np.full(len(x), -np.inf), np.zeros(len(x)), np.zeros(len(x))
        for i, lq in pairs:
            l = np.arange(i + 1.0)
            binomial = gammaln(i + 1.0) - gammaln(l + 1.0) - gammaln(i - l + 1.0)
            constant = lq + binomial - betaln(self.a + l, self.b + i - l)
            logs = constant[:, None] + xlogy(l[:, None], x) + xlog1py((i - l)[:, None], -x)
            logs += xlogy((self.a + l - 1.0)[:, None], y) + xlog1py((self.b + i - l - 1.0)[:, None], -y)
            tilt = (self.a + l - 1.0)[:, None] / y - (self.b + i - l - 1.0)[:, None] / (1.0 - y)
            new = np.maximum(top, logs.max(0))
            old = np.exp(np.where(np.isfinite(top), top - new, -np.inf))
            share = np.exp(logs - new)
            total, rise, top = total * old + share.sum(0), rise * old + (share * tilt).sum(0), new
        return top + np.log(total), rise / total

    def sample(self, x: Any, t: float, rng: np.random.Generator | int) -> np.ndarray:
        """One exact draw of p_t(· | x) for each x: m ~ q, l ~ Binomial(m, x), y ~ Beta(a + l, b + m - l)."""
        rng = np.random.default_rng(rng)
        start = np.asarray(x, dtype=np.float64)
        m, q = lineages(self.theta, t)
        left = rng.choice(m, size=start.shape, p=q / q.sum())
        l = rng.binomial(left, start)
        return np.asarray(rng.beta(self.a + l, self.b + left - l))
