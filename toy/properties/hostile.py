"""Input that is wrong, or memory that is shared: what is done to a good call, and the words that a refusal of it must have."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from scorebed.solvers import EDM, Solver
from scorebed.solvers.state import parts
from scorebed.toy.properties.faces import Call, each

SEEDS = ("bool", "negative", "float")


@dataclass(frozen=True)
class Kind:
    """A kind of bad input.

    Attributes:
        name: in tables.
        change: a good call made bad.
        says: a word of the refusal, any of several; empty where the result must be that of the good call.
        hole: why the kind doesn't speak of a method by a face, or nothing.
    """

    name: str
    change: Callable[[Call], Call]
    says: tuple[str, ...] = ()
    hole: Callable[[Solver, str], str] = lambda solver, face: ""


def continuous(solver: Solver, face: str) -> str:
    """The hole of methods whose states are tokens."""
    return "states are tokens" if "jump" in solver.on else ""


def drawing(solver: Solver, face: str) -> str:
    """The hole of methods that draw nothing."""
    return "" if solver.weak is not None or "jump" in solver.on else "draws nothing"


def edited(solver: Solver, face: str) -> str:
    """The hole of a pipeline, in which what is done to a state counts, whoever does it."""
    return "what is done to a state between two calls counts" if face == "scheduler" else ""


def _noise(solver: Solver, face: str) -> str:
    return drawing(solver, face) or continuous(solver, face)


def own(x: Any) -> Any:
    """The same numbers in memory of their own."""
    return each(lambda part: part.clone() if hasattr(part, "clone") else np.array(part), x)


def _entry(x: Any, value: float) -> Any:
    y = own(x)
    y.reshape(-1)[0] = value
    return y


def _model(f: Callable[[Any, Any], Any], calls: int = 2) -> Callable[[Call], Call]:
    """The model's answer number ``calls`` becomes ``f(answer, x)``, and all after it."""

    def change(call: Call) -> Call:
        inner, seen = call.denoise, [0]

        def model(x: Any, *nodes: Any) -> Any:
            seen[0] += 1
            value = inner(x, *nodes)
            return each(lambda v: f(v, parts(x)[0]), value) if seen[0] >= calls else value

        _marked(model, inner)
        return replace(call, denoise=model)

    return change


def _marked(model: Any, inner: Any) -> None:
    for name in ("prediction", "predicts"):
        if hasattr(inner, name):
            setattr(model, name, getattr(inner, name))


def _reused(call: Call) -> Call:
    """A model whose answers lie in one piece of memory for each shape."""
    inner, rooms = call.denoise, dict[Any, Any]()

    def model(x: Any, *nodes: Any) -> Any:
        value = inner(x, *nodes)
        room = rooms.setdefault(tuple(tuple(v.shape) for v in parts(value)), own(value))
        for held, v in zip(parts(room), parts(value), strict=True):
            held[...] = v
        return room

    _marked(model, inner)
    return replace(call, denoise=model)


def _writing(call: Call) -> Call:
    """A model that overwrites its input when it has read it."""
    inner = call.denoise

    def model(x: Any, *nodes: Any) -> Any:
        value = own(inner(x, *nodes))
        for part in parts(x):
            part[...] = 0
        return value

    _marked(model, inner)
    return replace(call, denoise=model)


def _alien(value: Any, x: Any) -> Any:
    import torch

    return np.asarray(value) if isinstance(value, torch.Tensor) else torch.from_numpy(np.array(value))


def _single(x: Any) -> Any:
    return x.float() if hasattr(x, "float") else x.astype(np.float32)


def _whole(x: Any) -> Any:
    return x.long() if hasattr(x, "long") else x.astype(int)


def _strided(x: Any) -> Any:
    if hasattr(x, "stack"):
        return x
    return np.repeat(np.asarray(x), 2, axis=0)[::2] if not hasattr(x, "detach") else x.repeat_interleave(2, 0)[::2]


def _state(f: Callable[[Any], Any]) -> Callable[[Call], Call]:
    return lambda call: replace(call, x=each(f, call.x))


def _grid(f: Callable[[Any], Any]) -> Callable[[Call], Call]:
    return lambda call: replace(call, grid=f(call.grid))


def _seed(value: Any) -> Callable[[Call], Call]:
    return lambda call: replace(call, noise=value)


def _source(f: Callable[[Any], Any]) -> Callable[[Call], Call]:
    return lambda call: replace(call, noise=lambda s, t: each(f, call.x))


