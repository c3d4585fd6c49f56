r"""Claims 17, 65, 66, 142, 177: one term of the conditional score replaced or left out, and what that costs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import ndtr

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.regression import ExactModel
from scorebed.solvers import VP, Node, grid
from scorebed.solvers.inverse import METHODS, Conditioned, Linear, Sequential, posterior
from scorebed.toy.claims.common import sheet
from scorebed.toy.claims.registry import Row, above, below, claim
from scorebed.toy.figures.style import BLUE, VERMILLION
from scorebed.toy.measure.affine_law import affine_law
from scorebed.toy.problems.inverse import INVERSE

MIXED = INVERSE["mixture2d"]


def _rms(a: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(a).sum(-1))))


@claim(
    65,
    paper="STSL (second-order Tweedie)",
    reference="arXiv:2312.00852",
    statement="Cov[x0 | x_t] = (sigma²/alpha²)(I + sigma² ∇² log p); e·(s(x + c e) − s(x))/c estimates tr ∇² log p without bias but for "
    "O(c²); −(|y − A D|² + tr A Cov A^T)/2r² bounds log p(y | x_t) from below; the sampler's posterior mean is less biased than DPS's.",
    control="the second-order term is taken with the wrong sign",
    when="the last part is left out: on three modes with one seen direction the mean of STSL is as far off as that of DPS, or further",
)
def second_order(broken: bool) -> list[Row]:
    """On three modes in the plane at t = 0.3, and 1,500 samples of both."""
    law, n, sign = MIXED.law, VP().node(0.3), -1.0 if broken else 1.0
    x, h = law.sample(40, 0, n), 1e-4
    hessian = np.stack([(law.score(x + h * e, n) - law.score(x - h * e, n)) / (2 * h) for e in np.eye(2)], -1)
    tweedie = n.rho**2 * (np.eye(2) + sign * n.sigma**2 * hessian)
    cov = law.posterior_covariance(x, n)
    c, e = 0.05, np.random.default_rng(1).standard_normal((4000, 40, 2))
    probes = np.mean([((law.score(x + c * v, n) - law.score(x, n)) * v).sum(1) / c for v in e], 0)
    op, y = MIXED.operator, MIXED.y
    rest = np.square(y - op(law.denoised(x, n))).sum(1) + sign * np.einsum("mi,nij,mj->n", op.matrix, cov, op.matrix)
    bound = -0.5 * rest / op.variance - 0.5 * math.log(2 * math.pi * op.variance)
    over = bound - law.likelihood(x, n, op.matrix, y, op.variance)
    nodes, start = MIXED.nodes(60), MIXED.start_states(1500)
    off = {k: _rms(posterior(METHODS[k], MIXED.conditioned, start, nodes, 1).mean(0) - MIXED.posterior.mean()) for k in ("dps", "stsl")}
    return [
        below("Tweedie's covariance against the exact one", float(np.abs(tweedie - cov).max() / np.abs(cov).max()), 1e-6),
        below("Hutchinson's mean of 4,000 probes against the trace", _rms(probes - np.trace(hessian, axis1=1, axis2=2)), 0.5, kept=True),
        below("largest excess of the bound over log p(y | x_t), 40 states", float(over.max()), 0.0),
        below("error of STSL's mean over that of DPS, as printed: less than 1", off["stsl"] / off["dps"], 0.9, printed=True),
    ]


@claim(
    66,
    paper="FlowChef (the Jacobian skipped)",
    reference="arXiv:2412.00100",
    statement="The gradient g of the data term at D, not carried back, makes no obtuse angle with the true one J^T g, since J = "
    "(alpha/sigma²) Cov[x0 | x_t] is positive semidefinite, and vanishes where that vanishes; steered runs meet linear data, with another "
    "law than the posterior.",
    control="the step is taken against the gradient",
)
def skipped(broken: bool) -> list[Row]:
    """Angles at 200 states of three modes; residual and law of the method's runs on one Gaussian."""
    law, op, sign = MIXED.law, MIXED.operator, -1.0 if broken else 1.0
    cosines = []
    for t in (0.05, 0.3, 0.8):
        n = VP().node(t)
        x = law.sample(200, 0, n)
        g = sign * op.adjoint(MIXED.y - op(law.denoised(x, n)))
        true = law.vjp(x, n, sign * g)
        cosines.append(float(((g * true).sum(1) / np.linalg.norm(g, axis=1) / np.linalg.norm(true, axis=1)).min()))
    place = INVERSE["gaussian2d"]
    found = affine_law(METHODS["steered"](step=0.5 * sign), place.conditioned, place.nodes(80), 2)
    row = place.operator.matrix[0]
    left = math.hypot(float(row @ found.mean - place.y[0]), math.sqrt(float(row @ found.covariance @ row)))
    return [
        above("least cosine between g and J^T g, 600 states", min(cosines), 0.0),
        below("residual |y − A x0| of steered runs, mean and spread together", left, 0.1),
        above("W2 of their law to the posterior", found.w2(place.posterior.mean(), place.posterior.covariance()), 0.1, kept=True),
    ]


def _tail(law: GaussianMixture, n: Node, x: np.ndarray, c: float, spread: float | None = None) -> np.ndarray:
    """log P(x0 > c | x_t): exact, or with x0 | x_t ~ N(D, Cov), or N(D, spread)."""
    if spread is None:
        gamma = law.posterior(x, n)
        s = np.sqrt(np.asarray(gamma.covariances).reshape(1, -1))
        return np.log((gamma.weights * ndtr((gamma.means[..., 0] - c) / s)).sum(1))
    var = law.posterior_covariance(x, n)[:, 0, 0] if spread == 0.0 else spread
    return np.log(ndtr((law.denoised(x, n)[:, 0] - c) / np.sqrt(var)))


