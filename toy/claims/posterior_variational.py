r"""Claims 4 and 285: variational loops over one point mu, and the fixed point that their weights of the levels have on Gaussians."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.regression import ExactModel
from scorebed.solvers import VP, grid
from scorebed.solvers.inverse import METHODS, Conditioned, Linear
from scorebed.solvers.weights.exponential import eps_of
from scorebed.toy.claims.common import sheet
from scorebed.toy.claims.registry import Row, above, below, claim
from scorebed.toy.figures.style import BLUE, INK, VERMILLION
from scorebed.toy.measure.affine_law import affine_law

PLANE = GaussianMixture([1.0], [[0.3, -0.2]], [[[1.0, 0.6], [0.6, 0.8]]])


def ridge(weights: np.ndarray, rhos: np.ndarray, var: float, y: float, r2: float) -> float:
    """The fixed point of RED-Diff on N(0, var) with y = x0 + n: (mu − y)/r² + Σ w ρ/(var + ρ²) mu = 0."""
    return y / r2 / (1.0 / r2 + float(weights @ (rhos / (var + rhos**2))))


def _draw_red() -> Figure:
    def draw(axes: Axes) -> None:
        rhos, variances = np.geomspace(0.05, 20.0, 40), np.geomspace(0.05, 5.0, 60)
        flat = rhos * 0.0 + 1.0
        flat = flat / float(flat @ (rhos / (1.0 + rhos**2)))
        for weights, level, colour, label in (
            (flat, rhos, VERMILLION, "equal weights, right at variance 1"),
            (np.array([100.0]), np.array([0.01]), BLUE, "all weight at ρ = 0.01"),
        ):
            axes.plot(variances, [ridge(weights, level, v, 1.0, 0.5) for v in variances], color=colour, label=label)
        axes.plot(variances, variances / (variances + 0.5), color=INK, linewidth=3, alpha=0.3, label="exact posterior mean")
        axes.set(title="Fixed point of RED-Diff, y = 1, R = ½", xlabel="variance of the prior", xscale="log", ylabel="mu")
        axes.legend()

    return sheet(1, draw)


@claim(
    4,
    paper="RED-Diff",
    reference="arXiv:2305.04391",
    statement="The mean of ρ-weighted ε̂ − ε is the gradient of a reweighted KL(q‖p); on a Gaussian prior the fixed point is ridge; weights "
    "of the right sum serve one isotropic Gaussian, and for every variance only weight at vanishing noise does (1/S = ∫ dm(u)/(S + u) has "
    "one solution); q is a point: no posterior spread.",
    control="the weights are those of another variance, and ε̂ is off by a half",
    draw=_draw_red,
)
def red_diff(broken: bool) -> list[Row]:
    """Gradient by quadrature on two modes, fixed points in closed form, spread by the exact law of the method."""
    law, n = GaussianMixture([0.3, 0.7], [-1.0, 1.2], [0.06, 0.15]), VP().node(0.3)
    xi, w = np.polynomial.hermite_e.hermegauss(120)
    w = w / w.sum()

    def kl(mu: float) -> float:
        return -float(w @ law.log_prob((n.alpha * mu + n.sigma * xi)[:, None], n))

    x = (n.alpha * 0.2 + n.sigma * xi)[:, None]
    mean = float(w @ (eps_of(x, law.denoised(x, n), n)[:, 0] - 0.5 * broken - xi))
    slope = (kl(0.2 + 1e-4) - kl(0.2 - 1e-4)) / 2e-4
    rhos = np.geomspace(0.05, 20.0, 40)
    flat = np.ones(40) / float((rhos / ((0.3 if broken else 1.0) + rhos**2)).sum())
    tiny = np.array([1.0 if broken else 1e-4])
    c = Conditioned(ExactModel(PLANE), Linear([[1.0, 0.4]], 0.05), np.array([1.2]))
    nodes = grid.uniform_lam(VP(), 40, start=0.5, end=1e-3)
    found = affine_law(METHODS["red_diff"](optimiser="sgd", rate=0.01), c, nodes, 2)
    truth = PLANE.given([[1.0, 0.4]], [1.2], 0.05).covariance()
    return [
        below("E[ε̂ − ε] α/σ against the slope of KL(q‖p), by quadrature", abs(n.alpha / n.sigma * mean - slope) / abs(slope), 1e-5),
        below("fixed point with equal weights, variance 1: off by", abs(ridge(flat, rhos, 1.0, 1.0, 0.5) - 2 / 3), 1e-12),
        above("the same at variance 0.2", abs(ridge(flat, rhos, 0.2, 1.0, 0.5) - 0.2 / 0.7), 0.05, kept=True),
        below("all weight at ρ → 0, variance 0.2: off by", abs(ridge(1.0 / tiny, tiny, 0.2, 1.0, 0.5) - 0.2 / 0.7), 1e-4),
        below("spread of mu over the posterior's", float(np.trace(found.covariance) / np.trace(truth)), 0.05, kept=True),
    ]


@claim(
    285,
    paper="FLAIR (a flow prior in a variational loop)",
    reference="arXiv:2506.02680",
    statement="On N(m, S) the regulariser pulls to m with a weight of every level, and with data the fixed point is ridge, right for "
    "matched weights alone; noise kept along the trajectory, instead of drawn anew, makes the variance of its gradient small, the smaller "
    "the straighter the flow lines are.",
    control="the noise is drawn anew at every evaluation",
)
def flair(broken: bool) -> list[Row]:
    """Variance of the gradient ε̂ − ξ over evaluations at one mu, with ξ kept (ξ <- ε̂) or drawn anew, on two Gaussians."""
    rng = np.random.default_rng(0)
    out = {}
    for var in (1e-3, 1.0):
        law = GaussianMixture([1.0], [0.4], var)
        mu, xi, gradients = np.full((4000, 1), 0.4), rng.standard_normal((4000, 1)), []
        for n in grid.uniform_lam(VP(), 12, start=0.8, end=0.05):
            x = n.alpha * mu + n.sigma * xi
            hat = eps_of(x, law.denoised(x, n), n)
            gradients.append(hat - xi)
            xi = rng.standard_normal((4000, 1)) if broken else hat
        out[var] = float(np.mean([g.var() for g in gradients[1:]]))
    levels = grid.uniform_lam(VP(), 12, start=0.8, end=0.05)[1:]
    fresh = float(np.mean([(n.alpha**2 / (n.alpha**2 + n.sigma**2)) ** 2 for n in levels]))
    matched = abs(ridge(np.array([1.0 / (0.5 / (1.0 + 0.25))]), np.array([0.5]), 1.0, 1.0, 0.5) - 2 / 3)
    return [
        below("variance of the gradient with kept noise over that with fresh noise, N(0.4, 1)", out[1.0] / fresh, 0.5),
        below("variance with kept noise, N(0.4, 0.001): straight lines", out[1e-3], 2e-4, kept=True),
        below("fixed point with the matched weight of one level: off by", matched, 1e-12, kept=True),
    ]
