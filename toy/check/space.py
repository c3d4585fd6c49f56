r"""``check_space``: are somebody's exponential, logarithm, parallel transport and score of the heat kernel right, and if not, in what way?

    print(check_space(exp, log, transport, score, space="Sphere(2)"))

    exp(x, v)             (n, *shape): the geodesic from x with velocity v, after time 1
    log(x, y)             the shortest v with exp(x, v) = y
    transport(x, y, v)    v moved from T_x to T_y along that geodesic
    score(x, mean, t)     ∇_x log p_t(x | mean) of the heat kernel with generator ½Δ, a tangent vector at x; or score(x, t), mean the origin

Points and tangent vectors are ambient arrays, as in ``solvers.space``. Every function is held against the exact one and against the laws
that it obeys; what is wrong is told by comparing it with the usual mistakes (``space_causes``). Distances are those of the metrics named
in ``solvers.space``: the rotation angle on SO(3).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from scorebed.analytic.heat.kernels import kernel_of
from scorebed.solvers.space import SO3, SU2, Euclidean, Hyperbolic, Simplex, Space, Sphere, Torus
from scorebed.toy.check.finding import Finding, judged
from scorebed.toy.check.findings import Findings
from scorebed.toy.check.space_causes import exp_causes, log_causes, score_causes, transport_causes

_MAKERS: tuple[tuple[Callable[[int], Space], tuple[int, ...]], ...] = (
    (Sphere, (2, 1, 3, 4, 7)),
    (Hyperbolic, (2, 3)),
    (Torus, (2, 1, 3)),
    (Euclidean, (2, 1, 3)),
)
SPACES: dict[str, Callable[[], Space]] = {make(d).name: partial(make, d) for make, dims in _MAKERS for d in dims} | {"SO3": SO3, "SU2": SU2}
"""The spaces that are known by name; without a name they are tried in this order."""

_N, _CLOSE = 24, 1e-6
_TIMES = (0.05, 0.4, 2.0)
Function = Callable[..., Any]


def check_space(
    exp: Function | None = None,
    log: Function | None = None,
    transport: Function | None = None,
    score: Function | None = None,
    *,
    space: Space | str | None = None,
    library: str = "numpy",
    tolerance: float = _CLOSE,
    name: str | None = None,
) -> Findings:
    """Hold functions of a manifold against the exact ones; what is None is left out.

    Args:
        exp, log, transport, score: as the head of this file has them; each takes and returns batches.
        space: a ``Space``, or a name in ``SPACES``; by default the first whose points the functions agree with.
        library: "numpy" or "torch": the kind of float64 array that the functions are handed.
        tolerance: what values may be off by, relative to their size where that is above 1.
        name: what the report calls it.

    Returns:
        ``Findings``; ``causes`` names the faults, e.g. "clock of Δ in place of ½Δ", "score not tangent", "retraction of order 1 in place of
        the exponential", "log not scaled by the distance", "transport leaves the vector as it is".

    Raises:
        TypeError: nothing is given, or something that is not callable; a space without a heat kernel or with a boundary.
        ValueError: an unknown library or name, a tolerance that is not positive, or no space that the functions fit.
    """
    given = {"exp": exp, "log": log, "transport": transport, "score": score}
    for key, function in given.items():
        if function is not None and not callable(function):
            raise TypeError(f"{key} = {function!r} is not callable: give a function, or None to leave it out")
    if all(function is None for function in given.values()):
        raise TypeError("nothing to check: give exp, log, transport or score")
    if library not in ("numpy", "torch"):
        raise ValueError(f"library = {library!r} is not known: give one of numpy, torch")
    if not tolerance > 0.0:
        raise ValueError(f"tolerance = {tolerance!r} must be positive")
    calls = {key: _wrapped(function, library, key) for key, function in given.items() if function is not None}
    place = _place(space, calls)
    result = Findings(name or place.name, "space")
    looks = {"exp": _exp, "log": _log, "transport": _transport, "score": _score}
    for key, call in calls.items():
        look = looks[key](place, call, tolerance, result.findings)
        result.causes += [cause for cause in look if cause not in result.causes]
    if not result.causes:
        _laws(place, calls, tolerance, result.findings)
    return result


def _wrapped(function: Function, library: str, key: str) -> Function:
    """The function on NumPy arrays; a score of two arguments has its mean at the origin."""

    def call(*arrays: Any) -> np.ndarray:
        if library == "torch":
            import torch

            made = [torch.from_numpy(np.array(a)) if isinstance(a, np.ndarray) else a for a in arrays]
            out = function(*made)
            return np.asarray(out.detach().numpy() if hasattr(out, "detach") else out, dtype=float)
        return np.asarray(function(*[np.array(a) if isinstance(a, np.ndarray) else a for a in arrays]), dtype=float)

    if key == "score":
        try:
            known = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty and p.kind in (0, 1)]
        except (TypeError, ValueError):
            known = []
        if len(known) == 2:

            def about(x: Any, mean: Any, t: Any) -> np.ndarray:
                return call(x, t)

            about.__dict__["origin"] = True
            return about
    return call


def _points(space: Space, size: float = 0.9, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x, tangent vectors v at x of lengths up to ``size``, y = exp(x, v), and other tangent vectors at x."""
    rng = np.random.default_rng(seed)
    x = np.asarray(space.reference(_N, rng))
    z, w = (np.asarray(space.noise(x, rng.standard_normal(x.shape))) for _ in range(2))
    lengths = np.linspace(0.15, size, _N).reshape(_N, *[1] * len(space.shape))
    v = lengths * z / np.asarray(space.norm(x, z)).reshape(lengths.shape)
    return x, v, np.asarray(space.exp(x, v)), w


