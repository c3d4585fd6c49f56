r"""Claims 9, 18, 84, 112, 243: consistency with the data by projections, proximal steps and gradients, and what law they leave."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import numpy as np

from scorebed.analytic import GaussianMixture, LowRank
from scorebed.analytic.gaussian.regression import ExactModel, Regression
from scorebed.solvers import VP, Node, grid
from scorebed.solvers.inverse import METHODS, Conditioned, Linear
from scorebed.solvers.methods.posterior.decoupled import product
from scorebed.solvers.weights.exponential import flow_by_denoised
from scorebed.toy.claims.registry import Row, above, below, claim, near
from scorebed.toy.measure.affine_law import affine_law

PLANE = GaussianMixture([1.0], [[0.3, -0.2]], [[[1.0, 0.6], [0.6, 0.8]]])
NODES = grid.uniform_lam(VP(), 60, end=1e-3)


def off(method: str, law: GaussianMixture, operator: Linear, y: np.ndarray, nodes: list[Node] = NODES, **options: object) -> float:
    """W2 of the exact law of a method's output to the posterior."""
    truth = law.given(operator.matrix, y, operator.variance)
    found = affine_law(METHODS[method](**options), Conditioned(ExactModel(law), operator, y), nodes, law.d)
    return found.w2(truth.mean(), truth.covariance())


@claim(
    112,
    paper="DDNM and DDNM+",
    reference="arXiv:2212.00490",
    statement="Without noise A x0 = y to round-off; the law is the posterior where range and null part of the prior are independent, and "
    "biased otherwise, less with time travel; DDNM+ keeps the noise of every singular direction at that of the step.",
    control="the prior's parts are coupled where they should be independent, A^T stands for A^+, and the noise of y is not counted",
)
def null_space(broken: bool) -> list[Row]:
    """Exact laws in the plane with the first coordinate seen, and its residual; the noise of DDNM+ read from its draws."""
    seen, y = Linear([[1.0, 0.0]], 1e-10), np.array([1.2])
    apart = GaussianMixture([1.0], [[0.3, -0.2]], [[[1.0, 0.6 * broken], [0.6 * broken, 0.8]]])
    free = affine_law("steered" if broken else "ddnm", Conditioned(ExactModel(PLANE), Linear([[2.0, 0.0]], 1e-10), y), NODES, 2)
    residual = abs(2.0 * float(free.mean[0]) - 1.2) + float(np.abs(free.noise[0]).max(initial=0.0) + np.abs(free.start[0]).max())
    coarse = Linear([[2.0, 0.0]], 0.05)
    law = affine_law("ddnm_plus", Conditioned(ExactModel(PLANE), coarse, y), NODES[38:40], 2)
    travelled = off("ddnm_plus", PLANE, seen, y, travel=6) / off("ddnm_plus", PLANE, seen, y)
    s, t = NODES[38], NODES[39]
    a = -t.alpha * math.expm1(-2 * (t.lam - s.lam))
    step = t.sigma**2 * -math.expm1(-2 * (t.lam - s.lam))
    keep = t.alpha * PLANE.covariance() @ np.linalg.inv(t.alpha**2 * PLANE.covariance() + t.sigma**2 * np.eye(2))
    fresh = np.linalg.inv(keep) @ law.noise  # before the terminal evaluation
    total = float(fresh[0] @ fresh[0]) + a * a * 0.05 / 4.0 * (0.0 if broken else 1.0)
    return [
        below("residual |A x0 − y| and its spread", residual, 1e-12),
        below("W2 to the posterior, independent parts", off("ddnm", apart, seen, y, solver="dpmpp_2m"), 0.02),
        above("W2 to the posterior, correlation 0.67", off("ddnm", PLANE, seen, y, solver="dpmpp_2m"), 0.1, kept=True),
        below("W2 with time travel, 6 times every step, over that without", travelled, 0.7, kept=True),
        near("noise of y and fresh noise of a step of DDNM+, over the step's", total / step, 1.0, 1e-6),
    ]


