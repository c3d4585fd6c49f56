"""Claims 32, 272, 282: reflow and optimal transport, from exact pairs."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr, ndtri

from scorebed.analytic import GaussianMixture
from scorebed.analytic.distance.transport import semidiscrete
from scorebed.solvers import SOLVERS, VP, grid, sample
from scorebed.toy.claims.registry import Row, above, below, claim
from scorebed.toy.measure.distil import prior_w2
from scorebed.toy.problems.lines import modes

Z = np.asarray(ndtri((np.arange(2001) + 0.5) / 2001))
"""Equally likely standard normals."""


def monotone(z: np.ndarray) -> np.ndarray:
    """The exact flow map on the line from N(0, 1) to three modes."""
    left = z < 0.0
    tail = ndtr(-np.abs(z))
    return np.where(left, np.asarray(modes().quantile(tail)), np.asarray(modes().isf(tail)))


@claim(
    272,
    paper="InstaFlow",
    reference="arXiv:2309.06380",
    statement="One Euler step of the first rectified flow makes a point, of the second the data; distilled into the map of its "
    "pairs it does the same; "
    "guidance v_u + w(v_c − v_u) shifts the law away from p(x | c).",
    control="the first flow stands in for the second; w = 1",
)
def instaflow(broken: bool) -> list[Row]:
    """W2 of one step from N(0, 1) to three modes; the law of a guided flow by a solver of 40 steps."""
    spread = math.sqrt(float(modes().covariance()[0, 0]))
    first = prior_w2(lambda z: np.full_like(z, float(modes().mean()[0])), modes(), 1.0)
    second = first if broken else prior_w2(monotone, modes(), 1.0)
    component, w = GaussianMixture([1.0], [0.2], 0.25), 1.0 if broken else 3.0
    nodes = grid.uniform_lam(VP(), 40, 0.98, 0.02)
    x = np.asarray(component.marginal(nodes[0]).quantile((np.arange(400) + 0.5) / 400))[:, None]
    guided = sample(
        SOLVERS["dpmpp_2m"], lambda y, n: modes().denoised(y, n) + w * (component.denoised(y, n) - modes().denoised(y, n)), x, nodes
    )
    off = abs(float(np.std(guided)) / 0.5 - 1.0)
    return [
        below("W2 of one Euler step of the second flow, over the data's spread", second / spread, 1e-6),
        above("W2 of one Euler step of the first flow, over the data's spread", first / spread, 0.99, kept=True),
        above("relative error of the spread of p(x | c) under guidance w = 3", off, 0.05),
    ]


@claim(
    32,
    paper="DPM-OT",
    reference="arXiv:2307.11308",
    statement="The semi-discrete optimal map sends noise to the data with exact cell masses, on the line by quantiles, and puts "
    "no mass between modes, "
    "where few steps of DDIM do.",
    control="nearest points (Voronoi cells) in place of power cells, and DDIM's own samples in place of the map's",
)
def cells(broken: bool) -> list[Row]:
    """Eight points in the plane and nine on the line; the gap between two modes, by four steps of DDIM."""
    rng = np.random.default_rng(1)
    points = rng.standard_normal((8, 2)) * [2.0, 0.5] + [1.0, 0.0]
    found = semidiscrete(points, lines=300)
    masses = (
        np.bincount(np.argmin(np.square(Z[:, None, None] * [[1.0, 0.0]] - points).sum(-1), 1), minlength=8) / len(Z)
        if broken
        else found.masses
    )
    line = np.sort(rng.standard_normal(9))[:, None]
    nearest = line[np.argmin(np.abs(Z[:, None] - line[:, 0]), 1)]
    sent = nearest if broken else semidiscrete(line)(Z[:, None])
    quantiles = line[np.minimum((ndtr(Z) * 9).astype(int), 8)]
    two = GaussianMixture([0.5, 0.5], [-1.0, 1.0], [0.01, 0.01])
    nodes = grid.uniform_lam(VP(), 4, 0.999, 0.02)
    data = np.asarray(two.quantile((np.arange(40) + 0.5) / 40))[:, None]
    few = sample(SOLVERS["ddim"], two.denoised, math.hypot(nodes[0].alpha, nodes[0].sigma) * Z[:, None], nodes)
    mapped = few if broken else semidiscrete(data)(Z[:, None])

    def between(x: np.ndarray) -> float:
        return float(np.mean(np.abs(x) < 0.6))

    return [
        below("masses of the cells against 1/8", float(np.abs(masses - 0.125).max()), 1e-10),
        below("points on the line whose image is not that of the quantiles", float(np.mean(np.abs(sent - quantiles) > 1e-9)), 2e-3),
        below("mass of the map between two modes", between(mapped), 1e-12),
        above("mass of four steps of DDIM there", between(few), 0.005, kept=True),
    ]


@claim(
    282,
    paper="RF++ (improved training of rectified flows)",
    reference="arXiv:2405.20320",
    statement="After exact pairs nothing is left to a second reflow on the line: E Var(x1 − x0 | x_t) = 0. Of a student that is "
    "a cubic in x at each t the residual is largest at the two ends, as a U-shaped density of t has it; the U is one of "
    "capacity: an affine one's "
    "rises from the data to the noise.",
    control="independent pairs of noise and data",
)
def ends(broken: bool) -> list[Row]:
    """Pairs of N(0, 1) and three modes; residuals of the best fits along t, affine, cubic and of any kind."""
    z, data = Z, monotone(Z)
    z = np.random.default_rng(0).permutation(z) if broken else z
    move = z - data

    def residual(t: float, degree: int) -> float:
        x = (1 - t) * data + t * z
        return float(np.var(move - np.polynomial.Chebyshev.fit(x, move, degree)(x)))

    cubic, straight = ([residual(t, degree) for t in (0.0, 0.45, 1.0)] for degree in (3, 1))
    order = np.argsort(0.5 * (data + z))
    groups = np.array_split(move[order], 250)
    inner = float(np.mean([g.var() for g in groups]) / move.var())
    return [
        below("E Var(x1 − x0 | x_t) at t = ½ over that of x1 − x0", inner, 0.02),
        above("residual of the cubic student at the data over t = 0.45", cubic[0] / cubic[1], 1.15),
        above("residual of the cubic student at the noise over t = 0.45", cubic[2] / cubic[1], 1.15),
        below("residual of the affine student at the data over t = 0.45", straight[0] / straight[1], 0.95, kept=True),
    ]
