r"""Claim 77: worse models whose error is known, and what becomes of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.output.error import propagated
from scorebed.solvers import SOLVERS, VP, sample
from scorebed.solvers.grid import uniform_lam
from scorebed.toy.claims.registry import Row, below, claim
from scorebed.toy.measure.convergence import rms
from scorebed.toy.measure.ladder import few, responsibilities

VARIANCES = np.array([4.0, 1.0, 0.3, 0.05])
GAUSSIAN = GaussianMixture(np.ones(1), np.zeros((1, 4)), VARIANCES[None])
NODES = uniform_lam(VP(), 12)


def _start(n: int, seed: int = 0) -> np.ndarray:
    return GAUSSIAN.sample(n, seed, NODES[0])


def _crowd() -> GaussianMixture:
    """Thirty-two components on the plane, some crowded, some alone."""
    rng = np.random.default_rng(5)
    means = np.vstack([rng.normal(0.0, 0.5, (16, 2)), rng.uniform(-4.0, 4.0, (16, 2))])
    return GaussianMixture(np.full(32, 1 / 32), means, np.full(32, 0.05))


@claim(
    77,
    paper="DeeDiff (dynamic early exit)",
    reference="arXiv:2309.17074",
    statement="Among denoisers of growing accuracy, leaving early where a calibrated uncertainty is below a threshold errs less than any "
    "fixed depth of the same mean cost; the total is at most the sum of the errors of the evaluations, each times its propagator.",
    control="the uncertainty is turned around: the uncertain leave first",
)
def early_exit(broken: bool) -> list[Row]:
    """Thirty-two components; depth k keeps the k largest responsibilities, the uncertainty is the mass that is dropped."""
    law, node = _crowd(), VP().node(0.1)
    x = law.sample(3000, 0, node)
    r, _ = responsibilities(law, x, node)
    tail = 1.0 - np.cumsum(-np.sort(-r, axis=1), axis=1)
    depth = np.argmax(tail < 0.03, axis=1) + 1
    cost = float(depth.mean())
    if broken:
        depth = 1 + depth.max() - depth
        depth = np.maximum(1, np.rint(depth * cost / depth.mean())).astype(int)

    def top(k: np.ndarray) -> Any:
        return lambda r: np.argsort(np.argsort(-r, axis=1), axis=1) < k[:, None]

    exact = law.denoised(x, node)
    adaptive = rms(few(law, top(depth))(x, node) - exact)
    low, share = int(cost), cost - int(cost)
    mixed = low + (np.random.default_rng(0).random(len(x)) < share).astype(int)
    fixed = rms(few(law, top(mixed))(x, node) - exact)
    delta = np.array([0.1, -0.2, 0.05, 0.3])
    moved = propagated(lambda n: delta * n.sigma, VARIANCES, NODES[0], NODES[-1])
    size = propagated(lambda n: np.abs(delta) * n.sigma, VARIANCES, NODES[0], NODES[-1])
    fine = uniform_lam(VP(), 400)
    y = _start(3)
    shift = lambda z, n: GAUSSIAN.denoised(z, n) + delta * n.sigma  # noqa: E731
    found = sample(SOLVERS["dpmpp_2m"], shift, y, fine, terminal="none") - sample(
        SOLVERS["dpmpp_2m"], GAUSSIAN.denoised, y, fine, terminal="none"
    )
    return [
        below("error of the adaptive depth over a fixed one of the same mean", adaptive / fixed, 0.6),
        below(
            "a known error of D at the end against its propagated sum",
            float(np.abs(found - moved).max() / np.abs(moved).max()),
            2e-3,
            kept=True,
        ),
        below("the same over the sum of sizes", float((np.abs(found) / size).max()), 1.002, kept=True),
    ]
