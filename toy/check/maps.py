r"""``check_map``: is a consistency model, or a flow map, the map of the flow that it is said to be of, and if not, what is it?

    law = GaussianMixture([0.4, 0.6], [-1.0, 1.0], [0.05, 0.1])
    print(check_map(my_endpoint, VP(), law=law))            # my_endpoint(x, node), or my_map(x, s, t)

A map of the probability flow of a law keeps four identities, with v the velocity of the flow:

    boundary      f(x, s, s) = x, f(x, clean) = x
    semigroup     f(f(x, s, u), u, t) = f(x, s, t)
    consistency   f is the same at all points of one path
    velocity      ∂_t f(x, s, t) = v(x, s) at t = s, and du/ds = (u − v)/(t − s) along v for the average velocity u = (f − x)/(t − s)

and is known in closed form (``analytic.process.maps``), so that its error is measured for every pair (s, t). Without a law the first two
and the last, with the map's own velocity, are all that can be asked.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from scorebed.analytic.process.maps import FlowMap
from scorebed.solvers import Node, Schedule
from scorebed.toy.check.map_findings import MapCheck, MapReport

Model = Callable[..., Any]
_KINDS = ("endpoint", "map")


def check_map(
    model: Any,
    process: Schedule,
    *,
    law: Any = None,
    kind: str | None = None,
    gives: str = "state",
    times: bool = False,
    library: str = "numpy",
    nodes: int = 5,
    samples: int = 64,
    tolerance: float = 1e-3,
    d: int = 1,
    name: str | None = None,
    seed: int = 0,
) -> MapReport:
    """Check a few-step map: boundary, semigroup, consistency, velocity and average velocity, and its error by (s, t).

    Args:
        model: f(x, s), marked ``predicts("endpoint")``, or f(x, s, t), marked ``predicts("map")``, or u(x, s, t),
            marked ``predicts("average")``; x of shape (n, d), s and t nodes of the
            process. An unmarked function is what the number of its arguments says. Or a ``FlowMap``.
        process: a schedule, ``VP()``.
        law: of the data, with a closed flow; by default the one that the model carries (those of a ``FlowMap`` do), or none.
        kind: "endpoint" or "map", where neither mark nor signature says.
        gives: "state"; or "velocity" for a model of the average velocity u(x, s, t), or u(x, s) to the data (MeanFlow).
        times: whether the model takes the times ``s.t`` and ``t.t``, floats, in the place of nodes.
        library: "numpy" or "torch" (float64 tensors).
        nodes, samples: how many times, and how many states at each.
        tolerance: what may be lost, in standard deviations of the law.
        d: dimension of the states where no law says.
        name, seed: what the report calls it; of the states.

    Returns:
        ``MapReport``: findings, ``causes`` ("posterior mean in place of the map", "s and t exchanged", "scaled by 1.1", …), ``errors``.

    Raises:
        TypeError: a model that is not callable, a process that is no schedule, a law without a flow.
        ValueError: an unknown kind, library or prediction; too few nodes or samples.
    """
    if isinstance(model, FlowMap):
        model = model.map
    if not callable(model):
        raise TypeError(f"model = {model!r} is not callable: give f(x, s) or f(x, s, t)")
    if isinstance(process, type) or not isinstance(process, Schedule):
        raise TypeError(f"process = {process!r} is no schedule: give one, e.g. solvers.VP()")
    for key, value, known in (("gives", gives, ("state", "velocity")), ("library", library, ("numpy", "torch"))):
        if value not in known:
            raise ValueError(f"{key} = {value!r} is not known: give one of {', '.join(known)}")
    if not all(isinstance(count, int) for count in (nodes, samples, d)) or nodes < 3 or samples < 2 or d < 1:
        raise ValueError(f"nodes = {nodes}, samples = {samples}, d = {d}: give whole numbers, at least 3 nodes, 2 samples and d = 1")
    if not tolerance > 0.0:
        raise ValueError(f"tolerance = {tolerance!r} must be positive: what may be lost, in standard deviations of the law")
    law = getattr(model, "law", None) if law is None else law
    if law is not None and not hasattr(law, "flow"):
        raise TypeError(
            f"law = {law!r} has no flow: give a GaussianMixture of one component or on the line, a RotatedProduct or a HeatMixture"
        )
    if kind is None and getattr(model, "prediction", None) == "average":
        kind, gives = "map", "velocity"
    kind = kind or kind_of(model)
    if kind not in _KINDS:
        raise ValueError(f"kind = {kind!r} is not known: give one of {', '.join(_KINDS)}")
    called = name or str(getattr(model, "__name__", type(model).__name__))
    return MapCheck(_adapted(model, kind, gives, times, library), process, law, kind, nodes, samples, tolerance, d, seed).report(called)


def kind_of(model: Model) -> str:
    """ "endpoint" or "map", by the mark or by the number of positional arguments.

    Returns:
        the kind, "endpoint" or "map".

    Raises:
        ValueError: a model marked as a posterior mean, or one whose signature does not say.
    """
    marked = getattr(model, "prediction", None)
    if marked is not None and marked not in _KINDS:
        raise ValueError(
            f"model predicts {marked!r}, no few-step map: give one marked solvers.predicts('endpoint'), ('map') or ('average')"
        )
    if marked:
        return str(marked)
    try:
        parameters = inspect.signature(model).parameters.values()
    except (TypeError, ValueError):
        parameters = ()  # type: ignore[assignment]
    count = sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    if count not in (2, 3):
        raise ValueError(f"model = {model!r} does not say what it is: give kind='endpoint' for f(x, s), or kind='map' for f(x, s, t)")
    return "endpoint" if count == 2 else "map"


def _adapted(model: Model, kind: str, gives: str, times: bool, library: str) -> Model:
    """f(x, s, t) in NumPy, as a state; an endpoint ignores t."""

    def call(x: np.ndarray, s: Node, t: Node) -> np.ndarray:
        points: tuple[Any, ...] = (s,) if kind == "endpoint" else (s, t)
        arguments = [p.t for p in points] if times else list(points)
        given: Any = x.copy()
        if library == "torch":
            import torch

            with torch.no_grad():
                value = model(torch.as_tensor(given), *arguments).detach().numpy()
        else:
            value = model(given, *arguments)
        value = np.asarray(value, np.float64)
        if value.shape != x.shape:
            raise ValueError(f"the model returned shape {value.shape} for states of shape {x.shape}")
        return x + (t.t - s.t) * value if gives == "velocity" else value

    return call