def event_error(law: GaussianMixture, t: float, spread: float = 0.0, c: float = 0.6) -> float:
    """RMS error of the event score ∇ log P(x0 > c | x_t) over x_t given the event, as a part of its size."""
    n, h = VP().node(t), 1e-5
    draws = law.sample(6000, 3)
    x0 = draws[draws[:, 0] > c][:400]
    x = n.alpha * x0 + n.sigma * np.random.default_rng(4).standard_normal(x0.shape)
    x = x[_tail(law, n, x, c) > -25.0]
    exact, other = ((_tail(law, n, x + h, c, k) - _tail(law, n, x - h, c, k)) / (2 * h) for k in (None, spread))
    return float(np.sqrt(np.mean((other - exact) ** 2) / np.mean(exact**2)))


def _draw_event() -> Figure:
    def draw(axes: Axes) -> None:
        law, times = INVERSE["line"].law, np.geomspace(2e-3, 0.9, 20)
        for spread, colour, label in ((0.0, BLUE, "mean and covariance"), (1e-2, VERMILLION, "covariance left out (0.01)")):
            axes.plot(times, [event_error(law, t, spread) for t in times], color=colour, label=label)
        axes.set(title="Event score on two modes", xlabel="t", ylabel="relative RMS error", xscale="log", yscale="log")
        axes.legend()

    return sheet(1, draw)


@claim(
    142,
    paper="User-defined events",
    reference="arXiv:2306.07526",
    statement="The event score ∇ log P(C x0 > c | x_t) through Tweedie's mean and covariance is exact on a Gaussian; on a mixture its "
    "error goes to 0 with sigma; without the covariance the tails are misjudged.",
    control="the covariance is left out: one small spread at every level",
    draw=_draw_event,
)
def events(broken: bool) -> list[Row]:
    """The event x0 > 0.6 on a Gaussian and on two modes."""
    spread = 1e-2 if broken else 0.0
    one, two = GaussianMixture([1.0], [0.2], 0.5), INVERSE["line"].law
    errors = [event_error(two, t, spread) for t in (0.3, 0.1, 0.03)]
    return [
        below("relative error of the event score on a Gaussian, t = 0.3", event_error(one, 0.3, spread), 1e-5),
        below("relative error on two modes at t = 0.03", errors[-1], 0.02),
        above("the same at t = 0.3, where the two modes are not told apart", errors[0], 0.05, kept=True),
    ]


@claim(
    17,
    paper="TSDiff (observation self-guidance)",
    reference="arXiv:2307.11494",
    statement="For a time series with missing entries, self-guidance with the model's own estimate and a fixed variance gives a mean and a "
    "covariance other than the conditional ones; the posterior covariance in the variance's place removes the error.",
    control="the fixed variance stands in the place of the posterior covariance too",
)
def self_guidance(broken: bool) -> list[Row]:
    """An autoregression of 8 steps, every third seen; exact laws of the runs, by DPM-Solver++(2M)."""
    gap = np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
    law = GaussianMixture([1.0], np.zeros((1, 8)), (0.8**gap)[None])
    c = Conditioned(ExactModel(law), Linear(np.eye(8)[::3], 0.05), np.array([1.0, -0.5, 0.7]))
    truth, nodes = law.given(c.operator.matrix, c.y, 0.05), grid.uniform_lam(VP(), 80, end=1e-3)

    def off(name: str, **options: Any) -> float:
        return affine_law(METHODS[name](solver="dpmpp_2m", **options), c, nodes, 8).w2(truth.mean(), truth.covariance())

    unit = {"weight": 0.05}  # the likelihood N(y; A D, 1)
    return [
        above("W2 of unit-variance self-guidance to the conditional", off("dps", **unit), 0.3, kept=True),
        below("W2 with the posterior covariance in its place", off("dps", **unit) if broken else off("tmpd"), 0.02),
    ]


class _Deaf:
    """The unknown gain with its gradient left out."""

    def __init__(self, operator: Any) -> None:
        self.operator, self.m, self.variance = operator, operator.m, operator.variance

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.operator(x)

    def vjp(self, x: np.ndarray, r: np.ndarray) -> np.ndarray:
        return self.operator.vjp(x, r) * np.array([1.0, 0.0])


@claim(
    177,
    paper="Light-transport DPS (unknown parameters of the forward model)",
    reference="arXiv:2501.05226",
    statement="DPS with a parametric forward model moves the signal and the parameter together by the gradient through D: it fits the "
    "data, with the posterior's mean up to a bias, and too little spread.",
    control="the gradient in the gain is left out: only the signal moves by the data",
)
def unknown_gain(broken: bool) -> list[Row]:
    """y = gain · signal + n on a grid of the plane, 800 samples of DPS in 120 steps."""
    place = INVERSE["gain2d"]
    op = _Deaf(place.operator) if broken else place.operator
    c = Conditioned(place.model, op, place.y)
    with np.errstate(all="ignore"):
        x = posterior(METHODS["dps"](weight=0.6), c, place.start_states(800), place.nodes(240), Sequential(1, (800, 2)))
    exact = place.grid_posterior
    std = np.sqrt(np.diag(exact.covariance()))
    prior = np.sqrt(np.diag(place.law.covariance()))
    left = float(np.sqrt(np.mean((place.y - place.operator(x)) ** 2) / op.variance))
    return [
        below("residual |y − A(x0)| over the noise, RMS", left, 1.6, kept=True),
        below("mean of the gain, off by", abs(float(x[:, 1].mean() - exact.mean()[1])) / float(std[1]), 0.3, "std"),
        below("spread of the signal over the prior's", float(x[:, 0].std() / prior[0]), 0.75, kept=True),
    ]
