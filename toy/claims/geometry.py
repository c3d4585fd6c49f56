r"""Claim 255: the geometry of sampling on VE (arXiv:2305.19947).

Euler's step on dx/dsigma = (x - D)/sigma is the convex combination x' = (s'/s) x + (1 - s'/s) D(x). For a data set, D is the mean shift
with the Gaussian kernel: x -> D(x) never lowers the density at that noise level. Paths stay in the span of where they began and of the
data.
"""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scorebed.analytic import GaussianMixture, from_data
from scorebed.solvers import EDM, SOLVERS, grid, sample
from scorebed.toy.claims.common import sheet
from scorebed.toy.claims.registry import Row, above, below, claim
from scorebed.toy.figures.style import BLUE, GREEN, MUTED, VERMILLION

DIM, COUNT = 20, 6


def truth() -> GaussianMixture:
    """Three modes in 20 dimensions, of mean 0, from which the data set is drawn."""
    rng = np.random.default_rng(2)
    means = rng.standard_normal((3, DIM)) * 1.5
    return GaussianMixture(np.full(3, 1.0 / 3.0), means - means.mean(0), 0.25)


def data() -> np.ndarray:
    """A data set of the mean of its law, which no denoiser forgets at any noise level."""
    drawn = truth().sample(COUNT, 4)
    return drawn - drawn.mean(0) + truth().mean()


def mean_shift(factor: float = 1.0) -> float:
    """Least gain of log p_σ from x to x + factor (D(x) − x), over 300 states at each of five noise levels."""
    law, least = from_data(data(), 0.0), math.inf
    for s in (0.2, 0.5, 1.0, 2.0, 5.0):
        node = EDM().node(s)
        x = law.sample(300, 7, node)
        to = x + factor * (law.denoised(x, node) - x)
        least = min(least, float((law.log_prob(to, node) - law.log_prob(x, node)).min()))
    return least


