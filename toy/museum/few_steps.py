"""Losses and maps of few-step models, and caches."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from scorebed.analytic.process.maps import FlowMap
from scorebed.solvers import EDM, Node
from scorebed.toy.museum.elsewhere import called
from scorebed.toy.museum.registry import CHECKS, exhibit
from scorebed.toy.problems.lines import modes

CHECKS |= {name: called(name) for name in ("check_cache", "check_loss", "check_map")}


@exhibit(
    "check_cache",
    "huggingface/diffusers#13806",
    "the step at which an evaluation is made again is counted one too late: the first after the warm-up is always a cached one",
    named="other phase",
    solver="ddim",
    every=3,
    what="eps",
)
def interval_off_by_one(mended: bool) -> Callable[..., Any]:
    def sampler(denoise: Any, x: Any, nodes: Any) -> Any:
        eps: Any = None
        for i, (s, t) in enumerate(pairwise(nodes)):
            if i == 0 or (i if mended else i - 1) % 3 == 0:
                eps = (x - s.alpha * denoise(x, s)) / s.sigma
            x = t.alpha / s.alpha * (x - s.sigma * eps) + t.sigma * eps
        return x

    return sampler


@exhibit(
    "check_loss",
    "theislab/CellFlow#305",
    "the velocity's target is data minus the source, while the path runs from another draw, the latent",
    named="minimiser",
    kind="mean_flow",
    samples=64,
    diagnosis=False,
)
def target_from_another_draw(mended: bool) -> Callable[..., Any]:
    def loss(student: Any, b: Any) -> Any:
        import torch

        v = (b.eps if mended else b.eps.roll(1, 0)) - b.x0  # x_s = (1 - s) x0 + s eps
        jvp: Any = torch.func.jvp
        value, slope = jvp(lambda x, s: student(x, s, b.t), (b.x, b.s), (v, torch.ones_like(b.s)))
        target = (v - (b.s - b.t) * slope).detach()
        return b.weight[:, 0] * ((value - target) ** 2).sum(-1)

    return loss


@exhibit(
    "check_map",
    "huggingface/diffusers#6833",
    "c_skip and c_out are taken at sigma in place of sigma − sigma_min: the map is not the identity at its clean end",
    named="boundary",
    process=EDM(),
    law=modes(),
    kind="endpoint",
)
def scalings_without_sigma_min(mended: bool) -> Callable[..., Any]:
    exact, data = FlowMap(modes()).endpoint, 0.5
    clean = 0.0 if mended else 0.1  # what the scalings take for the clean end, and do not subtract

    def endpoint(x: Any, s: Node) -> Any:
        """The network that is right for the scalings of the paper, put together with those of the script."""
        skip, out = data**2 / (s.sigma**2 + data**2), s.sigma * data / math.hypot(s.sigma, data)
        network = (exact(x, s) - skip * x) / out if out > 0.0 else 0.0 * x
        late = s.sigma + clean
        return data**2 / (late**2 + data**2) * x + late * data / math.hypot(late, data) * network

    return endpoint
