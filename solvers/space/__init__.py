"""The spaces that reflected and Riemannian solvers move in, one file each.

``base`` says what a space is. ``Euclidean``, ``Torus``, ``Sphere``, ``SO3``, ``SU2`` and ``Hyperbolic`` have no boundary; ``Box``,
``HalfSpace``, ``Polytope`` and ``Simplex`` reflect or project at theirs; ``Product`` puts spaces side by side.
"""

from solvers.space.base import Space
from solvers.space.box import Box
from solvers.space.euclidean import Euclidean
from solvers.space.halfspace import HalfSpace
from solvers.space.hyperbolic import Hyperbolic
from solvers.space.polytope import Polytope
from solvers.space.product import Product
from solvers.space.rotation import SO3
from solvers.space.simplex import Simplex
from solvers.space.sphere import Sphere
from solvers.space.su2 import SU2
from solvers.space.torus import Torus

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
