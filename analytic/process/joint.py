r"""The states of a linear process at several times, and what a model gives, as one mixture: transitions, posteriors and pinned ends.

Given m the states are a Gaussian chain, z_{i+1} = A_i z_i + B_i m + C_i ξ by the steps of the reverse SDE, so that

    Cov(z_i, z_i | m) = Σ_{t_i},   Cov(z_{i+1}, z_j | m) = A_i Cov(z_i, z_j | m) for j ≤ i,

and with m a mixture of Gaussians they are one together with m. Whatever of them is known, the rest is a mixture again by Schur complements:

    p(z_t | z_s)        transitions, either way in time
    p(m | z_s, z_t, …)  posteriors of what is seen at several times
    p(z_t | z_s, x0)    pinned ends: Doob's transform without a differential equation
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.analytic.gaussian.mixture import GaussianMixture
from scorebed.analytic.process.linear import LinearLaw
from scorebed.solvers.process import Point
from scorebed.solvers.state import State, parts


class Joint:
    """z at each of the ``nodes``, then m, one after the other; ``at(i)`` are the places of the i-th, ``at(-1)`` those of m.

    Args:
        law: of the process and its ends.
        nodes: distinct points of the process, from noise to data.

    Raises:
        ValueError: no nodes, or nodes that do not run towards the data.
    """

    def __init__(self, law: LinearLaw, nodes: Sequence[Point]) -> None:
        if not nodes or any(s.t <= t.t for s, t in pairwise(nodes)):
            raise ValueError(f"nodes at t = {[node.t for node in nodes]}: give some, from noise to data")
        self.law, self.nodes, unit = law, tuple(nodes), np.eye(law.d)
        forward = [tuple(np.kron(np.array(m), unit) for m in law.process.forward(node)) for node in nodes]
        n, size = len(nodes), len(forward[0][0])
        steps = [np.kron(np.array(s.to(t, 1.0).a), unit) for s, t in pairwise(nodes)]
        noise = np.zeros((n * size, n * size))
        for j in range(n):
            block = forward[j][1]
            for i in range(j, n):
                block = block if i == j else steps[i - 1] @ block
                noise[i * size : (i + 1) * size, j * size : (j + 1) * size] = block
                noise[j * size : (j + 1) * size, i * size : (i + 1) * size] = block.T
        every = np.vstack([*(a for a, _ in forward), np.eye(law.ends.d)])
        covariances = every @ law.covariances @ every.T
        covariances[:, : n * size, : n * size] += noise
        self.weights, self.means, self.covariances = law.weights, law.means @ every.T, covariances
        self._size = size

    def at(self, i: int) -> np.ndarray:
        """The places of z at the i-th node, or of m for −1.

        Returns:
            indices into the joint vector, integers.

        Raises:
            IndexError: no such node.
        """
        n = len(self.nodes)
        if not -1 <= i < n:
            raise IndexError(f"i = {i!r}: give 0 to {n - 1} for a node, or -1 for what the model gives")
        return np.arange(n * self._size, self.means.shape[1]) if i == -1 else np.arange(i * self._size, (i + 1) * self._size)

    def marginal(self, *which: int) -> GaussianMixture:
        """The mixture of some of them, one after the other."""
        rows = np.concatenate([self.at(i) for i in which])
        return GaussianMixture(self.weights, self.means[:, rows], _even(self.covariances[:, rows[:, None], rows]))

    def given(self, known: Mapping[int, State], *which: int) -> GaussianMixture:
        """The mixture of ``which`` of them where others are known: i → the value, (d,) or a tuple of such; of m the things it has.

        A component in which what is known has no width in some direction is taken to go through it there.

        Returns:
            the conditional GaussianMixture of ``which``.

        Raises:
            ValueError: a value of another size.
        """
        seen = np.concatenate([self.at(i) for i in known])
        value = np.concatenate([np.concatenate([np.ravel(np.asarray(part, dtype=float)) for part in parts(v)]) for v in known.values()])
        if len(value) != len(seen):
            raise ValueError(f"what is known has {len(value)} numbers, its places are {len(seen)}: give all components, (d,) each")
        rows = np.concatenate([self.at(i) for i in which])
        spread, cross = self.covariances[:, seen[:, None], seen], self.covariances[:, rows[:, None], seen]
        values, vectors = np.linalg.eigh(spread)
        there = values > 1e-12 * values.max(initial=0.0)
        inverse = np.divide(1.0, values, out=np.zeros_like(values), where=there)
        gain = cross @ (vectors * inverse[:, None, :]) @ vectors.swapaxes(1, 2)
        off = value - self.means[:, seen]
        turned = np.einsum("kij,ki->kj", vectors, off)
        log = np.log(self.weights) - 0.5 * (np.square(turned) * inverse + np.log(values, out=np.zeros_like(values), where=there)).sum(1)
        means = self.means[:, rows] + np.einsum("kij,kj->ki", gain, off)
        left = self.covariances[:, rows[:, None], rows] - gain @ cross.swapaxes(1, 2)
        share = np.exp(log - log.max())
        return GaussianMixture(share / share.sum(), means, _even(left))


def transition(law: LinearLaw, s: Point, t: Point, z: Any) -> GaussianMixture:
    """p(z_t | z_s = ``z``), either way in time."""
    joint = Joint(law, [s, t] if s.t > t.t else [t, s])
    here, there = (0, 1) if s.t > t.t else (1, 0)
    return joint.given({here: z}, there)


def _even(m: np.ndarray) -> np.ndarray:
    """The symmetric part."""
    return np.asarray(0.5 * (m + m.swapaxes(1, 2)))
