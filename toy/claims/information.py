r"""Claims 46, 135, 140, 160, 173, 176, 214, 234, 241: information, divergences along the noise, bounds, and what they tell of data."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
from scipy.stats import spearmanr

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.information import channel, entropy, expect, kl, over_snr, points
from scorebed.solvers import EDM
from scorebed.toy.claims.registry import Row, above, below, claim, near

P = GaussianMixture([0.4, 0.6], [-1.0, 1.1], [0.1, 0.2])
Q = GaussianMixture([0.7, 0.3], [-0.7, 1.3], [0.15, 0.25])
DIVERGENCES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "KL": (lambda r: r * np.log(r), lambda r: r),
    "reverse KL": (lambda r: -np.log(r), lambda r: np.ones_like(r)),
    "JS": (lambda r: r * np.log(r) - (1.0 + r) * np.log(0.5 * (1.0 + r)), lambda r: r / (1.0 + r)),
    "χ²": (lambda r: (r - 1.0) ** 2, lambda r: 2.0 * r**2),
}
"""f, and r² f''."""


@claim(
    46,
    paper="Uni-Instruct (diffused f-divergences)",
    reference="arXiv:2505.20755",
    statement="D_f(q‖p) is ½ ∫ E_p[(q/p)² f''(q/p) |∇ log q/p|²] over the variance of the noise, and what is left at its end, for KL, "
    "reverse KL, "
    "Jensen-Shannon and χ² alike.",
    control="the factor (q/p)² is q/p",
)
def diffused_divergence(broken: bool) -> list[Row]:
    """Two mixtures of two modes, variances 0 to 400, by quadrature."""
    rows = []
    for name, (f, curvature) in DIVERGENCES.items():

        def value(tau: float, f: Callable[[np.ndarray], np.ndarray] = f) -> float:
            node = EDM().node(math.sqrt(tau)) if tau else None
            x, w = points(P, Q, node=node)
            p, q = np.exp(P.log_prob(x, node)), np.exp(Q.log_prob(x, node))
            keep = (p > 1e-280) & (q > 1e-280)
            return float(w[keep] @ (p[keep] * f(q[keep] / p[keep])))

        def rate(tau: float, curvature: Callable[[np.ndarray], np.ndarray] = curvature) -> float:
            node = EDM().node(math.sqrt(tau))
            x, w = points(P, Q, node=node)
            p, q = np.exp(P.log_prob(x, node)), np.exp(Q.log_prob(x, node))
            keep = (p > 1e-280) & (q > 1e-280)
            r = q[keep] / p[keep]
            gap = (np.asarray(Q.score(x, node)) - np.asarray(P.score(x, node)))[keep, 0]
            return 0.5 * float(w[keep] @ (p[keep] * curvature(r) / (r if broken else 1.0) * gap**2))

        z, weights = np.polynomial.legendre.leggauss(60)
        low, high = math.log(1e-6), math.log(400.0)
        taus = np.exp(0.5 * (low + high) + 0.5 * (high - low) * z)
        total = 0.5 * (high - low) * float(sum(wi * t * rate(float(t)) for wi, t in zip(weights, taus, strict=True)))
        rows.append(below(f"{name}: integral and rest against D_f, relative", abs((total + value(400.0)) / value(0.0) - 1.0), 1e-3))
    return rows


@claim(
    135,
    paper="Diffusion as serial reproduction",
    reference="arXiv:2209.14821",
    statement="With exact posteriors the sampling chain ends in the prior for every kind of noise, binary flips, fading and erasure "
    "alike; what is off "
    "comes from the law it begins with, and no step makes that more.",
    control="the posterior of another noise",
)
def serial_reproduction(broken: bool) -> list[Row]:
    """A law on eight states, six steps of each noise, by matrices."""
    rng = np.random.default_rng(0)
    p0 = rng.dirichlet(np.ones(8))
    bits = np.array(list(itertools.product((0, 1), repeat=3)))
    differ = (bits[:, None] != bits[None]).sum(-1)

    def flips(b: float) -> np.ndarray:
        return b**differ * (1.0 - b) ** (3 - differ)

    erase = 0.7 * np.eye(8) + 0.3 * np.eye(8)[0]
    kernels = {"flips": flips(0.15), "fading to uniform": 0.75 * np.eye(8) + 0.25 / 8.0, "erasure": erase}
    rows, grown = [], 0.0
    for name, kernel in kernels.items():
        laws = [p0]
        for _ in range(6):
            laws.append(laws[-1] @ kernel)
        wrong = flips(0.3) if broken else kernel
        law, start = laws[-1], np.full(8, 0.125)
        gap = 0.5 * float(np.abs(start - law).sum())
        for before in reversed(laws[:-1]):
            joint = before[:, None] * wrong
            back = joint / np.maximum(joint.sum(0), 1e-300)
            law, start = back @ law, back @ start
        rows.append(below(f"{name}: total variation of the end from the prior", 0.5 * float(np.abs(law - p0).sum()), 1e-13))
        grown = max(grown, 0.5 * float(np.abs(start - p0).sum()) - gap)
    rows.append(below("distance of a uniform start, at the end less at the beginning", grown, 1e-12, kept=not broken))
    return [Row(r.quantity, r.measured, r.low, r.high, kept=i == 3) for i, r in enumerate(rows)]


@claim(
    140,
    paper="How much is enough: diffusion time T",
    reference="arXiv:2206.05173",
    statement="KL(p_T‖N) falls like ½ e^{−B}|E x0|², and like e^{−2B} for centred data; with a score error of fixed size per unit of B "
    "the sum has an "
    "inner optimum, which moves to smaller T where the prior is fitted.",
    control="the rates exchanged; no score error",
)
def diffusion_time(broken: bool) -> list[Row]:
    """VP with alpha² = e^{−B} on a mixture and on its centred copy; error .02 per unit of B."""
    centred = GaussianMixture(P.weights, P.means - P.mean(), P.covariances)
    unit = GaussianMixture([1.0], [0.0], [1.0])

    def at(law: GaussianMixture, b: float) -> GaussianMixture:
        a = math.exp(-0.5 * b)
        return GaussianMixture(law.weights, a * law.means, a * a * np.asarray(law.structure.along(np.ones((1, 1)))[0]) + 1.0 - a * a)

    bs = np.array([5.0, 6.0, 7.0])
    slope = [float(np.polyfit(bs, np.log([kl(at(law, b), unit) for b in bs]), 1)[0]) for law in (P, centred)]
    if broken:
        slope = slope[::-1]
    clock = np.linspace(0.5, 10.0, 39)
    bias = (0.0 if broken else 0.02) * clock
    plain = np.array([kl(at(P, b), unit) for b in clock]) + bias

    def fitted(b: float) -> GaussianMixture:
        law = at(P, b)
        return GaussianMixture([1.0], law.mean(), law.covariance())

    matched = np.array([kl(at(P, b), fitted(float(b))) for b in clock]) + bias
    best, sooner = float(clock[plain.argmin()]), float(clock[matched.argmin()])
    leading = kl(at(P, 7.0), unit) / (0.5 * math.exp(-7.0) * float(P.mean()[0]) ** 2)
    return [
        near("exponent in B of KL, mean not 0", slope[0], -1.0, 0.1),
        near("exponent in B of KL, centred", slope[1], -2.0, 0.1),
        near("KL at B = 7 over ½ e^{−B}|E x0|²", leading, 1.0, 0.1, kept=True),
        below("the best B with N(0, 1) as prior", best, 9.0),
        below("the best B with a fitted Gaussian, less that", sooner - best, -0.2),
    ]


@claim(
    160,
    paper="Interpretable diffusion via information decomposition",
    reference="arXiv:2310.07972",
    statement="½ ∫ (|x − D|² − |x − D(·|y)|²) and ½ ∫ |D − D(·|y)|² over the signal-to-noise ratio average to I(x; y); the second is "
    "never negative, and "
    "the two agree in the mean, not at a point.",
    control="the conditional denoiser is that of the other class",
)
def information_decomposition(broken: bool) -> list[Row]:
    """y the component of a mixture of two, snr from 1e-6 to 1e6, exact I by quadrature."""
    parts = [GaussianMixture([1.0], P.means[k], P.covariances[k : k + 1]) for k in (0, 1)]
    given = parts[::-1] if broken else parts
    exact = entropy(P) - sum(float(w) * entropy(part) for w, part in zip(P.weights, parts, strict=True))

    def joint(node: object) -> tuple[float, float]:
        first = second = 0.0
        for weight, part, conditional in zip(P.weights, parts, given, strict=True):

            def gap(x: np.ndarray, conditional: GaussianMixture = conditional) -> np.ndarray:
                return np.asarray((P.denoised(x, node) - conditional.denoised(x, node))[:, 0] ** 2)

            def wrong(x: np.ndarray, part: GaussianMixture = part, conditional: GaussianMixture = conditional) -> np.ndarray:
                own = np.asarray(part.denoised(x, node))[:, 0]
                square = (np.asarray(P.denoised(x, node))[:, 0] - own) ** 2
                return square - (np.asarray(conditional.denoised(x, node))[:, 0] - own) ** 2

            first += float(weight) * expect(part, wrong, node)  # type: ignore[arg-type]
            second += float(weight) * expect(part, gap, node)  # type: ignore[arg-type]
        return first, second

    means = [0.5 * over_snr(lambda node, i=i: joint(node)[i], 1e-6, 1e5, 8) for i in (0, 1)]  # type: ignore[misc]
    node = channel(3.0)
    x0 = np.array([[-1.0]])
    here = np.asarray(x0 + 0.3 * node.sigma)
    first = float((x0 - P.denoised(here, node))[0, 0] ** 2 - (x0 - parts[0].denoised(here, node))[0, 0] ** 2)
    second = float((P.denoised(here, node) - parts[0].denoised(here, node))[0, 0] ** 2)
    return [
        below("first estimator against I(x; y), nats", abs(means[0] - exact), 1e-3),
        below("second estimator against I(x; y), nats", abs(means[1] - exact), 1e-3),
        above("apart at one point, of the integrand", abs(first - second), 1e-3, kept=True),
    ]


@claim(
    173,
    paper="CLiD (membership by conditional likelihoods)",
    reference="arXiv:2405.14800",
    statement="log p(x|c) − log p(x) tells members from others better than log p(x) does, exactly where the conditional model is overfit "
    "more than the "
    "marginal.",
    control="the conditional model is the true one",
)
def membership(broken: bool) -> list[Row]:
    """40 captions with 5 members each in the plane, kernel estimates; 200 others; area under the curve."""
    rng = np.random.default_rng(0)
    centres = 2.0 * rng.standard_normal((40, 2))
    members = centres[:, None] + 0.4 * rng.standard_normal((40, 5, 2))
    others = centres[:, None] + 0.4 * rng.standard_normal((40, 5, 2))

    def kernel(x: np.ndarray, data: np.ndarray, width: float) -> np.ndarray:
        square = ((x[:, None] - data[None]) ** 2).sum(-1)
        return np.log(np.exp(-0.5 * square / width**2).mean(1) / (2.0 * math.pi * width**2) + 1e-300)

    def scores(points_: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        flat = members.reshape(-1, 2)
        conditional = np.stack(
            [kernel(points_[c], centres[[c]], 0.4) if broken else kernel(points_[c], members[c], 0.15) for c in range(40)]
        )
        marginal = np.stack([kernel(points_[c], flat, 0.4) for c in range(40)])
        return (conditional - marginal).ravel(), marginal.ravel()

    inside, outside = scores(members), scores(others)
    area = [float((i[:, None] > o[None]).mean()) for i, o in zip(inside, outside, strict=True)]
    return [
        above("area under the curve of the discrepancy", area[0], 0.8),
        above("that less the area of the marginal likelihood", area[0] - area[1], 0.15),
    ]


@claim(
    176,
    paper="DiffusionPID",
    reference="arXiv:2406.05191",
    statement="For Gaussian x and two observations the integrals of mmse differences give every I(x; y) exactly, and redundancy by the "
    "smaller one, two "
    "unique parts and synergy add up to the joint information.",
    control="the synergy is counted as the joint information",
)
def partial_information(broken: bool) -> list[Row]:
    """x ~ N(0, 1), noises of variance .5 and 2: ½ ∫ (mmse − mmse given y) against ½ log(1 + snr)."""

    def integral(prior: float) -> float:
        """½ ∫ (1/(1 + γ) − 1/(prior + γ)) dγ by quadrature, prior the precision given y."""
        z, w = np.polynomial.legendre.leggauss(80)
        low, high = math.log(1e-8), math.log(1e8)
        snr = np.exp(0.5 * (low + high) + 0.5 * (high - low) * z)
        return 0.25 * (high - low) * float(w @ (snr * (1.0 / (1.0 + snr) - 1.0 / (prior + snr))))

    one, two, both = integral(3.0), integral(1.5), integral(3.5)
    shared = min(one, two)
    synergy = both if broken else both - one - two + shared
    return [
        below("I(x; y1) by mmse against ½ log 3", abs(one - 0.5 * math.log(3.0)), 1e-6, kept=True),
        below("I(x; y1, y2) by mmse against ½ log 3.5", abs(both - 0.5 * math.log(3.5)), 1e-6, kept=True),
        below(
            "redundancy + unique + unique + synergy against the joint", abs(shared + one - shared + two - shared + synergy - both), 1e-12
        ),
    ]


@claim(
    214,
    paper="DTE (diffusion time estimation)",
    reference="arXiv:2305.18593",
    statement="The posterior of the noise variance given x, for one datum at distance r and a flat prior, is inverse-gamma with mode "
    "r²/d and mean "
    "r²/(d − 4); for n data its mean ranks points as the distance to the nearest datum does in high dimension.",
    control="the dimension is one less; ranks by the farthest datum",
)
def time_estimation(broken: bool) -> list[Row]:
    """d = 32, by quadrature over the variance."""
    d, r = 32, 3.0
    v = np.geomspace(1e-3, 1e3, 20001)
    logs = -0.5 * (d - (1 if broken else 0)) * np.log(v) - 0.5 * r * r / v
    density = np.exp(logs - logs.max())
    mode = float(v[density.argmax()])
    mean = float(np.trapezoid(v * density, v) / np.trapezoid(density, v))
    rng = np.random.default_rng(0)
    data, queries = rng.standard_normal((60, d)), 1.5 * rng.standard_normal((120, d))
    square = ((queries[:, None] - data[None]) ** 2).sum(-1)
    grid = np.geomspace(0.2, 30.0, 400)
    weights = np.exp(-0.5 * d * np.log(grid)[None, None] - 0.5 * square[..., None] / grid).sum(1)
    found = np.trapezoid(weights * grid, grid, axis=1) / np.trapezoid(weights, grid, axis=1)
    nearest = square.max(1) if broken else square.min(1)
    return [
        near("mode over r²/d", mode / (r * r / d), 1.0, 2e-3),
        near("mean over r²/(d − 4)", mean / (r * r / (d - 4)), 1.0, 1e-4),
        above("rank correlation of the mean with the nearest distance", float(spearmanr(found, nearest)[0]), 0.97),
    ]


@claim(
    234,
    paper="Nonequilibrium thermodynamics (the first diffusion model)",
    reference="arXiv:1503.03585",
    statement="Binomial chains reverse in their own form as the steps shrink: the variational bound with factorised steps lies below the "
    "entropy and closes; "
    "H(x_s|x_t) lies between H(x_t|x_s) + H(x_s|x_0) − H(x_t|x_0) and H(x_t|x_s).",
    control="the reverse steps are those of independent bits",
)
def binomial_chain(broken: bool) -> list[Row]:
    """A law on three correlated bits, flips to total noise, by matrices; bound at 8, 32 and 128 steps."""
    bits = np.array(list(itertools.product((0, 1), repeat=3)))
    differ = (bits[:, None] != bits[None]).sum(-1)
    p0 = np.array([0.3, 0.02, 0.05, 0.13, 0.03, 0.12, 0.05, 0.3])

    def flips(b: float) -> np.ndarray:
        return b**differ * (1.0 - b) ** (3 - differ)

    def gap(steps: int) -> tuple[float, float]:
        kernel = flips(0.5 * (1.0 - 0.02 ** (1.0 / steps)))
        law, total, slack = p0, 0.0, math.inf
        whole = np.eye(8)
        for _ in range(steps):
            after = law @ kernel
            joint = law[:, None] * kernel
            back = joint / after  # p(x_s | x_t), columns t
            margins = np.stack([back[bits[:, i] == 1].sum(0) for i in range(3)])
            if broken:
                margins = np.repeat((margins @ after)[:, None], 8, 1)
            product = np.prod([np.where(bits[:, [i]] == 1, margins[i], 1.0 - margins[i]) for i in range(3)], axis=0)
            total += float(np.sum(joint * np.log(back / product)))

            def conditional(matrix: np.ndarray, weight: np.ndarray) -> float:
                return -float(np.sum(weight[:, None] * matrix * np.log(np.maximum(matrix, 1e-300))))

            reverse, forward = -float(np.sum(joint * np.log(back))), conditional(kernel, law)
            low = forward + conditional(whole, p0) - conditional(whole @ kernel, p0)
            slack = min(slack, reverse - low, forward - reverse)
            law, whole = after, whole @ kernel
        return total, slack

    found = {n: gap(n) for n in (8, 32, 128)}
    slope = float(np.polyfit(np.log([8, 32, 128]), np.log([found[n][0] for n in (8, 32, 128)]), 1)[0])
    return [
        near("exponent in the number of steps of the bound's gap", slope, -1.0, 0.25),
        below("gap at 128 steps, nats", found[128][0], 0.02),
        above("least slack of the two entropy bounds, nats", min(v[1] for v in found.values()), -1e-12, kept=True),
    ]


@claim(
    241,
    paper="MuLAN (learned multivariate noise)",
    reference="arXiv:2312.13236",
    statement="With a schedule for each coordinate the bound is a line integral of ½ mmse_i dγ_i: for the exact denoiser it is free of "
    "the path and gives the "
    "information exactly; for an imperfect one it depends on the path, so that a learned path tightens it.",
    control="a denoiser that ignores the correlation",
)
def vector_schedule(broken: bool) -> list[Row]:
    """Two unit Gaussians of correlation .8, γ from 0 to (9, 4) along three paths."""
    cov = np.array([[1.0, 0.8], [0.8, 1.0]])
    end = np.array([9.0, 4.0])

    def errors(gamma: np.ndarray) -> np.ndarray:
        """E(x_i − D_i)² for the exact denoiser, or for one of independent coordinates."""
        return 1.0 / (1.0 + gamma) if broken else np.diag(np.linalg.inv(np.linalg.inv(cov) + np.diag(gamma)))

    def reused(gamma: np.ndarray) -> np.ndarray:
        """An imperfect one: the gain of the middle of the way at every noise."""
        a = np.linalg.inv(np.linalg.inv(cov) + np.diag(0.5 * end)) @ np.diag(0.5 * end)
        noise = np.diag(1.0 / np.maximum(gamma, 1e-3))
        return np.diag((np.eye(2) - a) @ cov @ (np.eye(2) - a).T + a @ noise @ a.T)

    z, w = np.polynomial.legendre.leggauss(40)

    def line(path: list[np.ndarray], error: Callable[[np.ndarray], np.ndarray]) -> float:
        total = 0.0
        for a, b in itertools.pairwise(path):
            for zi, wi in zip(z, w, strict=True):
                total += 0.25 * wi * float(error(a + 0.5 * (zi + 1.0) * (b - a)) @ (b - a))
        return total

    zero = np.array([0.01, 0.01])
    paths = [[zero, end], [zero, np.array([9.0, 0.01]), end], [zero, np.array([0.01, 4.0]), end]]
    values = [line(path, errors) for path in paths]
    exact = 0.5 * math.log(np.linalg.det(np.eye(2) + cov @ np.diag(end)) / np.linalg.det(np.eye(2) + cov @ np.diag(zero)))
    other = [line(path, reused) for path in paths]
    return [
        below("spread over the paths, exact denoiser", float(np.ptp(values)), 1e-8, kept=True),
        below("off the information, nats", max(abs(v - exact) for v in values), 1e-8),
        above("spread over the paths, a denoiser of one level", float(np.ptp(other)), 0.05, kept=True),
    ]
