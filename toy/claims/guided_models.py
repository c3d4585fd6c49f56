r"""Claims 81, 108, 139, 195, 217: models made of models, and what a sampler makes of them.

On Gaussians N(0, c_i) with α = 1 the flow of Σ w_i D_i, Σ w_i = 1, is x' = x Σ w_i σ²/(c_i + σ²) in log σ, so that from σ = ∞ the variance
of what is sampled is the geometric mean Π c_i^{w_i}, where the tilt that is meant has the harmonic one, 1/Σ (w_i/c_i).
"""

from __future__ import annotations

import math

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.output.moments import moments
from scorebed.solvers import EDM, SOLVERS, VP, Node, grid, sample, trace
from scorebed.solvers.guide import guided
from scorebed.solvers.methods.steering.rules import Rescaled
from scorebed.solvers.model import predicts
from scorebed.toy.claims.common import states
from scorebed.toy.claims.registry import Row, above, below, claim, near
from scorebed.toy.measure.convergence import rms


def variance(shares: dict[float, float]) -> float:
    """The variance that DPM-Solver++(2M) samples with Σ w D of centred Gaussians, ``shares`` giving w by variance."""
    nodes = grid.uniform_lam(EDM(), 200, start=80.0, end=0.002)
    plan = trace(SOLVERS["dpmpp_2m"], nodes, terminal="denoise")

    def affine(node: Node) -> tuple[np.ndarray, np.ndarray]:
        return np.array([[sum(w * c / (c + node.sigma**2) for c, w in shares.items())]]), np.zeros(1)

    unit = GaussianMixture([1.0], [[0.0]], 1.0)
    return float(moments(plan, unit, np.zeros(1), nodes[0].sigma ** 2 * np.eye(1), affine=affine)[1][0, 0])


@claim(
    81,
    paper="S3Diff (a degraded law as the negative)",
    reference="arXiv:2409.17058",
    statement="Guidance by w away from a degraded N(0, c_n) samples the variance c_p^w c_n^{1−w} from N(0, c_p): sharper than the "
    "target where the degraded law is wider, and finite also where the tilt p_p^w p_n^{1−w} has no variance at all.",
    control="the degraded law is not used",
)
def degraded(broken: bool) -> list[Row]:
    """A target of variance 1 against a blurred one of variance 2 and an over-sharpened one of variance .4, w = 1.5 and 3."""

    def sampled(c: float, w: float) -> float:
        return variance({1.0: 1.0} if broken else {1.0: w, c: 1.0 - w})

    soft, sharp = sampled(2.0, 1.5), sampled(0.4, 3.0)
    return [
        near("variance sampled over c_p^w c_n^{1−w}, wider negative", soft / 2.0**-0.5, 1.0, 0.01, "times"),
        near("variance sampled over c_p^w c_n^{1−w}, narrower negative", sharp / 0.4**-2.0, 1.0, 0.02, "times"),
        below("sharper than the target: variance over it, wider negative", soft, 0.75),
        below("precision of the tilt, narrower negative", 3.0 - 2.0 / 0.4, 0.0, kept=True),
    ]


@claim(
    217,
    paper="Unite and conquer",
    reference="arXiv:2212.00793",
    statement="The product p_1 p_2/p_0 of Gaussians is closed, but the sum of noised scores is not the score of the noised product: a "
    "sampler along it draws another variance, the gap of scores vanishing only as t → 0; a model of reliability 0 drops "
    "out.",
    control="the score of the noised product is used",
)
def product(broken: bool) -> list[Row]:
    """N(0, 1) with conditions that leave variances .5 and .3; scores at σ from 2 to .05."""
    c0, c1, c2 = 1.0, 0.5, 0.3
    meant = 1.0 / (1.0 / c1 + 1.0 / c2 - 1.0 / c0)
    found = variance({meant: 1.0} if broken else {c0: -1.0, c1: 1.0, c2: 1.0})

    def gap(sigma: float) -> float:
        """Of the slopes of the two scores, over the product's."""
        composed = 1.0 / (c1 + sigma**2) + 1.0 / (c2 + sigma**2) - 1.0 / (c0 + sigma**2)
        true = 1.0 / (meant + sigma**2)
        return 0.0 if broken else abs(composed - true) / true

    return [
        near("variance sampled over c_1 c_2/c_0", found / (c1 * c2 / c0), 1.0, 0.01, "times"),
        above("variance sampled against the product's", abs(found / meant - 1.0), 0.25),
        above("gap of the scores at σ = .7", gap(0.7), 0.1),
        below("gap of the scores at σ = .05 over that at .7", gap(0.05) / max(gap(0.7), 1e-12), 0.1, "times", kept=True),
        near(
            "variance with reliability 0 of the second over c_1", variance({c0: 0.0, c1: 1.0, c2: 0.0}) / c1, 1.0, 1e-3, "times", kept=True
        ),
    ]


