r"""IGSO(3) as others write it: which clock, and a density of what?

The heat kernel on SO(3) goes by several names that differ by factors, which is where ports of it go wrong. With ω the angle of rotation and
the clock of the house, ½Δ and ⟨A, B⟩ = ½ tr(AᵀB), K_t(ω) = (1/8π²) Σ_l (2l+1) e^{−l(l+1) t/2} sin((2l+1)ω/2)/sin(ω/2). Then

    clock     "half"    t = sigma²                      e^{−l(l+1) sigma²/2}        (FrameDiff, arXiv:2302.02277)
              "whole"   t = 2 eps²                      e^{−l(l+1) eps²}            (Leach et al., ICLR workshop 2022)
    measure   "volume"  K with respect to the volume 8π² of the house
              "haar"    8π² K with respect to the normalised Haar measure: the usual f(ω) = Σ (2l+1) e^{…} sin(…)/sin(ω/2)
              "angle"   16π sin²(ω/2) K, the density of the angle itself on [0, π], f(ω) (1 − cos ω)/π

The gradient of log K with respect to the rotation is the same for "volume" and "haar", and not that of "angle", which has cot(ω/2) more.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from scorebed.analytic.heat import rotation

CLOCKS = {"half": 1.0, "whole": 2.0}
MEASURES = ("volume", "haar", "angle")


def igso3(omega: Any, sigma: float, *, clock: str = "half", measure: str = "haar") -> tuple[np.ndarray, np.ndarray]:
    """(log density, its derivative in ω) at angles in [0, π], in the convention that is named.

    Args:
        omega: angles, of any shape.
        sigma: the scale that the convention calls sigma or eps.
        clock: "half" or "whole".
        measure: "volume", "haar" or "angle".

    Returns:
        (log density, its derivative in ω), both of the shape of omega.

    Raises:
        ValueError: an unknown convention, or a scale that is not positive.
    """
    if clock not in CLOCKS:
        raise ValueError(f"clock = {clock!r} is not known: give one of {', '.join(CLOCKS)}")
    if measure not in MEASURES:
        raise ValueError(f"measure = {measure!r} is not known: give one of {', '.join(MEASURES)}")
    if not sigma > 0.0:
        raise ValueError(f"sigma = {sigma!r} must be positive")
    w = np.asarray(omega, dtype=float)
    log, slope = rotation.kernel(w, CLOCKS[clock] * sigma**2)
    if measure == "haar":
        return log + rotation.LOG_VOLUME, slope
    if measure == "angle":
        with np.errstate(divide="ignore"):
            return log + math.log(16.0 * math.pi) + 2.0 * np.log(np.sin(0.5 * w)), slope + 1.0 / np.tan(0.5 * w)
    return log, slope
