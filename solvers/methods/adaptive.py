r"""Embedded pairs with a step size for every sample, inside one step of the grid.

A pair gives x_t and an estimate e of its error. A sample's sub-step from a to b is accepted if

    rms(e) <= alpha_b atol + sigma_b rtol,

so atol is in units of the data and rtol in units of the noise: the usual atol + rtol |x|, with |x| replaced by what it is typically, and so
free of the sample's place, the axes' orientation and the rest of the batch. A PI controller (Gustafsson; Hairer, Nørsett & Wanner, Solving
ODEs I, II.4, and II, IV.2) chooses the next length from this error and the last.

One call of a denoiser is for one node, and a node is shared only by samples that stand at the same place (``solvers.rows`` says how a
network with conditions of each sample is asked for some). So lengths are the step s -> t in
lam halved again and again, as the block time steps of N-body codes are (McMillan 1986), and begin at multiples of themselves: the samples
that are furthest behind and want the same length move together in one batch. Rounding down costs a sample up to twice the sub-steps, and in
exchange a batch of any size takes about twice the calls of its hardest sample and not the sum over all. ``nfe`` counts calls; a call is on
the samples at its node only.

A state in half precision is moved in float32. No error below the round-off of what the network is given, 2^-8 of the state for bfloat16,
refuses a sub-step; tolerances below that of the registers are refused.

Nothing here depends on the batch: a sample's result is the same to the last bit in any, if the denoiser's is. The first axis of x counts
samples; a sample of any shape has one step size. The lengths and D at t go on to the next step of the grid. The decisions are made on the
host, which waits for the errors once per sub-step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scorebed.solvers.base import Carry, solver
from scorebed.solvers.methods.edm import slopes
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.precision import is_half, narrowed, resolution, widened
from scorebed.solvers.ranges import within
from scorebed.solvers.rows import of_rows
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights import tableau
from scorebed.solvers.weights.exponential import eps_of, flow_by_eps, phi
from scorebed.solvers.weights.tableau import Tableau, plus

ADAPTIVE = "adaptive: the steps depend on the samples"
_WHOLE = 2**20
"""A step of the grid in units of its shortest sub-step."""
_ATTEMPTS = 10_000
"""The most sub-steps, refused ones too, of one sample in one step of the grid."""
_FIRST = 0.5
"""The longest first sub-step in lam, before there is an error to judge by."""
_SAFETY, _SHRINK, _GROW = 0.9, 0.1, 8.0


class ToleranceNotMet(RuntimeError):
    """A sample needs more or shorter sub-steps than there may be."""


@dataclass(frozen=True)
class Pair:
    """``step(denoise, x, s, t) -> (x_t, e)`` with e = O(h^power). ``last``: the last evaluation is D(x_t, t), which the next step begins
    with."""

    step: Callable[[Denoiser, Array, Node, Node], tuple[Array, Array]]
    power: int
    last: bool = False


def embedded(coefficients: Tableau, power: int) -> Pair:
    """A Runge-Kutta pair in rho whose last stage is its result."""

    def step(denoise: Denoiser, x: Array, s: Node, t: Node) -> tuple[Array, Array]:
        d, h = slopes(coefficients, denoise, x, s, t), t.rho - s.rho
        x_t = t.alpha * plus((1.0 / s.alpha) * x, h, coefficients.b, d)
        return x_t, t.alpha * plus(0.0 * x, h, coefficients.error, d)

    return Pair(step, power, last=True)


def _dpm_12(denoise: Denoiser, x: Array, s: Node, t: Node) -> tuple[Array, Array]:
    i = s.toward(t, 0.5)
    eps = eps_of(x, denoise(x, s), s)
    u = flow_by_eps(x, eps, s, i)
    error = -t.sigma * math.expm1(t.lam - s.lam) * (eps_of(u, denoise(u, i), i) - eps)
    return flow_by_eps(x, eps, s, t) + error, error


def _dpm_23(denoise: Denoiser, x: Array, s: Node, t: Node) -> tuple[Array, Array]:
    h, one, two = t.lam - s.lam, s.toward(t, 1 / 3), s.toward(t, 2 / 3)
    eps = eps_of(x, denoise(x, s), s)
    u = flow_by_eps(x, eps, s, one)
    d_one = eps_of(u, denoise(u, one), one) - eps
    u = flow_by_eps(x, eps, s, two) - (4 / 3) * two.sigma * h * phi(2, 2 / 3 * h) * d_one
    change = -1.5 * t.sigma * h * phi(2, h) * (eps_of(u, denoise(u, two), two) - eps)
    return flow_by_eps(x, eps, s, t) + change, change + 1.5 * t.sigma * math.expm1(h) * d_one


BOGACKI_SHAMPINE = embedded(tableau.BOGACKI_SHAMPINE, 3)
DORMAND_PRINCE = embedded(tableau.DORMAND_PRINCE, 5)
DPM_12, DPM_23 = Pair(_dpm_12, 2), Pair(_dpm_23, 3)


def control(
    pair: Pair, denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, rtol: float, atol: float
) -> tuple[Array, tuple[Any, ...] | None]:
    """All samples from s to t, each by its own sub-steps.

    Returns:
        (states at t, of the shape of x, carry for the next step or as given).

    Raises:
        ValueError: a tolerance is negative or nan, or both are 0.
        ToleranceNotMet: a sample would need a sub-step below 2^-20 of the step, or more than 10,000; or the tolerances are below round-off.
    """
    if not (rtol >= 0.0 and atol >= 0.0 and rtol + atol > 0.0):
        raise ValueError(f"rtol = {rtol!r} and atol = {atol!r}: neither may be negative, and one must be positive")
    if s.lam == t.lam:
        return x, carry
    asked = x
    denoise, x = widened(denoise, x)
    _check_resolution(x, s, t, rtol, atol)
    if x.ndim == 1:
        one, carry = control(pair, lambda y, node: denoise(y[0], node)[None], x[None], s, t, carry, rtol, atol)
        return narrowed(one[0], asked), carry
    n, span = x.shape[0], abs(t.lam - s.lam) / _WHOLE
    aim = _SAFETY**pair.power  # in place of a safety factor, which a PI controller would meet by errors smaller still
    x = x + 0.0  # a copy, to be written to
    known, wanted, before = carry or (None, np.full(n, _FIRST), np.full(n, aim))
    first = 0.0 * x if known is None else known + 0.0
    has = np.full(n, known is not None)  # whether ``first`` holds D where the sample stands
    wanted, before = wanted / span, before.copy()  # the length that the controller would take; the error that it expected there
    place, tries = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    width = _width(wanted, place)
    while (here := int(place.min())) < _WHOLE:
        rows = np.flatnonzero(place == here)
        w = int(width[rows].max())
        rows = rows[width[rows] == w]
        a, b = s.toward(t, here / _WHOLE), s.toward(t, (here + w) / _WHOLE)
        missing = rows[~has[rows]].tolist()
        if missing:
            first[missing] = of_rows(denoise, missing, n)(x[missing], a)
            has[missing] = True
        here_now = rows.tolist()
        end, error, last = _attempt(pair, of_rows(denoise, here_now, n), x[here_now], first[here_now], a, b)
        allowed = b.alpha * atol + b.sigma * rtol
        size = _rms(error) / (np.maximum(allowed, 0.5 * resolution(asked) * _rms(end)) if is_half(asked) else allowed)
        size = np.where(np.isfinite(size), np.maximum(size, 1e-12), 1e12)
        good = size <= 1.0
        kept = rows[good].tolist()
        if kept:
            mask = np.flatnonzero(good).tolist()
            x[kept] = end[mask]
            has[kept] = pair.last
            if pair.last:
                first[kept] = last[mask]
            place[kept] += w
        # what the error would have been at the length that the controller wanted, had that not been rounded
        expected = size * (wanted[rows] / w) ** pair.power
        ahead = wanted[rows] * (expected / aim) ** (-0.7 / pair.power) * (before[rows] / aim) ** (0.4 / pair.power)
        back = w * _SAFETY * size ** (-1.0 / pair.power)
        wanted[rows] = np.clip(np.where(good, ahead, back), _SHRINK * w, _GROW * w)
        before[rows] = np.where(good, np.maximum(expected, 1e-4), aim)
        tries[rows] += 1
        open_ = rows[place[rows] < _WHOLE]
        _check(wanted[open_], tries[open_], open_, size, b, rtol, atol, x)
        width[open_] = _width(wanted[open_], place[open_])
    return narrowed(x, asked), (first if pair.last else None, wanted * span, before)


def _attempt(pair: Pair, denoise: Denoiser, x: Array, first: Array, a: Node, b: Node) -> tuple[Array, Array, Array]:
    """One sub-step whose first evaluation is known, and its last evaluation."""
    last = first

    def recall(y: Array, node: Node) -> Array:
        nonlocal last
        if node is a:
            return first
        last = denoise(y, node)
        return last

    end, error = pair.step(recall, x, a, b)
    return end, error, last


def _check_resolution(x: Array, s: Node, t: Node, rtol: float, atol: float) -> None:
    """Refuse tolerances below four units of round-off of what is typically a state's size."""
    unit = resolution(x)
    for node in (s, t):
        if node.alpha * atol + node.sigma * rtol < 4.0 * unit * max(node.alpha, node.sigma):
            raise ToleranceNotMet(
                f"rtol = {rtol!r}, atol = {atol!r} are below the round-off of {x.dtype} at {node}: give at least {8.0 * unit:.1g} each"
            )


