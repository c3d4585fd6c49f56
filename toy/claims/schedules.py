r"""Claim 191: Align Your Steps (arXiv:2404.14507), on laws where everything is known.

The SDE with D frozen over each step from t_i (the ancestral step) has, by Girsanov, a path measure at the divergence

    KLUB = Σ_i ∫_{t_{i+1}}^{t_i} t^{-3} E|D(x_t, t) - D(x_{t_i}, t_i)|² dt

from the true one, and so its output at most that from the true law. D is a martingale backwards in time, E|D_t - D_s|² = E|D_t|² - E|D_s|²;
on N(0, c²), with a(t) = c²/(c² + t²), it is c² (a(t) - a(s)). Small steps h cost h² c⁴/(t² (c² + t²)²) each, and the best density of
nodes is the root of that, uniform in log(t²/(t² + c²)). In u = 1/t² that grid makes 1 + c² u geometric, for which
every derivative of KLUB in an inner node vanishes: it is the optimum at every number of steps. For the ODE, DDIM leaves Π cos Δθ of the
std, θ = arctan(t/c): best uniform in θ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import minimize

from scorebed.analytic import GaussianMixture
from scorebed.analytic.output.klub import klub as exact_klub
from scorebed.analytic.output.moments import moments
from scorebed.solvers import EDM, SOLVERS, Node, grid, trace
from scorebed.toy.claims.common import sheet
from scorebed.toy.claims.registry import Row, below, claim
from scorebed.toy.figures.style import BLUE, GREEN, ORANGE, VERMILLION
from scorebed.toy.measure.output_law import law

HIGH, LOW = 80.0, 0.02


def gain(target: GaussianMixture, t: float) -> float:
    """E|D(x_t, t)|² of a 1-D law, by the trapezoidal rule."""
    node = EDM().node(t)
    spread = math.sqrt(float(target.covariance()[0, 0]) + t * t)
    x = np.linspace(-10.0 * spread, 10.0 * spread, 1201)[:, None]
    density = np.exp(np.asarray(target.log_prob(x, node)))
    return float((density * target.denoised(x, node)[:, 0] ** 2).sum() * (x[1, 0] - x[0, 0]))


def gain_gaussian(c: float, t: float) -> float:
    """The same for N(0, c²)."""
    return c**4 / (c * c + t * t)


def klub(times: Sequence[float], e: object) -> float:
    """Σ ∫ t^{-3} (e(t) − e(t_i)) dt, by 12 Gauss-Legendre points in log t on each step; e(t) = E|D_t|²."""
    points, weights = np.polynomial.legendre.leggauss(12)
    total = 0.0
    for s, t in pairwise(times):
        h = math.log(t / s)
        first = e(s)  # type: ignore[operator]
        for p, w in zip(points, weights, strict=True):
            u = s * math.exp(0.5 * (1.0 + p) * h)
            total -= 0.5 * h * w * u**-2 * (e(u) - first)  # type: ignore[operator]
    return total


def klub_gaussian(times: Sequence[float], c: float) -> float:
    """KLUB on N(0, c²) in closed form."""
    return exact_klub(times, [c * c])


def nodes_of(times: Sequence[float]) -> list[Node]:
    """The grid at these noise levels."""
    return grid.from_times(EDM(), times)


def divergence(times: Sequence[float], c: float, believed: float | None = None) -> float:
    """KL(N(0, c² + t_N²) || law of the output) of the ancestral sampler on N(0, c²), with the D of N(0, believed²); exact."""
    target = GaussianMixture([1.0], [[0.0]], (believed or c) ** 2)
    begin = np.array([[c * c + times[0] ** 2]])
    out = float(moments(trace(SOLVERS["ddpm"], nodes_of(times)), target, covariance=begin)[1][0, 0])
    ratio = (c * c + times[-1] ** 2) / out
    return 0.5 * (ratio - 1.0 - math.log(ratio))


def divergence_mixture(times: Sequence[float], target: GaussianMixture) -> float:
    """The same for a 1-D mixture, from the exact law of the output."""
    nodes = nodes_of(times)
    found, truth = law(SOLVERS["ddpm"], target, nodes), target.marginal(nodes[-1])
    spread = math.sqrt(float(truth.covariance()[0, 0]))
    x = np.linspace(-6.0 * spread, 6.0 * spread, 2001)
    logp = np.asarray(truth.log_prob(x[:, None]))
    keep = logp > -40.0
    logq = np.log(np.maximum(found.density(x[keep]), 1e-300))
    return float((np.exp(logp[keep]) * (logp[keep] - logq)).sum() * (x[1] - x[0]))


def by_angle(n: int, c: float) -> list[float]:
    """Uniform in arctan(t/c)."""
    a, b = math.atan(HIGH / c), math.atan(LOW / c)
    return [HIGH, *(c * math.tan(a + (b - a) * i / n) for i in range(1, n)), LOW]


def by_klub(n: int, c: float) -> list[float]:
    """Uniform in log(t²/(t² + c²))."""
    a, b = (-math.log1p((c / t) ** 2) for t in (HIGH, LOW))
    return [HIGH, *(c / math.sqrt(math.expm1(-(a + (b - a) * i / n))) for i in range(1, n)), LOW]


def log_linear(n: int) -> list[float]:
    """n steps of equal length in log sigma."""
    return [HIGH * (LOW / HIGH) ** (i / n) for i in range(n + 1)]


def karras(n: int) -> list[float]:
    """n steps of the EDM grid."""
    return [node.t for node in grid.karras(EDM(), n, HIGH, LOW)]


def missing(times: Sequence[float], c: float) -> float:
    """−log Π cos Δθ: what DDIM leaves of the std of N(0, c²)."""
    angles = [math.atan(t / c) for t in times]
    return -sum(math.log(math.cos(b - a)) for a, b in pairwise(angles))


def optimised(cost: object, start: Sequence[float]) -> list[float]:
    """The times with the least cost, by a quasi-Newton method in log t from ``start``."""
    inner = np.log(start[1:-1])

    def value(z: np.ndarray) -> float:
        times = [HIGH, *np.exp(z), LOW]
        return float(cost(times)) if all(a > b for a, b in pairwise(times)) else 1e9  # type: ignore[operator]

    done = minimize(value, inner, method="L-BFGS-B", options={"maxiter": 400, "ftol": 1e-15, "gtol": 1e-10})
    return [HIGH, *(float(t) for t in np.exp(done.x)), LOW]


def _draw() -> Figure:
    def draw(left: Axes, right: Axes) -> None:
        c, counts = 0.5, (3, 5, 7, 10, 15, 20)
        kinds = (("log-linear", log_linear, VERMILLION), ("EDM, ρ = 7", karras, ORANGE))
        for label, kind, colour in kinds:
            left.plot(counts, [divergence(kind(n), c) for n in counts], "o-", color=colour, markeredgecolor="white", label=label)
            right.plot(counts, [missing(kind(n), c) for n in counts], "o-", color=colour, markeredgecolor="white", label=label)
        found = [by_klub(n, c) for n in counts]
        left.plot(counts, [divergence(t, c) for t in found], "s-", color=BLUE, markeredgecolor="white", label="least KLUB")
        left.plot(counts, [klub_gaussian(t, c) for t in found], color=BLUE, linestyle=(0, (1.5, 1.5)), label="its KLUB, the bound")
        angles = [missing(by_angle(n, c), c) for n in counts]
        right.plot(counts, angles, "s-", color=GREEN, markeredgecolor="white", label="uniform in arctan(σ/c)")
        right.plot(counts, [missing(t, c) for t in found], "D-", color=BLUE, markeredgecolor="white", label="least KLUB")
        left.set(title="SDE: KL of the output, N(0, ½²)", xlabel="steps", yscale="log")
        right.set(title="ODE: −log of what is left of the std", xlabel="steps", yscale="log")
        for axis in (left, right):
            axis.set_xticks(counts)
            axis.legend(loc="lower left")

    return sheet(2, draw)


@cache
def _on_two_modes() -> float:
    """KL over KLUB for two modes and 10 log-linear steps."""
    times, mixture = log_linear(10), GaussianMixture([0.4, 0.6], [[-0.5], [0.4]], [0.04, 0.09])
    return divergence_mixture(times, mixture) / klub(times, lambda t: gain(mixture, t))


@cache
def _least_klub(n: int, c: float) -> list[float]:
    return optimised(lambda t: klub_gaussian(t, c), log_linear(n))


@claim(
    191,
    paper="Align Your Steps",
    reference="arXiv:2404.14507",
    statement="KLUB bounds KL(truth || ancestral sampler with D frozen over each step); on N(0, c²) its optimum is uniform in "
    "log(t²/(t² + c²)) for small steps, that of the Euler ODE in arctan(t/c); such schedules beat log-linear and EDM's at 10 steps or "
    "less.",
    when="the optimum for small steps is that of any number of steps, and 'beat' is read in KLUB (the divergence of paths), in the "
    "ODE, or on data "
    "narrow against the range; the divergence of the output alone, a small part of KLUB, may rise",
    control="D belongs to data ten times wider, in the sampler and in the schedules",
    draw=_draw,
)
def align(broken: bool) -> list[Row]:
    """The bound on a Gaussian and on a mixture, both optima, and few steps against the usual schedules."""
    c = 0.5
    wrong = 10.0 * c if broken else c
    cases = [kind(n) for n in (5, 10, 40) for kind in (log_linear, karras)]
    rows = [below("KL / KLUB on N(0, ½²), largest", max(divergence(t, c, wrong) / klub_gaussian(t, c) for t in cases), 1.0)]
    times = log_linear(10)
    worst = abs(klub(times, lambda t: gain_gaussian(wrong, t)) / klub_gaussian(times, c) - 1.0)
    rows.append(below("KLUB by quadrature against its closed form on N(0, ½²)", worst, 1e-9, "relative"))
    rows.append(below("KL / KLUB on two modes, 10 log-linear steps", _on_two_modes(), 1.0, kept=True))
    best = optimised(lambda t: missing(t, c), log_linear(8))
    away = max(abs(math.log(a / b)) for a, b in zip(best, by_angle(8, wrong), strict=True))
    rows.append(below("least Π cos Δθ, 8 steps: log t against uniform arctan(t/c)", away, 1e-3))
    for n in (5, 10):
        found = _least_klub(n, c)
        excess = klub_gaussian(by_klub(n, wrong), c) / klub_gaussian(found, c) - 1.0
        rows.append(below(f"KLUB of uniform log(t²/(t² + c²)) over the least, {n} steps", excess, 1e-9, "relative"))
        usual = min(klub_gaussian(kind(n), c) for kind in (log_linear, karras))
        rows.append(below(f"its KLUB over the better of log-linear and EDM, {n} steps", klub_gaussian(by_klub(n, wrong), c) / usual, 0.35))
        usual = min(missing(kind(n), c) for kind in (log_linear, karras))
        rows.append(below(f"ODE, {n} steps: missing log std over the better of the two", missing(by_angle(n, wrong), c) / usual, 0.8))
        usual = min(divergence(kind(n), 0.02) for kind in (log_linear, karras))
        narrow = divergence(by_klub(n, 50.0 * 0.02 if broken else 0.02), 0.02)
        rows.append(below(f"KL of the output, std 0.02, {n} steps: over the better of the two", narrow / usual, 0.1))
    usual = min(divergence(kind(5), c) for kind in (log_linear, karras))
    rows.append(
        below("KL of the output, std ½, 5 steps: over the better of the two", divergence(by_klub(5, c), c) / usual, 1.0, printed=True)
    )
    return rows
