r"""Exact methods on jump processes: with the exact model their output has the exact law, in any number of steps.

first_hitting      Zheng et al., arXiv:2409.02908: masked tokens are shown one by one, at their times
uniformisation     Chen & Ying, arXiv:2402.08095: events of a Poisson process faster than all rates; each is a jump, or nothing
planned_denoising  Liu et al., arXiv:2410.06264: at each event a planner says which token is noise, and the denoiser what it becomes
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from scorebed.solvers.base import solver
from scorebed.solvers.draws import onehot
from scorebed.solvers.methods.jump import DRAWS
from scorebed.solvers.state import Array, alike

TIMES = "draws times, which is not linear in the state"


@solver(order=1, weak=1, on=("jump",), nonlinear=DRAWS, reference="arXiv:2409.02908, sec. 3.2 (first-hitting sampler)")
def first_hitting(denoise: Any, x: Array, s: Any, t: Any, carry: None, noise: Any) -> tuple[Array, Any]:
    r"""Each masked token is due with probability (α_t − α_s)/(1 − α_s); they are shown in random order, each from its own p.

    Returns:
        (tokens x_t of the shape of x, carry as given).

    Raises:
        ValueError: a process without a mask.
    """
    process, draw = s.process, noise(s, t)
    if not process.absorbing:
        raise ValueError("first_hitting shows masked tokens, and this process has no mask: use kernel='absorbing'")
    share = (t.clock - s.clock) / (1.0 - s.clock) if s.clock < t.clock else 0.0
    p, tokens = denoise(x, s), x.shape[-1]
    masked = (x == process.mask)[..., None]
    due = draw(masked * alike([1.0 - share, share], p) + ~masked * alike([1.0, 0.0], p))
    while bool((due == 1).any()):
        waits = alike(np.ones(tokens), p) * due
        place = onehot(draw(waits + (waits.sum(-1) == 0)[..., None]), tokens, p) * waits  # nowhere, where nobody waits
        value = draw((place[..., None] * p).sum(-2) + (waits.sum(-1) == 0)[..., None])
        x = x + (place > 0.5) * (value[..., None] - x)
        due = due * (place < 0.5)
        if bool((due == 1).any()):
            p = denoise(x, s)
    return x, carry


@solver(
    order=1, weak=1, on=("jump",), nonlinear=TIMES, inexact="ends before the data", reference="arXiv:2402.08095, Alg. 1 (uniformization)"
)
def uniformisation(denoise: Any, x: Array, s: Any, t: Any, carry: None, noise: Any) -> tuple[Array, Any]:
    r"""Events at rate λ = L max r between s and t; at each, one token jumps to y with probability r(y)/λ at that time, or nothing happens.

    The times are each sample's own, and the model is asked for each time by itself: NumPy states, and t > 0.

    Returns:
        (tokens x_t of the shape of x as a NumPy array, carry as given).

    Raises:
        ValueError: a step to the data, where rates are infinite.
    """
    process, bound = s.process, _bound(s, t, x, flow=False)
    return _events(x, s, t, noise(s, t), bound, lambda y, node: process.rates(denoise(y, node), y, node)), carry


@solver(
    order=1,
    weak=1,
    on=("jump",),
    nonlinear=TIMES,
    inexact="ends before the data",
    reference="arXiv:2410.06264, prop. 3.1 and Alg. 1 (DDPD)",
)
def planned_denoising(denoise: Any, x: Array, s: Any, t: Any, carry: None, noise: Any) -> tuple[Array, Any]:
    r"""Token i jumps to y ≠ x at rate −α'/(1 − α) P(i is noise | x) p(x0^i = y | x, i is noise), the flow of a mixture path, at its times.

    P(noise | x) chooses the token and p(· | x, noise) its value. Their product is p(x0^i = y | x) for y ≠ x, which is all that is asked of
    the model; ``guide_tokens.planned`` makes it of a planner and a denoiser. NumPy states, and t > 0.

    Returns:
        (tokens x_t of the shape of x as a NumPy array, carry as given).

    Raises:
        ValueError: a step to the data, where rates are infinite.
    """
    process, bound = s.process, _bound(s, t, x, flow=True)
    return _events(x, s, t, noise(s, t), bound, lambda y, node: process.flow_rates(denoise(y, node), y, node)), carry


def _bound(s: Any, t: Any, x: Array, flow: bool) -> float:
    """L times the largest rate of a token between the nodes."""
    process = s.process
    bound = max(process.fastest(s, flow), process.fastest(t, flow)) * int(x.shape[-1])
    if not math.isfinite(bound):
        raise ValueError("rates have no bound at t = 0: end the grid before")
    return float(bound)


def _events(x: Array, s: Any, t: Any, draw: Any, bound: float, rates_of: Any) -> np.ndarray:
    """The states at ``t`` after events at rate ``bound``, each of which is a jump with its share of it, or nothing."""
    process = s.process
    x, left = np.array(x), np.full(len(x), s.t - t.t)
    while (left > 0.0).any():
        quiet = np.exp(-bound * left)
        event = draw(np.stack((quiet, 1.0 - quiet), -1))
        if not event.any():
            break
        gap = -np.log1p(draw.uniform(1)[:, 0] * (quiet - 1.0)) / bound
        left = np.where(event == 1, left - gap, 0.0)
        rates = np.zeros((*x.shape, process.alphabet))
        for rest in np.unique(left[event == 1]):
            rows, node = np.flatnonzero((left == rest) & (event == 1)), process.node(t.t + float(rest))
            rates[rows] = rates_of(x[rows], node)
        chances = rates.reshape(len(x), -1) / bound
        idle = 1.0 - chances.sum(1, keepdims=True)
        if idle.min() < -1e-9:
            raise ValueError(f"a total rate exceeds its bound {bound:g} by the factor {1.0 - idle.min():g}")
        jump = draw(np.concatenate((chances, np.maximum(idle, 0.0)), 1))
        moved = np.flatnonzero(jump < chances.shape[1])
        x[moved, jump[moved] // process.alphabet] = jump[moved] % process.alphabet
    return x
