"""Deterministic samplers with a line of the formula written wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.solvers import Node
from scorebed.toy.conform.faults import sampler
from scorebed.toy.museum.registry import exhibit

Step = Callable[[Any, Any, Node, Node, list[Any]], Any]


def walk(step: Step) -> Callable[..., Any]:
    """A sampler (denoise, x, nodes) of a step (denoise, x, s, t, past) whose memory is a list."""

    def run(denoise: Any, x: Any, nodes: Sequence[Node]) -> Any:
        past: list[Any] = []
        for s, t in pairwise(nodes):
            x = step(denoise, x, s, t, past)
        return x

    return run


def ddim(x: Any, denoised: Any, s: Node, t: Node) -> Any:
    """x_t = (σ_t/σ_s) x − α_t (e^{−h} − 1) D."""
    return (t.sigma / s.sigma) * x - t.alpha * math.expm1(s.lam - t.lam) * denoised


@exhibit(
    "check_solver",
    "huggingface/diffusers#1512",
    "Heun's second slope is divided by the level of the first",
    named="wrong coefficient",
    order=2,
)
def second_slope_of_heun(mended: bool) -> Callable[..., Any]:
    made = sampler("heun", None if mended else "second slope at the old node")
    return lambda denoise, x, nodes: made(denoise, x, nodes, [])


@exhibit(
    "check_solver",
    "huggingface/diffusers#1336",
    "the step is added to what the network said, not to the sample",
    named="order",
    order=2,
)
def added_to_the_output(mended: bool) -> Callable[..., Any]:
    def step(denoise: Any, x: Any, s: Node, t: Node, past: list[Any]) -> Any:
        y, h = x / s.alpha, t.rho - s.rho
        slope = (y - denoise(x, s)) / s.rho
        u = y + h * slope
        second = (u - denoise(t.alpha * u, t)) / t.rho
        return t.alpha * ((y if mended else slope) + 0.5 * h * (slope + second))

    return walk(step)


@exhibit(
    "check_solver",
    "huggingface/diffusers#2094",
    "a network that predicts the sample is taken for one that predicts the noise, in the direction only",
    named="order",
    also=("huggingface/diffusers#1486", "LaurentMazare/diffusers-rs#57"),
    order=1,
)
def sample_taken_for_noise(mended: bool) -> Callable[..., Any]:
    def step(denoise: Any, x: Any, s: Node, t: Node, past: list[Any]) -> Any:
        x0 = denoise(x, s)
        eps = (x - s.alpha * x0) / s.sigma if mended else x0
        return t.alpha * x0 + t.sigma * eps

    return walk(step)


@exhibit(
    "check_solver",
    "crowsonkb/k-diffusion#56",
    "the exponential of the step before in place of this one's, as proposed and used as 2M v2",
    named="order",
    order=2,
)
def length_of_the_step_before(mended: bool) -> Callable[..., Any]:
    def step(denoise: Any, x: Any, s: Node, t: Node, past: list[Any]) -> Any:
        new, h = denoise(x, s), t.lam - s.lam
        mixed, length = new, h
        if past:
            old, before = past[-1]
            mixed, length = new + 0.5 * (h / before) * (new - old), h if mended else before
        past.append((new, h))
        return (t.sigma / s.sigma) * x - t.alpha * math.expm1(-length) * mixed

    return walk(step)


def _differences(past: list[tuple[Any, float]], new: Any, h: float) -> tuple[Any, Any]:
    """D1 and D2 of DPM-Solver++(3M) from (D, h) of the two steps before; D2 is half the second derivative times h²."""
    (older, h1), (old, h0) = past[-2:]
    r0, r1 = h0 / h, h1 / h
    first, second = (new - old) / r0, (old - older) / r1
    return first + r0 / (r0 + r1) * (first - second), (first - second) / (r0 + r1)


@exhibit(
    "check_solver",
    "toy/PEERS.md#3m-factor",
    "half the second derivative is taken for the whole: φ3 D2 in place of 2 φ3 D2",
    named="missing factor",
    also=("toy/PEERS.md#edm-3m-factor", "toy/PEERS.md#3m-factor-kd"),
    order=3,
)
def second_difference(mended: bool) -> Callable[..., Any]:
    def step(denoise: Any, x: Any, s: Node, t: Node, past: list[Any]) -> Any:
        new, h = denoise(x, s), t.lam - s.lam
        if len(past) < 2:  # a start that costs nothing of the order: two short steps of the third-order Runge-Kutta kind would do
            out = _third(denoise, x, new, s, t)
        else:
            one, two = _differences(past, new, h)
            phi1, phi2 = math.expm1(-h), math.expm1(-h) / h + 1.0
            phi3 = phi2 / h - 0.5
            out = (t.sigma / s.sigma) * x + t.alpha * (-phi1 * new + phi2 * one - (2.0 if mended else 1.0) * phi3 * two)
        past.append((new, h))
        return out

    return walk(step)


def _third(denoise: Any, x: Any, first: Any, s: Node, t: Node) -> Any:
    """One step of DPM-Solver++(3S), with r1 = 1/3, r2 = 2/3."""
    h = t.lam - s.lam
    a, b = s.toward(t, 1.0 / 3.0), s.toward(t, 2.0 / 3.0)
    second = denoise(ddim(x, first, s, a), a)
    phi2 = math.expm1(-2.0 * h / 3.0) / (2.0 * h / 3.0) + 1.0
    third = denoise(ddim(x, first, s, b) + b.alpha * 2.0 * phi2 * (second - first), b)
    phi22 = math.expm1(-h) / h + 1.0
    return ddim(x, first, s, t) + t.alpha * 1.5 * phi22 * (third - first)


@exhibit(
    "check_solver",
    "toy/PEERS.md#reab-swapped-sigma",
    "σ of this node stands under the root where that of the next belongs",
    named="order",
    order=2,
)
def swapped_sigma(mended: bool) -> Callable[..., Any]:
    def step(denoise: Any, x: Any, s: Node, t: Node, past: list[Any]) -> Any:
        size = math.hypot(s.alpha, s.sigma)
        force = (s.alpha * x / size - size * denoise(x, s)) / s.sigma
        u, v = math.atan2(s.sigma, s.alpha), math.atan2(t.sigma, t.alpha)
        weights = [v - u]
        if past:
            _, before = past[-1]
            weights = [v - u + 0.5 * (v - u) ** 2 / (u - before), -0.5 * (v - u) ** 2 / (u - before)]
        past.append((force, u))
        total = sum(w * f for w, (f, _) in zip(weights, reversed(past), strict=False))
        root = math.hypot(t.alpha, t.sigma if mended else s.sigma)
        return (math.hypot(t.alpha, t.sigma) / size) * x + root * total

    return walk(step)


@exhibit(
    "check_solver",
    "yifan123/flow_grpo#32",
    "the velocity and the step have signs of two conventions",
    named="wrong sign",
    order=1,
)
def sign_of_the_velocity(mended: bool) -> Callable[..., Any]:
    def step(denoise: Any, x: Any, s: Node, t: Node, past: list[Any]) -> Any:
        y = x / s.alpha
        velocity = (y - denoise(x, s)) / s.rho
        return t.alpha * (y + (1.0 if mended else -1.0) * (t.rho - s.rho) * velocity)

    return walk(step)


@exhibit(
    "check_solver",
    "deepinv/deepinv#1343",
    "the derivative of sigma lacks a factor 2: nothing converges to the data",
    named="missing factor",
    order=1,
)
def derivative_of_sigma(mended: bool) -> Callable[..., Any]:
    def step(denoise: Any, x: Any, s: Node, t: Node, past: list[Any]) -> Any:
        y = x / s.alpha
        return t.alpha * (y + (1.0 if mended else 0.5) * (t.rho - s.rho) * (y - denoise(x, s)) / s.rho)

    return walk(step)


@exhibit(
    "check_solver",
    "kohya-ss/sd-scripts#1432",
    "the denoised is clipped to [−1, 1] although latents are not bounded",
    named="clipped denoised",
    also=("Project-MONAI/GenerativeModels#494", "PKU-YuanGroup/Open-Sora-Plan#294"),
    order=1,
)
def clipped_latents(mended: bool) -> Callable[..., Any]:
    def step(denoise: Any, x: Any, s: Node, t: Node, past: list[Any]) -> Any:
        x0 = denoise(x, s)
        return ddim(x, x0 if mended else np.clip(x0, -1.0, 1.0), s, t)

    return walk(step)


@exhibit(
    "check_solver",
    "baker-laboratory/rf_diffusion_all_atom#40",
    "the index below the last step wraps around: its alpha is that of the noisiest level",
    named="order",
    order=1,
)
def index_wraps_around(mended: bool) -> Callable[..., Any]:
    def run(denoise: Any, x: Any, nodes: Sequence[Node]) -> Any:
        table = [*nodes[1:], nodes[0]]  # what step i reads: the level below; one past the end is the first
        for i, s in enumerate(nodes[:-1]):
            t = table[i if mended or i < len(nodes) - 2 else len(nodes) - 1]
            x = t.alpha * denoise(x, s) + t.sigma * (x - s.alpha * denoise(x, s)) / s.sigma
        return x

    return run


@exhibit(
    "check_solver",
    "152334H/tortoise-tts-fast#2",
    "what is called DPM++ 2M is the ancestral sampler: the new function is never called",
    named="weak order",
    order=2,
)
def other_sampler_called(mended: bool) -> Callable[..., Any]:
    if mended:
        right = sampler("dpmpp_2m")
        return lambda denoise, x, nodes: right(denoise, x, nodes, [])
    made = sampler("ddpm")
    return lambda denoise, x, nodes, rng: made(denoise, x, nodes, [rng.standard_normal(x.shape) for _ in nodes[1:]])
