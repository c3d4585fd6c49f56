r"""Claim 5: several modalities in one diffusion, whose forward mean is the sum of their codes."""

from __future__ import annotations

import math

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.output.bound import mean_bound, path_bound
from scorebed.solvers import SOLVERS, VP, Node, grid, trace
from scorebed.toy.claims.registry import Row, below, claim, near, order
from scorebed.toy.measure.convergence import order_of

_COVARIANCE = np.array([[1.0, 0.5], [0.5, 0.6]])
_CODE = np.array([0.8, -0.5])
"""w_i E_i: the state's mean is alpha (.8 x1 − .5 x2)."""


def _code(covariance: np.ndarray) -> GaussianMixture:
    """The law of the sum of the codes."""
    return GaussianMixture([1.0], [[0.0]], [float(_CODE @ covariance @ _CODE)])


class _Heads:
    """p(x1, x2 | z) at a node from this covariance of the modalities, jointly or one head for each."""

    def __init__(self, covariance: np.ndarray, node: Node, separate: bool) -> None:
        row = node.alpha * _CODE @ covariance
        variance = node.alpha * row @ _CODE + node.sigma**2
        self.gain = row / variance
        self.covariance = covariance - np.outer(row, row) / variance
        if separate:
            self.covariance = np.diag(np.diag(self.covariance))

    def log_prob(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """log p(x | z), (n,)."""
        off = x - z * self.gain
        inside = np.einsum("ni,ij,nj->n", off, np.linalg.inv(self.covariance), off)
        return np.asarray(-0.5 * (inside + np.linalg.slogdet(2.0 * math.pi * self.covariance)[1]))

    def mean(self, node: Node) -> float:
        """E log p(x | z) over the true law."""
        joint = np.block([[_COVARIANCE, np.zeros((2, 1))], [np.zeros((1, 2)), np.full((1, 1), node.sigma**2)]])
        off = np.hstack([np.eye(2) - node.alpha * np.outer(self.gain, _CODE), -self.gain[:, None]])
        spread = off @ joint @ off.T
        return float(-0.5 * (np.trace(np.linalg.solve(self.covariance, spread)) + np.linalg.slogdet(2.0 * math.pi * self.covariance)[1]))


@claim(
    5,
    paper="MT-Diffusion",
    reference="arXiv:2407.17571",
    statement="Modalities whose codes are summed in the mean of one forward process have a multi-modal bound: that of the diffusion "
    "of the sum, and the heads'. On Gaussians, as we read it, it reaches E log p(x1, x2) to first order in the steps with "
    "an exact joint head; one head for each modality costs their mutual information given z; with one modality it is DDPM's "
    "bound.",
    control="the heads take the modalities as independent, and one modality as twice as wide",
)
def aggregated(broken: bool) -> list[Row]:
    """Two correlated numbers, linear codes; bounds by quadrature, and along paths of the ancestral Plan."""
    known = np.diag(np.diag(_COVARIANCE)) if broken else _COVARIANCE
    law, exact = _code(_COVARIANCE), -0.5 * float(np.linalg.slogdet(2.0 * math.pi * math.e * _COVARIANCE)[1])

    def nodes_of(n: int) -> list[Node]:
        return grid.uniform_lam(VP(), n, start=1.0, end=0.02)

    def bound(n: int, separate: bool) -> float:
        nodes = nodes_of(n)
        own = -0.5 * math.log(2.0 * math.pi * math.e * nodes[-1].sigma ** 2)
        return mean_bound(law, nodes) + _Heads(known, nodes[-1], separate).mean(nodes[-1]) - own

    counts = (64, 128, 256)
    gaps = [exact - bound(n, False) for n in counts]

    nodes, rng = nodes_of(32), np.random.default_rng(5)
    last = nodes[-1]
    x = rng.multivariate_normal(np.zeros(2), _COVARIANCE, 20000)
    mean = last.alpha * (x @ _CODE)[:, None]
    z = mean + last.sigma * rng.standard_normal(mean.shape)
    own = -0.5 * ((z - mean)[:, 0] / last.sigma) ** 2 - 0.5 * math.log(2.0 * math.pi * last.sigma**2)
    paths = path_bound(trace(SOLVERS["ddpm"], nodes).transitions(law.denoised), z, rng)[0] - own
    drawn = paths + _Heads(_COVARIANCE, last, False).log_prob(x, z)
    error = float(drawn.std() / math.sqrt(len(drawn)))

    true = _Heads(_COVARIANCE, last, False).covariance
    shared = -0.5 * math.log(1.0 - true[0, 1] ** 2 / (true[0, 0] * true[1, 1]))

    def left(node: Node, v: float) -> float:
        return v * node.sigma**2 / (node.alpha**2 * v + node.sigma**2)

    # one modality, x1: −L_T − Σ L_t + L_0 of arXiv:2006.11239, eq. 5
    v, snr = (2.0 if broken else 1.0) * float(_COVARIANCE[0, 0]), [(node.alpha / node.sigma) ** 2 for node in nodes]
    ddpm = -0.5 * math.log(2.0 * math.pi * math.e * left(last, v)) - 0.5 * snr[0] * v
    ddpm -= sum(0.5 * (b - a) * left(node, v) for a, b, node in zip(snr, snr[1:], nodes, strict=False))
    one = GaussianMixture([1.0], [[0.0]], [float(_COVARIANCE[0, 0])])
    alone = mean_bound(one, nodes) - 0.5 * math.log(left(last, 1.0) / last.sigma**2)
    return [
        near("one modality: the bound less DDPM's", alone - ddpm, 0.0, within=1e-9),
        order("order of the gap in the steps", order_of(counts, gaps).slope, 1.0),
        below("gap of 256 steps", gaps[-1], 0.1, "nats"),
        near("drawn bound less the quadrature's, in standard errors", (float(drawn.mean()) - bound(32, False)) / error, 0.0, within=4.0),
        near("cost of separate heads less I(x1; x2 | z)", bound(32, False) - bound(32, True) - shared, 0.0, within=1e-10),
    ]
