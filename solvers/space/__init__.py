"""The spaces that reflected and Riemannian solvers move in, one file each.

``base`` says what a space is. ``Euclidean``, ``Torus``, ``Sphere``, ``SO3``, ``SU2`` and ``Hyperbolic`` have no boundary; ``Box``,
``HalfSpace``, ``Polytope`` and ``Simplex`` reflect or project at theirs; ``Product`` puts spaces side by side.
"""

from scorebed.solvers.space.base import Space
from scorebed.solvers.space.box import Box
from scorebed.solvers.space.euclidean import Euclidean
from scorebed.solvers.space.halfspace import HalfSpace
from scorebed.solvers.space.hyperbolic import Hyperbolic
from scorebed.solvers.space.polytope import Polytope
from scorebed.solvers.space.product import Product
from scorebed.solvers.space.rotation import SO3
from scorebed.solvers.space.simplex import Simplex
from scorebed.solvers.space.sphere import Sphere
from scorebed.solvers.space.su2 import SU2
from scorebed.solvers.space.torus import Torus

__all__ = [
    "SO3",
    "SU2",
    "Box",
    "Euclidean",
    "HalfSpace",
    "Hyperbolic",
    "Polytope",
    "Product",
    "Simplex",
    "Space",
    "Sphere",
    "Torus",
]
