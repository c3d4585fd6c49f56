"""Posterior samplers that draw from another law than p(x0 | y)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.toy.museum.formulas import ddim
from scorebed.toy.museum.registry import exhibit

Guide = Callable[[Any, Any, Any, Any, Any], Any]


def guided(guide: Guide) -> Callable[..., Any]:
    """DDIM with a guide (model, operator, y, x, node) -> E[x0 | x, y], as a posterior sampler."""

    def run(model: Any, operator: Any, y: Any, x: Any, nodes: Any) -> Any:
        for s, t in pairwise(nodes):
            x = ddim(x, guide(model, operator, y, x, s), s, t)
        return guide(model, operator, y, x, nodes[-1])

    return run


def moment_matched(model: Any, operator: Any, y: Any, x: Any, node: Any, variance: float | None = None, most: float = np.inf) -> Any:
    """D + C Aᵀ (A C Aᵀ + r² I)⁻¹ (y − A D), with C = Cov[x0 | x] by the model's own Jacobian; the change no longer than ``most``."""
    scale, a, d = node.sigma**2 / node.alpha, operator.matrix, model(x, node)
    rows = scale * np.stack([model.vjp(x, node, np.broadcast_to(row, x.shape)) for row in a], 1)
    inner = (operator.variance if variance is None else variance) * np.eye(operator.m) + rows @ a.T
    change = np.einsum("nmd,nm->nd", rows, np.linalg.solve(inner, (y - d @ a.T)[..., None])[..., 0])
    return d + change * np.minimum(1.0, most / np.maximum(np.linalg.norm(change, axis=1, keepdims=True), 1e-300))


@exhibit(
    "check_posterior",
    "DPS2022/diffusion-posterior-sampling#20",
    "the gradient of the norm in place of that of its square: guidance of one length however far off y is",
    named="y",
)
def norm_for_its_square(mended: bool) -> Callable[..., Any]:
    def guide(model: Any, operator: Any, y: Any, x: Any, node: Any) -> Any:
        if mended:
            return moment_matched(model, operator, y, x, node)
        d = model(x, node)
        away = y - d @ operator.matrix.T
        unit = away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-300)
        return d + node.sigma**2 / node.alpha * model.vjp(x, node, unit @ operator.matrix)

    return guided(guide)


@exhibit(
    "check_posterior",
    "deepinv/deepinv#157",
    "the noise of the data is left out of their likelihood: its variance is taken for 1",
    named="covariance",
)
def noise_of_the_data_left_out(mended: bool) -> Callable[..., Any]:
    return guided(lambda m, o, y, x, node: moment_matched(m, o, y, x, node, variance=None if mended else 1.0))
