r"""Claims 8, 31, 220, 249, 288: what samples of a posterior cost in mean squared error, and what they give for it.

For jointly Gaussian (x0, y) every estimate here is a matrix of y and of independent normals, so its error is a trace.
"""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scorebed.analytic import GaussianMixture
from scorebed.analytic.distance.tradeoff import gaussian_tradeoff, least_distortion
from scorebed.analytic.gaussian.regression import ExactModel
from scorebed.solvers import SOLVERS, VP, grid, sample
from scorebed.solvers.inverse import METHODS, Conditioned, Linear
from scorebed.toy.claims.common import sheet
from scorebed.toy.claims.registry import Row, above, below, claim, near
from scorebed.toy.figures.style import BLUE, INK, ORANGE, VERMILLION
from scorebed.toy.measure.affine_law import AffineLaw, affine_law

LINE = GaussianMixture([1.0], [[0.0]], 1.0)
HALF = Linear([[1.0]], 0.5)
PLANE = GaussianMixture([1.0], [[0.0, 0.0]], [[[1.0, 0.6], [0.6, 0.8]]])


def estimate(method: str, law: GaussianMixture, operator: Linear, steps: int, **options: object) -> tuple[np.ndarray, AffineLaw]:
    """The matrix of y, and the rest of the output, of a sampler that is affine: at y = 0 and at the unit observations."""
    nodes, chosen, unit = grid.uniform_lam(VP(), steps, end=1e-4), METHODS[method](**options), np.eye(operator.m)
    laws = [affine_law(chosen, Conditioned(ExactModel(law), operator, y), nodes, law.d) for y in (0.0 * unit[0], *unit)]
    return np.stack([one.mean - laws[0].mean for one in laws[1:]], 1), laws[0]


def distortion(law: GaussianMixture, operator: Linear, b: np.ndarray, spread: np.ndarray) -> float:
    """E |x0 − B y − N ξ|² for centred x0."""
    rest = np.eye(law.d) - b @ operator.matrix
    return float(np.trace(rest @ law.covariance() @ rest.T + operator.variance * b @ b.T + spread))


def _draw() -> Figure:
    def draw(axes: Axes) -> None:
        mmse, gap = gaussian_tradeoff(LINE, HALF.matrix, HALF.variance)
        p = np.linspace(0.0, 0.25, 100)
        axes.plot(p, [least_distortion(v, mmse, gap) for v in p], color=INK, label="D(P) = D* + (P* − P)₊²")
        axes.plot(0.0, 2 * mmse, "o", color=VERMILLION, label="a draw of the posterior")
        axes.plot(gap, mmse, "s", color=BLUE, label="the posterior mean")
        for n in (2, 4, 8, 16):
            width = math.sqrt(1.0 - mmse + mmse / n)
            axes.plot(1.0 - width, mmse * (1 + 1 / n), "^", color=ORANGE, label="mean of 2, 4, 8, 16 draws" if n == 2 else None)
        axes.set(title="Perception and distortion, N(0, 1) and R = ½", xlabel="P = W2 to the data", ylabel="mean squared error")
        axes.legend()

    return sheet(1, draw)


@claim(
    31,
    paper="DIVD (perception and distortion)",
    reference="arXiv:2412.00773",
    statement="A posterior sampler buys its perceptual quality with distortion: its mean squared error is twice the least one, and on "
    "Gaussians the curve D(P) = D* + (P* − P)₊² lies below it at P = 0: the sampler is off the curve.",
    control="the posterior mean stands in place of the sample",
    draw=_draw,
)
def perception(broken: bool) -> list[Row]:
    """The exact score's sampler on N(0, 1) with R = ½, at 400 steps of a second-order solver; law and error exact."""
    mmse, gap = gaussian_tradeoff(LINE, HALF.matrix, HALF.variance)
    b, law = estimate("exact", LINE, HALF, 60, solver="dpmpp_2m")
    spread = law.covariance * (0.0 if broken else 1.0)
    error = distortion(LINE, HALF, b, spread)
    width = math.sqrt(float(b[0, 0] ** 2 * 1.5 + spread[0, 0]))
    return [
        near("mean squared error of a sample over the least", error / mmse, 2.0, 0.02, "times"),
        below("its W2 to the data", abs(width - 1.0), 0.01),
        near("D(0) on the curve", least_distortion(0.0, mmse, gap), 1 / 3 + (1 - math.sqrt(2 / 3)) ** 2, 1e-12, kept=True),
        above("distance of the sample's error from the curve at its P", error - least_distortion(abs(width - 1.0), mmse, gap), 0.25),
    ]


