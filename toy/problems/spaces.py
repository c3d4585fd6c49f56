r"""Problems on curved, closed and walled spaces.

The targets have exact flow maps (``analytic.heat.flow``): on the sphere, SO(3) and the hyperbolic plane mixtures of heat kernels of several
times about one pole (and its antipode), on the torus and in the box products of mixtures on the circle and on [0, 1].
"""

from __future__ import annotations

import math

import numpy as np

from scorebed.analytic.heat import HeatMixture, HeatProduct
from scorebed.solvers.space import SO3, Box, Hyperbolic, Sphere, Torus
from scorebed.toy.problems.on_space import SpaceProblem

_FLAT = ("geodesic_euler", "geodesic_heun", "geodesic_midpoint", "rkmk_3", "rkmk_4")
_CURVED = (
    *("geodesic_euler", "geodesic_heun", "retraction_heun", "rkmk_3", "cf_3", "rkmk_4", "cf_4"),
    *("geodesic_euler_maruyama", "retraction_euler_maruyama", "geodesic_heun_maruyama"),
)


def sphere() -> HeatMixture:
    """A cap about the north pole with a wide foot, and a smaller one about the south pole."""
    north = np.array([1.0, 0.0, 0.0])
    return HeatMixture(Sphere(2), [0.45, 0.2, 0.35], [north, north, -north], [0.08, 0.6, 0.12])


def so3() -> HeatMixture:
    """Rotations near the identity, some very near."""
    return HeatMixture(SO3(), [0.6, 0.4], [np.eye(3), np.eye(3)], [0.12, 0.7])


def hyperbolic() -> HeatMixture:
    """A core and a halo about the origin of the hyperbolic plane."""
    space = Hyperbolic(2)
    return HeatMixture(space, [0.55, 0.45], [space.origin, space.origin], [0.2, 1.2])


def torus() -> HeatProduct:
    """Six modes: three meridians by two parallels."""
    ring = HeatMixture(Torus(1), [0.3, 0.3, 0.4], [[-1.2], [1.2], [-math.pi]], [0.08, 0.08, 0.2])
    return HeatProduct([ring, HeatMixture(Torus(1), [0.6, 0.4], [[0.0], [-math.pi]], [0.15, 0.3])])


def box() -> HeatProduct:
    """Six modes in the unit square, four of them at walls."""
    across = HeatMixture(Box(1), [0.45, 0.55], [[0.1], [0.7]], [0.006, 0.012])
    return HeatProduct([across, HeatMixture(Box(1), [0.35, 0.3, 0.35], [[0.05], [0.45], [0.95]], [0.006, 0.005, 0.012])])


PROBLEMS = (
    SpaceProblem(
        name="sphere",
        description="3 kernels about two poles",
        make=sphere,
        grid="karras",
        start=1.2,
        end=0.1,
        samples=24,
        finest=160,
        solvers=_CURVED,
    ),
    SpaceProblem(
        name="so3",
        description="2 kernels about the identity",
        make=so3,
        grid="karras",
        start=1.2,
        end=0.15,
        samples=24,
        finest=160,
        solvers=_CURVED,
    ),
    SpaceProblem(
        name="torus",
        description="6 modes, product of two circles",
        make=torus,
        grid="karras",
        start=1.2,
        end=0.1,
        samples=24,
        finest=160,
        solvers=(*_FLAT, "geodesic_euler_maruyama", "geodesic_walk", "geodesic_heun_maruyama"),
    ),
    SpaceProblem(
        name="box",
        description="6 modes in a square, four at walls",
        make=box,
        grid="karras",
        start=0.4,
        end=0.04,
        samples=24,
        finest=160,
        solvers=(*_FLAT, "projected_euler", "reflected_euler", "reflected_walk", "reflected_heun"),
    ),
    SpaceProblem(
        name="hyperbolic",
        description="2 kernels about one point",
        make=hyperbolic,
        grid="karras",
        start=1.0,
        end=0.1,
        samples=24,
        finest=80,
        solvers=_CURVED,
    ),
)
