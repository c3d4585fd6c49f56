r"""Claims 47, 148, 244, 259, 295: what a class of denoisers can hold: low rank, a subspace, a bottleneck, a graph, attention."""

from __future__ import annotations

import math

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.covariance import LowRank
from scorebed.solvers import EDM
from scorebed.toy.claims.registry import Row, above, below, claim, near


def _frames(k: int, d: int, r: int, seed: int) -> np.ndarray:
    """k random orthonormal frames, (k, d, r)."""
    rng = np.random.default_rng(seed)
    return np.stack([np.linalg.qr(rng.standard_normal((d, r)))[0] for _ in range(k)])


def _subspaces(frames: np.ndarray, floor: float = 1e-8) -> GaussianMixture:
    k, d, _ = frames.shape
    return GaussianMixture(np.full(k, 1.0 / k), np.zeros((k, d)), LowRank(frames, np.full((k, d), floor)))


@claim(
    47,
    paper="MoLRG: diffusion learning is subspace clustering",
    reference="arXiv:2409.02426",
    statement="For data on one subspace the denoising loss over a frame U is least at the PCA frame; a subspace of dimension r is found "
    "as soon as "
    "there are r samples, whatever the ambient dimension; the denoiser's Jacobian near a subspace has the rank r.",
    control="one sample fewer than r; a frame turned away from PCA's",
)
def subspace_clustering(broken: bool) -> list[Row]:
    """r = 3 in 20 and in 60 dimensions; loss E|x0 − g U Uᵀ x|² in closed form; Jacobian of the exact denoiser of two subspaces."""
    worst = 0.0
    for d in (20, 60):
        u = _frames(1, d, 3, d)[0]
        n = 2 if broken else 3
        data = u @ np.random.default_rng(1).standard_normal((3, n))
        found = np.linalg.svd(data, full_matrices=False)[0][:, : min(3, n)]
        worst = max(worst, 1.0 - float(np.linalg.svd(u.T @ found, compute_uv=False).sum()) / 3.0)
    spectrum, g = np.array([2.0, 1.0, 0.5, 0.1]), 0.7

    def loss(frame: np.ndarray) -> float:
        p = frame @ frame.T
        a = np.eye(4) - g * p
        return float(np.trace(a @ np.diag(spectrum) @ a.T) + g * g * 0.3 * np.trace(p))

    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((4, 4)))[0] if broken else np.eye(4)
    others = min(loss(f) for f in _frames(500, 4, 2, 3))
    frames = _frames(2, 20, 3, 5)
    x = 2.0 * frames[0] @ np.ones((1, 3)).T
    node = EDM().node(0.1)
    values = np.linalg.svd(_subspaces(frames, 1.0 if broken else 1e-8).posterior_covariance(x.T, node)[0] / node.sigma**2, compute_uv=False)
    return [
        below("part of the subspace that r samples miss, 20 and 60 dimensions", worst, 1e-10),
        below("loss at the PCA frame less the least of 500 others", loss(turn[:, :2]) - others, 1e-9),
        below("fourth singular value of the Jacobian over the third", float(values[3] / values[2]), 1e-3),
    ]


