r"""Convex polytopes {x : A x ≤ b}: reflected paths (``faces.py``), exact projection, exact uniform samples.

The projection of x solves min ½|y − x|² subject to A y ≤ b. Where the projection to the most violated face is feasible it is the answer,
for its multiplier is positive; this is decided for the whole batch at once. The rest go, one by one, to the least-distance problem

    min |z|  subject to  −A z ≥ h = A x − b,

which non-negative least squares solves by an active set in finitely many steps (Lawson and Hanson, Solving Least Squares Problems, 1974,
chapter 23): with r = [−Aᵀ; hᵀ] u − e_{d+1}, u ≥ 0 of least |r|, z = −r_{1…d} / r_{d+1}. The faces with u > 0 are then solved once more as
equations, so that the result is good to round-off.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import scipy

from scorebed.solvers.model import Array
from scorebed.solvers.space.box import Rule
from scorebed.solvers.space.faces import Faces
from scorebed.solvers.space.xp import constant, eps, host, namespace


class Polytope(Faces):
    """{x ∈ R^d : A x ≤ b} with interior points; points (..., d). It may be unbounded; then it has no uniform law.

    Args:
        A: (m, d), the outward normals of the faces, not 0; they need not have length 1.
        b: (m,).
        rule: what ``move`` does at a face: ``"reflect"`` the path, or ``"project"`` its end.

    Raises:
        ValueError: A or b of the wrong shape or not finite, a row of A is 0, no interior point, an unknown rule.
    """

    def __init__(self, A: Any, b: Any, rule: Rule = "reflect") -> None:
        a, c = np.asarray(A, dtype=np.float64), np.asarray(b, dtype=np.float64)
        if a.ndim != 2 or c.shape != a.shape[:1] or 0 in a.shape:
            raise ValueError(f"A has shape {a.shape} and b {c.shape}: give (m, d) and (m,)")
        if not (np.isfinite(a).all() and np.isfinite(c).all()):
            raise ValueError("A or b has nan or inf entries: give finite faces")
        length = np.linalg.norm(a, axis=1)
        if not (length > 0.0).all():
            raise ValueError(f"row {int(length.argmin())} of A is 0: give the outward normal of a face")
        self.A, self.b = a / length[:, None], c / length
        self.normals = -self.A
        self.dim = a.shape[1]
        self.shape = (self.dim,)
        self._set_rule(rule)
        self.name = f"Polytope({len(c)} faces in R^{self.dim}{'' if rule == 'reflect' else f', rule={rule!r}'})"
        self.centre = self._interior_point()

    def _interior_point(self) -> np.ndarray:
        """The centre of a largest ball inside, of radius at most the size of the offsets."""
        size = 1.0 + float(np.abs(self.b).max())
        ends: list[tuple[float | None, float | None]] = [(None, None)] * self.dim + [(0.0, size)]
        ball = scipy.optimize.linprog(np.eye(self.dim + 1)[-1] * -1.0, np.c_[self.A, np.ones(len(self.b))], self.b, bounds=ends)
        if ball.status != 0 or not (self.b - self.A @ ball.x[:-1] > 0.0).all():
            raise ValueError("A x ≤ b has no interior points: give faces that enclose some volume")
        return np.asarray(ball.x[:-1])

    @property
    def origin(self) -> np.ndarray:
        """``centre``."""
        return self.centre

    def edges(self) -> np.ndarray:
        """The centre, and points of faces, edges and corners: the projections of distant ones."""
        far = 9.0 * np.concatenate([np.eye(self.dim), -np.eye(self.dim)])
        return np.concatenate([self.centre[None], self.project(far)])

    def gaps(self, x: Array) -> Array:
        """b − A x in lengths, (..., m)."""
        return constant(self.b, x) - x @ constant(self.A.T, x)

    def project(self, x: Array) -> Array:
        """The nearest point, in the dtype of x; points that need more than one face are solved on the host in float64."""
        xp = namespace(x)
        d = x.shape[-1]
        y = (x * 1.0).reshape(-1, d)
        a = constant(self.A, x)
        gap = self.gaps(y)
        worst = xp.argmin(gap, axis=-1)
        y = y + xp.clip(xp.amin(gap, axis=-1), None, 0.0)[..., None] * a[worst]
        size = 1.0 + xp.amax(xp.abs(x.reshape(-1, d)), axis=-1) + float(np.abs(self.b).max())
        open_ = xp.amin(self.gaps(y), axis=-1) < -4.0 * eps(x) * size
        if bool(open_.any()):
            far = host(x.reshape(-1, d)[open_])
            y[open_] = constant(np.stack([self._nearest(point) for point in far]), x)
        return self._settle(y).reshape(x.shape)

    def _nearest(self, x: np.ndarray) -> np.ndarray:
        h = self.A @ x - self.b
        scale = float(h.max())
        h = h / scale
        u, _ = scipy.optimize.nnls(np.vstack([-self.A.T, h]), np.eye(self.dim + 1)[-1], maxiter=100 * len(h))
        r = np.vstack([-self.A.T, h]) @ u - np.eye(self.dim + 1)[-1]
        z = -r[:-1] / r[-1]
        active = u > 1e-12 * u.max()
        faces = self.A[active]
        gram = faces @ faces.T
        exact = -faces.T @ np.linalg.lstsq(gram, h[active], rcond=None)[0]
        # A tie at a corner may leave a face out that the equations then cross: there the iterate itself is the better answer.
        if (h + self.A @ exact).max() > max(1e-13, (h + self.A @ z).max()):
            return x + scale * z
        y = x + scale * exact
        # once more from the answer itself, which loses no digits to a distant x
        return y - faces.T @ np.linalg.lstsq(gram, faces @ y - self.b[active], rcond=None)[0]

    @property
    def compact(self) -> bool:  # type: ignore[override]
        """Whether the polytope is bounded."""
        return bool(self._bounded)

    @cached_property
    def _bounded(self) -> bool:
        axes = np.vstack([np.eye(self.dim), -np.eye(self.dim)])
        return all(scipy.optimize.linprog(c, self.A, self.b, bounds=(None, None)).status == 0 for c in axes)

    @cached_property
    def vertices(self) -> np.ndarray:
        """The corners of a bounded polytope, (k, d).

        Raises:
            TypeError: the polytope is unbounded.
        """
        if not self.compact:
            raise TypeError(f"{self.name} is unbounded: it is not the hull of its corners")
        if self.dim == 1:
            sign = self.A[:, 0]
            return np.array([[np.max((self.b / sign)[sign < 0.0])], [np.min((self.b / sign)[sign > 0.0])]])
        return np.unique(scipy.spatial.HalfspaceIntersection(np.c_[self.A, -self.b], self.centre).intersections, axis=0)

    @cached_property
    def _fan(self) -> tuple[np.ndarray, np.ndarray]:
        """Simplices from the centre to the triangulated faces, (k, d+1, d), and their volumes."""
        corners = self.vertices
        if self.dim == 1:
            return corners[None], np.array([corners[1, 0] - corners[0, 0]])
        hull = scipy.spatial.ConvexHull(corners)
        parts = np.concatenate([np.broadcast_to(self.centre, (len(hull.simplices), 1, self.dim)), corners[hull.simplices]], axis=1)
        return parts, np.abs(np.linalg.det(parts[:, 1:] - parts[:, :1])) / float(np.prod(np.arange(1, self.dim + 1)))

    @property
    def volume(self) -> float:
        """The volume of a bounded polytope."""
        return float(self._fan[1].sum())

    def uniform(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """A simplex of the triangulation by its volume, a uniform point of it by Dirichlet weights.

        Returns:
            (n, d) uniform points of the polytope, float64.

        Raises:
            TypeError: the polytope is unbounded.
        """
        parts, sizes = self._fan
        chosen = parts[rng.choice(len(sizes), n, p=sizes / sizes.sum())]
        weights = rng.standard_exponential((n, self.dim + 1))
        return self._settle(np.einsum("ni,nid->nd", weights / weights.sum(axis=1, keepdims=True), chosen))
