r"""Claims 40, 78, 86, 87, 120, 141, 145, 248: the latent space of a sampler: encoding, editing, commitment, what a latent decides."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.information import kl, total_variation
from scorebed.analytic.output.bound import forward_path
from scorebed.solvers import EDM, SOLVERS, VP, grid, sample, trace
from scorebed.toy.claims.registry import Row, above, below, claim, near

CLASSES = [GaussianMixture([1.0], [[m, 0.3 * m]], [[0.2, 0.3]]) for m in (-1.5, 1.5)]
BOTH = GaussianMixture([0.5, 0.5], [[-1.5, -0.45], [1.5, 0.45]], [[0.2, 0.3], [0.2, 0.3]])
LINE = GaussianMixture([0.5, 0.5], [-1.0, 1.0], [0.09, 0.09])


@claim(
    78,
    paper="Null-text inversion",
    reference="arXiv:2211.09794",
    statement="A free shift of the unconditional branch at every step lets guided DDIM follow the pivot of an unguided inversion "
    "exactly, where "
    "inversion under guidance drifts; one shift for all steps leaves a residual; with another condition the edit ends in its class.",
    control="one shift shared by all steps",
)
def null_branch(broken: bool) -> list[Row]:
    """Two classes in the plane, guidance 3, 30 steps of DDIM: the step is linear in D, so that each shift is one division."""
    w, nodes = 3.0, grid.uniform_lam(VP(), 30, end=0.02)
    x0 = CLASSES[0].sample(50, 0)

    def guided(x: np.ndarray, node: Any, label: int, shift: Any = 0.0) -> np.ndarray:
        free = np.asarray(BOTH.denoised(x, node)) + shift
        return free + w * (np.asarray(CLASSES[label].denoised(x, node)) - free)

    def step(x: np.ndarray, d: np.ndarray, s: Any, t: Any) -> np.ndarray:
        return t.sigma / s.sigma * x + (t.alpha - s.alpha * t.sigma / s.sigma) * d

    pivot = [x0]
    for s, t in pairwise(nodes[::-1]):
        pivot.append(step(pivot[-1], np.asarray(CLASSES[0].denoised(pivot[-1], s)), s, t))
    pivot = pivot[::-1]
    shifts = []
    for i, (s, t) in enumerate(pairwise(nodes)):
        gain = t.alpha - s.alpha * t.sigma / s.sigma
        wanted = (pivot[i + 1] - t.sigma / s.sigma * pivot[i]) / gain
        shifts.append((wanted - guided(pivot[i], s, 0)) / (1.0 - w))
    used = [np.mean(shifts, axis=0)] * 30 if broken else shifts
    x = z = edit = pivot[0]
    for (s, t), shift in zip(pairwise(nodes), used, strict=True):
        x = step(x, guided(x, s, 0, shift), s, t)
        z = step(z, guided(z, s, 0), s, t)
        edit = step(edit, guided(edit, s, 1, shift), s, t)
    return [
        below("distance of the reconstruction", float(np.abs(x - x0).max()), 1e-9),
        above("the same without shifts", float(np.abs(z - x0).max()), 0.05, kept=True),
        above("share of edits in the other class", float((edit[:, 0] > 0.0).mean()), 0.95, kept=True),
    ]


@claim(
    145,
    paper="CycleDiffusion (DPM-Encoder)",
    reference="arXiv:2210.05559",
    statement="The noises read off a posterior path decode to the datum to round-off, for any model; they are uncorrelated from step to "
    "step only if "
    "the model is the truth; two models that share them decode to points as far apart as their scores are.",
    control="the noises are drawn anew; a wrong model",
)
def encoder(broken: bool) -> list[Row]:
    """DDPM's transitions with 60 steps on two modes of the line, with the exact model and with one whose mean is off."""
    nodes = grid.uniform_lam(VP(), 60, end=0.02)
    plan, x0 = trace(SOLVERS["ddpm"], nodes), LINE.sample(3000, 0, nodes[-1])
    states, _ = forward_path(x0, nodes, 1)

    def wrong(x: Any, node: Any, by: float = 0.3) -> Any:
        return LINE.denoised(x, node) + by

    def encode(model: Any) -> list[np.ndarray]:
        return [(np.asarray(t.next) - np.asarray(t.mean)) / t.std for t in plan.transitions(model).score(states)]

    def decode(model: Any, noises: list[np.ndarray]) -> np.ndarray:
        left = iter(noises)
        return np.asarray(plan.run(model, states[0], noise=lambda s, t: next(left)))

    def lag(noises: list[np.ndarray]) -> float:
        return max(abs(float(np.corrcoef(a[:, 0], b[:, 0])[0, 1])) for a, b in pairwise(noises[5:-5])) if noises else 0.0

    def offset(noises: list[np.ndarray]) -> float:
        return max(abs(float(n.mean())) for n in noises[:-2])

    model: Any = wrong
    code = encode(model)
    used = [np.random.default_rng(i).standard_normal(n.shape) for i, n in enumerate(code)] if broken else code
    exact = encode(LINE.denoised)
    far = [float(np.abs(decode(lambda x, node, b=b: wrong(x, node, b), exact) - x0).mean()) for b in (0.01, 0.02)]
    return [
        below("decode(encode(x0)) − x0, a wrong model", float(np.abs(decode(model, used) - x0).max()), 1e-9),
        below("largest mean of the codes, in deviations", offset(encode(model) if broken else exact), 0.1),
        below("correlation of codes of neighbouring steps, exact model", lag(exact), 0.15, kept=True),
        near("distance of two decodings, twice the error over once", far[1] / far[0], 2.0, 0.1, kept=True),
    ]


