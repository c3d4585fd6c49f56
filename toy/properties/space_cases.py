"""The problems on which the properties look at a method that moves in a space: mixtures of heat kernels.

About one point the flow is exact (``analytic.heat``). About two points it is not closed, and the group elements of a step do not commute;
there the reference is an integration in the ambient coordinates.
"""

from __future__ import annotations

from functools import cache, partial

from scorebed.analytic.heat.radial import radial_of
from scorebed.solvers.space import SO3, Box, Hyperbolic, Product, Sphere, Torus
from scorebed.toy.problems.kernels import target_on
from scorebed.toy.problems.on_space import SpaceProblem
from scorebed.toy.problems.uneven import warped

__all__ = ["space_cases", "target_on"]


@cache
def space_cases() -> tuple[SpaceProblem, ...]:
    """About one point on every kind of space, and about two where that tells more."""
    spaces = (SO3(), Sphere(2), Sphere(3), Hyperbolic(2), Torus(2), Box(2), Product(SO3(), Box(1)))
    return tuple(
        SpaceProblem(
            name=f"{space}, {k} point{'s' * (k > 1)}",
            make=partial(target_on, space, k),
            grid=warped,
            start=0.9 * (0.4 if space.bounded else 1.0),
            end=0.15 * (0.4 if space.bounded else 1.0),
            closed=k == 1,
        )
        for space in spaces
        for k in ((1, 2) if space.dim > 1 and radial_of(space) is not None else (1,))
    )
