r"""The Jacobian of a solver's map along its path, J_i = ∂x_i/∂x_0: the ordinary loop on dual numbers.

A state is carried together with k tangents, as an array of shape (n, 1 + k, d). Steps are linear between evaluations, so that the loop
moves the tangents as it moves the state, and only the denoiser needs a rule:

    exact on mixtures      ∂D/∂x = (α/σ²) Cov[x_0 | x], applied to each tangent
    any other denoiser     central differences along each tangent

The noise is the same for neighbouring paths. The largest singular value of J says how much the solver stretches small differences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorebed.solvers import BrownianNoise, Denoiser, Node, NotLinear, Solver, sample

Floats = NDArray[np.float64]
Covariance = Callable[[Floats, Node], Floats]
"""Cov[x_0 | x], shape (n, d, d), as ``posterior_covariance`` of the laws gives it."""

_STEP = float(np.finfo(np.float64).eps ** 0.25)  # of sigma: the scale on which a denoiser varies


def jacobians(
    solver: Solver,
    denoise: Denoiser,
    x: Floats,
    nodes: Sequence[Node],
    *,
    covariance: Covariance | None = None,
    directions: Floats | None = None,
    noise: int = 0,
    step: float = _STEP,
) -> Floats:
    """J at every node, applied to ``directions`` (k, d), all of them by default: shape (nodes, n, d, k).

    Args:
        x: states of shape (n, d).
        covariance: the exact posterior covariance; None takes central differences of ``denoise``.
        noise: the seed of a stochastic method.
        step: of the differences, as a multiple of sigma; larger for a denoiser in single precision.

    Returns:
        (nodes, n, d, k) Jacobians applied to ``directions``.

    Raises:
        NotLinear: a method that looks at the values of the state.
        ValueError: shapes.
    """
    if solver.nonlinear is not None:
        raise NotLinear(f"{solver.name} is declared nonlinear: {solver.nonlinear}")
    x = np.asarray(x, np.float64)
    if x.ndim != 2:
        raise ValueError(f"x has shape {x.shape}: give (n, d)")
    n, d = x.shape
    basis = np.eye(d) if directions is None else np.asarray(directions, np.float64)
    if basis.ndim != 2 or basis.shape[1] != d:
        raise ValueError(f"directions has shape {basis.shape}: give (k, {d})")

    def dual(a: Floats, node: Node) -> Floats:
        state, tangents = a[:, 0], a[:, 1:]
        if covariance is not None:
            moved = tangents @ (node.alpha / node.sigma**2 * covariance(state, node))
        else:
            moved = _differences(denoise, state, tangents, node, step * node.sigma)
        return np.concatenate([denoise(state, node)[:, None], moved], axis=1)

    plain = BrownianNoise(noise, (n, d), like=x)

    def drawn(s: Node, t: Node) -> Any:
        return np.concatenate([np.asarray(plain(s, t))[:, None], np.zeros((n, len(basis), d))], axis=1)

    start = np.concatenate([x[:, None], np.broadcast_to(basis, (n, *basis.shape))], axis=1)
    run = sample(solver, dual, start, nodes, noise=drawn, terminal="none", record=True)
    return np.swapaxes(np.stack(run.xs)[:, :, 1:], -1, -2)


def _differences(denoise: Denoiser, x: Floats, tangents: Floats, node: Node, h: float) -> Floats:
    size = np.linalg.norm(tangents, axis=-1, keepdims=True)
    unit = np.divide(tangents, size, out=np.zeros_like(tangents), where=size > 0.0)
    flat = np.concatenate([(x[:, None] + h * unit).reshape(-1, x.shape[1]), (x[:, None] - h * unit).reshape(-1, x.shape[1])])
    up, down = np.split(np.asarray(denoise(flat, node)), 2)
    return ((up - down).reshape(tangents.shape) / (2.0 * h)) * size


def flow_jacobians(flow: Callable[[Floats, Node, Node], Floats], x: Floats, nodes: Sequence[Node], step: float = 1e-5) -> Floats:
    """The same for an exact flow map (x, s, t), by central differences: shape (nodes, n, d, d)."""
    n, d = x.shape
    h = step * nodes[0].sigma
    ends = np.concatenate([x[:, None] + h * np.eye(d), x[:, None] - h * np.eye(d)], axis=1).reshape(-1, d)
    out = []
    for node in nodes:
        moved = np.asarray(flow(ends, nodes[0], node)).reshape(n, 2, d, d)
        out.append(np.swapaxes(moved[:, 0] - moved[:, 1], -1, -2) / (2.0 * h))
    return np.stack(out)


def largest(jacobian: Floats) -> Floats:
    """The largest singular value, shape (nodes, n)."""
    return np.asarray(np.linalg.svd(jacobian, compute_uv=False)[..., 0])


def spectrum(jacobian: Floats) -> Floats:
    """All singular values, descending, shape (nodes, n, min(d, k))."""
    return np.asarray(np.linalg.svd(jacobian, compute_uv=False))
