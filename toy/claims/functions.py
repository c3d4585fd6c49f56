r"""Claims 94, 134, 242: noise with a covariance over times, sequences that stand for functions.

Field(schedule, K): z = α x + σ K^{1/2} ε over the frames, whose law on a part of the frames is that of the part.
"""

from __future__ import annotations

import numpy as np

from scorebed.analytic.distance.gaussian import gaussian_w2
from scorebed.analytic.output.moments import moments
from scorebed.analytic.process import LinearLaw
from scorebed.solvers import GRIDS, SOLVERS, VP, trace
from scorebed.solvers.process.frames import Field
from scorebed.toy.claims.registry import Row, above, below, claim, near

TIMES = np.array([0.0, 0.13, 0.2, 0.55, 0.6, 1.0])


def kernel(times: np.ndarray, scale: float = 0.5) -> np.ndarray:
    """e^{−|t − t'|/scale}."""
    return np.asarray(np.exp(-np.abs(np.subtract.outer(times, times)) / scale))


def field(noise: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> LinearLaw:
    """One Gaussian of these frames, noised with covariance ``noise``."""
    return LinearLaw(Field(VP(), tuple(map(tuple, noise.tolist()))), [1.0], mean[None], spread[None])


@claim(
    94,
    paper="Modeling temporal data as continuous functions with stochastic process diffusion",
    reference="arXiv:2211.02590",
    statement="Noise that is a Gaussian process over irregular times gives the transition N(√ᾱ x0, (1 − ᾱ) K) and the score −K^{-1/2} "
    "ε/σ; taking a part of the times commutes with noising, paths stay continuous, and the exact reverse process draws the "
    "data.",
    control="the noise is white",
)
def stochastic_process(broken: bool) -> list[Row]:
    """A smooth Gaussian at six irregular times; increments at distances 1/8 to 1/512; DDPM at 200 steps."""
    k = np.eye(len(TIMES)) if broken else kernel(TIMES)
    data, mean = kernel(TIMES, 2.0), np.sin(3.0 * TIMES)
    law, node = field(k, mean, data), VP().node(0.5)
    at, part = law.process.node(0.5), np.array([0, 2, 3, 5])
    few = field(k[np.ix_(part, part)], mean[part], data[np.ix_(part, part)])
    small, whole = few.marginal(few.process.node(0.5)), law.marginal(at)
    commutes = float(
        np.abs(whole.covariance()[np.ix_(part, part)] - small.covariance()).max() + np.abs(whole.mean()[part] - small.mean()).max()
    )
    root = np.linalg.cholesky(kernel(TIMES))
    eps = np.linspace(-1.0, 1.5, len(TIMES))
    noise = root @ eps
    spread = node.sigma**2 * np.array(k)
    score = -np.linalg.solve(spread, node.sigma * noise)
    print_form = -np.linalg.solve(root.T, eps) / node.sigma
    gaps = []
    for h in (1 / 8, 1 / 512):
        pair = np.eye(2) if broken else kernel(np.array([0.0, h]))
        gaps.append(2.0 * (pair[0, 0] - pair[0, 1]))
    plan = trace(SOLVERS["ddpm"], GRIDS["uniform"](law.process, 200), terminal="denoise")
    mean_out, spread_out = moments(plan, law)
    return [
        below("law of four of the times against the four times' own", commutes, 1e-12, kept=True),
        below("score of the transition against −K^{-1/2} ε/σ", float(np.abs(score - print_form).max()), 1e-10),
        below("mean square increment of the noise at 1/512 over that at 1/8", gaps[1] / gaps[0], 0.05, "times"),
        below("W2 of DDPM's output", gaussian_w2(mean_out, spread_out, mean, data), 0.07, kept=True),
    ]


@claim(
    134,
    paper="Functional diffusion processes",
    reference="arXiv:2303.00800",
    statement="With trace-class noise the energy of the noised function and the KL of the start from the noise converge as modes are "
    "added; white noise has energy in proportion to their number. Band-limited data looks the same on every grid that "
    "resolves it.",
    control="the noise is white, and the grid is too coarse",
)
def trace_class(broken: bool) -> list[Row]:
    """Data of spectrum k^{-6}, noise of spectrum k^{-2}, up to 512 modes; a function of four frequencies on 16 and 32 points."""
    node = VP().node(0.6)

    def sums(count: int) -> tuple[float, float]:
        k = np.arange(1, count + 1, dtype=float)
        data, noise = k**-6.0, np.ones(count) if broken else k**-2.0
        ratio = node.alpha**2 * data / noise + node.sigma**2
        return float(np.sum(node.alpha**2 * data + node.sigma**2 * noise)), float(
            0.5 * np.sum(ratio - node.sigma**2 - np.log(ratio / node.sigma**2))
        )

    (energy_128, kl_128), (energy_512, kl_512) = sums(128), sums(512)

    def energy(points: int) -> float:
        """∫ f² of a band-limited f by its values."""
        t = np.arange(points) / points
        f = sum(np.cos(2 * np.pi * j * t + j) / j for j in range(1, 5))
        return float(np.mean(np.square(f)))

    return [
        below("energy at 512 modes over that at 128, less 1", energy_512 / energy_128 - 1.0, 0.01),
        below("growth of the KL from 128 to 512 modes", abs(kl_512 - kl_128), 1e-3, kept=True),
        below("energy of a function of four frequencies, fine against coarse grid", abs(energy(32) - energy(6 if broken else 16)), 1e-12),
    ]


@claim(
    242,
    paper="Functional diffusion",
    reference="arXiv:2311.15435",
    statement="Noise interpolated from a coarse grid of Gaussians has the covariance Φ Φᵀ of its hat functions, of the grid's rank "
    "and no more, and is not stationary; what it says at some points does not depend on which others are asked, and a finer "
    "grid tends to noise point by point.",
    control="the noise is drawn anew for each set of points",
)
def interpolated(broken: bool) -> list[Row]:
    """Nine coarse Gaussians, 40 points; the law at ten of them alone and among the 40; grids of 9 and 321."""
    rng = np.random.default_rng(0)

    def hats(points: np.ndarray, count: int) -> np.ndarray:
        return np.maximum(0.0, 1.0 - np.abs(np.subtract.outer(points, np.linspace(0.0, 1.0, count))) * (count - 1))

    points = np.sort(rng.random(40))
    phi = hats(points, 9)
    covariance = phi @ phi.T
    draws = rng.standard_normal((60_000, 9)) @ phi.T
    ten = slice(0, 40, 4)
    alone = np.eye(10) if broken else hats(points[ten], 9) @ hats(points[ten], 9).T
    middle = hats(np.array([1 / 16]), 9)
    fine = hats(points, 321) @ hats(points, 321).T
    apart = np.abs(np.subtract.outer(points, points)) > 2 / 320
    return [
        below("covariance of draws against Φ Φᵀ", float(np.abs(np.cov(draws.T) - covariance).max()), 0.02, kept=True),
        near("rank of the covariance at 40 points", float(np.linalg.matrix_rank(covariance)), 9.0, 0.0, kept=True),
        near("variance half way between two coarse points", float((middle @ middle.T)[0, 0]), 0.5, 1e-12, kept=True),
        below("covariance at ten points, alone against among the others", float(np.abs(alone - covariance[ten, ten]).max()), 1e-12),
        below("covariance of distinct points on a grid of 321", float(np.abs(fine[apart]).max()), 1e-12, kept=True),
        above("the same on the grid of nine", float(np.abs(covariance[apart]).max()), 0.3, kept=True),
    ]