def kinds(face: str = "sample") -> list[Kind]:
    """Every kind of bad input, by a face: a pipeline hands over tensors one at a time, and levels instead of grids."""
    if face == "scheduler":
        return _of_a_pipeline()
    shape, dtype = ("shape", "state", "batch"), ("dtype", "TypeError", "floating", "token", "integer")
    return [
        Kind("state nan", _state(lambda x: _entry(x, math.nan)), ("nan",), continuous),
        Kind("state inf", _state(lambda x: _entry(x, math.inf)), ("nan or inf",), continuous),
        Kind("state integers", _state(_whole), dtype, continuous),
        Kind("state complex", _state(lambda x: x + 0j), dtype),
        Kind("state list", _state(lambda x: x.tolist()), ("is a list",)),
        Kind("state None", _state(lambda x: None), ("is a NoneType",)),
        Kind("state empty", _state(lambda x: x[:0]), ("at least one sample",)),
        Kind("state strided", _state(_strided)),
        Kind("model nan", _model(lambda v, x: _entry(v, math.nan)), ("nan or inf", "finite", "probabilit")),
        Kind("model inf", _model(lambda v, x: _entry(v, math.inf)), ("nan or inf", "finite", "probabilit")),
        Kind("model one row", _model(lambda v, x: v[:1]), shape),
        Kind("model scalar", _model(lambda v, x: 0.5), ("is a float",)),
        Kind("model None", _model(lambda v, x: None), ("is a NoneType",)),
        Kind("model tuple", _model(lambda v, x: (v, v)), ("is a tuple", "2 things")),
        Kind("model integers", _model(lambda v, x: _whole(v)), (*dtype, "no probabilities")),
        Kind("model other precision", _model(lambda v, x: _single(v)), dtype, continuous),
        Kind("model other library", _model(_alien), ("dtype", "torch", "numpy")),
        Kind("model not callable", lambda call: replace(call, denoise=3), ("denoise = 3 is not callable", "takes a few-step map")),
        Kind("model reuses a buffer", _reused),
        Kind("model writes on its input", _writing, hole=edited),
        Kind("grid empty", _grid(lambda g: []), ("0 node", "the process of the grid")),
        Kind("grid of one node", _grid(lambda g: g[:1]), ("1 node",)),
        Kind("grid with a double", _grid(lambda g: [g[0], *g]), ("monotone",)),
        Kind("grid of times", _grid(lambda g: [n.t for n in g]), ("is not a Node", "the process of the grid")),
        Kind("grid None", _grid(lambda g: None), ("not a list of nodes", "needs a grid", "the process of the grid")),
        Kind("grid of two processes", _grid(lambda g: [*g[:-1], EDM(0.001).node(0.0015)]), ("belongs to", "process")),
        Kind("grid once", _grid(iter)),
        Kind("terminal unknown", lambda call: replace(call, terminal="end"), ("terminal = 'end' is not known",)),
        Kind("seed bool", _seed(True), ("noise = True", "seed = True"), drawing),
        Kind("seed negative", _seed(-1), ("seed = -1",), drawing),
        Kind("seed float", _seed(1.5), ("noise = 1.5", "seed = 1.5"), drawing),
        Kind("seeds too few", _seed([1, 2]), ("2 seeds for 3",), drawing),
        Kind("noise nan", _source(lambda x: math.nan * x), ("noise returned nan", "nan or inf entries"), _noise),
        Kind("noise one row", _source(lambda x: x[:1]), shape, _noise),
        Kind("noise None", _source(lambda x: None), ("is a NoneType",), _noise),
        Kind("option out of range", lambda call: call, ("must", "option")),
    ]


def _of_a_pipeline() -> list[Kind]:
    mine = ("model one row", "model reuses a buffer", "model writes on its input", "state strided", *(f"seed {x}" for x in SEEDS))
    levels: dict[str, tuple[dict[str, Any], str]] = {
        "no steps": ({"num_inference_steps": 0}, "num_inference_steps"),
        "half a step": ({"num_inference_steps": 2.5}, "num_inference_steps"),
        "steps True": ({"num_inference_steps": True}, "num_inference_steps"),
        "timesteps empty": ({"timesteps": []}, "timesteps is empty"),
        "timesteps rising": ({"timesteps": [1, 500, 900]}, "fall"),
        "timesteps beyond": ({"timesteps": [5000, 10]}, "timestep = 5000"),
        "timesteps text": ({"timesteps": "999"}, "list of numbers"),
        "sigmas negative": ({"sigmas": [1.0, -0.5]}, "sigma = -0.5"),
        "sigmas nan": ({"sigmas": [math.nan, 0.5]}, "sigma = nan"),
        "two lists": ({"timesteps": [900, 10], "sigmas": [1.0, 0.5]}, "give num_inference_steps, or timesteps, or sigmas"),
    }
    made = [Kind(f"levels {name}", partial(_levels, bad), (word,)) for name, (bad, word) in levels.items()]
    return [*(kind for kind in kinds() if kind.name in mine), *made]


def _levels(bad: dict[str, Any], call: Call) -> Call:
    return replace(call, grid=bad)
