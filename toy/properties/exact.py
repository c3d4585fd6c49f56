"""Algebraic properties: what a step must do exactly, whatever its order."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.output.moments import moments
from scorebed.solvers import VP, BrownianNoise, Node, RectifiedFlow, Solver, SubVP, sample, trace
from scorebed.solvers.base import advance
from scorebed.solvers.ranges import allowed
from scorebed.toy.properties.cases import ellipsoid, jagged, modes, warped
from scorebed.toy.properties.registry import (
    any_of,
    black_box,
    deterministic,
    inexact,
    moved_by_shifts,
    prop,
    require,
    stochastic,
    unplanned,
)

_TIGHT = 1e-11
_POINT = np.array([0.7, -1.3])


def _constant(x: Any, node: Node) -> Any:
    return 0.0 * x + _POINT


def _close(a: Any, b: Any, tolerance: float = _TIGHT) -> bool:
    return bool(np.allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, float(np.abs(b).max()))))


@prop(exempt=any_of(stochastic, black_box, inexact))
def constant_denoiser(solver: Solver) -> None:
    """For D = c, that is constant eps along every path, any run is exact: x_t = alpha_t c + (sigma_t/sigma_s)(x - alpha_s c)."""
    x = np.array([[2.0, 1.0], [-0.4, 0.1], [0.0, 3.0]])
    for schedule, start, end in ((VP(), 1.0, 1e-3), (SubVP(), 0.05, 0.9), (RectifiedFlow(), 0.99, 0.01)):
        for n in (1, 2, 3, 9):
            grid = warped(schedule, n, start, end)
            s, t = grid[0], grid[-1]
            exact = t.alpha * _POINT + (t.sigma / s.sigma) * (x - s.alpha * _POINT)
            found = sample(solver, _constant, x, grid, terminal="none")
            # round-off is that of the largest term of the formula
            kept = bool(np.abs(found - exact).max() < _TIGHT * max(1.0, t.alpha / s.alpha, t.sigma / s.sigma) * np.abs(x).max())
            require(kept, solver, f"constant denoiser, {schedule}, {n} steps: off by {np.abs(found - exact).max():.3g}")


@prop(exempt=any_of(deterministic, inexact))
def point_mass(solver: Solver) -> None:
    """On a point mass the denoiser is constant, and the output has exactly the marginal N(alpha c, sigma²) at every number of steps."""
    target = GaussianMixture([1.0], _POINT[None], np.zeros(1))
    for schedule, start, end in ((VP(), 1.0, 1e-3), (RectifiedFlow(), 0.99, 0.01)):
        for n in (1, 2, 3, 9):
            grid = warped(schedule, n, start, end)
            mean, covariance = moments(trace(solver, grid), target)
            t = grid[-1]
            kept = _close(mean, t.alpha * _POINT) and _close(covariance / t.sigma**2, np.eye(2))
            require(kept, solver, f"point mass, {schedule}, {n} steps: mean {mean}, covariance {covariance}, sigma² {t.sigma**2}")


def _fixed_noise(s: Node, t: Node) -> Any:
    return np.array([[0.3, -1.1, 0.8], [1.0, 0.2, -0.4]])


@prop()
def empty_step(solver: Solver) -> None:
    """A step of length zero is the identity, with an empty memory and with a full one."""
    target, x = ellipsoid(), np.array([[0.4, -0.2, 1.0], [1.1, 0.9, -2.0]])
    grid = jagged(VP(), 8, 0.9, 0.1)
    carry = None
    for s, t in pairwise(grid):
        still, _ = advance(solver, target.denoised, x, s, s, carry, _fixed_noise)
        require(_close(still, x), solver, f"step of length zero at t = {s.t}: moved by {np.abs(still - x).max():.3g}")
        x, carry = advance(solver, target.denoised, x, s, t, carry, _fixed_noise)


_X = np.linspace(-2.0, 2.0, 15).reshape(5, 3)


@prop(exempt=any_of(black_box, moved_by_shifts))
def shift(solver: Solver) -> None:
    """Shifting the target shifts the samples, by alpha times the shift at every node."""
    target, by = ellipsoid(), np.array([0.3, 2.0, -1.0])
    grid = jagged(VP(), 6, 0.9, 0.05)
    xi = BrownianNoise(3, _X.shape)

    def shifted(y: Any, node: Node) -> Any:
        return target.denoised(y - node.alpha * by, node) + by

    plain = sample(solver, target.denoised, _X, grid, noise=xi, terminal="none")
    moved = sample(solver, shifted, _X + grid[0].alpha * by, grid, noise=xi, terminal="none")
    require(_close(moved, plain + grid[-1].alpha * by), solver, "not equivariant under a shift")


@prop(exempt=black_box)
def equivariance(solver: Solver) -> None:
    """Rotating or permuting the coordinates of the target does the same to the samples; splitting or reordering the batch does nothing."""
    target = ellipsoid()
    turn = np.linalg.qr(np.array([[1.0, 2.0, 0.5], [-1.0, 0.3, 1.0], [0.2, 0.7, -1.5]]))[0]
    grid = jagged(VP(), 6, 0.9, 0.05)
    xi = BrownianNoise(3, _X.shape)
    plain = sample(solver, target.denoised, _X, grid, noise=xi, terminal="none")

    def turned(y: Any, node: Node) -> Any:
        return target.denoised(y @ turn.T, node) @ turn

    rotated = sample(solver, turned, _X @ turn, grid, noise=lambda s, t: xi(s, t) @ turn, terminal="none")
    require(_close(rotated, plain @ turn), solver, "not equivariant under a rotation")
    order = np.array([3, 0, 4])
    some = sample(solver, target.denoised, _X[order], grid, noise=xi.take(order), terminal="none")
    require(bool(np.array_equal(some, plain[order])), solver, "a sample depends on the rest of its batch")


@prop(exempt=unplanned)
def replay(solver: Solver) -> None:
    """The Plan, replayed on a denoiser that is not linear, gives what the loop gives, evaluation for evaluation."""
    target = modes()
    for n in (1, 2, 7):
        grid = jagged(VP(), n, 0.9, 0.05)
        x = np.linspace(-2.0, 2.0, 5)[:, None]
        plan = trace(solver, grid)
        run = sample(solver, target.denoised, x, grid, noise=5, terminal="none", record=True)
        require(_close(plan.run(target.denoised, x, noise=5), run.x, 1e-12), solver, f"Plan and loop differ at {n} steps")
        require(plan.nfe == run.nfe, solver, f"the Plan counts {plan.nfe} evaluations, the loop {run.nfe}, at {n} steps")
        require(plan.stochastic == (solver.weak is not None), solver, f"draws noise: {plan.stochastic}, claims weak = {solver.weak}")


def other_values(solver: Solver) -> dict[str, Any]:
    """For each option another admissible value: the next of a ``Literal``, the negation of a flag, a number further on, or less far."""
    intervals = allowed(solver.step)
    found = {}
    for name, value in solver.options.items():
        other = _other(value, solver.choices.get(name))
        found[name] = 0.7 * value if name in intervals and other not in intervals[name] else other
    return found


def _other(value: Any, known: tuple[Any, ...] | None) -> Any:
    if known:
        return known[(known.index(value) + 1) % len(known)]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return 0.3 if value == 0.0 else (1.3 if value > 0.01 else 10.0) * value  # what is small is a tolerance


@prop(exempt=lambda solver: "held to the properties of spaces" if solver.spaces else None if solver.options else "has no options")
def options(solver: Solver) -> None:
    """Every option changes the samples."""
    grid, x = jagged(VP(), 6, 0.9, 0.05), np.linspace(-2.0, 2.0, 5)[:, None]
    plain = sample(solver, modes().denoised, x, grid, noise=1)
    for name, value in other_values(solver).items():
        found = sample(solver(**{name: value}), modes().denoised, x, grid, noise=1)
        require(not _close(found, plain), solver, f"option {name} = {value!r} changes nothing")
