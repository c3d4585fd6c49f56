r"""What a space is to a solver: where a step from x with tangent vector v ends, and what the tangent vectors are.

A point of a space of dimension ``dim`` is an array with the trailing axes ``shape``; all leading axes are a batch, and the methods
broadcast over them. Tangent vectors are ambient arrays of the same trailing axes. With ⟨·, ·⟩ the metric and Δ its Laplacian,

    exp(x, v)            the end of the geodesic with velocity v after time 1        log(x, y)  the shortest v with exp(x, v) = y
    noise(x, z)          ξ ∈ T_x with E⟨ξ, u⟩⟨ξ, w⟩ = ⟨u, w⟩ for z of independent standard normals: the increment of Brownian motion
                         (generator ½Δ) over time h is √h ξ to first order
    gradient(x, g)       the Riemannian gradient of f, for g the array of partial derivatives of f in the ambient coordinates

Bodies are array-agnostic (NumPy, torch), keep the state's dtype, and give no nan at a cut locus, where log picks one minimiser.
They do not look at their arguments again and again: ``check`` is what a caller uses once, before the first step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod

import numpy as np

from scorebed.solvers.model import Array
from scorebed.solvers.space.xp import eps, host, is_floating, namespace


class Space(ABC):
    """A Riemannian manifold, or a convex piece of flat space with its boundary.

    Attributes:
        name: with its parameters, e.g. ``"Sphere(2)"``.
        dim: intrinsic dimension.
        shape: trailing axes of one point.
        bounded: True where the space has a boundary; then ``move`` differs from ``exp``.
        compact: True where ``uniform`` exists.
    """

    name: str
    dim: int
    shape: tuple[int, ...]
    bounded: bool = False
    compact: bool = True

    def __repr__(self) -> str:
        return self.name

    @property
    @abstractmethod
    def origin(self) -> np.ndarray:
        """A point to start from, away from any wall: a pole, the identity, a middle; ``shape``, float64."""

    def edges(self) -> np.ndarray:
        """Where formulas may divide by 0: the origin, and what there is of its cut locus, of walls and of corners; (k, *shape) float64."""
        return self.origin[None]

    @abstractmethod
    def exp(self, x: Array, v: Array) -> Array:
        """The geodesic exponential; a straight line that may leave the space where it has a boundary."""

    def move(self, x: Array, v: Array) -> Array:
        """What a solver uses: ``exp``, and in spaces with a boundary the reflected (or projected) straight path."""
        return self.exp(x, v)

    @abstractmethod
    def log(self, x: Array, y: Array) -> Array:
        """The shortest tangent vector at x with exp(x, v) = y; at the cut locus any one of them."""

    @abstractmethod
    def distance(self, x: Array, y: Array) -> Array:
        """The length of the shortest geodesic, shape of the batch."""

    @abstractmethod
    def transport(self, x: Array, y: Array, v: Array) -> Array:
        """Parallel transport of v from x to y along the geodesic of ``log(x, y)``."""

    @abstractmethod
    def project(self, x: Array) -> Array:
        """The nearest point of the space to an ambient x."""

    @abstractmethod
    def tangent(self, x: Array, v: Array) -> Array:
        """The orthogonal projection of an ambient v to T_x."""

    @abstractmethod
    def inner(self, x: Array, u: Array, v: Array) -> Array:
        """⟨u, v⟩ at x, shape of the batch."""

    @abstractmethod
    def norm(self, x: Array, v: Array) -> Array:
        """√⟨v, v⟩ at x without overflow or underflow, shape of the batch."""

    @abstractmethod
    def noise(self, x: Array, z: Array) -> Array:
        """A unit tangent normal at x, linear in the ambient standard normals z of x's shape."""

    @abstractmethod
    def ricci(self, x: Array, v: Array) -> Array:
        """Ric v: the Ricci curvature at x as a linear map of tangent vectors, κ v where every direction curves alike."""

    def gradient(self, x: Array, g: Array) -> Array:
        """The Riemannian gradient at x of a function with ambient partial derivatives g."""
        return self.tangent(x, g)

    def retract(self, x: Array, v: Array) -> Array:
        """A retraction of second order: exp(x, v) + O(|v|³), at less cost where there is something to save."""
        return self.move(x, v)

    def retract1(self, x: Array, v: Array) -> Array:
        """A retraction of first order only, exp(x, v) + O(|v|²), to measure what it costs; in flat spaces the same as ``retract``."""
        return self.retract(x, v)

    def uniform(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """n points of the normalised volume, (n, *shape) float64.

        Raises:
            TypeError: the space has infinite volume.
        """
        raise TypeError(f"{self.name} has infinite volume and no uniform law: use reference(n, rng)")

    def reference(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """n points of the law that noising tends to: uniform on compact spaces; elsewhere the space says which."""
        return self.uniform(n, rng)

    @abstractmethod
    def deviation(self, x: Array) -> Array:
        """How far x is from being in the space, relative to its size where that is large; shape of the batch."""

    def contains(self, x: Array, tol: float | None = None) -> Array:
        """Whether ``deviation(x) <= tol``, per point; √eps of the dtype by default. False for nan."""
        return self.deviation(x) <= (eps(x) ** 0.5 if tol is None else tol)

    def check(self, x: Array, name: str = "x", tol: float | None = None) -> None:
        """Accept a batch of points, or say what is wrong with it.

        Raises:
            TypeError: not an array or tensor, or not of a floating type.
            ValueError: wrong trailing axes, empty, nan or inf entries, or a point outside the space by more than ``tol`` (√eps).
        """
        if not hasattr(x, "dtype") or not hasattr(x, "shape"):
            raise TypeError(f"{name} is a {type(x).__name__}: give a NumPy array or a torch tensor of shape {self._wanted()}")
        if not is_floating(x):
            raise TypeError(f"{name} has dtype {x.dtype}: give floating-point points of {self.name}, e.g. {name}.astype('float64')")
        shape = tuple(x.shape)
        if shape[len(shape) - len(self.shape) :] != self.shape or len(shape) < len(self.shape):
            raise ValueError(f"{name} has shape {shape}, but points of {self.name} have shape {self._wanted()}")
        if 0 in shape:
            raise ValueError(f"{name} has shape {shape}: give at least one point of {self.name}")
        if not bool(namespace(x).isfinite(x).all()):
            raise ValueError(f"{name} has nan or inf entries: give finite points of {self.name}")
        outside = ~np.asarray(host(self.contains(x, tol)), dtype=bool)
        if outside.any():
            away = host(self.deviation(x)).reshape(-1)
            where = tuple(int(i) for i in np.argwhere(np.atleast_1d(outside))[0]) if outside.ndim else ()
            worst = f"{int(outside.sum())} of {prod(outside.shape)} points, the first at {list(where)}, by up to {away.max():.3g}"
            raise ValueError(f"{name} is not in {self.name}: {worst}; {self.name}.project(x) gives the nearest points")

    def _wanted(self) -> str:
        return f"(..., {', '.join(map(str, self.shape))})"


def dimension(d: int, least: int = 1, name: str = "d") -> int:
    """``d`` as a dimension.

    Returns:
        ``d`` as an int.

    Raises:
        TypeError: not an integer.
        ValueError: smaller than ``least``.
    """
    if isinstance(d, bool) or not isinstance(d, (int, np.integer)):
        raise TypeError(f"{name} = {d!r} must be an integer")
    if d < least:
        raise ValueError(f"{name} = {d} must be at least {least}")
    return int(d)