def _place(space: Space | str | None, calls: dict[str, Function]) -> Space:
    if isinstance(space, str):
        if space not in SPACES:
            raise ValueError(f"space = {space!r} is not known: give one of {', '.join(SPACES)}, or a Space")
        return SPACES[space]()
    if space is not None:
        if not isinstance(space, Space):
            raise TypeError(f"space = {space!r} is not a Space: give one of scorebed.solvers.space, or its name")
        if space.bounded or isinstance(space, Simplex):
            raise TypeError(f"space = {space.name} has a boundary, where geodesics end: give a space without one")
        return space
    # names last tried where more functions run and agree: a faulty function counts against no space in which another is right
    best: tuple[int, str] = (0, "")
    for key, make in SPACES.items():
        agree = sum(_agrees(make(), name, call) for name, call in calls.items())
        best = max(best, (agree, key), key=lambda pair: pair[0])
    if not best[1]:
        raise ValueError(f"the functions run on none of {', '.join(SPACES)}: say which space it is, space=…")
    return SPACES[best[1]]()


def _agrees(space: Space, key: str, call: Function) -> int:
    """0 where it does not run on points of the space, 1 where it runs and is finite, 3 where it is right."""
    x, v, y, w = _points(space)
    arguments = {"exp": (x, v), "log": (x, y), "transport": (x, y, w), "score": (x, np.broadcast_to(space.origin, x.shape), 0.4)}[key]
    try:
        with np.errstate(all="ignore"):
            out = call(*arguments)
    except Exception:
        return 0
    if out.shape != x.shape or not np.isfinite(out).all():
        return 0
    return 3 if _off(out, exact(space, key, *arguments)) < 1e-4 else 1


def exact(space: Space, key: str, *arguments: Any) -> np.ndarray:
    """What the function should give."""
    if key == "score":
        x, mean, t = arguments
        return np.stack([kernel_of(space).at(p[None], m[None], float(t))[1][0, 0] for p, m in zip(x, mean, strict=True)])
    return np.asarray(getattr(space, key)(*arguments))