def paths(n: int = 60, count: int = 12, law: GaussianMixture | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise levels (n + 1,), states and denoised states (n + 1, count, d) of Heun's method on the data set, from σ = 30 to 0.01."""
    law = law or from_data(data(), 0.0)
    nodes = grid.karras(EDM(), n, 30.0, 0.01)
    x = 30.0 * np.random.default_rng(8).standard_normal((count, DIM))
    run = sample(SOLVERS["heun"], law.denoised, x, nodes, terminal="none", record=True)
    states = np.array(run.xs)
    return np.array([v.sigma for v in nodes]), states, np.array([law.denoised(x, v) for x, v in zip(states, nodes, strict=True)])


def residual(states: np.ndarray) -> float:
    """Largest distance of a path from the line between its ends, over its length."""
    chord = states[-1] - states[0]
    length = np.linalg.norm(chord, axis=-1)
    unit = chord / length[:, None]
    away = states - states[0]
    away = away - np.einsum("tnd,nd->tn", away, unit)[..., None] * unit
    return float((np.linalg.norm(away, axis=-1) / length).max())


def outside(states: np.ndarray) -> float:
    """Largest part of a path outside the span of its beginning and the data, over its size there."""
    worst = 0.0
    for i in range(states.shape[1]):
        basis, _ = np.linalg.qr(np.vstack([states[0, i], data()]).T)
        left = states[:, i] - states[:, i] @ basis @ basis.T
        worst = max(worst, float((np.linalg.norm(left, axis=-1) / np.linalg.norm(states[:, i], axis=-1)).max()))
    return worst


def settled(sigmas: np.ndarray, curve: np.ndarray, part: float = 0.1) -> float:
    """Geometric mean over paths of the σ below which a path stays within ``part`` of its first distance from its end."""
    gap = np.linalg.norm(curve - curve[-1], axis=-1)
    near = gap <= part * np.linalg.norm(data(), axis=-1).mean()
    first = [sigmas[len(sigmas) - int(np.argmin(near[::-1, i]))] if not near[:, i].all() else sigmas[0] for i in range(gap.shape[1])]
    return float(np.exp(np.mean(np.log(first))))


def deviation(sigma: float) -> float:
    """E|D_data − D_truth|² over the trace of the truth's covariance, at states that come from the data; fixed draws."""
    law, full, node = from_data(data(), 0.0), truth(), EDM().node(sigma)
    x = law.sample(400, 11, node)
    away = law.denoised(x, node) - full.denoised(x, node)
    return float(np.square(away).sum(1).mean() / np.trace(full.covariance()))


def _draw() -> Figure:
    def draw(left: Axes, right: Axes) -> None:
        sigmas, states, clean = paths()
        scale = np.linalg.norm(data(), axis=-1).mean()
        for curve, colour, label in ((states, VERMILLION, "x"), (clean, BLUE, "D(x)")):
            gap = np.linalg.norm(curve - curve[-1], axis=-1) / scale
            left.plot(sigmas[:-1], gap[:-1], color=colour, linewidth=0.7, alpha=0.5)
            left.plot([], [], color=colour, label=f"{label}, 12 paths")
        left.axhline(0.1, color=MUTED, linewidth=0.8)
        left.set(title="Distance from the end", xlabel="σ, falling", ylabel="over |data|", xscale="log", yscale="log", ylim=(1e-4, 1e2))
        left.invert_xaxis()
        left.legend(loc="upper right")
        levels = np.geomspace(0.02, 100.0, 30)
        right.plot(levels, [deviation(float(s)) for s in levels], color=GREEN)
        right.set(title="Data set against the law it came from", xlabel="σ, falling", ylabel="E|D_data − D_law|² / tr Cov", xscale="log")
        right.invert_xaxis()

    return sheet(2, draw)


@claim(
    255,
    paper="A geometric perspective on diffusion models",
    reference="arXiv:2305.19947",
    statement="On VE Euler's step is a convex combination of x and D(x); D of a data set is the mean shift and never lowers the density; "
    "paths are nearly straight and stay in the span of the noise and the data; D settles earlier than x; the memorising denoiser "
    "differs from "
    "the true one at intermediate noise only.",
    control="the step goes 2.5 times as far as D; Heun's step for Euler's; the states and D change places; a score not of the data is "
    "added",
    draw=_draw,
)
def geometric(broken: bool) -> list[Row]:
    """Identities to round-off and paths of a data set in 20 dimensions."""
    law, s, t = from_data(data(), 0.0), EDM().node(3.0), EDM().node(1.0)
    x = law.sample(50, 3, s)
    euler = sample(SOLVERS["heun" if broken else "euler"], law.denoised, x, [s, t], terminal="none")
    convex = (t.sigma / s.sigma) * x + (1.0 - t.sigma / s.sigma) * law.denoised(x, s)
    rows = [below("Euler's step against the convex combination", float(np.abs(euler - convex).max()), 1e-13)]
    rows.append(above("least gain of log p_σ from x to D(x), 1500 states", mean_shift(2.5 if broken else 1.0), -1e-10))
    sigmas, states, clean = paths()
    if broken:  # a field that turns: no longer the gradient of the data's density
        turn, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((DIM, DIM)))
        bent = np.linspace(0.0, 1.0, len(sigmas))[:, None, None]
        wrong = states + 3.0 * np.sin(math.pi * bent) * (states @ (turn - turn.T))
    used = wrong if broken else states
    rows.append(below("distance of paths from their chord over its length, largest", residual(used), 0.1))
    rows.append(below("part of a path outside span{x_T, data}, largest", outside(used), 1e-12))
    early, late = (clean, states) if broken else (states, clean)
    rows.append(above("σ at which D is within 10 % over that for x", settled(sigmas, late) / settled(sigmas, early), 2.0, "times"))
    peak = max(deviation(v) for v in (0.5, 1.0, 2.0))
    ends = (0.7, 1.4) if broken else (0.02, 100.0)
    rows.append(below("E|D_data − D_law|² at σ = 0.02 over its peak", deviation(ends[0]) / peak, 0.1))
    rows.append(below("E|D_data − D_law|² at σ = 100 over its peak, for data of the right mean", deviation(ends[1]) / peak, 0.1))
    return rows
