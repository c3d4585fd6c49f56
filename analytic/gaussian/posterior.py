"""What is summed over components, and the law of x0 given x."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from scorebed.analytic.gaussian.covariance import AtNode, Pick
from scorebed.analytic.gaussian.evaluate import ALL, Evaluator
from scorebed.analytic.gaussian.extended import Number, value
from scorebed.solvers.model import Array

_BLOCK = 1 << 16  # extended numbers held at once


class Posterior(NamedTuple):
    """x0 | x as a mixture: weights (..., K), means (..., K, d), and covariances in the prior's structure, which do not depend on x."""

    weights: Array
    means: Array
    covariances: Any


def score_part(pick: Pick, mu: np.ndarray, x: np.ndarray, r: Number, y: Number) -> Number:
    """The score of a component, −y with y = (alpha² Σ + sigma²)⁻¹ (x − alpha mu)."""
    return -y


def mean_part(at: AtNode, pick: Pick, mu: np.ndarray, x: np.ndarray, r: Number, y: Number) -> Number:
    """The posterior mean of a component."""
    return at.posterior_mean(pick, mu, x, r, y)


def component_means(ev: Evaluator, pick: Pick, x: np.ndarray) -> Number:
    """m_k of the picked components, (components, n, d), extended."""
    r = ev.residual(pick, x, True)
    return ev.at.posterior_mean(pick, ev.means[pick][:, None, :], x, r, ev.at.solve(pick, r)[0])


def scatter(ev: Evaluator, x: np.ndarray) -> np.ndarray:
    """Cov[x0 | x] for states (n, d); the component means are centred in extended precision, for they may differ by little."""
    weights = ev.reduce(x, None, ALL)[1]
    out = ev.at.posterior_sum(weights.T)
    matters = np.flatnonzero(~(weights.max(1) <= (0.0 if ev.small else 1e-30)))
    step = max(1, _BLOCK // max(x.size, ev.d * ev.d))
    blocks = [matters[i : i + step] for i in range(0, len(matters), step)]
    centre = sum((component_means(ev, pick, x) * weights[pick][:, :, None]).sum(0) for pick in blocks)
    for pick in blocks:
        apart = value(component_means(ev, pick, x) - centre).swapaxes(0, 1)  # (n, components, d)
        out += (weights[pick].T[:, :, None] * apart).swapaxes(1, 2) @ apart
    return out
