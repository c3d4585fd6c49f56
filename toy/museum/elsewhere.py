"""Roll-outs with log-probabilities, guidance, tokens and manifolds."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.solvers.space import SO3, Sphere
from scorebed.toy.museum.registry import CHECKS, exhibit


def called(name: str) -> Callable[..., Any]:
    """A check of the top of the package, called with what an exhibit hands over; a dict is its arguments."""

    def check(subject: Any, **options: Any) -> Any:
        import scorebed

        run = getattr(scorebed, name)
        return run(**subject, **options) if isinstance(subject, dict) else run(subject, **options)

    return check


CHECKS |= {name: called(name) for name in ("check_rollout", "check_guided", "check_discrete", "check_space")}


def _flow_sde(told: Callable[[float, float], float], draw: Callable[[Any, Any, Any, Any], Any]) -> Callable[..., Any]:
    """A roll-out of Flow-SDE: ``told`` is the deviation in the log-probability, of its own and of that without sqrt(dt)."""

    def rollout(velocity: Any, x: Any, nodes: Any, noise: Any) -> Any:
        states, logs = [x], []
        for s, t in pairwise(nodes):
            sigma, dt, v = s.t, t.t - s.t, velocity(x, s)
            std = 0.7 * math.sqrt(sigma / (1.0 - sigma))
            mean = x + dt * v + 0.5 * std**2 * dt * (x + (1.0 - sigma) * v) / sigma
            x = mean + std * math.sqrt(-dt) * draw(noise, s, t, x)
            wide = told(std * math.sqrt(-dt), std)
            logs.append(-((x - mean) ** 2).sum(1) / (2.0 * wide**2) - x.shape[1] * math.log(wide * math.sqrt(2.0 * math.pi)))
            states.append(x)
        return states, logs

    return rollout


@exhibit(
    "check_rollout",
    "Tencent-Hunyuan/UniRL#38",
    "the deviation in the log-probability is that of another sampler, without the root of the step",
    named="sqrt(dt) left out of the log-probability",
    prediction="flow",
)
def deviation_of_another_sampler(mended: bool) -> Callable[..., Any]:
    return _flow_sde(lambda own, other: own if mended else other, lambda noise, s, t, x: noise(s, t))


@exhibit(
    "check_rollout",
    "huggingface/diffusers#612",
    "one generator for the whole batch: a sample's noise depends on how many others there are",
    named="draws by batch, not by sample",
    also=("crowsonkb/k-diffusion#44",),
    by_sample=True,
)
def noise_of_the_batch(mended: bool) -> Callable[..., Any]:
    def one(model: Any, x: Any, s: Any, t: Any, draw: Any) -> Any:
        h = t.lam - s.lam
        mean = (t.sigma / s.sigma) * math.exp(-h) * x - t.alpha * math.expm1(-2.0 * h) * model(x, s)
        std = t.sigma * math.sqrt(-math.expm1(-2.0 * h))
        x = mean + std * draw
        return x, -0.5 * (((x - mean) / std) ** 2).sum(1) - x.shape[1] * math.log(std * math.sqrt(2.0 * math.pi))

    if mended:
        return lambda model, x, s, t, noise: one(model, x, s, t, noise(s, t))
    return lambda model, x, s, t, rng: one(model, x, s, t, rng.standard_normal(x.shape))


@exhibit(
    "check_guided",
    "threestudio-project/threestudio#127",
    "the difference is added to the conditional answer: the scale is one more than it says",
    named="scale is 1 + w",
    also=("yuanzhi-zhu/prolific_dreamer2d#13",),
    scale=3.0,
    steps=4,
    problem="gaussian",
)
def scale_one_more(mended: bool) -> Callable[..., Any]:
    def guide(given: Any, null: Any) -> Callable[..., Any]:
        def model(x: Any, node: Any) -> Any:
            c, u = given(x, node), null(x, node)
            return (u if mended else c) + 3.0 * (c - u)

        return model

    return guide


@exhibit(
    "check_discrete",
    "valeoai/Halton-MaskGIT#36",
    "tokens that are shown already are drawn again in every step",
    named="single draws",
    steps=(2, 4, 8),
)
def shown_tokens_drawn_again(mended: bool) -> Callable[..., Any]:
    def sampler(logits: Any, state: Any, times: Any, draw: Any) -> Any:
        for s, t in pairwise(times):
            p = np.exp(logits(state, s))
            p, hidden = p / p.sum(-1, keepdims=True), state == 2
            copied = 0.9 * np.eye(3)[state][..., :2] + 0.05  # what a network says of a token that is shown: nearly that token
            shown = np.where(hidden, (s - t) / s, 1.0)[..., None]
            drawn = draw(np.concatenate([shown * np.where(hidden[..., None], p, copied), 1.0 - shown], -1))
            state = np.where(hidden, drawn, state) if mended else drawn
        return state

    return sampler


@exhibit(
    "check_space",
    "jasonkyuyim/se3_diffusion#9",
    "the density of the angle in place of that of the rotation",
    named="density of the distance in place of that of the point",
    space="SO3",
)
def density_of_the_angle(mended: bool) -> dict[str, Any]:
    from scorebed.toy.check.space import exact

    space = SO3()

    def score(x: Any, mean: Any, t: float) -> Any:
        right = exact(space, "score", x, mean, t)
        r = np.asarray(space.distance(x, mean)).reshape(-1, *[1] * len(space.shape))
        return right if mended else right - space.log(x, mean) / (r * np.tan(0.5 * r))

    return {"score": score}


@exhibit(
    "check_space",
    "brentyi/jaxlie#10",
    "0/0 where the two points are one",
    named="log not finite at y = x",
    also=("pimdh/relie#6",),
    space="Sphere(2)",
)
def log_at_the_point_itself(mended: bool) -> dict[str, Any]:
    space = Sphere(2)

    def log(x: Any, y: Any) -> Any:
        with np.errstate(invalid="ignore"):
            return space.log(x, y) * (1.0 if mended else (np.arccos((x * y).sum(-1)) / np.asarray(space.distance(x, y)))[:, None])

    return {"log": log}