@claim(
    84,
    paper="ReSample",
    reference="arXiv:2307.08123",
    statement="Stochastic resampling draws from the product of the re-encoded estimate and the sampler's own state: its mean lies between "
    "theirs by their variances, and its variance is strictly below that of plain re-encoding; hard consistency leaves a residual at the "
    "noise floor or below, and a law that is not the posterior.",
    control="the estimate is simply encoded again, without the sampler's state",
)
def resampling(broken: bool) -> list[Row]:
    """Moments of the resampling from its values at unit noise, and the exact law of runs on one Gaussian."""
    zero, one = np.zeros((1, 1)), np.ones((1, 1))
    own, level = 0.7, 0.3
    mean = float(product(one, zero, own, level, zero)[0, 0]) if not broken else 1.0
    std = float(product(zero, zero, own, level, one)[0, 0]) if not broken else math.sqrt(level)
    operator, y = Linear([[1.0, 0.4]], 0.05), np.array([1.2])
    law = affine_law("resample", Conditioned(ExactModel(PLANE), operator, y), NODES, 2)
    left = float(np.abs(operator(law.mean) - y).max() + np.abs(operator.matrix @ law.noise).max())
    return [
        near("weight of the estimate in the mean", mean, own / (own + level), 1e-12),
        below("variance over that of encoding again", std**2 / level, 0.999),
        below("residual of the last estimate", left, 1e-10, kept=True),
        above("W2 of the law to the posterior", off("resample", PLANE, operator, y), 0.1, kept=True),
    ]


BRIDGES = {
    "InDI": (lambda t: t, lambda t: 0.0),
    "I2SB": (lambda t: t, lambda t: math.sqrt(0.3 * t * (1.0 - t))),
    "ResShift": (lambda t: t * t, lambda t: 0.4 * t),
}
"""x_t = (1 − a_t) x0 + a_t y + s_t z, as (a, s) of t in [0, 1]."""


def bridge_step(x: np.ndarray, d: np.ndarray, y: np.ndarray, a: tuple[float, float], s: tuple[float, float]) -> np.ndarray:
    """From (a_s, s_s) to (a_t, s_t) along the estimate d: x_t = (1 − a_t) d + a_t y + (s_t/s_s)(x − (1 − a_s) d − a_s y)."""
    rest = x - (1.0 - a[0]) * d - a[0] * y
    return (1.0 - a[1]) * d + a[1] * y + (s[1] / s[0] if s[0] > 0.0 else a[1] / a[0]) * rest


@claim(
    243,
    paper="CDDB (data-consistent direct bridges)",
    reference="arXiv:2305.19809",
    statement="InDI, I2SB and ResShift are one bridge x_t = (1 − a_t) x0 + a_t y + s_t z with different a, s, and one step; the correction "
    "x0 <- x0 + ρ A^T (y − A x0) shrinks the residual for ρ < 2/‖A‖² and changes nothing where x0 is consistent.",
    control="ρ beyond 2/‖A‖², and the noise of one bridge with the step of another",
)
def bridges(broken: bool) -> list[Row]:
    """The one step on states of each bridge, against the marginal at the next level; residuals by the largest singular value."""
    rng = np.random.default_rng(0)
    x0, y, z, worst = rng.normal(size=(5, 4)), rng.normal(size=(5, 4)), rng.normal(size=(5, 4)), 0.0
    for a, s in BRIDGES.values():
        u, t = 0.7, 0.4
        x = (1 - a(u)) * x0 + a(u) * y + s(u) * z
        wrong = 0.9 if broken else 1.0
        meant = (1 - a(t)) * x0 + a(t) * y + s(t) * z
        worst = max(worst, float(np.abs(bridge_step(x, x0, y, (a(u), a(t)), (s(u), wrong * s(t) + (0.1 * broken))) - meant).max()))
    op = Linear(rng.normal(size=(3, 4)), 0.1)
    data, d = rng.normal(size=(1, 3)), rng.normal(size=(5, 4))
    rho = (2.2 if broken else 1.9) / float(op.s[0]) ** 2
    top = d + op.pinv(data - op(d)) + op.v[:, 0]  # off in the direction that A sees best
    before, after = (np.linalg.norm(data - op(v), axis=1) for v in (top, top + rho * op.adjoint(data - op(top))))
    same = d + op.pinv(data - op(d))
    return [
        below("a step along the true x0 against the bridge's own state at the next level, worst of three", worst, 1e-12),
        below("residual after one correction over that before", float((after / before).max()), 0.999),
        below("change of a consistent estimate", float(np.abs(rho * op.adjoint(data - op(same))).max()), 1e-12, kept=True),
    ]


