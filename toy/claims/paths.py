r"""Claim 207: kinetic-optimal Gaussian paths (arXiv:2306.06626).

On x_t = a x1 + m x0, x1 data with E|x1|² = 1 per dimension and x0 noise, the field u = a' E[x1|x_t] + m' E[x0|x_t] has the energy

    E|u|² = (a' - a m'/m)² λ + 2 (a' - a m'/m) (m'/m) a + (m'/m)² (a² + m²),      λ = E|E[x1|x_t]|²/E|x1|²,

with λ a function of a/m: the data enters through λ alone. It is a metric on the quarter plane of (a, m), and the optimal path its
geodesic from (0, 1) to (1, 0). In polar coordinates a = r sin φ, m = r cos φ it reads dr² + r² dψ², dψ = sqrt(E|w|²) dφ with w the field
of the circle r = 1, because E|x_t|² = 1 there. That is a flat plane (E|w|² = 1 − κ below): the optimal path is a straight line in (r, ψ),
with energy 4 sin²(Ψ/2), Ψ = ψ(π/2). For λ = 1, ψ = φ and it is Cond-OT; for N(0, 1), Ψ = 0 and it is the circle.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.interpolate import CubicSpline

from scorebed.analytic import GaussianMixture, from_data
from scorebed.analytic.distance import wasserstein
from scorebed.solvers import Node
from scorebed.toy.claims.common import sheet
from scorebed.toy.claims.registry import Row, above, below, claim
from scorebed.toy.figures.style import BLUE, GREEN, VERMILLION

FINE = 2400
"""Steps of time of a path that Euler's method walks: the optimal one is not smooth at its beginning."""
Kappa = Callable[[float, float], float]
Path = tuple[np.ndarray, np.ndarray]
"""a and m at equal steps of time from (0, 1) to (1, 0)."""


def node(a: float, m: float) -> Node:
    """The node x = a x0 + m eps, m its time."""
    return Node(m, a, m, math.log(a / m) if a > 0.0 and m > 0.0 else math.inf if a else -math.inf)


def quadrature(target: GaussianMixture, a: float, m: float) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights for expectations over the law of x_t in one dimension."""
    spread = math.hypot(a, m)
    x = np.linspace(-9.0 * spread, 9.0 * spread, 2401)[:, None]
    w = np.exp(np.asarray(target.log_prob(x, node(a, m))))
    return x, w / w.sum()


def separation(target: GaussianMixture, a: float, m: float) -> float:
    """λ = E|E[x1|x_t]|²/E|x1|²."""
    x, w = quadrature(target, a, m)
    second = float(target.covariance()[0, 0] + target.mean()[0] ** 2)
    return float(w @ target.denoised(x, node(a, m))[:, 0] ** 2) / second


def energy(a: float, m: float, da: float, dm: float, lam: float) -> float:
    """E|u|² by the formula, for data of second moment 1."""
    r = da - a * dm / m
    return r * r * lam + 2.0 * r * (dm / m) * a + (dm / m) ** 2 * (a * a + m * m)


def energy_direct(target: GaussianMixture, a: float, m: float, da: float, dm: float) -> float:
    """E|a' E[x1|x] + m' E[x0|x]|² by quadrature."""
    x, w = quadrature(target, a, m)
    clean, noise = target.denoised(x, node(a, m))[:, 0], target.eps(x, node(a, m))[:, 0]
    return float(w @ (da * clean + dm * noise) ** 2)


@cache
def two() -> GaussianMixture:
    """Two modes of second moment 1."""
    return GaussianMixture([0.5, 0.5], [[-0.95], [0.95]], 1.0 - 0.95**2)


def stable_energy(a: float, m: float, da: float, dm: float, kappa: float) -> float:
    """The same in κ = (1 − λ)(a² + m²)/m², without cancellation as m -> 0: κ = 1 for N(0, 1), 0 for λ = 1."""
    k = kappa / (a * a + m * m)
    return (1.0 - m * m * k) * da * da + 2.0 * a * m * k * da * dm + (1.0 - a * a * k) * dm * dm


@cache
def table() -> CubicSpline:
    """κ of two modes against the angle atan2(a, m)."""
    angles = np.linspace(0.02, 0.5 * math.pi - 0.02, 60)
    return CubicSpline(angles, [(1.0 - separation(two(), math.sin(p), math.cos(p))) / math.cos(p) ** 2 for p in angles])


def kappa_of(a: float, m: float) -> float:
    """kappa at the angle of (a, m)."""
    return float(table()(math.atan2(a, m)))


def kinetic(path: Path, kappa: Kappa) -> float:
    """∫ E|u|² dt, by the middle of every step."""
    a, m = path
    n = len(a) - 1
    total = 0.0
    for i in range(n):
        here = 0.5 * (a[i] + a[i + 1]), 0.5 * (m[i] + m[i + 1])
        total += stable_energy(*here, n * (a[i + 1] - a[i]), n * (m[i + 1] - m[i]), kappa(*here)) / n
    return total


def straight(n: int = FINE) -> Path:
    """Cond-OT: a = t, m = 1 − t."""
    t = np.linspace(0.0, 1.0, n + 1)
    return t, 1.0 - t


def circle(n: int = FINE) -> Path:
    """Variance preserving: a = sin, m = cos."""
    t = 0.5 * math.pi * np.linspace(0.0, 1.0, n + 1)
    return np.sin(t), np.cos(t)


def turned(kappa: Kappa, points: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Angles φ from 0 to π/2 and ψ(φ) = ∫ sqrt(E|w|²) dφ, w the field of the circle at unit speed."""
    phi = np.linspace(1e-9, 0.5 * math.pi - 1e-9, points + 1)
    speed = [
        math.sqrt(max(stable_energy(math.sin(p), math.cos(p), math.cos(p), -math.sin(p), kappa(math.sin(p), math.cos(p))), 0.0))
        for p in phi
    ]
    return phi, np.concatenate([[0.0], np.cumsum(0.5 * np.diff(phi) * (np.array(speed[1:]) + speed[:-1]))])