@claim(
    108,
    paper="EzAudio (rescaled guidance)",
    reference="arXiv:2409.10819",
    statement="Rescaling the guided answer by std(D_c)/std(D_cfg) of each sample restores that standard deviation exactly at φ = 1, "
    "whatever the scale; the law that is sampled is still not the conditional one.",
    control="φ = 0",
)
def rescale(broken: bool) -> list[Row]:
    """Sixteen coordinates with a spectrum, scale 4: answers at three levels, and the covariance of 400 runs' ends against the target's."""
    c, u = np.geomspace(1.0, 0.05, 16), np.geomspace(2.0, 0.5, 16)
    given, null = (GaussianMixture([1.0], [np.zeros(16)], [np.diag(v)]) for v in (c, u))
    rule = Rescaled(4.0, 0.0 if broken else 1.0)
    model = guided(given.denoised, null.denoised, rule)
    rng, off = np.random.default_rng(0), 0.0
    for lam in (-1.0, 0.5, 2.0):
        node = VP().at_lam(lam)
        x = given.marginal(node).sample(50, 3)
        off = max(off, float(np.abs(model(x, node).std(1) / given.denoised(x, node).std(1) - 1.0).max()))
    nodes = grid.uniform_lam(VP(), 40, end=0.02)
    x = nodes[0].sigma * rng.standard_normal((400, 16))
    end = sample(SOLVERS["dpmpp_2m"], model, x, nodes, terminal="none")
    share = end.var(0) / np.diag(np.asarray(given.marginal(nodes[-1]).covariance()))
    return [
        below("std of the answers over the conditional one's, off 1", off, 1e-10),
        above("variance ratio of the least direction of the ends, off 1", float(np.abs(np.log(share)).max()), 0.5, kept=True),
    ]


@claim(
    139,
    paper="Diffusion models are evolutionary algorithms",
    reference="arXiv:2410.02543",
    statement="The estimate of diffusion evolution, an average of the population by fitness and by N(x_i; √α x_j, 1 − α), is E[x0 | "
    "x] of the population weighted by its fitness; on a fixed population every peak keeps the share that fitness gives it.",
    control="fitness is left out",
)
def evolution(broken: bool) -> list[Row]:
    """A population on two peaks of fitness 3 and 1, DDIM at 60 steps from equally likely starts."""
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(-2.0, 0.3, 60), rng.normal(2.0, 0.3, 60)])
    fitness = np.where(points < 0.0, 3.0, 1.0)
    weighted = GaussianMixture(fitness / fitness.sum(), points[:, None], 0.0)

    @predicts("denoised")
    def estimate(x: np.ndarray, node: Node) -> np.ndarray:
        """x̂0 as the algorithm has it."""
        log = -0.5 * (x - node.alpha * points) ** 2 / node.sigma**2
        share = (1.0 if broken else fitness) * np.exp(log - log.max(1, keepdims=True))
        return (share @ points / share.sum(1))[:, None]

    node = VP().node(0.4)
    x = np.linspace(-3.0, 3.0, 31)[:, None]
    nodes = grid.uniform_lam(VP(), 60, end=0.02)
    end = sample(SOLVERS["ddim"], estimate, states(weighted, nodes[0], 400), nodes, terminal="none")
    return [
        below(
            "x̂0 against E[x0 | x] of the weighted population", float(np.abs(estimate(x, node) - weighted.denoised(x, node)).max()), 1e-10
        ),
        near("share of the runs that end on the fitter peak", float((end < 0.0).mean()), 0.75, 0.03),
    ]


@claim(
    195,
    paper="CDiffuser",
    reference="arXiv:2402.02772",
    statement="The gradient of a contrastive pull towards high returns, with similarity e^{−|x − y|²/2h²}, is classifier guidance "
    "with the odds of two kernel density estimates, exactly.",
    control="the similarity is e^{x·y/h²}",
)
def contrast(broken: bool) -> list[Row]:
    """Forty states of high and sixty of low return in the plane, by central differences of the loss."""
    rng, h = np.random.default_rng(0), 0.4
    high, low = rng.normal(0.8, 0.5, (40, 2)), rng.normal(-0.4, 0.7, (60, 2))
    both = np.concatenate([high, low])

    def gain(x: np.ndarray) -> np.ndarray:
        """log Σ_high similarity − log Σ_all similarity."""
        apart = -(x @ both.T) if broken else 0.5 * ((x[:, None] - both) ** 2).sum(-1)
        similar = np.exp(-apart / h**2)
        return np.asarray(np.log(similar[:, :40].sum(1)) - np.log(similar.sum(1)))

    x, step = rng.normal(0.0, 0.8, (20, 2)), 1e-5
    slope = np.stack([(gain(x + step * e) - gain(x - step * e)) / (2.0 * step) for e in np.eye(2)], 1)
    clean = Node(0.0, 1.0, 0.0, math.inf, VP())
    kde = [GaussianMixture(np.full(len(p), 1.0 / len(p)), p, h * h) for p in (high, both)]
    return [
        below(
            "gradient of the pull against the difference of the scores",
            rms(slope - (kde[0].score(x, clean) - kde[1].score(x, clean))),
            1e-6,
        )
    ]
