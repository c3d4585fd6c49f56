r"""Exact few-step maps: what a perfect consistency model or flow map is, from the closed flow of a law.

On one Gaussian, on the line, on rotated products of lines and along the radii of a space the probability flow is closed, from every node to
every other and to the data itself, σ = 0. With f(x, s, t) the map from s to t, J = ∂f/∂x its Jacobian and v the velocity of the flow,

    ∂_t f(x, s, t) = v(f(x, s, t), t),      ∂_s f(x, s, t) = −J v(x, s),      log |det J| = log p_s(x) − log p_t(f(x, s, t)),
    u(x, s, t) = (f(x, s, t) − x)/(t − s) = ∫_s^t v dτ/(t − s),      du/ds = (u − v(x, s))/(t − s) along the flow,

the last being the identity of MeanFlow (arXiv:2505.13447, eq. 6), whose (t, r) are our (s, t); and the trajectory model of CTM
(arXiv:2310.02279, eq. 6) is the g with which one DDIM step is exact, f = (σ_t/σ_s) x + (α_t − σ_t α_s/σ_s) g; g → D as t → s.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from scorebed.analytic.gaussian.arrays import back
from scorebed.analytic.gaussian.mixture import CLEAN
from scorebed.analytic.process.slopes import Slopes, slopes
from scorebed.solvers.model import Array, predicts
from scorebed.solvers.schedule import Node

_GAUSS, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_SHORT = 1e-3
"""Of its time, below which f − x would lose digits and the mean of v along the flow is taken instead."""


_SLOPE = (4.0 / 5.0, -1.0 / 5.0, 4.0 / 105.0, -1.0 / 280.0)
"""Of f(kh) − f(−kh): the derivative times h, to order 8."""


class FlowMap:
    """The maps of a ``law`` with a closed ``flow``: a Gaussian, a mixture on the line, a rotated product of such, or a ``HeatMixture``
    symmetric about a pole or of one dimension.

    States x have shape (..., d), or that of points of the space; nodes that a derivative in time is asked at carry their schedule. The
    end ``t`` is the clean data where none is given.
    """

    def __init__(self, law: Any) -> None:
        self.law = law

    def __call__(self, x: Array, s: Node, t: Node = CLEAN) -> Array:
        """f(x, s, t): where the flow takes x from s at t."""
        return self.law.flow(x, s, t)

    def inverse(self, y: Array, s: Node, t: Node = CLEAN) -> Array:
        """The x at s with f(x, s, t) = y.

        Returns:
            states x at s, of the shape of y.

        Raises:
            ValueError: a law that is singular at t.
        """
        return self.law.flow(y, t, s)

    @property
    def endpoint(self) -> Any:
        """f(x, s): where the flow takes x from s without noise; a consistency model."""

        @predicts("endpoint")
        def endpoint(x: Array, s: Node) -> Array:
            return self(x, s)

        endpoint.law = self.law  # type: ignore[attr-defined]
        return endpoint

    @property
    def map(self) -> Any:
        """f(x, s, t): where the flow takes x from s at t."""

        @predicts("map")
        def between(x: Array, s: Node, t: Node) -> Array:
            return self(x, s, t)

        between.law = self.law  # type: ignore[attr-defined]
        return between

    def affine(self, s: Node, t: Node = CLEAN) -> tuple[np.ndarray, np.ndarray]:
        """(A, b) with f(x, s, t) = A x + b, where the law is one Gaussian.

        Returns:
            (A (d, d), b (d,)).

        Raises:
            ValueError: a law of several components, whose map is not affine.
        """
        if self.law.k != 1:
            raise ValueError(f"the law has k = {self.law.k} components: its map is affine where there is one")
        zero = np.asarray(self.law.flow(np.zeros((1, self.law.d)), s, t))[0]
        return (np.asarray(self.law.flow(np.eye(self.law.d), s, t)) - zero).T, zero

    # derivatives in the state

    def _slopes(self, x: Array, s: Node, t: Node) -> Slopes:
        return slopes(self.law, x, s, t)

    def jvp(self, x: Array, s: Node, t: Node, v: Array) -> Array:
        """J v, for vectors v of the shape of x; on a space from the tangent space at x to that at f."""
        return back(x, self._slopes(x, s, t).apply(v))

    def vjp(self, x: Array, s: Node, t: Node, w: Array) -> Array:
        """J^T w, for vectors w at f(x, s, t)."""
        return back(x, self._slopes(x, s, t).transposed(w))

    def jacobian(self, x: Array, s: Node, t: Node) -> Array:
        """J, shape (..., d, d), of a law of R^d."""
        vectors = np.eye(self.law.d)
        columns = [self._slopes(x, s, t).apply(np.broadcast_to(e, np.shape(x))) for e in vectors]
        return back(x, np.stack(columns, axis=-1))

    def log_det(self, x: Array, s: Node, t: Node) -> Array:
        """log |det J|, shape (...), from the two densities, which the flow carries along."""
        return self.law.log_prob(x, s) - self.law.log_prob(self(x, s, t), t)

    # derivatives in time

    def velocity(self, x: Array, s: Node) -> Array:
        """v(x, s) = dx/dt = f_s x − ½ g_s² ∇ log p_s(x) of the probability flow, in the time of the node's schedule.

        Returns:
            v(x, s), of the shape of x.

        Raises:
            ValueError: a node without a schedule.
        """
        return velocity(self.law, x, s)

    def by_start(self, x: Array, s: Node, t: Node) -> Array:
        """∂_s f(x, s, t) = −J v(x, s), at a fixed x."""
        return -self.jvp(x, s, t, self.velocity(x, s))

    def by_end(self, x: Array, s: Node, t: Node) -> Array:
        """∂_t f(x, s, t) = v(f(x, s, t), t), at a fixed x."""
        return self.velocity(self(x, s, t), t)

    def average_velocity(self, x: Array, s: Node, t: Node) -> Array:
        """u(x, s, t), the mean of the velocity over the flow from s to t; v(x, s) where t = s; on a space by the geodesic to f."""
        h = t.t - s.t
        if h == 0.0:
            return self.velocity(x, s)
        if abs(h) < _SHORT * max(abs(s.t), abs(t.t)) and s.schedule is not None:
            nodes = [s.schedule.node(s.t + 0.5 * h * (1.0 + z)) for z in _GAUSS]
            parts = [0.5 * float(w) * self.velocity(self(x, s, n), n) for w, n in zip(_WEIGHTS, nodes, strict=True)]
            return sum(parts[1:], start=parts[0])
        y, space = self(x, s, t), getattr(self.law, "space", None)
        return (y - x if space is None else space.log(x, y)) * (1.0 / h)

    def average_derivative(self, x: Array, s: Node, t: Node) -> Array:
        """du/ds(x_s, s, t) along the flow, v ∂_x u + ∂_s u, from J and ∂_s f; (u − v)/(t − s) by the identity.

        Returns:
            du/ds, of the shape of x.

        Raises:
            ValueError: t = s, where it is half the acceleration.
        """
        h = t.t - s.t
        if h == 0.0:
            raise ValueError(f"t = s = {s}: the derivative of the average velocity is asked between two nodes")
        v = self.velocity(x, s)
        return (self.jvp(x, s, t, v) - v + self.by_start(x, s, t) + self.average_velocity(x, s, t)) * (1.0 / h)

    def tangent(self, model: Callable[..., Array], x: Array, s: Node, *to: Node) -> Array:
        """d/ds of any f(x_s, s, …) along the flow, from its values at eight points of the path; 0 where f is the exact map.

        Returns:
            derivative along the flow, of the shape of x.

        Raises:
            ValueError: a node without a schedule.
        """
        if s.schedule is None:
            raise ValueError(f"{s} knows no other node: make it by schedule.node(t)")
        h, total = 1e-2 * s.t, 0.0 * x
        for k, w in enumerate(_SLOPE, 1):
            ahead, behind = (s.schedule.node(s.t + sign * k * h) for sign in (1, -1))
            total = total + (w / h) * (model(self(x, s, ahead), ahead, *to) - model(self(x, s, behind), behind, *to))
        return total

    # what else the map knows

    def denoised(self, x: Array, s: Node, t: Node) -> Array:
        """g(x, s, t) of CTM: the denoised value with which one DDIM step from s ends where the flow does; E[x0 | x] where t = s."""
        if s.t == t.t:
            return self.law.denoised(x, s)
        keep = t.sigma / s.sigma
        return (self(x, s, t) - keep * x) * (1.0 / (t.alpha - keep * s.alpha))

    def pairs(self, n: int, rng: np.random.Generator | int, s: Node, t: Node = CLEAN) -> tuple[np.ndarray, np.ndarray]:
        """n exact reflow pairs (x_s, f(x_s, s, t)), x_s ~ p_s: both marginals and the coupling of the flow."""
        x = self.law.sample(n, rng, s)
        return x, np.asarray(self(x, s, t))


def velocity(law: Any, x: Array, s: Node) -> Array:
    """v(x, s) = f_s x − ½ g_s² ∇ log p_s(x), shape of x; the same as α' E[x0 | x] + σ' E[eps | x].

    Returns:
        v(x, s), of the shape of x.

    Raises:
        ValueError: a node without a schedule.
    """
    if s.schedule is None:
        raise ValueError(f"{s} has no schedule, so its time has no rate: make it by schedule.node(t)")
    drift, rate = s.schedule.f(s.t), s.schedule.g2(s.t)
    if not math.isfinite(drift + rate):  # the straight path at pure noise: α' D + σ' ε with α = 0
        return law.eps(x, s) - law.denoised(x, s)
    return drift * x - 0.5 * rate * law.score(x, s)
