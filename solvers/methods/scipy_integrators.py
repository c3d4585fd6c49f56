r"""SciPy's integrators on the probability-flow ODE in x(t), as black-box baselines (arXiv:2011.13456, appendix D.4).

    dx/dt = (f + g²/2σ²) x - (α g²/2σ²) D,      ``scipy.integrate.solve_ivp`` from t_s to t_t with rtol and atol

Every sample is a system of its own, with its own steps, and every evaluation a call on a batch of one: a sample does not depend on its
batch. With ``together=True`` the whole batch is one system, as it is customary with networks: one call for all samples, and steps that suit
the norm over all of them, so that each depends on the others. In both cases ``nfe`` counts every call, those for Jacobians by differences
too.

A network with conditions of each sample is asked for one sample as ``solvers.rows`` says.

The integrators work in float64 on the host; the denoiser sees the state's own type. No gradient passes through them. They start afresh at
every node of the grid, so a grid of one step is what they are meant for. Radau and LSODA form the Jacobian, of the size of the system
squared: for small dimensions only. After ``MOST_CALLS`` they give up: with a denoiser that does not repeat itself, by dropout for instance,
no step is ever good enough. For the same reason states in half precision are refused, and an rtol below round-off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy

from scorebed.solvers.base import Carry, Solver, solver
from scorebed.solvers.methods.runge_kutta import schedule_of, velocity
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.precision import is_half, resolution
from scorebed.solvers.ranges import within
from scorebed.solvers.rows import of_rows
from scorebed.solvers.schedule import Node
from scorebed.solvers.space.xp import namespace

BLACK_BOX = "black box: SciPy chooses the steps"
MOST_CALLS = 20_000
"""A system gives up after so many evaluations in a step of the grid, and 100 more for each of its coordinates."""
Method = Literal["RK45", "DOP853", "Radau", "LSODA"]


class IntegratorFailed(RuntimeError):
    """An integrator did not reach the end of the step."""


@dataclass(frozen=True)
class Ask:
    """How to integrate: SciPy's method and tolerances."""

    method: Method
    rtol: float
    atol: float


def integrate(ask: Ask, denoise: Denoiser, x: Array, s: Node, t: Node, together: bool) -> tuple[Array, Any]:
    """x at t by ``solve_ivp(method=method)``.

    Returns:
        (x at t, of the shape of x, None for no memory).

    Raises:
        TypeError: a state in half precision.
        ValueError: a node without a schedule, a tolerance below round-off, a state of which a gradient is wanted.
        IntegratorFailed: the integrator gave up, the message is its own; or ``MOST_CALLS`` was reached.
    """
    _check_resolution(ask, x)
    _refuse_gradients(ask, x, "x requires one: give x.detach()")
    if s.t == t.t:
        return x, None
    if together or x.ndim == 1:
        return _system(ask, denoise, x, s, t), None
    x_t = x + 0.0
    for i in range(x.shape[0]):
        x_t[i : i + 1] = _system(ask, of_rows(denoise, [i], x.shape[0]), x[i : i + 1], s, t)
    return x_t, None


def _refuse_gradients(ask: Ask, x: Array, why: str) -> None:
    """Refuse an array through which a derivative is wanted, backward or forward: on the host it would be lost without a word."""
    xp = namespace(x)
    if xp is not np and ((x + 0.0).requires_grad or xp.autograd.forward_ad.unpack_dual(x).tangent is not None):
        raise ValueError(
            f"scipy's {ask.method} works on the host and gives no gradient, but {why}, or take a method of our own, dormand_prince for one"
        )


def _check_resolution(ask: Ask, x: Array) -> None:
    """Refuse what the dtype of x cannot hold to."""
    unit = resolution(x)
    if is_half(x):
        raise TypeError(
            f"scipy's {ask.method} cannot judge its steps by a denoiser of {x.dtype}, which rounds to {unit:.1g}: give x.float() and let "
            "the denoiser round, or take a method of our own such as dormand_prince, which knows round-off"
        )
    least = max(4.0 * unit, 100.0 * 2.0**-52)  # the latter is SciPy's
    if ask.rtol < least:
        raise ValueError(f"rtol = {ask.rtol!r} is below the round-off of {x.dtype}: give at least {least:.2g}")


def _system(ask: Ask, denoise: Denoiser, x: Array, s: Node, t: Node) -> Array:
    """One initial value problem for all of ``x``."""
    schedule, made, most = schedule_of(s), 0, MOST_CALLS + 100 * math.prod(x.shape)  # a Jacobian by differences costs a call per entry

    def right_side(time: float, y: np.ndarray) -> np.ndarray:
        nonlocal made
        made += 1
        if made > most:
            raise IntegratorFailed(
                f"scipy's {ask.method} made {most} calls on the way from {s} to {t} and is at t = {time}: rtol = {ask.rtol!r}, atol = "
                f"{ask.atol!r} are too small for this denoiser; does it give the same answer twice?"
            )
        node = schedule.node(time)
        denoised = denoise(_alike(y, x), node)
        _refuse_gradients(ask, denoised, "what the denoiser returns requires one: run under torch.no_grad()")
        return velocity(y, _flat(denoised), node)

    solved = scipy.integrate.solve_ivp(right_side, (s.t, t.t), _flat(x), method=ask.method, rtol=ask.rtol, atol=ask.atol)
    if not solved.success:
        raise IntegratorFailed(f"scipy's {ask.method} stopped at t = {solved.t[-1]} on the way from {s} to {t}: {solved.message}")
    return _alike(solved.y[:, -1], x)


def _flat(x: Array) -> np.ndarray:
    """As a float64 vector on the host."""
    return np.asarray(x if isinstance(x, np.ndarray) else x.detach().cpu().double(), dtype=np.float64).reshape(-1)


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
        return integrate(Ask(method, rtol, atol), denoise, x, s, t, together)

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
