"""The properties of methods that move in a Space: every method on every space that it claims.

Order against exact flow maps, and that a state stays in the space wherever it starts; ``space_laws`` has the laws of stochastic methods. On
R^d, without a Space, these methods are held to the other properties.
"""

from __future__ import annotations

from functools import cache, partial
from itertools import pairwise

import numpy as np

from scorebed.solvers import EDM, BrownianNoise, Node, Solver, sample
from scorebed.solvers.base import advance
from scorebed.solvers.grid import karras
from scorebed.solvers.space import SO3, Box, Euclidean, HalfSpace, Hyperbolic, Polytope, Product, Simplex, Space, Sphere, Torus
from scorebed.toy.measure.runs import order_on
from scorebed.toy.problems.kernels import has_kernel
from scorebed.toy.problems.problem import enrolled
from scorebed.toy.properties.cases import ellipsoid
from scorebed.toy.properties.exact import other_values
from scorebed.toy.properties.registry import any_of, prop, require, stochastic
from scorebed.toy.properties.space_cases import space_cases, target_on

_STEPS = (16, 32, 64, 128)


def not_on_spaces(solver: Solver) -> str | None:
    """The exemption of methods of R^d."""
    return None if solver.spaces else "does not move in a Space"


def without_options(solver: Solver) -> str | None:
    """The exemption of the property of options."""
    return not_on_spaces(solver) or (None if solver.options else "has no options")


def steps_outside(solver: Solver) -> str | None:
    """The exemption of the penalised method, whose states lie outside by design."""
    return not_on_spaces(solver) or ("lets the state out and pulls it back" if "strength" in solver.options else None)


@cache
def every_space() -> tuple[Space, ...]:
    """One or two spaces of each kind."""
    triangle = Polytope([[1.0, 2.0], [-1.0, 0.0], [0.0, -1.0]], [1.0, 0.0, 0.0])
    flat: tuple[Space, ...] = (Torus(2), Box(2), HalfSpace([1.0, -1.0], 0.5), triangle, Simplex(2), Euclidean(2))
    return (SO3(), Sphere(2), Sphere(3), Hyperbolic(2), *flat, Product(Sphere(2), Box(1)), Product(SO3(), Torus(1)))


def to_origin(space: Space, x: np.ndarray, node: Node) -> np.ndarray:
    """A stand-in for a denoiser on spaces without heat kernels: x, pulled to the origin."""
    return x + node.sigma**2 / (1.0 + node.sigma**2) * space.log(x, np.broadcast_to(space.origin, x.shape))


def reach(space: Space) -> float:
    """The largest sigma of a run: where curvature is negative, time 1 goes as far as coordinates of size e^r let it."""
    v = space.noise(space.origin, np.eye(space.origin.size).reshape(-1, *space.shape))
    return 1.0 if bool((space.inner(space.origin, v, space.ricci(space.origin, v)) < 0.0).any()) else 80.0


@prop(exempt=any_of(not_on_spaces, stochastic))
def space_order(solver: Solver) -> None:
    """The probability flow is followed with the claimed order: about one point against the exact map, about two against DOP853."""
    for case, moving in enrolled(space_cases(), solver):
        # refined further where the slope has not settled
        result = order_on(case, moving, steps=_STEPS[:2], finer=_STEPS[2:], enough=lambda found: found.inside(solver.order), finest=2)
        require(result.inside(solver.order), solver, f"order {result}, claimed {solver.order}, on {case.name}; errors {result.errors}")


@prop(exempt=steps_outside)
def space_stays(solver: Solver) -> None:
    """Every state is a point of the space to round-off: over long runs, and over few steps that are far too long."""
    for space in every_space():
        if not solver.claims(space):
            continue
        x = space.reference(5, np.random.default_rng(1))
        for grid in (karras(EDM(), 100, min(3.0, reach(space)), 0.01), karras(EDM(), 6, reach(space), 0.002)):
            run = sample(solver(space=space), partial(to_origin, space), x, grid, noise=4, record=True)
            worst = max(float(np.max(space.deviation(state))) for state in run.xs)
            require(worst < 1e-12, solver, f"a state is outside {space} by {worst:.3g}, over {len(grid) - 1} steps")


