r"""Heat traces Z(t) = tr e^{tΔ/2} = ∫ K_t(x, x) dx of homogeneous spaces: the spectrum at long times, the geometry at short ones.

All points of a torus, a sphere, SO(3) and their products are alike, so that Z = vol · K_t(x, x), and with R the scalar curvature

    Z(t) = vol (2πt)^{−d/2} (1 + R t/12 + O(t²)),        Z(t) → 1 + m e^{−λ_1 t} …

The entropy of the spectrum, −Σ p log p with p = e^{−tλ}/Z, is log Z − t d log Z/dt (diffusion spectral entropy, arXiv:2312.04823).
"""

from __future__ import annotations

import math

import numpy as np

from scorebed.analytic.heat.kernels import kernel_of
from scorebed.analytic.heat.rotation import LOG_VOLUME
from scorebed.analytic.heat.sphere import log_area
from scorebed.solvers.space import SO3, SU2, Product, Space, Sphere, Torus


def log_volume(space: Space) -> float:
    """log of the Riemannian volume.

    Returns:
        log volume of the space.

    Raises:
        TypeError: a space that is not homogeneous and closed.
    """
    if isinstance(space, Product):
        return math.fsum(log_volume(part) for part in space.spaces)
    if isinstance(space, Torus):
        return space.dim * math.log(2.0 * math.pi)
    if isinstance(space, Sphere):
        return log_area(space.dim)
    if isinstance(space, SU2):
        return math.log(2.0 * math.pi**2)
    if isinstance(space, SO3):
        return LOG_VOLUME
    raise TypeError(f"{space.name} is not homogeneous and closed: give a torus, a sphere, SO3, SU2, or a product of them")


def log_trace(space: Space, t: float) -> float:
    """log Z(t).

    Returns:
        log Z(t), a float.

    Raises:
        TypeError: as ``log_volume``.
        ValueError: t that is not positive.
    """
    if not t > 0.0:
        raise ValueError(f"t = {t!r} must be positive")
    volume, x = log_volume(space), space.origin[None]
    return volume + float(kernel_of(space).at(x, x, t)[0][0, 0])


def spectral_entropy(space: Space, t: float) -> float:
    """log Z − t d log Z/dt, by central differences of sixth order in log t."""
    h = 0.02
    values = np.array([log_trace(space, t * math.exp(k * h)) for k in (-3, -2, -1, 1, 2, 3)])
    return log_trace(space, t) - float(values @ np.array([-1.0, 9.0, -45.0, 45.0, -9.0, 1.0])) / (60.0 * h)
