r"""The weak order of one-step stochastic methods on a mixture: no Monte Carlo, and draws may enter a step anywhere.

On Gaussians a step is linear, and what the bias of a stage does through D'' does not show. Here Kolmogorov's backward recursion

    f_s(x) = E f_t(step(x, draws))

carries three test functions from the last node to the first: f as a quintic spline on a grid, the draws by Gauss-Hermite quadrature. In the
end E f_{first} over the true law there is what the run gives, and E f over the true law at the last node what it should.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
from scipy.interpolate import make_interp_spline

from scorebed.solvers import VP, NotLinear, Solver, trace
from scorebed.solvers.base import advance
from scorebed.solvers.model import Array
from scorebed.solvers.process import Point
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.measure.order import Conditions, OrderResult, measure_order
from scorebed.toy.problems.problem import Problem
from scorebed.toy.properties.cases import jagged, modes
from scorebed.toy.properties.registry import any_of, deterministic, prop, require, unplanned

_STEPS = (16, 32, 64)
_FINER = (128, 256)
_SETTLED = 0.1
_BUDGET = 40
"""Quadrature points of all draws of one step, about; the fewest for one draw are 3, which see moments to degree 5."""
_POINTS, _FEWER = 300, 120
"""Of the grid; fewer where the draws have many combinations."""


def keeps_memory(solver: Solver) -> str | None:
    """The exemption of multistep methods, whose f is a function of the memory too."""
    try:
        history = trace(solver, jagged(VP(), 3, 0.5, 0.2)).history
    except NotLinear as error:
        return str(error)
    return "keeps a memory: the recursion would need its dimensions too" if history else None


def _states(law: Any, node: Point, points: int) -> np.ndarray:
    """Points that cover the marginal at the node."""
    marginal = law.marginal(node)
    return float(marginal.mean()[0]) + math.sqrt(float(marginal.covariance()[0, 0])) * np.linspace(-7.0, 7.0, points)


def _mean(law: Any, f: np.ndarray, x: np.ndarray, node: Point) -> np.ndarray:
    """E f over the true law at the node."""
    density: np.ndarray = np.exp(law.log_prob(x[:, None], node))
    return density @ f * (x[1] - x[0])


def _normals(draws: int, normals: int) -> tuple[np.ndarray, np.ndarray]:
    """All combinations of the draws' quadrature points (combinations, draws), with their weights."""
    z, w = np.polynomial.hermite_e.hermegauss(normals)
    w = w / w.sum()
    index = np.array(list(product(range(normals), repeat=draws)), dtype=int).reshape(-1, draws)
    return z[index], w[index].prod(axis=1)


def mixture_error(
    solver: Solver,
    nodes: Sequence[Any],
    points: int | None = None,
    normals: int | None = None,
    moment: int | None = None,
    *,
    law: Any = None,
) -> float:
    """Error of (E x, E x², E cos 2x) of the output on the mixture, or of the first ``moment`` of them; for one-step methods.

    ``law``, of one dimension on the process of the nodes, is ``modes()`` by default. ``points`` of the grid and ``normals``, the quadrature
    points of each draw: None takes 300, or 120 for many draws, and 7, or fewer for more draws than one.

    Returns:
        the norm of the errors of the moments asked for, 0 or more.
    """
    law = law or modes()
    draws = len(trace(solver, nodes[:2]).noises)
    normals = normals or max(3, min(7, round(_BUDGET ** (1.0 / max(1, draws)))))
    points = points or (_POINTS if normals**draws <= 2 * _BUDGET else _FEWER)
    z, w = _normals(draws, normals)
    columns = np.repeat(z, points, axis=0)[..., None]
    x = _states(law, nodes[-1], points)
    f = np.stack([x, x**2, np.cos(2.0 * x)], axis=1)
    exact = _mean(law, f, x, nodes[-1])
    for s, t in reversed(list(pairwise(nodes))):
        after, low, high = make_interp_spline(x, f, k=5), x[0], x[-1]
        x = _states(law, s, points)
        parts = {(a.clock, b.clock): i for i, (a, b) in enumerate(trace(solver, [s, t]).noises)}

        def noise(s: Point, t: Point, parts: dict[tuple[float, float], int] = parts) -> Array:
            return columns[:, parts[s.clock, t.clock]]

        y, _ = advance(solver, law.denoised, np.tile(x, len(w))[:, None], s, t, None, noise)
        f = np.einsum("c,cpf->pf", w, after(np.clip(y[:, 0], low, high)).reshape(len(w), points, -1))
    return float(np.linalg.norm((_mean(law, f, x, nodes[0]) - exact)[:moment]))


def weak_order_of_one(solver: Solver, problem: Problem) -> OrderResult:
    """The weak order of a one-step method on a problem of one dimension, by ``mixture_error``."""
    return measure_order(
        lambda n: mixture_error(solver, problem.nodes(n), law=problem.target),
        conditions=Conditions(target=problem.name, grid=problem.grid_name, floor=0.0),
        steps=_STEPS,
        finer=_FINER,
        enough=lambda result: result.settled <= _SETTLED,
    )


@prop(exempt=any_of(deterministic, unplanned, keeps_memory))
def weak_order_on_a_mixture(solver: Solver) -> None:
    """Mean, second moment and a trigonometric one converge with the claimed weak order on a mixture, where D is not linear."""
    assert solver.weak is not None
    steps: list[int] = []
    errors: list[float] = []
    for n in (*_STEPS, *_FINER):
        steps.append(n)
        errors.append(mixture_error(solver, jagged(VP(), n, 0.5, 0.2)))
        # judged where the slopes have settled, whatever they are
        if n >= _STEPS[-1] and (found := order_of(steps, errors)).high - found.low <= _SETTLED:
            break
    found = order_of(steps, errors)
    require(found.inside(solver.weak), solver, f"weak order {found} on a mixture, claimed {solver.weak}; errors {errors}")
