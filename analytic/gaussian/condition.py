r"""A mixture and a linear observation of it: y = A x0 + n, n ~ N(0, R).

p(x0 | y) is a mixture again, with the gain K_k and the evidence of every component (``gain.py``),

    w'_k ∝ w_k N(y; A mu_k, A Σ_k A^T + R),   mu'_k = mu_k + K_k (y - A mu_k),   Σ'_k = Σ_k - K_k A Σ_k,

so the exact conditional score at every node is ``law.given(A, y, R).score``. It is also s + ∇ log p(y | x_t), where x0 | x_t has weights
γ_k(x), means m_k(x) and covariances S_k (``posterior.py``) and is observed in its turn, with gains K'_k:

    p(y | x) = Σ_k γ_k(x) N(y; A m_k(x), A S_k A^T + R),   ∇ log p(y | x) = (alpha/sigma²) (E[x0 | x, y] - E[x0 | x]),

Tweedie's formula with and without y. The Jacobian of the denoiser, J = (alpha/sigma²) Cov[x0 | x], is symmetric; ``vjp`` is J v.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from scorebed.analytic.gaussian.arrays import rows, to_numpy
from scorebed.analytic.gaussian.covariance import Pick
from scorebed.analytic.gaussian.evaluate import ALL, LEADERS, Evaluator, below, normalise
from scorebed.analytic.gaussian.extended import Extended, matmul, value
from scorebed.analytic.gaussian.gain import Gain, gain
from scorebed.analytic.gaussian.observation import Observation
from scorebed.analytic.gaussian.posterior import component_means
from scorebed.analytic.gaussian.structure import structure
from scorebed.solvers.model import Array
from scorebed.solvers.schedule import Node

_BLOCK = 1 << 16  # extended numbers held at once
_EPS = float(np.finfo(np.float64).eps)
_HARMLESS = 5e-13


def observed(log_weights: np.ndarray, means: np.ndarray, update: Gain) -> tuple[float, np.ndarray, np.ndarray]:
    """log Σ_k w_k N(y; …) up to constants of R, the posterior weights (K,) and means (K, d)."""
    k, d = means.shape
    logits, moved = Extended(np.zeros((k, 1))), np.empty((k, d))
    for i in range(0, k, step := max(1, _BLOCK // (d + 1))):
        pick = slice(i, i + step)
        logs, shift = update.update(pick, Extended(means[pick][:, None, :]))
        logits.hi[pick], logits.lo[pick] = (both := logs + log_weights[pick][:, None]).hi, both.lo
        moved[pick] = value(shift + means[pick][:, None, :])[:, 0]
    density, weights = normalise(*below(logits))
    return float(density[0]), weights[:, 0], moved


def given(law: Any, seen: Observation) -> tuple[float, Any]:
    """log p(y) and the law of x0 given y, for a ``GaussianMixture``."""
    update = gain(law.structure, seen)
    density, weights, means = observed(law.log_weights, law.means, update)
    evidence = density - 0.5 * (seen.m * math.log(2.0 * math.pi) + seen.logdet)
    if not math.isfinite(evidence):
        raise ValueError(f"y lies so far from A x0 that its density is {evidence}: check the units of y, A and R")
    return evidence, type(law)(weights, means, update.covariances())


def likelihood(ev: Evaluator, seen: Observation, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log p(y | x) (n,) and its gradient (n, d) at a node with noise, for states x (n, d); extended where it matters."""
    update = gain(structure(ev.at.posterior(), ev.k, ev.d), seen)
    log, gradient = np.empty(len(x)), np.empty(x.shape)
    for i in range(len(x)):
        here = x[i : i + 1]
        pick = _leaders(ev, update, here, float(seen.y.hi @ seen.y.hi))
        logits = ev.logits(pick, here, True)[0]
        means = component_means(ev, pick, here)
        logs, shift = update.update(pick, means)
        prior, both = logits[:, 0], (logits + logs)[:, 0]
        top, lead = int(np.argmax(prior.hi)), int(np.argmax(both.hi))
        gamma, rho = (np.exp(value(a - a[j])) for a, j in ((prior, top), (both, lead)))
        log[i] = float(value(both[lead] - prior[top])) + math.log(rho.sum()) - math.log(gamma.sum())
        gamma, rho = gamma / gamma.sum(), rho / rho.sum()
        centred = means - matmul(gamma[None], means[:, 0])
        total = (shift[:, 0] * rho[:, None] + centred[:, 0] * (rho - gamma)[:, None]).swapaxes(0, 1).sum(-1)
        gradient[i] = ev.alpha / ev.sigma**2 * value(total)
    return log - 0.5 * (seen.m * math.log(2.0 * math.pi) + seen.logdet), gradient


def _leaders(ev: Evaluator, update: Gain, x: np.ndarray, size: float) -> np.ndarray:
    """The components that matter to x, or to x and y, by float64 with room for its round-off."""
    keep, prior, both = 2.0 * LEADERS + 1e3 * _EPS * size, np.empty(ev.k), np.empty(ev.k)
    for pick in ev.blocks(1):
        logits, r, y, _ = ev.logits(pick, x, False)
        means = ev.at.posterior_mean(pick, ev.means[pick][:, None, :], x, r, y)
        prior[pick], both[pick] = logits[:, 0], (logits + update.update(pick, means)[0])[:, 0]
    with np.errstate(invalid="ignore"):
        keep = keep + 1e3 * _EPS * (np.abs(prior.max()) + np.abs(both.max()))
        return np.flatnonzero(~((prior < prior.max() - keep) & (both < both.max() - keep)))


