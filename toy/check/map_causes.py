"""What a few-step map would return if it were something else, and which of these a candidate is nearest to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from scorebed.analytic.process.maps import FlowMap
from scorebed.solvers import SCHEDULES, Node
from scorebed.solvers.model import Array

_NEAR = 0.3  # of the candidate's distance to the truth: a cause nearer than that explains it
Other = Callable[[FlowMap, Array, Node, Node], Array]


@dataclass(frozen=True)
class Seen:
    """A candidate's value at states x from s to t, the exact one, and the size in which distances are told."""

    x: np.ndarray
    s: Node
    t: Node
    value: np.ndarray
    exact: np.ndarray
    size: float


def ddim(f: FlowMap, x: Array, s: Node, t: Node) -> Array:
    """One DDIM step, at σ_t = 0 the posterior mean."""
    keep = t.sigma / s.sigma
    return keep * x + (t.alpha - keep * s.alpha) * f.law.denoised(x, s)


def _read_on(other: Any, f: FlowMap, x: Array, s: Node, t: Node) -> Array:
    return f(x, other.node(s.t), other.node(t.t) if t.t > 0.0 else t)


def _flat(f: FlowMap) -> bool:
    return not hasattr(f.law, "space")


def others(f: FlowMap, process: Any, kind: str) -> dict[str, Other]:
    """The alternatives by name."""
    made: dict[str, Other] = {
        "posterior mean in place of the map" if kind == "endpoint" else "one DDIM step in place of the map": ddim,
        "one Euler step in place of the map": lambda f, x, s, t: x + (t.t - s.t) * f.velocity(x, s),
        "returns its input": lambda f, x, s, t: x,
        "average velocity in place of the state": lambda f, x, s, t: f.average_velocity(x, s, t),
        "wrong sign of the average velocity": lambda f, x, s, t: x - (t.t - s.t) * f.average_velocity(x, s, t),
        "average velocity not multiplied by the time": lambda f, x, s, t: x + f.average_velocity(x, s, t),
        "velocity in place of the average velocity": lambda f, x, s, t: x - (t.t - s.t) * f.velocity(x, s),
        "noise in place of data": lambda f, x, s, t: (x - s.alpha * f(x, s)) * (1.0 / s.sigma),
        "state divided by alpha": lambda f, x, s, t: f(x, s, t) * (1.0 / t.alpha),
        "input divided by alpha": lambda f, x, s, t: f(x * (1.0 / s.alpha), s, t),
    }
    if kind == "map":
        made |= {
            "s and t exchanged": lambda f, x, s, t: f(x, t, s),
            "goes to the data, not to t": lambda f, x, s, t: f(x, s),
        }
    turned = process.t_max + process.t_min
    made["time runs the other way"] = lambda f, x, s, t: f(x, process.node(turned - s.t), process.node(turned - t.t) if t.t > 0.0 else t)
    for name, schedule in SCHEDULES.items():
        if type(process).__name__ != name:
            made[f"time of another schedule ({name})"] = partial(_read_on, schedule())
    return made if _flat(f) else {k: made[k] for k in ("returns its input", "s and t exchanged") if k in made}


def explain(f: FlowMap, process: Any, kind: str, seen: Sequence[Seen]) -> list[tuple[str, float]]:
    """(name, distance to it over the distance to the truth) of the causes that explain what is seen, the nearest first."""
    off = _rms([(s.value - s.exact) / s.size for s in seen])
    out = []
    for name, other in others(f, process, kind).items():
        try:
            with np.errstate(all="ignore"):
                gaps = [(s.value - np.asarray(other(f, s.x, s.s, s.t))) / s.size for s in seen]
        except (ValueError, ZeroDivisionError, OverflowError):
            continue
        out.append((name, _rms(gaps) / off))
    if _flat(f):
        out += _affine(seen, off)
    out.sort(key=lambda pair: pair[1])
    return [pair for pair in out if pair[1] < min(_NEAR, max(0.02, 3.0 * out[0][1]))]


def _affine(seen: Sequence[Seen], off: float) -> list[tuple[str, float]]:
    """A number times the exact map, a number times its way, or a shift, each by least squares."""
    value, exact = (np.concatenate([getattr(s, k).ravel() / s.size for s in seen]) for k in ("value", "exact"))
    x = np.concatenate([s.x.ravel() / s.size for s in seen])
    away = exact - x
    factor, way = float(value @ exact / (exact @ exact)), float((value - x) @ away / (away @ away))
    shift = float(np.mean(value - exact))
    return [
        (f"scaled by {factor:.3g}", _rms([value - factor * exact]) / off),
        (f"goes {way:.3g} of the way", _rms([value - x - way * away]) / off),
        (f"shifted by {shift:.3g} standard deviations", _rms([value - exact - shift]) / off),
    ]


def _rms(parts: Sequence[np.ndarray]) -> float:
    flat = np.concatenate([part.ravel() for part in parts])
    return float(np.sqrt(np.mean(flat * flat))) if np.isfinite(flat).all() else float("inf")
