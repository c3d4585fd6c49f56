r"""Tilts of a mixture, p^r ∝ p_0 e^{r(x0)}: what guidance, rewards and composition mean; their value functions; products and powers.

A quadratic reward, a class, and a product with another mixture leave a mixture. With Z = E_0[e^r],

    Z p^r_t(x) = ∫ p_0 e^r q(x_t | x0) dx0 = p_t(x) E[e^{r(x0)} | x_t = x],

so that the value function and Doob's transform of the reverse process are

    v_t(x) = log E[e^r | x_t] = log Z + log p^r_t(x) − log p_t(x),        ∇ v_t = ∇ log p^r_t − ∇ log p_t.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scorebed.analytic.gaussian.mixture import GaussianMixture
from scorebed.solvers.model import Array
from scorebed.solvers.schedule import Node


@dataclass(frozen=True)
class Tilted:
    """A law, its tilt, and log Z.

    Attributes:
        base, law: p and p^r.
        log_normaliser: log E_base[e^r].
    """

    base: GaussianMixture
    law: GaussianMixture
    log_normaliser: float

    def value(self, x: Array, node: Node) -> Array:
        """v_t(x) = log E[e^{r(x0)} | x_t = x], shape (...)."""
        return self.log_normaliser + (self.law.log_prob(x, node) - self.base.log_prob(x, node))

    def gradient(self, x: Array, node: Node) -> Array:
        """∇ v_t, shape (..., d): what is added to the score (Doob's transform)."""
        return self.law.score(x, node) - self.base.score(x, node)

    def reward(self, x0: Array) -> Array:
        """r(x0), shape (...)."""
        return self.log_normaliser + (self.law.log_prob(x0) - self.base.log_prob(x0))


def full(law: GaussianMixture) -> np.ndarray:
    """The covariances of the components, (K, d, d)."""
    return np.stack([np.asarray(law.structure.pooled(unit)) for unit in np.eye(law.k)])


def quadratic(law: GaussianMixture, precision: Any = 0.0, linear: Any = 0.0, constant: float = 0.0) -> Tilted:
    r"""The tilt by r(x) = c + q·x − ½ xᵀ P x: components N(m, S) with S = (I + Σ P)^{-1} Σ, m = μ + S (q − P μ), and weights

        w exp(q·μ − ½ μᵀPμ + ½ (q − Pμ)ᵀ S (q − Pμ)) / sqrt(det(I + Σ P)).

    Args:
        law: a mixture.
        precision: P, a number, (d,) or (d, d); negative ones reward what is far, as long as I + Σ P stays positive.
        linear: q, a number or (d,).
        constant: c.

    Returns:
        the Tilted mixture, with one component for each of ``law``.

    Raises:
        ValueError: e^r is not integrable, or a shape that does not match.
    """
    p = np.asarray(precision, float)
    p = p * np.eye(law.d) if p.ndim < 2 else 0.5 * (p + p.T)
    q = np.broadcast_to(np.asarray(linear, float), (law.d,))
    if p.shape != (law.d, law.d):
        raise ValueError(f"precision has shape {p.shape}: give a number, ({law.d},) or ({law.d}, {law.d})")
    covariances, means = full(law), law.means
    inner = np.eye(law.d) + covariances @ p
    if float(np.linalg.eigvals(inner).real.min()) <= 0.0:
        raise ValueError("e^r is not integrable: I + Σ P has an eigenvalue that is not positive; give a larger precision")
    spread = np.linalg.solve(inner, covariances)
    spread = 0.5 * (spread + spread.swapaxes(1, 2))
    pull = q - means @ p
    logs = law.log_weights + constant + means @ q - 0.5 * np.einsum("ki,ij,kj->k", means, p, means)
    logs = logs + 0.5 * np.einsum("ki,kij,kj->k", pull, spread, pull) - 0.5 * np.linalg.slogdet(inner)[1]
    return _made(law, logs, means + np.einsum("kij,kj->ki", spread, pull), spread)


def of_class(law: GaussianMixture, members: Sequence[int] | np.ndarray) -> Tilted:
    """The components of a class: the tilt by r = log P(class | x0), so that v_t = log P(class | x_t).

    Returns:
        the Tilted mixture of the components in ``members``.

    Raises:
        ValueError: no component, or one that does not exist.
    """
    keep = np.unique(np.asarray(members, int))
    if len(keep) == 0 or keep[0] < 0 or keep[-1] >= law.k:
        raise ValueError(f"members = {list(members)!r}: give components of 0 to {law.k - 1}, at least one")
    raw = law.covariances
    covariances = raw[keep] if isinstance(raw, np.ndarray) else full(law)[keep]
    return _made(law, law.log_weights[keep], law.means[keep], covariances)


def product(one: GaussianMixture, other: GaussianMixture) -> Tilted:
    r"""p_1 p_2/Z, the tilt of p_1 by r = log p_2: components N(m, S), S = Σ_1 (Σ_1 + Σ_2)^{-1} Σ_2, weights w_1 w_2 N(μ_1; μ_2, Σ_1 + Σ_2).

    Returns:
        the Tilted mixture, with one component for each pair.

    Raises:
        ValueError: laws of different dimension.
    """
    if one.d != other.d:
        raise ValueError(f"the laws have d = {one.d} and {other.d}: give two of the same dimension")
    a, b = full(one), full(other)
    logs, means, covariances = [], [], []
    for i in range(one.k):
        for j in range(other.k):
            both, gap = a[i] + b[j], other.means[j] - one.means[i]
            gain = np.linalg.solve(both, a[i]).T
            logs.append(
                one.log_weights[i]
                + other.log_weights[j]
                - 0.5 * (float(gap @ np.linalg.solve(both, gap)) + np.linalg.slogdet(2.0 * math.pi * both)[1])
            )
            means.append(one.means[i] + gain @ gap)
            covariances.append(gain @ b[j])
    spread = np.stack(covariances)
    return _made(one, np.array(logs), np.stack(means), 0.5 * (spread + spread.swapaxes(1, 2)))


def power(law: GaussianMixture, n: int) -> Tilted:
    """p^n/Z for a whole n ≥ 1, the tilt by r = (n − 1) log p.

    Returns:
        the Tilted law p^n/Z with its log normaliser.

    Raises:
        ValueError: another n; for one Gaussian ``geometric`` takes every power.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"n = {n!r} must be a whole number from 1 on; a Gaussian has every power, see geometric")
    result = Tilted(law, law, 0.0)
    for _ in range(n - 1):
        step = product(result.law, law)
        result = Tilted(law, step.law, result.log_normaliser + step.log_normaliser)
    return result


def geometric(laws: Sequence[GaussianMixture], powers: Sequence[float]) -> GaussianMixture:
    r"""∏ p_i^{a_i}/Z of Gaussians: precision Σ a_i Λ_i and precision-weighted mean; a = (w, 1 − w) is what guidance of scale w means.

    Returns:
        the GaussianMixture of one component.

    Raises:
        ValueError: mixtures, or Σ a_i Λ_i not positive definite, where no such law exists.
    """
    if any(law.k != 1 for law in laws) or len(laws) != len(powers) or not laws:
        raise ValueError("give single Gaussians, and one power for each")
    inverses = [a * np.linalg.inv(full(law)[0]) for law, a in zip(laws, powers, strict=True)]
    precision = sum(inverses, np.zeros_like(inverses[0]))
    if float(np.linalg.eigvalsh(0.5 * (precision + precision.T)).min()) <= 0.0:
        raise ValueError(f"powers = {list(powers)}: the precision Σ a_i Λ_i is not positive, and no such law exists")
    spread = np.linalg.inv(precision)
    mean = spread @ sum((m @ law.means[0] for m, law in zip(inverses, laws, strict=True)), np.zeros(laws[0].d))
    return GaussianMixture([1.0], mean[None], 0.5 * (spread + spread.T)[None])


def union(laws: Sequence[GaussianMixture], weights: Sequence[float]) -> GaussianMixture:
    """Σ_i weights_i p_i.

    Returns:
        the GaussianMixture with all components of the laws, full covariances.

    Raises:
        ValueError: laws of different dimension, or weights that are no distribution.
    """
    parts = [float(w) * law.weights for w, law in zip(weights, laws, strict=True)]
    return GaussianMixture(np.concatenate(parts), np.concatenate([law.means for law in laws]), np.concatenate([full(law) for law in laws]))


def _made(base: GaussianMixture, logs: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> Tilted:
    top = float(logs.max())
    weights = np.exp(logs - top)
    total = math.fsum(weights)
    return Tilted(base, GaussianMixture(weights / total, means, covariances), top + math.log(total))
