r"""Homogeneous spaces: how a Lie group moves the points of a space, which is all that Munthe-Kaas methods need.

A vector field on a homogeneous space M of the group G is written F(x) = ξ(x)·x with ξ(x) in the Lie algebra of G, and a step moves by group
elements, exp(u)·x. The element ξ is not unique; here it is the transvection that has the tangent vector v = F(x),

    sphere        ξ = v xᵀ - x vᵀ ∈ so(d+1)                hyperbolic    ξ = (x vᵀ - v xᵀ) J ∈ so(d, 1),  J = diag(-1, 1, ..., 1)
    SO(3)         v = x hat(ω),  ξ = ω ∈ so(3)             R^d, torus, box    ξ = v, and the group is commutative

The rotations of SO(3) move x from the right, x -> x exp(hat(u)), which reverses the order of products: its algebra has the bracket -[., .],
here -u × w. On a sphere and in hyperbolic space the brackets of transvections lie in the isotropy algebra and change nothing up to order 4;
on SO(3), where ω is the body's, they do. A box is moved in by unfolding it (``riemannian.carrying``). (Iserles, Munthe-Kaas, Nørsett &
Zanna, Acta Numerica 9 (2000), sections 2 and 4.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from scorebed.solvers.base import Space
from scorebed.solvers.methods.riemannian import Flat, carrying
from scorebed.solvers.model import Array

Moved = tuple[Array, Callable[[Array], Any]]
"""A point y, and the map of tangent vectors at y to elements of the algebra."""


class Commutative:
    """R^d, the torus, the box: exp(u)·x is the end of the straight, wrapped or reflected path."""

    def __init__(self, space: Space) -> None:
        self.space = space

    def go(self, x: Array, path: Sequence[Any]) -> Moved:
        """exp(u_n)···exp(u_1)·x for the elements u_1, ..., u_n of ``path``."""
        if not path:
            return x, _same
        total = path[0]
        for u in path[1:]:
            total = total + u
        return carrying(self.space, x, total)

    def dexpinv(self, u: Any, v: Any, brackets: int) -> Any:
        r"""v − ½ [u, v] + [u, [u, v]]/12, the inverse of the derivative of exp at u, with at most this number (0, 1, 2) of brackets.

        The next term of the series Σ B_k/k! ad_u^k has four of them, so that a method of order p ≤ 4 needs p − 2 (Munthe-Kaas, Appl. Numer.
        Math. 29 (1999), theorem 2). Here they vanish.

        Returns:
            v, of its own shape: all brackets vanish.
        """
        return v


class Curved(Commutative):
    """A group with brackets."""

    def bracket(self, u: Array, w: Array) -> Array:
        """[u, w]: of matrices u w − w u."""
        return u @ w - w @ u

    def dexpinv(self, u: Any, v: Any, brackets: int) -> Any:
        if brackets == 0:
            return v
        first = self.bracket(u, v)
        v = v - 0.5 * first
        return v + (1.0 / 12.0) * self.bracket(u, first) if brackets > 1 else v


class Matrices(Curved):
    """The sphere and hyperbolic space, moved by exponentials of matrices."""

    def go(self, x: Array, path: Sequence[Array]) -> Moved:
        for u in path:
            x = self.space.act(u, x)
        return x, partial(self.space.generator, x)


class Rotations(Curved):
    """SO(3), moved by itself from the right."""

    def go(self, x: Array, path: Sequence[Array]) -> Moved:
        for u in path:
            x = self.space.exp(x, self.space.from_algebra(x, u))
        return x, partial(self.space.to_algebra, x)

    def bracket(self, u: Array, w: Array) -> Array:
        """−u × w."""
        return -self.space.bracket(u, w)


class Parts(Commutative):
    """A product of spaces, moved part by part; an element is a ``Tuple`` of the parts' elements."""

    def __init__(self, space: Space) -> None:
        super().__init__(space)
        self.groups = [group_of(part) for part in space.spaces]

    def go(self, x: Array, path: Sequence[Any]) -> Moved:
        paths = [[u[i] for u in path] for i in range(len(self.groups))]
        moved = [group.go(y, steps) for group, y, steps in zip(self.groups, self.space.split(x), paths, strict=True)]
        end = self.space.join([y for y, _ in moved])
        return end, lambda v: Tuple(lift(w) for (_, lift), w in zip(moved, self.space.split(v), strict=True))

    def dexpinv(self, u: Any, v: Any, brackets: int) -> Any:
        return Tuple(group.dexpinv(a, b, brackets) for group, a, b in zip(self.groups, u, v, strict=True))


class Tuple(tuple[Any, ...]):
    """A tuple that is added and multiplied entry by entry."""

    def __add__(self, other: Any) -> Tuple:
        return Tuple(a + b for a, b in zip(self, other, strict=True))

    def __rmul__(self, factor: Any) -> Tuple:
        return Tuple(factor * a for a in self)


def _same(v: Array) -> Array:
    return v


_GROUPS: dict[str, type[Commutative]] = {
    **dict.fromkeys(("Euclidean", "Torus", "Box", "HalfSpace"), Commutative),
    **dict.fromkeys(("Sphere", "Hyperbolic"), Matrices),
    "SO3": Rotations,
    "Product": Parts,
}


def group_of(space: Space) -> Commutative:
    """The group that moves the points of ``space``.

    Returns:
        the group that acts on ``space``, here a Commutative or a subclass.

    Raises:
        ValueError: a space of which no group is known.
    """
    if isinstance(space, Flat):
        return Commutative(space)
    for kind in type(getattr(space, "plain", space)).__mro__:  # where moves are fused, ``plain`` is the Space itself
        if kind.__name__ in _GROUPS:
            return _GROUPS[kind.__name__](space)
    raise ValueError(f"no group is known that moves the points of {space!r}: give one of {', '.join(_GROUPS)}")
