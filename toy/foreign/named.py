"""What the words of a command line stand for: methods with options, one's own from a file, and one's own networks."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from scorebed.solvers import SCHEDULES, Solver
from scorebed.solvers.inverse import Method
from scorebed.toy.foreign.place import load

if TYPE_CHECKING:
    from scorebed.gpu.models import Pretrained

T = TypeVar("T")
_CALL = re.compile(r"^(\w+)\((.*)\)$")
_REMEDY: dict[type, str] = {
    Solver: "write its step under @solver(order=…, register=False); a whole sampler is looked at by scorebed check",
    Method: "write it under @guide or @sampler of scorebed.solvers.inverse, with register=False",
}
"""What one's own may stand for, and how it is made."""


def kind_of(known: Mapping[str, Any]) -> type | None:
    """What a registry is of, where one's own may stand beside its entries: Solver, Method, or None."""
    return next((kind for kind in _REMEDY if any(isinstance(one, kind) for one in known.values())), None)


def method_of(text: str, known: Mapping[str, T]) -> T:
    """A method by its name, ``unipc_3``; with options, ``unipc_3(start=ddim)`` or ``ghvb_2(beta=0.8)``; or from ``file.py:name``.

    Args:
        text: the word of the command line.
        known: a registry of Solvers, or of posterior samplers.

    Returns:
        the Solver or Method, with those options.

    Raises:
        ValueError: an option or value that the method does not take, a place where no such thing is, or a name that is not in ``known``.
    """
    if text in known:
        return known[text]
    kind = kind_of(known)
    if ":" in text and kind is not None:
        found = load(text)
        if not isinstance(found, kind):
            raise ValueError(f"{text} is a {type(found).__name__}, and a {kind.__name__} is needed: {_REMEDY[kind]}")
        return cast("T", found)
    call = _CALL.match(text)
    if call is None or call[1] not in known:
        raise ValueError(f"{text!r} not known")
    options: dict[str, Any] = {}
    for part in filter(None, map(str.strip, re.split(r"[;,]", call[2]))):
        key, _, value = part.partition("=")
        try:
            options[key.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            options[key.strip()] = value.strip()  # a bare word
    try:
        return cast("T", cast("Any", known[call[1]])(**options))
    except TypeError as wrong:
        raise ValueError(str(wrong)) from None


def shape_of(text: str | None) -> list[int]:
    """``3,32,32`` or ``3x32x32`` as numbers.

    Returns:
        list of the extents.

    Raises:
        ValueError: none given, or no list of numbers.
    """
    if text is None:
        raise ValueError("a model of your own needs --shape, that of one sample, e.g. --shape 3,32,32")
    try:
        return [int(part) for part in text.replace("x", ",").split(",")]
    except ValueError:
        raise ValueError(f"--shape {text!r} is no list of numbers: give e.g. 3,32,32") from None


def network_of(model: str, shape: str | None = None, schedule: str = "VP", prediction: str = "eps") -> Pretrained:
    """A pretrained network by its name, or one's own from ``module:callable`` or ``file.py:callable``, (x, node) -> its prediction.

    Returns:
        the network, with its schedule, shape and grid.

    Raises:
        ValueError: an unknown name, schedule or prediction, or an own one without its shape.
    """
    from scorebed.gpu import models
    from scorebed.gpu.models.own import own

    if ":" not in model:
        if model not in models.MODELS:
            raise ValueError(f"model {model!r} not known; known: {', '.join(models.MODELS)}, and module:callable or file.py:callable")
        return models.load(model)
    if schedule not in SCHEDULES:
        raise ValueError(f"--schedule {schedule!r} is not known: give one of {', '.join(SCHEDULES)}")
    name = re.sub(r"\W+", "-", model).strip("-")
    return own(load(model), schedule=SCHEDULES[schedule](), shape=shape_of(shape), prediction=prediction, name=name)
