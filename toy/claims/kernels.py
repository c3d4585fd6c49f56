r"""Claim 143: heat kernels on symmetric spaces (arXiv:2310.20030), with the clock of ½Δ.

S²: K_t(θ) = (1/4π) Σ (2l+1) P_l(cos θ) e^{-l(l+1)t/2}, and for small t (Schwinger-DeWitt)

    K_t(θ) = (2πt)^{-1} e^{-θ²/2t} sqrt(θ/sin θ) (1 + a_1 t + …),     a_1 = (1 + (1 - θ cot θ)/θ²)/8.

Varadhan's ∇ log K = log_x(x0)/t is its leading term; next comes ½ (1/θ - cot θ) along the ray.
"""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import eval_legendre

from scorebed.analytic.heat import rotation, sphere
from scorebed.analytic.heat.radial import radial_of
from scorebed.solvers.space import Sphere
from scorebed.toy.claims.common import sheet
from scorebed.toy.claims.registry import Row, below, claim, near, order
from scorebed.toy.figures.style import BLUE, GREEN, INK, MUTED, ORANGE, VERMILLION

THETA = np.linspace(0.05, 3.0, 16)


def series(theta: np.ndarray, t: float, clock: float = 0.5) -> np.ndarray:
    """The eigen-series on S², to e^{-80}."""
    l = np.arange(0, 4 + int(math.sqrt(160.0 / t)))
    terms = (2 * l + 1) * np.exp(-clock * l * (l + 1) * t) / (4.0 * math.pi)
    return np.asarray(eval_legendre(l[:, None], np.cos(theta)).T @ terms)


def expansion(theta: np.ndarray, t: float, terms: int) -> np.ndarray:
    """The small-time expansion with one or two terms."""
    lead = np.exp(-0.5 * theta**2 / t) * np.sqrt(theta / np.sin(theta)) / (2.0 * math.pi * t)
    return lead * (1.0 + (terms - 1) * t * (1.0 + (1.0 - theta / np.tan(theta)) / theta**2) / 8.0)


def exact(theta: np.ndarray, t: float) -> np.ndarray:
    """The heat kernel of S² at the angle theta."""
    return np.exp(sphere.kernel(theta, t, 2)[0])


def expansion_order(terms: int) -> float:
    """The exponent in t of the relative error on θ in [0.2, 1.5]."""
    theta, times = np.linspace(0.2, 1.5, 6), np.array([0.02, 0.01, 0.005])
    errors = [float(np.abs(expansion(theta, float(t), terms) / exact(theta, float(t)) - 1.0).max()) for t in times]
    return float(np.polyfit(np.log(times), np.log(errors), 1)[0])


def mass(t: float) -> tuple[float, float]:
    """Total mass on S² and on SO(3) less one."""
    points, w = np.polynomial.legendre.leggauss(80)
    theta, w = 0.5 * math.pi * (1.0 + points), 0.5 * math.pi * w
    two = float(w @ (2.0 * math.pi * np.sin(theta) * exact(theta, t)))
    group = float(w @ (16.0 * math.pi * np.sin(0.5 * theta) ** 2 * np.exp(rotation.kernel(theta, t)[0])))
    return abs(two - 1.0), abs(group - 1.0)


def heat_residual(t: float, clock: float = 0.5) -> float:
    """Largest |∂_t K − clock (K″ + cot θ K′)| over |∂_t K|'s size, by central differences of sixth order."""
    theta, h = np.linspace(0.3, 2.8, 9), 2e-2
    dt = 2e-3 * t
    offsets, first, second = (
        np.arange(-3, 4),
        np.array([-1, 9, -45, 0, 45, -9, 1]) / 60.0,
        np.array([2, -27, 270, -490, 270, -27, 2]) / 180.0,
    )
    values = np.array([exact(theta + k * h, t) for k in offsets])
    rate = first @ np.array([exact(theta, t + int(k) * dt) for k in offsets]) / dt
    bent = second @ values / h**2 + (first @ values / h) / np.tan(theta)
    return float(np.abs(rate - clock * bent).max() / np.abs(rate).max())


def semigroup(s: float, t: float, whole: float) -> float:
    """Largest |∫ K_s(x, z) K_t(z, y) dz − K_whole(x, y)|, by Gauss-Legendre in cos and equal angles around."""
    u, w = np.polynomial.legendre.leggauss(32)
    phi = 2.0 * math.pi * np.arange(48) / 48
    ring = np.sqrt(1.0 - u * u)
    worst = 0.0
    first = exact(np.arccos(u), s)
    for theta in (0.1, 2.0):
        cosine = np.outer(u, [math.cos(theta)] * 48) + np.outer(ring * math.sin(theta), np.cos(phi))
        inner = exact(np.arccos(np.clip(cosine, -1.0, 1.0)), t).mean(1) * 2.0 * math.pi
        worst = max(worst, abs(float(w @ (first * inner)) - float(exact(np.array([theta]), whole)[0])))
    return worst


def varadhan(t: float, corrected: bool = False) -> float:
    """Relative bias of −θ/t for ∂_θ log K at θ = 1; corrected, of −θ/t + ½ (1/θ − cot θ)."""
    rate = -1.0 / t + (0.5 * (1.0 - 1.0 / math.tan(1.0)) if corrected else 0.0)
    return float(abs(rate / sphere.kernel(np.array([1.0]), t, 2)[1][0] - 1.0))


