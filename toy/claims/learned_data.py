r"""Claims 70, 104, 105, 193, 209, 216, 218: what data do to what is learned: few, corrupted, biased, noisy, or made by the model."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.distance import gaussian_kl
from scorebed.analytic.gaussian.information import expect, points, total_variation
from scorebed.solvers import EDM
from scorebed.toy.claims.registry import Row, above, below, claim, near

TARGET = GaussianMixture([0.4, 0.6], [-0.8, 0.9], [0.09, 0.16])


def kde(n: int, width: float, rng: np.random.Generator) -> GaussianMixture:
    """n draws of the target, smoothed."""
    return GaussianMixture(np.full(n, 1.0 / n), TARGET.sample(n, rng), np.full(n, width**2))


def tv_rate(broken: bool, sizes: tuple[int, ...] = (100, 400, 1600), repeats: int = 6) -> float:
    """Slope in n of the mean total variation of the empirical law stopped at width n^{−1/5}/2, or at a fixed one."""
    rng, z = np.random.default_rng(0), np.linspace(-3.0, 3.0, 400)
    truth = np.exp(TARGET.log_prob(z[:, None]))
    means = []
    for n in sizes:
        width = 0.02 if broken else 0.55 * n**-0.2
        values = []
        for _ in range(repeats):
            x = TARGET.sample(n, rng)[:, 0]
            density = np.exp(-0.5 * ((z[:, None] - x) / width) ** 2).mean(1) / (width * math.sqrt(2.0 * math.pi))
            values.append(0.5 * float(np.sum(np.abs(density - truth)) * (z[1] - z[0])))
        means.append(float(np.mean(values)))
    return float(np.polyfit(np.log(sizes), np.log(means), 1)[0])


@claim(
    105,
    paper="Diffusion models are minimax optimal",
    reference="arXiv:2303.01861",
    statement="The exact score of n points, stopped at sigma, is a kernel estimate of that width: with sigma ~ n^{-1/5} its total "
    "variation falls "
    "like n^{-2/5} for two derivatives on the line; run on to sigma = 0 it memorises.",
    control="a stop that does not follow n",
)
def minimax(broken: bool) -> list[Row]:
    """Slopes in n, and the share of mass within .01 of a training point at the end."""
    rng = np.random.default_rng(1)
    law = kde(200, 0.2 if broken else 1e-4, rng)
    x = law.sample(2000, rng)
    near_data = float((np.abs(x - law.means[:, 0]).min(1) < 0.002).mean())
    return [
        near("slope of total variation in n, −2/5", tv_rate(broken), -0.4, 0.08),
        above("share of samples on a training point, sigma = 1e-4, 200 points", near_data, 0.95),
    ]


@claim(
    104,
    paper="Statistical guarantees for reflected diffusion models",
    reference="arXiv:2411.01563",
    statement="In a box the empirical law under the reflected heat flow is the cosine series with coefficients damped by e^{-lam t}: "
    "stopped at "
    "t ~ n^{-2/5} its total variation falls like n^{-2/5}; the law at T is within e^{-lam_1 T} of uniform.",
    control="the damping is left out; the clock of Δ",
)
def reflected_rates(broken: bool) -> list[Row]:
    """Density 1 + .6 cos πx + .2 cos 3πx on [0, 1]; cosine coefficients of n draws by rejection."""
    rng, z = np.random.default_rng(2), np.linspace(0.0, 1.0, 401)
    k = np.arange(1, 60)

    def density(x: np.ndarray) -> np.ndarray:
        return 1.0 + 0.6 * np.cos(math.pi * x) + 0.2 * np.cos(3.0 * math.pi * x)

    def draws(n: int) -> np.ndarray:
        x = rng.random(4 * n)
        return x[rng.random(4 * n) * 1.8 < density(x)][:n]

    means, sizes = [], (400, 1600, 6400)
    for n in sizes:
        t = 0.0 if broken else 0.06 * n**-0.4
        values = []
        for _ in range(16):
            c = np.sqrt(2.0) * np.cos(math.pi * np.outer(k, draws(n))).mean(1) * np.exp(-0.5 * (math.pi * k) ** 2 * t)
            made = 1.0 + np.sqrt(2.0) * c @ np.cos(math.pi * np.outer(k, z))
            values.append(0.5 * float(np.mean(np.abs(made - density(z)))))
        means.append(float(np.mean(values)))
    clock = 1.0 if broken else 0.5
    at_end = 0.5 * float(np.mean(np.abs(0.6 * np.exp(-clock * math.pi**2 * 0.8) * np.cos(math.pi * z))))
    bound = 0.3 * 2.0 / math.pi * math.exp(-0.5 * math.pi**2 * 0.8)
    return [
        near("slope of total variation in n", float(np.polyfit(np.log(sizes), np.log(means), 1)[0]), -0.4, 0.06),
        below("total variation at n = 6400", means[-1], 0.025),
        near("distance from uniform at T = .8 over (.6/π) e^{−π²T/2}", at_end / bound, 1.0, 0.02),
    ]


@claim(
    70,
    paper="Slight corruption theory",
    reference="arXiv:2405.20494",
    statement="Flipping a share eta of conditions gives (1 − eta) p_c + eta p_c': entropy and covariance grow with eta. With all the "
    "data that only "
    "hurts; where few data leave the class's covariance underestimated, a little of it brings the law nearer.",
    control="the fitted covariance is the true one",
)
def slight_corruption(broken: bool) -> list[Row]:
    """Classes N(±½, 1); a class fitted with variance .7 (or 1), flipped: W2 to N(½, 1) of the moment-matched law, closed."""
    eta = np.linspace(0.0, 0.3, 61)
    fitted = 1.0 if broken else 0.7
    mean = 0.5 * (1.0 - 2.0 * eta)
    std = np.sqrt(fitted + eta * (1.0 - eta))
    w2 = np.hypot(mean - 0.5, std - 1.0)
    truth = np.hypot(mean - 0.5, np.sqrt(1.0 + eta * (1.0 - eta)) - 1.0)
    laws = [GaussianMixture([1.0 - e, e], [0.5, -0.5], [1.0, 1.0]) for e in (0.01, 0.1, 0.2)]
    entropies = [-expect(law, lambda x, law=law: np.asarray(law.log_prob(x))) for law in laws]  # type: ignore[misc]
    return [
        above("eta of the least W2, variance underestimated", float(eta[np.argmin(w2)]), 0.02),
        above("W2 without corruption over the least", float(w2[0] / max(1e-12, w2.min())) if w2.min() > 1e-9 else 1.0, 1.05),
        above("growth of W2 with eta, all the data: least increment", float(np.diff(truth).min()), 0.0, kept=True),
        above("growth of entropy with eta: least increment", float(np.diff(entropies).min()), 0.0, kept=True),
    ]


@claim(
    193,
    paper="Ambient Diffusion Omni",
    reference="arXiv:2506.10038",
    statement="Noise contracts the distance of a biased law from the clean one, so that biased samples serve from a noise level on, "
    "which is where "
    "their bias falls below the variance that more samples save; a window of a stationary field denoises as the whole one at small noise.",
    control="the biased samples are used at every level; a window of one cell",
)
def biased_data(broken: bool) -> list[Row]:
    """Clean N(0, 1), 50 samples; biased N(.4, 1), 500: error of the estimated mean of x_t in deviations of x_t, with and without them."""
    levels, other = np.geomspace(0.05, 20.0, 40), GaussianMixture([1.0], [0.4], [1.0])
    one = GaussianMixture([1.0], [0.0], [1.0])
    tv = [total_variation(one, other, EDM().node(float(s))) for s in levels[::6]]
    scale = 1.0 + levels**2
    alone = scale / 50.0  # variance of the estimate, a noisy copy of each sample
    mixed = (0.4 * 500 / 550) ** 2 + scale / 550.0
    from_level = levels >= (0.0 if broken else float(levels[np.argmax(mixed < alone)]))
    chosen = np.where(from_level, mixed, alone)
    # stationary field of correlation .8^|i−j|: denoising its middle from a window of w cells, against 41 cells
    cells = np.arange(41)
    full = 0.8 ** np.abs(cells[:, None] - cells)

    def error(width: int, sigma: float) -> float:
        pick = np.flatnonzero(np.abs(cells - 20) <= width)
        k = full[20:21, pick]
        return float(1.0 - (k @ np.linalg.solve(full[np.ix_(pick, pick)] + sigma**2 * np.eye(len(pick)), k.T))[0, 0])

    width = 0 if broken else 3
    return [
        below("total variation grows with the noise by at most", float(np.diff(tv).max()), 0.0, kept=True),
        below("error of the split above the better of the two, worst level", float((chosen / np.minimum(alone, mixed)).max()), 1.0 + 1e-9),
        below("excess error of a window at sigma = .2, relative", error(width, 0.2) / error(20, 0.2) - 1.0, 0.01),
        above("excess error of that window at sigma = 3, relative", error(3, 3.0) / error(20, 3.0) - 1.0, 0.03, kept=True),
    ]


@claim(
    209,
    paper="Hallucination by mode interpolation",
    reference="arXiv:2406.09358",
    statement="Between two modes at distance d the exact score has the slope (d²/4s² − 1)/s², so that almost no mass ends between them; "
    "a score whose "
    "slope is capped leaves mass there; the variance of the last denoised estimates tells such samples from the others.",
    control="the cap is above the slope",
)
def hallucination(broken: bool) -> list[Row]:
    """Modes ±1, s = .1: Heun in sigma from 3 to .02 with the denoiser's slope capped, and the spread of D over the last steps."""
    law = GaussianMixture([0.5, 0.5], [-1.0, 1.0], [0.01, 0.01])
    zero, h = EDM().node(1e-9), 1e-5
    slope = float((law.score(np.array([[h]]), zero) - law.score(np.array([[-h]]), zero))[0, 0]) / (2.0 * h)
    cap = 1e9 if broken else 3.0  # of ∂D/∂x: a mean over neighbours, as a network of limited slope has it
    x = 3.0 * np.random.default_rng(0).standard_normal((3000, 1))
    levels = np.geomspace(3.0, 0.02, 60)
    spread = []
    for i, (s, t) in enumerate(pairwise(levels.tolist())):
        width = 1.0 / cap
        shifts = width * np.linspace(-1.0, 1.0, 9)
        d = np.mean([law.denoised(x + shift, EDM().node(float(s))) for shift in shifts], axis=0)
        x = d + (t / s) * (x - d)
        if i >= 40:
            spread.append(d)
    between = np.abs(x[:, 0]) < 0.6
    wander = np.std(np.array(spread)[..., 0], axis=0)
    score = wander if between.sum() < 10 else np.array([np.median(wander[between]), np.median(wander[~between])])
    return [
        near("slope of the score at the middle over (d²/4s² − 1)/s²", slope / 9900.0, 1.0, 1e-6, kept=True),
        above("mass between the modes with the cap", float(between.mean()), 0.01),
        above("wandering of D, samples between over the others", float(score[0] / score[1]) if between.sum() >= 10 else 1.0, 1.5),
    ]


