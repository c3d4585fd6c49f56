r"""Claims 15, 19, 23, 29, 121, 136, 147, 157, 172, 213: what objectives, couplings and parameterisations of training make of a model."""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import spearmanr

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.information import channel, mmse
from scorebed.solvers import EDM, SOLVERS, VP, Cosine, denoiser, grid, sample
from scorebed.solvers.schedule import Schedule
from scorebed.toy.claims.registry import Row, above, below, claim, near

PAIR = GaussianMixture([0.5, 0.5], [-1.0, 1.0], [0.01, 0.01])
LINE = GaussianMixture([0.3, 0.7], [-1.0, 1.2], [0.06, 0.15])


def nearest_noise(d: int, k: int, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """x0 ~ N(0, ¼ I) and the nearest of k normals to it, (n, d) each."""
    x0, candidates = 0.5 * rng.standard_normal((n, d)), rng.standard_normal((n, k, d))
    pick = ((candidates - x0[:, None]) ** 2).sum(-1).argmin(1)
    return x0, candidates[np.arange(n), pick]


@claim(
    15,
    paper="Improved Immiscible Diffusion",
    reference="arXiv:2505.18521",
    statement="Taking the nearest of k noises is no draw from N(0, I): with data of deviation ½ the variance is .58 (d = 16, k = 16) and "
    ".92 "
    "(d = 256, k = 4), the noise is correlated with x0, and what is gained is a smaller residual of the target.",
    control="one candidate, which is no choice",
)
def nearest(broken: bool) -> list[Row]:
    """Moments of the chosen noise, and the residual of a linear fit of eps on x_t at alpha = sigma."""
    rng = np.random.default_rng(0)
    x0, eps = nearest_noise(16, 1 if broken else 16, 6000, rng)
    _, wide = nearest_noise(256, 1 if broken else 4, 500, rng)
    x = math.sqrt(0.5) * (x0 + eps)
    slope = float((x * eps).sum() / (x * x).sum())
    residual = float(((eps - slope * x) ** 2).mean())
    return [
        near("variance of the noise, d = 16, k = 16", float(eps.var()), 0.58, 0.02),
        near("variance of the noise, d = 256, k = 4", float(wide.var()), 0.92, 0.02),
        above("correlation with x0, d = 16", float(np.corrcoef(x0.ravel(), eps.ravel())[0, 1]), 0.1),
        below("residual of the target over that of independent noise, ¼/(¼ + 1)", residual / 0.2, 0.9),
    ]


@claim(
    19,
    paper="Immiscible Diffusion",
    reference="arXiv:2406.12303",
    statement="Assigning the noises of a batch to its data keeps the set of noises to the bit and shortens the pairs; the joint law is no "
    "product, so that E[eps|x_t] is not −sigma times the score of the convolution; on the line large batches give the monotone pairing.",
    control="the noises are permuted at random",
)
def assigned(broken: bool) -> list[Row]:
    """A batch of 512 on the line (the assignment sorts) and of 256 in the plane, data N(0, ¼), alpha = sigma."""
    rng = np.random.default_rng(1)
    x0, eps = 0.5 * rng.standard_normal(4096), rng.standard_normal(4096)
    paired = np.empty_like(eps)
    paired[np.argsort(x0)] = rng.permutation(eps) if broken else np.sort(eps)
    x = math.sqrt(0.5) * (x0 + paired)
    slope = float((x * paired).sum() / (x * x).sum())
    a, b = 0.5 * rng.standard_normal((256, 2)), rng.standard_normal((256, 2))
    cost = ((a[:, None] - b[None]) ** 2).sum(-1)
    columns = rng.permutation(256) if broken else linear_sum_assignment(cost)[1]
    return [
        below("the set of noises changes by", float(np.abs(np.sort(paired) - np.sort(eps)).max()), 0.0, kept=True),
        near("slope of E[eps|x_t]: that of the monotone pairing, √½/(½(1 + ½))", slope, math.sqrt(0.5) / 0.75, 0.03),
        above("away from −sigma score of the convolution, √½/(½ + ⅛)", abs(slope - math.sqrt(0.5) / 0.625), 0.1),
        below("length of the pairs in the plane over that of random ones", float(cost[np.arange(256), columns].mean() / cost.mean()), 0.5),
    ]


@claim(
    23,
    paper="Lotus",
    reference="arXiv:2409.18124",
    statement="A fixed error of the network's output is worth sigma/alpha times as much in x0 when it predicts eps, and once when it "
    "predicts x0; "
    "the best one-step predictor from pure noise is E[x0|c], exact only where the conditional law is a point.",
    control="the two parameterisations exchanged; the unconditional mean",
)
def parameterisation(broken: bool) -> list[Row]:
    """Through the conversions of ``solvers.model``, and one step of DDIM from T on conditional Gaussians."""
    node, x = VP().node(0.8), np.array([[0.3], [1.0]])
    first, second = ("denoised", "eps") if broken else ("eps", "denoised")
    moved = [
        float(np.abs(denoiser(lambda z, n: 0.0 * z + 0.01, p)(x, node) - denoiser(lambda z, n: 0.0 * z, p)(x, node)).max()) / 0.01
        for p in (first, second)
    ]
    nodes = grid.uniform_lam(VP(), 1, end=1e-3)
    rms = []
    for variance in (0.3, 0.0):
        law = GaussianMixture([1.0], [0.7], [variance])
        model = LINE if broken else law
        z = nodes[0].sigma * np.random.default_rng(0).standard_normal((40000, 1))
        out = np.asarray(model.denoised(z, nodes[0]))
        rms.append(float(np.sqrt(np.mean((out - law.sample(40000, 1)) ** 2))))
    return [
        near("amplification under eps-prediction over sigma/alpha", moved[0] / node.rho, 1.0, 1e-9),
        near("amplification under x0-prediction", moved[1], 1.0, 1e-9),
        near("RMS of one step, conditional variance .3", rms[0], math.sqrt(0.3), 0.008),
        below("RMS of one step onto a point", rms[1], 1e-3),
    ]


def best_cuts(cost: np.ndarray, parts: int) -> float:
    """The least sum of costs of a partition of 0 … n − 1 into contiguous parts, by dynamic programming; cost[i, j] of [i, j)."""
    n = len(cost) - 1
    best = np.full((parts + 1, n + 1), math.inf)
    best[0, 0] = 0.0
    for k in range(1, parts + 1):
        for j in range(1, n + 1):
            best[k, j] = min(best[k - 1, i] + cost[i, j] for i in range(j))
    return float(best[parts, n])


@claim(
    29,
    paper="ANT (negative transfer between noise levels)",
    reference="arXiv:2306.00354",
    statement="The gradients of denoising losses at two noise levels agree the less the further their log-SNR are apart; the dynamic "
    "programme "
    "finds the best contiguous clustering of levels, as brute force does.",
    control="the levels shuffled; equal parts in place of the programme",
)
def affinity(broken: bool) -> list[Row]:
    """A linear denoiser W x shared by all levels: its gradient at W = ½ is ½(alpha² Σ + sigma²) − alpha Σ, with Σ_k = 4/k²."""
    spectrum, lams = 4.0 / np.arange(1, 17) ** 2, np.linspace(-3.0, 3.0, 13)
    alphas = np.sqrt(1.0 / (1.0 + np.exp(-2.0 * lams)))
    g = 0.5 * (alphas[:, None] ** 2 * spectrum + 1.0 - alphas[:, None] ** 2) - alphas[:, None] * spectrum
    cosine = (g @ g.T) / np.linalg.norm(g, axis=1)[:, None] / np.linalg.norm(g, axis=1)
    labels = np.random.default_rng(0).permutation(lams) if broken else lams
    upper = np.triu_indices(13, 1)
    rank = float(spearmanr(np.abs(labels[:, None] - labels)[upper], cosine[upper])[0])
    cost = np.array([[(1.0 - cosine[i:j, i:j]).sum() / max(1, j - i) if j > i else math.inf for j in range(14)] for i in range(14)])
    brute = min(sum(cost[a, b] for a, b in itertools.pairwise((0, *cut, 13))) for cut in itertools.combinations(range(1, 13), 3))
    found = sum(cost[a, b] for a, b in itertools.pairwise((0, 3, 6, 9, 13))) if broken else best_cuts(cost, 4)
    return [
        below("rank correlation of affinity with the gap in log-SNR", rank, -0.8),
        below("the programme above brute force", float(found - brute), 1e-12),
    ]


@claim(
    121,
    paper="Self-conditioned embedding diffusion",
    reference="arXiv:2211.04236",
    statement="An earlier estimate D(x_s), s noisier, says nothing about x0 that x_t does not, where the denoiser is exact; where it is "
    "underfit "
    "(affine), the earlier estimate explains part of what is left.",
    control="the earlier state has a noise of its own, so that it is a second observation",
)
def self_conditioning(broken: bool) -> list[Row]:
    """Share of the residual's variance that polynomials in the earlier estimate explain, 40,000 draws."""
    rng, t, s = np.random.default_rng(3), EDM().node(0.6), EDM().node(1.0)
    x0 = LINE.sample(40000, rng)
    x = x0 + t.sigma * rng.standard_normal(x0.shape)
    noisier = (
        x0 + s.sigma * rng.standard_normal(x0.shape) if broken else x + math.sqrt(s.sigma**2 - t.sigma**2) * rng.standard_normal(x.shape)
    )
    earlier = np.asarray(LINE.denoised(noisier, s))[:, 0]
    fits = np.stack([earlier**k for k in range(4)], 1)

    def explained(residual: np.ndarray) -> float:
        fitted = fits @ np.linalg.lstsq(fits, residual, rcond=None)[0]
        return float(np.var(fitted) / np.var(residual))

    slope, offset = np.polyfit(x[:, 0], x0[:, 0], 1)
    return [
        below("explained of the exact denoiser's residual", explained(x0[:, 0] - np.asarray(LINE.denoised(x, t))[:, 0]), 1e-3),
        above("explained of the affine denoiser's residual", explained(x0[:, 0] - slope * x[:, 0] - offset), 0.01, kept=True),
    ]


def weighted_loss(schedule: Schedule, by_time: bool) -> float:
    """∫ w mse(eps) dlam over lam in [−4, 4] with t as the variable of integration, w = sigmoid(1 − lam), or of t where it is wrong."""
    low, high = schedule.at_lam(4.0).t, schedule.at_lam(-4.0).t
    z, weights = np.polynomial.legendre.leggauss(48)
    total = 0.0
    for zi, wi in zip(z, weights, strict=True):
        t = 0.5 * (low + high) + 0.5 * (high - low) * float(zi)
        node, h = schedule.node(t), 1e-5 * t
        rate = abs(schedule.node(t + h).lam - schedule.node(t - h).lam) / (2.0 * h)
        error = node.alpha**2 / node.sigma**2 * mmse(LINE, node)
        weight = (
            1.0 / (1.0 + math.exp((10.0 * (t - low) / (high - low) - 5.0) - 1.0)) if by_time else 1.0 / (1.0 + math.exp(node.lam - 1.0))
        )
        total += 0.5 * (high - low) * wi * weight * rate * error
    return float(total)


@claim(
    136,
    paper="SiD2 (simpler diffusion)",
    reference="arXiv:2410.19324",
    statement="A loss weighted by a function of lam alone does not depend on the schedule; a weight that falls with lam is a mixture of "
    "ELBOs of "
    "noised data.",
    control="the weight is a function of t",
)
def sigmoid_weighting(broken: bool) -> list[Row]:
    """VP, cosine and a mixture of truncated integrals, by quadrature on two modes."""
    vp, cosine = weighted_loss(VP(), broken), weighted_loss(Cosine(), broken)
    z, w = np.polynomial.legendre.leggauss(40)
    lams, weights = 4.0 * z, 4.0 * w

    def error(lam: float) -> float:
        node = channel(math.exp(2.0 * lam))
        return mmse(LINE, node) / node.sigma**2

    values = np.array([error(float(lam)) for lam in lams])
    sigmoid = 1.0 / (1.0 + np.exp(lams - 1.0))
    direct = float(weights @ (sigmoid * values))
    cumulative = np.array([float(np.sum(weights[:i] * values[:i]) + 0.5 * weights[i] * values[i]) for i in range(40)])
    slope = np.exp(lams - 1.0) * sigmoid**2
    mixed = float(weights @ (slope * cumulative)) + float(weights @ values) / (1.0 + math.exp(3.0))
    return [
        below("VP against cosine, relative", abs(vp / cosine - 1.0), 1e-4),
        below("against the integral over lam, relative", abs(vp / direct - 1.0), 1e-3),
        below("mixture of truncated ELBOs against the loss, relative (40 nodes)", abs(mixed / direct - 1.0), 0.05, kept=True),
    ]


@claim(
    147,
    paper="InfoDiffusion (representation)",
    reference="arXiv:2306.08757",
    statement="With an exact conditional denoiser and the aggregated posterior as prior, the ELBO is −h(x) for every encoder: it does "
    "not care "
    "whether the auxiliary latent is used; a term with the mutual information decides for its use.",
    control="a denoiser of fixed variance, which needs the latent",
)
def auxiliary(broken: bool) -> list[Row]:
    """x ~ N(0, 1), z = a x + noise of variance 1: ELBO(a) = E log p(x|z) − I(x; z), all closed."""
    gains = np.linspace(0.0, 3.0, 13)
    information = 0.5 * np.log1p(gains**2)
    posterior = 1.0 / (1.0 + gains**2)
    likelihood = (
        -0.5 * math.log(2.0 * math.pi * 0.2) - 0.5 * posterior / 0.2 if broken else -0.5 * np.log(2.0 * math.pi * math.e * posterior)
    )
    elbo = likelihood - information
    entropy = 0.5 * math.log(2.0 * math.pi * math.e)
    return [
        below("ELBO + h(x), largest over the encoders", float(np.abs(elbo + entropy).max()), 1e-12),
        below("spread of the ELBO over the encoders", float(np.ptp(elbo)), 1e-12),
        above("I(x; z) of the encoder that ELBO + ½ I prefers", float(information[np.argmax(elbo + 0.5 * information)]), 1.0, kept=True),
    ]


def ema_weights(gamma: float, steps: int, beta: float | None = None) -> np.ndarray:
    """The weight of every iterate after theta <- beta_t theta + (1 − beta_t) theta_t with beta_t = (1 − 1/t)^{gamma + 1}."""
    weights = np.zeros(steps)
    for t in range(1, steps + 1):
        b = (1.0 - 1.0 / t) ** (gamma + 1.0) if beta is None else beta
        weights *= b
        weights[t - 1] += 1.0 - b
    return weights


@claim(
    157,
    paper="EDM2 (post-hoc EMA)",
    reference="arXiv:2312.02696",
    statement="The update beta_t = (1 − 1/t)^{gamma+1} keeps the power profile tau^gamma; any other profile is put together from "
    "snapshots of two "
    "of them with an L2 error that is known; sums divided by their norm keep unit variance.",
    control="a constant beta; a sum that is not divided",
)
def power_ema(broken: bool) -> list[Row]:
    """Profiles after 400 steps; gamma = 9 from snapshots of 5 and 16 at eight times."""
    steps = 400
    tau = np.arange(1, steps + 1) / steps
    kept = ema_weights(7.0, steps, 0.99 if broken else None)
    profile = 8.0 * tau**7.0 / steps
    target = ema_weights(9.0, steps)
    stored = []
    for gamma in (5.0, 16.0):
        for k in range(1, 9):
            w = np.zeros(steps)
            w[: 50 * k] = ema_weights(gamma, 50 * k, 0.99 if broken else None)
            stored.append(w)
    basis = np.array(stored).T
    made = basis @ np.linalg.lstsq(basis, target, rcond=None)[0]
    a, b = np.random.default_rng(0).standard_normal((2, 20000))
    mixed = (0.7 * a + 0.3 * b) / (1.0 if broken else math.hypot(0.7, 0.3))
    return [
        below("profile of gamma = 7, relative L2 error", float(np.linalg.norm(kept - profile) / np.linalg.norm(profile)), 0.02),
        below("gamma = 9 from snapshots, relative L2 error", float(np.linalg.norm(made - target) / np.linalg.norm(target)), 0.02),
        near("variance of a magnitude-preserving sum", float(mixed.var()), 1.0, 0.03),
    ]


@claim(
    172,
    paper="DIAMOND",
    reference="arXiv:2405.12399",
    statement="EDM's c_skip and c_out give a training target of unit variance at every noise; one step from pure noise is the "
    "conditional mean and "
    "blurs a bimodal transition, a few more find its modes.",
    control="coefficients for data of another variance; one step in place of several",
)
def world_model(broken: bool) -> list[Row]:
    """Closed moments for data of deviation ½, and Heun's method on ±1 of variance .01."""
    assumed, worst = 1.5 if broken else 0.5, 0.0
    for sigma in (0.01, 0.3, 1.0, 10.0):
        skip = assumed**2 / (assumed**2 + sigma**2)
        out = sigma * assumed / math.sqrt(assumed**2 + sigma**2)
        worst = max(worst, abs(((1.0 - skip) ** 2 * 0.25 + skip**2 * sigma**2) / out**2 - 1.0))
    x = 20.0 * np.random.default_rng(0).standard_normal((500, 1))
    blur = float(np.abs(PAIR.denoised(x, EDM().node(20.0))).mean())
    ends = sample(SOLVERS["heun"], PAIR.denoised, x, grid.karras(EDM(), 1 if broken else 6, 20.0, 0.02))
    share = float((np.abs(np.abs(ends) - 1.0) < 0.3).mean())
    return [
        below("variance of the target less 1, worst noise", worst, 1e-12),
        below("mean |x| of one evaluation at sigma = 20, modes ±1", blur, 0.1, kept=True),
        above("share at a mode after six steps", share, 0.9),
    ]


@claim(
    213,
    paper="Markup-to-image (scheduled sampling)",
    reference="arXiv:2210.05147",
    statement="Training the last step on states that the model itself makes mends the error of a misspecified step before it; for an "
    "exact one it "
    "is no help: it asks for E[x0|x_t] and shrinks the output's variance.",
    control="the last step is trained on true states",
)
def scheduled_sampling(broken: bool) -> list[Row]:
    """Linear denoisers on N(0, 1) at sigma 2 and .5, closed moments: x̂ = x_t + (.5/2 − 1)(x_t − k x_t), out = c x̂."""
    variance, s, t = 1.0, 0.5, 2.0
    right = variance / (variance + t * t)

    def last(k: float) -> tuple[float, float]:
        """(MSE, output variance) when the first step has the slope k."""
        gain = 1.0 - (1.0 - s / t) * (1.0 - k)
        spread, cross = gain**2 * (variance + t * t), gain * variance
        c = variance / (variance + s * s) if broken else cross / spread
        return variance - 2.0 * c * cross + c * c * spread, c * c * spread

    plain = {}
    for k in (right, 0.6):
        gain, c = 1.0 - (1.0 - s / t) * (1.0 - k), variance / (variance + s * s)
        plain[k] = (variance - 2.0 * c * gain * variance + c * c * gain**2 * (variance + t * t), c * c * gain**2 * (variance + t * t))
    return [
        below("MSE after training on own states over before, wrong first step", last(0.6)[0] / plain[0.6][0], 0.7),
        below("output variance over before, exact first step", last(right)[1] / plain[right][1], 0.7),
        near("MSE then: that of E[x0|x_t]", last(right)[0], 0.8, 1e-12),
    ]
