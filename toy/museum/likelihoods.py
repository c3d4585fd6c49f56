"""Estimates of log p(x) along the flow with a term left out, doubled, or of the wrong sign."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.toy.museum.registry import exhibit


def log_p(*, probes: int = 0, divide: bool = True, backwards: bool = False, volume: float = 1.0, offset: float = 0.0) -> Callable[..., Any]:
    """An estimate by Heun's method in rho, with an exact trace or so many probes of signs; each other argument breaks a line of it."""
    rng = np.random.default_rng(0)

    def estimate(model: Any, x: Any, nodes: Any) -> Any:
        n, d = x.shape
        walked = nodes[::-1] if backwards else nodes

        def slope(y: Any, node: Any) -> tuple[Any, Any]:
            here = node.alpha * y
            if probes:
                draws = [rng.choice([-1.0, 1.0], size=x.shape) for _ in range(probes)]
                trace = sum(np.sum(v * model.vjp(here, node, v), axis=1) for v in draws) / (probes if divide else 1)
            else:
                trace = sum(model.vjp(here, node, np.tile(e, (n, 1)))[:, i] for i, e in enumerate(np.eye(d)))
            return (y - model(here, node)) / node.rho, (d - node.alpha * trace) / node.rho

        y, total = x / walked[0].alpha, np.zeros(n)
        for s, t in pairwise(walked):
            h = t.rho - s.rho
            one, first = slope(y, s)
            two, second = slope(y + h * one, t)
            y, total = y + 0.5 * h * (one + two), total + 0.5 * h * (first + second)
        t, prior = walked[-1], nodes[-1]
        gauss = -0.5 * np.sum((t.alpha * y) ** 2, axis=1) / prior.sigma**2 - 0.5 * d * math.log(2.0 * math.pi * prior.sigma**2)
        return total + gauss + volume * d * math.log(walked[-1].alpha / walked[0].alpha) + offset

    return estimate


@exhibit(
    "check_likelihood",
    "bayesflow-org/bayesflow#772",
    "the sum over Hutchinson's probes is not divided by their number",
    named="sum over probes not divided",
    also=("bayesflow-org/bayesflow#777",),
    steps=(16, 32, 64),
)
def probes_not_divided(mended: bool) -> Callable[..., Any]:
    return log_p(probes=4, divide=mended)


@exhibit(
    "check_likelihood",
    "openai/consistency_models_cifar10#12",
    "the flow is followed from noise to data, with the data for its start",
    named="log p",
)
def wrong_way_along_the_flow(mended: bool) -> Callable[..., Any]:
    return log_p(backwards=not mended)


@exhibit(
    "check_likelihood",
    "bayesflow-org/bayesflow#471",
    "the logarithm of the scale has the wrong sign in the change of variables",
    named="log p",
)
def sign_of_the_jacobian(mended: bool) -> Callable[..., Any]:
    return log_p(volume=1.0 if mended else -1.0)


@exhibit(
    "check_likelihood",
    "yang-song/score_sde_pytorch#51",
    "seven bits for pixels of 256 values are added whatever the data are",
    named="log p",
)
def bits_of_pixels(mended: bool) -> Callable[..., Any]:
    return log_p(offset=0.0 if mended else -7.0 * math.log(2.0) * 3)
