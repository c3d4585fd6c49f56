r"""Two mutants of every method, whatever it moves in: a tenth more drift, and a tenth less noise.

Both call the method's own step, its start's too, so that no source is needed:

    drift   the model's D becomes x/α + c (D − x/α), which multiplies the score, σ² score = α D − x, by c; predictions of
            another kind are multiplied themselves, which is their share of the drift; of probabilities, their logarithms
    noise   the end x_t becomes exp_y(c log_y(x_t)), y the end of the step with all draws 0: what the draws do to the step, c times it.
            On R^d, where a step is smooth in its draws, they are multiplied themselves; of tokens, the uniform numbers behind them
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np

from scorebed.solvers import Node, NonFinite, Solver
from scorebed.solvers.state import State, bare, parts
from scorebed.toy.properties import PROPERTIES

DRIFT, NOISE = 1.1, 0.9
ASKED = (
    *("constant_denoiser", "point_mass", "straight", "space_increments", "close", "order", "weak_order"),
    *("space_order", "space_weak_order", "map_path", "map_law", "draw_law", "jump_order", "jump_times", "jump_frequencies"),
    *(f"{kind}_{name}" for name in ("point_mass", "short_step", "order", "weak_order") for kind in ("phase", "bridge", "sequence")),
)
"""The properties that speak of drift or noise, the cheapest first."""


def _with(solver: Solver, make: Callable[[Solver], Callable[..., Any]], what: str) -> Solver:
    """The method, and its start, with another step of the same options."""
    start = None if solver.start is None else replace(solver.start, step=wraps(solver.start.step)(make(solver.start)))
    return replace(solver, name=f"{solver.name} with {what}", step=wraps(solver.step)(make(solver)), start=start)


def _times(factor: float, value: State) -> State:
    """A state, a prediction or a draw, multiplied."""
    if callable(value):
        return _Lowered(factor, value)
    return bare(tuple(factor * part for part in parts(value)))


class _Lowered:
    """Draws of tokens made of ``factor`` times their uniform numbers: what is at the end of the line is drawn too rarely."""

    def __init__(self, factor: float, draw: Any) -> None:
        self.factor, self.draw = factor, draw

    def __call__(self, p: Any) -> Any:
        c = (p / p.sum(-1)[..., None]).cumsum(-1) / self.factor
        return self.draw(np.diff(np.minimum(c, 1.0), prepend=0.0))

    def uniform(self, n: int) -> Any:
        return self.factor * self.draw.uniform(n)


def wrong_drift(solver: Solver, factor: float = DRIFT) -> Solver:
    """The method with ``factor`` times the score."""

    def make(method: Solver) -> Callable[..., Any]:
        def step(denoise: Any, x: Any, s: Node, t: Node, carry: Any, noise: Any, **options: Any) -> Any:
            def wrong(y: Any, node: Node, *to: Node) -> Any:
                denoised = denoise(y, node, *to)
                if node.process is not None and node.process.kind == "jump":
                    return denoised**factor / (denoised**factor).sum(-1)[..., None]
                if method.takes != "denoised" or (node.process is not None and node.process.kind != "gaussian"):
                    return _times(factor, denoised)
                return denoised + (factor - 1.0) * (denoised - (1.0 / node.alpha) * y)

            return method.step(wrong, x, s, t, carry, noise, **options)

        return step

    return _with(solver, make, f"{factor:g} times the drift")


def wrong_noise(solver: Solver, factor: float = NOISE) -> Solver:
    """The method with ``factor`` times the noise.

    Returns:
        the faulty Solver, its noise scaled by ``factor``.

    Raises:
        ValueError: a deterministic method.
    """
    if solver.weak is None:
        raise ValueError(f"{solver.name} draws no noise: give a stochastic method")

    def scaled(method: Solver) -> Callable[..., Any]:
        def step(denoise: Any, x: Any, s: Node, t: Node, carry: Any, noise: Any, **options: Any) -> Any:
            return method.step(denoise, x, s, t, carry, lambda a, b: _times(factor, noise(a, b)), **options)

        return step

    def shortened(method: Solver) -> Callable[..., Any]:
        def step(denoise: Any, x: Any, s: Node, t: Node, carry: Any, noise: Any, *, space: Any = None, **options: Any) -> Any:
            y, _ = method.step(denoise, x, s, t, carry, lambda a, b: 0.0 * noise(a, b), space=space, **options)
            x_t, memory = method.step(denoise, x, s, t, carry, noise, space=space, **options)
            if space is None:
                return y + factor * (x_t - y), memory
            return space.exp(y, factor * space.log(y, x_t)), memory

        return step

    return _with(solver, shortened if solver.spaces else scaled, f"{factor:g} times the noise")


def sabotaged(solver: Solver) -> list[Solver]:
    """The mutants of a method: of the drift, and of the noise where it draws any."""
    return [wrong_drift(solver)] + ([] if solver.weak is None else [wrong_noise(solver)])


def caught(mutant: Solver) -> tuple[str, str]:
    """The first of ``ASKED`` that the mutant breaks, and what it says; two empty strings if it breaks none."""
    for name in ASKED:
        if PROPERTIES[name].exempt(mutant) is None:
            try:
                PROPERTIES[name](mutant)
            except (AssertionError, NonFinite) as broken:
                return name, str(broken)
    return "", ""
