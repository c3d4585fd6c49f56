"""Samplers that keep something from run to run, forget what they should keep, or round what they compute with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.solvers import Node
from scorebed.toy.museum.formulas import ddim, walk
from scorebed.toy.museum.registry import exhibit


def multistep(denoised: Any, past: list[Any], h: float) -> Any:
    """D + h/(2 h₋) (D − D₋), and what is to be remembered."""
    mixed = denoised if not past else denoised + 0.5 * (h / past[-1][1]) * (denoised - past[-1][0])
    past.append((denoised, h))
    return mixed


@exhibit(
    "check_solver",
    "huggingface/diffusers#6631",
    "the outputs of the run before are still in the memory",
    named="memory",
    order=2,
)
def outputs_of_the_run_before(mended: bool) -> Callable[..., Any]:
    kept: list[Any] = []

    def run(denoise: Any, x: Any, nodes: Sequence[Node]) -> Any:
        if mended:
            kept.clear()
        for s, t in pairwise(nodes):
            if kept and kept[-1][0].shape != x.shape:
                kept.clear()  # another batch
            x = ddim(x, multistep(denoise(x, s), kept, t.lam - s.lam), s, t)
        return x

    return run


@exhibit(
    "check_solver",
    "huggingface/optimum-habana#1236",
    "the index of the step goes on counting in the next batch",
    named="IndexError",
    order=1,
)
def index_goes_on(mended: bool) -> Callable[..., Any]:
    index = [0]

    def run(denoise: Any, x: Any, nodes: Sequence[Node]) -> Any:
        index[0] = 0 if mended else index[0]
        for _ in nodes[1:]:
            s, t = nodes[index[0]], nodes[index[0] + 1]
            index[0] += 1
            x = ddim(x, denoise(x, s), s, t)
        return x

    return run


@exhibit(
    "check_solver",
    "huggingface/diffusers#3005",
    "the schedule's table is cast to half precision for good: near the data alpha becomes 1",
    named="rounding",
    order=2,
)
def table_in_half(mended: bool) -> Callable[..., Any]:
    def cast(value: float) -> float:
        return value if mended else float(np.float16(value))

    def step(denoise: Any, x: Any, s: Node, t: Node, past: list[Any]) -> Any:
        mixed = multistep(denoise(x, s), past, t.lam - s.lam)
        return cast(t.sigma / s.sigma) * x - cast(t.alpha) * math.expm1(s.lam - t.lam) * mixed

    return walk(step)


@exhibit(
    "check_solver",
    "toy/PEERS.md#float32-coefficients",
    "weights of the multistep method lost to cancellation in single precision",
    named="float32 coefficients",
    order=2,
)
def cancelled_weights(mended: bool) -> Callable[..., Any]:
    real = np.float64 if mended else np.float32

    def step(denoise: Any, x: Any, s: Node, t: Node, past: list[Any]) -> Any:
        new, (a, b) = denoise(x, s), (real(s.rho), real(t.rho))
        slope = (x / s.alpha - new) / s.rho
        weight, other = b - a, real(0.0)
        if past:
            other = (b**2 - a**2 - real(2.0) * a * (b - a)) / (real(2.0) * (a - past[-1][1]))
        value = t.alpha * (x / s.alpha + float(weight) * slope + float(other) * ((slope - past[-1][0]) if past else 0.0))
        past.append((slope, a))
        return value

    return walk(step)


@exhibit(
    "check_solver",
    "toy/PEERS.md#ipndm-first-step",
    "the first step moves the noise alone: the mean that the state holds is forgotten",
    named="order",
    order=2,
)
def first_step_forgets(mended: bool) -> Callable[..., Any]:
    def step(denoise: Any, x: Any, s: Node, t: Node, past: list[Any]) -> Any:
        first = not past
        mixed = multistep(denoise(x, s), past, t.lam - s.lam)
        return ddim(x, mixed if mended or not first else 0.0 * mixed, s, t)

    return walk(step)
