r"""Exact mean and covariance of a solver's output where the model is affine.

A Plan is a linear program around the model. The denoiser of N(mu, Σ) is affine, in the eigenbasis of Σ coordinate by coordinate:

    D(x, node)_i = (sigma²/c_i) mu_i + (alpha λ_i/c_i) x_i,   c_i = alpha² λ_i + sigma²,

and so are the models of linear processes on Gaussians, of guided ones, and of ones with an affine error, by matrices. So every register of
the Plan is an affine function of the initial state and the draws, and so is the output. Draws of distinct intervals are independent unit
normals. No Monte Carlo: weak order can be measured to round-off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from scorebed.analytic.gaussian.arrays import finite
from scorebed.analytic.gaussian.mixture import GaussianMixture
from scorebed.solvers.process import Point
from scorebed.solvers.schedule import Node
from scorebed.solvers.state import bare, parts

Affine = Callable[[Any], tuple[np.ndarray, np.ndarray]]
"""node -> (A, b): the model is A x + b, with the components of states and of predictions, (d,) each, one after the other."""


class Program(Protocol):
    """The part of a Plan that is used."""

    @property
    def grid(self) -> Sequence[Any]: ...
    def fold(self, x: Any, evaluate: Any, draw: Any, combine: Any) -> Any: ...


def moments(
    plan: Program, target: Any, mean: Any = None, covariance: Any = None, *, affine: Affine | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and covariance (d, d) of the output of ``plan`` with the exact model of ``target``, or with another affine one.

    Args:
        plan: as ``solvers.trace`` makes it.
        target: a mixture of one component, any structure; or the law of a linear process, which tells its ``affine`` model.
        mean, covariance: of the initial state, (d,) and (d, d); by default those of the target's marginal at ``plan.grid[0]``. The
            components of a state of several, (d,) each, stand one after the other, here and in what comes back.
        affine: node -> (A, b), the model A x + b in the place of the target's.

    Returns:
        (mean (d,), covariance (d, d)) of the output; the components of a state of several are stacked.

    Raises:
        ValueError: a target of several components, or moments of other shapes.
    """
    affine = affine or getattr(target, "affine", None)
    if affine is None:
        return _by_direction(plan, target, mean, covariance)
    marginal = target.marginal(plan.grid[0])
    begin, spread = np.asarray(marginal.mean()), np.asarray(marginal.covariance())
    n = len(begin)
    begin, spread = _given("mean", mean, (n,), begin), _given("covariance", covariance, (n, n), spread)
    a, b, c = output_map(plan, affine, n)
    out = a @ spread @ a.T + c @ c.T
    return a @ begin + b, 0.5 * (out + out.T)


def output_map(plan: Program, affine: Affine, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The output A x + b + C ξ of a Plan with an affine model, for states of n numbers in all: (n, n), (n,) and (n, numbers drawn)."""
    process = plan.grid[0].process
    d = n // len(process.state)
    unit = np.eye(n, 1 + n, 1).T  # the rows of a register: its constant, then its coefficients of the initial state and of the draws

    def evaluate(x: Any, node: Point) -> Any:
        (a, b), width = affine(node), max(len(part) for part in parts(x))
        value = np.hstack([_wide(part, width) for part in parts(x)]) @ a.T
        value[0] += b
        return bare(tuple(np.split(value, len(process.gives), axis=1)))

    x = bare(tuple(np.split(unit, len(process.state), axis=1)))
    out = plan.fold(x, evaluate, _Drawn(1 + n, d, np.eye(d), process.draws), lambda terms: _sum(terms, 1 + n, d))
    width = max(len(part) for part in parts(out))
    rows = np.hstack([_wide(part, width) for part in parts(out)])
    return rows[1 : 1 + n].T, rows[0], rows[1 + n :].T


def _by_direction(plan: Program, target: GaussianMixture, mean: Any, covariance: Any) -> tuple[np.ndarray, np.ndarray]:
    """The moments where the model is that of one Gaussian: a number instead of a matrix for each eigendirection."""
    if target.k != 1:
        raise ValueError(f"target has k = {target.k} components: exact moments need one Gaussian, k = 1")
    spectrum, vectors = target.structure.eigen(0)
    basis = np.eye(target.d) if vectors is None else vectors
    centre = target.means[0] @ basis
    begin, spread = _initial(plan.grid[0], centre, spectrum, basis, mean, covariance)
    rows = direction_rows(plan, spectrum, centre)
    out_mean = rows[0] + rows[1] * begin
    out_covariance = rows[1][:, None] * spread * rows[1] + np.diag(np.square(rows[2:]).sum(0))
    turned = basis @ out_covariance @ basis.T
    return basis @ out_mean, 0.5 * (turned + turned.T)


def direction_rows(plan: Program, spectrum: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The output along each eigendirection of N(centre, diag(spectrum)) with its exact denoiser: a constant, the coefficient of the initial
    state, then those of the draws; shape (2 + draws, d).

    Returns:
        (2 + draws, d): constant, coefficient of the initial state, coefficients of the draws.
    """
    d = len(spectrum)

    def evaluate(x: np.ndarray, node: Node) -> np.ndarray:
        if node.sigma == 0.0:
            return x / node.alpha
        c = node.alpha**2 * spectrum + node.sigma**2
        value = x * (node.alpha * spectrum / c)
        value[0] += node.sigma**2 / c * centre
        return value

    x = np.stack([np.zeros(d), np.ones(d)])
    return np.asarray(plan.fold(x, evaluate, _Drawn(2, d, np.ones((1, d)), 1), lambda terms: _sum(terms, 2, d)))


class _Drawn:
    """Draws as rows: each adds ``unit`` below the ``width`` rows of what went before."""

    def __init__(self, width: int, d: int, unit: np.ndarray, count: int) -> None:
        self.width, self.d, self.unit, self.count = width, d, unit, count

    def __call__(self, s: Point, t: Point) -> Any:
        made = []
        for _ in range(self.count):
            made.append(np.vstack([np.zeros((self.width, self.d)), self.unit]))
            self.width += len(self.unit)
        return bare(tuple(made))


def _wide(rows: np.ndarray, width: int) -> np.ndarray:
    return rows if len(rows) == width else np.vstack([rows, np.zeros((width - len(rows), rows.shape[1]))])


def _sum(terms: list[tuple[float, np.ndarray]], least: int, d: int) -> np.ndarray:
    made = np.zeros((max([least, *(len(rows) for _, rows in terms)]), d))
    for c, rows in terms:
        made[: len(rows)] += c * rows
    return made


def _initial(
    node: Node, centre: np.ndarray, spectrum: np.ndarray, basis: np.ndarray, mean: Any, covariance: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the initial state in the eigenbasis."""
    d = len(centre)
    begin = node.alpha * centre
    spread = np.diag(node.alpha**2 * spectrum + node.sigma**2)
    if mean is not None:
        begin = _given("mean", mean, (d,), begin) @ basis
    if covariance is not None:
        spread = basis.T @ _given("covariance", covariance, (d, d), spread) @ basis
    return begin, spread


def _given(name: str, value: Any, shape: tuple[int, ...], default: np.ndarray) -> np.ndarray:
    """``value`` as an array of this shape, ``default`` for None."""
    if value is None:
        return default
    made = finite(name, value)
    if made.shape != shape:
        raise ValueError(f"{name} has shape {made.shape}: give ({', '.join(map(str, shape))}{',' * (len(shape) == 1)})")
    return made
