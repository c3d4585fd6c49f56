"""Samplers that fail, or return nan, for some numbers of steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.solvers import Node
from scorebed.toy.museum.formulas import ddim, walk
from scorebed.toy.museum.registry import exhibit
from scorebed.toy.museum.runs import multistep


@exhibit(
    "check_solver",
    "crowsonkb/k-diffusion#104",
    "what the last step leaves unset is remembered after it: one step fails",
    named="UnboundLocalError",
    order=2,
)
def set_in_one_branch(mended: bool) -> Callable[..., Any]:
    def sample(model: Any, x: Any, sigmas: Any) -> Any:
        old: Any = None
        last = 1.0
        for i in range(len(sigmas) - 1):
            denoised = model(x, sigmas[i])
            if sigmas[i + 1] == 0.0:
                x = denoised
                if not mended:
                    last = h  # noqa: F821
            else:
                h: float = math.log(sigmas[i] / sigmas[i + 1])
                mixed = denoised if old is None else denoised + 0.5 * (h / last) * (denoised - old)
                x = (sigmas[i + 1] / sigmas[i]) * x - math.expm1(-h) * mixed
                old, last = denoised, h
        return x

    return sample


@exhibit(
    "check_solver",
    "huggingface/diffusers#13778",
    "an accepted option has no formula at third order: the result is never set",
    named="UnboundLocalError",
    also=("huggingface/diffusers#9104", "toy/PEERS.md#no-third-order-sde"),
    order=2,
)
def missing_branch(mended: bool) -> Callable[..., Any]:
    def step(denoise: Any, x: Any, s: Node, t: Node, past: list[Any]) -> Any:
        kind = "sde-dpmsolver"
        mixed = multistep(denoise(x, s), past, t.lam - s.lam)
        if len(past) < 3 or mended:
            out = ddim(x, mixed, s, t)
        elif kind == "dpmsolver":
            out = x
        return out

    return walk(step)


@exhibit(
    "check_solver",
    "huggingface/diffusers#9007",
    "with 3n − 1 steps the last one is of second order, to sigma = 0: log 0",
    named="not finite",
    order=1,
)
def logarithm_of_zero(mended: bool) -> Callable[..., Any]:
    def sample(model: Any, x: Any, sigmas: Any) -> Any:
        n = len(sigmas) - 1
        for i in range(n):
            denoised = model(x, sigmas[i])
            if sigmas[i + 1] == 0.0 and (mended or n % 3 != 2):
                x = denoised
                continue
            h = np.log(np.float64(sigmas[i])) - np.log(np.float64(sigmas[i + 1]))
            x = (sigmas[i + 1] / sigmas[i]) * x - np.expm1(-h) * denoised + (0.0 * h) * denoised
        return x

    return sample


@exhibit(
    "check_solver",
    "toy/PEERS.md#unipc-bh1-nan",
    "B(h) = h is infinite in the last step, and the sum it multiplies is 0",
    named="finite",
    order=1,
)
def infinity_times_zero(mended: bool) -> Callable[..., Any]:
    def sample(model: Any, x: Any, sigmas: Any) -> Any:
        for i in range(len(sigmas) - 1):
            denoised = model(x, sigmas[i])
            h = np.log(np.float64(sigmas[i])) - np.log(np.float64(sigmas[i + 1]))
            rest = 0.0 * denoised
            x = (sigmas[i + 1] / sigmas[i]) * x - np.expm1(-h) * denoised
            if not (mended and math.isinf(h)):
                x = x - h * rest
        return x

    return sample


@exhibit(
    "check_solver",
    "toy/PEERS.md#empty-last-step",
    "the last level is appended twice, and (e^h − 1)/h is 0/0",
    named="finite",
    order=1,
)
def level_appended_twice(mended: bool) -> Callable[..., Any]:
    def run(denoise: Any, x: Any, nodes: Sequence[Node]) -> Any:
        for s, t in pairwise([*nodes, *([] if mended else nodes[-1:])]):
            h = np.float64(t.lam - s.lam)
            x = (t.sigma / s.sigma) * x - t.alpha * h * (np.expm1(-h) / h) * denoise(x, s)
        return x

    return run


@exhibit(
    "check_solver",
    "Wan-Video/Wan2.1#108",
    "above fifty steps the order of the last one is counted down to 0",
    named="AssertionError",
    order=1,
)
def order_zero(mended: bool) -> Callable[..., Any]:
    def run(denoise: Any, x: Any, nodes: Sequence[Node]) -> Any:
        n = len(nodes) - 1
        for i, (s, t) in enumerate(pairwise(nodes)):
            order = min(2, n - i - (n > 50))
            assert mended or order > 0
            x = ddim(x, denoise(x, s), s, t)
        return x

    return run


@exhibit(
    "check_solver",
    "toy/PEERS.md#prk-few-steps",
    "the Runge-Kutta start asks for four levels, however few there are",
    named="finite",
    order=1,
)
def start_of_four(mended: bool) -> Callable[..., Any]:
    def run(denoise: Any, x: Any, nodes: Sequence[Node]) -> Any:
        if not mended:
            nodes[4]
        for s, t in pairwise(nodes):
            x = ddim(x, denoise(x, s), s, t)
        return x

    return run


@exhibit("check_solver", "toy/PEERS.md#unclip-one-step", "steps are spaced by T/(n − 1)", named="ZeroDivisionError", order=1)
def one_step_less(mended: bool) -> Callable[..., Any]:
    def run(denoise: Any, x: Any, nodes: Sequence[Node]) -> Any:
        spacing = 1.0 / max(len(nodes) - 2, 1) if mended else 1.0 / (len(nodes) - 2)
        for s, t in pairwise(nodes):
            x = ddim(x, denoise(x, s), s, t) + 0.0 * spacing
        return x

    return run
