r"""Exact methods on jump processes: with the exact model their output has the exact law, in any number of steps.

first_hitting   Zheng et al., arXiv:2409.02908: masked tokens are shown one by one, at their times
uniformisation  Chen & Ying, arXiv:2402.08095: events of a Poisson process faster than all rates; each is a jump, or nothing
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from scorebed.solvers.base import solver
from scorebed.solvers.draws import alike, onehot
from scorebed.solvers.methods.jump import DRAWS
from scorebed.solvers.state import Array

TIMES = "draws times, which is not linear in the state"


@solver(order=1, weak=1, on=("jump",), nonlinear=DRAWS, reference="arXiv:2409.02908, sec. 3.2 (first-hitting sampler)")
def first_hitting(denoise: Any, x: Array, s: Any, t: Any, carry: None, noise: Any) -> tuple[Array, Any]:
    r"""Each masked token is due with probability (α_t − α_s)/(1 − α_s); they are shown in random order, each from its own p.

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

    Raises:
        ValueError: a step to the data, where rates are infinite.
    """
    process, draw = s.process, noise(s, t)
    bound = max(process.fastest(s), process.fastest(t)) * x.shape[-1]
    if not math.isfinite(bound):
        raise ValueError("uniformisation has no bound of the rates at t = 0: end the grid before")
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
            rates[rows] = process.rates(denoise(x[rows], node), x[rows], node)
        chances = rates.reshape(len(x), -1) / bound
        idle = 1.0 - chances.sum(1, keepdims=True)
        if idle.min() < -1e-9:
            raise ValueError(f"uniformisation: a total rate exceeds its bound {bound:g} by the factor {1.0 - idle.min():g}")
        jump = draw(np.concatenate((chances, np.maximum(idle, 0.0)), 1))
        moved = np.flatnonzero(jump < chances.shape[1])
        x[moved, jump[moved] // process.alphabet] = jump[moved] % process.alphabet
    return x, carry