@claim(
    86,
    paper="Latent SVD properties",
    reference="arXiv:2502.02225",
    statement="The leading singular vectors of a noised matrix are the signal's above the level of Baik, Ben Arous and Péché and the "
    "noise's below it: "
    "the squared overlap with a rank-one signal of strength θ is 1 − (1 + θ²)/(θ²(θ² + 1)) for square matrices, and 0 for θ < 1.",
    control="the strength is half of what is said",
)
def singular_latents(broken: bool) -> list[Row]:
    """alpha θ u vᵀ + noise of variance 1/n, n = 400."""
    n, rng = 400, np.random.default_rng(0)
    noise = rng.standard_normal((n, n)) / math.sqrt(n)
    u = rng.standard_normal(n)
    u /= np.linalg.norm(u)

    def overlap(theta: float) -> float:
        left = np.linalg.svd(noise + theta * np.outer(u, u))[0][:, 0]
        return float((left @ u) ** 2)

    used = 0.5 if broken else 1.0
    rows = [
        near(f"overlap at θ = {theta}", overlap(theta * used), 1.0 - (1.0 + theta**2) / (theta**2 * (theta**2 + 1.0)), 0.06)
        for theta in (1.6, 2.5)
    ]
    return [*rows, below("overlap at θ = .6", overlap(0.6 * used), 0.05, kept=True)]


@claim(
    87,
    paper="h-space directions",
    reference="arXiv:2303.11073",
    statement="The Jacobian of the denoiser is (alpha/sigma²) Cov[x0|x], symmetric and positive, so that its singular directions are the "
    "posterior's "
    "principal ones; a step ε along one moves D by ε times its singular value, up to ε².",
    control="random directions",
)
def jacobian_directions(broken: bool) -> list[Row]:
    """A mixture of three in four dimensions at sigma = .7, central differences as the measurement."""
    rng = np.random.default_rng(0)
    law = GaussianMixture([0.3, 0.3, 0.4], rng.standard_normal((3, 4)), rng.uniform(0.05, 0.4, (3, 4)))
    node = VP().node(0.4)
    x = law.sample(1, 1, node)
    h = 1e-5
    jacobian = np.stack([(law.denoised(x + h * e, node) - law.denoised(x - h * e, node))[0] / (2.0 * h) for e in np.eye(4)], 1)
    exact = node.alpha / node.sigma**2 * np.asarray(law.posterior_covariance(x, node))[0]
    values, vectors = np.linalg.eigh(exact)
    u = rng.standard_normal(4) if broken else vectors[:, -1]
    u /= np.linalg.norm(u)
    gaps = [
        float(np.linalg.norm(law.denoised(x + e * u, node)[0] - law.denoised(x, node)[0] - e * values[-1] * u)) for e in (0.2, 0.1, 0.05)
    ]
    return [
        below("Jacobian against the posterior covariance", float(np.abs(jacobian - exact).max()), 1e-7, kept=True),
        above("its least eigenvalue", float(values[0]), 0.0, kept=True),
        near(
            "order in ε of what a step along the first direction leaves",
            float(np.polyfit(np.log([0.2, 0.1, 0.05]), np.log(gaps), 1)[0]),
            2,
            0.3,
        ),
    ]


