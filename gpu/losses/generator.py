r"""Losses of one-step generators x = G(z), noised to x_s = α x + σ eps. With q the law that G makes now and p that of the data:

    DMD, VSD           w sg(α (∇log q_s − ∇log p_s)(x_s)) · G, the gradient of KL(q_s‖p_s)            arXiv:2311.18828, eq. 7; 2305.16213
    SDS                w sg(α (−eps/σ − ∇log p_s)(x_s)) · G: the entropy of q is left out              arXiv:2209.14988, eq. 3
    SiD                w (D_p − D_q)·((1 − a)(D_p − D_q) + D_q − x) at x_s, gradients through x_s       arXiv:2404.04057, eq. 23
    score identity     w |∇log q_s − ∇log p_s|² at x_s, gradients through x_s and the score            Fisher divergence, per level
    moment matching    w sg(D_q − D_p)(x_s) · G                                                        arXiv:2406.04103, Alg. 2
    GAN                −w softplus(l(x_s)), l = log p_s − log q_s held: gradient of 2 JS(q_s, p_s)     arXiv:1406.2661; 2412.02030 (levels)
    GAN, non-saturating  w softplus(−l(x_s))
    MMD                w MMD²(G(z), x0)                                                                 arXiv:1502.02761

The models of q are exact and held (``batch.fake``), as if the auxiliary network were trained to its end. ``fault`` plants one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from scorebed.gpu.losses.trajectory import DETACHED, STOP, kernel, weighted
from scorebed.gpu.losses.world import Batch, GaussianWorld

EXCHANGED, NO_FAKE, NO_REAL = "real and fake exchanged", "fake score left out", "real score left out"
HALF = "cross term not doubled"


def noised(b: Batch, x: Tensor) -> Tensor:
    """x_s of what the generator made."""
    alpha, sigma = b.teacher.at(b.s)
    return alpha * x + sigma * b.eps


def _sides(b: Batch, fault: str) -> tuple[GaussianWorld, GaussianWorld]:
    assert b.fake is not None
    return (b.teacher, b.fake) if fault == EXCHANGED else (b.fake, b.teacher)


def _pulled(b: Batch, x: Tensor, direction: Tensor, fault: str) -> Tensor:
    """w sg(direction)·x: the gradient of the loss in x is w direction."""
    return weighted(b, ((direction if fault == STOP else direction.detach()) * x).sum(-1), fault)


def distribution_matching(student: Any, b: Batch, fault: str = "") -> Tensor:
    """DMD and VSD."""
    x, alpha = student(b.z), b.teacher.at(b.s)[0]
    fake, real = _sides(b, fault)
    x_s = noised(b, x)
    gap = (0.0 if fault == NO_FAKE else 1.0) * fake.score(x_s, b.s) - (0.0 if fault == NO_REAL else 1.0) * real.score(x_s, b.s)
    return _pulled(b, x, alpha * gap, fault)


def score_distillation(student: Any, b: Batch, fault: str = "") -> Tensor:
    """SDS: −eps/σ in place of the score of q, which has mean 0 against any G(z): only the data's score is left."""
    x, (alpha, sigma) = student(b.z), b.teacher.at(b.s)
    x_s = noised(b, x)
    sign = -1.0 if fault == EXCHANGED else 1.0
    gap = sign * (-b.eps / sigma - (0.0 if fault == NO_REAL else 1.0) * b.teacher.score(x_s, b.s))
    return _pulled(b, x, alpha * gap, fault)


def score_identity(student: Any, b: Batch, fault: str = "", a: float = 1.0) -> Tensor:
    """SiD with its ``a``; the models are held, the state is not."""
    x = student(b.z)
    fake, real = _sides(b, fault)
    x_s = noised(b, x.detach() if fault == DETACHED else x)
    p, q = real.denoised(x_s, b.s), fake.denoised(x_s, b.s)
    return weighted(b, ((p - q) * ((1.0 - a) * (p - q) + q - x)).sum(-1), fault)


def fisher(student: Any, b: Batch, fault: str = "") -> Tensor:
    """The Fisher divergence of the levels, with the fake score following the generator."""
    x = student(b.z)
    x_s = noised(b, x)
    made = b.fake if fault == DETACHED else student.law() if hasattr(student, "law") else _following(student, b)
    assert made is not None
    gap = made.score(x_s, b.s) - b.teacher.score(x_s, b.s)
    return weighted(b, (gap * gap).sum(-1), fault)


def _following(student: Any, b: Batch) -> GaussianWorld:
    """The law of G(z), with its gradient: the mean and the spread of what is made (of an affine generator)."""
    zero, one = torch.zeros(1, b.teacher.d, dtype=torch.float64), torch.ones(1, b.teacher.d, dtype=torch.float64)
    mean = student(zero)[0]
    world = GaussianWorld(b.process, mean.detach(), torch.ones_like(mean))
    world.mean, world.variance = mean, (student(one)[0] - mean) ** 2
    return world


def moment_matching(student: Any, b: Batch, fault: str = "") -> Tensor:
    """The difference of the two conditional means at x_s, taken at the data's end."""
    x = student(b.z)
    fake, real = _sides(b, fault)
    x_s = noised(b, x)
    gap = (0.0 if fault == NO_FAKE else 1.0) * fake.denoised(x_s, b.s) - (0.0 if fault == NO_REAL else 1.0) * real.denoised(x_s, b.s)
    return _pulled(b, x, gap, fault)


def logit(b: Batch, x_s: Tensor, fault: str = "") -> Tensor:
    """l = log p_s − log q_s of the best discriminator p_s/(p_s + q_s), (B,)."""
    fake, real = _sides(b, fault)
    return (real.log_prob(x_s, b.s) - fake.log_prob(x_s, b.s))[:, 0]


def adversarial(student: Any, b: Batch, fault: str = "") -> Tensor:
    """log(1 − discriminator) at the noise level s."""
    x = student(b.z)
    value = logit(b, noised(b, x), fault)
    return weighted(b, -softplus(value), fault)


def adversarial_nonsaturating(student: Any, b: Batch, fault: str = "") -> Tensor:
    """−log(discriminator) at the noise level s."""
    x = student(b.z)
    value = logit(b, noised(b, x), fault)
    return weighted(b, softplus(-value), fault)


def mmd(student: Any, b: Batch, fault: str = "") -> Tensor:
    """The V-statistic with a normal kernel, at the data."""
    x = student(b.z)
    own = kernel(x, x.detach() if fault == DETACHED else x).mean()
    value = own - (1.0 if fault == HALF else 2.0) * kernel(x, b.x0).mean() + kernel(b.x0, b.x0).mean()
    return weighted(b, value.expand(len(x)), fault)
