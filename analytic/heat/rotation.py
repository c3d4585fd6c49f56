r"""The heat kernels of SU(2) and SO(3), as densities with respect to their Riemannian volumes.

SU(2) is the unit sphere of quaternions, S³ with the angle ψ as distance, volume 2π². SO(3) carries the metric whose distance is the angle
of rotation ω = 2ψ, volume 8π²; time t on SO(3) is t/4 on S³, and q and -q are one rotation:

    K^{SO(3)}_t(ω) = (K^{S³}_{t/4}(ω/2) + K^{S³}_{t/4}(π - ω/2)) / 8
                   = (1/8π²) Σ_l (2l+1) e^{-l(l+1)t/2} sin((2l+1)ω/2)/sin(ω/2),     l = 0, 1, …                      (characters)
    K^{SU(2)}_t(ψ) = (1/2π²) Σ_k (k+1) e^{-k(k+2)t/2} sin((k+1)ψ)/sin ψ.

The first line is what is computed: the images are sums of positive terms at every time.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from scorebed.analytic.heat import sphere
from scorebed.analytic.heat.radial import REACH, Radial, graded, radial_of
from scorebed.solvers.space import SO3

LOG_VOLUME = math.log(8.0 * math.pi**2)


def kernel(omega: Any, t: float) -> tuple[np.ndarray, np.ndarray]:
    """(log K_t(ω), ∂_ω log K_t(ω)) on SO(3), elementwise on angles ω in [0, π] of any shape, for t > 0."""
    half = 0.5 * np.asarray(omega, dtype=np.float64)
    near, near_slope = sphere.kernel(half, 0.25 * t, 3)
    far, far_slope = sphere.kernel(math.pi - half, 0.25 * t, 3)
    log = np.logaddexp(near, far)
    return log - math.log(8.0), 0.5 * (np.exp(near - log) * near_slope - np.exp(far - log) * far_slope)


def su2(psi: Any, t: float) -> tuple[np.ndarray, np.ndarray]:
    """(log K_t(ψ), ∂_ψ log K_t(ψ)) on SU(2) = S³, for ψ in [0, π]."""
    return sphere.kernel(psi, t, 3)


def characters(omega: Any, t: float) -> np.ndarray:
    """K_t(ω) on SO(3) by the sum over characters, which cancels at short times; for checks."""
    half = 0.5 * np.asarray(omega, dtype=np.float64)[..., None]
    l = np.arange(0.0, 3.0 + math.sqrt(80.0 / t))
    ratio = np.sinc((2.0 * l + 1.0) * half / math.pi) / np.sinc(half / math.pi) * (2.0 * l + 1.0)
    return ratio @ ((2.0 * l + 1.0) * np.exp(-0.5 * l * (l + 1.0) * t)) / math.exp(LOG_VOLUME)


@cache
def _radial() -> Radial:
    return Radial(
        pole=SO3().origin,
        end=math.pi,
        log_area=lambda r: 2.0 * np.log(np.sin(0.5 * r)) + math.log(16.0 * math.pi),
        kernel=kernel,
        breaks=lambda t: graded(t, math.pi, 0.5, REACH),
    )


@radial_of.register
def _(space: SO3) -> Radial:
    return _radial()
