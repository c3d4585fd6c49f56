"""Stochastic samplers whose noise, or whose drift under it, is not that of the law they claim."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.solvers import Node
from scorebed.toy.conform.faults import sampler
from scorebed.toy.museum.formulas import _differences, ddim
from scorebed.toy.museum.registry import exhibit

Move = Callable[[Any, Any, Node, Node, Any], Any]


def ancestral(move: Move) -> Callable[..., Any]:
    """A sampler (denoise, x, nodes, rng) of a move (x, denoised, s, t, xi)."""

    def run(denoise: Any, x: Any, nodes: Sequence[Node], rng: Any) -> Any:
        for s, t in pairwise(nodes):
            x = move(x, denoise(x, s), s, t, rng.standard_normal(x.shape))
        return x

    return run


@exhibit(
    "check_solver",
    "jsboige/CoursIA#16158",
    "DDIM's noise is eta sqrt(1 − ᾱ_t): more than is left to give, and the root is clamped at 0",
    named="weak order",
    weak=1,
)
def noise_of_ddim(mended: bool) -> Callable[..., Any]:
    def move(x: Any, x0: Any, s: Node, t: Node, xi: Any) -> Any:
        h = t.lam - s.lam
        spread = t.sigma * math.sqrt(-math.expm1(-2.0 * h)) if mended else s.sigma
        rest = math.sqrt(max(t.sigma**2 - spread**2, 0.0))
        return t.alpha * x0 + rest * (x - s.alpha * x0) / s.sigma + spread * xi

    return ancestral(move)


@exhibit(
    "check_solver",
    "huggingface/diffusers#3006",
    "where timesteps are skipped, the variance is that of one step of the training",
    named="weak order",
    weak=1,
)
def beta_of_one_timestep(mended: bool) -> Callable[..., Any]:
    def move(x: Any, x0: Any, s: Node, t: Node, xi: Any) -> Any:
        h = t.lam - s.lam
        mean = (t.sigma / s.sigma) * math.exp(-h) * x - t.alpha * math.expm1(-2.0 * h) * x0
        step = h if mended else h / 20.0
        return mean + t.sigma * math.sqrt(-math.expm1(-2.0 * step)) * xi

    return ancestral(move)


@exhibit("check_solver", "tue-bmd/zea#551", "noise is put in without the drift that belongs to it", named="weak order", weak=1)
def noise_without_drift(mended: bool) -> Callable[..., Any]:
    made = sampler("ddpm", None if mended else "deterministic drift")
    return lambda denoise, x, nodes, rng: made(denoise, x, nodes, [rng.standard_normal(x.shape) for _ in nodes[1:]])


@exhibit(
    "check_solver",
    "ClownsharkBatwing/RES4LYF#272",
    "the noise of the audio has the size of the picture's levels: three times too much",
    named="noise of a step on a point mass: 3 times",
    weak=1,
)
def noise_of_another_stream(mended: bool) -> Callable[..., Any]:
    def move(x: Any, x0: Any, s: Node, t: Node, xi: Any) -> Any:
        h = t.lam - s.lam
        mean = (t.sigma / s.sigma) * math.exp(-h) * x - t.alpha * math.expm1(-2.0 * h) * x0
        return mean + (1.0 if mended else 3.0) * t.sigma * math.sqrt(-math.expm1(-2.0 * h)) * xi

    return ancestral(move)


@exhibit(
    "check_solver",
    "Comfy-Org/ComfyUI#13820",
    "max for min in the churn: every step puts noise in, however short it is",
    named="order",
    also=("Koishi-Star/Euler-Smea-Dyn-Sampler#11",),
    order=1,
)
def churn_by_max(mended: bool) -> Callable[..., Any]:
    def run(denoise: Any, x: Any, nodes: Sequence[Node], rng: Any) -> Any:
        bound = min if mended else max
        for i, (s, t) in enumerate(pairwise(nodes)):
            gamma = bound(0.0 / (len(nodes) - 1), math.sqrt(2.0) - 1.0) if i else 0.0
            up = s.process.at(s.lam - math.log1p(gamma)) if gamma else s
            y = x / s.alpha + math.sqrt(max(up.rho**2 - s.rho**2, 0.0)) * rng.standard_normal(x.shape)
            x = ddim(up.alpha * y, denoise(up.alpha * y, up), up, t)
        return x

    return run


@exhibit(
    "check_solver",
    "toy/PEERS.md#flow-heun-churn",
    "churn adds noise and leaves the signal's share as it was: the state is on no level of the flow",
    named="order",
    order=1,
)
def churn_off_the_flow(mended: bool) -> Callable[..., Any]:
    def run(denoise: Any, x: Any, nodes: Sequence[Node], rng: Any) -> Any:
        n = len(nodes) - 1
        for i, (s, t) in enumerate(pairwise(nodes)):
            if i > 0:
                up = s.process.at(s.lam - math.log1p(4.0 / n))
                if mended:
                    x = (up.alpha / s.alpha) * x + up.alpha * math.sqrt(up.rho**2 - s.rho**2) * rng.standard_normal(x.shape)
                else:
                    x = x + math.sqrt(abs(up.sigma**2 - s.sigma**2)) * rng.standard_normal(x.shape)
            else:
                up = s
            x = ddim(x, denoise(x, up), up, t)
        return x

    return run


@exhibit("check_solver", "toy/PEERS.md#sde-3m-sign", "− ½ for + ½, and a factor 2 left out, in the weight of D2", named="order", weak=2)
def sign_in_a_weight(mended: bool) -> Callable[..., Any]:
    def run(denoise: Any, x: Any, nodes: Sequence[Node], rng: Any) -> Any:
        past: list[tuple[Any, float]] = []
        for s, t in pairwise(nodes):
            new, h = denoise(x, s), t.lam - s.lam
            whole = -math.expm1(-2.0 * h)
            mean = (t.sigma / s.sigma) * math.exp(-h) * x + t.alpha * whole * new
            if len(past) == 1:
                mean = mean + t.alpha * 0.5 * whole * (new - past[0][0]) * h / past[0][1]
            elif past:
                one, two = _differences(past, new, h)
                weight = 2.0 * ((whole - 2.0 * h) / (2.0 * h) ** 2 + 0.5) if mended else (whole - 2.0 * h) / (2.0 * h) ** 2 - 0.5
                mean = mean + t.alpha * ((1.0 - whole / (2.0 * h)) * one + weight * two)
            past.append((new, h))
            x = mean + t.sigma * math.sqrt(whole) * rng.standard_normal(x.shape)
        return x

    return run


@exhibit(
    "check_solver",
    "toy/PEERS.md#independent-noise",
    "stage and step of one interval draw independent normals",
    named="stage noise",
    weak=2,
)
def independent_stage(mended: bool) -> Callable[..., Any]:
    def run(denoise: Any, x: Any, nodes: Sequence[Node], rng: Any) -> Any:
        for s, t in pairwise(nodes):
            m, h = s.toward(t, 0.5), t.lam - s.lam
            one, two = rng.standard_normal(x.shape), rng.standard_normal(x.shape)
            half, whole = -math.expm1(-h), -math.expm1(-2.0 * h)
            u = (m.sigma / s.sigma) * math.exp(-0.5 * h) * x + m.alpha * half * denoise(x, s) + m.sigma * math.sqrt(half) * one
            path = (math.exp(-0.5 * h) * math.sqrt(half) * one + math.sqrt(half) * two) / math.sqrt(whole) if mended else two
            x = (t.sigma / s.sigma) * math.exp(-h) * x + t.alpha * whole * denoise(u, m) + t.sigma * math.sqrt(whole) * path
        return x

    return run


@exhibit(
    "check_solver",
    "huggingface/diffusers#14569",
    "the root is taken of the logarithm of the variance",
    named="nan",
    also=("huggingface/diffusers#14571",),
    weak=1,
)
def root_of_a_logarithm(mended: bool) -> Callable[..., Any]:
    def move(x: Any, x0: Any, s: Node, t: Node, xi: Any) -> Any:
        h = t.lam - s.lam
        log = math.log(t.sigma**2 * -math.expm1(-2.0 * h))
        mean = (t.sigma / s.sigma) * math.exp(-h) * x - t.alpha * math.expm1(-2.0 * h) * x0
        return mean + (math.exp(0.5 * log) if mended else np.sqrt(np.float64(log))) * xi

    return ancestral(move)


@exhibit(
    "check_solver",
    "huggingface/diffusers#13678",
    "the generator that is handed over is not used",
    named="the same seed gives other samples",
    also=("huggingface/diffusers#7421", "vllm-project/vllm-omni#5176"),
    weak=1,
)
def generator_not_used(mended: bool) -> Callable[..., Any]:
    made = sampler("ddpm")

    def run(denoise: Any, x: Any, nodes: Sequence[Node], generator: Any) -> Any:
        source = generator if mended else np.random.default_rng()
        return made(denoise, x, nodes, [source.standard_normal(x.shape) for _ in nodes[1:]])

    return run
