r"""Reflow: the straight paths between the ends of exact pairs, and their velocity (Liu, Gong & Liu, arXiv:2209.03003).

A rectified flow moves by v(x, u) = E[Ẋ_u | X_u = x] of straight lines between coupled ends. Its own ends (Z, T(Z)), T the flow from s to t,
are the pairs of the next one, the reflow. Where Z ↦ X_u is one-to-one, with w = (u − t)/(s − t) in the time of the nodes,

    X_u = S_w(Z) = w Z + (1 − w) T(Z),      v(x, u) = (Z − T(Z))/(s − t),  Z = S_w^{-1}(x),

and the velocity is constant along each path: Euler's method is exact in any number of steps. So it is for one Gaussian, on the line and
for rotated products, whose T is increasing along axes that do not turn; the pairs of the reflow are then those it was made of, and another
round changes nothing. Its law at u is that of S_w(Z), not the marginal p_u of the process; at the two ends it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scorebed.analytic.gaussian.arrays import back, rows
from scorebed.analytic.gaussian.flow import spread
from scorebed.analytic.gaussian.line_quadrature import meet
from scorebed.analytic.gaussian.mixture import CLEAN
from scorebed.analytic.gaussian.product import RotatedProduct
from scorebed.solvers.model import Array, predicts
from scorebed.solvers.schedule import Node


class Reflow:
    """The reflow of the exact pairs of a ``law`` at two nodes: a Gaussian, a mixture on the line, or a rotated product of such.

    States have shape (..., d); nodes lie between the two, in time.

    Args:
        law: with a closed ``flow``.
        s: the noisy end, where paths begin.
        t: the clean end; the data where none is given.

    Raises:
        ValueError: a law whose flow is not along fixed axes; two nodes of one time.
    """

    def __init__(self, law: Any, s: Node, t: Node = CLEAN) -> None:
        axes = law.factors if isinstance(law, RotatedProduct) else [law]
        if not all(hasattr(one, "line") and (one.k == 1 or one.d == 1) for one in axes):
            raise ValueError(f"law = {law!r} has no closed straight paths: give one Gaussian, a 1-D mixture or a RotatedProduct")
        if s.t == t.t:
            raise ValueError(f"s and t are both at time {s.t}: give two times")
        self.law, self.s, self.t = law, s, t

    def share(self, u: Node) -> float:
        """w = (u − t)/(s − t): 1 at the noisy end.

        Returns:
            w, a float in [0, 1].

        Raises:
            ValueError: a node that is not between the ends.
        """
        w = (u.t - self.t.t) / (self.s.t - self.t.t)
        if not -1e-9 <= w <= 1.0 + 1e-9:
            raise ValueError(f"u = {u} is not between the ends of the paths, {self.s} and {self.t}")
        return min(1.0, max(0.0, w))

    def begin(self, x: Array, u: Node) -> Array:
        """Z with S_w(Z) = x: where the path through x at u begins."""
        flat, restore = rows(x, self.law.d)
        return restore(_begin(self.law, flat, self.share(u), self.s, self.t))

    def __call__(self, x: Array, u: Node, v: Node) -> Array:
        """Where the path through x at u is at v."""
        z, w = self.begin(x, u), self.share(v)
        return w * z + (1.0 - w) * self.law.flow(z, self.s, self.t)

    def velocity(self, x: Array, u: Node) -> Array:
        """v(x, u) = (Z − T(Z))/(s − t), constant along the path."""
        z = self.begin(x, u)
        return (z - self.law.flow(z, self.s, self.t)) * (1.0 / (self.s.t - self.t.t))

    def cdf(self, x: Array, u: Node) -> Array:
        """P(X_u <= x) on the line, that of Z at the path's begin."""
        z = self.begin(x, u)
        return back(x, np.asarray(self.law.marginal(self.s).cdf(np.asarray(z))))

    @property
    def model(self) -> Any:
        """v(x, u), marked as the velocity that ``reflow`` takes."""

        @predicts("velocity")
        def velocity(x: Array, u: Node) -> Array:
            return self.velocity(x, u)

        return velocity


def _begin(law: Any, x: np.ndarray, w: float, s: Node, t: Node) -> np.ndarray:
    if isinstance(law, RotatedProduct):
        y = x @ law.rotation
        columns = [_begin(f, y[:, i : i + 1], w, s, t) for i, f in enumerate(law.factors)]
        return np.hstack(columns) @ law.rotation.T
    if law.k == 1:
        stretch, vectors = spread(law, t) / spread(law, s), law.structure.eigen(0)[1]
        centre = (w * s.alpha + (1.0 - w) * t.alpha) * law.means[0]
        away = x - centre if vectors is None else (x - centre) @ vectors
        away = away / (w + (1.0 - w) * stretch)
        return np.asarray(s.alpha * law.means[0] + (away if vectors is None else away @ vectors.T))
    return _on_the_line(law, x[:, 0], w, s, t)[:, None]


def _on_the_line(law: Any, x: np.ndarray, w: float, s: Node, t: Node) -> np.ndarray:
    """S_w^{-1}: T lies between the affine maps of the components, so S_w^{-1} between the inverses of theirs."""
    if w == 1.0:
        return x.copy()
    here, there = law.line(s), law.line(t)
    ratio = there.scales / here.scales
    ends = here.means + (x[:, None] - w * here.means - (1.0 - w) * there.means) / (w + (1.0 - w) * ratio)
    return meet(here, there, x, ends.min(1), ends.max(1), w)
