r"""``check_grid``: is a list of noise levels what its library's convention, its shift and its number of steps say?

The numbers are read by a ``Convention`` as rho = sigma/alpha. A time shift is a factor in rho, so the shift that a grid really has is
fitted: the s for which tau = rho/s/(1 + rho/s) is uniform. It is then compared with the claimed one, its square (shifted twice), 1 (not at
all), its inverse, exponential and logarithm (mu for shift). Rounding is seen in the numbers themselves: all of them have the mantissa of a
lower precision, which those of an exact grid have not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from scorebed.toy.check.finding import Finding, judged
from scorebed.toy.check.findings import Findings
from scorebed.toy.conform.conventions import CONVENTIONS, Convention, convention, shifted, tau_of

_PRECISIONS = {"bfloat16": 8, "float16": 11, "float32": 24}
"""Significant bits."""
_NEAR = 0.02  # relative distance at which a fitted shift is one of the candidates
_UNIFORM = 5e-3  # rms departure of tau from equal steps, of their length, up to which a grid is a shifted uniform one


def check_grid(
    sigmas: Any = None,
    timesteps: Any = None,
    *,
    convention: str | None = None,
    shift: float | Mapping[str, float] | None = None,
    steps: int | None = None,
    last: float | None = None,
    name: str = "grid",
) -> Findings:
    """Check the levels of a grid against its convention, its shift and its number of steps.

    Args:
        sigmas: the levels, noise to data, as the engine wrote them; or a mapping of several clocks, e.g. {"video": …, "audio": …}; or a
            diffusers scheduler after ``set_timesteps``.
        timesteps: what the network is told at each evaluation, where the engine writes that down too.
        convention: one of ``CONVENTIONS``; None takes "sigma", or "flow" where the levels start at 1, or "flow-up" where they rise to 1.
        shift: the time shift s that the grid claims, e^mu for a dynamic one; one for each clock where there are several.
        steps: how many evaluations the run was asked for.
        last: the last level before the clean end that is claimed, in the same convention (``sigma_min``, ``shift_terminal``).
        name: what the report calls it.

    Returns:
        ``Findings``; ``causes`` names the faults: "one step missing", "shifted twice", "shift not applied", "rounded to bfloat16", ….

    Raises:
        TypeError: neither ``sigmas`` nor ``timesteps``, or something that is no list of numbers.
        ValueError: an unknown convention, a shift or number of steps that cannot be.
    """
    if steps is not None and (isinstance(steps, bool) or int(steps) != steps or steps < 1):
        raise ValueError(f"steps = {steps!r}: give the number of evaluations, an integer of at least 1")
    if hasattr(sigmas, "set_timesteps"):
        return _scheduler(sigmas, shift=shift, steps=steps, last=last)
    if isinstance(sigmas, Mapping):
        return _clocks(sigmas, convention_name=convention, shift=shift, steps=steps, name=name)
    if isinstance(shift, Mapping):
        raise ValueError(f"shift = {shift!r} has one for each clock, but sigmas is one list: give a mapping of lists, or one shift")
    if shift is not None and not (math.isfinite(shift) and shift > 0.0):
        raise ValueError(f"shift = {shift!r} must be positive and finite; a dynamic shift mu is e^mu here")
    if sigmas is None and timesteps is None:
        raise TypeError("give sigmas, timesteps, or both")
    written = _numbers("sigmas", sigmas) if sigmas is not None else _numbers("timesteps", timesteps)
    rule = _convention(convention, written, timesteps_only=sigmas is None)
    result = Findings(name, f"grid, convention {rule.name}")
    levels = _order(result, written, rule)
    if levels is None:
        return result
    _ends(result, levels, rule, last)
    _count(result, written, rule, steps)
    _precision(result, levels, rule)
    _shift(result, levels, rule, shift)
    if sigmas is not None and timesteps is not None:
        _told(result, levels, _numbers("timesteps", timesteps), rule)
    return result


def _numbers(name: str, values: Any) -> list[float]:
    if hasattr(values, "detach"):
        values = values.detach().cpu().double().numpy()
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} = {values!r} is no list of numbers") from None
    if array.ndim != 1 or len(array) < 2:
        raise TypeError(f"{name} has shape {array.shape}: give a flat list of at least 2 numbers")
    return [float(v) for v in array]


def _convention(name: str | None, values: Sequence[float], *, timesteps_only: bool) -> Convention:
    if name is not None:
        return convention(name)
    if values[-1] > values[0]:
        return CONVENTIONS["flow-up"]
    if timesteps_only:
        return CONVENTIONS["index"] if all(v == round(v) for v in values) and values[0] < 1000.0 else CONVENTIONS["flow-1000"]
    return CONVENTIONS["flow"] if 0.9 < values[0] <= 1.0 else CONVENTIONS["sigma"]


def _fault(result: Findings, cause: str, finding: Finding) -> None:
    result.findings.append(finding)
    if finding.status == "fail" and cause not in result.causes:
        result.causes.append(cause)


def _order(result: Findings, values: list[float], rule: Convention) -> list[float] | None:
    """Finite, strictly monotone, in the right direction; returns what can be looked at further, or None."""
    tried = f"{len(values)} numbers"
    bad = [i for i, v in enumerate(values) if not math.isfinite(v)]
    if bad:
        text = f"entry {bad[0]} is {values[bad[0]]}"
        _fault(result, "not finite", Finding("finite", "fail", tried, text, "finite numbers", f"{len(bad)} entries are not finite"))
        return None
    result.findings.append(Finding("finite", "pass", tried, "finite", "finite numbers"))
    sign = -1.0 if rule.falls else 1.0
    rises = [sign * (b - a) for a, b in pairwise(values)]
    way = "falling" if rule.falls else "rising"
    if all(r < 0.0 for r in rises):
        detail = (
            f"the list runs from data to noise; {rule.name} is {way} from noise to data (sampling follows dt < 0 in flow time 1 = noise)"
        )
        _fault(result, "reversed", Finding("direction", "fail", tried, "the other way round", f"strictly {way}", detail))
        values = values[::-1]
    else:
        result.findings.append(Finding("direction", "pass", tried, f"from {values[0]:g} to {values[-1]:g}", way))
        flat = [i for i, r in enumerate(rises) if r == 0.0]
        back = [i for i, r in enumerate(rises) if r < 0.0]
        if flat:
            text = f"entries {flat[0]} and {flat[0] + 1} are both {values[flat[0]]:.6g}"
            detail = "a step of length zero costs an evaluation and divides by zero in multistep methods; levels rounded too far do that"
            _fault(result, "repeated level", Finding("strict", "fail", tried, text, f"strictly {way}", detail))
        elif back:
            text = f"entries {back[0]} and {back[0] + 1}: {values[back[0]]:.6g}, {values[back[0] + 1]:.6g}"
            _fault(result, "not monotone", Finding("strict", "fail", tried, text, f"strictly {way}", "levels out of order"))
        else:
            result.findings.append(Finding("strict", "pass", tried, f"strictly {way}", f"strictly {way}"))
        if back:
            return None
    return [v for i, v in enumerate(values) if i == 0 or v != values[i - 1]]


def _ends(result: Findings, values: list[float], rule: Convention, last: float | None) -> None:
    if rule.clean is not None:
        kept = values[-1] == rule.clean
        detail = f"the list stops at {values[-1]:.6g}: what is left of the noise stays in the sample; append {rule.clean:g}"
        name, expected = "clean end", f"{rule.clean:g} at the end"
        _fault(result, "clean end missing", judged(kept, name, "the last number", f"{values[-1]:.6g}", expected, detail))
    if rule.noise is not None:
        off = abs(values[0] - rule.noise) / max(1.0, abs(rule.noise))
        detail = f"the network is trained from {rule.noise:g} on: a first level short of it starts from states that it never saw"
        _fault(
            result,
            "first level short of noise",
            judged(off < 0.05, "noise end", "the first number", f"{values[0]:.6g}", f"about {rule.noise:g}", detail),
        )
    levels = values[:-1] if rule.clean is not None and values[-1] == rule.clean else values
    if last is not None:
        off = abs(levels[-1] - last) / max(abs(last), 1e-12)
        detail = f"the last level before the end is {levels[-1]:.6g}, claimed {last:.6g}"
        _fault(result, "last level wrong", judged(off < 1e-3, "last level", "before the end", f"{levels[-1]:.6g}", f"{last:.6g}", detail))


def _count(result: Findings, values: list[float], rule: Convention, steps: int | None) -> None:
    if steps is None:
        result.findings.append(
            Finding("evaluations", "skip", "the number of steps", str(rule.steps(len(values))), "", "no number was claimed")
        )
        return
    ends = rule.clean is None or values[-1] == rule.clean or values[0] == rule.clean
    made = rule.steps(len(values)) if ends else len(values)
    cause = "one step missing" if made == steps - 1 else "one step too many" if made == steps + 1 else "wrong number of steps"
    detail = f"{made} evaluations where {steps} were asked for" + (
        "; was the end counted as a level, or the last one dropped?" if abs(made - steps) == 1 else ""
    )
    _fault(result, cause, judged(made == steps, "evaluations", f"{steps} steps asked for", str(made), str(steps), detail))


def _bits(value: float) -> int:
    """Significant bits of a float."""
    mantissa, _ = math.frexp(abs(value))
    whole = int(mantissa * 2.0**53)
    return 53 - ((whole & -whole).bit_length() - 1) if whole else 0


def _precision(result: Findings, values: list[float], rule: Convention) -> None:
    inner = [v for v in values if v not in (rule.clean, rule.noise)]
    if len(inner) < 4:
        result.findings.append(Finding("precision", "skip", "bits of the numbers", "", "", "too few numbers to tell"))
        return
    if all(v == round(v) for v in inner):
        status = "note" if rule.clean is None else "fail"
        detail = "integers move every level by up to half a unit: a method of order 2 and more stalls there; give real numbers"
        _fault(result, "rounded to integers", Finding("precision", status, "bits of the numbers", "integers", "at least float32", detail))
        return
    low, rounded = _rounded(inner)
    error = 2.0 ** -_PRECISIONS.get(low, 53)
    detail = f"every level has been through {low}: relative error up to {error:.1e}; make the grid in float32 or float64 and cast last"
    text = f"{low}, {max(map(_bits, inner))} bits"
    _fault(result, f"rounded to {low}", judged(not rounded, "precision", "bits of the numbers", text, "at least float32", detail))


def _rounded(values: Sequence[float]) -> tuple[str, bool]:
    """The least precision that holds all the numbers, and whether it is a half one that they have been rounded to.

    Numbers like k/16 have few bits without that: rounding shows in that many of them use all that there are.

    Returns:
        (dtype name, whether the numbers were rounded to half precision).
    """
    used = [_bits(v) for v in values]
    low = next((name for name, bits in _PRECISIONS.items() if max(used) <= bits), "float64")
    full = _PRECISIONS.get(low, 53)
    return low, low in ("bfloat16", "float16") and sum(b >= full - 1 for b in used) >= max(2, len(used) // 4)


def _fit(taus: Sequence[float]) -> tuple[float, float]:
    """The shift s for which tau/(s − (s − 1) tau) is uniform, and the rms departure from equal steps, of their length."""

    def departure(log_shift: float) -> float:
        s = math.exp(log_shift)
        u = np.array([tau / (s - (s - 1.0) * tau) for tau in taus])
        gaps = -np.diff(u)
        return float(np.std(gaps) / abs(np.mean(gaps)))

    grid = np.linspace(-4.0, 8.0, 97)
    best = grid[int(np.argmin([departure(g) for g in grid]))]
    found = minimize_scalar(departure, bounds=(best - 0.2, best + 0.2), method="bounded", options={"xatol": 1e-12})
    return math.exp(float(found.x)), float(found.fun)


def _shift(result: Findings, values: list[float], rule: Convention, shift: float | None) -> None:
    levels = values[:-1] if rule.clean is not None and values[-1] == rule.clean else values
    taus = [tau_of(rule.to_rho(v)) for v in levels]
    if len(taus) < 3:
        if shift is not None:
            result.findings.append(
                Finding("shift", "skip", "fitted to the levels", "", f"{shift:g}", "fewer than 3 levels cannot tell a shift")
            )
        return
    measured, departure = _fit(taus)
    if departure > _UNIFORM:
        if shift is not None:
            why = f"no shift makes the levels uniform in time (steps differ by {departure:.2g}): another spacing, which is not looked at"
            result.findings.append(Finding("shift", "note", "fitted to the levels", "another spacing", f"{shift:g}", why))
        return
    if shift is None:
        result.findings.append(Finding("shift", "note", "fitted to the levels", f"{measured:.4g}", "", "uniform steps under this shift"))
        return
    candidates = {
        "shift not applied": 1.0,
        "shifted twice": shift * shift,
        "shift inverted": 1.0 / shift,
        "mu taken for the shift": math.exp(shift) if shift < 50.0 else math.inf,
        "shift taken for mu": math.log(shift) if shift > 1.0 else math.inf,
    }
    near = [cause for cause, s in candidates.items() if math.isfinite(s) and abs(measured / s - 1.0) < _NEAR]
    kept = abs(measured / shift - 1.0) < _NEAR
    cause = near[0] if near else "wrong shift"
    moved = max(abs(shifted(tau, shift / measured) - tau) for tau in taus)
    detail = f"the levels have the shift {measured:.4g}, claimed {shift:g}: {cause}; levels off by up to {moved:.2g}"
    _fault(result, cause, judged(kept, "shift", "fitted to the levels", f"{measured:.4g}", f"{shift:g}", detail))


def _told(result: Findings, values: list[float], told: list[float], rule: Convention) -> None:
    """Do the timesteps that the network is told belong to the levels?"""
    levels = values[:-1] if rule.clean is not None and values[-1] == rule.clean else values
    expected = [1000.0 * tau_of(rule.to_rho(v)) for v in levels]
    if rule.name == "sigma":
        expected = [CONVENTIONS["index"].from_rho(v) for v in levels]
    tried = "timesteps against levels"
    if len(told) != len(levels):
        detail = f"{len(told)} timesteps for {len(levels)} levels with noise"
        _fault(
            result, "timesteps and levels differ in number", Finding("timesteps", "fail", tried, str(len(told)), str(len(levels)), detail)
        )
        return
    scale = max(expected) - min(expected) or 1.0

    def off(other: Sequence[float]) -> float:
        return max(abs(a - b) for a, b in zip(other, expected, strict=True)) / scale

    if all(v == round(v) for v in told) and 1e-9 < off(told) < 1.1 / scale:
        detail = "the network is told whole numbers: a method of order 2 and more stalls where it is sensitive to its time"
        result.findings.append(Finding("timesteps", "note", tried, f"off by {off(told):.1g} of the range", "the same levels", detail))
        return
    if off(told) < 1e-3:
        result.findings.append(Finding("timesteps", "pass", tried, f"off by {off(told):.1g} of the range", "the same levels"))
        return
    ahead = max(abs(a - b) for a, b in zip(told[:-1], expected[1:], strict=True)) / scale
    behind = max(abs(a - b) for a, b in zip(told[1:], expected[:-1], strict=True)) / scale
    reasons = {
        "network told the level in [0, 1]": off([1000.0 * v for v in told]),
        "timesteps are of the next level": ahead,
        "timesteps are of the level before": behind,
        "timesteps reversed": off([1000.0 - v for v in told]),
    }
    cause = min(reasons, key=lambda key: reasons[key])
    low, rounded = _rounded(told)
    other = f"timesteps rounded to {low}" if rounded and off(told) < 0.01 else "timesteps of other levels"
    cause = cause if reasons[cause] < 1e-3 else other
    first = next(i for i, (a, b) in enumerate(zip(told, expected, strict=True)) if abs(a - b) > 1e-3 * scale)
    detail = f"at evaluation {first} the network is told {told[first]:.6g} at a level of {expected[first]:.6g}: {cause}"
    _fault(result, cause, Finding("timesteps", "fail", tried, f"off by {off(told):.2g} of the range", "the same levels", detail))


def _clocks(sigmas: Mapping[str, Any], *, convention_name: str | None, shift: Any, steps: int | None, name: str) -> Findings:
    """Several clocks of one run, each with its own shift; every one must arrive, and none may follow another's."""
    result = Findings(name, f"{len(sigmas)} clocks")
    for clock, values in sigmas.items():
        own = shift.get(clock) if isinstance(shift, Mapping) else shift
        one = check_grid(values, convention=convention_name, shift=own, steps=steps, name=clock)
        result.findings += [Finding(f"{clock}: {f.name}", f.status, f.tried, f.measured, f.expected, f.detail) for f in one.findings]
        others = {k: s for k, s in shift.items() if k != clock} if isinstance(shift, Mapping) else {}
        fitted = next(
            (float(f.measured) for f in one.findings if f.name == "shift" and f.status == "fail" and f.measured[0].isdigit()), None
        )
        follows = next((k for k, s in others.items() if fitted is not None and abs(fitted / s - 1.0) < _NEAR), None)
        causes = [f"{clock} runs on the clock of {follows}"] if follows is not None else [f"{clock}: {cause}" for cause in one.causes]
        result.causes += causes
    lengths = {clock: len(_numbers(clock, values)) for clock, values in sigmas.items()}
    kept = len(set(lengths.values())) == 1
    text = ", ".join(f"{clock} {n}" for clock, n in lengths.items())
    _fault(
        result,
        "clocks of different length",
        judged(kept, "length", "numbers of each clock", text, "the same", "one step, one level of each"),
    )
    return result


def _scheduler(scheduler: Any, *, shift: Any, steps: int | None, last: float | None) -> Findings:
    """A diffusers scheduler after ``set_timesteps``: its sigmas and timesteps, its own shift and number of steps."""
    config, name = scheduler.config, type(scheduler).__name__
    if getattr(scheduler, "num_inference_steps", None) is None:
        raise ValueError(f"{name} has no timesteps yet: call set_timesteps first")
    flow = "FlowMatch" in name or config.get("prediction_type") == "flow_prediction" or bool(config.get("use_flow_sigmas"))
    if shift is None and flow and not config.get("use_dynamic_shifting"):
        shift = config.get("shift") or config.get("flow_shift")
    told = scheduler.timesteps
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is None or len(sigmas) != len(told) + 1:
        return check_grid(None, told, convention="flow-1000" if flow else "index", shift=shift, steps=steps, last=last, name=name)
    return check_grid(
        sigmas,
        told if flow else None,
        convention="flow" if flow else "sigma",
        shift=shift,
        steps=steps or int(scheduler.num_inference_steps),
        last=last,
        name=name,
    )
