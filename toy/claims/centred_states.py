r"""Claim 88: positions without a centre of mass, and what a weight of the loss changes."""

from __future__ import annotations

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.solvers import SOLVERS, VP, Node, grid, sample, trace
from scorebed.solvers.noise import Noise
from scorebed.toy.claims.registry import Row, above, below, claim
from scorebed.toy.measure.convergence import rms

_N = 4
_FREE = np.eye(_N) - np.full((_N, _N), 1.0 / _N)
_BASIS = np.linalg.svd(_FREE)[0][:, : _N - 1]
"""Columns that span the positions of four particles on a line whose mean is 0; (4, 3)."""


def _reduced() -> GaussianMixture:
    """Two shapes of four particles, in the coordinates of the free subspace."""
    shapes = np.array([[-1.5, -0.5, 0.4, 1.6], [1.2, -0.9, 0.8, -1.1]]) @ _BASIS
    return GaussianMixture([0.4, 0.6], shapes, [0.05, 0.08])


@claim(
    88,
    paper="EQGAT-diff",
    reference="arXiv:2309.17296",
    statement="Noise without a centre of mass is a diffusion in a subspace of n − 1 dimensions: a run there with the exact score is "
    "the run in its coordinates, and the mean stays 0. A weight w(t) of the loss moves the best model of little capacity, "
    "and not the best at each t.",
    control="the noise keeps its centre of mass",
)
def without_centre(broken: bool) -> list[Row]:
    """DDPM with 40 steps on two shapes of four particles, in positions and in coordinates, with the same draws; one slope for all."""
    law, nodes = _reduced(), grid.uniform_lam(VP(), 40, start=0.9, end=0.05)
    plan, rng = trace(SOLVERS["ddpm"], nodes), np.random.default_rng(88)
    draws = [rng.standard_normal((30, _N)) for _ in plan.noises]
    start = law.sample(30, 0, nodes[0])

    def of(kept: np.ndarray) -> Noise:
        left = list(draws)
        return lambda s, t: left.pop(0) @ kept

    def lifted(x: np.ndarray, node: Node) -> np.ndarray:
        return np.asarray(law.denoised(x @ _BASIS, node)) @ _BASIS.T

    ambient = np.asarray(
        sample(SOLVERS["ddpm"], lifted, start @ _BASIS.T, nodes, noise=of(np.eye(_N) if broken else _FREE), terminal="none")
    )
    inner = np.asarray(sample(SOLVERS["ddpm"], law.denoised, start, nodes, noise=of(_BASIS), terminal="none"))

    spread = float(np.trace(law.covariance()) + law.mean() @ law.mean()) / (_N - 1)

    def slope(weight: np.ndarray) -> float:
        """The a that minimises Σ w E|a x_t − x0|², one for all levels."""
        alpha, sigma = (np.array([getattr(node, name) for node in nodes]) for name in ("alpha", "sigma"))
        return float((weight * alpha).sum() * spread / (weight * (alpha**2 * spread + sigma**2)).sum())

    snr = np.array([(node.alpha / node.sigma) ** 2 for node in nodes])
    even, cut = np.ones(len(nodes)), snr.clip(0.05, 1.5)
    apart = max(abs(slope(even * at) - slope(cut * at)) for at in np.eye(len(nodes)))
    return [
        below("positions less the coordinates' run", rms(ambient - inner @ _BASIS.T), 1e-12),
        below("largest centre of mass", float(np.abs(ambient.mean(1)).max()), 1e-12),
        below("best slope at each level, truncated SNR less even weight", apart, 1e-12, kept=True),
        above("one slope for all, truncated SNR less even weight", abs(slope(even) - slope(cut)), 0.05, kept=True),
    ]
