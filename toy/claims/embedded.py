r"""Claims on tokens that are noised as vectors: mixtures with an atom at every embedding; and on sets of tokens with Gaussian values."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.special import ndtr

from scorebed.analytic import GaussianMixture
from scorebed.solvers import SOLVERS, VP, grid, sample
from scorebed.toy.claims.registry import Row, above, below, claim, near


def _atoms(points: np.ndarray, weights: np.ndarray) -> GaussianMixture:
    return GaussianMixture(weights, points, np.zeros(len(points)))


@claim(
    83,
    paper="Difformer (embedding diffusion)",
    reference="arXiv:2212.09412",
    statement="Given x_t the tokens have softmax weights over embeddings; of two tokens at distance r the nearer is the right one with "
    "probability Φ(α r/2σ), near 1 up to large σ where embeddings are long: scaling them by k is scaling σ by 1/k.",
    control="the distance is taken for half of it; the noise is not scaled with the embeddings",
)
def difformer(broken: bool) -> list[Row]:
    """Two tokens in eight dimensions."""
    node = VP().node(0.45)
    e = np.zeros((2, 8))
    e[:, 0], e[:, 1:] = (-1.5, 1.5), 0.2
    law, r = _atoms(e, np.array([0.5, 0.5])), 3.0
    x = np.linspace(-2.0, 2.0, 9)[:, None] * np.ones(8)
    score = -((x[:, None] - node.alpha * e) ** 2).sum(-1) / (2.0 * node.sigma**2)
    w = np.exp(score - score.max(1, keepdims=True))
    off = np.abs(law.denoised(x, node) - (w / w.sum(1, keepdims=True)) @ e).max()
    # along the line between them, by quadrature of the noise
    z = np.linspace(-10.0, 10.0, 200_001)
    density = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi) * (z[1] - z[0])
    right = float(density[node.alpha * r / 2.0 + node.sigma * z > 0.0].sum())
    formula = float(ndtr(node.alpha * r / node.sigma)) if broken else float(ndtr(node.alpha * r / (2.0 * node.sigma)))
    factor = 4.0
    longer = float(ndtr(node.alpha * factor * r / (2.0 * (node.sigma if broken else factor * node.sigma))))
    return [
        below("denoised against softmax over embeddings, worst entry", float(off), 1e-12, kept=True),
        below("probability that the nearer token is right, against Φ(αr/2σ)", abs(right - formula), 1e-4),
        below("the same with embeddings and noise four times as large, off by", abs(longer - right), 1e-4),
    ]


@claim(
    258,
    paper="Analog bits",
    reference="arXiv:2208.04202",
    statement="For a bit ±1 E[x0 | x_t] = tanh(α x_t/σ²); thresholding the exact flow gives the law of the bits; asking the model at "
    "one time "
    "and moving as from another (asymmetric time) changes the law that exact models sample.",
    control="the tanh of α x/σ; the time shift where there should be none, and none where there should be one",
)
def bits(broken: bool) -> list[Row]:
    """One bit with P(1) = 0.7."""
    law = _atoms(np.array([[-1.0], [1.0]]), np.array([0.5, 0.5]))
    node = VP().node(0.5)
    x = np.linspace(-2.0, 2.0, 21)[:, None]
    width = node.sigma if broken else node.sigma**2
    off = float(np.abs(law.denoised(x, node) - np.tanh(node.alpha * x / width)).max())
    uneven = _atoms(np.array([[-1.0], [1.0]]), np.array([0.3, 0.7]))
    nodes = grid.uniform(VP(), 60, 0.99, 0.01)
    start = uneven.marginal(nodes[0]).quantile((np.arange(1000) + 0.5) / 1000)[:, None]

    def share(shift: float) -> float:
        def model(y: np.ndarray, n: object) -> np.ndarray:
            t = min(n.t + shift, 0.999)  # type: ignore[attr-defined]
            return np.asarray(uneven.denoised(y, VP().node(t)))

        return float((sample(SOLVERS["heun"], model, start, nodes) > 0.0).mean())

    plain, shifted = (share(0.1), share(0.0)) if broken else (share(0.0), share(0.1))
    return [
        below("denoised bit against tanh(αx/σ²), worst", off, 1e-12),
        near("share of ones after the flow, thresholded", plain, 0.7, 2e-3),
        above("the same with the model asked 0.1 later: off by", abs(shifted - 0.7), 5e-3),
    ]


def set_by_set(covariance: np.ndarray, sets: list[list[int]]) -> tuple[float, np.ndarray]:
    """Σ of the conditional total correlations of the sets, in nats, and the covariance of what is drawn set by set, each token of a set by
    itself given the sets before."""
    d = len(covariance)
    before: list[int] = []
    lost, model = 0.0, np.zeros((d, d))
    for chosen in sets:
        gain = (
            np.linalg.solve(covariance[np.ix_(before, before)], covariance[np.ix_(before, chosen)]).T
            if before
            else np.zeros((len(chosen), 0))
        )
        left = covariance[np.ix_(chosen, chosen)] - gain @ covariance[np.ix_(before, chosen)]
        lost += 0.5 * float(np.log(np.diag(left)).sum() - np.linalg.slogdet(left)[1])
        cross = gain @ model[np.ix_(before, before)]
        model[np.ix_(chosen, before)], model[np.ix_(before, chosen)] = cross, cross.T
        model[np.ix_(chosen, chosen)] = cross @ gain.T + np.diag(np.diag(left))
        before = [*before, *chosen]
    return lost, model


def _kl(a: np.ndarray, b: np.ndarray) -> float:
    """KL(N(0, a) ‖ N(0, b))."""
    return 0.5 * float(np.trace(np.linalg.solve(b, a)) - len(a) + np.linalg.slogdet(b)[1] - np.linalg.slogdet(a)[1])


@claim(
    133,
    paper="D-JEPA (set by set, a diffusion head for each token)",
    reference="arXiv:2410.03755",
    statement="Drawn set by set, each token of a set by itself, the joint law is off by the sum of the conditional total "
    "correlations; on a "
    "chain, sets of tokens far apart lose less than sets of neighbours.",
    control="the correlation of sets is taken without what was drawn before; the two ways to make sets change places",
)
def sets(broken: bool) -> list[Row]:
    """A stationary Gaussian chain of six tokens."""
    chain = 0.8 ** np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    neighbours, apart = [[0, 1], [2, 3], [4, 5]], [[0, 3], [1, 4], [2, 5]]
    lost, model = set_by_set(chain, neighbours)
    if broken:
        lost = sum(set_by_set(chain[np.ix_(s, s)], [[0, 1]])[0] for s in neighbours)
    near_, far = (apart, neighbours) if broken else (neighbours, apart)
    losses = {name: set_by_set(chain, way)[0] for name, way in (("near", near_), ("far", far))}
    one_by_one = set_by_set(chain, [[i] for i in range(6)])[0]
    steps = [set_by_set(chain, [list(range(i, j)) for i, j in pairwise(cuts)])[0] for cuts in ((0, 6), (0, 3, 6), (0, 2, 4, 6))]
    return [
        near("KL of the joint, over the sum of conditional correlations", _kl(chain, model) / lost, 1.0, 1e-10),
        below("one by one", abs(one_by_one), 1e-12, "nats", kept=True),
        below("far apart over neighbours", losses["far"] / losses["near"], 0.95),
        below("three sets over one", steps[2] / steps[0], 0.8, kept=True),
    ]
