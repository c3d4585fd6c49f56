r"""Claim 183: how the error of each step travels down the chain (arXiv:2308.05021).

p is the model's chain, q the true one, both from noise to data; x_t -> x_{t-1} by Gaussian kernels linear in x. The errors are

    E_mod(t)  = E_{x ~ p_t} KL(p(x_{t-1}|x) || q(x_{t-1}|x)),      E_cumu(t) = KL(p_{t-1} || q_{t-1}),

and the paper writes E_cumu(t) = mu_t E_cumu(t+1) + E_mod(t) and concludes mu_t >= 1. The chain rule gives
KL(p_{t-1,t} || q_{t-1,t}) = E_cumu(t+1) + E_mod(t), and forgetting x_t can only lower it: mu_t <= 1, always. For the laws of the whole
paths in the place of the marginals mu_t = 1.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import minimize_scalar

from scorebed.analytic import GaussianMixture
from scorebed.analytic.distance import gaussian_kl, mmd2
from scorebed.solvers import VP, Node, grid
from scorebed.toy.claims.common import sheet
from scorebed.toy.claims.registry import Row, above, below, claim
from scorebed.toy.figures.style import BLUE, GREEN, INK, MUTED, VERMILLION


class Normal(NamedTuple):
    """A Gaussian on the line."""

    mean: float
    variance: float


@dataclass(frozen=True)
class Kernel:
    """x_{t-1} | x_t = N(slope x + shift, variance)."""

    slope: float
    shift: float
    variance: float

    def after(self, p: Normal) -> Normal:
        return Normal(self.slope * p.mean + self.shift, self.slope**2 * p.variance + self.variance)


def kl(p: Normal, q: Normal) -> float:
    """KL(p || q)."""
    return gaussian_kl([p.mean], [[p.variance]], [q.mean], [[q.variance]])


def modular(p: Normal, model: Kernel, true: Kernel) -> float:
    """E_{x ~ p} KL of the kernels."""
    ratio = model.variance / true.variance
    apart = (model.slope - true.slope) * p.mean + model.shift - true.shift
    squared = apart**2 + (model.slope - true.slope) ** 2 * p.variance
    return 0.5 * (ratio - 1.0 - math.log(ratio) + squared / true.variance)


def joint(p: Normal, q: Normal, model: Kernel, true: Kernel) -> float:
    """KL of the laws of (x_t, x_{t-1}), from their 2-by-2 covariances."""

    def both(law: Normal, k: Kernel) -> tuple[np.ndarray, np.ndarray]:
        v, a = law.variance, k.slope
        return np.array([law.mean, a * law.mean + k.shift]), np.array([[v, a * v], [a * v, a * a * v + k.variance]])

    return gaussian_kl(*both(p, model), *both(q, true))


def exact_kernel(law: Normal, s: Node, t: Node) -> Kernel:
    """q(x_t | x_s) of the noising of N(mean, variance), s noisier than t."""
    there = Normal(t.alpha * law.mean, t.alpha**2 * law.variance + t.sigma**2)
    a = s.alpha / t.alpha
    noise = s.sigma**2 - a * a * t.sigma**2
    here = a * a * there.variance + noise
    slope = a * there.variance / here
    return Kernel(slope, there.mean - slope * a * there.mean, there.variance * noise / here)


@dataclass(frozen=True)
class Chain:
    """Model and truth at every level, and the errors, from noise to data."""

    true: list[Kernel]
    model: list[Kernel]
    q: list[Normal]
    p: list[Normal]

    @property
    def cumulative(self) -> list[float]:
        return [kl(a, b) for a, b in zip(self.p, self.q, strict=True)]

    @property
    def modular(self) -> list[float]:
        return [modular(a, m, k) for a, m, k in zip(self.p, self.model, self.true, strict=False)]

    @property
    def factors(self) -> list[float]:
        """mu_t = (E_cumu(t) − E_mod(t))/E_cumu(t+1), where there is an error to propagate."""
        c = self.cumulative
        return [(c[i + 1] - m) / c[i] for i, m in enumerate(self.modular) if c[i] > 1e-14]


def chain(steps: int = 20, wrong: int | None = None, slip: float = 0.03, offset: float = 0.02, head: float = 0.1) -> Chain:
    """A chain on N(0.5, 0.6²) with kernels off by ``slip`` in slope and ``offset`` in shift (the first ``wrong`` of them, or all), started
    ``head`` off in the mean.

    Returns:
        the Chain: true and model kernels, marginals q and p.
    """
    law = Normal(0.5, 0.36)
    nodes = grid.uniform_lam(VP(), steps, 0.9, 0.05)
    true = [exact_kernel(law, s, t) for s, t in itertools.pairwise(nodes)]
    count = steps if wrong is None else wrong
    model = [Kernel(k.slope * (1.0 - slip), k.shift + offset, k.variance) if i < count else k for i, k in enumerate(true)]
    q = [Normal(n.alpha * law.mean, n.alpha**2 * law.variance + n.sigma**2) for n in nodes]
    p = [Normal(q[0].mean + head, q[0].variance)]
    for k in model:
        p.append(k.after(p[-1]))
    return Chain(true, model, q, p)


def _mixture(n: Normal) -> GaussianMixture:
    return GaussianMixture([1.0], [[n.mean]], n.variance)


def mmd_ratio(made: Chain, bandwidth: float = 0.5) -> float:
    """Largest MMD²/(2 KL) over the levels, for a kernel bounded by one: at most 1 by Pinsker."""
    pairs = zip(made.p, made.q, made.cumulative, strict=True)
    return max(mmd2(_mixture(p), _mixture(q), bandwidth) / (2.0 * c) for p, q, c in pairs if c > 1e-10)


def regularised(weight: float, level: int = 10) -> float:
    """E_cumu after ``level`` steps when the shift of the last of them minimises E_mod + weight E_cumu, the steps before staying wrong."""
    made = chain(wrong=level - 1)
    p, k, q = made.p[level - 1], made.true[level - 1], made.q[level]

    def cost(shift: float) -> float:
        own = Kernel(k.slope, k.shift + shift, k.variance)
        return modular(p, own, k) + weight * kl(own.after(p), q)

    shift = float(minimize_scalar(cost, bracket=(-0.1, 0.1), tol=1e-12).x)
    return kl(Kernel(k.slope, k.shift + shift, k.variance).after(p), q)


def _draw() -> Figure:
    def draw(left: Axes, right: Axes) -> None:
        made, once = chain(), chain(wrong=5)
        steps = range(len(made.cumulative))
        left.plot(steps, made.cumulative, "o-", color=VERMILLION, markeredgecolor="white", label="E_cumu, all kernels wrong")
        total = made.cumulative[0] + np.concatenate([[0.0], np.cumsum(made.modular)])
        left.plot(steps, total, color=MUTED, linestyle=(0, (1.5, 1.5)), label="KL of the paths: Σ E_mod")
        left.plot(steps, once.cumulative, "s-", color=BLUE, markeredgecolor="white", label="E_cumu, exact after 5 steps")
        left.set(title="Errors down the chain", xlabel="steps done", ylabel="KL", yscale="log", ylim=(1e-7, 0.2), xticks=range(0, 21, 5))
        left.legend(loc="lower left")
        right.plot(
            range(1, len(made.factors) + 1), made.factors, "o-", color=VERMILLION, markeredgecolor="white", label="all kernels wrong"
        )
        right.plot(range(1, len(once.factors) + 1), once.factors, "s-", color=BLUE, markeredgecolor="white", label="exact after 5 steps")
        right.axhline(1.0, color=INK, linewidth=1.0)
        right.annotate(
            "printed: μ ≥ 1", (0.98, 1.0), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8.5, color=GREEN
        )
        right.set(title="Amplification factor μ", xlabel="step", ylim=(0.2, 1.2), xticks=range(0, 21, 5))
        right.legend(loc="lower left")

    return sheet(2, draw)


@claim(
    183,
    paper="On error propagation of diffusion models",
    reference="arXiv:2308.05021",
    statement="The cumulative error obeys E_cumu(t) = μ_t E_cumu(t+1) + E_mod(t) with μ_t ≥ 1, so that errors are amplified down the "
    "chain; "
    "the MMD bounds the cumulative error; a regulariser on it lowers it.",
    control="E_mod is not taken off, and is averaged over the true law in the place of the model's; the exact kernel is run "
    "backwards; the kernel of the MMD is "
    "40 times too large; the weight of the regulariser is negative",
    when="the errors are KL of whole paths, where μ_t = 1; between marginals μ_t ≤ 1 by data processing; the MMD bounds KL from below, "
    "MMD² ≤ 2 KL (Pinsker), not from above",
    draw=_draw,
)
def propagation(broken: bool) -> list[Row]:
    """Every term in closed form on a linear Gaussian chain of 20 steps."""
    made, once = chain(), chain(wrong=5)
    rows = [above("least μ_t between marginals", min(made.factors), 1.0, printed=True)]
    rows.append(above("least μ_t through exact kernels, E_mod = 0", min(once.factors[6:]), 1.0, printed=True))
    grown = np.divide(made.cumulative[1:], made.cumulative[:-1])  # E_mod not taken off
    largest = float(grown.max()) if broken else max(made.factors)
    rows.append(below("largest μ_t between marginals", largest, 1.0))
    worst = 0.0
    for i, (true, model) in enumerate(zip(made.true, made.model, strict=True)):
        over = made.q[i] if broken else made.p[i]
        sides = made.cumulative[i] + modular(over, model, true)
        worst = max(worst, abs(joint(made.p[i], made.q[i], model, true) / sides - 1.0))
    rows.append(below("chain rule: KL of (x_t, x_{t−1}) against E_cumu + E_mod", worst, 1e-9, "relative"))
    after = once.cumulative[5:]
    ratios = [b / a for a, b in itertools.pairwise(after)]
    rows.append(below("growth of E_cumu through an exact kernel, largest", max(1.0 / r for r in ratios) if broken else max(ratios), 1.0))
    rows.append(below("E_cumu at the end over 2 MMD² there", 0.5 * made.cumulative[-1] / _mmd_end(made), 1.0, printed=True))
    rows.append(below("MMD²/(2 KL), largest over the levels, kernel bounded by 1", (40.0 if broken else 1.0) * mmd_ratio(made), 1.0))
    rows.append(below("E_cumu with the regulariser over without", regularised(-0.2 if broken else 1.0) / regularised(0.0), 0.9))
    return rows


def _mmd_end(made: Chain) -> float:
    return mmd2(_mixture(made.p[-1]), _mixture(made.q[-1]), 0.5)
