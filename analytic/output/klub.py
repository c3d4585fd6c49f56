r"""The divergence of paths that Align Your Steps minimises (arXiv:2404.14507), in closed form on a Gaussian of any spectrum.

The SDE with D frozen over each step has, by Girsanov, a path measure at the divergence Σ_i ∫ ρ^{-3} E|D(ρ) − D(ρ_i)|² dρ from the true one.
D is a martingale towards the data, so that E|D(ρ) − D(ρ_i)|² = e(ρ) − e(ρ_i), e(ρ) = E|D|² = Σ_k c_k⁴/(c_k² + ρ²) on N(0, diag(c²)), and

    ∫ ρ^{-3}/(c² + ρ²) dρ = −1/(2 c² ρ²) + log(1 + c²/ρ²)/(2 c⁴).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np


def klub(rhos: Sequence[float] | np.ndarray, variances: Sequence[float] | np.ndarray) -> float:
    """Σ_i ∫ ρ^{-3} (e(ρ) − e(ρ_i)) dρ over the steps from ρ_i = ``rhos[i]`` to the next, on the Gaussian of these variances.

    Returns:
        the bound in nats, 0 or more.

    Raises:
        ValueError: levels that do not fall towards the data.
    """
    if any(not a > b > 0.0 for a, b in pairwise(rhos)):
        raise ValueError(f"rhos = {list(rhos)!r} must fall and stay positive: sigma/alpha from noise to data")
    return float(sum(float(step(s, t, variances)) for s, t in pairwise(rhos)))


def step(s: Any, t: Any, variances: Sequence[float] | np.ndarray) -> Any:
    """∫_t^s ρ^{-3} (e(ρ) − e(s)) dρ for one step from ρ = s down to t; of arrays, elementwise."""
    v = np.asarray(variances, dtype=float)
    s, t = np.asarray(s, dtype=float)[..., None], np.asarray(t, dtype=float)[..., None]

    def primitive(u: Any) -> Any:
        return v * v * (-0.5 / (v * u * u) + np.log1p(v / (u * u)) / (2.0 * v * v))

    with np.errstate(divide="ignore", invalid="ignore"):
        parts = primitive(s) - primitive(t) - v * v / (v + s * s) * 0.5 * (t**-2 - s**-2)
    return np.where(v > 0.0, parts, 0.0).sum(-1)
