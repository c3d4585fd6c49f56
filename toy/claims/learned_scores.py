r"""Claims 54, 69, 161: wrong scores and what they change: the laws of ODE and SDE, the likelihood, the marginals."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.output.density import solver_log_prob
from scorebed.analytic.output.moments import moments
from scorebed.solvers import SOLVERS, VP, SubVP, grid, trace
from scorebed.toy.claims.registry import Row, above, below, claim, near
from scorebed.toy.studies.budget import ScoreError
from scorebed.toy.studies.likelihood import wrong_model

PLANE = GaussianMixture([1.0], [[1.0, -0.5]], [[[1.0, 0.3], [0.3, 0.2]]])
LINE = GaussianMixture([0.3, 0.7], [-1.0, 1.2], [0.06, 0.15])


def end_variances(delta: float, steps: int = 4000) -> tuple[float, float]:
    """Variances at the end of the ODE and of the SDE, u from 9 to 0, target N(0, 1), s̃ = −(1 + delta) x/(1 + u); exact steps."""
    ode = sde = 10.0
    levels = np.linspace(9.0, 0.0, steps + 1)
    for s, t in pairwise(levels.tolist()):
        ratio = ((1.0 + t) / (1.0 + s)) ** (1.0 + delta)
        ode *= ratio  # dx = ½ s̃ (−du) doubles in the variance
        middle = ((1.0 + t) / (1.0 + 0.5 * (s + t))) ** (2.0 * (1.0 + delta))
        sde = ratio**2 * sde + middle * (s - t)
    return ode, sde


@claim(
    54,
    paper="Closing the ODE–SDE gap through the Fokker-Planck equation",
    reference="arXiv:2311.15996",
    statement="With the exact score ODE and SDE end in one law and the Fokker-Planck residual vanishes; with s + delta e the gap in W2 "
    "is of first "
    "order in delta, as the residual is, and below the residual's integral.",
    control="the score is wrong from the start",
)
def ode_sde_gap(broken: bool) -> list[Row]:
    """N(0, 1), s̃ = (1 + delta) s: residual ∂_u s̃ − ½ ∂(s̃' + s̃²) = −delta (1 + delta) s s', all closed but for the steps."""
    base = 0.2 if broken else 0.0

    def gap(delta: float) -> float:
        ode, sde = end_variances(base + delta)
        return abs(math.sqrt(ode) - math.sqrt(sde))

    gaps = [gap(d) for d in (0.02, 0.04, 0.08)]
    u = np.linspace(0.0, 9.0, 2001)
    residual = 0.08 * 1.08 * float(np.trapezoid((1.0 + u) ** -1.5, u))  # E|s s'| ~ (1 + u)^{-3/2}
    return [
        below("gap at delta = 0", gap(0.0), 1e-5),
        near("order of the gap in delta", float(np.polyfit(np.log([0.02, 0.04, 0.08]), np.log(gaps), 1)[0]), 1.0, 0.1),
        below("gap at delta = .08 over the integrated residual", gaps[-1] / residual, 1.0, kept=True),
    ]


def spread_error(r: float) -> float:
    """W2-like error of the covariance after 20 steps of the predictor, with a corrector of this r, on one Gaussian."""
    nodes = grid.uniform_lam(VP(), 20, end=0.01)
    _, found = moments(trace(SOLVERS["pc_langevin"](r=r), nodes), PLANE)
    exact = PLANE.marginal(nodes[-1]).covariance()
    return float(np.linalg.norm(found - exact))


@claim(
    69,
    paper="Score SDE",
    reference="arXiv:2011.13456",
    statement="The variance of sub-VP is (1 − e^{−B})²; the likelihood by the divergence of the flow is the exact log-density up to the "
    "solver's "
    "order; a Langevin corrector of short steps lowers the error of the law at the same predictor steps.",
    control="VP's variance; the divergence left out; no corrector",
)
def score_sde(broken: bool) -> list[Row]:
    """Nodes of the schedules, UniPC-3 with 128 steps on two modes, covariance of 20 steps on a Gaussian."""
    worst = 0.0
    for t in (0.1, 0.5, 0.9):
        vp, sub = VP().node(t), SubVP().node(t)
        worst = max(worst, abs((vp if broken else sub).sigma ** 2 - (1.0 - vp.alpha**2) ** 2))
    nodes = grid.uniform_lam(VP(), 128, end=0.02)[::-1]
    x = LINE.sample(20, 0, nodes[0])
    if broken:
        found = LINE.log_prob(LINE.flow(x, nodes[0], nodes[-1]), nodes[-1])
    else:
        found = solver_log_prob(trace(SOLVERS["unipc_3"], nodes), LINE, x, by="quadrature")
    without = spread_error(0.0)
    return [
        below("variance of sub-VP against (1 − e^{−B})²", worst, 1e-12),
        below("log p by the divergence against the exact one, nats", float(np.abs(found - LINE.log_prob(x, nodes[0])).max()), 1e-4),
        below("error of the covariance with a corrector, r = .05, over that without", spread_error(0.0 if broken else 0.05) / without, 0.9),
        above("the same with r = .16, whose own steps are too long here", spread_error(0.16) / without, 1.0, kept=True),
    ]


@claim(
    161,
    paper="Gauge freedom and conservativity",
    reference="arXiv:2402.03845",
    statement="A field r with ∇·(p r) = 0, as J ∇log p with J antisymmetric, leaves marginals and the flow's log-density exact, though "
    "every path and "
    "encoding moves; a conservative field that is not the score does not; the Jacobian's spectrum no longer tells the dimension.",
    control="a symmetric matrix in the place of J",
)
def gauge(broken: bool) -> list[Row]:
    """J of size .3 in the plane: covariance of Heun's output, log p, ends; the Jacobian of the score near a line."""
    nodes = grid.uniform_lam(VP(), 128, end=0.05)
    error = ScoreError(0.1) if broken else ScoreError(solenoidal=0.3)
    denoise, jacobian = wrong_model(PLANE, error)

    def affine(node: object) -> tuple[np.ndarray, np.ndarray]:
        zero = denoise(np.zeros((1, 2)), node)[0]  # type: ignore[arg-type]
        return (denoise(np.eye(2), node) - zero).T, zero  # type: ignore[arg-type]

    _, found = moments(trace(SOLVERS["heun"], nodes), PLANE, affine=affine)
    exact = PLANE.marginal(nodes[-1]).covariance()
    up = nodes[::-1]
    x = PLANE.sample(4, 0, up[0])
    log_p = solver_log_prob(trace(SOLVERS["heun"], up), PLANE, x, model=(denoise, jacobian))
    thin = np.diag([-1.0, -1e4])  # Jacobian of the score near a line of variance 1, noise .01
    turn = np.array([[0.0, -0.3], [0.3, 0.0]])
    spectrum = np.abs(np.linalg.eigvals(thin + turn @ thin))
    plain = np.abs(np.linalg.eigvalsh(thin))
    return [
        below("covariance of the output, relative", float(np.linalg.norm(found - exact) / np.linalg.norm(exact)), 2e-3),
        below("log p by the flow at four data, nats", float(np.abs(log_p - PLANE.log_prob(x, up[0])).max()), 5e-3),
        above("small eigenvalue of the Jacobian near a line, changed by", float(abs(spectrum.min() / plain.min() - 1.0)), 0.05, kept=True),
    ]
