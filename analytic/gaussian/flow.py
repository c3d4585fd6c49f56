r"""Exact probability-flow maps between two nodes, dx/dt = f x - g² score / 2 solved in closed form, in either direction.

One Gaussian: x_t = alpha_t mu + C_t^{1/2} C_s^{-1/2} (x_s - alpha_s mu), C = alpha² Σ + sigma² I, in the eigenbasis of Σ.
A 1-D mixture: x_t = F_t^{-1}(F_s(x_s)), since in one dimension the flow keeps the order of points (``line.py``).
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from scorebed.analytic.gaussian.arrays import rows
from scorebed.analytic.gaussian.line import Line, transport
from scorebed.solvers.model import Array
from scorebed.solvers.schedule import Node


class Gaussians(Protocol):
    """A mixture of k Gaussians in d dimensions: means (k, d), the structure of its covariances, and on the line its marginals."""

    d: int
    k: int
    means: np.ndarray
    structure: Any

    def line(self, node: Node | None = None) -> Line: ...


def flow(law: Gaussians, x: Array, s: Node, t: Node) -> Array:
    """Where the probability flow of ``law`` carries the states x, shape (..., d), from node ``s`` to node ``t``.

    Returns:
        states at ``t``, of the shape of x.

    Raises:
        ValueError: several components in several dimensions, or a law that is singular at ``s``.
    """
    flat, restore = rows(x, law.d)
    if law.k > 1 and law.d > 1:
        raise ValueError(
            f"flow() has no closed form for k = {law.k} components in d = {law.d} dimensions: use a RotatedProduct, "
            "one Gaussian, a 1-D mixture, or integrate the flow with a tight tolerance"
        )
    if (s.alpha, s.sigma) == (t.alpha, t.sigma):
        return restore(flat.copy())
    if law.k == 1:
        return restore(gaussian(law, flat, s, t))
    source, target = law.line(s), law.line(t)
    if not np.all(source.scales > 0.0):
        raise ValueError(f"a component is a point mass at the node alpha = {s.alpha}, sigma = {s.sigma}: flow from a node with sigma > 0")
    return restore(transport(source, target, flat[:, 0])[:, None])


def spread(law: Any, node: Node, k: int = 0) -> np.ndarray:
    """Square roots of the eigenvalues of C at a node, (d,)."""
    values = law.structure.eigen(k)[0]
    return np.hypot(node.alpha * np.sqrt(values), node.sigma)


def gaussian(law: Gaussians, x: np.ndarray, s: Node, t: Node) -> np.ndarray:
    """The affine map of one Gaussian, on states (n, d)."""
    here, there = spread(law, s), spread(law, t)
    if not np.all(here > 0.0):
        raise ValueError(f"the covariance is singular at the node alpha = {s.alpha}, sigma = {s.sigma}: flow from a node with sigma > 0")
    vectors = law.structure.eigen(0)[1]
    apart = x - s.alpha * law.means[0]
    moved = apart * (there / here) if vectors is None else (apart @ vectors * (there / here)) @ vectors.T
    return t.alpha * law.means[0] + moved
