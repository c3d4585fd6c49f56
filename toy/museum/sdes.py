"""Steps of solvers of stochastic differential equations that solve another equation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from scorebed.toy.museum.registry import exhibit

Step = Callable[..., Any]


def _euler(b: Any, s: Any, x: Any, t0: float, t1: float, dw: Any) -> Any:
    return x + b(x, t0) * (t1 - t0) + s(x, t0) * dw


@exhibit(
    "check_sde_solver",
    "google-research/torchsde#4",
    "Heun's method is offered for Itô's equations without the correction of the drift",
    named="solves the Stratonovich equation",
    weak=1,
)
def heun_for_ito(mended: bool) -> Step:
    def step(b: Any, s: Any, x: Any, t0: float, t1: float, dw: Any) -> Any:
        h, small = t1 - t0, 1e-5

        def drift(y: Any, t: float) -> Any:
            slope = (s(y + small, t) - s(y - small, t)) / (2.0 * small)
            return b(y, t) - (0.5 * math.copysign(1.0, h) * s(y, t) * slope if mended else 0.0)

        u = x + drift(x, t0) * h + s(x, t0) * dw
        return x + 0.5 * h * (drift(x, t0) + drift(u, t1)) + 0.5 * dw * (s(x, t0) + s(u, t1))

    return step


@exhibit(
    "check_sde_solver",
    "SciML/StochasticDiffEq.jl#19",
    "the predictor of Milstein's derivative goes one way only: its bias is of order sqrt(h)",
    named="order",
    weak=1,
    strong=1,
    calculus="stratonovich",
    backward=False,
)
def one_sided_predictor(mended: bool) -> Step:
    def step(b: Any, s: Any, x: Any, t0: float, t1: float, dw: Any) -> Any:
        root = math.sqrt(t1 - t0)
        mean, size = x + b(x, t0) * (t1 - t0), s(x, t0)
        if mended:
            return mean + size * dw + 0.5 * (s(mean + size * dw, t0) - size) * dw
        return mean + size * dw + (s(mean + size * root, t0) - size) / (2.0 * root) * dw * dw

    return step


@exhibit(
    "check_sde_solver",
    "brian-team/brian2#686",
    "the state before the step is left out of the sum",
    named="order",
    weak=1,
)
def state_left_out(mended: bool) -> Step:
    return lambda b, s, x, t0, t1, dw: (x if mended else 0.0) + b(x, t0) * (t1 - t0) + s(x, t0) * dw


@exhibit(
    "check_sde_solver",
    "uclales/uclales#7",
    "the increment is a normal of variance 1, whatever the step",
    named="noise not scaled by sqrt(h)",
    also=("SciML/StochasticDiffEq.jl#558",),
    weak=1,
)
def normal_of_variance_one(mended: bool) -> Step:
    return lambda b, s, x, t0, t1, dw: _euler(b, s, x, t0, t1, dw if mended else dw / math.sqrt(abs(t1 - t0)))


@exhibit(
    "check_sde_solver",
    "jacobnzw/SSMToybox#9",
    "an integrator of ordinary equations is handed the noise as an input: it is multiplied by h",
    named="noise scaled by h in place of sqrt(h)",
    weak=1,
)
def noise_as_an_input(mended: bool) -> Step:
    def step(b: Any, s: Any, x: Any, t0: float, t1: float, dw: Any) -> Any:
        h = t1 - t0
        if mended:
            return _euler(b, s, x, t0, t1, dw)
        xi = dw / math.sqrt(abs(h))  # held over the step, as an input would be
        return x + h * b(x, t0) + abs(h) * s(x, t0) * xi

    return step


@exhibit(
    "check_sde_solver",
    "SciML/OrdinaryDiffEq.jl#4097",
    "a step that was made longer keeps the increment of the shorter one",
    named="noise",
    also=("SciML/OrdinaryDiffEq.jl#4095",),
    weak=1,
)
def increment_of_a_shorter_step(mended: bool) -> Step:
    return lambda b, s, x, t0, t1, dw: _euler(b, s, x, t0, t1, dw if mended else 0.1 * dw)


@exhibit(
    "check_sde_solver",
    "eje24/iap-diffusion-labs#28",
    "the diffusion coefficient is multiplied by a normal before the increment is",
    named="order",
    weak=1,
)
def noise_drawn_twice(mended: bool) -> Step:
    rng = np.random.default_rng(0)
    return lambda b, s, x, t0, t1, dw: _euler(b, s, x, t0, t1, dw if mended else rng.standard_normal(x.shape) * dw)
