"""Properties of methods that choose their own steps inside a step of the grid: error and cost follow the tolerance, not the grid."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from scorebed.solvers import EDM, GRIDS, VP, RectifiedFlow, Solver, sample
from scorebed.toy.measure.runs import case as case_of
from scorebed.toy.measure.runs import order_on
from scorebed.toy.properties.cases import cases, jagged, modes, warped
from scorebed.toy.properties.registry import black_box, chooses_steps, prop, require

_BOUND = 200.0  # tolerances; SciPy's error estimates are off by as much where a step is long
_POINT = np.array([0.7, -1.3])


def keeps_to_grid(solver: Solver) -> str | None:
    """The exemption of properties about tolerances."""
    return None if chooses_steps(solver) else "keeps to the grid"


def not_ours(solver: Solver) -> str | None:
    """The exemption of properties about embedded pairs."""
    return keeps_to_grid(solver) or black_box(solver)


@lru_cache(maxsize=2)
def _study(solver: Solver) -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """(case, tolerances, errors, evaluations) over as many decades as the order can pay for."""
    rows = []
    for case in cases()[1:4]:
        grid, known = case.nodes(1), case_of(case)
        tolerances = 10.0 ** -np.arange(3.0, 9.0 if solver.order >= 5 or black_box(solver) else solver.order + 4.0)
        runs = [sample(solver(rtol=tol, atol=tol), case.model, known.x, grid, terminal="none", record=True) for tol in tolerances]
        errors = [case.distance(run.x, known.exact.x) for run in runs]
        rows.append((case.name, tolerances, np.array(errors), np.array([run.nfe for run in runs])))
    return rows


@prop(exempt=keeps_to_grid)
def tolerance(solver: Solver) -> None:
    """The global error is proportional to rtol = atol, and at most a moderate multiple of it."""
    for name, tolerances, errors, _ in _study(solver):
        slope = float(np.polyfit(np.log(tolerances), np.log(errors), 1)[0])
        kept = 0.7 <= slope <= 1.4 and bool((errors <= _BOUND * tolerances).all())
        require(kept, solver, f"error goes with tolerance to the power {slope:.2f} on {name}; error/tolerance {errors / tolerances}")


@prop(exempt=not_ours)
def effort(solver: Solver) -> None:
    """Evaluations grow with the tolerance to the power -1/p, which an error estimate of too low an order does not give."""
    for name, tolerances, _, nfe in _study(solver):
        power = -float(np.polyfit(np.log(tolerances), np.log(nfe), 1)[0])
        require(
            0.7 <= power * solver.order <= 1.3, solver, f"evaluations go as tolerance^-{power:.3f}, p = {solver.order}, on {name}: {nfe}"
        )


@prop(exempt=not_ours)
def uncontrolled_order(solver: Solver) -> None:
    """With tolerances that refuse nothing a step of the grid is one step of the pair, and the order is at least that of its formula.

    At least, since the fifth-order term of Dormand & Prince is so small that the sixth shows down to round-off; ``effort`` bounds the order
    above.
    """
    steps = (24, 48, 96) if solver.order >= 5 else (96, 192, 384)
    free = solver(rtol=1e9, atol=1e9)
    for case in cases()[:2]:
        for way in (case, case.reversed()):
            result = order_on(way, free, steps=steps)
            kept = result.order is not None and result.order.slope >= solver.order - 0.15
            require(kept, solver, f"order {result}, claimed {solver.order}, on {result.conditions}; errors {result.errors}")


@prop(exempt=lambda solver: None if black_box(solver) else "chooses no steps" if keeps_to_grid(solver) else "held to the exact properties")
def close(solver: Solver) -> None:
    """To tolerance: a constant denoiser is followed, and a shift of the target shifts the samples. Exactly: the batch does not matter.
    And over every kind of grid nothing overflows."""
    tol, shift, x = 1e-7, np.array([0.3, 2.0]), np.array([[2.0, 1.0], [-0.4, 0.1], [0.0, 3.0]])
    solver = solver(rtol=tol, atol=tol)
    for grid in (warped(VP(), 2, 1.0, 1e-3), warped(RectifiedFlow(), 2, 0.99, 0.01)):
        s, t = grid[0], grid[-1]
        plain = sample(solver, lambda y, node: 0.0 * y + _POINT, x, grid, terminal="none")
        exact = t.alpha * _POINT + (t.sigma / s.sigma) * (x - s.alpha * _POINT)
        off = float(np.abs(plain - exact).max())
        require(off < _BOUND * tol, solver, f"constant denoiser, {s.schedule}: off by {off:.3g}")
        moved = sample(solver, lambda y, node: 0.0 * y + _POINT + shift, x + s.alpha * shift, grid, terminal="none")
        off = float(np.abs(moved - plain - t.alpha * shift).max())
        require(off < _BOUND * tol, solver, f"not equivariant under a shift, {s.schedule}: off by {off:.3g}")
        some = sample(solver, lambda y, node: 0.0 * y + _POINT, x[[2, 0]], grid, terminal="none")
        require(bool(np.array_equal(some, plain[[2, 0]])), solver, "a sample depends on the rest of its batch")
    for j, (kind, make) in enumerate(GRIDS.items()):
        for n in (1, 2, 9):
            grid = make((VP(), EDM(), RectifiedFlow())[(n + j) % 3], n)
            end = sample(solver(rtol=1e-4, atol=1e-4), modes().denoised, grid[0].sigma * np.linspace(-2.0, 2.0, 3)[:, None], grid)
            require(bool(np.isfinite(end).all()), solver, f"{grid[0].schedule}, {kind}, {n} steps is not finite")
    jag = jagged(VP(), 3, 0.9, 0.05)
    one, two = (sample(solver(together=flag), modes().denoised, np.linspace(-2.0, 2.0, 3)[:, None], jag) for flag in (False, True))
    require(bool(np.abs(one - two).max() < _BOUND * tol), solver, f"alone and together differ by {np.abs(one - two).max():.3g}")
