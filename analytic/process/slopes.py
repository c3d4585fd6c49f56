r"""Jacobians of closed flow maps: stretches along axes that x and f(x) share.

    one Gaussian        J = Q diag(c_t/c_s) Q^T, c² the eigenvalues of the covariances
    the line            J = p_s(x)/p_t(y)
    rotated products    J = R diag(p_{i,s}/p_{i,t}) R^T
    radial laws         along the ray ρ_s(r)/ρ_t(q), ρ the density of the distance r from the pole; across it A(q)^{1/(d−1)}/A(r)^{1/(d−1)},
                        A the area of the sphere of radius r, between vectors carried along the ray

So J is symmetric in R^d, and on a space between tangent spaces identified by transport.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from scorebed.analytic.gaussian.arrays import rows
from scorebed.analytic.gaussian.flow import spread
from scorebed.analytic.gaussian.product import RotatedProduct
from scorebed.analytic.heat.mixture import HeatMixture
from scorebed.analytic.heat.points import points
from scorebed.analytic.heat.radial import radial_of
from scorebed.solvers.model import Array
from scorebed.solvers.schedule import Node


class Slopes(NamedTuple):
    """A Jacobian at many states: ``apply(v)`` is J v, ``transposed(w)`` J^T w, as float64 arrays of the shape of v."""

    apply: Callable[[Array], np.ndarray]
    transposed: Callable[[Array], np.ndarray]


def slopes(law: Any, x: Array, s: Node, t: Node) -> Slopes:
    """The Jacobian of the law's flow from s to t at the states x.

    Returns:
        the Slopes: apply(v) is J v and transposed(w) is J^T w.

    Raises:
        ValueError: a law whose flow, or whose Jacobian, has no closed form; vectors of another shape than x.
    """
    if isinstance(law, HeatMixture):
        return _on_space(law, x, s, t)
    flat, _ = rows(x, law.d)
    basis, values = _axes(law, flat, s, t)

    def apply(v: Array) -> np.ndarray:
        vectors, _ = rows(v, law.d)
        if vectors.shape != flat.shape:
            raise ValueError(f"v holds {len(vectors)} vectors, but x {len(flat)} states: give one vector for each state")
        turned = vectors if basis is None else vectors @ basis
        moved = turned * values
        return np.reshape(moved if basis is None else moved @ basis.T, np.shape(v))

    return Slopes(apply, apply)


def _axes(law: Any, x: np.ndarray, s: Node, t: Node) -> tuple[np.ndarray | None, np.ndarray]:
    """(Q, stretches (n, d) or (d,)) with J = Q diag Q^T."""
    if isinstance(law, RotatedProduct):
        y = x @ law.rotation
        columns = [_axes(f, y[:, i : i + 1], s, t)[1] for i, f in enumerate(law.factors)]
        return law.rotation, np.concatenate([np.broadcast_to(c, (len(x), 1)) for c in columns], axis=1)
    if law.k == 1:
        law.flow(x[:1], s, t)  # its refusals
        return law.structure.eigen(0)[1], spread(law, t) / spread(law, s)
    y = law.flow(x, s, t)  # refuses several components in several dimensions
    return None, np.exp(law.log_prob(x, s) - law.log_prob(y, t))[:, None]


def _on_space(law: HeatMixture, x: Array, s: Node, t: Node) -> Slopes:
    space = law.space
    flat, _ = points(x, space)
    y = np.asarray(law.flow(flat, s, t))
    radial = radial_of(space)
    if space.dim > 1 and radial is None:
        raise ValueError(f"the Jacobian of the flow on {space.name} is known in one dimension and along the radii of a law with a pole")
    along = np.exp(law.log_prob(flat, s) - law.log_prob(y, t))
    trailing = (None,) * len(space.shape)
    if space.dim == 1:
        ray, across = np.zeros_like(flat), along
    else:
        assert radial is not None
        pole = np.broadcast_to(law.means[:1], flat.shape)
        r, q = space.distance(pole, flat), space.distance(pole, y)
        with np.errstate(divide="ignore", invalid="ignore"):
            across = np.exp((radial.log_area(q) - radial.log_area(r)) / (space.dim - 1))
            away = -space.log(flat, pole) / r[(..., *trailing)]
        at_pole = (r == 0.0) | (q == 0.0)
        across = np.where(at_pole, along ** (1.0 / space.dim), across)  # all directions alike
        along = np.where(at_pole, across, along / across ** (space.dim - 1))
        ray = np.where(at_pole[(..., *trailing)], 0.0, away)

    def stretched(base: np.ndarray, v: np.ndarray, ray: np.ndarray) -> np.ndarray:
        part = space.inner(base, v, ray)
        out: np.ndarray = across[(..., *trailing)] * v + ((along - across) * part)[(..., *trailing)] * ray
        return out

    def apply(v: Array) -> np.ndarray:
        vectors = np.asarray(v, np.float64).reshape(flat.shape)
        return np.reshape(space.transport(flat, y, stretched(flat, vectors, ray)), np.shape(v))

    def transposed(w: Array) -> np.ndarray:
        vectors = np.asarray(w, np.float64).reshape(flat.shape)
        return np.reshape(stretched(flat, np.asarray(space.transport(y, flat, vectors)), ray), np.shape(w))

    return Slopes(apply, transposed)