def _rms(error: Array) -> np.ndarray:
    """The root mean square of each sample's error, on the host."""
    return np.sqrt(np.asarray((error * error).reshape(error.shape[0], -1).mean(1).tolist(), dtype=float))


def _width(wanted: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The longest power of two not above ``wanted`` of which ``place`` is a multiple."""
    aligned = np.where(place == 0, _WHOLE, place & -place)
    return np.minimum(np.exp2(np.floor(np.log2(np.clip(wanted, 1.0, _WHOLE)))).astype(np.int64), aligned)


def _check(wanted: np.ndarray, tries: np.ndarray, rows: np.ndarray, size: np.ndarray, b: Node, rtol: float, atol: float, x: Array) -> None:
    for bad, what in ((wanted < 1.0, f"sub-steps below 1/{_WHOLE} of the step"), (tries >= _ATTEMPTS, f"more than {_ATTEMPTS} sub-steps")):
        if bad.any():
            raise ToleranceNotMet(
                f"sample {rows[bad.argmax()]} needs {what} near {b} (last error {size.max():.3g} of the tolerance): "
                f"rtol = {rtol!r}, atol = {atol!r} are too small for {x.dtype} or for how smooth the denoiser is"
            )


@solver(order=3, reference="Bogacki & Shampine, Appl. Math. Lett. 2 (1989), in the variable of arXiv:2206.00364", nonlinear=ADAPTIVE)
@within(rtol="[0, inf)", atol="[0, inf)")
def bogacki_shampine(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, rtol: float = 1e-4, atol: float = 1e-4
) -> tuple[Array, Carry]:
    r"""y_b = y + (ρ_b − ρ_a)(2 d₁ + 3 d₂ + 4 d₃)/9,  e = (ρ_b − ρ_a)(−5/72 d₁ + d₂/12 + d₃/9 − d₄/8), d₂ at 1/2, d₃ at 3/4, d₄ = d(y_b).
    Three evaluations per sub-step.

    Returns:
        (states at t, of the shape of x, carry for the next step).
    """
    return control(BOGACKI_SHAMPINE, denoise, x, s, t, carry, rtol, atol)


@solver(order=5, reference="Dormand & Prince, J. Comput. Appl. Math. 6 (1980), in the variable of arXiv:2206.00364", nonlinear=ADAPTIVE)
@within(rtol="[0, inf)", atol="[0, inf)")
def dormand_prince(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, rtol: float = 1e-5, atol: float = 1e-5
) -> tuple[Array, Carry]:
    r"""y_b = y + (ρ_b − ρ_a) Σ b_i d_i of order 5,  e its difference to order 4: the pair of MATLAB's ode45. Six evaluations per
    sub-step.

    Returns:
        (states at t, of the shape of x, carry for the next step).
    """
    return control(DORMAND_PRINCE, denoise, x, s, t, carry, rtol, atol)


@solver(order=2, reference="arXiv:2206.00927, DPM-Solver-12 (adaptive)", nonlinear=ADAPTIVE)
@within(rtol="[0, inf)", atol="[0, inf)")
def dpm_solver_12(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, rtol: float = 1e-2, atol: float = 1e-2
) -> tuple[Array, Carry]:
    r"""x_b by DPM-Solver-2 at r = 1/2,  e = −σ_b (e^h − 1)(ε_i − ε_a) its difference to DPM-Solver-1. Two evaluations per sub-step, one if
    refused before; error control as in this file, in place of the norm with max(atol, rtol |x|) of the paper.

    Returns:
        (states at t, of the shape of x, carry for the next step).
    """
    return control(DPM_12, denoise, x, s, t, carry, rtol, atol)


@solver(order=3, reference="arXiv:2206.00927, DPM-Solver-23 (adaptive)", nonlinear=ADAPTIVE)
@within(rtol="[0, inf)", atol="[0, inf)")
def dpm_solver_23(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, rtol: float = 1e-3, atol: float = 1e-3
) -> tuple[Array, Carry]:
    r"""x_b by DPM-Solver-3 at r₁ = 1/3, r₂ = 2/3,  e its difference to DPM-Solver-2 at r = 1/3. Three evaluations per sub-step, two if
    refused before; error control as in this file.

    Returns:
        (x_t of the shape of x, carry of the step-size control).
    """
    return control(DPM_23, denoise, x, s, t, carry, rtol, atol)