@claim(
    148,
    paper="Score approximation on low-dimensional data",
    reference="arXiv:2302.07194",
    statement="For x = A z the score is A times the score of z along the subspace and −(I − A Aᵀ) x/h across, which blows up like 1/h; "
    "samples at "
    "noise h lie within √(h (D − k)) of it; the subspace estimated from n noisy samples is off by n^{-1/2}.",
    control="h of another level; the frame of the first samples only",
)
def split_score(broken: bool) -> list[Row]:
    """k = 2 in D = 12, a mixture of three Gaussians in the subspace."""
    rng = np.random.default_rng(0)
    frame = _frames(1, 12, 2, 1)[0]
    inner = GaussianMixture([0.3, 0.3, 0.4], [[-2.0, 0.0], [2.0, 0.5], [0.0, 2.0]], [0.2, 0.2, 0.3])
    roots = np.sqrt(np.array([0.2, 0.2, 0.3]))[:, None, None]
    outer = GaussianMixture(inner.weights, inner.means @ frame.T, LowRank(roots * frame, np.full((3, 12), 1e-14)))
    worst, distance = 0.0, []
    for sigma in (0.05, 0.5):
        node = EDM().node(sigma)
        x = inner.sample(400, rng) @ frame.T + sigma * rng.standard_normal((400, 12))
        across = x - x @ frame @ frame.T
        made = inner.score(x @ frame, node) @ frame.T - across / (sigma**2 * (1.5 if broken else 1.0))
        exact = np.asarray(outer.score(x, node))
        worst = max(worst, float(np.abs(made - exact).max() / np.abs(exact).max()))
        distance.append(float(np.sqrt((across**2).sum(1)).mean()) / math.sqrt(sigma**2 * 10))
    errors = []
    for n in (100, 400, 1600):
        off = []
        for _ in range(20):
            m = 50 if broken else n
            x = inner.sample(m, rng) @ frame.T + 0.5 * rng.standard_normal((m, 12))
            found = np.linalg.eigh(np.cov(x.T))[1][:, -2:]
            off.append(math.sqrt(max(0.0, 2.0 - float((np.linalg.svd(frame.T @ found, compute_uv=False) ** 2).sum()))))
        errors.append(float(np.mean(off)))
    slope = float(np.polyfit(np.log([100, 400, 1600]), np.log(errors), 1)[0])
    return [
        below("score less its two parts, relative", worst, 1e-8),
        near(
            "distance to the subspace over √(h (D − k)), worse of two levels",
            max(distance, key=lambda v: abs(v - 1.0)),
            1.0,
            0.05,
            kept=True,
        ),
        near("slope in n of the angle of the estimated subspace", slope, -0.5, 0.1),
    ]


@claim(
    244,
    paper="ConPreDiff (context prediction)",
    reference="arXiv:2401.02015",
    statement="Predicting a context from the denoiser's features changes nothing where the features have no limit; with r of them the "
    "optimum is a "
    "reduced-rank regression on both targets, turned towards the directions that both share.",
    control="the context has no weight",
)
def context(broken: bool) -> list[Row]:
    """Data of variances 4, 3, .5 under noise 1, a context that is twice the second coordinate; rank one, and full."""
    variances, weight = np.array([4.0, 3.0, 0.5]), 0.0 if broken else 1.0
    targets = np.vstack([np.eye(3), math.sqrt(weight) * np.array([[0.0, 2.0, 0.0]])])  # x0, then the context
    best = targets * (variances / (variances + 1.0))
    root = np.sqrt(variances + 1.0)
    u, s, vt = np.linalg.svd(best * root, full_matrices=False)

    def features(r: int) -> np.ndarray:
        return np.asarray((u[:, :r] * s[:r]) @ vt[:r] / root)

    alone = np.diag(variances / (variances + 1.0))
    return [
        below(
            "denoiser with all features, against the one without context", float(np.abs(features(3)[:3] - alone).max()), 1e-12, kept=True
        ),
        above("share of the one feature along the shared direction", float(np.abs(vt[0, 1])), 0.99),
        below("gain of that feature in the direction of most variance", float(np.abs(features(1)[0, 0])), 1e-9),
    ]