def jacobian_times(ev: Evaluator, x: np.ndarray, v: np.ndarray) -> np.ndarray:
    """J v = (alpha/sigma²) Cov[x0 | x] v for states x and vectors v (n, d), Cov v = Σ γ_k (S_k v + (m_k - m) (m_k - m)·v)."""
    weights = _weights(ev, x)
    out = ev.at.posterior_times(weights, v)
    step = len(x) if ev.small else 1  # of a large mixture few components matter to each state
    for i in range(0, len(x), step):
        here, gamma = x[i : i + step], weights[i : i + step]
        pick: Pick = slice(None) if ev.small else np.flatnonzero(~(gamma[0] <= 1e-30))
        gamma, means = gamma[:, pick].T, _component_means(ev, pick, here)
        means -= np.einsum("kn,knd->nd", gamma, means)
        out[i : i + step] += np.einsum("kn,knd->nd", gamma * np.einsum("knd,nd->kn", means, v[i : i + step]), means)
    return ev.alpha / ev.sigma**2 * out


def _component_means(ev: Evaluator, pick: Pick, x: np.ndarray) -> np.ndarray:
    """m_k minus the mean of all mu, in float64, (components, n, d): shifting everything by a constant shifts m_k by it."""
    origin, r = ev.means.mean(0), ev.residual(pick, x, False)
    mu = ev.means[pick][:, None, :] - origin
    return value(ev.at.posterior_mean(pick, mu, x - ev.alpha * origin, r, ev.at.solve(pick, r)[0]))


def _weights(ev: Evaluator, x: np.ndarray) -> np.ndarray:
    """γ (n, K): by matrix products where these are sharp enough, for a large mixture."""
    if not ev.small and ev.wide:
        at: Any = ev.at
        rough, cancelled = at.rough(x, ev.cloud)
        if _EPS * float(np.max(cancelled)) < _HARMLESS:
            logits = ev.offset - 0.5 * rough
            return normalise((logits - logits.max(1, keepdims=True)).T, logits.max(1))[1].T
    return ev.reduce(x, None, ALL)[1].T


class Observed:
    """What a mixture knows of linear observations y = A x0 + n, n ~ N(0, R): A (m, d), y (m,), R (m, m), (m,) variances or a variance."""

    d: int

    def given(self: Any, A: Any, y: Any, R: Any) -> Any:
        """p(x0 | y): a mixture, in the structure of this one where that holds it.

        Isotropic laws stay isotropic, diagonal or ``Rotated``; diagonal and low-rank ones stay so under a mask; the rest is full.

        Returns:
            the law p(x0 | y), a mixture.

        Raises:
            ValueError: a shape that does not match, nan or inf, R not positive definite, y too far away for a density.
        """
        return given(self, Observation(self.d, A, R, y))[1]

    def evidence(self: Any, A: Any, y: Any, R: Any) -> float:
        """log p(y)."""
        return given(self, Observation(self.d, A, R, y))[0]

    def likelihood(self: Any, x: Array, node: Node, A: Any, y: Any, R: Any) -> Array:
        """log p(y | x_t = x), shape (...)."""
        flat, restore = rows(x, self.d)
        return restore(self._likelihood(flat, node, Observation(self.d, A, R, y))[0])

    def likelihood_score(self: Any, x: Array, node: Node, A: Any, y: Any, R: Any) -> Array:
        """∇ log p(y | x_t = x) with respect to x, shape (..., d)."""
        flat, restore = rows(x, self.d)
        return restore(self._likelihood(flat, node, Observation(self.d, A, R, y))[1])

    def _likelihood(self: Any, x: np.ndarray, node: Node, seen: Observation) -> tuple[np.ndarray, np.ndarray]:
        if node.sigma == 0.0:  # x0 = x / alpha
            rest = seen.y - matmul(x / node.alpha, seen.a.swapaxes(0, 1))
            log = -0.5 * (value((rest * rest).sum(-1)) + seen.m * math.log(2.0 * math.pi) + seen.logdet)
            return log, value(matmul(rest, seen.a)) / node.alpha
        with np.errstate(all="ignore"):
            return likelihood(self._at(node), seen, x)

    def vjp(self: Any, x: Array, node: Node, v: Array) -> Array:
        """J^T v with J = ∂ denoised / ∂ x = (alpha/sigma²) Cov[x0 | x], for vectors v of the shape of x, (..., d).

        Returns:
            J^T v, shape (..., d).

        Raises:
            ValueError: v of another shape than x.
        """
        flat, restore = rows(x, self.d)
        if to_numpy(v, "v").shape != to_numpy(x).shape:
            raise ValueError(f"v has shape {to_numpy(v, 'v').shape}, but x has {to_numpy(x).shape}: give one vector for each state")
        vectors = rows(v, self.d)[0]
        if node.sigma == 0.0:
            return restore(vectors / node.alpha)
        ev, out = self._at(node), np.empty(flat.shape)
        step = max(1, (1 << 19) // (self.k * self.d if ev.small else self.k))
        with np.errstate(all="ignore"):
            for i in range(0, len(flat), step):
                out[i : i + step] = jacobian_times(ev, flat[i : i + step], vectors[i : i + step])
        return restore(out)

    def sample_joint(self: Any, n: int, A: Any, R: Any, rng: np.random.Generator | int) -> tuple[np.ndarray, np.ndarray]:
        """``n`` independent pairs (x0, y): (n, d) and (n, m)."""
        rng, seen = np.random.default_rng(rng), Observation(self.d, A, R)
        x0 = self.sample(n, rng)
        return x0, x0 @ seen.matrix.T + seen.colour(n, rng)
