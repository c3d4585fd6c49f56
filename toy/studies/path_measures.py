r"""What is measured on paths: geometry, commitment to a mode, the order in which directions are decided.

    committed    the last noise level at which the posterior weight of the mode where a path ends was not yet above 1/2
    decided      the last noise level at which, along a principal direction of the data, D(x_t) was farther from where it ends than half
                 of how far it ends from the mean (root mean square over paths)

On a Gaussian the flow keeps (x_t − α μ)_k / sqrt(α² λ_k + σ²), so that D_k − μ_k ∝ sqrt(λ_k/(λ_k + ρ²)): a direction of variance λ is
decided at ρ² = 3 λ, coarse before fine (Wang & Vastola, arXiv:2303.02490). On stochastic paths of the reverse SDE D is a martingale,
Var(D_0 − D_t)_k = λ ρ²/(λ + ρ²), and the same direction is decided at ρ² = λ/3 only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scorebed.analytic import RotatedProduct
from scorebed.solvers import Node
from scorebed.toy.measure import curves
from scorebed.toy.studies.paths import Floats, Paths, factors


def modes(target: Any, x: Floats, nodes: Sequence[Node]) -> tuple[Floats, NDArray[np.int64]]:
    """The posterior weight of the mode where each path ends, (nodes, paths), and which mode that is, (paths,).

    The mode is a component of a mixture, or a tuple of components, one of each factor of a ``RotatedProduct`` (numbered as an array of
    them is). It is the likeliest at the last node.

    Returns:
        (posterior weight (nodes, paths), number of the mode (paths,)).
    """
    if isinstance(target, RotatedProduct):
        y = x @ target.rotation
        parts = [modes(f, y[..., i : i + 1], nodes) for i, f in enumerate(target.factors)]
        number = np.zeros(x.shape[1], np.int64)
        for (_, own), factor in zip(parts, target.factors, strict=True):
            number = number * factor.k + own
        return np.prod([w for w, _ in parts], axis=0), number
    weights = [_weights(target, u, node) for u, node in zip(x, nodes, strict=True)]
    last = weights[-1].argmax(-1)
    return np.stack([w[np.arange(len(last)), last] for w in weights]), last


def _weights(target: Any, x: Floats, node: Node) -> Floats:
    return np.concatenate([np.asarray(target.posterior(x[i : i + 64], node).weights) for i in range(0, len(x), 64)])


def last_crossing(values: Floats, lams: Floats, level: float) -> Floats:
    """The lam, interpolated, after which ``values`` (nodes, …) stay above ``level``.

    The first lam where they always do, NaN where they end below.

    Returns:
        lam for each path, NaN where it ends below ``level``.
    """
    out = np.full(values.shape[1:], np.nan)
    for where in np.ndindex(values.shape[1:]):
        column = values[(slice(None), *where)]
        below = np.flatnonzero(~(column > level))
        if not len(below):
            out[where] = lams[0]
        elif below[-1] + 1 < len(column):
            i = below[-1]
            out[where] = lams[i] + (level - column[i]) / (column[i + 1] - column[i]) * (lams[i + 1] - lams[i])
    return out


def decided(paths: Paths, mean: Floats, variances: Floats, directions: Floats, level: float = 0.5) -> pd.DataFrame:
    """When each direction is decided, a row for each row of ``directions`` (k, d).

    Columns: solver, direction, variance, decided_lam, decided_rho; gaussian_rho and gaussian_sde_rho, the same for the flow and the
    reverse SDE on the Gaussian of this variance. NaN where nothing moves along the direction, or the paths are too coarse to end decided.

    Returns:
        one row for each solver and direction, with decided_lam and decided_rho.
    """
    lams = np.array([node.lam for node in paths.nodes])
    along = (paths.denoised - mean) @ directions.T
    left = np.sqrt(np.mean((along - along[-1]) ** 2, axis=1))
    far = np.sqrt(np.mean(along[-1] ** 2, axis=0))
    remaining = np.divide(left, far, out=np.full_like(left, np.nan), where=far > 0.0)
    lam = last_crossing(-remaining, lams, -level)
    end = paths.nodes[-1].rho ** 2
    flow, sde = (np.sqrt(np.maximum((variances + end) / part - variances, 0.0)) for part in ((1.0 - level) ** 2, 1.0 - level**2))
    table = {"direction": np.arange(len(variances)), "variance": variances, "decided_lam": lam, "decided_rho": np.exp(-lam)}
    result = pd.DataFrame({**table, "gaussian_rho": flow, "gaussian_sde_rho": sde})
    result.insert(0, "solver", paths.solver)
    return result


def measures(paths: Paths, target: Any = None, coordinates: str = "x") -> pd.DataFrame:
    """One row for each path.

    Columns: solver, path; length, straightness, turned (all corners, radians); plane and rotation (radians), share of the path in the span
    of x_0 and x_N and the angle turned in it; pc1, pc2, share of its first one and first two principal components; with a ``target`` mode,
    committed_lam, committed_rho; where the exact path is known distance, at the end, the RMS over its entries, as everywhere else.

    Returns:
        one row for each path, with its geometric measures.
    """
    points = paths.states(coordinates)
    own, shares = curves.plane(points), np.cumsum(curves.components(points), axis=1)
    rows: dict[str, Any] = {
        "solver": paths.solver,
        "path": np.arange(points.shape[1]),
        "length": curves.lengths(points)[-1],
        "straightness": curves.straightness(points),
        "turned": np.nansum(curves.turning(points), axis=0),
        "plane": own.share,
        "rotation": own.rotation,
        "pc1": shares[:, 0],
        "pc2": shares[:, min(1, shares.shape[1] - 1)],
    }
    if target is not None:
        weights, mode = modes(target, paths.x, paths.nodes)
        lam = last_crossing(weights, np.array([node.lam for node in paths.nodes]), 0.5)
        rows |= {"mode": mode, "committed_lam": lam, "committed_rho": np.exp(-lam)}
    if paths.exact is not None:
        rows["distance"] = np.sqrt(np.mean((paths.x[-1] - paths.exact[-1]) ** 2, axis=-1))
    return pd.DataFrame(rows)


def along(paths: Paths, target: Any = None, coordinates: str = "x", sensitivity: Floats | None = None) -> pd.DataFrame:
    """One row for each node and path.

    Columns: solver, node, path, t, lam, rho, length (so far), turning, curvature, torsion; weight of the mode where the path ends with a
    ``target``; distance to the exact path where it is known; sensitivity where given, (nodes, paths).

    Returns:
        one row for each node and path, with measures along the way.
    """
    points = paths.states(coordinates)
    n, m = points.shape[:2]
    columns: dict[str, Any] = {
        "length": curves.lengths(points),
        "turning": curves.turning(points) if n > 2 else np.full((n, m), np.nan),
        "curvature": curves.curvature(points) if n > 2 else np.full((n, m), np.nan),
        "torsion": curves.torsion(points),
    }
    if target is not None:
        columns["weight"] = modes(target, paths.x, paths.nodes)[0]
    if paths.exact is not None:
        columns["distance"] = np.sqrt(np.mean((paths.x - paths.exact) ** 2, axis=-1))
    if sensitivity is not None:
        columns["sensitivity"] = sensitivity * (factors(paths.nodes, coordinates) / factors(paths.nodes, coordinates)[0])[:, None]
    heads = {name: np.repeat([getattr(node, name) for node in paths.nodes], m) for name in ("t", "lam", "rho")}
    rows = {"solver": paths.solver, "node": np.repeat(np.arange(n), m), "path": np.tile(np.arange(m), n), **heads}
    return pd.DataFrame({**rows, **{name: np.asarray(v).ravel() for name, v in columns.items()}})
