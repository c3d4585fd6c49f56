r"""Losses of maps of the flow; those of CTM are in ``ctm``. With sg the stop-gradient, w the weight, (x, y) = (x_s, x_t) of one pair of
data and noise:

    consistency, by a teacher        w |f(x, s) − sg f(flow(x, s, t), t)|²                       arXiv:2303.01469, eq. 7
    consistency, by training         w |f(x, s) − sg f(y, t)|²                                   arXiv:2303.01469, eq. 10
    consistency, continuous          2 w f(x, s)·sg (∂_x f v + ∂_s f)                            arXiv:2410.11081, eq. 6
    MeanFlow                         w |u − sg (v − (s − t)(v ∂_x u + ∂_s u))|²                  arXiv:2505.13447, eq. 10
    shortcut                         w |u(x, s, t) − sg ½(u(x, s, m) + u(x', m, t))|² + w |u(x, s, s) − v|²   arXiv:2410.12557, eq. 5
    IMM                              w MMD²(f(x_s, s, t), sg f(x_r, r, t))                       arXiv:2503.07565, eq. 7

Every function takes ``(student, batch)`` and gives a value for each sample, (B,); the MMD of a batch is one number. A ``fault`` plants one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scorebed.gpu.losses.world import Batch

STOP, PREDICTION = "missing stop-gradient", "detached prediction, gradient through the target"
SIGN, WEIGHT = "wrong sign of the time derivative", "weighting squared twice"
UNWEIGHTED, TIME = "weight left out", "time of the target not moved"
FRESH, TOTAL = "fresh noise in the target", "wrong sign of the total derivative"
NO_TIME, NO_STATE = "time derivative left out", "derivative along the velocity left out"
VELOCITY = "wrong sign of the velocity"
DETACHED = "detached target"


def squared(gap: Tensor) -> Tensor:
    """|gap|² of each sample, (B,)."""
    return (gap * gap).sum(-1)


def weighted(b: Batch, value: Tensor, fault: str) -> Tensor:
    """w times a value for each sample."""
    w = b.weight[:, 0]
    return value if fault == UNWEIGHTED else w * w * value if fault == WEIGHT else w * value


def against(b: Batch, prediction: Tensor, target: Tensor, fault: str) -> Tensor:
    """w |prediction − sg target|²."""
    if fault == PREDICTION:
        prediction = prediction.detach()
    elif fault != STOP:
        target = target.detach()
    return weighted(b, squared(prediction - target), fault)


def consistency_distillation(student: Any, b: Batch, fault: str = "") -> Tensor:
    """The target is where the teacher's flow takes x."""
    y = b.teacher.flow(b.x, b.s, b.t)
    return against(b, student(b.x, b.s), student(y, b.s if fault == TIME else b.t), fault)


def consistency_training(student: Any, b: Batch, fault: str = "") -> Tensor:
    """The target is the same data and noise at t: a one-sample estimate of the teacher's step, whose bias goes with s − t."""
    y = b.y
    if fault == FRESH:
        alpha, sigma = b.teacher.at(b.t)
        y = alpha * b.x0 + sigma * b.z
    return against(b, student(b.x, b.s), student(y, b.s if fault == TIME else b.t), fault)


def derivative(function: Callable[..., Tensor], x: Tensor, s: Tensor, v: Tensor, fault: str = "") -> tuple[Tensor, Tensor]:
    """(value, v ∂_x + ∂_s) of a function of (x, s)."""
    ds = torch.ones_like(s) * {SIGN: -1.0, NO_TIME: 0.0}.get(fault, 1.0)
    v = 0.0 * v if fault == NO_STATE else v
    both: tuple[Tensor, Tensor] = torch.func.jvp(function, (x, s), (v, ds))[:2]
    return both


def consistency_continuous(student: Any, b: Batch, fault: str = "") -> Tensor:
    """The limit of the discrete loss over s − t, up to a constant: its gradient is that of 2 f·sg(df/ds)."""
    v = -b.velocity if fault == VELOCITY else b.velocity
    value, slope = derivative(student, b.x, b.s, v, fault)
    slope = -slope if fault == TOTAL else slope
    slope = slope if fault == STOP else slope.detach()
    return weighted(b, 2.0 * ((value.detach() if fault == PREDICTION else value) * slope).sum(-1), fault)


def mean_flow(student: Any, b: Batch, fault: str = "") -> Tensor:
    """The velocity is that of one pair of data and noise, which the loss, linear in it under sg, may do without bias."""
    v = -b.velocity if fault == VELOCITY else b.velocity
    value, slope = derivative(lambda x, s: student(x, s, b.t), b.x, b.s, v, fault)
    way = (b.t - b.s) if fault in (TOTAL,) else (b.s - b.t)
    target = v - way * slope
    return against(b, value, target, fault)


def shortcut(student: Any, b: Batch, fault: str = "") -> Tensor:
    """Two steps of half the length, by the student, are the target of one; at length zero, the velocity."""
    m = b.middle
    one = student(b.x, b.s, m)
    target = 0.5 * (one + student(b.x + (m - b.s) * one, b.s if fault == TIME else m, b.t))
    v = -b.velocity if fault == VELOCITY else b.velocity
    return against(b, student(b.x, b.s, b.t), target, fault) + weighted(b, squared(student(b.x, b.s, b.s) - v), fault)


def kernel(a: Tensor, b: Tensor, width: float = 1.0) -> Tensor:
    """exp(−|a_i − b_j|²/2 width²), (n, m)."""
    return torch.exp(-0.5 / width**2 * (a[:, None] - b[None]).square().sum(-1))


def inductive_moments(student: Any, b: Batch, fault: str = "") -> Tensor:
    """Both maps to t, from s and from the middle r, of the same pairs of data and noise; the second one is held."""
    r = b.middle
    ours = student(b.x, b.s, b.t)
    theirs = student(b.at(r), b.s if fault == TIME else r, b.t)
    if fault == PREDICTION:
        ours = ours.detach()
    elif fault != STOP:
        theirs = theirs.detach()
    other = ours.detach() if fault == DETACHED else ours
    value = kernel(ours, other).mean() - 2.0 * kernel(ours, theirs).mean() + kernel(theirs, theirs).mean()
    return weighted(b, value.expand(len(ours)), fault)
