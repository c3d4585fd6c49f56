r"""The usual mistakes on manifolds, and how a wrong value is recognised as one of them.

Each function compares wrong values with what a known mistake gives at the same points, and names those that agree to a part in a thousand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from scorebed.solvers.space import SO3, SU2, Hyperbolic, Space, Sphere

_SAME = 1e-3
FACTORS = {-1.0: "opposite sign", 0.5: "½", 2.0: "2", math.sqrt(2.0): "√2", math.sqrt(0.5): "1/√2"}


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    with np.errstate(all="ignore"):
        return bool(np.isfinite(a).all() and np.abs(a - b).max() <= _SAME * max(1e-12, np.abs(b).max()))


def _wide(space: Space, values: Any) -> np.ndarray:
    """One number for each point, to multiply points with."""
    a = np.asarray(values)
    return a.reshape(*a.shape, *[1] * len(space.shape))


def _factor(space: Space, x: np.ndarray, u: np.ndarray, w: np.ndarray) -> np.ndarray | None:
    """c with u = c w at each point, or None where u is not along w."""
    c = np.asarray(space.inner(x, u, w)) / np.asarray(space.inner(x, w, w))
    return c if _same(u, _wide(space, c) * w) else None


def _named(what: str, c: np.ndarray, other: str) -> list[str]:
    """One factor at all points, by its name; else ``other``."""
    if np.ptp(c) > _SAME * max(1.0, float(np.abs(c).max())):
        return [other]
    mean = float(c.mean())
    name = next((text for value, text in FACTORS.items() if abs(mean / value - 1.0) < _SAME), f"{mean:.4g}")
    return [f"{what} of opposite sign" if name == "opposite sign" else f"{what} {name} times"]


def exp_causes(space: Space, call: Callable[..., np.ndarray], x: np.ndarray, v: np.ndarray, wrong: np.ndarray) -> list[str]:
    """What an exponential does in place of its own: x + v, a retraction, another length."""
    if not np.isfinite(wrong).all():
        return ["exp is not finite"]
    outside = not np.asarray(space.contains(wrong)).all()
    if _same(wrong, x + v) and outside:
        return ["exp is x + v, which leaves the space"]
    if outside:
        return ["exp leaves the space"]
    u = np.asarray(space.log(x, wrong))
    c = _factor(space, x, u, v)
    sizes, errors = [], []
    for h in (0.3, 0.15, 0.075):
        sizes.append(h)
        errors.append(float(np.abs(np.asarray(call(x, h * v)) - np.asarray(space.exp(x, h * v))).max()))
    slope = float(np.polyfit(np.log(sizes), np.log(np.maximum(errors, 1e-300)), 1)[0])
    if slope > 1.6:
        return [f"retraction of order {round(slope) - 1} in place of the exponential"]
    if c is not None:
        lengths = np.asarray(space.norm(x, u))
        if np.ptp(lengths) < _SAME * float(lengths.max()):
            return ["length of v ignored"]
        return _named("v taken", c, "length of v changed")
    return ["exp is wrong in a way that is not known"]


def log_causes(space: Space, x: np.ndarray, y: np.ndarray, wrong: np.ndarray) -> list[str]:
    """What a logarithm gives in place of its own."""
    if not np.isfinite(wrong).all():
        return ["log is not finite"]
    w = np.asarray(space.log(x, y))
    back = np.asarray(space.log(y, x))
    for cause, value in (("arguments of log exchanged", back), ("arguments of log exchanged, and the sign", -back)):
        if _same(wrong, value) and not _same(value, -w):
            return [cause]
    if _same(wrong, y - x) and not _same(y - x, w):
        return ["log is y − x, which is not tangent"]
    c = _factor(space, x, wrong, w)
    if c is None:
        tangent = np.asarray(space.tangent(x, wrong))
        return ["log not tangent"] if _same(tangent, w) else ["log is wrong in a way that is not known"]
    lengths = np.asarray(space.norm(x, wrong))
    if np.ptp(lengths) < _SAME * float(lengths.max()):
        return ["log not scaled by the distance"]
    if _same(wrong, np.asarray(space.tangent(x, y - x))):
        return ["log is the projection of y − x"]
    return _named("log", c, "log of another length: the chord, or its sine, for the arc")


def transport_causes(space: Space, x: np.ndarray, y: np.ndarray, v: np.ndarray, wrong: np.ndarray) -> list[str]:
    """What a transport does in place of its own."""
    if not np.isfinite(wrong).all():
        return ["transport is not finite"]
    right = np.asarray(space.transport(x, y, v))
    known = {
        "transport leaves the vector as it is": v,
        "projection in place of transport": np.asarray(space.tangent(y, v)),
        "transport from y to x": np.asarray(space.transport(y, x, v)),
        "transport of opposite sign": -right,
    }
    for cause, value in known.items():
        if _same(wrong, value):
            return [cause]
    lengths = np.asarray(space.norm(y, np.asarray(space.tangent(y, wrong)))) / np.asarray(space.norm(x, v))
    if not _same(np.asarray(space.tangent(y, wrong)), wrong):
        return ["transported vector not tangent"]
    return ["transport changes lengths" if np.abs(lengths - 1.0).max() > _SAME else "transport turns the vector"]


def volume_slope(space: Space, r: np.ndarray) -> np.ndarray | None:
    """∂_r log of the area of the sphere of radius r: what the density of the distance has and that of the point has not."""
    with np.errstate(all="ignore"):
        if isinstance(space, SO3):
            return np.asarray(1.0 / np.tan(0.5 * r))
        if isinstance(space, (Sphere, SU2)):
            return np.asarray((space.dim - 1.0) / np.tan(r))
        if isinstance(space, Hyperbolic):
            return np.asarray((space.dim - 1.0) / np.tanh(r))
    return None


def score_causes(
    space: Space, x: np.ndarray, mean: np.ndarray, wrong: dict[float, np.ndarray], exact: Callable[..., np.ndarray]
) -> list[str]:
    """What a score is in place of ∇ log p_t; ``wrong`` holds its values at each time where they are off."""
    if not all(np.isfinite(value).all() for value in wrong.values()):
        return ["score is not finite"]
    toward = np.asarray(space.log(x, mean))
    r = np.asarray(space.distance(x, mean))
    slope = volume_slope(space, r)

    def at(t: float) -> np.ndarray:
        return exact(space, "score", x, mean, t)

    known: dict[str, Callable[[float], np.ndarray]] = {
        "sign of the score": lambda t: -at(t),
        "clock of Δ in place of ½Δ": lambda t: at(2.0 * t),
        "clock of ¼Δ in place of ½Δ": lambda t: at(0.5 * t),
        "sigma where its square belongs": lambda t: at(t * t),
        "the square of t in the score": lambda t: at(math.sqrt(t)),
        "Varadhan's leading term in place of the score": lambda t: toward / t,
        "Varadhan's leading term with the clock of Δ": lambda t: toward / (2.0 * t),
        "sigma times the score (a noise prediction)": lambda t: -math.sqrt(t) * at(t),
        "t times the score": lambda t: t * at(t),
    }
    if slope is not None:
        ray = -toward / _wide(space, np.where(r > 0.0, r, 1.0))
        known["density of the distance in place of that of the point"] = lambda t: at(t) + _wide(space, slope) * ray
    for cause, value in known.items():
        if all(_same(w, value(t)) for t, w in wrong.items()):
            return [cause]
    # by its tangent part: kernels that are functions of ambient coordinates have a normal derivative too
    if all(_same(np.asarray(space.tangent(x, w)), at(t)) for t, w in wrong.items()):
        return ["score not tangent"]
    factors = [_factor(space, x, w, at(t)) for t, w in wrong.items()]
    if all(c is not None for c in factors):
        return _named("score", np.concatenate([c for c in factors if c is not None]), "length of the score")
    small = min(wrong)
    if len(wrong) < 3:
        return [f"score wrong at t = {', '.join(f'{t:g}' for t in sorted(wrong))} alone: a series cut off" if small else ""]
    return ["score is wrong in a way that is not known"]