@claim(
    220,
    paper="Scaling properties of diffusion models for perception",
    reference="arXiv:2411.08034",
    statement="The mean of N posterior samples has the error MMSE (1 + 1/N) exactly; for squared error a budget of evaluations is best "
    "spent on many samples of few steps, which are nearer to the posterior mean.",
    control="the samples are not independent: one start and one noise for all of them",
)
def ensembles(broken: bool) -> list[Row]:
    """Exact errors of means of N samples in the plane; the split of 64 evaluations by a first-order solver."""
    operator = Linear([[1.0, 0.4]], 0.05)
    mmse = gaussian_tradeoff(PLANE, operator.matrix, operator.variance)[0]

    def error(steps: int, n: int, solver: str) -> float:
        b, law = estimate("exact", PLANE, operator, steps, solver=solver)
        return distortion(PLANE, operator, b, law.covariance / (1 if broken else n))

    fine = {n: error(80, n, "dpmpp_2m") / mmse for n in (4, 16)}
    coarse = {n: error(64 // n, n, "ddim") / mmse for n in (1, 4, 8, 16, 32)}
    return [
        *(near(f"error of the mean of {n} samples over the least", v, 1.0 + 1.0 / n, 0.01, "times") for n, v in fine.items()),
        above("64 evaluations by DDIM: all on one sample, over the best split", coarse[1] / min(coarse.values()), 1.3, "times", kept=True),
        below("error of 32 samples of 2 steps, over the least: few steps give the mean", coarse[32], 1.1, "times", kept=True),
    ]


@claim(
    8,
    paper="Optimal boundary conditions of super-resolution ODEs",
    reference="arXiv:2305.15357",
    statement="For jointly Gaussian (x0, y) the start x_T of the conditional flow that is best in mean square is alpha_T m(y): it tends to "
    "0, free of y, as alpha_T → 0, and then one start serves every y with the least error.",
    control="the flow starts in the middle, where alpha_T is not small",
)
def boundary(broken: bool) -> list[Row]:
    """The flow of the exact conditional model, whose output is affine in x_T, for two y."""
    operator = Linear([[1.0, 0.4]], 0.05)
    nodes = grid.uniform_lam(VP(), 80, start=0.35 if broken else 1.0, end=1e-4)
    best, excess = [], []
    for y in (1.0, -2.0):
        c = Conditioned(ExactModel(PLANE), operator, np.array([y]))
        model = c.model.given(operator, c.y)
        law = affine_law(lambda c, x, n, d, m=model: sample(SOLVERS["dpmpp_2m"], m, x, n), c, nodes, 2)
        target = PLANE.given(operator.matrix, c.y, operator.variance).mean()
        best.append(np.linalg.solve(law.start, target - law.offset))
        excess.append(float(np.sum((law.offset - target) ** 2)))
        meant = nodes[0].alpha * target
    trace = float(np.trace(PLANE.given(operator.matrix, [0.0], operator.variance).covariance()))
    return [
        below("x_T* − alpha_T m(y)", float(np.abs(best[-1] - meant).max()), 2e-3, kept=True),
        below("distance between the best starts for two y", float(np.abs(best[0] - best[1]).max()), 0.03),
        below("error of the start 0 above the least, worst of two y", max(excess) / trace, 1e-3, "of the least"),
    ]


@claim(
    249,
    paper="HI-Diff (a sampled prior feature)",
    reference="arXiv:2305.12966",
    statement="Regression with a sampled low-dimensional feature z of the clean image, x̂ = E[x | y, z] with z ~ p(z | y), has the error "
    "MMSE + tr Cov(E[x | y, z] | y), and lacks the covariance E Cov(x | y, z): with dim z the first grows and the second falls.",
    control="the feature is the mean of p(z | y), not a draw",
)
def feature(broken: bool) -> list[Row]:
    """A Gaussian in 8 dimensions seen through 3 rows; z the first principal directions of what is left."""
    rng = np.random.default_rng(0)
    root = rng.standard_normal((8, 8)) / 3.0
    law, a = GaussianMixture([1.0], np.zeros((1, 8)), (root @ root.T)[None]), rng.standard_normal((3, 8))
    left = law.given(a, np.zeros(3), 0.1).covariance()
    vectors = np.linalg.eigh(left)[1][:, ::-1]
    errors, missing, sampled = [], [], []
    for k in (1, 3, 5):
        f = vectors[:, :k].T
        given_z = law.given(np.concatenate([a, f]), np.zeros(3 + k), np.diag([0.1] * 3 + [1e-9] * k)).covariance()
        gain = left @ f.T @ np.linalg.inv(f @ left @ f.T)  # E[x | y, z] moves by this with z − E[z | y]
        spread = gain @ (f @ left @ f.T) @ gain.T * (0.0 if broken else 1.0)
        draws = rng.multivariate_normal(np.zeros(8), left, 4000)
        z = rng.multivariate_normal(np.zeros(k), f @ left @ f.T, 4000) * (0.0 if broken else 1.0)
        errors.append(float(np.mean(np.sum((draws - z @ gain.T) ** 2, 1))) / float(np.trace(left + spread)))
        missing.append(float(np.abs(left - spread - given_z).max()))
        sampled.append(float(np.trace(spread) / np.trace(left)))
    return [
        below("worst |error of 4,000 draws over MMSE + tr Cov(E[x | y, z] | y) − 1|", max(abs(e - 1.0) for e in errors), 0.08, kept=True),
        below("missing covariance against E Cov(x | y, z)", max(missing), 1e-6),
        above("part of the spread regained with dim z = 5", sampled[-1], 0.99),
        above("growth of the error with dim z from 1 to 5", sampled[-1] - sampled[0], 0.1, "of MMSE"),
    ]


@claim(
    288,
    paper="FlowVid (soft use of a warped frame)",
    reference="arXiv:2312.17681",
    statement="A warped frame y = W x0 + e with errors of known covariance E is a soft condition: used hard, the estimate keeps all of the "
    "flow's error; the best weight is that of E, direction by direction, better than every common weight.",
    control="the errors of the flow are the same in every direction, in which one weight is enough",
)
def warped_frame(broken: bool) -> list[Row]:
    """A Gaussian signal of 6 pixels, warped by one step around a ring; errors large at two pixels (occlusions)."""
    gap = np.minimum(np.arange(6), 6 - np.arange(6))
    kernel = np.exp(-0.5 * gap**2)
    signal = np.stack([np.roll(kernel, i) for i in range(6)])
    law, w = GaussianMixture([1.0], np.zeros((1, 6)), signal[None]), np.roll(np.eye(6), 1, 0)
    error = np.diag([0.6] * 6 if broken else [0.02] * 4 + [4.0] * 2)

    def mse(noise: np.ndarray) -> float:
        b = signal @ w.T @ np.linalg.inv(w @ signal @ w.T + noise)
        rest = np.eye(6) - b @ w
        return float(np.trace(rest @ signal @ rest.T + b @ error @ b.T))

    exact = float(np.trace(law.given(w, np.zeros(6), error).covariance()))
    common = min(mse(v * np.eye(6)) for v in np.geomspace(1e-3, 30.0, 200))
    return [
        near("error of hard use over tr E", mse(1e-9 * np.eye(6)) / float(np.trace(error)), 1.0, 1e-6, kept=True),
        near("error with the weight of E over the posterior's trace", mse(error) / exact, 1.0, 1e-10, kept=True),
        above("best common weight over the weight of E", common / exact, 1.2, "times"),
    ]