def _off(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference, relative to the size of b where that is above 1; nan is infinite."""
    difference = np.abs(a - b) / np.maximum(1.0, np.abs(b))
    return float(np.where(np.isfinite(difference), difference, np.inf).max())


def _run(call: Function, key: str, tried: str, out: list[Finding], *arguments: Any) -> np.ndarray | None:
    """The value, or None with a finding that says what happened in its place."""
    try:
        with np.errstate(all="ignore"):
            value = call(*arguments)
    except Exception as problem:
        out.append(Finding(f"{key}: runs", "fail", tried, f"{type(problem).__name__}: {problem}", "", "it raised"))
        return None
    if value.shape != arguments[0].shape:
        out.append(Finding(f"{key}: shape", "fail", tried, str(value.shape), str(arguments[0].shape), "another shape came back"))
        return None
    return value


def _compare(
    place: Space, key: str, call: Function, tolerance: float, out: list[Finding], *, tried: str, arguments: tuple[Any, ...], what: str
) -> np.ndarray | None:
    """Hold one function against the exact one; the value comes back where it is wrong."""
    value = _run(call, key, tried, out, *arguments)
    if value is None:
        return None
    off = _off(value, exact(place, key, *arguments))
    allowed = tolerance * (1.0 if key != "score" else 10.0)
    out.append(judged(off <= allowed, f"{key}: {what}", tried, f"off by {off:.2g}", f"within {allowed:.0e}", "see the causes"))
    return None if off <= allowed else value


def _exp(place: Space, call: Function, tolerance: float, out: list[Finding]) -> list[str]:
    x, v, _, _ = _points(place)
    wrong = _compare(place, "exp", call, tolerance, out, tried=f"{_N} points of {place.name}, |v| ≤ 0.9", arguments=(x, v), what="values")
    if wrong is not None:
        return exp_causes(place, call, x, v, wrong)
    still = _run(call, "exp", "v = 0", out, x, np.zeros_like(v))
    if still is not None:
        out.append(judged(_off(still, x) <= tolerance, "exp: v = 0", "v = 0", f"off by {_off(still, x):.2g}", "x", "0/0 at |v| = 0"))
    return [] if out[-1].status != "fail" else ["not finite at v = 0" if still is not None else "exp raises"]


def _log(place: Space, call: Function, tolerance: float, out: list[Finding]) -> list[str]:
    x, _, y, _ = _points(place)
    wrong = _compare(place, "log", call, tolerance, out, tried=f"{_N} pairs of {place.name}", arguments=(x, y), what="values")
    if wrong is not None:
        return log_causes(place, x, y, wrong)
    causes = []
    for what, z, allowed in (("y = x", x, tolerance), ("y near x", np.asarray(place.exp(x, 1e-9 * np.asarray(place.log(x, y)))), 1e-9)):
        value = _run(call, "log", what, out, x, z)
        good = value is not None and bool(np.isfinite(value).all()) and float(np.abs(value).max()) <= max(allowed, 3e-8)
        said = "nan" if value is not None and not np.isfinite(value).all() else "raised" if value is None else f"{np.abs(value).max():.1g}"
        out.append(judged(good, f"log: {what}", what, said, "≈ 0", "0/0, or an arccos of a number rounded above 1"))
        causes += [] if good else [f"log not finite at {what}"]
    return causes[:1]


def _transport(place: Space, call: Function, tolerance: float, out: list[Finding]) -> list[str]:
    x, _, y, w = _points(place)
    tried = f"{_N} vectors along geodesics of {place.name}"
    wrong = _compare(place, "transport", call, tolerance, out, tried=tried, arguments=(x, y, w), what="values")
    return [] if wrong is None else transport_causes(place, x, y, w, wrong)


def _score(place: Space, call: Function, tolerance: float, out: list[Finding]) -> list[str]:
    kernel_of(place)
    x, _, y, _ = _points(place, size=1.4, seed=1)
    if call.__dict__.get("origin"):
        x = np.broadcast_to(place.origin, x.shape)
        rng = np.random.default_rng(1)
        z = np.asarray(place.noise(x, rng.standard_normal(x.shape)))
        lengths = np.linspace(0.15, 1.4, _N).reshape(_N, *[1] * len(place.shape))
        x, y = np.array(x), np.asarray(place.exp(x, lengths * z / np.asarray(place.norm(x, z)).reshape(lengths.shape)))
    wrong: dict[float, np.ndarray] = {}
    for t in _TIMES:
        tried = f"{_N} pairs of {place.name}, t = {t}"
        value = _compare(place, "score", call, tolerance, out, tried=tried, arguments=(y, x, t), what=f"t = {t}")
        if value is not None:
            wrong[t] = value
        elif out[-1].status == "fail":
            return ["score raises"]
    return score_causes(place, y, x, wrong, exact) if wrong else []


def _laws(place: Space, calls: dict[str, Function], tolerance: float, out: list[Finding]) -> None:
    """What the functions must do together."""
    x, v, _, w = _points(place, seed=2)
    if "exp" in calls and "log" in calls:
        back = calls["log"](x, calls["exp"](x, v))
        off = _off(back, v)
        out.append(
            judged(off <= 10.0 * tolerance, "log after exp", f"{_N} pairs", f"off by {off:.2g}", "the identity", "they are not inverse")
        )
    if "exp" in calls and "transport" in calls:
        y = calls["exp"](x, v)
        moved = calls["transport"](x, y, w)
        off = float(np.abs(np.asarray(place.norm(y, moved)) - np.asarray(place.norm(x, w))).max())
        out.append(
            judged(off <= 10.0 * tolerance, "transport keeps lengths", f"{_N} vectors", f"off by {off:.2g}", "an isometry", "lengths")
        )
