r"""``check_sde_solver``: weak and strong order of a solver of general stochastic differential equations, without Monte Carlo.

A step takes the state from t0 to t1 with given increments dw, so the chain it makes is a transfer operator: with u_N = f,

    u_i(x) = E u_{i+1}(step(x, t_i, t_{i+1}, dw)),     dw ~ N(0, |t_{i+1} − t_i|),

by Gauss quadrature in dw and splines in asinh x. The weak error is that of u_0 at a few x against the exact answer. The strong error is the
root mean square distance from the exact solution on the same Brownian paths. Where an order is missed the step itself is read: for
h → 0 its mean over h is the drift, its variance over h the square of the diffusion, and their departures have names.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.interpolate import make_interp_spline

from scorebed.toy.check.finding import Finding, judged
from scorebed.toy.check.findings import Findings
from scorebed.toy.check.sde_causes import Fields, known_faults, near_within, read_the_step
from scorebed.toy.check.sde_run import Runs, judge_run
from scorebed.toy.measure.convergence import Order, order_of
from scorebed.toy.problems.equations import EQUATIONS, SPAN, STARTS, Equation, Floats, observables

Step = Callable[..., Any]
_STEPS, _FINEST = (8, 16, 32, 64), 256
_POINTS, _GAUSS, _PATHS = 241, 11, 4000
_FLOOR = 2e-10


def check_sde_solver(
    step: Step,
    *,
    weak: float | None = None,
    strong: float | None = None,
    noise: str = "multiplicative",
    calculus: str = "ito",
    backward: bool = True,
    kind: str = "step",
    paths: int = 100_000,
    seed: int = 0,
    name: str | None = None,
) -> Findings:
    """Measure a step, or a whole run, of a general SDE solver on equations with known answers.

    A step is handed its noise, and its weak order is measured without Monte Carlo. A run draws its own: its orders come with intervals,
    all of which hold with 95 %. An order passes where its interval lies above claim − 0.5 and fails where it lies below claim − 0.15; else
    the report says "too noisy" with a number of paths to give, and the check fails where no equation decides. Where a seed fixes the noise
    of a run, W_T of its paths is read off with b = 0 and s = 1: it narrows the intervals and gives the strong order.

    Args:
        step: ``step(drift, diffusion, x, t0, t1, dw) -> x at t1``, with x and dw of shape (B, 1) and drift(x, t), diffusion(x, t)
            elementwise. With a further argument ``dz`` it is handed ∫(W_u − W_{t0}) du of the interval too. ``toy.foreign.sde`` makes
            one of a method of torchsde. With ``kind="run"``, ``run(drift, diffusion, x0, t0, t1, steps, seed) -> ends``, x0 and ends of
            shape (n,), every entry a path of its own.
        weak, strong: the orders it claims; without, they are measured and told.
        noise: "additive" where it is made for diffusions that do not depend on x, else "multiplicative".
        calculus: "ito" or "stratonovich": which equation drift and diffusion stand for.
        backward: also run against time, t1 < t0, which samplers of diffusion models do.
        kind: "step", or "run" for a solver that draws its own noise.
        paths, seed: of a run: how many paths at each number of steps, and where its seeds come from.
        name: what the report calls it.

    Returns:
        ``Findings``; ``causes`` names what the step itself shows to be wrong.

    Raises:
        TypeError: ``step`` is not callable with these arguments.
        ValueError: an unknown kind, noise or calculus, too few paths, or orders that are not positive.
    """
    if not callable(step):
        raise TypeError(f"step = {step!r} is not callable: give step(drift, diffusion, x, t0, t1, dw)")
    for key, value, known in (
        ("noise", noise, ("additive", "multiplicative")),
        ("calculus", calculus, ("ito", "stratonovich")),
        ("kind", kind, ("step", "run")),
    ):
        if value not in known:
            raise ValueError(f"{key} = {value!r} is not known: give one of {', '.join(known)}")
    for key, claim in (("weak", weak), ("strong", strong)):
        if claim is not None and not (math.isfinite(claim) and claim > 0.0):
            raise ValueError(f"{key} = {claim!r} must be positive, or None to have it measured")
    if paths < 3000:
        raise ValueError(f"paths = {paths} are too few for an interval: give 3000 or more")
    result = Findings(name or str(getattr(step, "__name__", type(step).__name__)), "SDE solver")
    equations = [e for e in EQUATIONS.values() if e.additive or noise == "multiplicative"]
    directions = (1.0, -1.0) if backward else (1.0,)
    if kind == "run":
        runs = Runs(step, 0.5 if calculus == "stratonovich" else 0.0, paths, np.random.default_rng(seed))
        judge_run(result, runs, equations, directions, weak, strong)
        return result
    one = _Stepper(step, calculus)
    for equation in equations:
        _judge_order(result, f"weak order: {equation.name}", partial(one.weak_error, equation, 1.0), weak)
    if backward:
        back = equations[-1]
        _judge_order(result, f"weak order, against time: {back.name}", partial(one.weak_error, back, -1.0), weak)
    for equation in equations:
        if equation.strong is not None:
            _judge_order(result, f"strong order: {equation.name}", partial(one.strong_error, equation), strong)
    if not all(f.detail == "the step raised an error" for f in result.findings):
        read_the_step(result, partial(_local_faults, one), equations, directions)
    return result


class _Stepper:
    """The step with the equation of its own calculus, on either direction of time."""

    def __init__(self, step: Step, calculus: str) -> None:
        self.step, self.half = step, 0.5 if calculus == "stratonovich" else 0.0
        try:
            self.area = "dz" in inspect.signature(step).parameters
        except (TypeError, ValueError):
            self.area = False

    def __call__(self, equation: Equation, x: Floats, t0: float, t1: float, dw: Floats, dz: Floats | None = None) -> Floats:
        """From t0 to t1; where t1 < t0 the equation is the one whose solution runs back, b(x, t) → −b(x, T − t)."""
        fields = Fields(equation, 1.0 if t1 > t0 else -1.0, self.half)
        more = {"dz": dz[:, None]} if self.area and dz is not None else {}
        out = np.asarray(self.step(fields.drift, fields.diffusion, x[:, None], t0, t1, dw[:, None], **more), dtype=float)
        if out.shape != (len(x), 1):
            raise TypeError(f"the step returned shape {out.shape} for a state of shape {(len(x), 1)}: they must be equal")
        return out[:, 0]

    def noises(self, h: float) -> tuple[Floats, Floats, Floats]:
        """Nodes of (dw, dz) and their weights: dz = h dw/2 + sqrt(h³/12) ζ with ζ independent."""
        z, w = np.polynomial.hermite_e.hermegauss(_GAUSS)
        w = w / w.sum()
        if not self.area:
            return math.sqrt(h) * z, 0.0 * z, w
        a, b = (grid.ravel() for grid in np.meshgrid(z, z, indexing="ij"))
        return math.sqrt(h) * a, 0.5 * h * math.sqrt(h) * a + math.sqrt(h**3 / 12.0) * b, np.outer(w, w).ravel()

    def weak_error(self, equation: Equation, direction: float, n: int) -> float:
        """‖E f of the chain − E f(X_T)‖ over the starts and observables."""
        times = np.linspace(0.0, SPAN, n + 1) if direction > 0.0 else np.linspace(SPAN, 0.0, n + 1)
        u = np.linspace(-math.asinh(equation.reach), math.asinh(equation.reach), _POINTS)
        x = np.sinh(u)
        values = observables(x)
        dw, dz, w = self.noises(SPAN / n)
        for t0, t1 in reversed(list(pairwise(times))):
            spline = make_interp_spline(u, values, k=5)
            here = x if t0 != times[0] else STARTS
            y = self(equation, np.tile(here, len(w)), float(t0), float(t1), np.repeat(dw, len(here)), np.repeat(dz, len(here)))
            moved = spline(np.clip(np.arcsinh(y), u[0], u[-1])).reshape(len(w), len(here), -1)
            values = np.einsum("w,wxf->xf", w, moved)
        return float(np.linalg.norm(values - equation.mean()))

    def strong_error(self, equation: Equation, n: int) -> float:
        """The root mean square of |X_N − X_T| over Brownian paths that every n shares."""
        assert equation.strong is not None
        rng, finest = np.random.default_rng(7), _STEPS[-1]
        h = SPAN / finest
        fine = math.sqrt(h) * rng.standard_normal((finest, _PATHS))
        area = 0.5 * h * fine + math.sqrt(h**3 / 12.0) * rng.standard_normal(fine.shape)
        many = finest // n
        start = np.resize(STARTS, _PATHS)
        x = start.copy()
        for i in range(n):
            rows = slice(i * many, (i + 1) * many)
            before = np.cumsum(fine[rows], axis=0) - fine[rows]
            dz = np.sum(area[rows] + h * before, axis=0)
            x = self(equation, x, i * SPAN / n, (i + 1) * SPAN / n, fine[rows].sum(axis=0), dz)
        return float(np.sqrt(np.mean((x - equation.strong(start, fine.sum(axis=0))) ** 2)))


def _judge_order(result: Findings, name: str, error: Callable[[int], float], claim: float | None) -> None:
    steps, errors = list(_STEPS), list[float]()
    try:
        with np.errstate(all="ignore"):
            errors += [error(n) for n in steps]
            measured = _slope(steps, errors)
            # refined where the slope has not settled; on shared Brownian paths there is nothing finer
            while claim is not None and measured is not None and measured.slope < claim - 0.15 and "weak" in name and steps[-1] < _FINEST:
                if measured.slope < 0.3 * claim:
                    break
                steps.append(2 * steps[-1])
                errors.append(error(steps[-1]))
                measured = _slope(steps, errors)
    except Exception as problem:
        text = f"{type(problem).__name__}: {problem}"
        result.findings.append(Finding(name, "fail", f"{steps[0]}…{steps[-1]} steps", text, "", "the step raised an error"))
        return
    tried = f"{steps[0]}…{steps[-1]} steps"
    if not all(map(math.isfinite, errors)):
        result.findings.append(Finding(name, "fail", tried, "nan or inf", "finite", "the step diverges"))
        return
    text = "exact" if measured is None else f"{measured}, error {errors[-1]:.1e}"
    stuck = measured is not None and measured.slope < 0.1
    if claim is None:
        detail = "the error does not fall: it converges to something else" if stuck else ""
        result.findings.append(Finding(name, "fail" if stuck else "note", tried, text, "", detail))
        return
    kept = measured is None or measured.slope >= claim - 0.15
    detail = "the error does not fall: another equation is solved" if stuck else "lower than claimed"
    result.findings.append(judged(kept, name, tried, text, f"{claim:g}", detail))


def _slope(steps: Sequence[int], errors: Sequence[float]) -> Order | None:
    try:
        return order_of(steps, errors, _FLOOR)
    except ValueError:
        return None


def _local_faults(one: _Stepper, equation: Equation, sign: float) -> list[str]:
    """What a step of length h → 0 may have wrong, extrapolated from two lengths; nothing where it is right."""
    x, t0 = np.array([-1.3, 0.45, 1.1]), 0.3

    def moments(h: float) -> tuple[Floats, Floats]:
        dw, dz, w = one.noises(h)
        start = t0 if sign > 0.0 else SPAN - t0
        y = one(equation, np.tile(x, len(w)), start, start + sign * h, np.repeat(dw, len(x)), np.repeat(dz, len(x))).reshape(len(w), -1)
        mean = w @ (y - x)
        return mean / h, w @ (y - x - mean) ** 2 / h

    try:
        with np.errstate(all="ignore"):
            (b1, v1), (b2, v2) = moments(2e-4), moments(1e-4)
    except Exception:  # told by the orders already
        return []
    level = max(1.0, float(np.abs(equation.diffusion(x, t0)).max()))
    near = partial(near_within, 0.02, 0.02 * level)
    return known_faults(equation, x, (b1, v1), (b2, v2), near, near)
