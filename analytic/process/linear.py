r"""The law of a linear process whose ends m are a Gaussian mixture: marginals, scores, and what a perfect model gives.

With z_t = A_t m + noise of covariance Σ_t, A_t and Σ_t acting alike on every coordinate, and m ~ Σ_k w_k N(μ_k, C_k),

    z_t | k ~ N(A_t μ_k, S_k),   S_k = A_t C_k A_tᵀ + Σ_t,
    m | z_t, k ~ N(μ_k + C_k A_tᵀ S_k^{-1} (z_t − A_t μ_k),  C_k − C_k A_tᵀ S_k^{-1} A_t C_k)     by Schur complements,

and p(k | z_t) ∝ w_k N(z_t; A_t μ_k, S_k). States and predictions have several components, (..., d) each; in means and covariances they
stand one after the other.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from scorebed.analytic.gaussian.mixture import GaussianMixture
from scorebed.solvers.process import LinearProcess, Point
from scorebed.solvers.process.general import carried
from scorebed.solvers.state import State, bare, parts


class _At:
    """The law at one point: A (c, g), S_k as eigenvalues and vectors, gains C_k Aᵀ S_k^{-1}."""

    def __init__(self, law: LinearLaw, node: Point) -> None:
        a, noise = law.process.forward(node)
        unit = np.eye(law.d)
        self.a = np.kron(np.array(a), unit)
        self.means = law.means @ self.a.T
        self.spread = self.a @ law.covariances @ self.a.T + np.kron(np.array(noise), unit)
        values, vectors = np.linalg.eigh(self.spread)
        there = values > 1e-14 * values.max(initial=0.0)  # what has no width has no density either: it is where it is
        inverse = np.divide(1.0, values, out=np.zeros_like(values), where=there)
        self.precision = (vectors * inverse[:, None, :]) @ vectors.swapaxes(1, 2)
        self.gain = law.covariances @ self.a.T @ self.precision
        with np.errstate(divide="ignore"):
            self.log_weights = np.log(law.weights) - 0.5 * np.log(values, out=np.zeros_like(values), where=there).sum(1)

    def responsibilities(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(z − A μ_k, p(k | z), log p(z) up to the constant of (2π)), shapes (n, k, c d), (n, k), (n,)."""
        off = z[:, None, :] - self.means
        log = self.log_weights - 0.5 * np.einsum("nki,kij,nkj->nk", off, self.precision, off)
        top = log.max(1, keepdims=True)
        share = np.exp(log - top)
        mass = share.sum(1, keepdims=True)
        return off, share / mass, (top + np.log(mass))[:, 0]


