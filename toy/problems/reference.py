r"""Reference solutions of the probability-flow ODE where no closed map is known.

In u = x / sqrt(alpha² + sigma²), whose size stays that of the data from the first node to the last, and lam as the time,

    du/dlam = D / sqrt(1 + rho²) - u / (1 + rho²),   rho = e^{-lam},

which no exponential integrator and no method of this house is built on. On a space, dx/dsigma = -sigma score(x) in the ambient
coordinates. DOP853 integrates them at two tolerances; their difference bounds the error of the looser run and is reported as the error of
the tighter one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from scorebed.solvers import Denoiser, Node, Schedule


@dataclass(frozen=True)
class Reference:
    """States ``x`` and an estimate of their RMS error."""

    x: np.ndarray
    error: float


def _schedule(s: Node) -> Schedule:
    if s.schedule is None:
        raise ValueError("the reference needs nodes made by a schedule; s has schedule=None: use schedule.node(t)")
    return s.schedule


def _run(denoise: Denoiser, x: np.ndarray, s: Node, t: Node, tolerance: float) -> np.ndarray:
    schedule = _schedule(s)

    def slope(lam: float, u: np.ndarray) -> np.ndarray:
        # the ends themselves: at_lam may round to just outside the schedule
        node = s if lam == s.lam else t if lam == t.lam else schedule.at_lam(lam)
        scale = math.hypot(node.alpha, node.sigma)
        u = u.reshape(x.shape)
        denoised = denoise(scale * u, node)
        return ((node.alpha / scale) * denoised - (node.alpha / scale) ** 2 * u).ravel()

    u = (x / math.hypot(s.alpha, s.sigma)).ravel()
    done = scipy.integrate.solve_ivp(slope, (s.lam, t.lam), u, method="DOP853", rtol=tolerance, atol=tolerance)
    if not done.success:
        raise RuntimeError(f"the reference integration from {s} to {t} failed: {done.message}")
    return math.hypot(t.alpha, t.sigma) * done.y[:, -1].reshape(x.shape)


def integrate(denoise: Denoiser, x: np.ndarray, s: Node, t: Node, tolerance: float = 1e-12) -> Reference:
    """Where the probability flow of ``denoise`` takes ``x`` (..., d) from s to t, with the difference to a run at 30 times the tolerance.

    Returns:
        the Reference: x_t and its error estimate, 1e-15 at least.

    Raises:
        RuntimeError: the integration failed.
    """
    x_t = _run(denoise, x, s, t, tolerance)
    loose = _run(denoise, x, s, t, 30.0 * tolerance)
    return Reference(x_t, max(float(np.sqrt(np.mean((x_t - loose) ** 2))), 1e-15))


def integrate_on(target: Any, x: np.ndarray, s: Node, t: Node, tolerance: float = 1e-13) -> Reference:
    """The same on ``target.space``, for x of shape (n, *space.shape), with alpha = 1 and ``target.score`` a tangent vector."""

    schedule = _schedule(s)

    def run(tolerance: float) -> np.ndarray:
        def slope(sigma: float, y: np.ndarray) -> np.ndarray:
            node = s if sigma == s.sigma else t if sigma == t.sigma else schedule.at_lam(-math.log(sigma))
            return (-sigma * target.score(target.space.project(y.reshape(x.shape)), node)).ravel()

        done = scipy.integrate.solve_ivp(slope, (s.sigma, t.sigma), x.ravel(), method="DOP853", rtol=tolerance, atol=tolerance)
        if not done.success:
            raise RuntimeError(f"the reference integration from {s} to {t} failed: {done.message}")
        return np.asarray(target.space.project(done.y[:, -1].reshape(x.shape)))

    x_t, loose = run(tolerance), run(30.0 * tolerance)
    return Reference(x_t, max(float(np.sqrt(np.mean(np.square(target.space.distance(x_t, loose))))), 1e-15))