def kolmogorov_smirnov(t: float, drawn_at: float, n: int = 4000) -> float:
    """√n times the KS distance of n radii on S² from the law at t, by quadrature of the kernel."""
    radial = radial_of(Sphere(2))
    assert radial is not None
    r = np.sort(radial.law(drawn_at).sample(n, np.random.default_rng(3)))
    grid = np.linspace(0.0, math.pi, 501)
    density = 2.0 * math.pi * np.sin(grid) * exact(grid, t)
    total = np.concatenate([[0.0], np.cumsum(0.5 * np.diff(grid) * (density[1:] + density[:-1]))])
    f = np.interp(r, grid, total)
    ranks = np.arange(n + 1) / n
    return math.sqrt(n) * float(max((ranks[1:] - f).max(), (f - ranks[:-1]).max()))


def gap(space: str, clock: float = 1.0) -> float:
    """The rate at which the kernel at the pole tends to 1/volume."""
    at = np.array([1e-6])
    logs = {
        "S2": lambda t: sphere.kernel(at, t, 2)[0][0] + math.log(4.0 * math.pi),
        "S3": lambda t: sphere.kernel(at, t, 3)[0][0] + sphere.log_area(3),
        "SO3": lambda t: rotation.kernel(at, t)[0][0] + rotation.LOG_VOLUME,
    }[space]
    return -float(math.log(math.expm1(logs(clock * 10.0)) / math.expm1(logs(clock * 8.0)))) / 2.0


def _draw() -> Figure:
    def draw(left: Axes, right: Axes) -> None:
        times = np.geomspace(0.003, 2.0, 30)
        theta = np.linspace(0.2, 1.5, 14)
        for terms, colour, label in ((1, VERMILLION, "leading term"), (2, BLUE, "two terms")):
            found = [np.abs(expansion(theta, float(t), terms) / exact(theta, float(t)) - 1.0).max() for t in times]
            left.plot(times, found, color=colour, label=f"expansion, {label}")
        found = [max(np.abs(series(theta, float(t)) / exact(theta, float(t)) - 1.0).max(), 1e-17) for t in times]
        left.plot(times, found, color=INK, label="eigen-series")
        left.set(title="S²: relative error, θ in [0.2, 1.5]", xlabel="t", xscale="log", yscale="log", ylim=(1e-17, 1e3))
        left.legend(loc="lower left")
        angles = np.linspace(0.05, 3.1, 120)
        for t, colour in ((0.05, GREEN), (0.3, ORANGE), (1.0, BLUE)):
            right.plot(angles, t * sphere.kernel(angles, t, 2)[1], color=colour, label=f"t = {t}")
        right.plot(angles, -angles, color=MUTED, linestyle=(0, (1.5, 1.5)), label="Varadhan, −θ")
        right.set(title="S²: t ∂ log K / ∂θ", xlabel="θ")
        right.legend(loc="lower left")

    return sheet(2, draw)


@claim(
    143,
    paper="Scaling Riemannian diffusion models",
    reference="arXiv:2310.20030",
    statement="Eigen-series and small-time expansion are one kernel where both can be used; it has mass 1, satisfies the heat "
    "equation and the "
    "semigroup law; Varadhan's score log_x(x0)/t is off by O(t); radii drawn from it pass a KS test; the clock is fixed by the "
    "spectral gap.",
    control="the clock of Δ in the place of ½Δ (times doubled), one term more or fewer in the expansions, S³ for S²",
    draw=_draw,
)
def heat_kernels(broken: bool) -> list[Row]:
    """S², S³ and SO(3)."""
    clock = 1.0 if broken else 0.5
    worst = max(float(np.abs(series(THETA, t, clock) - exact(THETA, t)).max()) for t in (0.2, 0.5, 1.0))
    rows = [below("S²: eigen-series against the small-time integral, t = 0.2 … 1", worst, 1e-12)]
    rows.append(order("S²: order in t of the error of the leading term", expansion_order(2 if broken else 1), 1.0))
    rows.append(order("S²: order in t with the second term", expansion_order(1 if broken else 2), 2.0))
    masses = [max(m[0] for m in map(mass, (0.05, 0.5, 2.0))), max(m[1] for m in map(mass, (0.05, 0.5, 2.0)))]
    if broken:  # the area of the wrong sphere
        points, w = np.polynomial.legendre.leggauss(200)
        theta, w = 0.5 * math.pi * (1.0 + points), 0.5 * math.pi * w
        masses = [abs(float(w @ (4.0 * math.pi * np.sin(theta) ** 2 * exact(theta, 0.5))) - 1.0)] * 2
    rows.append(below("mass less one, S²", masses[0], 1e-11))
    rows.append(below("mass less one, SO(3)", masses[1], 1e-11))
    rows.append(below("heat equation, S² at t = 0.5", heat_residual(0.5, clock), 1e-6, "relative"))
    rows.append(below("semigroup, S²: 0.2 and 0.3 make 0.5", semigroup(0.2, 0.3, 1.0 if broken else 0.5), 1e-11))
    times = np.array([0.02, 0.01, 0.005])
    expected = 0.5 * (1.0 - 1.0 / math.tan(1.0))
    scale = 2.0 if broken else 1.0
    rows.append(near("Varadhan's score at θ = 1: bias over t ½(1/θ − cot θ)", varadhan(scale * 0.01) / (0.01 * expected), 1.0, 0.03))
    biases = [varadhan(float(t), broken) for t in times]
    rows.append(order("order of that bias in t", float(np.polyfit(np.log(times), np.log(biases), 1)[0]), 1.0))
    rows.append(below("KS of 4000 radii on S², t = 0.5", kolmogorov_smirnov(0.5, scale * 0.5), 1.63, "1/√n"))
    for space, value in (("S2", 1.0), ("S3", 1.5), ("SO3", 1.0)):
        rows.append(near(f"spectral gap, {space}", gap(space, scale), value, 1e-4))
    return rows
