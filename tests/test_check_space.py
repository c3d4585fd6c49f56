"""Functions of a manifold held against the exact ones: each usual mistake named, the mended twin passes, other people's spaces too."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from scorebed import check_space
from scorebed.solvers.space import Box, Space, Sphere
from scorebed.toy.check.space import SPACES, exact


def right(space: Space) -> dict[str, Callable[..., Any]]:
    return {
        "exp": space.exp,
        "log": space.log,
        "transport": space.transport,
        "score": lambda x, mean, t: exact(space, "score", x, mean, t),
    }


@pytest.mark.parametrize("name", ["Sphere(2)", "SO3", "Hyperbolic(2)", "Torus(2)", "Euclidean(3)", "Sphere(4)"])
def test_what_is_right_passes_and_the_space_is_recognised(name: str) -> None:
    found = check_space(**right(SPACES[name]()))
    assert found.passed, found
    assert not found.causes
    assert found.name == ("Euclidean(2)" if name == "Euclidean(3)" else name)  # flat of any dimension
    assert check_space(**right(SPACES[name]()), space=name).name == name


S2, H2, SO = (SPACES[name]() for name in ("Sphere(2)", "Hyperbolic(2)", "SO3"))


def unit_log(space: Space) -> Callable[..., Any]:
    def log(x: Any, y: Any) -> Any:
        v = space.log(x, y)
        return v / np.asarray(space.norm(x, v)).reshape(-1, *[1] * len(space.shape))

    return log


def heat(space: Space, change: Callable[[Any, Any, Any, float], Any]) -> Callable[..., Any]:
    return lambda x, mean, t: change(space, x, mean, t)


def distance_density(space: Space, x: Any, mean: Any, t: float) -> Any:
    r = np.asarray(space.distance(x, mean))
    more = 1.0 / np.tan(0.5 * r) if space is SO else 1.0 / np.tan(r)
    ray = -space.log(x, mean) / r.reshape(-1, *[1] * len(space.shape))
    return exact(space, "score", x, mean, t) + more.reshape(-1, *[1] * len(space.shape)) * ray


FAULTS: dict[str, tuple[Space, dict[str, Callable[..., Any]]]] = {
    "retraction of order 1 in place of the exponential": (S2, {"exp": S2.retract1}),
    "retraction of order 2 in place of the exponential": (S2, {"exp": S2.retract}),
    "exp is x + v, which leaves the space": (S2, {"exp": lambda x, v: x + v}),
    "v taken of opposite sign": (SO, {"exp": lambda x, v: SO.exp(x, -v)}),
    "v taken √2 times": (SO, {"exp": lambda x, v: SO.exp(x, math.sqrt(2.0) * v)}),
    "length of v ignored": (H2, {"exp": lambda x, v: H2.exp(x, v / np.asarray(H2.norm(x, v))[:, None])}),
    "log not scaled by the distance": (S2, {"log": unit_log(S2)}),
    "log is the projection of y − x": (S2, {"log": lambda x, y: S2.tangent(x, y - x)}),
    "log is y − x, which is not tangent": (S2, {"log": lambda x, y: y - x}),
    "arguments of log exchanged": (SO, {"log": lambda x, y: SO.log(y, x)}),
    "log 2 times": (SO, {"log": lambda x, y: 2.0 * SO.log(x, y)}),
    "log not finite at y = x": (S2, {"log": lambda x, y: S2.log(x, y) * (np.arccos((x * y).sum(-1)) / S2.distance(x, y))[:, None]}),
    "transport leaves the vector as it is": (S2, {"transport": lambda x, y, v: v}),
    "projection in place of transport": (S2, {"transport": lambda x, y, v: S2.tangent(y, v)}),
    "transport changes lengths": (H2, {"transport": lambda x, y, v: 1.1 * H2.transport(x, y, v)}),
    "sign of the score": (SO, {"score": heat(SO, lambda s, x, m, t: -exact(s, "score", x, m, t))}),
    "clock of Δ in place of ½Δ": (SO, {"score": heat(SO, lambda s, x, m, t: exact(s, "score", x, m, 2.0 * t))}),
    "sigma where its square belongs": (H2, {"score": heat(H2, lambda s, x, m, t: exact(s, "score", x, m, t * t))}),
    "Varadhan's leading term in place of the score": (S2, {"score": heat(S2, lambda s, x, m, t: s.log(x, m) / t)}),
    "density of the distance in place of that of the point": (SO, {"score": heat(SO, distance_density)}),
    "sigma times the score (a noise prediction)": (
        S2,
        {"score": heat(S2, lambda s, x, m, t: -math.sqrt(t) * exact(s, "score", x, m, t))},
    ),
    "score not tangent": (S2, {"score": heat(S2, lambda s, x, m, t: exact(s, "score", x, m, t) + 0.7 * x)}),
}


@pytest.mark.parametrize("cause", FAULTS)
def test_a_mistake_is_named(cause: str) -> None:
    space, wrong = FAULTS[cause]
    found = check_space(**{**right(space), **wrong})
    assert not found.passed
    assert found.causes == [cause], found
    assert found.name == space.name  # a wrong function does not hide the space
    assert check_space(**right(space), space=space).passed


def test_one_function_alone_and_a_score_about_the_origin() -> None:
    assert check_space(log=S2.log).passed
    about = lambda x, t: exact(S2, "score", x, np.broadcast_to(S2.origin, x.shape), t)  # noqa: E731
    assert check_space(score=about, space="Sphere(2)").passed
    assert check_space(score=lambda x, t: -about(x, t), space=S2).causes == ["sign of the score"]


def test_torch_and_other_orders_of_arguments() -> None:
    assert check_space(S2.exp, S2.log, S2.transport, space=S2, library="torch").passed
    assert not check_space(lambda v, x: S2.exp(x, v), space="Sphere(2)").passed  # as geomstats has them


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({}, TypeError, "nothing to check"),
        ({"exp": 3}, TypeError, "exp = 3 is not callable"),
        ({"exp": S2.exp, "space": "S5"}, ValueError, "space = 'S5'"),
        ({"exp": S2.exp, "space": 2}, TypeError, "space = 2"),
        ({"exp": S2.exp, "space": Box(2)}, TypeError, "boundary"),
        ({"exp": S2.exp, "library": "jax"}, ValueError, "library = 'jax'"),
        ({"exp": S2.exp, "tolerance": 0.0}, ValueError, "tolerance = 0.0"),
        ({"exp": lambda x, v: x[0]}, ValueError, "say which space"),
    ],
)
def test_wrong_use_is_told(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        check_space(**arguments)


def test_what_raises_or_is_of_another_shape_fails() -> None:
    def broken(x: Any, v: Any) -> Any:
        raise RuntimeError("no")

    for function in (broken, lambda x, v: x[:3], lambda x, v: np.full_like(x, np.nan)):
        assert not check_space(function, space=Sphere(2)).passed