def least(kappa: Kappa) -> float:
    """4 sin²(Ψ/2), the energy of the optimal path."""
    return 4.0 * math.sin(0.5 * float(turned(kappa)[1][-1])) ** 2


def optimal(kappa: Kappa, n: int = FINE, bend: float = 0.0) -> Path:
    """The straight line in the flat plane of (r, ψ); ``bend`` pushes it out by that share in the middle."""
    phi, psi = turned(kappa)
    t = np.linspace(0.0, 1.0, n + 1)
    x, y = 1.0 - t + t * math.cos(psi[-1]), t * math.sin(psi[-1])
    r = np.hypot(x, y) * (1.0 + bend * np.sin(math.pi * t))
    at = np.interp(np.arctan2(y, x), psi, phi)
    a, m = r * np.sin(at), r * np.cos(at)
    a[0], a[-1], m[0], m[-1] = 0.0, 1.0, 1.0, 0.0
    return a, np.maximum(m, 0.0)


def few_steps(path: Path, target: GaussianMixture, steps: int) -> float:
    """W2 to the exact law of the output of Euler's method on the field of the path, in equal steps of time from 0.02 to 0.98, by 400
    quantiles.

    At t = 0 itself the field of the optimal path is infinite: near noise all data of unit second moment looks normal, dψ ~ φ² dφ, a ~
    t^{1/3}.

    Returns:
        W2 distance, 0 or more.
    """
    t = np.linspace(0.0, 1.0, len(path[0]))
    rates = np.gradient(path[0], t), np.gradient(path[1], t)

    def at(s: float, values: Path) -> tuple[float, float]:
        return float(np.interp(s, t, values[0])), float(np.interp(s, t, values[1]))

    first, last = 0.02, 0.98
    x = np.asarray(target.marginal(node(*at(first, path))).quantile((np.arange(400) + 0.5) / 400))[:, None]
    h = (last - first) / steps
    for i in range(steps):
        here, (da, dm) = node(*at(first + i * h, path)), at(first + i * h, rates)
        x = x + h * (da * target.denoised(x, here) + dm * target.eps(x, here))
    return wasserstein(x[:, 0], target.marginal(node(*at(last, path))), 2)


def separated(d: int, n: int = 4) -> float:
    """1 − λ at a/m = 0.5 for n random points of norm sqrt(d) in d dimensions; 400 fixed draws."""
    rng = np.random.default_rng(5)
    data = rng.standard_normal((n, d))
    data *= math.sqrt(d) / np.linalg.norm(data, axis=1, keepdims=True)
    target, at = from_data(data, 0.0), node(0.5, 1.0)
    x = target.sample(400, rng, at)
    return 1.0 - float(np.square(target.denoised(x, at)).sum(1).mean()) / d