@claim(
    216,
    paper="How much is a noisy image worth",
    reference="arXiv:2411.02780",
    statement="The information of a sample with noise s about the distance of two near components falls like s^{-4} and faster than "
    "about their mean, so "
    "that noisy samples alone do not replace clean ones; a tenth of clean samples restores most.",
    control="information about the common mean, which falls like s^{-2}",
)
def noisy_worth(broken: bool) -> list[Row]:
    """Fisher information by quadrature of ½ N(−a, .01) + ½ N(a, .01), a = .15, in a (or in a common shift)."""

    def information(s: float) -> float:
        def law(h: float) -> GaussianMixture:
            return GaussianMixture([0.5, 0.5], [h - 0.15, h + 0.15] if broken else [-0.15 - h, 0.15 + h], np.full(2, 0.01 + s * s))

        x, w = points(law(0.0))
        rate = (np.exp(law(1e-4).log_prob(x)) - np.exp(law(-1e-4).log_prob(x))) / 2e-4
        return float(w @ (rate**2 / np.exp(law(0.0).log_prob(x))))

    levels = np.array([0.8, 1.6, 3.2])
    values = [information(float(s)) for s in levels]
    clean = information(0.0)
    few = 1.0 / (0.1 * clean + 0.9 * values[0])
    return [
        near("exponent of the information in s", float(np.polyfit(np.log(levels), np.log(values), 1)[0]), -4.0, 0.3),
        below("information of a sample of noise .8 over a clean one", values[0] / clean, 0.01),
        below("variance with a tenth clean over that of noisy ones alone", few * values[0], 0.1),
    ]