class LinearLaw:
    """Σ_k weights_k N(means_k, covariances_k) for m, whose components follow one another, noised by ``process``.

    Args:
        process: a ``solvers.process.LinearProcess``.
        weights: (K,); means: (K, g d) and covariances: (K, g d, g d) for the g things that a model of the process gives.
    """

    def __init__(self, process: LinearProcess, weights: Any, means: Any, covariances: Any) -> None:
        self.process: Any = process
        self.ends = GaussianMixture(weights, means, covariances)
        self.weights, self.means, self.k = self.ends.weights, self.ends.means, self.ends.k
        self.covariances = np.asarray(covariances, dtype=float)
        self.d = self.ends.d // len(process.gives)
        self._at = lru_cache(maxsize=256)(lambda node: _At(self, node))

    def _flat(self, z: State) -> tuple[np.ndarray, tuple[int, ...]]:
        shape = parts(z)[0].shape
        return np.concatenate([np.asarray(part, dtype=float).reshape(-1, self.d) for part in parts(z)], axis=1), shape

    def _split(self, rows: np.ndarray, shape: tuple[int, ...], like: State) -> State:
        columns = np.split(rows, rows.shape[1] // self.d, axis=1)
        return bare(tuple(column.reshape(shape).astype(parts(like)[0].dtype, copy=False) for column in columns))

    def denoised(self, z: State, node: Point) -> State:
        """E[m | z_t], a tuple where the process gives several things."""
        flat, shape = self._flat(z)
        at = self._at(node)
        off, share, _ = at.responsibilities(flat)
        rows = share @ self.means + np.einsum("nk,kij,nkj->ni", share, at.gain, off)
        return self._split(rows, shape, z)

    def score(self, z: State, node: Point) -> State:
        """∇ log p_t(z), by components of the state."""
        flat, shape = self._flat(z)
        at = self._at(node)
        off, share, _ = at.responsibilities(flat)
        return self._split(-np.einsum("nk,kij,nkj->ni", share, at.precision, off), shape, z)

    def log_prob(self, z: State, node: Point) -> np.ndarray:
        """log p_t(z), shape (...)."""
        flat, shape = self._flat(z)
        log = self._at(node).responsibilities(flat)[2] - 0.5 * flat.shape[1] * np.log(2.0 * np.pi)
        return np.asarray(log.reshape(shape[:-1]))

    def posterior(self, z: State, node: Point) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The mixture of m given z_t: p(k | z), (..., K), means (..., K, g d) and covariances (K, g d, g d)."""
        flat, shape = self._flat(z)
        at = self._at(node)
        off, share, _ = at.responsibilities(flat)
        means = self.means + np.einsum("kij,nkj->nki", at.gain, off)
        covariances = self.covariances - at.gain @ at.a @ self.covariances
        return share.reshape(*shape[:-1], self.k), means.reshape(*shape[:-1], self.k, -1), 0.5 * (covariances + covariances.swapaxes(1, 2))

    def marginal(self, node: Point) -> GaussianMixture:
        """The law of z_t, its components one after the other."""
        at = self._at(node)
        return GaussianMixture(self.weights, at.means, 0.5 * (at.spread + at.spread.swapaxes(1, 2)))

    def affine(self, node: Point) -> tuple[np.ndarray, np.ndarray]:
        """(A, b) with E[m | z_t] = A z_t + b.

        Returns:
            (A, b) of the denoiser, A of (d, d) or wider and b (d,).

        Raises:
            ValueError: several components, whose model is not affine.
        """
        if self.k != 1:
            raise ValueError(f"the law has k = {self.k} components: its model is affine where there is one")
        at = self._at(node)
        return at.gain[0], self.means[0] - at.gain[0] @ at.means[0]

    def flow(self, z: State, s: Point, t: Point) -> State:
        """Where the probability flow carries the states of one Gaussian: de = (P + Q K) e dt about the mean, K the gain of m in z.

        Returns:
            states at ``t``, of the shapes of z.

        Raises:
            ValueError: several components, for which nothing is closed.
        """
        if self.k != 1:
            raise ValueError(f"the law has k = {self.k} components: its flow is closed for one Gaussian, integrate it")
        flat, shape = self._flat(z)
        moved = flat if s.t == t.t else (flat - self._at(s).means[0]) @ np.array(carried(_Whole(self), s.t, t.t, 0.0)[0]).T
        return self._split(moved if s.t == t.t else moved + self._at(t).means[0], shape, z)

    def mean(self) -> np.ndarray:
        """Of m, (g d,)."""
        return self.ends.mean()

    def covariance(self) -> np.ndarray:
        """Of m, (g d, g d)."""
        return self.ends.covariance()

    def sample(self, n: int, rng: np.random.Generator | int, node: Point) -> State:
        """n states at a point."""
        rows = self.marginal(node).sample(n, rng)
        return self._split(rows, (n, self.d), rows)


class _Whole:
    """The marginal of one Gaussian as a process: the flow moves it, and no noise."""

    def __init__(self, law: LinearLaw) -> None:
        self.law, self.node = law, law.process.node
        self.state = law.means[0][: len(law.process.state) * law.d]

    def forward(self, node: Point) -> tuple[np.ndarray, np.ndarray]:
        at = self.law._at(node)
        return at.a, at.spread[0]

    def motion(self, node: Point) -> tuple[None, np.ndarray, np.ndarray]:
        """P + Q K, and no noise."""
        p, q, _ = (np.kron(np.array(m), np.eye(self.law.d)) for m in self.law.process.rates(node, 0.0))
        return None, p + q @ self.law._at(node).gain[0], np.zeros_like(p)


def dense(law: GaussianMixture) -> np.ndarray:
    """The covariances of the components of a mixture as matrices, (K, d, d)."""
    out = []
    for k in range(law.k):
        values, vectors = law.structure.eigen(k)
        out.append(np.diag(values) if vectors is None else (vectors * values) @ vectors.T)
    return np.stack(out)
