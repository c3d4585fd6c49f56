r"""torchdiffeq's integrators on the probability-flow ODE in x(t), as black-box baselines (arXiv:2011.13456, appendix D.4).

    dx/dt = (f + g²/2σ²) x - (α g²/2σ²) D,      ``torchdiffeq.odeint`` from t_s to t_t

Adaptive ones take ``rtol`` and ``atol`` and start afresh at every node of the grid, so a grid of one step is what they are meant for.
Fixed-step ones make ``steps`` equal steps of t between two nodes; with ``steps = 1`` the grid's own. The whole batch is one system, as
torchdiffeq has it: one call for all samples, and adaptive steps that suit the norm over all of them, so that each sample depends on the
others. ``together=False`` integrates every sample by itself. ``nfe`` counts the calls of the denoiser, those of refused steps too.

The integrators hold states of float32 at least; the denoiser sees the state's own type. Round-off is the floor of the tolerances
(``FLOOR``, ``SEEN``): what is below it counts as it, since no step, however small, would meet less.

Conditions belong to samples: with ``together=False`` the denoiser is asked for ``take(rows)``, or where it has none for the whole batch.

torchdiffeq hands the right side its time in the state's dtype: with float32 states the nodes of the evaluations carry its rounding.

Nothing here is in ``solvers.SOLVERS``, which knows no torch. The methods by name are ``TORCHDIFFEQ``; each is also a constant here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torchdiffeq import odeint

from scorebed.gpu.noise import widest
from scorebed.solvers.base import Carry, Solver, remade, solver
from scorebed.solvers.methods.runge_kutta import schedule_of, velocity
from scorebed.solvers.methods.scipy_integrators import IntegratorFailed
from scorebed.solvers.model import Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.schedule import Node

BLACK_BOX = "black box: torchdiffeq makes the steps"

MOST_STEPS = 10_000
"""An adaptive method gives up after so many in one step of the grid, refused ones too; torchdiffeq would go on for hours."""

FLOOR, SEEN = 4.0, 1.0 / 64.0
"""Least tolerances, states being of order 1: in units of the round-off of the registers, and of that of what the denoiser sees and gives,
which a step of a fraction of lam carries into x as a small part of itself."""


class _Method(NamedTuple):
    order: int
    adaptive: bool
    formula: str


METHODS = {
    "dopri5": _Method(5, True, "the pair of Dormand & Prince, orders 5(4)"),
    "dopri8": _Method(8, True, "the pair of Dormand & Prince, orders 8(7)"),
    "bosh3": _Method(3, True, "the pair of Bogacki & Shampine, orders 3(2)"),
    "fehlberg2": _Method(2, True, "Fehlberg's pair, orders 2(1)"),
    "adaptive_heun": _Method(2, True, "Heun's method with Euler's as its estimate"),
    "euler": _Method(1, False, "Euler's method"),
    "midpoint": _Method(2, False, "the explicit midpoint rule"),
    "heun2": _Method(2, False, "Heun's method of order 2"),
    "heun3": _Method(3, False, "Heun's method of order 3"),
    "rk4": _Method(4, False, "the 3/8 rule of order 4"),
    "explicit_adams": _Method(4, False, "Adams-Bashforth, started by the 3/8 rule at every node"),
    "implicit_adams": _Method(5, False, "Adams-Bashforth-Moulton with up to four corrections, started by the 3/8 rule at every node"),
}
"""torchdiffeq's methods of its own: the claimed order, whether the steps are adaptive, and what they are."""

_ADAMS = {"explicit_adams": 5, "implicit_adams": 5}
"""Formulas used: ``max_order`` = k are Adams-Bashforth of order k - 1 and Adams-Moulton of order k, and the start limits the run to 5."""


def torchdiffeq_solver(method: str, rtol: float = 1e-5, atol: float = 1e-5) -> Solver:
    """torchdiffeq's ``method`` as a solver on torch tensors of shape (B, ...).

    Its options: ``together`` of all; ``rtol`` and ``atol`` of the adaptive ones and of ``implicit_adams``, whose correction they stop;
    ``steps`` of those with fixed steps. The arguments are the defaults of the options.

    Returns:
        the Solver of ``method`` on tensors (B, ...).

    Raises:
        ValueError: a method that torchdiffeq does not have (``scipy_solver`` is ``solvers.scipy_rk45`` and its like), a tolerance that is
            not positive, fewer than one step.
        TypeError: at the step, a state that is not a torch tensor.
        IntegratorFailed: at the step, torchdiffeq gave up, after ``MOST_STEPS`` at the latest.
    """
    if method not in METHODS:
        raise ValueError(f"method = {method!r} is not one of torchdiffeq's own: give one of {', '.join(METHODS)}")
    known, first_rtol, first_atol = METHODS[method], rtol, atol
    _check(rtol, atol, 1)

    if known.adaptive:

        def adaptive(
            denoise: Denoiser,
            x: Any,
            s: Node,
            t: Node,
            carry: Carry,
            noise: Noise,
            *,
            rtol: float = first_rtol,
            atol: float = first_atol,
            together: bool = True,
        ) -> tuple[Any, Carry]:
            return _integrate(method, denoise, x, s, t, rtol, atol, 1, together), None

        step: Any = adaptive
    elif method == "implicit_adams":

        def corrected(
            denoise: Denoiser,
            x: Any,
            s: Node,
            t: Node,
            carry: Carry,
            noise: Noise,
            *,
            rtol: float = first_rtol,
            atol: float = first_atol,
            steps: int = 1,
            together: bool = True,
        ) -> tuple[Any, Carry]:
            return _integrate(method, denoise, x, s, t, rtol, atol, steps, together), None

        step = corrected
    else:

        def fixed(
            denoise: Denoiser, x: Any, s: Node, t: Node, carry: Carry, noise: Noise, *, steps: int = 1, together: bool = True
        ) -> tuple[Any, Carry]:
            return _integrate(method, denoise, x, s, t, first_rtol, first_atol, steps, together), None

        step = fixed
    step.__name__, step.__doc__ = f"torchdiffeq_{method}", f"x_t = x + ∫_s^t v du by {known.formula}."
    again = remade(step, torchdiffeq_solver, method, first_rtol, first_atol)
    reference = f"torchdiffeq.odeint, method {method!r}; arXiv:2011.13456, appendix D.4"
    return solver(order=known.order, reference=reference, nonlinear=BLACK_BOX, register=False)(again)