@claim(
    141,
    paper="Smooth Diffusion",
    reference="arXiv:2312.04410",
    statement="On the line |dx0/dx_T| is p_T/p_0, finite for positive variances and large between modes, e^{(d/2s)²/2} of what it is at "
    "one; a map whose "
    "slope is kept small is smoother along any path and has another law.",
    control="the slope of one Gaussian with the same variance",
)
def smooth_map(broken: bool) -> list[Row]:
    """Modes ±1 of deviation .3, the flow of VP from T to .01, by differences of the exact map."""
    law = LINE
    s, t = VP().node(1.0), VP().node(0.01)
    x, h = np.linspace(-2.5, 2.5, 41)[:, None], 1e-5
    used = GaussianMixture([1.0], [0.0], law.covariance()) if broken else law
    slope = (used.flow(x + h, s, t) - used.flow(x - h, s, t))[:, 0] / (2.0 * h)
    ends = law.flow(x, s, t)
    ratio = np.exp(law.log_prob(x, s) - law.log_prob(ends, t))
    middle, at_mode = float(slope[20]), float(np.interp(1.0, ends[:, 0], slope))
    z = np.linspace(-5.0, 5.0, 4001)[:, None]
    full = law.flow(z, s, t)[:, 0]
    d = np.minimum(np.diff(full), 3.0 * (z[1, 0] - z[0, 0]))
    capped = np.concatenate([[full[0]], full[0] + np.cumsum(d)])
    weight = np.exp(law.log_prob(z, s))
    capped -= float(np.sum(weight * (capped - full)) / weight.sum())
    price = math.sqrt(float(np.sum(weight * (capped - full) ** 2) / weight.sum()))
    return [
        below("slope of the map against p_T/p_0, relative", float(np.abs(slope / ratio - 1.0).max()), 1e-4),
        near(
            "log of the slope in the middle over that at a mode, by (d/2s)²/2 − log 2",
            math.log(middle / at_mode),
            1 / 0.18 - math.log(2),
            0.6,
        ),
        above("W2 that a map of slope at most 3 costs", price, 0.05, kept=True),
    ]


@claim(
    248,
    paper="BoundaryDiffusion",
    reference="arXiv:2302.08357",
    statement="Latents lie on a shell of radius √d; a step across the boundary of two classes changes the class with the probability "
    "p(k|x_t) that Bayes' "
    "rule gives, most at the time of mixing, less before it and after it.",
    control="Bayes' rule before the step",
)
def boundary_step(broken: bool) -> list[Row]:
    """Class −1 noised to a level, moved by 1.2 alpha towards the other, run down by DDPM; modes ±1 of deviation .3."""
    flips, errors = [], []
    one = GaussianMixture([1.0], [-1.0], [0.09])
    for start in (0.75, 0.3, 0.02):
        node = VP().node(start)
        x = one.sample(3000, 0, node)
        moved = x + 1.2 * min(node.sigma, 1.0) * node.alpha
        nodes = grid.uniform_lam(VP(), 60, start=start, end=1e-3)
        ends = sample(SOLVERS["ddpm"], LINE.denoised, moved, nodes, noise=1)
        weights = np.asarray(LINE.posterior(x if broken else moved, node).weights)[:, 1]
        flips.append(float((ends[:, 0] > 0.0).mean()))
        errors.append(abs(flips[-1] - float(weights.mean())))
        base = float(np.asarray(LINE.posterior(x, node).weights)[:, 1].mean())
        flips[-1] -= base
    radius = float(np.linalg.norm(np.random.default_rng(0).standard_normal((400, 256)), axis=1).std() / 16.0)
    return [
        below("share that changed class less Bayes' rule, worst level", max(errors), 0.05),
        above("gain at the middle level over the noisier", flips[1] - flips[0], 0.0, kept=True),
        above("gain at the middle level over the cleaner", flips[1] - flips[2], 0.0, kept=True),
        below("relative spread of the radius of latents, d = 256", radius, 0.06, kept=True),
    ]


