r"""Claims 219, 222, 224: priors made of parts, priors learned through a forward model, and priors on functions that are warped."""

from __future__ import annotations

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.solvers import VP, Node, grid
from scorebed.solvers.weights.exponential import diffuse_by_denoised
from scorebed.toy.claims.registry import Row, above, below, claim
from scorebed.toy.measure.affine_law import affine_law


def _slices(coupled: bool) -> tuple[GaussianMixture, GaussianMixture, GaussianMixture]:
    """Two priors of the plane, and their product p_1 p_2 normalised."""
    one = np.array([[1.0, 0.7], [0.7, 1.0]]) if coupled else np.diag([0.5, 50.0])
    two = np.array([[1.0, -0.3], [-0.3, 0.5]]) if coupled else np.diag([50.0, 0.8])
    both = np.linalg.inv(np.linalg.inv(one) + np.linalg.inv(two))
    laws = [GaussianMixture([1.0], [[0.0, 0.0]], c[None]) for c in (one, two, both)]
    return laws[0], laws[1], laws[2]


def _score_gap(t: float, coupled: bool) -> float:
    """The linear map of score(p_1) + score(p_2) minus that of the noised product, over the latter, at time t."""
    n, (one, two, both) = VP().node(t), _slices(coupled)
    maps = [np.linalg.inv(n.alpha**2 * law.covariance() + n.sigma**2 * np.eye(2)) for law in (one, two, both)]
    return float(np.linalg.norm(maps[0] + maps[1] - maps[2]) / np.linalg.norm(maps[2]))


@claim(
    219,
    paper="TPDM (two perpendicular priors)",
    reference="arXiv:2303.08440",
    statement="Alternating reverse steps of two slice priors sample their product only up to what noising a product and multiplying noised "
    "laws differ by, a gap that grows with t; where each prior speaks of its own coordinates they sample it.",
    control="the priors speak of the same coordinates where they should be perpendicular",
)
def slices(broken: bool) -> list[Row]:
    """Exact laws of alternating DDPM steps with two Gaussian priors, perpendicular and coupled."""

    def off(coupled: bool) -> float:
        one, two, both = _slices(coupled)

        def run(c: object, x: np.ndarray, nodes: list[Node], draws: object) -> np.ndarray:
            for i in range(len(nodes) - 1):
                s, t = nodes[i], nodes[i + 1]
                model = (one, two)[i % 2]
                d = model.denoised(x, s)
                if not coupled:  # each prior moves the coordinate it speaks of
                    d = np.stack([one.denoised(x, s)[:, 0], two.denoised(x, s)[:, 1]], 1)
                x = diffuse_by_denoised(x, d, draws(s, t), s, t)  # type: ignore[operator]
            return x

        return affine_law(run, None, grid.uniform_lam(VP(), 120, end=1e-3), 2).w2(both.mean(), both.covariance())  # type: ignore[arg-type]

    return [
        below("W2 to the product, perpendicular priors", off(broken), 0.08),
        above("W2 to the product, coupled priors", off(True), 0.15, kept=True),
        above("gap of the added scores at t = 0.5 over that at t = 0.02", _score_gap(0.5, True) / _score_gap(0.02, True), 3.0, kept=True),
    ]


@claim(
    222,
    paper="Diffusion with forward models",
    reference="arXiv:2306.11719",
    statement="From pairs of observations alone, o_i = A_i S, the law of the signal is recovered where the operators together determine "
    "it: for a Gaussian where the A_i ⊗ A_j span all of the covariance; otherwise what they do not see stays undetermined.",
    control="the second view sees only what the first does",
)
def views(broken: bool) -> list[Row]:
    """Covariance of a signal in 4 dimensions from the cross-covariances of observations through 3 operators."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(4, 4))
    cov = root @ root.T
    seen = [rng.normal(size=(2, 4)) for _ in range(3)]
    if broken:
        seen = [seen[0], rng.normal(size=(2, 2)) @ seen[0], rng.normal(size=(2, 2)) @ seen[0]]
    rows = np.concatenate([np.kron(a, b) for a in seen for b in seen])
    data = np.concatenate([(a @ cov @ b.T).ravel() for a in seen for b in seen])
    found = np.linalg.lstsq(rows, data, rcond=1e-10)[0].reshape(4, 4)
    rank = int(np.linalg.matrix_rank(np.concatenate(seen), tol=1e-8))
    a = seen[0]
    gains = [c @ a.T @ np.linalg.inv(a @ c @ a.T + 1e-6 * np.eye(2)) for c in (found, cov)]
    return [
        below("recovered covariance against the signal's", float(np.abs(found - cov).max() / np.abs(cov).max()), 1e-8),
        below("posterior mean of the signal given the first view, with it", float(np.abs(gains[0] - gains[1]).max()), 1e-4),
        above("rank of the stacked operators", float(rank), 4.0),
    ]


@claim(
    224,
    paper="Warped diffusion (noise that moves with the image)",
    reference="arXiv:2410.16152",
    statement="A Gaussian process warped is one with the warped covariance, and its exact score commutes with rigid warps of a stationary "
    "field, so that |D(W x) − W D(x)| is 0; white noise interpolated on the grid loses variance.",
    control="the field is not stationary",
)
def warps(broken: bool) -> list[Row]:
    """A field on a ring of 12 points, shifted by three of them; half-pixel interpolation of white noise and of a smooth field."""
    gap = np.minimum(np.arange(12), 12 - np.arange(12))
    kernel = np.fft.ifft(np.exp(-0.5 * gap**2)).real  # a spectrum of positive numbers
    cov = np.stack([np.roll(kernel, i) for i in range(12)])
    if broken:
        scale = np.linspace(0.5, 1.5, 12)
        cov = scale[:, None] * cov * scale
    law, n = GaussianMixture([1.0], np.zeros((1, 12)), cov[None]), VP().node(0.4)
    x = law.sample(50, 0, n)
    moved = np.roll(law.denoised(x, n), 3, 1)
    residual = float(np.abs(law.denoised(np.roll(x, 3, 1), n) - moved).max() / np.abs(moved).max())
    half = 0.5 * (np.eye(12) + np.roll(np.eye(12), 1, 1))
    white, smooth = half @ half.T, half @ cov @ half.T
    return [
        below("|D(W x) − W D(x)| for the exact score", residual, 1e-10),
        below("variance of white noise after half a pixel of interpolation", float(white[0, 0]), 0.51, kept=True),
        above("variance of the smooth field after it", float(smooth[0, 0] / cov[0, 0]), 0.9, kept=True),
    ]
