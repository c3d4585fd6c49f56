"""Claim 163: maps to all times at once."""

from __future__ import annotations

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.process.maps import FlowMap
from scorebed.solvers import VP
from scorebed.toy.claims.registry import Row, below, claim
from scorebed.toy.problems.lines import modes


@claim(
    163,
    paper="DSNO (operator learning of the flow)",
    reference="arXiv:2211.13449",
    statement="The map from the noise to the whole trajectory is smooth in time: of a few temporal modes its error falls "
    "spectrally, alike at all "
    "times; on a Gaussian it is a multiplication by ψ(t) of each eigendirection, whatever the modes.",
    control="the times of the trajectory are out of order",
)
def operator(broken: bool) -> list[Row]:
    """Chebyshev modes in lam of exact trajectories of three modes on the line and of a Gaussian in the plane."""
    nodes = [VP().at_lam(float(lam)) for lam in np.linspace(-3.0, 3.0, 121)]
    order = np.random.default_rng(0).permutation(121) if broken else np.arange(121)
    u = np.linspace(-1.0, 1.0, 121)

    def error(paths: np.ndarray, count: int) -> float:
        fit = np.polynomial.chebyshev.chebfit(u, paths[order], count - 1)
        return float(np.abs(np.polynomial.chebyshev.chebval(u, fit).T - paths[order]).max())

    x = np.asarray(modes().marginal(nodes[0]).quantile((np.arange(20) + 0.5) / 20))[:, None]
    paths = np.array([FlowMap(modes())(x, nodes[0], n)[:, 0] for n in nodes])
    plane = GaussianMixture([1.0], [[0.0, 0.0]], [[[1.0, 0.3], [0.3, 0.2]]])
    values, q = np.linalg.eigh(plane.covariance())
    z = plane.sample(20, 0, nodes[0])
    psi = np.array([np.sqrt((n.alpha**2 * values + n.sigma**2) / (nodes[0].alpha ** 2 * values + nodes[0].sigma ** 2)) for n in nodes])
    exact = np.array([FlowMap(plane)(z, nodes[0], n) for n in nodes])
    few, many = error(paths, 8), error(paths, 32)
    turned = np.abs(((z @ q) * psi[:, None]) @ q.T - exact)
    return [
        below("error of 32 temporal modes on three modes of data", many, 0.02),
        below("error of 32 over that of 8", many / few, 0.1),
        below(
            "Gaussian: trajectory against ψ(t) in the eigenbasis",
            float(turned.max()),
            1e-12,
            kept=True,
        ),
    ]
