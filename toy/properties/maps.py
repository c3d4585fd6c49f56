"""Properties of few-step methods: with an exact map the path, or the law, is exact after any number of steps."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import ndtr

from scorebed.solvers import EDM, VP, BrownianNoise, Node, Solver, sample, trace
from scorebed.solvers.base import advance
from scorebed.toy.problems.lines import modes
from scorebed.toy.problems.maps import KINDS, EndpointProblem
from scorebed.toy.problems.uneven import jagged
from scorebed.toy.properties.cases import ellipsoid
from scorebed.toy.properties.registry import deterministic, prop, require, stochastic

_BOTH = ("endpoint", "map", "average", "velocity")
_TIGHT = 1e-9
"""Round-off of a closed map."""


@cache
def problems(takes: str) -> tuple[EndpointProblem, ...]:
    """A linear and a curved map."""
    kind = KINDS[takes]
    return (
        kind(name="ellipsoid, EDM, Karras", make=ellipsoid, process=EDM(), grid="karras", start=10.0, end=0.05),
        kind(name="modes, VP, jagged", make=modes, process=VP(), grid=jagged, start=0.9, end=0.1),
    )


@prop(exempt=stochastic, takes=_BOTH)
def map_path(solver: Solver) -> None:
    """Every path ends where the flow does, in any number of steps, one included."""
    for problem in problems(solver.takes):
        s, t = problem.ends
        x = problem.states(s)
        exact = problem.exact(x, s, t).x
        for n in (1, 2, 7):
            off = problem.distance(sample(solver, problem.model, x, problem.nodes(n), terminal="none"), exact)
            require(off < _TIGHT * max(1.0, float(np.abs(exact).max())), solver, f"{problem.name}, {n} steps: off the flow by {off:.3g}")


@prop(exempt=deterministic, takes=_BOTH)
def map_law(solver: Solver) -> None:
    """Mean and covariance on a Gaussian, exact from the Plan, are those of the marginal in any number of steps."""
    problem = problems(solver.takes)[0]
    for n in (1, 2, 7):
        off = problem.law_error(solver, problem.nodes(n)).error
        require(off < 1e-6, solver, f"{problem.name}, {n} steps: the law is off by {off:.3g} in W2")


def step_law_error(solver: Solver, problem: EndpointProblem, s: Node, t: Node) -> float:
    """The largest error of the distribution function after one step from the exact marginal at s, on the line.

    With x = F_s^{-1}(Φ(z)) a step is m(z) + c(z) ξ, and F(q) = ∫ Φ((q − m)/c) φ(z) dz by the trapezoidal rule, whose error is round-off. m
    and c are read off the method, run with ξ = 0 and ξ = 1; ξ = −2 says whether it is affine in ξ.

    Returns:
        the largest absolute error of F, 0 or more.
    """
    z = np.linspace(-8.0, 8.0, 3201)
    weight = np.exp(-0.5 * z * z) / np.exp(-0.5 * z * z).sum()
    law, tail = problem.target.marginal(s), ndtr(-np.abs(z))[:, None]
    x = np.where(z[:, None] < 0.0, law.quantile(tail), law.isf(tail))
    still, moved, far = (advance(solver, problem.model, x, s, t, None, lambda a, b, xi=xi: xi + 0.0 * x)[0] for xi in (0.0, 1.0, -2.0))
    scale = (moved - still)[:, 0]
    require(bool(np.abs(far - still + 2.0 * (moved - still)).max() < _TIGHT and scale.min() > 0.0), solver, "is not affine in its noise")
    end = problem.target.marginal(t)
    q = end.quantile(np.linspace(0.001, 0.999, 301)[:, None])[:, 0]
    found = ndtr((q[:, None] - still[:, 0]) / scale) @ weight
    return float(np.abs(found - end.cdf(q[:, None]).ravel()).max())


@prop(exempt=deterministic, takes=_BOTH)
def map_law_on_a_mixture(solver: Solver) -> None:
    """Every step, of any length, carries the exact marginal of a mixture to the exact marginal, where the map is curved."""
    problem = problems(solver.takes)[1]
    for n in (1, 3):
        for s, t in pairwise(problem.nodes(n)):
            off = step_law_error(solver, problem, s, t)
            require(off < _TIGHT, solver, f"{problem.name}, t {s.t:.3g} to {t.t:.3g}: the distribution function is off by {off:.3g}")


@prop(exempt=stochastic, takes=_BOTH)
def map_empty_step(solver: Solver) -> None:
    """A step of length zero is the identity."""
    problem = problems(solver.takes)[0]
    nodes = problem.nodes(4)
    x = problem.states(nodes[0])
    for s, t in pairwise(nodes):
        still, _ = advance(solver, problem.model, x, s, s, None, lambda a, b, x=x: np.ones_like(x))
        require(problem.distance(still, x) < _TIGHT, solver, f"step of length zero at t = {s.t} moves the state")
        x, _ = advance(solver, problem.model, x, s, t, None, lambda a, b, x=x: np.ones_like(x))


@prop(takes=_BOTH)
def map_replay(solver: Solver) -> None:
    """The Plan gives what the loop gives, evaluation for evaluation, and a sample does not depend on the rest of its batch."""
    problem = problems(solver.takes)[1]
    nodes, x, order = problem.nodes(4), problem.draw(5), np.array([3, 0])
    noise, plan = BrownianNoise(5, (5, 1)), trace(solver, nodes)
    run = sample(solver, problem.model, x, nodes, noise=noise, terminal="none", record=True)
    require(problem.distance(plan.run(problem.model, x, noise=noise), run.x) < _TIGHT, solver, "Plan and loop differ")
    require(plan.nfe == run.nfe, solver, f"the Plan counts {plan.nfe} evaluations, the loop {run.nfe}")
    some: Any = sample(solver, problem.model, x[order], nodes, noise=noise.take(order), terminal="none")
    require(problem.distance(some, run.x[order]) < _TIGHT, solver, "a sample depends on the rest of its batch")


@prop(takes=("draw",))
def draw_law(solver: Solver) -> None:
    """A step of any length carries the exact marginal of a mixture to the exact marginal: the transition is the true p(x_t | x_s).

    A step is m(z, ζ) + c ξ, x_s = F_s^{-1}(Φ(z)), ζ the normals that the model is given and ξ those of the step: both sums are trapezoidal.
    """
    problem = problems("draw")[1]
    z = np.linspace(-6.5, 6.5, 161)
    weight = np.exp(-0.5 * z * z) / np.exp(-0.5 * z * z).sum()
    for n in (1, 2):
        for s, t in pairwise(problem.nodes(n)):
            law, tail = problem.target.marginal(s), ndtr(-np.abs(z))[:, None]
            one = np.where(z[:, None] < 0.0, law.quantile(tail), law.isf(tail))
            x, zeta = np.repeat(one, len(z), axis=0), np.tile(z, len(z))[:, None]

            def step(xi: float, every: int = 1, s: Node = s, t: Node = t, x: np.ndarray = x, zeta: np.ndarray = zeta) -> np.ndarray:
                drawn = iter((zeta[::every], xi + 0.0 * x[::every]))
                return np.asarray(advance(solver, problem.model, x[::every], s, t, None, lambda a, b: _noisy(a, b) * next(drawn))[0])[:, 0]

            still, moved, far = step(0.0), step(1.0, 97), step(-2.0, 97)
            scale = float((moved - still[::97]).mean())
            require(float(np.abs(far - still[::97] + 2.0 * scale).max()) < _TIGHT and scale > 0.0, solver, "is not affine in its own noise")
            end = problem.target.marginal(t)
            q = end.quantile(np.linspace(0.02, 0.98, 33)[:, None])[:, 0]
            both = np.outer(weight, weight).ravel()
            off = max(abs(float(ndtr((v - still) / scale) @ both) - float(end.cdf(np.array([[v]]))[0, 0])) for v in q)
            require(off < 1e-4, solver, f"t {s.t:.3g} to {t.t:.3g}: the distribution function is off by {off:.3g}")


def _noisy(s: Node, t: Node) -> float:
    """1 for two nodes that bound a draw."""
    if s.t == t.t:
        raise ValueError("a draw on an interval of length zero")
    return 1.0