@prop(exempt=not_on_spaces)
def space_edges(solver: Solver) -> None:
    """From the mean, its cut locus, walls and corners a run is finite and gives points of the space, with either terminal rule."""
    for space in every_space():
        if not solver.claims(space):
            continue
        target = target_on(space, 1) if has_kernel(space) else None
        x = space.edges()
        if target is not None:
            x = np.concatenate([x, target.means])
        for grid in (karras(EDM(), 3, min(2.0, reach(space)), 0.02), karras(EDM(), 1, reach(space), 0.3)):
            denoise = target.denoised if target is not None else partial(to_origin, space)
            end = sample(solver(space=space), denoise, x, grid, noise=2)
            kept = bool(np.isfinite(end).all()) and float(np.max(space.deviation(end))) < 1e-12
            require(kept, solver, f"from the edges of {space} over {len(grid) - 1} steps: {end}")


@prop(exempt=not_on_spaces)
def space_batch(solver: Solver) -> None:
    """A sample does not depend on its batch; float32 stays float32 and agrees with float64; a step of length zero is the identity."""
    for space in every_space():
        if not solver.claims(space):
            continue
        moving, x, grid = solver(space=space), space.reference(4, np.random.default_rng(2)), karras(EDM(), 5, 1.0, 0.1)

        def denoise(y: np.ndarray, node: Node, space: Space = space) -> np.ndarray:
            return to_origin(space, y, node).astype(y.dtype)

        xi, order = BrownianNoise(3, x.shape), np.array([2, 0])
        plain = sample(moving, denoise, x, grid, noise=xi)
        some = sample(moving, denoise, x[order], grid, noise=xi.take(order))
        require(float(np.abs(some - plain[order]).max()) < 1e-13, solver, f"a sample depends on its batch on {space}")
        single = sample(moving, denoise, x.astype(np.float32), grid, noise=3)
        off = float(np.abs(single - plain).max() / max(1.0, np.abs(plain).max()))
        require(single.dtype == np.float32 and off < 1e-4, solver, f"{single.dtype}, off by {off:.3g}, on {space}")
        still, _ = advance(
            moving, denoise, x, grid[0], grid[0], None, xi if solver.weak is None else lambda s, t, x=x: 0.3 * np.ones_like(x)
        )
        require(float(np.abs(still - x).max()) < 1e-12, solver, f"a step of length zero moves by {np.abs(still - x).max():.3g} on {space}")


@prop(exempt=not_on_spaces)
def space_flat(solver: Solver) -> None:
    """On Euclidean(d) a method is what it is without a Space, step by step."""
    if not solver.claims(Euclidean(3)):
        return
    grid, x = karras(EDM(), 5, 2.0, 0.1), np.linspace(-2.0, 2.0, 12).reshape(4, 3)
    plain = sample(solver, ellipsoid().denoised, x, grid, noise=1, record=True)
    moved = sample(solver(space=Euclidean(3)), ellipsoid().denoised, x, grid, noise=1, record=True)
    for (a, b), node in zip(pairwise(zip(plain.xs, moved.xs, strict=True)), grid[1:], strict=True):
        off = float(np.abs(b[0] - b[1]).max())
        require(off < 1e-12, solver, f"on Euclidean(3) another method than on R^d, off by {off:.3g} at {node}, from {a[0][0]}")


@prop(exempt=without_options)
def space_options(solver: Solver) -> None:
    """Every option changes the samples in a box."""
    target, grid = target_on(Box(2), 1), karras(EDM(), 6, 0.5, 0.05)
    x = Box(2).uniform(5, np.random.default_rng(0))
    plain = sample(solver(space=Box(2)), target.denoised, x, grid, noise=1)
    for name, value in other_values(solver).items():
        found = sample(solver(space=Box(2), **{name: value}), target.denoised, x, grid, noise=1)
        require(float(np.abs(found - plain).max()) > 1e-6, solver, f"option {name} = {value!r} changes nothing in a box")