@claim(
    120,
    paper="GeneOH (denoising by diffusing)",
    reference="arXiv:2402.14810",
    statement="Noise never takes the clean and the corrupted law apart, in KL or total variation, while more of the datum is lost: the "
    "best level is "
    "inside, sigma² = 2r − 1 for unit Gaussians with a corruption of variance r > ½.",
    control="the corruption is left out of the error",
)
def diffuse_then_denoise(broken: bool) -> list[Row]:
    """N(0, 1) and x0 + e, Var e = r = 1.5, in closed form and by quadrature."""
    clean, corrupted = GaussianMixture([1.0], [0.0], [1.0]), GaussianMixture([0.8, 0.2], [0.0, 1.5], [1.2, 2.0])
    levels = [EDM().node(float(v)) for v in (0.1, 0.3, 1.0, 3.0)]
    kls = [kl(corrupted, clean, n) for n in levels]
    tvs = [total_variation(corrupted, clean, n) for n in levels]
    u, r = np.linspace(0.01, 6.0, 6000), 1.5
    error = (u**2 + (0.0 if broken else r) + u) / (1.0 + u) ** 2
    return [
        below("KL from one level to the next grows at most by", float(np.diff(kls).max()), 0.0, kept=True),
        below("total variation from one level to the next grows at most by", float(np.diff(tvs).max()), 0.0, kept=True),
        near("best sigma² for r = 1.5, 2r − 1", float(u[error.argmin()]), 2.0, 2e-3),
    ]


def replaced(basis: np.ndarray, cov: np.ndarray, steps: int = 200) -> float:
    """Mean of the high band given the low one, as DDIM with the low band of D replaced has it, less the exact one; the largest entry."""
    n, half = len(cov), len(cov) // 2
    turned = basis @ cov @ basis.T
    levels = np.geomspace(30.0, 1e-3, steps)
    x = np.zeros((half, n))  # noise at its mean, the low band a unit vector each
    low = np.eye(half)
    for s, t in pairwise(levels.tolist()):
        d = x @ np.linalg.solve(turned + s * s * np.eye(n), turned)
        d[:, :half] = low
        x = d + t / s * (x - d)
    exact = turned[half:, :half] @ np.linalg.inv(turned[:half, :half])
    return float(np.abs(x[:, half:].T - exact).max())


@claim(
    40,
    paper="DiffuseHigh",
    reference="arXiv:2406.18459",
    statement="Replacing the low band of D at every step gives the exact low band, and the exact high band given it where the bands of "
    "the field are "
    "independent (Fourier); where they are correlated (Haar) the high band is off by a number that is known.",
    control="Haar bands",
)
def low_band(broken: bool) -> list[Row]:
    """A stationary field on a ring of 16 cells of correlation .8^distance; low band: 8 lowest Fourier modes, or Haar averages."""
    n = 16
    i = np.arange(n)
    distance = np.minimum(np.abs(i[:, None] - i), n - np.abs(i[:, None] - i))
    cov = 0.8**distance
    fourier = np.linalg.eigh(cov)[1].T[::-1]
    pairs = np.kron(np.eye(8), [[1.0, 1.0]]) / math.sqrt(2.0), np.kron(np.eye(8), [[1.0, -1.0]]) / math.sqrt(2.0)
    haar = np.vstack(pairs)
    sigma = np.array([0.1, 0.5, 2.0])
    fidelity = 1.0 - 1.0 / np.sqrt(1.0 + sigma**2)
    return [
        below("mean of the high band given the low, Fourier bands", replaced(haar if broken else fourier, cov), 1e-9),
        above("the same, Haar bands", replaced(haar, cov), 0.02, kept=True),
        above("SDEdit: loss of the datum with its start, least increment", float(np.diff(fidelity).min()), 0.0, kept=True),
    ]
