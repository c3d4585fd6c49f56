r"""SciPy's integrators on the probability-flow ODE in x(t), as black-box baselines (arXiv:2011.13456, appendix D.4).

    dx/dt = (f + g²/2σ²) x - (α g²/2σ²) D,      ``scipy.integrate.solve_ivp`` from t_s to t_t with rtol and atol

Every sample is a system of its own, with its own steps, and every evaluation a call on a batch of one: a sample does not depend on its
batch. With ``together=True`` the whole batch is one system, as it is customary with networks: one call for all samples, and steps that suit
the norm over all of them, so that each depends on the others. In both cases ``nfe`` counts every call, those for Jacobians by differences
too.

The integrators work in float64 on the host; the denoiser sees the state's own type. They start afresh at every node of the grid, so a grid
of one step is what they are meant for. Radau and LSODA form the Jacobian, of the size of the system squared: for small dimensions only.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy.integrate import solve_ivp

from scorebed.solvers.base import Carry, Solver, solver
from scorebed.solvers.methods.runge_kutta import schedule_of, velocity
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.ranges import within
from scorebed.solvers.schedule import Node

BLACK_BOX = "black box: SciPy chooses the steps"
Method = Literal["RK45", "DOP853", "Radau", "LSODA"]


class IntegratorFailed(RuntimeError):
    """``solve_ivp`` did not reach the end of the step."""


def integrate(method: Method, denoise: Denoiser, x: Array, s: Node, t: Node, rtol: float, atol: float, together: bool) -> tuple[Array, Any]:
    """x at t by ``solve_ivp(method=method)``.

    Raises:
        ValueError: a node without a schedule.
        IntegratorFailed: the integrator gave up; the message is its own.
    """
    if s.t == t.t:
        return x, None
    if together or x.ndim == 1:
        return _system(method, denoise, x, s, t, rtol, atol), None
    x_t = x + 0.0
    for i in range(x.shape[0]):
        x_t[i : i + 1] = _system(method, denoise, x[i : i + 1], s, t, rtol, atol)
    return x_t, None


def _system(method: Method, denoise: Denoiser, x: Array, s: Node, t: Node, rtol: float, atol: float) -> Array:
    """One initial value problem for all of ``x``."""
    schedule = schedule_of(s)

    def right_side(time: float, y: np.ndarray) -> np.ndarray:
        node = schedule.node(time)
        z = _alike(y, x)
        return _flat(velocity(z, denoise(z, node), node))

    found = solve_ivp(right_side, (s.t, t.t), _flat(x), method=method, rtol=rtol, atol=atol)
    if not found.success:
        raise IntegratorFailed(f"scipy's {method} stopped at t = {found.t[-1]} on the way from {s} to {t}: {found.message}")
    return _alike(found.y[:, -1], x)


def _flat(x: Array) -> np.ndarray:
    """As a float64 vector on the host."""
    return np.asarray(x if isinstance(x, np.ndarray) else x.detach().cpu(), dtype=np.float64).reshape(-1)


def _alike(y: np.ndarray, x: Array) -> Array:
    """In the type, dtype, device and shape of ``x``."""
    y = y.reshape(tuple(x.shape))
    return y.astype(x.dtype) if isinstance(x, np.ndarray) else x.new_tensor(y)


def _baseline(name: str, method: Method, order: int, reference: str, formula: str) -> Solver:
    """The integrator as a registered method."""

    @within(rtol="(0, inf)", atol="(0, inf)")
    def step(
        denoise: Denoiser,
        x: Array,
        s: Node,
        t: Node,
        carry: Carry,
        noise: Noise,
        *,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        together: bool = False,
    ) -> tuple[Array, Any]:
        return integrate(method, denoise, x, s, t, rtol, atol, together)

    step.__name__, step.__doc__ = name, f"x_t = x + ∫_s^t v du by {formula}."
    return solver(order=order, reference=reference, nonlinear=BLACK_BOX)(step)


scipy_rk45 = _baseline(
    "scipy_rk45",
    "RK45",
    5,
    "scipy.integrate.RK45 (Dormand & Prince 1980); arXiv:2011.13456, appendix D.4",
    "an explicit Runge-Kutta pair of orders 5(4)",
)
scipy_dop853 = _baseline(
    "scipy_dop853",
    "DOP853",
    8,
    "scipy.integrate.DOP853 (Hairer, Nørsett & Wanner I, II.10)",
    "an explicit Runge-Kutta triple of orders 8(5,3)",
)
scipy_radau = _baseline(
    "scipy_radau",
    "Radau",
    5,
    "scipy.integrate.Radau (Hairer & Wanner II, IV.8)",
    "the implicit Runge-Kutta method Radau IIA of order 5, L-stable",
)
scipy_lsoda = _baseline(
    "scipy_lsoda",
    "LSODA",
    1,
    "scipy.integrate.LSODA (Petzold 1983), orders 1 to 12",
    "Adams or BDF formulas of variable order, with a switch for stiffness; the claim is the least order it uses",
)
