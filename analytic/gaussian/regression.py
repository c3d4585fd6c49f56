r"""E[x0 | y] and the law of x0 given y for many observations y = A x0 + n at once, and a law as a model that can be conditioned.

The law of y is a mixture in its own right, N(A mu_k, A Σ_k A^T + R); its weights at y are those of x0 | y, whose means are
mu_k + K_k (y − A mu_k). At a node (x_t, y) is one observation [alpha I; A] x0 of noise diag(sigma² I, R), so that

    E[x0 | x_t, y]   for states and observations that go in pairs

is the same regression. Where all states share one y, ``law.given`` is cheaper.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from scorebed.analytic.gaussian.arrays import back, finite, to_numpy
from scorebed.analytic.gaussian.diagonal import Isotropic
from scorebed.analytic.gaussian.evaluate import ALL
from scorebed.analytic.gaussian.extended import value
from scorebed.analytic.gaussian.gain import Dense, dense, gain
from scorebed.analytic.gaussian.mixture import GaussianMixture
from scorebed.analytic.gaussian.observation import Observation
from scorebed.analytic.gaussian.structure import structure
from scorebed.solvers.model import Array, Denoiser, predicts
from scorebed.solvers.schedule import Node

_UNIT = Node(t=0.0, alpha=1.0, sigma=1.0, lam=0.0)


class Regression:
    """x0 given y = A x0 + n, n ~ N(0, R), for any number of y; arguments as those of ``law.given``.

    Attributes:
        law_of_y: the mixture of the whitened y, without its noise.
    """

    def __init__(self, law: GaussianMixture, A: Any, R: Any) -> None:
        self.law, self.seen = law, Observation(law.d, A, R, np.zeros(len(finite("A", A, 2))))
        a = self.seen.a.hi
        if isinstance(law.structure, Isotropic):  # in the singular vectors of A the law of y is diagonal
            u, s, vt = np.linalg.svd(a)
            wide = np.zeros(self.seen.m)
            wide[: len(s)] = s
            self._turn, v = u, law.structure.variance[:, None]
            spread: Any = v * wide**2
            # K = v V s/(1 + v s²) U^T
            self._gain = (v * wide / (1.0 + spread))[:, : len(s)]
            self._right = vt[: len(s)]
        else:
            self._turn = np.eye(self.seen.m)
            full = Dense(self.seen, law.structure)
            self._gain = value(full.h) @ value(full.inverse)
            spread = a @ value(dense(law.structure)) @ a.T
            spread = 0.5 * (spread + spread.swapaxes(-1, -2))
        self._means = law.means @ a.T @ self._turn
        self.law_of_y = GaussianMixture(law.weights, self._means, spread)

    def _white(self, y: Any) -> np.ndarray:
        given = np.atleast_2d(to_numpy(y, "y").astype(np.float64))
        if given.shape[-1] != self.seen.m:
            raise ValueError(f"y has shape {given.shape}, but A has {self.seen.m} rows: give (n, {self.seen.m})")
        return given @ self.seen.whiten.T @ self._turn

    def evidence(self, y: Any) -> np.ndarray:
        """log p(y), (n,)."""
        return np.asarray(self.law_of_y.log_prob(self._white(y), _UNIT)) - 0.5 * self.seen.logdet

    def components(self, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Weights (n, K) and means (n, K, d) of x0 | y."""
        white = self._white(y)
        with np.errstate(all="ignore"):
            weights = self.law_of_y._at(_UNIT).reduce(white, None, ALL)[1].T
        rest = white[:, None, :] - self._means
        if self._gain.ndim == 2:
            r = self._gain.shape[1]
            return weights, self.law.means + (rest[..., :r] * self._gain) @ self._right
        return weights, self.law.means + np.einsum("nkm,kdm->nkd", rest, self._gain)

    def mean(self, y: Any) -> np.ndarray:
        """E[x0 | y], (n, d)."""
        return np.concatenate([np.einsum("nk,nkd->nd", *self.components(part)) for part in self._parts(y)])

    def _parts(self, y: Any) -> list[np.ndarray]:
        """y a bounded number at a time."""
        given = np.atleast_2d(to_numpy(y, "y"))
        step = max(1, (1 << 20) // (self.law.k * self.law.d))
        return [given[i : i + step] for i in range(0, len(given), step)]

    def sample(self, y: Any, rng: np.random.Generator | int) -> np.ndarray:
        """One draw of x0 | y for each y, (n, d)."""
        rng = np.random.default_rng(rng)
        spread = structure(gain(self.law.structure, self.seen).covariances(), self.law.k, self.law.d)
        out = []
        for part in self._parts(y):
            weights, means = self.components(part)
            pick = (rng.random((len(weights), 1)) > np.cumsum(weights, axis=1)).sum(1).clip(0, self.law.k - 1)
            out.append(means[np.arange(len(pick)), pick] + spread.colour(pick, rng))
        return np.concatenate(out)


class ExactModel:
    """A law as the model of a posterior sampler: D, J^T v, and E[x0 | x_t, y].

    Args:
        law: a ``GaussianMixture``, a ``RotatedProduct``, or what has ``denoised``, ``vjp`` and, for ``given``, ``mixture()``.
    """

    prediction = "denoised"

    def __init__(self, law: Any) -> None:
        self.law, self.d = law, law.d

    def __call__(self, x: Array, node: Node) -> Array:
        return self.law.denoised(x, node)

    def vjp(self, x: Array, node: Node, v: Array) -> Array:
        return self.law.vjp(x, node, v)

    def given(self, operator: Any, y: Array) -> Denoiser:
        """(x, node) -> E[x0 | x_t, y] of ``operator.matrix`` and ``operator.variance``; y (m,), or (n, m) for states (n, d)."""
        a, r = to_numpy(operator.matrix, "A"), float(operator.variance)
        if len(y.shape) == 1:
            one = self.law.given(a, y, r)
            return predicts("denoised")(lambda x, node: one.denoised(x, node))
        law = self.law.mixture() if hasattr(self.law, "mixture") else self.law
        stacked = lru_cache(maxsize=256)(lambda alpha, sigma: Regression(law, *_stack(a, r, alpha, sigma)))

        @predicts("denoised")
        def conditional(x: Array, node: Node) -> Array:
            both = np.concatenate([to_numpy(x), to_numpy(y, "y")], axis=1)
            return back(x, stacked(node.alpha, node.sigma).mean(both))

        return conditional


def _stack(a: np.ndarray, r: float, alpha: float, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    d = a.shape[1]
    return np.concatenate([alpha * np.eye(d), a]), np.concatenate([np.full(d, sigma**2), np.full(len(a), r)])