@claim(
    218,
    paper="SFBD flow",
    reference="arXiv:2506.02371",
    statement="Denoising the noisy set with the present model and fitting again never raises KL(p ∗ N ‖ p_k ∗ N), whose best iterate "
    "falls like 1/K; on "
    "Gaussians v <- (v/(v+s²))² (v* + s²) + v s²/(v + s²) goes to v*, ever more slowly for frequencies that the noise has hidden.",
    control="the posterior's variance is left out of the new model",
)
def alternating(broken: bool) -> list[Row]:
    """Variances v* = 1, .1, .01 under noise 1, 200 rounds from v = 2; KL of the noisy laws closed."""
    truth, v = np.array([1.0, 0.1, 0.01]), np.full(3, 2.0)
    kl, path = [], []
    for _ in range(200):
        v = (v / (v + 1.0)) ** 2 * (truth + 1.0) + (0.0 if broken else 1.0) * v / (v + 1.0)
        kl.append(gaussian_kl(np.zeros(3), np.diag(truth + 1.0), np.zeros(3), np.diag(v + 1.0)))
        path.append(v.copy())
    gaps = np.abs(np.array(path) / truth - 1.0)
    rounds = [int(np.argmax(gaps[:, i] < 0.5)) if (gaps[:, i] < 0.5).any() else 200 for i in range(3)]
    return [
        below("KL grows from one round to the next by at most", float(np.diff(kl).max()), 0.0),
        below("K times the KL after K rounds over 10 times that after 10", 200.0 * kl[-1] / (10.0 * kl[9]), 1.0),
        below("v* = 1: off after 200 rounds", float(gaps[-1, 0]), 1e-6),
        above("rounds to half the error, v* = .01 over v* = .1", rounds[2] / max(1, rounds[1]), 2.0, kept=True),
    ]
