r"""Gaussian problems on which an error's way along a grid is exact: stiff, near a manifold, guided.

Along a direction in which the data have variance v the denoiser of a Gaussian has the slope κ = α v/(α² v + σ²), under guidance

    κ = κ_b + w (κ_n − κ_b),     by ``solvers.guide.mix``,

n the narrow (conditional) and b the broad (unconditional) law.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scorebed.analytic import GaussianMixture
from scorebed.solvers import EDM, VP, Node
from scorebed.solvers.guide import mix
from scorebed.toy.problems.euclidean import EuclideanProblem, diagonal

Floats = NDArray[np.float64]
Slope = Callable[[Node], Floats]
"""∂D/∂x at a node for each of the directions looked at, shape (directions,)."""


@dataclass(frozen=True, kw_only=True)
class GuidedGaussian(EuclideanProblem):
    """N(0, diag(narrow)) as the target, guided away from N(0, broad) where there is a broad law.

    Attributes:
        narrow: variances of the data along the directions looked at; the largest growth among them counts.
        broad: variance of the unconditional law where there is guidance.
    """

    make: Callable[[], GaussianMixture] = field(init=False, repr=False, compare=False)
    narrow: tuple[float, ...]
    broad: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "make", lambda: diagonal(np.zeros(len(self.narrow)), self.narrow))

    def slope(self, guidance: ArrayLike = 1.0) -> Slope:
        """κ for each pair (guidance, direction), the directions running fastest.

        Returns:
            the Slope, a function of the node with κ for each pair (guidance, direction).

        Raises:
            ValueError: guidance other than 1 where there is no broad law, or that is not finite.
        """
        w = scales(guidance)
        if self.broad is None and np.any(w != 1.0):
            raise ValueError(f"guidance = {w.tolist()}: the problem {self.name!r} has no unconditional law, give 1")
        v = np.array(self.narrow)

        def at(node: Node) -> Floats:
            inner = _gain(v, node)
            outer = np.zeros_like(inner) if self.broad is None else np.full_like(inner, _gain(np.array(self.broad), node))
            return np.concatenate([mix(inner, outer, float(scale)) for scale in w])

        return at

    def growth(self, nodes: Sequence[Node], guidance: ArrayLike = 1.0) -> Floats:
        """∂y/∂y_0 of the guided flow in y = x/α at every node, shape (nodes, guidance, directions)."""
        w, v = scales(guidance)[:, None], np.array(self.narrow)
        wide = v if self.broad is None else np.full_like(v, self.broad)
        s = nodes[0].rho ** 2
        return np.stack([((wide + n.rho**2) / (wide + s)) ** (0.5 * (1.0 - w)) * ((v + n.rho**2) / (v + s)) ** (0.5 * w) for n in nodes])


def _gain(v: Floats, node: Node) -> Floats:
    return np.asarray(node.alpha * v / (node.alpha**2 * v + node.sigma**2))


def scales(guidance: ArrayLike) -> Floats:
    """Guidance scales as an array (k,).

    Returns:
        (k,) scales, float64.

    Raises:
        ValueError: a scale that is negative or not finite.
    """
    w = np.atleast_1d(np.asarray(guidance, np.float64))
    if w.ndim != 1 or not np.isfinite(w).all() or np.any(w < 0.0):
        raise ValueError(f"guidance = {w.tolist()} must be finite and not negative")
    return w


STIFF = GuidedGaussian(
    name="stiff", description="variances 1 to 1e-4, no guidance", narrow=(1.0, 1e-1, 1e-2, 1e-3, 1e-4), process=VP(), grid="uniform"
)
MANIFOLD = GuidedGaussian(
    name="near-manifold",
    description="std 1 along and 1e-4 across a manifold, no guidance",
    narrow=(1.0, 1e-8),
    process=EDM(),
    grid="karras",
)
GUIDED = GuidedGaussian(
    name="guided",
    description="class of std 0.02 in data of std 1, guided",
    narrow=(0.02**2,),
    broad=1.0,
    process=VP(),
    grid="uniform",
    start=0.4,
    end=0.02,
)
GAUSSIANS = {p.name: p for p in (STIFF, MANIFOLD, GUIDED)}
"""The Gaussian problems of the stability study, by name."""
