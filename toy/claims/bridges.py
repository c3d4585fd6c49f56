r"""Claim 119: mixtures of bridges on manifolds (arXiv:2310.07216).

A Brownian motion that ends in z at time T has, a time τ before, the drift ∇ log K_τ(x, z): Doob's transform. Its mixture over the z that
belong to x, Σ_k γ_k(x) ∇ log K(x, z_k), is the score of the kernel mixture. The logarithm bridge has the drift log_x(z)/τ instead, which
needs no kernel; the two differ by ½ (1/θ - cot θ) along the ray on S² (½ (1/r - coth r) on H²), to leading order in τ.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scorebed.analytic.heat import HeatMixture, hyperbolic, sphere
from scorebed.analytic.heat.wrapped import wrapped
from scorebed.solvers import EDM, SOLVERS, Node
from scorebed.solvers.space import Sphere, Torus
from scorebed.toy.claims.common import sheet
from scorebed.toy.claims.registry import Row, below, claim, near, order
from scorebed.toy.figures.style import BLUE, GREEN, INK, MUTED, ORANGE, VERMILLION
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.measure.reflected_law import clock_grid
from scorebed.toy.problems.radial_law import RadialChain

STEPS = (6, 12, 24)


def doob_gap(broken: bool) -> float:
    """Largest difference of Σ γ_k ∂ log K from the score of the mixture's density by differences, on S²; broken, with equal γ_k."""
    rng, space = np.random.default_rng(0), Sphere(2)
    means, weights, t = space.uniform(3, rng), np.array([0.2, 0.3, 0.5]), 0.4
    x = space.uniform(20, rng)
    node = EDM().node(math.sqrt(t))
    law = HeatMixture(space, weights, means, 0.0)
    angle = space.distance(x[:, None], means[None])
    log, slope = sphere.kernel(angle, t, 2)
    share = weights * np.exp(log)
    share = np.full_like(share, 1.0 / 3.0) if broken else share / share.sum(1, keepdims=True)
    drift = -(share * slope / angle)[..., None] * space.log(x[:, None], means[None])
    drift = drift.sum(1)
    worst, h = 0.0, 1e-3
    for direction in space.noise(x, rng.standard_normal((2, 20, 3))):
        points = [law.log_prob(space.exp(x, k * h * direction), node) for k in (-2, -1, 1, 2)]
        rate = (points[0] - 8.0 * points[1] + 8.0 * points[2] - points[3]) / (12.0 * h)
        worst = max(worst, float(np.abs(rate - space.inner(x, drift, direction)).max()))
    return worst


def weak_order(name: str, broken: bool) -> tuple[float, float]:
    """The weak order of ``bridge_mixture`` towards the exact law on S² or the circle, and the error with the most steps.

    Exact transition operators, no samples. Broken, the drift is that of kernels of half the age.

    Returns:
        (fitted weak order, weak error with the most steps).
    """
    found = [abs(chain_error(name, n, broken)) for n in STEPS]
    return order_of(STEPS, found).slope, found[-1]


@cache
def chain_error(name: str, n: int, broken: bool = False) -> float:
    """The weak error of the bridge mixture on a space after n steps."""
    space = Sphere(2) if name == "S²" else Torus(1)
    mean = np.array([[1.0, 0.0, 0.0]]) if name == "S²" else np.array([[0.0]])
    chain = (Stale if broken else RadialChain)(HeatMixture(space, [1.0], mean, 0.2), points=24)
    return chain.error(SOLVERS["bridge_mixture"](space=space), clock_grid(n, 0.4, 0.1))


class Stale(RadialChain):
    """Asks the score at half of the time."""

    def denoised(self, x: np.ndarray, node: Node) -> np.ndarray:
        early = EDM().node(node.sigma * math.sqrt(0.5))
        return x + 2.0 * (super().denoised(x, early) - x)


def excess(space: str, t: float, r: float = 1.0, clock: float = 1.0) -> float:
    """∂ log K_t + r/t along the ray: what Doob's drift has over that of the logarithm bridge, negative towards z."""
    at = np.array([r])
    slope = {
        "S²": lambda: sphere.kernel(at, clock * t, 2)[1],
        "H²": lambda: hyperbolic.kernel(at, clock * t, 2)[1],
        "circle": lambda: wrapped(at, clock * t)[1],
    }[space]()
    return float(slope[0]) + r / t


