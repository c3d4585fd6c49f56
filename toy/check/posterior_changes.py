r"""The conditional model with one term wrong, D̃ = D + M (y − A D), and the law that comes out of it.

M = S A^T (A S A^T + r²)^{-1} with S = Cov[x0 | x_t] is right on one Gaussian; there a changed M gives an affine model, whose limit under
DDIM and under DDPM is exact. Elsewhere the limit is sampled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from scorebed.solvers import SOLVERS, Node, predicts, sample
from scorebed.solvers.inverse import Sequential
from scorebed.solvers.weights.exponential import drift_by_denoised
from scorebed.toy.problems.inverse import InverseProblem


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of a law."""

    mean: np.ndarray
    covariance: np.ndarray


def extrapolated(coarse: Moments, fine: Moments) -> Moments:
    """v_4N + (v_4N − v_N)/3."""
    return Moments(fine.mean + (fine.mean - coarse.mean) / 3.0, fine.covariance + (fine.covariance - coarse.covariance) / 3.0)


Pull = Callable[[Any, np.ndarray, np.ndarray, float], np.ndarray]
"""M (…, d, m) of D̃ = D + M (y − A D), from (node, Cov[x0 | x_t] (…, d, d), A, r²)."""


def _pull(n: Any, s: np.ndarray, a: np.ndarray, r2: float) -> np.ndarray:
    """S A^T (A S A^T + r²)^{-1}, which is exact on one Gaussian."""
    return np.swapaxes(np.linalg.solve(a @ s @ a.T + r2 * np.eye(len(a)), a @ s), -1, -2)


def changes(place: InverseProblem) -> Iterator[tuple[str, str, Pull]]:
    """(cause, in words, the wrong M)."""
    r2 = place.operator.variance
    for kappa in (0.25, 0.5, 0.7, 1.5, 2.0, 3.0, 4.0):
        yield "missing factor", f"the guidance times {kappa:g}", _times(kappa)
    yield "missing factor", "alpha left out of sigma²/alpha", lambda n, s, a, r: n.alpha * _pull(n, s, a, r)
    yield "missing factor", "one sigma left out of sigma²/alpha", lambda n, s, a, r: 1.0 / n.sigma * _pull(n, s, a, r)
    yield "missing factor", "alpha twice in sigma²/alpha", lambda n, s, a, r: 1.0 / n.alpha * _pull(n, s, a, r)
    yield "wrong sign", "the guidance times −1", lambda n, s, a, r: -_pull(n, s, a, r)
    other = {"the standard deviation": math.sqrt(r2), "R²": r2 * r2, "2 R": 2 * r2, "R/2": r2 / 2, "1": 1.0, "0": 1e-9}
    for words, value in other.items():
        yield "wrong R", f"{words} in place of R", _of_noise(value)
    yield "Jacobian dropped", "I in place of J", lambda n, s, a, r: n.sigma**2 / n.alpha * _flat(s, a, r)
    yield "Jacobian dropped", "I/alpha in place of J", lambda n, s, a, r: n.sigma**2 / n.alpha**2 * _flat(s, a, r)
    yield "covariance left out", "Cov[x0 | x_t] = 0 in the likelihood, as DPS has it", lambda n, s, a, r: 1.0 / r * s @ a.T


def _times(kappa: float) -> Pull:
    return lambda n, s, a, r: kappa * _pull(n, s, a, r)


def _of_noise(variance: float) -> Pull:
    return lambda n, s, a, r: _pull(n, s, a, variance)


def _flat(s: np.ndarray, a: np.ndarray, r2: float) -> np.ndarray:
    """A^T (A S A^T + r²)^{-1}."""
    return np.swapaxes(np.linalg.solve(a @ s @ a.T + r2 * np.eye(len(a)), np.broadcast_to(a, s.shape[:-2] + a.shape)), -1, -2)


def laws(place: InverseProblem, ys: Sequence[np.ndarray], pull: Pull, solver: str) -> list[Moments | None]:
    """The limits of a changed model for each y: on one Gaussian exact, elsewhere by 2,000 samples; None where it diverges."""
    if place.law.k == 1:
        coarse, fine = (_affine(place, ys, pull, place.nodes(n), 0.0 if solver == "ddim" else 1.0) for n in (150, 600))
        return [extrapolated(a, b) for a, b in zip(coarse, fine, strict=True)]
    return [_sampled(place, y, pull, solver) for y in ys]


def _sampled(place: InverseProblem, y: np.ndarray, pull: Pull, solver: str) -> Moments | None:
    @predicts("denoised")
    def model(x: np.ndarray, n: Node) -> np.ndarray:
        d, s = np.asarray(place.model(x, n)), np.asarray(place.law.posterior_covariance(x, n))
        e = y - place.operator(d)
        return d + np.einsum("nij,nj->ni", pull(n, s, place.operator.matrix, place.operator.variance), e)

    x = place.start_states(2000, 1)
    try:
        out = np.asarray(sample(SOLVERS[solver], model, x, place.nodes(120), noise=Sequential(1, x.shape)))
    except FloatingPointError:
        return None
    return Moments(out.mean(0), np.atleast_2d(np.cov(out.T)))


class _Levels(NamedTuple):
    """Many nodes at once, as (n, 1, 1)."""

    alpha: np.ndarray
    sigma: np.ndarray


def _affine(place: InverseProblem, ys: Sequence[np.ndarray], pull: Pull, nodes: Sequence[Node], eta: float) -> list[Moments]:
    """Mean and covariance of DDIM (eta = 0) or DDPM (eta = 1) on one Gaussian, where D = mu + K (x − alpha mu), from N(0, sigma²)."""
    a, mu, data = place.operator.matrix, place.law.mean(), place.law.covariance()
    unit, n = np.eye(place.d), _Levels(*(np.array([[[getattr(node, k)]] for node in nodes]) for k in ("alpha", "sigma")))
    k = n.alpha * np.linalg.solve(n.alpha**2 * data + n.sigma**2 * unit, np.broadcast_to(data, (len(nodes), *data.shape)))
    m = pull(n, n.sigma**2 / n.alpha * k, a, place.operator.variance)
    keep = unit - m @ a
    slopes, shifts = keep @ k, keep @ (mu[:, None] - n.alpha * k @ mu[:, None]) + m @ np.stack(ys, 1)
    means, covariance = np.zeros((place.d, len(ys))), nodes[0].sigma ** 2 * unit
    for i, (s, t) in enumerate(pairwise(nodes)):
        slope, shift = drift_by_denoised(unit, slopes[i], s, t, eta), drift_by_denoised(0.0 * means, shifts[i], s, t, eta)
        means, covariance = slope @ means + shift, slope @ covariance @ slope.T
        covariance = covariance - t.sigma**2 * math.expm1(2.0 * eta * (s.lam - t.lam)) * unit
    return [Moments(mean, slopes[-1] @ covariance @ slopes[-1].T) for mean in (slopes[-1] @ means + shifts[-1]).T]
