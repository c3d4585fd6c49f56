"""The problems of the studies, by name."""

from __future__ import annotations

from scorebed.solvers import EDM, VP, Cosine, RectifiedFlow
from scorebed.toy.problems import lines, products, spaces
from scorebed.toy.problems.digits import digits
from scorebed.toy.problems.euclidean import EuclideanProblem
from scorebed.toy.problems.on_space import SpaceProblem
from scorebed.toy.problems.problem import Problem

_FLAT = ("geodesic_euler", "geodesic_heun", "geodesic_midpoint", "rkmk_3", "rkmk_4")
_CURVED = (
    *("geodesic_euler", "geodesic_heun", "retraction_heun", "rkmk_3", "cf_3", "rkmk_4", "cf_4"),
    *("geodesic_euler_maruyama", "retraction_euler_maruyama", "geodesic_heun_maruyama"),
)

PROBLEMS: dict[str, Problem] = {
    p.name: p
    for p in (
        EuclideanProblem(
            name="mixture1d",
            description="3 modes on the line",
            make=lines.mixture1d,
            process=VP(),
            grid="quadratic",
        ),
        EuclideanProblem(
            name="product2d",
            description="6 modes in the plane, rotated product",
            make=products.product2d,
            process=RectifiedFlow(),
            grid="uniform",
            start=0.98,
            end=0.01,
        ),
        EuclideanProblem(
            name="product8d",
            description="256 modes in 8 dimensions, rotated product",
            make=products.product8d,
            process=Cosine(),
            grid="quadratic",
            start=0.98,
            samples=50,
        ),
        EuclideanProblem(
            name="manifold",
            description="near a line pair in space, std 0.02 across",
            make=products.manifold,
            process=EDM(),
            grid="karras",
        ),
        EuclideanProblem(
            name="digits",
            description="1,797 digits, 64 dimensions, bandwidth 0.25",
            make=digits,
            image=(8, 8),
            process=VP(),
            closed=False,
            samples=8,
            finest=320,
        ),
        SpaceProblem(
            name="sphere",
            description="3 kernels about two poles",
            make=spaces.sphere,
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
            make=spaces.so3,
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
            make=spaces.torus,
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
            make=spaces.box,
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
            make=spaces.hyperbolic,
            grid="karras",
            start=1.0,
            end=0.1,
            samples=24,
            finest=80,
            solvers=_CURVED,
        ),
    )
}
"""By name. ``PROBLEMS["mine"] = EuclideanProblem(name="mine", …)`` adds one."""
PLAIN = tuple(name for name, problem in PROBLEMS.items() if not isinstance(problem, SpaceProblem))
"""The problems of R^d, which a study takes that names none."""
