r"""The exact error budget of a sampler: whose is which part of the distance between what comes out and the target?

Laws are built up by one imperfection after the other, without Monte Carlo,

    target p_0  →  truncation: p at the last node, after the terminal rule
                →  initialisation: the same exact dynamics, started from N(0, σ_T²) instead of p_T
                →  discretisation: the solver in place of the exact dynamics
                →  score error: the solver with a known error in the score, its gradient part first, then its solenoidal part

(Pierret & Galerne, arXiv:2405.14250, split the W2 distance on Gaussians in the first four.) Each law k is written as the optimal
transport map T_k from the target to it, so that ‖T_k − id‖ in L²(p_0) is W2(p_0, p_k), and

    T_K − id = Σ_k (T_k − T_{k−1})

holds exactly. ``w2`` of a part is ‖T_k − T_{k−1}‖, which is the distance of the two laws in one dimension and wherever covariances commute;
``share`` is its component along the total, so that the shares add up to the total distance.

A score error has the form s̃ = s + g s + S s with a number g (a gradient field, a wrong temperature) and an antisymmetric matrix S:
∇·(p S ∇log p) = 0, so S s turns mass around and leaves the law of the exact dynamics as it is. On a grid of finite steps it does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.line import Line
from scorebed.analytic.output.moments import moments
from scorebed.solvers import Node, Solver, sample, trace
from scorebed.toy.measure.output_law import Law, law

PARTS = ("truncation", "initialisation", "discretisation", "score error, gradient", "score error, solenoidal")
_Z = np.linspace(-8.0, 8.0, 1601)
"""Normal scores of the probabilities at which quantile functions are compared."""


@dataclass(frozen=True)
class ScoreError:
    """s̃ = s + gradient · s + S s, with S = solenoidal · J and J antisymmetric: ``turn``, or the turn of the first plane by 90°."""

    gradient: float = 0.0
    solenoidal: float = 0.0
    turn: Any = None

    def matrix(self, d: int) -> np.ndarray:
        """g 1 + S, shape (d, d).

        Returns:
            the matrix g 1 + S, (d, d).

        Raises:
            ValueError: a turn that is not an antisymmetric (d, d) matrix, or a solenoidal part in one dimension, where there is none.
        """
        if self.turn is None:
            turn = np.zeros((d, d))
            if d > 1:
                turn[0, 1], turn[1, 0] = -1.0, 1.0
        else:
            turn = np.asarray(self.turn, np.float64)
        if turn.shape != (d, d) or not np.array_equal(turn, -turn.T):
            raise ValueError(f"turn has shape {turn.shape}: give an antisymmetric matrix of shape ({d}, {d})")
        if d == 1 and self.solenoidal != 0.0:
            raise ValueError(f"solenoidal = {self.solenoidal}: in one dimension every field is a gradient")
        return self.gradient * np.eye(d) + self.solenoidal * turn


class WithError:
    """A target whose score, and so whose denoiser, is wrong by a known error: D̃ = D + (g 1 + S)(D − x/α)."""

    def __init__(self, target: GaussianMixture, error: ScoreError) -> None:
        self.target, self.error, self.d = target, error.matrix(target.d), target.d
        self.line = target.line

    def denoised(self, x: np.ndarray, node: Node) -> np.ndarray:
        """E[x0 | x_t] as this score would have it, shape (..., d)."""
        exact = self.target.denoised(x, node)
        return exact + (exact - x / node.alpha) @ self.error.T

    def affine(self, node: Node) -> tuple[np.ndarray, np.ndarray]:
        """(A, b) with D̃ = A x + b, where the target is one Gaussian."""
        zero = self.denoised(np.zeros((1, self.d)), node)[0]
        return (self.denoised(np.eye(self.d), node) - zero).T, zero


def budget(
    solver: Solver,
    target: GaussianMixture,
    grid: Sequence[Node],
    *,
    score_error: ScoreError | None = None,
    initial: Literal["prior", "exact"] = "prior",
    terminal: str = "denoise",
) -> pd.DataFrame:
    """The parts of W2(target, output): columns part, w2, share; the last row is the total. One Gaussian of any d, or a mixture with d = 1.

    Returns:
        the parts of W2, one row each, total last: part, w2, share.

    Raises:
        ValueError: a mixture in more than one dimension, a singular covariance, or an output that no monotone map gives.
    """
    if initial not in ("prior", "exact"):
        raise ValueError(f"initial = {initial!r} is not known: give 'prior' or 'exact'")
    error = score_error or ScoreError()
    errors = [ScoreError(), ScoreError(error.gradient), error]
    errors[2].matrix(target.d)
    if target.k == 1:
        vectors = _gaussian(solver, target, grid, errors, initial, terminal)
    elif target.d == 1:
        vectors = _line(solver, target, grid, errors, initial, terminal)
    else:
        raise ValueError(
            f"target has d = {target.d} and {target.k} components: exact budgets are of one Gaussian, or of mixtures with d = 1"
        )
    total = vectors[-1] - vectors[0]
    length = float(np.linalg.norm(total))
    steps = [after - before for before, after in pairwise(vectors)]
    rows = [(part, float(np.linalg.norm(v)), float(v @ total) / length if length else 0.0) for part, v in zip(PARTS, steps, strict=True)]
    rows.append(("total", length, length))
    table = pd.DataFrame(rows, columns=["part", "w2", "share"])
    table.insert(0, "steps", len(grid) - 1)
    table.insert(0, "solver", solver.name)
    return table


def _root(a: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(0.5 * (a + a.T))
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def _gaussian(
    solver: Solver, target: GaussianMixture, grid: Sequence[Node], errors: list[ScoreError], initial: str, terminal: str
) -> list[np.ndarray]:
    """The maps of the laws from a Gaussian target, as vectors: mean and A Σ^{1/2}, whose Euclidean distance is that of L²(p_0)."""
    d, first, last = target.d, grid[0], grid[-1]
    mean, data = np.asarray(target.mean()), np.asarray(target.covariance())
    if np.linalg.eigvalsh(data)[0] <= 1e-12 * np.linalg.eigvalsh(data)[-1]:
        raise ValueError("target has a singular covariance: optimal maps from it do not exist")
    root = _root(data)
    inverse = np.linalg.inv(root)

    def vector(m: np.ndarray, c: np.ndarray) -> np.ndarray:
        return np.concatenate([m, (inverse @ _root(root @ c @ root)).ravel()])  # A Σ^{1/2} up to the turn that all share

    def ended(m: np.ndarray, c: np.ndarray) -> np.ndarray:
        if terminal == "denoise":
            zero = target.denoised(np.zeros((1, d)), last)[0]
            slope = (target.denoised(np.eye(d), last) - zero).T
            m, c = slope @ m + zero, slope @ c @ slope.T
        return vector(m, c)

    noisy = [node.alpha**2 * data + node.sigma**2 * np.eye(d) for node in (first, last)]
    prior = (np.zeros(d), first.sigma**2 * np.eye(d)) if initial == "prior" else (first.alpha * mean, noisy[0])
    if solver.weak is None:
        move, rest = _root(noisy[1]) @ np.linalg.inv(_root(noisy[0])), np.zeros((d, d))
    else:  # x_t | x_T under the forward process, which the exact reverse SDE draws from
        ratio = first.alpha / last.alpha
        move = ratio * noisy[1] @ np.linalg.inv(noisy[0])
        rest = noisy[1] - move @ noisy[0] @ move.T
    shifted = move @ (prior[0] - first.alpha * mean) + last.alpha * mean
    plan = trace(solver, grid, terminal)
    vectors = [vector(mean, data), ended(last.alpha * mean, noisy[1]), ended(shifted, move @ prior[1] @ move.T + rest)]
    for error in errors:
        vectors.append(vector(*moments(plan, target, *prior, affine=WithError(target, error).affine)))
    return vectors


def _line(
    solver: Solver, target: GaussianMixture, grid: Sequence[Node], errors: list[ScoreError], initial: str, terminal: str
) -> list[np.ndarray]:
    """Quantile functions of the laws at the probabilities Φ(z), weighted so that their Euclidean distance is W2."""
    first, last = grid[0], grid[-1]
    weight = np.sqrt(np.exp(-0.5 * _Z**2) / math.sqrt(2 * math.pi) * (_Z[1] - _Z[0]))
    quantile = _quantiles(target.line())
    at_end = _quantiles(target.line(last))
    prior = first.sigma * _Z if initial == "prior" else _quantiles(target.line(first))

    def ended(x: np.ndarray) -> np.ndarray:
        return np.asarray(target.denoised(x[:, None], last))[:, 0] if terminal == "denoise" else x

    if solver.weak is None:
        exact = np.asarray(target.flow(prior[:, None], first, last))[:, 0]
    else:
        exact = _reverse(target, first, last) if initial == "prior" else at_end
    out = [quantile, ended(at_end), ended(exact)]
    for error in errors:
        wrong: Any = WithError(target, error)
        if solver.weak is None:
            x = sample(solver, wrong.denoised, prior[:, None], grid, terminal=terminal)[:, 0]
            if (np.diff(x) < 0).any():
                raise ValueError(
                    f"{solver.name} does not keep the order of states on this grid: its output has no simple quantile function"
                )
        else:
            x = _quantiles_of(law(solver, wrong, grid, initial="prior" if initial == "prior" else "exact", terminal=terminal))
        out.append(x)
    return [weight * x for x in out]


def _quantiles(line: Any) -> np.ndarray:
    """Solve F(x) = Φ(z) on the nodes of z by bisection, each from the side of its tail."""
    below = _Z < 0.0
    low = np.full(_Z.shape, (line.means - 9.5 * line.scales).min())
    high = np.full(_Z.shape, (line.means + 9.5 * line.scales).max())
    for _ in range(60):  # to the last bit
        middle = 0.5 * (low + high)
        left = np.concatenate([line.cdf(middle[below]) < ndtr(_Z[below]), line.sf(middle[~below]) > ndtr(-_Z[~below])])
        low, high = np.where(left, middle, low), np.where(left, high, middle)
    return 0.5 * (low + high)


def _quantiles_of(output: Law) -> np.ndarray:
    x = np.linspace(output.points[0] - 9.0 * output.s, output.points[-1] + 9.0 * output.s, 4001)
    cdf = output.cdf(x)
    inner = (cdf > 1e-17) & (cdf < 1.0 - 1e-15)
    guess = np.interp(_Z, ndtri(cdf[inner]), x[inner])
    for _ in range(2):  # Newton's steps, where there is a density to speak of
        slope = output.density(guess)
        step = np.divide(output.cdf(guess) - ndtr(_Z), slope, out=np.zeros_like(guess), where=slope > 1e-6)
        guess = guess - np.clip(step, -(x[1] - x[0]), x[1] - x[0])
    return guess


def _reverse(target: GaussianMixture, first: Node, last: Node) -> np.ndarray:
    """Quantiles of ∫ p(x_t | x_T) N(x_T; 0, σ_T²) dx_T, a mixture of the posteriors of the components over nodes of x_T."""
    z = np.linspace(-8.0, 8.0, 801)
    x, w = first.sigma * z, np.exp(-0.5 * z * z) / np.exp(-0.5 * z * z).sum()
    noisy, clean = target.line(first), target.line(last)
    logs = np.log(noisy.weights) - 0.5 * noisy.standard(x) ** 2 - np.log(noisy.scales)
    posterior = np.exp(logs - logs.max(1, keepdims=True))
    posterior = w[:, None] * posterior / posterior.sum(1, keepdims=True)
    ratio = first.alpha / last.alpha
    gain = ratio * clean.scales**2 / noisy.scales**2
    means = clean.means + gain * (x[:, None] - noisy.means)
    scales = np.sqrt(clean.scales**2 - gain * ratio * clean.scales**2)
    with np.errstate(divide="ignore"):
        mixed = Line(np.log(posterior.ravel()), means.ravel(), np.broadcast_to(scales, means.shape).ravel())
    return _quantiles(mixed)


def budgets(solver: Solver, target: GaussianMixture, grids: Sequence[Sequence[Node]], **options: Any) -> pd.DataFrame:
    """``budget`` on several grids, one below the other."""
    return pd.concat([budget(solver, target, nodes, **options) for nodes in grids], ignore_index=True)