@claim(
    18,
    paper="DDS2M (a low-rank decoder in the chain)",
    reference="arXiv:2303.06682",
    statement="With R linear factors the fit of every step is the truncated singular value decomposition of the estimate; against the "
    "exact posterior mean of a low-rank Gaussian the projection recovers worse under noise.",
    control="the decoder has one factor too few",
)
def decoder(broken: bool) -> list[Row]:
    """Alternating least squares against the decomposition, and noisy recovery of vectors of rank 2 in 8 dimensions."""
    rng = np.random.default_rng(0)
    clean = rng.normal(size=(12, 3)) @ rng.normal(size=(3, 9))
    noisy = clean + 0.3 * rng.normal(size=(12, 9))
    left = rng.normal(size=(12, 2 if broken else 3))
    for _ in range(300):
        right = np.linalg.lstsq(left, noisy, rcond=None)[0]
        left = np.linalg.lstsq(right.T, noisy.T, rcond=None)[0].T
    u, s, vt = np.linalg.svd(noisy, full_matrices=False)
    best = (u[:, :3] * s[:3]) @ vt[:3]
    factor = rng.normal(size=(1, 8, 2))
    law = GaussianMixture([1.0], np.zeros((1, 8)), LowRank(factor, np.zeros((1, 8))))
    x = law.sample(200, 1)
    y = x + rng.normal(size=x.shape)
    basis = np.linalg.qr(factor[0])[0]
    exact = Regression(law, np.eye(8), 1.0).mean(y)
    errors = [float(np.mean(np.sum((e - x) ** 2, 1))) for e in (y @ basis @ basis.T, exact)]
    return [
        below("fit of the factors against the truncated decomposition", float(np.abs(left @ right - best).max()), 1e-6),
        above("error of the projection over that of the posterior mean", errors[0] / errors[1], 1.03, "times", kept=True),
    ]


A5 = np.array([[1.0, 0.0, 0.5, 0.0, 0.0], [0.0, 0.3, 0.0, 1.0, 0.4]])
DZ = np.eye(5)[1:] - np.eye(5)[:-1]


def _chain(n: int, sweeps: Literal["solved", "warm", "cold"]) -> np.ndarray:
    """Linear map of (y, x_T) to the output of DDIM on N(0, I) with D moved to argmin |y − A x|² + λ |D_z x|² + |x − D|²/ρ², λ = ½.

    Solved at every step, or by one gradient sweep, from the last iterate (warm) or from 0 (cold).

    Returns:
        (5, 7) matrix: output of 5 entries, columns y and x_T.
    """
    x = np.concatenate([np.zeros((5, 2)), np.eye(5)], 1)  # columns: y, x_T
    data, kept = np.concatenate([A5.T, np.zeros((5, 5))], 1), np.zeros((5, 7))
    for s, t in pairwise(grid.uniform_lam(VP(), n, end=1e-3)):
        d, pull = s.alpha / (s.alpha**2 + s.sigma**2) * x, s.rho**-2
        h, g = A5.T @ A5 + 0.5 * DZ.T @ DZ + pull * np.eye(5), data + pull * d
        begin = kept if sweeps == "warm" else 0.0 * kept
        kept = np.linalg.solve(h, g) if sweeps == "solved" else begin - (h @ begin - g) / np.linalg.eigvalsh(h)[-1]
        x = flow_by_denoised(x, kept, s, t)
    return x


@claim(
    9,
    paper="DiffusionMBIR (slices and total variation)",
    reference="arXiv:2211.10655",
    statement="One warm-started sweep of the data step per diffusion step tracks the path on which it is solved, the better the more steps "
    "there are; with a quadratic in place of total variation the output mean is affine in y, other than the posterior mean.",
    control="each sweep starts cold",
)
def sweeps(broken: bool) -> list[Row]:
    """Affine maps of a stack of 5 pixels seen through 2 rows."""
    how: Literal["warm", "cold"] = "cold" if broken else "warm"
    solved = {n: _chain(n, "solved") for n in (50, 400)}
    gaps = [float(np.abs(_chain(n, how) - one).max() / np.abs(one).max()) for n, one in solved.items()]
    prior = np.linalg.inv(np.eye(5) + 0.5 * DZ.T @ DZ)
    exact = prior @ A5.T @ np.linalg.inv(A5 @ prior @ A5.T + np.eye(2))
    bias = float(np.abs(solved[400][:, :2] - exact).max() / np.abs(exact).max())
    return [
        below("map with one warm sweep against the solved one, 400 steps", gaps[1], 0.05),
        below("that gap over the gap at 50 steps", gaps[1] / gaps[0], 0.4),
        above("output mean against the exact posterior mean: the bias", bias, 0.05, kept=True),
    ]