def _check(rtol: float, atol: float, steps: int) -> None:
    if not (rtol > 0.0 and atol > 0.0):
        raise ValueError(f"rtol = {rtol!r} and atol = {atol!r} must be positive")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps = {steps!r} must be an integer of at least 1")


def _integrate(method: str, denoise: Denoiser, x: Any, s: Node, t: Node, rtol: float, atol: float, steps: int, together: bool) -> Any:
    """x at t."""
    _check(rtol, atol, steps)
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"torchdiffeq_{method}: x is a {type(x).__name__}: give a torch tensor, or take solvers.scipy_rk45 for NumPy")
    if s.t == t.t:
        return x
    if together or x.ndim == 1 or x.shape[0] == 1:
        return _system(method, denoise, x, s, t, rtol, atol, steps)
    parts = [_system(method, _part(denoise, x, i), x[i : i + 1], s, t, rtol, atol, steps) for i in range(x.shape[0])]
    return torch.cat(parts)


def _part(denoise: Any, x: torch.Tensor, i: int) -> Denoiser:
    """The denoiser of sample i alone."""
    if hasattr(denoise, "take"):
        part: Denoiser = denoise.take(slice(i, i + 1))
        return part
    return lambda y, node: denoise(torch.cat((x[:i], y, x[i + 1 :])), node)[i : i + 1]


def _system(method: str, denoise: Denoiser, x: torch.Tensor, s: Node, t: Node, rtol: float, atol: float, steps: int) -> torch.Tensor:
    """One initial value problem for all of ``x``."""
    schedule, kind = schedule_of(s), x.dtype
    low, high = sorted((s.t, t.t))
    wide = torch.promote_types(kind, torch.float32)
    floor = max(FLOOR * torch.finfo(wide).eps, SEEN * torch.finfo(kind).eps)

    def right_side(time: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        at = min(max(float(time.detach()), low), high)  # rounded to the dtype of y it may leave the step, and the schedule
        node = s if at == s.t else t if at == t.t else schedule.node(at)
        value: torch.Tensor = velocity(y, denoise(y.to(kind), node).to(wide), node)
        return value

    times = torch.tensor([s.t + (t.t - s.t) * (i / steps) for i in range(steps)] + [t.t], dtype=widest(x.device), device=x.device)
    options: dict[str, Any] = {"max_order": _ADAMS[method]} if method in _ADAMS else {}
    if METHODS[method].adaptive:
        options["max_num_steps"] = MOST_STEPS
        options["dtype"] = times.dtype
        options["step_t"] = times[-1:]  # else it steps beyond t, perhaps off the schedule, and interpolates with a lower order
    try:
        ends = odeint(right_side, x.to(wide), times, rtol=max(rtol, floor), atol=max(atol, floor), method=method, options=options)
    except AssertionError as error:  # torchdiffeq asserts that steps do not underflow, are not too many, and values stay finite
        raise IntegratorFailed(f"torchdiffeq's {method} gave up on the way from {s} to {t}: {error}") from error
    end: torch.Tensor = ends[-1].to(kind)
    return end


TORCHDIFFEQ = {method: torchdiffeq_solver(method) for method in METHODS}
"""Every method of torchdiffeq by its name there, at default tolerances."""

torchdiffeq_dopri5 = TORCHDIFFEQ["dopri5"]
torchdiffeq_dopri8 = TORCHDIFFEQ["dopri8"]
torchdiffeq_bosh3 = TORCHDIFFEQ["bosh3"]
torchdiffeq_fehlberg2 = TORCHDIFFEQ["fehlberg2"]
torchdiffeq_adaptive_heun = TORCHDIFFEQ["adaptive_heun"]
torchdiffeq_euler = TORCHDIFFEQ["euler"]
torchdiffeq_midpoint = TORCHDIFFEQ["midpoint"]
torchdiffeq_heun2 = TORCHDIFFEQ["heun2"]
torchdiffeq_heun3 = TORCHDIFFEQ["heun3"]
torchdiffeq_rk4 = TORCHDIFFEQ["rk4"]
torchdiffeq_explicit_adams = TORCHDIFFEQ["explicit_adams"]
torchdiffeq_implicit_adams = TORCHDIFFEQ["implicit_adams"]
