r"""Diffusion on the simplex by stick-breaking, and mixtures of its kernels.

A point of the simplex Δ^{n} = {p in R^{n+1}: p_i >= 0, Σ p_i = 1} is n broken sticks

    v_i = p_i / (1 - p_1 - … - p_{i-1}) in [0, 1],      p_i = v_i Π_{j<i} (1 - v_j),

and with independent Jacobi diffusions v_i of parameters a_i = c_i and b_i = c_{i+1} + … + c_{n+1} the stationary law is Dirichlet(c)
(Avdeyev et al., arXiv:2305.10699). Densities are with respect to dp_1 … dp_n; dv/dp = Π_{i<=n} (1 - p_1 - … - p_{i-1})^{-1}.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from scorebed.analytic.gaussian.arrays import back, finite, rows
from scorebed.analytic.heat.jacobi import Jacobi
from scorebed.analytic.heat.mixture import count
from scorebed.analytic.heat.points import heat_time
from scorebed.solvers.model import Array, predicts
from scorebed.solvers.schedule import Node


def to_sticks(p: np.ndarray) -> np.ndarray:
    """v (..., n) of p (..., n+1); a stick with nothing left to break is ½."""
    rest = np.cumsum(p[..., ::-1], axis=-1)[..., ::-1]  # p_i + p_{i+1} + …, without cancellation
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(rest[..., :-1] > 0.0, p[..., :-1] / rest[..., :-1], 0.5)


def from_sticks(v: np.ndarray) -> np.ndarray:
    """p (..., n+1) of v (..., n)."""
    left = np.concatenate([np.ones(v.shape[:-1] + (1,)), np.cumprod(1.0 - v, axis=-1)], axis=-1)
    return np.concatenate([v, np.ones(v.shape[:-1] + (1,))], axis=-1) * left


class JacobiMixture:
    """Σ_k weights_k p_{times_k}(· | means_k) of Jacobi diffusions, on [0, 1] or, by stick-breaking, on the simplex.

    Args:
        concentration: c, (2,) for Jacobi(c_1, c_2) on [0, 1] with points (..., 1), or (n + 1,), n >= 2, for points (..., n + 1) of the
            simplex.
        weights: (K,), not negative, summing to 1 within 1e-6.
        means: (K, d), where the components started.
        times: (K,) or a number, how long they have diffused.

    At a node with alpha = 1 the law has diffused for sigma² longer. Densities exist for times of at least ``jacobi.SHORTEST``; draws too.

    Raises:
        ValueError: shapes that do not match, parameters that are not positive, points outside, weights that are no distribution.
    """

    def __init__(self, concentration: Any, weights: Any, means: Any, times: Any) -> None:
        c = finite("concentration", concentration, 1)
        if len(c) < 2 or np.any(c <= 0.0):
            raise ValueError(f"concentration = {c.tolist()}: give two or more positive numbers")
        self.concentration = c
        self.parts = [Jacobi(float(c[i]), float(c[i + 1 :].sum())) for i in range(len(c) - 1)]
        self.d = 1 if len(c) == 2 else len(c)
        self.weights, self.means = finite("weights", weights, 1), finite("means", means, 2)
        if self.means.shape != (len(self.weights), self.d) or len(self.weights) == 0:
            raise ValueError(f"means has shape {self.means.shape}: give (K, {self.d}) with K = {len(self.weights)} weights, K >= 1")
        if np.any(self.weights < 0.0) or abs(math.fsum(self.weights) - 1.0) > 1e-6:
            raise ValueError(f"weights = {self.weights.tolist()}: give numbers that are not negative and sum to 1")
        self.weights = self.weights / math.fsum(self.weights)
        inside = np.all((self.means >= 0.0) & (self.means <= 1.0)) and (self.d == 1 or np.allclose(self.means.sum(1), 1.0, atol=1e-9))
        if not inside:
            raise ValueError(f"means holds points outside the {'interval' if self.d == 1 else 'simplex'}")
        given = finite("times", times)
        if given.ndim > 1 or (given.ndim == 1 and given.shape != self.weights.shape) or np.any(given < 0.0):
            raise ValueError(f"times = {given.tolist()}: give a number or ({len(self.weights)},), not negative")
        self.times = np.array(np.broadcast_to(given, self.weights.shape))

    def __repr__(self) -> str:
        return f"JacobiMixture(concentration={self.concentration.tolist()}, k={len(self.weights)})"

    def _sticks(self, p: np.ndarray) -> np.ndarray:
        return p if self.d == 1 else to_sticks(p)

    def _evaluate(self, v: np.ndarray, node: Node | None) -> tuple[np.ndarray, np.ndarray]:
        """log p_t of the sticks v (n, parts) and its gradient in v."""
        started, times = self._sticks(self.means), self.times + heat_time(node)
        logs, slopes = np.zeros((len(self.weights), len(v))), np.zeros((len(self.weights), *v.shape))
        for k, t in enumerate(times):
            for i, part in enumerate(self.parts):
                log, slopes[k, :, i] = part.kernel(started[k, i], v[:, i], float(t))
                logs[k] += log
        with np.errstate(divide="ignore"):
            logs += np.log(self.weights)[:, None]
        top = logs.max(0)
        share = np.exp(logs - top)
        return top + np.log(share.sum(0)), np.einsum("kn,kni->ni", share / share.sum(0), slopes)

    def log_prob(self, x: Array, node: Node | None = None) -> Array:
        """log p_t(x), shape (...), with respect to dx on [0, 1] or dp_1 … dp_n on the simplex.

        Returns:
            log p_t(x), shape (...).

        Raises:
            ValueError: points on the boundary or outside, times below ``jacobi.SHORTEST``.
        """
        flat, restore = rows(x, self.d)
        log = self._evaluate(self._sticks(flat), node)[0]
        if self.d > 1:
            log = log - np.log(np.cumsum(flat[:, ::-1], axis=1)[:, ::-1][:, 1:-1]).sum(1)
        return restore(log)

    @predicts("score")
    def score(self, x: Array, node: Node | None = None) -> Array:
        """On [0, 1] ∂_x log p_t(x), (..., 1); on the simplex ∂ log p_t / ∂v_i of the sticks v = to_sticks(x), (..., n)."""
        flat, _ = rows(x, self.d)
        out = self._evaluate(self._sticks(flat), node)[1]
        return back(x, out.reshape(np.shape(x)[:-1] + (len(self.parts),)))

    def sample(self, n: int, rng: np.random.Generator | int, node: Node | None = None) -> np.ndarray:
        """``n`` independent exact draws, (n, d).

        Returns:
            (n, d) points, float64.

        Raises:
            ValueError: n < 1, or a time that is positive but below ``jacobi.SHORTEST``.
        """
        rng = np.random.default_rng(rng)
        pick = rng.choice(len(self.weights), size=count(n), p=self.weights)
        times = self.times[pick] + heat_time(node)
        v = self._sticks(self.means)[pick]
        for t in np.unique(times[times > 0.0]):
            here = times == t
            for i, part in enumerate(self.parts):
                v[here, i] = part.sample(v[here, i], float(t), rng)
        return v if self.d == 1 else from_sticks(v)