@claim(
    259,
    paper="Graphically structured diffusion models",
    reference="arXiv:2210.11633",
    statement="With the graph of the precision as attention mask, L linear layers give polynomials of degree L in it, which reach L "
    "edges far and "
    "approach the exact denoiser of a Gaussian field like ((√κ − 1)/(√κ + 1))^L, κ the condition of I + sigma² P.",
    control="the rate of another noise level",
)
def graph_polynomials(broken: bool) -> list[Row]:
    """A ring of 64 cells, P = 1.2 − .5 (neighbours); best polynomials for 1/(1 + sigma² p) by Chebyshev interpolation; sigma = 2."""
    n, sigma = 64, 2.0
    ring = np.roll(np.eye(n), 1, 0) + np.roll(np.eye(n), -1, 0)
    p = 1.2 * np.eye(n) - 0.5 * ring
    exact = np.linalg.inv(np.eye(n) + sigma**2 * p)
    low, high = 1.2 - 1.0, 1.2 + 1.0
    errors, degrees = [], np.arange(2, 12, 2)
    for degree in degrees:
        z = np.cos(math.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
        c = np.polynomial.chebyshev.chebfit(z, 1.0 / (1.0 + sigma**2 * (0.5 * (low + high) + 0.5 * (high - low) * z)), int(degree))
        scaled = (p - 0.5 * (low + high) * np.eye(n)) / (0.5 * (high - low))
        before, power = np.eye(n), scaled
        made = c[0] * np.eye(n) + c[1] * scaled
        for k in range(2, int(degree) + 1):
            before, power = power, 2.0 * scaled @ power - before
            made = made + c[k] * power
        errors.append(float(np.linalg.norm(made - exact, 2)))
        far = float(np.abs(made[0, degree + 1 : n - degree]).max())
    level = 0.7 if broken else sigma
    kappa = (1.0 + level**2 * high) / (1.0 + level**2 * low)
    rate = math.log((math.sqrt(kappa) - 1.0) / (math.sqrt(kappa) + 1.0))
    return [
        near("log of the error per layer over that of the rate", float(np.polyfit(degrees, np.log(errors), 1)[0]) / rate, 1.0, 0.05),
        below("weight beyond L edges, ten layers", far, 1e-12, kept=True),
    ]


@claim(
    295,
    paper="White-box diffusion transformer",
    reference="arXiv:2411.06785",
    statement="A step of rate reduction, Σ_k softmax(|U_kᵀ z|²/2τ) U_k U_kᵀ z, moves tokens as the exact denoiser of a mixture of "
    "subspaces does: it "
    "is that denoiser up to its gain for one τ, and hard assignment is off by no more than the incoherence of the subspaces.",
    control="another temperature",
)
def rate_reduction(broken: bool) -> list[Row]:
    """Two subspaces of dimension 3 in 24, tokens at sigma = .4 from the exact law."""
    frames, node = _frames(2, 24, 3, 4), EDM().node(0.4)
    rng = np.random.default_rng(0)
    pick = rng.integers(0, 2, 300)
    z = np.einsum("ndr,nr->nd", frames[pick], rng.standard_normal((300, 3))) + node.sigma * rng.standard_normal((300, 24))
    exact = np.asarray(_subspaces(frames, 1e-14).denoised(z, node))
    inside = np.einsum("kdr,nd->nkr", frames, z)
    gain = 1.0 / (1.0 + node.sigma**2)
    tau = node.sigma**2 / gain * (4.0 if broken else 1.0)
    logits = (inside**2).sum(-1) / (2.0 * tau)
    soft = np.exp(logits - logits.max(1, keepdims=True))
    soft /= soft.sum(1, keepdims=True)
    projected = np.einsum("kdr,nkr->nkd", frames, inside)
    step = gain * np.einsum("nk,nkd->nd", soft, projected)
    incoherence = float(np.linalg.norm(frames[0].T @ frames[1], 2))
    hard = gain * projected[np.arange(300), logits.argmax(1)]
    typical = float(np.median(np.linalg.norm(hard - exact, axis=1) / np.linalg.norm(exact, axis=1)))
    return [
        below("step against the exact denoiser, relative", float(np.abs(step - exact).max() / np.abs(exact).max()), 1e-6),
        below("hard assignment, median relative error over the incoherence", typical / incoherence, 1.0, kept=True),
    ]
