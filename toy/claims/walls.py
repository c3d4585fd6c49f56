r"""Claim 100: reflected diffusion in a box (arXiv:2304.04740).

The reflected kernel on [0, 1] is a sum over images and a cosine series, 1 + 2 Σ e^{-π² n² t/2} cos(πnx) cos(πny). A mixture of such
kernels has the normal score 0 at the walls, so that the probability flow stays inside, and the reverse SDE is reflected too. Weak errors
are those of the exact laws of chains (``toy.measure.reflected_law``), without Monte Carlo.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.integrate import solve_ivp

from scorebed.analytic import GaussianMixture
from scorebed.analytic.heat import HeatMixture
from scorebed.analytic.heat.wrapped import reflected
from scorebed.solvers import EDM, SOLVERS, Node
from scorebed.solvers.space import Box
from scorebed.toy.claims.common import sheet
from scorebed.toy.claims.registry import Row, above, below, claim, near, order
from scorebed.toy.figures.style import BLUE, INK, MUTED, ORANGE, VERMILLION
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.measure.reflected_law import weak_error

STEPS = (16, 32, 64)
FINER = (128, 256, 512)
"""The order of projection shows late: the next term of its error is √h smaller only."""


def series_gap(broken: bool) -> float:
    """Largest difference of the kernel from the cosine series, at times where both are summable; broken, without the odd terms."""
    x, y, worst = np.linspace(0.0, 1.0, 21)[:, None], np.linspace(0.0, 1.0, 21)[None, :], 0.0
    n = np.arange(1.0, 60.0)
    for t in (0.02, 0.1, 0.5):
        decay = 2.0 * np.exp(-0.5 * (math.pi * n) ** 2 * t) * (1.0 - (n % 2 if broken else 0.0))
        series = 1.0 + np.einsum("n,nx,ny->xy", decay, np.cos(math.pi * np.outer(n, x)), np.cos(math.pi * np.outer(n, y)))
        worst = max(worst, float(np.abs(np.exp(reflected(x, y, t)[0]) - series).max()))
    return worst


def law() -> HeatMixture:
    """Two heat kernels in [0, 1], one at the wall."""
    return HeatMixture(Box(1), [0.5, 0.5], [[0.1], [0.4]], 0.01)


def unreflected() -> GaussianMixture:
    """The same kernels without walls."""
    return GaussianMixture([0.5, 0.5], [[0.1], [0.4]], 0.01)


def wall_score(broken: bool) -> float:
    """Largest normal score on the edges of a square, over noise levels."""
    square = HeatMixture(Box(2), [0.5, 0.5], [[0.1, 0.7], [0.4, 0.2]], 0.01)
    free = GaussianMixture([0.5, 0.5], [[0.1, 0.7], [0.4, 0.2]], 0.01)
    along, worst = np.linspace(0.0, 1.0, 11), 0.0
    for sigma in (0.05, 0.2, 0.6):
        node = EDM().node(sigma)
        for axis in (0, 1):
            for wall in (0.0, 1.0):
                x = np.stack([np.full(11, wall), along] if axis == 0 else [along, np.full(11, wall)], axis=-1)
                worst = max(worst, float(np.abs((free if broken else square).score(x, node)[:, axis]).max()))
    return worst


def flowed(broken: bool) -> tuple[float, float]:
    """How far outside [0, 1] the flow goes from σ = 0.02 to 0.5, by an integrator that knows of no wall, and its distance from the exact
    map.

    Returns:
        (how far outside [0, 1], largest distance from the exact map).
    """
    s, t = EDM().node(0.02), EDM().node(0.5)
    x = np.linspace(0.0, 1.0, 41)[:, None]
    target = unreflected() if broken else law()

    def slope(sigma: float, y: np.ndarray) -> np.ndarray:
        return -sigma * np.asarray(target.score(y[:, None], EDM().node(sigma)))[:, 0]

    done = solve_ivp(slope, (s.sigma, t.sigma), x[:, 0], method="DOP853", rtol=1e-11, atol=1e-12)
    out = float(max((-done.y).max(), (done.y - 1.0).max()))
    return out, float(np.abs(done.y[:, -1] - law().flow(x, s, t)[:, 0]).max())


def driftless(name: str) -> float:
    """Error of E cos πx after one step of h = 0.09 of a Brownian motion, against cos(πx) e^{-π² h/2}; Gauss-Hermite in the noise.

    The cosine goes on evenly beyond the walls, so that the rule converges geometrically for a reflected path.

    Returns:
        the largest absolute error, 0 or more.
    """
    s, t, space = EDM().node(0.5), EDM().node(0.4), Box(1)
    z, w = np.polynomial.hermite_e.hermegauss(40)
    x = np.linspace(0.0, 1.0, 11)
    states, noise = np.repeat(x, 40)[:, None], np.tile(z, 11)[:, None]
    out, _ = SOLVERS[name](space=space).step(lambda y, n: y, states, s, t, None, lambda a, b: noise)
    found = np.cos(math.pi * out[:, 0]).reshape(11, 40) @ (w / w.sum())
    exact = np.cos(math.pi * x) * math.exp(-0.5 * math.pi**2 * (s.sigma**2 - t.sigma**2))
    return float(np.abs(found - exact).max())


def matching(broken: bool) -> float:
    """d/dθ E|(1 + θ) s − ∇ log K_t(x|x0)|² at θ = 0 over E|s|², for data at two points; 0 for the true score."""
    node = EDM().node(0.3)
    data, weights = np.array([0.1, 0.4]), np.array([0.3, 0.7])
    points, w = np.polynomial.legendre.leggauss(200)
    x, w = 0.5 * (1.0 + points), 0.5 * w
    logs, slopes = reflected(x[:, None], data[None, :], node.sigma**2)
    joint = w[:, None] * np.exp(logs) * weights
    made: Any = GaussianMixture(weights, data[:, None], 0.0) if broken else HeatMixture(Box(1), weights, data[:, None], 0.0)
    score = np.asarray(made.score(x[:, None], node))
    return abs(float(2.0 * (joint * score * (score - slopes)).sum() / (joint * score**2).sum()))


def thresholds(broken: bool) -> float:
    """Largest difference of one thresholded step (D clipped) from one projected step; broken, with a denoiser that leaves the box."""
    target, s, t, space = law(), EDM().node(0.3), EDM().node(0.25), Box(1)
    x = np.linspace(0.0, 1.0, 51)[:, None]
    noise = np.random.default_rng(0).standard_normal(x.shape)

    def denoise(y: np.ndarray, n: Node) -> np.ndarray:
        return np.asarray(target.denoised(y, n)) + (0.5 if broken else 0.0)

    pair = [SOLVERS[m](space=space).step(denoise, x, s, t, None, lambda a, b: noise)[0] for m in ("thresholded_euler", "projected_euler")]
    return float(np.abs(pair[0] - pair[1]).max())


def _draw() -> Figure:
    def draw(left: Axes, right: Axes) -> None:
        steps = (8, 16, 32, 64, 128, 256)
        for name, colour, rate in (("projected_euler", VERMILLION, 0.5), ("reflected_euler", BLUE, 1.0)):
            errors = [weak_error(SOLVERS[name], n) for n in steps]
            label = f"{'projection' if rate < 1 else 'reflection'}, order {order_of(steps, errors).slope:.2f}"
            left.plot(steps, errors, "o-", color=colour, markeredgecolor="white", label=label)
            left.plot(steps, errors[-1] * (np.array(steps) / steps[-1]) ** -rate, color=MUTED, linewidth=0.7, linestyle=(0, (1.5, 2)))
        left.set(title="Weak error of E cos 2πx, exact chains", xlabel="steps", xscale="log", yscale="log")
        left.set_xticks(steps, [str(n) for n in steps])
        left.legend(loc="lower left")
        x = np.linspace(-0.25, 1.25, 301)
        for sigma, line in ((0.05, "-"), (0.3, (0, (4, 1.5)))):
            node = EDM().node(sigma)
            right.plot(x, np.asarray(unreflected().score(x[:, None], node))[:, 0], color=ORANGE, linestyle=line, label=f"free, σ = {sigma}")
            inside = x[(x >= 0.0) & (x <= 1.0)]
            right.plot(inside, law().score(inside[:, None], node)[:, 0], color=INK, linestyle=line, label=f"reflected, σ = {sigma}")
        right.axvspan(-0.25, 0.0, color=MUTED, alpha=0.12)
        right.axvspan(1.0, 1.25, color=MUTED, alpha=0.12)
        right.set(title="Score, zero at the walls", xlabel="x", ylim=(-25, 25))
        right.legend(loc="lower left")

    return sheet(2, draw)


@claim(
    100,
    paper="Reflected diffusion models",
    reference="arXiv:2304.04740",
    statement="Image sum and cosine series are one kernel; the normal score is 0 at the walls, so that the flow never leaves and "
    "gives the target; "
    "the reverse reflected SDE gives it too, by projection (thresholding) with weak order ½, by reflection with order 1 and without error "
    "where there is no drift; score matching against the reflected kernel is minimised by the true score.",
    control="the kernel loses its odd terms, the score its images; projection and reflection change places; the denoiser leaves the box",
    draw=_draw,
)
def reflected_models(broken: bool) -> list[Row]:
    """Kernel, score, flow, both schemes, loss; all without Monte Carlo."""
    rows = [below("kernel against its cosine series, t = 0.02 … 0.5", series_gap(broken), 1e-12)]
    rows.append(below("largest normal score at the walls of a square", wall_score(broken), 1e-11))
    out, away = flowed(broken)
    rows.append(below("how far the flow leaves [0, 1]", out, 1e-9))
    rows.append(below("the flow against the exact map of the reflected law", away, 1e-7))
    names = ("projected_euler", "reflected_euler")
    first, second = names[::-1] if broken else names
    finer = (16, 32, 64) if broken else FINER
    errors = [weak_error(SOLVERS[first], n) for n in finer]
    rows.append(order("projection: weak order of E cos 2πx", order_of(finer, errors).slope, 0.5))
    rows.append(near("projection: error over that with four times the steps", errors[0] / errors[2], 2.0, 0.3))
    rows.append(order("reflection: weak order of E cos 2πx", order_of(STEPS, [weak_error(SOLVERS[second], n) for n in STEPS]).slope, 1.0))
    rows.append(below("reflection without drift, one step: error of E cos πx", driftless(second), 1e-12))
    rows.append(above("projection without drift, one step: error of E cos πx", driftless(first), 0.01))
    rows.append(below("thresholded step against the projected one", thresholds(broken), 1e-14))
    rows.append(below("derivative of the loss at the true score, relative", matching(broken), 1e-10))
    return rows
