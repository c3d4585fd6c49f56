r"""log p along the probability flow, exactly: its parts, and what estimates of them are worth.

With y = x/alpha and rho = sigma/alpha the flow is dy/drho = (y − D)/rho, and along it

    d log p/drho = −div = −(d − alpha tr ∂D/∂x)/rho,        ∂D/∂x = (alpha/sigma²) Cov[x0 | x].

So log p_s(x) = log p_T(x_T) + ∫ div drho + d log(alpha_T/alpha_s), with x_T where the flow takes x. Hutchinson's estimate of the trace,
v·A v with A = ∂D/∂x symmetric, has the variance 2 ‖A‖_F² for Gaussian probes and 2 (‖A‖_F² − Σ A_ii²) for signs, divided by the number of
probes (Hutchinson, Commun. Stat. Simul. 1990; arXiv:1810.01367, section 3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scorebed.solvers.schedule import Node

Floats = NDArray[np.float64]


class Flowing(Protocol):
    """A law with an exact flow, log-density and posterior covariance: ``RotatedProduct``, a ``GaussianMixture`` of one part or in 1-D."""

    d: int

    def log_prob(self, x: Any, node: Node | None = None) -> Any: ...
    def flow(self, x: Any, s: Node, t: Node) -> Any: ...
    def posterior_covariance(self, x: Any, node: Node) -> Any: ...


@dataclass(frozen=True)
class LikelihoodParts:
    """log p(x at the data end) in the parts that an implementation adds up; each of shape (n,).

    Attributes:
        log_prob: the exact log p(x).
        square: −|x_T|²/(2 sigma_T²), of the prior N(0, sigma_T² I).
        normaliser: −(d/2) log(2 pi sigma_T²), a number.
        expansion: ∫ f d dt = d log(alpha_s/alpha_T), that part of the divergence which depends on no state; a number.
        contraction: −½ ∫ g² div score dt, the part that does.
        error: square + normaliser + contraction − expansion − log_prob, the price of the Gaussian prior at T.
    """

    log_prob: Floats
    square: Floats
    normaliser: float
    expansion: float
    contraction: Floats

    @property
    def usual(self) -> Floats:
        """What a right implementation converges to: the prior N(0, sigma_T² I) at x_T and both parts of the divergence."""
        return self.square + self.normaliser + self.contraction - self.expansion

    @property
    def error(self) -> Floats:
        return self.usual - self.log_prob


def divergence(law: Flowing, x: Any, node: Node) -> Floats:
    """tr ∂D/∂x = (alpha/sigma²) tr Cov[x0 | x]; shape (n,)."""
    cov = np.asarray(law.posterior_covariance(x, node))
    return np.asarray(node.alpha / node.sigma**2 * np.trace(cov, axis1=-2, axis2=-1))


def likelihood_parts(law: Flowing, x: Any, s: Node, t: Node) -> LikelihoodParts:
    """The parts of log p(x) at the node ``s`` (data) with the prior at ``t`` (noise).

    Args:
        law: a target with an exact flow.
        x: states at s, shape (n, d).
        s, t: the ends of the run, s nearer the data.

    Returns:
        ``LikelihoodParts``.

    Raises:
        ValueError: ``t`` is not noisier than ``s``.
    """
    if t.lam >= s.lam:
        raise ValueError(f"t = {t} is not noisier than s = {s}: a likelihood runs from the data to the noise")
    x = np.asarray(x, dtype=float)
    end = np.asarray(law.flow(x, s, t))
    log_prob, d = np.asarray(law.log_prob(x, s)), x.shape[-1]
    # change of variables: log p_s(x) = log p_t(x_t) + log|det ∂x_t/∂x|, whose part from f is d log(alpha_t/alpha_s)
    log_det = log_prob - np.asarray(law.log_prob(end, t))
    expansion = d * (math.log(s.alpha) - math.log(t.alpha))
    return LikelihoodParts(
        log_prob=log_prob,
        square=-0.5 * np.sum(end**2, axis=-1) / t.sigma**2,
        normaliser=-0.5 * d * math.log(2.0 * math.pi * t.sigma**2),
        expansion=expansion,
        contraction=log_det + expansion,
    )


def hutchinson_variance(jacobian: Any, probes: str = "rademacher") -> Floats:
    """The variance of one probe v·A v of a symmetric A: 2 ‖A‖_F² for normal v, 2 Σ_{i≠j} A_ij² for signs.

    Args:
        jacobian: A, shape (..., d, d).
        probes: "gaussian" or "rademacher".

    Returns:
        Shape (...).

    Raises:
        ValueError: unknown probes.
    """
    a = np.asarray(jacobian, dtype=float)
    a = 0.5 * (a + np.swapaxes(a, -1, -2))
    total = np.sum(a * a, axis=(-2, -1))
    if probes == "gaussian":
        return np.asarray(2.0 * total)
    if probes == "rademacher":
        return np.asarray(2.0 * (total - np.sum(np.diagonal(a, axis1=-2, axis2=-1) ** 2, axis=-1)))
    raise ValueError(f"probes = {probes!r} is not known: give gaussian or rademacher")


def bits_per_dimension(log_prob: Any, d: int, levels: float = 256.0, span: float = 2.0) -> Floats:
    """−log₂ p/d + log₂(levels/span) for data whose ``levels`` equally spaced values fill an interval of length ``span``.

    With uniform dequantisation over one level this bounds the bits of the discrete data from above (arXiv:1511.01844, section 3.1).

    Args:
        log_prob: log-density in nats, of the data as the model sees them.
        d: dimensions.
        levels, span: 256 values in [−1, 1] by default; span = 1 for [0, 1].

    Returns:
        Bits per dimension, of the shape of ``log_prob``.

    Raises:
        ValueError: a d, a number of levels or a span that is not positive.
    """
    for name, value in (("d", d), ("levels", levels), ("span", span)):
        if not value > 0:
            raise ValueError(f"{name} = {value!r} must be positive")
    return np.asarray(-np.asarray(log_prob) / (d * math.log(2.0)) + math.log2(levels / span))
