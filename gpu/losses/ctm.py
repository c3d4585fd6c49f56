r"""The losses of CTM (Kim et al., arXiv:2310.02279), whose (t, s) are our (s, t). With u between them, sg(f) the map with its parameters
held, through whose state gradients go, and g the trajectory model, f = (σ_t/σ_s) x + (α_t − σ_t α_s/σ_s) g:

    estimate, target    x̂ = sg(f)(f(x, s, t), t, 0),   x̃ = sg [f(f(flow(x, s, u), u, t), t, 0)]
    L_CTM               w |x̂ − x̃|²
    local               w |f(x, s, t) − sg f(flow(x, s, u), u, t)|²,  compared at t, not at the data
    L_DSM               w |g(x, s, s) − x0|²,  minimised by E[x0 | x]
    L_GAN               −w softplus(l(x̂)),  l = log p − log q held, q the law of x̂
    all three           L_CTM + λ_DSM L_DSM + λ_GAN L_GAN,  λ = 1

The paper measures distances by LPIPS and adapts both λ; neither moves the minimiser, where all three gradients vanish. q is known, as if
the discriminator were trained to its end: the student is affine in the state, and x is normal. A ``fault`` plants one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from scorebed.gpu.losses.trajectory import PREDICTION, STOP, TIME, against, squared, weighted
from scorebed.gpu.losses.world import Batch

SWAPPED, OUTER = "s and t exchanged", "gradient through the parameters of the map to the data"
NO_DSM, NO_GAN = "DSM left out", "adversarial part left out"


def held(student: Any) -> Callable[..., Tensor]:
    """sg(f): the student with its parameters held; gradients go through what it is given."""
    parameters = {name: value.detach() for name, value in student.named_parameters()}
    return lambda *given: torch.func.functional_call(student, parameters, given)


def estimate(student: Any, b: Batch, fault: str = "") -> Tensor:
    """x̂: the student's way to t, and on to the data with its parameters held."""
    end = student(b.x, b.t, b.s) if fault == SWAPPED else student(b.x, b.s, b.t)
    out: Tensor = (student if fault == OUTER else held(student))(end, b.t, 0.0 * b.t)
    return out


def local(student: Any, b: Batch, fault: str = "") -> Tensor:
    """Two ways from s to t, one of them by the teacher to the middle u, compared at t."""
    u = b.middle
    target = student(b.teacher.flow(b.x, b.s, u), b.s if fault == TIME else u, b.t)
    return against(b, student(b.x, b.t, b.s) if fault == SWAPPED else student(b.x, b.s, b.t), target, fault)


def trajectory(student: Any, b: Batch, fault: str = "") -> Tensor:
    """The same two ways, carried on to the data and compared there."""
    u = b.middle
    between = student(b.teacher.flow(b.x, b.s, u), b.s if fault == TIME else u, b.t)
    target = (student if fault in (STOP, PREDICTION) else held(student))(between, b.t, 0.0 * b.t)
    return against(b, estimate(student, b, fault), target, fault)


def denoising(student: Any, b: Batch, fault: str = "") -> Tensor:
    """DSM: g(x, s, s) = (v − (σ'/σ) x)/(α' − α σ'/σ), v = ∂_t f(x, s, t) at t = s, against the data."""
    v = torch.func.jvp(lambda t: student(b.x, b.s, t), (b.s,), (torch.ones_like(b.s),))[1]
    (alpha, sigma), (da, ds) = b.teacher.at(b.s), b.teacher.rates(b.s)
    g = (v - ds / sigma * b.x) / (da - alpha * ds / sigma)
    return weighted(b, squared(g - b.x0), fault)


def adversarial(student: Any, b: Batch, fault: str = "") -> Tensor:
    """log(1 − discriminator) at the data, of the best discriminator p/(p + q) of x̂ for each pair of times."""
    x = estimate(student, b, fault)
    with torch.no_grad():
        centre, spread = b.teacher.at(b.s)[0] * b.teacher.mean, b.teacher.spread(b.s)
        ends = [held(student)(held(student)(state, b.s, b.t), b.t, 0.0 * b.t) for state in (centre, centre + spread)]
        mean, width = ends[0], (ends[1] - ends[0]).abs()
    z = (x - mean) / width
    own = (-0.5 * z * z - torch.log(width) - 0.5 * math.log(2 * math.pi)).sum(-1)
    return weighted(b, -softplus(b.teacher.log_prob(x, 0.0 * b.t)[:, 0] - own), fault)


def whole(student: Any, b: Batch, fault: str = "", dsm: float = 1.0, gan: float = 1.0) -> Tensor:
    """CTM + λ_DSM DSM + λ_GAN GAN."""
    dsm, gan = (0.0 if fault == NO_DSM else dsm), (0.0 if fault == NO_GAN else gan)
    return trajectory(student, b, fault) + dsm * denoising(student, b, fault) + gan * adversarial(student, b, fault)