def _draw() -> Figure:
    def draw(left: Axes, right: Axes) -> None:
        curves = ((straight(), VERMILLION, "Cond-OT"), (circle(), BLUE, "variance preserving"), (optimal(kappa_of), GREEN, "optimal"))
        for path, colour, label in curves:
            size = kinetic((path[0][::25], path[1][::25]), kappa_of)
            left.plot(*path, color=colour, linewidth=1.0)
            left.plot(path[0][::100], path[1][::100], "o", color=colour, markersize=3.0, label=f"{label}: energy {size:.3f}")
            steps = (2, 3, 4, 6, 8, 12, 16)
            found = [few_steps(path, two(), k) for k in steps]
            right.plot(steps, found, "o-", color=colour, markeredgecolor="white", label=label)
        left.set(title="Paths between noise and two modes", xlabel="a, share of the data", ylabel="m, share of the noise", aspect="equal")
        left.legend(loc="lower left", bbox_to_anchor=(0.0, 0.02))
        right.set(title="Euler's method on the path", xlabel="steps", ylabel="W2", xscale="log", yscale="log")
        right.set_xticks(steps, [str(k) for k in steps])
        right.legend(loc="lower left")

    return sheet(2, draw, 4.4)


@claim(
    207,
    paper="Kinetic-optimal Gaussian paths",
    reference="arXiv:2306.06626",
    statement="The energy of a Gaussian path depends on the data only through λ = E|E[x1|x_t]|²/E|x1|²; for N(0, I) it is 0 on a² + "
    "m² = 1; "
    "λ → 1 for n points in d dimensions as n/√d → 0, and then Cond-OT is optimal; in between the optimal path has less energy than both, "
    "and a smaller error in few steps.",
    control="the cross term of the formula is left out, the circle and the line change places, the points share one dimension, the "
    "path is bent",
    draw=_draw,
)
def kinetic_optimal(broken: bool) -> list[Row]:
    """The formula by quadrature on two modes, both limits, and the geodesic between."""
    rows, worst = [], 0.0
    for a, m, da, dm in ((0.3, 0.8, 1.0, -1.0), (0.6, 0.6, 0.7, -0.4), (0.9, 0.2, 1.2, -1.3)):
        lam = separation(two(), a, m)
        formula = energy(a, m, da, dm, lam) - (2.0 * (da - a * dm / m) * (dm / m) * a if broken else 0.0)
        worst = max(worst, abs(formula / energy_direct(two(), a, m, da, dm) - 1.0))
    rows.append(below("E|u|² on two modes, formula in λ against quadrature", worst, 1e-8, "relative"))

    def normal(a: float, m: float) -> float:
        return 1.0

    round_, line = (straight(96), circle(96)) if broken else (circle(96), straight(96))
    rows.append(below("energy of the circle on N(0, 1)", kinetic(round_, normal), 1e-6))
    gap = 1.0 - separated(1 if broken else 4096, 4)
    rows.append(above("λ of 4 points in 4096 dimensions, a/m = ½", gap, 1.0 - 1e-6))
    sizes = [max(separated(1 if broken else d), 1e-12) for d in (4, 16, 64, 256)]
    rows.append(below("1 − λ from d = 4 to 16, 64, 256: largest ratio", max(b / a for a, b in itertools.pairwise(sizes)), 0.7))
    rows.append(below("λ = 1: energy of Cond-OT over the least", kinetic(line, lambda a, m: 0.0) / least(lambda a, m: 0.0), 1.0 + 1e-4))
    best = optimal(kappa_of, 96, 0.2 if broken else 0.0)
    rows.append(
        below("two modes: energy of the optimal path against 4 sin²(Ψ/2)", abs(kinetic(best, kappa_of) / least(kappa_of) - 1.0), 0.01)
    )
    bends = [kinetic(optimal(kappa_of, 96, (0.2 if broken else 0.0) + e), kappa_of) / kinetic(best, kappa_of) for e in (-0.05, 0.05)]
    rows.append(above("two modes: energy of bent paths over the optimal", min(bends), 1.0 + 1e-4))
    ratio = kinetic(circle(96) if broken else best, kappa_of) / min(kinetic(straight(96), kappa_of), kinetic(circle(96), kappa_of))
    rows.append(below("two modes: energy of the optimal path over the lesser of both", ratio, 0.99))
    for steps in (6, 10):
        error = few_steps(straight() if broken else optimal(kappa_of), two(), steps)
        lesser = min(few_steps(straight(), two(), steps), few_steps(circle(), two(), steps))
        rows.append(below(f"two modes: W2 after {steps} Euler steps from t = 0.02 over the lesser of both", error / lesser, 0.95))
    return rows
