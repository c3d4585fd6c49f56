r"""Exact mean and covariance of a solver's output when the target is one Gaussian.

A Plan is a linear program around the denoiser, and the denoiser of N(mu, Σ) is affine, in the eigenbasis of Σ coordinate by coordinate:

    D(x, node)_i = (sigma²/c_i) mu_i + (alpha λ_i/c_i) x_i,   c_i = alpha² λ_i + sigma².

So every register of the Plan is, per eigendirection, an affine function of the initial state and the draws, and so is the output. Draws of
distinct intervals are independent unit normals. No Monte Carlo: weak order can be measured to round-off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from scorebed.analytic.gaussian.arrays import finite
from scorebed.analytic.gaussian.mixture import GaussianMixture
from scorebed.solvers.schedule import Node


class Program(Protocol):
    """The part of a Plan that is read: straight-line code over registers, register 0 the initial state, each op making the next.

    An op with ``source`` and ``node`` evaluates the denoiser, one with ``s`` and ``t`` draws unit normals, one with ``terms`` combines
    registers.
    """

    @property
    def grid(self) -> Sequence[Node]: ...
    @property
    def ops(self) -> Sequence[Any]: ...
    @property
    def result(self) -> int: ...


def moments(plan: Program, target: GaussianMixture, mean: Any = None, covariance: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and covariance (d, d) of the output of ``plan`` with the exact denoiser of ``target``.

    Args:
        plan: as ``solvers.plan.trace`` makes it.
        target: a mixture of one component, any structure.
        mean, covariance: of the initial state, (d,) and (d, d); by default those of the target's marginal at ``plan.grid[0]``.

    Raises:
        ValueError: a target of several components, or moments of other shapes.
        TypeError: an op of an unknown kind.
    """
    if target.k != 1:
        raise ValueError(f"target has k = {target.k} components: exact moments need one Gaussian, k = 1")
    spectrum, vectors = target.structure.eigen(0)
    basis = np.eye(target.d) if vectors is None else vectors
    centre = target.means[0] @ basis
    begin, spread = _initial(plan.grid[0], centre, spectrum, basis, mean, covariance)
    rows = _run(plan, centre, spectrum)
    # rows of the output: constant, coefficient of the initial state, coefficients of the draws
    out_mean = rows[0] + rows[1] * begin
    out_covariance = rows[1][:, None] * spread * rows[1] + np.diag(np.square(rows[2:]).sum(0))
    turned = basis @ out_covariance @ basis.T
    return basis @ out_mean, 0.5 * (turned + turned.T)


def _initial(
    node: Node, centre: np.ndarray, spectrum: np.ndarray, basis: np.ndarray, mean: Any, covariance: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the initial state in the eigenbasis."""
    d = len(centre)
    begin = node.alpha * centre
    spread = np.diag(node.alpha**2 * spectrum + node.sigma**2)
    if mean is not None:
        given = finite("mean", mean)
        if given.shape != (d,):
            raise ValueError(f"mean has shape {given.shape}: give ({d},)")
        begin = given @ basis
    if covariance is not None:
        given = finite("covariance", covariance)
        if given.shape != (d, d):
            raise ValueError(f"covariance has shape {given.shape}: give ({d}, {d})")
        spread = basis.T @ given @ basis
    return begin, spread


def _run(plan: Program, centre: np.ndarray, spectrum: np.ndarray) -> np.ndarray:
    """The output register as rows (2 + draws, d); a register is forgotten after its last use."""
    last = {r: i for i, op in enumerate(plan.ops) for r in _reads(op)}
    last[plan.result] = len(plan.ops)
    live = {0: np.stack([np.zeros_like(centre), np.ones_like(centre)])}
    draws = 0
    for i, op in enumerate(plan.ops):
        if hasattr(op, "terms"):
            made = np.zeros((max([2, *(len(live[r]) for r, _ in op.terms)]), len(centre)))
            for r, c in op.terms:
                made[: len(live[r])] += c * live[r]
        elif hasattr(op, "source"):
            alpha, sigma = op.node.alpha, op.node.sigma
            if sigma == 0.0:
                made = live[op.source] / alpha
            else:
                c = alpha**2 * spectrum + sigma**2
                made = live[op.source] * (alpha * spectrum / c)
                made[0] += sigma**2 / c * centre
        else:
            made = np.zeros((3 + draws, len(centre)))
            made[-1] = 1.0
            draws += 1
        live[i + 1] = made
        for r in (*_reads(op), i + 1):
            if last.get(r, -1) <= i:
                live.pop(r, None)
    return live[plan.result]


def _reads(op: Any) -> tuple[int, ...]:
    if hasattr(op, "terms"):
        return tuple(r for r, _ in op.terms)
    if hasattr(op, "source"):
        return (op.source,)
    if hasattr(op, "s") and hasattr(op, "t"):
        return ()
    raise TypeError(f"op {op!r} of type {type(op).__name__} is not known: give Evaluate, Draw or Combine")