def endings(n: int, broken: bool) -> float:
    """RMS distance to z at the end of n steps of the logarithm bridge on S², over 400 paths; broken, with a tenth of the drift."""
    space, rng = Sphere(2), np.random.default_rng(1)
    z = np.tile([0.0, 0.0, 1.0], (400, 1))
    x = np.tile([1.0, 0.0, 0.0], (400, 1))
    h = 0.5 / n
    for i in range(n):
        left = 0.5 - i * h
        pull = (0.1 if broken else 1.0) * (h / left)
        x = space.exp(x, pull * space.log(x, z) + math.sqrt(h) * space.noise(x, rng.standard_normal(x.shape)))
    return float(np.sqrt(np.mean(space.distance(x, z) ** 2)))


def _draw() -> Figure:
    def draw(left: Axes, right: Axes) -> None:
        angles = np.linspace(0.02, 3.1, 150)
        for t, colour in ((0.05, GREEN), (0.5, ORANGE), (1.5, BLUE)):
            left.plot(angles, -sphere.kernel(angles, t, 2)[1], color=colour, label=f"Doob, τ = {t}")
            left.plot(angles, angles / t, color=colour, linestyle=(0, (1.5, 1.5)), linewidth=1.0)
        left.plot([], [], color=MUTED, linestyle=(0, (1.5, 1.5)), linewidth=1.0, label="logarithm bridge, θ/τ")
        left.set(title="S²: drift towards the end point", xlabel="angle θ to it", ylim=(0, 10))
        left.legend(loc="upper right")
        for name, colour in (("S²", VERMILLION), ("circle", BLUE)):
            found = [abs(chain_error(name, n)) for n in (3, *STEPS)]
            right.plot((3, *STEPS), found, "o-", color=colour, markeredgecolor="white", label=f"mixture of bridges, {name}")
            right.plot((3, *STEPS), found[-1] * STEPS[-1] / np.array((3, *STEPS)), color=INK, linewidth=0.7, linestyle=(0, (1.5, 2)))
        right.set(title="Weak error against the exact law", xlabel="steps", xscale="log", yscale="log")
        right.set_xticks((3, *STEPS), [str(n) for n in (3, *STEPS)])
        right.legend(loc="lower left", title="dotted: order 1", title_fontsize=8.5)

    return sheet(2, draw)


@claim(
    119,
    paper="Riemannian diffusion mixture",
    reference="arXiv:2310.07216",
    statement="The mixture of Brownian bridges has the drift of Doob's transform, the score of the heat-kernel mixture, and carries "
    "the prior to it; "
    "the logarithm bridge needs only the direction of the end point, hits it, and differs from the Brownian bridge by what curvature adds.",
    control="posterior weights are equal, the score is that of another time, the clock is that of Δ, the bridge has a tenth of its pull",
    draw=_draw,
)
def bridge_mixture(broken: bool) -> list[Row]:
    """Drift by differences of the density, exact weak errors on S² and the circle, bridges that end."""
    rows = [below("mixture of Doob drifts against ∇ log p by differences, S²", doob_gap(broken), 1e-8)]
    for name in ("S²", "circle"):
        rate, error = weak_order(name, broken)
        rows.append(order(f"chain of bridges, {name}: weak order of its law", rate, 1.0))
        rows.append(below(f"chain of bridges, {name}: error of E e^{{cos θ}}, {STEPS[-1]} steps", error, 0.03))
    clock = 2.0 if broken else 1.0
    for space, value in (("S²", 0.5 * (1.0 - 1.0 / math.tan(1.0))), ("H²", 0.5 * (1.0 - 1.0 / math.tanh(1.0)))):
        rows.append(near(f"Doob less logarithm, {space}, r = 1, τ = 0.005", excess(space, 0.005, 1.0, clock), value, 0.01))
    rows.append(below("Doob less logarithm, circle, τ = 0.1: curvature is 0", abs(excess("circle", 0.1, 1.0, clock)), 1e-9))
    found = [endings(n, broken) for n in (10, 40, 160)]
    rows.append(order("logarithm bridge: order of the distance to its end in the steps", order_of((10, 40, 160), found).slope, 0.5))
    return rows
