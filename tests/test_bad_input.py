"""Bad input: one clear error that names the culprit, before the step that would use it, in the loop and in the replay of a Plan alike."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from scorebed.analytic import GaussianMixture
from scorebed.solvers import (
    EDM,
    SOLVERS,
    VP,
    BrownianNoise,
    Cosine,
    Node,
    NonFinite,
    RectifiedFlow,
    Solver,
    denoiser,
    methods_on,
    predicts,
    sample,
    solver,
    trace,
)
from scorebed.solvers.grid import from_times, uniform

X = np.random.default_rng(0).standard_normal((3, 2))
GRID = uniform(VP(), 4)


def unlike(value: Any, at: int = 0) -> Callable[[Any, Node], Any]:
    """A network that is well until its call number ``at``, when it returns ``value(x)``."""
    calls = 0

    def network(x: Any, node: Node) -> Any:
        nonlocal calls
        calls += 1
        return value(x) if calls == at + 1 else 0.5 * x

    return network


def torch_like(a: Any) -> Any:
    return torch.as_tensor(a)


def with_entry(value: float) -> Callable[[Any], Any]:
    def spoil(x: Any) -> Any:
        bad = np.array(0.5 * x)
        bad[-1, 0] = value
        return bad

    return spoil


@predicts("v")
def velocity(x: Any, node: Node) -> Any:
    return x


LAW = GaussianMixture([0.4, 0.6], np.array([[1.0, 0.0], [-1.0, 0.5]]), np.array([0.1, 0.2]))


@dataclass
class Case:
    """Arguments that differ from a good call, and the error that is due after ``calls`` evaluations."""

    what: str
    change: Callable[[], dict[str, Any]]
    error: type[Exception]
    culprit: str
    calls: int = 0
    loop_only: bool = False


def case(what: str, error: type[Exception], culprit: str, *, calls: int = 0, loop_only: bool = False, **change: Any) -> Case:
    return Case(what, lambda: change, error, culprit, calls, loop_only)


def lazy(what: str, error: type[Exception], culprit: str, change: Callable[[], dict[str, Any]], calls: int = 0) -> Case:
    return Case(what, change, error, culprit, calls)


def bad_value(what: str, value: Callable[[Any], Any], error: type[Exception], culprit: str) -> list[Case]:
    """The network returns ``value(x)`` at its first call, and at its third."""

    def row(at: int, step: int) -> Case:
        where = f"denoise.* at step {step}, evaluation {at + 1}, Node.*"
        # what is wrong and where it is wrong, in either order
        return lazy(f"{what}, call {at + 1}", error, f"(?s)^(?={where})(?=.*{culprit})", lambda: {"denoise": unlike(value, at)}, at + 1)

    return [row(0, 0), row(2, 2)]


NETWORK = [
    *bad_value("nan", with_entry(math.nan), NonFinite, "denoise returned nan or inf"),
    *bad_value("inf", with_entry(math.inf), NonFinite, "denoise returned nan or inf"),
    *bad_value("-inf", with_entry(-math.inf), NonFinite, "denoise returned nan or inf"),
    *bad_value(
        "inf and -inf", lambda x: np.array([[math.inf, 0.0], [0.0, -math.inf], [0.0, 0.0]]), NonFinite, "denoise returned nan or inf"
    ),
    *bad_value("shape (1, d)", lambda x: 0.5 * x[:1], ValueError, r"has shape \(1, 2\), the state has \(3, 2\)"),
    *bad_value("shape (B, 1)", lambda x: 0.5 * x[:, :1], ValueError, r"has shape \(3, 1\), the state has \(3, 2\)"),
    *bad_value("shape (d,)", lambda x: 0.5 * x[0], ValueError, r"has shape \(2,\), the state has \(3, 2\)"),
    *bad_value("shape (1, 1)", lambda x: 0.5 * x[:1, :1], ValueError, r"has shape \(1, 1\), the state has \(3, 2\)"),
    *bad_value("shape ()", lambda x: np.array(0.5), ValueError, r"has shape \(\), the state has \(3, 2\)"),
    *bad_value("shape (1, B, d)", lambda x: 0.5 * x[None], ValueError, r"has shape \(1, 3, 2\), the state has \(3, 2\)"),
    *bad_value("transposed", lambda x: 0.5 * x.T, ValueError, r"has shape \(2, 3\), the state has \(3, 2\)"),
    *bad_value("flat", lambda x: 0.5 * x.ravel(), ValueError, r"has shape \(6,\), the state has \(3, 2\)"),
    *bad_value("another batch", lambda x: np.zeros((4, 2)), ValueError, r"has shape \(4, 2\), the state has \(3, 2\)"),
    *bad_value("empty", lambda x: x[:0], ValueError, r"has shape \(0, 2\), the state has \(3, 2\)"),
    *bad_value("numpy scalar", lambda x: np.float64(0.5), ValueError, r"has shape \(\), the state has \(3, 2\)"),
    *bad_value("scalar", lambda x: 0.5, TypeError, r"is a float, not an array of shape \(3, 2\)"),
    *bad_value("list", lambda x: x.tolist(), TypeError, r"is a list, not an array of shape \(3, 2\)"),
    *bad_value("tuple", lambda x: (x, None), TypeError, r"is a tuple, not an array of shape \(3, 2\)"),
    *bad_value("nothing", lambda x: None, TypeError, r"is a NoneType, not an array of shape \(3, 2\)"),
    *bad_value("float32", lambda x: x.astype(np.float32), TypeError, "has dtype float32, the state has float64"),
    *bad_value("float128", lambda x: x.astype(np.longdouble), TypeError, "has dtype float128, the state has float64"),
    *bad_value("integers", lambda x: np.zeros(x.shape, int), TypeError, "has dtype int64, the state has float64"),
    *bad_value("complex", lambda x: x + 0j, TypeError, "has dtype complex128, the state has float64"),
    *bad_value("torch", torch_like, TypeError, "has dtype torch.float64, the state has float64"),
    case(
        "network of a float64 state",
        TypeError,
        "denoise.*has dtype float64, the state has float32",
        calls=1,
        x=X.astype(np.float32),
        denoise=lambda x, node: 0.5 * x.astype(float),
    ),
    lazy(
        "numpy for torch",
        TypeError,
        "denoise.*has dtype float64, the state has torch.float64",
        lambda: {"x": torch_like(X), "denoise": lambda x, node: x.numpy()},
        1,
    ),
    lazy(
        "torch float32 for float64",
        TypeError,
        "denoise.*dtype torch.float32.*torch.float64",
        lambda: {"x": torch_like(X), "denoise": lambda x, node: x.float()},
        1,
    ),
    lazy(
        "torch nan",
        NonFinite,
        "denoise returned nan or inf at step 0",
        lambda: {"x": torch_like(X), "denoise": lambda x, node: math.nan * x},
        1,
    ),
    lazy("torch shape", ValueError, r"denoise.*has shape \(1, 2\)", lambda: {"x": torch_like(X), "denoise": lambda x, node: x[:1]}, 1),
    case("not callable", TypeError, "denoise = 3 is not callable", denoise=3),
    case("None", TypeError, "denoise = None is not callable", denoise=None),
    case("the law, not its method", TypeError, "denoise = .*GaussianMixture.* is not callable", denoise=LAW),
    case(
        "score as denoiser",
        ValueError,
        r"denoise predicts 'score', not 'denoised': wrap it, solvers.model.denoiser\(f, 'score'\)",
        denoise=LAW.score,
    ),
    case("eps as denoiser", ValueError, "denoise predicts 'eps', not 'denoised'", denoise=LAW.eps),
    case("v as denoiser", ValueError, "denoise predicts 'v', not 'denoised'", denoise=velocity),
]

STATE = [
    case("integers", TypeError, r"x has dtype int64: give a floating-point state, e.g. x.astype\('float64'\)", x=np.ones((3, 2), int)),
    case("booleans", TypeError, "x has dtype bool", x=np.ones((3, 2), bool)),
    case("complex", TypeError, "x has dtype complex128", x=X + 0j),
    case("objects", TypeError, "x has dtype object", x=X.astype(object)),
    case("list", TypeError, "x is a list: give a NumPy array or a torch tensor", x=X.tolist()),
    case("scalar", TypeError, "x is a float", x=0.5),
    case("None", TypeError, "x is a NoneType", x=None),
    case("string", TypeError, "x is a str", x="noise"),
    case("no samples", ValueError, r"x has shape \(0, 2\): give at least one sample", x=np.empty((0, 2))),
    case("no coordinates", ValueError, r"x has shape \(3, 0\): give at least one sample", x=np.empty((3, 0))),
    case("no axes", ValueError, r"x has shape \(\): give at least one sample", x=np.array(0.5)),
    case("nan", NonFinite, "x has nan or inf entries before the first step", x=with_entry(math.nan)(X)),
    case("inf", NonFinite, "x has nan or inf entries before the first step", x=with_entry(math.inf)(X)),
    lazy(
        "torch integers", TypeError, "x has dtype torch.int64: give a floating-point state", lambda: {"x": torch_like(np.ones((3, 2), int))}
    ),
    lazy("torch nan", NonFinite, "x has nan or inf entries", lambda: {"x": torch_like(with_entry(math.nan)(X))}),
    lazy("torch empty", ValueError, r"x has shape \(0, 2\)", lambda: {"x": torch_like(X[:0])}),
]

FORWARD = uniform(VP(), 4, start=0.1, end=0.9)

GRIDS = [
    case("empty", ValueError, r"grid has 0 node\(s\), that is no step: give at least 2 nodes", grid=[]),
    case("one node", ValueError, r"grid has 1 node\(s\)", grid=GRID[:1]),
    case("duplicate", ValueError, "grid is not strictly monotone between nodes 1 and 2", grid=[*GRID[:2], *GRID[1:]]),
    case("zigzag", ValueError, "grid is not strictly monotone between nodes 1 and 2", grid=[GRID[0], GRID[2], GRID[1], GRID[3]]),
    case("there and back", ValueError, "grid is not strictly monotone between nodes 2 and 3", grid=[*GRID[:3], GRID[1]]),
    case("all the same", ValueError, "grid is not strictly monotone between nodes 0 and 1", grid=[GRID[0]] * 3),
    case(
        "times", TypeError, r"grid\[0\] = .*1.0.* is not a Node: make the grid with solvers.grid.from_times", grid=np.linspace(1.0, 0.1, 5)
    ),
    case("integers", TypeError, r"grid\[0\] = 999 is not a Node", grid=[999, 500, 0]),
    case("number of steps", TypeError, "grid = 10 is not a list of nodes: make one with solvers.grid", grid=10),
    case("schedule", TypeError, r"grid = VP\(.*\) is not a list of nodes", grid=VP()),
    case("name", TypeError, "grid = 'karras' is not a list of nodes", grid="karras"),
    case("None", TypeError, "grid = None is not a list of nodes", grid=None),
    case(
        "lam = inf",
        ValueError,
        r"grid\[4\] = .* needs finite values with alpha > 0 and sigma > 0: stop short",
        grid=[*GRID[:4], VP().node(0.0)],
    ),
    case("lam = -inf", ValueError, r"grid\[0\] = .* needs finite values with alpha > 0", grid=[Cosine().node(1.0), Cosine().node(0.5)]),
    case(
        "alpha = 0",
        ValueError,
        r"grid\[0\] = .* needs finite values with alpha > 0",
        grid=[RectifiedFlow().node(1.0), RectifiedFlow().node(0.5)],
    ),
    case("nan", ValueError, r"grid\[1\] = Node\(t=nan", grid=[GRID[0], Node(math.nan, 0.5, 0.5, 0.0)]),
    case("mixed schedules", ValueError, r"grid\[2\] belongs to EDM\(.*, grid\[0\] to VP\(", grid=[*GRID[:2], EDM().node(0.01)]),
    case(
        "mixed constants",
        ValueError,
        r"grid\[2\] belongs to VP\(.*beta_max=10.*, grid\[0\] to VP\(",
        grid=[*GRID[:2], VP(beta_max=10.0).node(0.1)],
    ),
    case(
        "denoise towards noise",
        ValueError,
        "terminal = 'denoise' ends a grid at its cleanest node.* use terminal='none'",
        grid=FORWARD,
        terminal="denoise",
    ),
    case(
        "stochastic towards noise",
        ValueError,
        "ddpm is stochastic and runs from noise to data",
        solver=SOLVERS["ddpm"],
        grid=FORWARD,
        terminal="none",
    ),
]

RULES = [
    *(
        case(f"terminal {bad!r}", ValueError, f"terminal = {re.escape(repr(bad))} is not known: give one of denoise, none", terminal=bad)
        for bad in ("ddim", "Denoise", "", None, True, 0, ["none"], 1.5)
    ),
    case("solver by name", TypeError, "solver = 'ddim' is not a Solver: take one from solvers.SOLVERS", solver="ddim"),
    case("solver None", TypeError, "solver = None is not a Solver", solver=None),
    case("bare step", TypeError, "solver = <function .* is not a Solver", solver=SOLVERS["ddim"].step),
    case("registry", TypeError, "is not a Solver: take one from solvers.SOLVERS", solver=SOLVERS),
    case("callback", TypeError, "callback = 3 is not callable: give a function of one StepDone", callback=3, loop_only=True),
]

NOISE = [
    case("shape", ValueError, r"noise\(s, t\) on \[.*\] has shape \(1, 2\), the state has \(3, 2\)", calls=1, noise=lambda s, t: X[:1]),
    case(
        "batch", ValueError, r"noise\(s, t\) on \[.*\] has shape \(7, 2\), the state has \(3, 2\)", calls=1, noise=BrownianNoise(0, (7, 2))
    ),
    case(
        "dtype",
        TypeError,
        r"noise\(s, t\) .* has dtype float32, the state has float64",
        calls=1,
        noise=BrownianNoise(0, (3, 2), like=X.astype(np.float32)),
    ),
    case("nan", NonFinite, "noise returned nan or inf on", calls=1, noise=lambda s, t: math.nan * X),
    case("inf", NonFinite, "noise returned nan or inf on", calls=1, noise=lambda s, t: with_entry(math.inf)(X)),
    case("scalar", TypeError, r"noise\(s, t\) .* is a float, not an array", calls=1, noise=lambda s, t: 0.5),
    case("nothing", TypeError, r"noise\(s, t\) .* is a NoneType, not an array", calls=1, noise=lambda s, t: None),
    case("array", TypeError, "(?s)noise = .* is neither a seed nor a function", noise=X),
    case("name", TypeError, "noise = 'brownian' is neither a seed nor a function", noise="brownian"),
    case("float seed", TypeError, "noise = 1.5 is neither a seed nor a function", noise=1.5),
    case("bool seed", TypeError, "noise = True is neither a seed nor a function", noise=True),
    case("negative seed", ValueError, "seed = -1", noise=-1),
    case("generator", TypeError, "noise = Generator.* is neither a seed nor a function", noise=np.random.default_rng(0)),
    lazy(
        "torch",
        TypeError,
        r"noise\(s, t\) .* has dtype torch.float64, the state has float64",
        lambda: {"noise": lambda s, t: torch_like(X)},
        1,
    ),
]
for entry in NOISE:
    entry.change = lambda change=entry.change: {"solver": SOLVERS["ddpm"], **change()}

TABLE = {
    f"{group}: {c.what}": c
    for group, cases in [("network", NETWORK), ("state", STATE), ("grid", GRIDS), ("rule", RULES), ("noise", NOISE)]
    for c in cases
}


def by_loop(solver: Any, denoise: Any, x: Any, grid: Any, **others: Any) -> Any:
    return sample(solver, denoise, x, grid, **others)


def by_plan(solver: Any, denoise: Any, x: Any, grid: Any, terminal: Any = "denoise", noise: Any = None) -> Any:
    return trace(solver, grid, terminal).run(denoise, x, noise)


def counted(denoise: Any, calls: list[Node]) -> Any:
    """``denoise`` as it is but for the count, where it can be called at all."""
    if not callable(denoise) or hasattr(denoise, "prediction"):
        return denoise

    def network(x: Any, node: Node) -> Any:
        calls.append(node)
        return denoise(x, node)

    return network


ROWS = [
    pytest.param(c, way, id=f"{name}-{way.__name__}")
    for name, c in TABLE.items()
    for way in (by_loop, by_plan)
    if not (c.loop_only and way is by_plan)
]


def refused(call: Callable[[], Any], error: type[Exception], culprit: str) -> Exception:
    """The one error that ``call`` raises: of this type, saying this, chained to no other, without a hang."""
    begin = time.perf_counter()
    with pytest.raises(error, match=culprit) as caught:
        call()
    assert time.perf_counter() - begin < 20.0  # no hang; a busy machine may be slow
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


@pytest.mark.parametrize(("row", "way"), ROWS)
def test_bad_input_is_refused(row: Case, way: Callable[..., Any]) -> None:
    calls: list[Node] = []
    arguments = {"solver": SOLVERS["ddim"], "denoise": lambda x, node: 0.5 * x, "x": X, "grid": GRID, **row.change()}
    arguments["denoise"] = counted(arguments["denoise"], calls)
    found = refused(lambda: way(**arguments), row.error, row.culprit)
    assert type(found) is row.error
    assert len(calls) == row.calls


def test_the_good_call_beside_the_table_passes() -> None:
    for way in (by_loop, by_plan):
        for method in ("ddim", "ddpm"):
            assert way(solver=SOLVERS[method], denoise=lambda x, node: 0.5 * x, x=X, grid=GRID).shape == X.shape


# every solver, at every evaluation


@pytest.mark.parametrize("way", [by_loop, by_plan])
@pytest.mark.parametrize("solver_name", [name for name, s in methods_on().items() if s.nonlinear is None])
def test_no_solver_lets_a_bad_value_through(solver_name: str, way: Callable[..., Any]) -> None:
    """nan, inf or a broadcastable shape at any evaluation of a run stops there: no further call, no result."""
    method = SOLVERS[solver_name]
    nfe = trace(method, GRID, "denoise").nfe
    spoiled: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
        (with_entry(math.nan), NonFinite, "denoise returned nan or inf"),
        (with_entry(math.inf), NonFinite, "denoise returned nan or inf"),
        (lambda x: x[:1], ValueError, r"has shape \(1, 2\)"),
        (lambda x: x.astype(np.float32), TypeError, "has dtype float32"),
    ]
    for value, error, culprit in spoiled:
        for at in range(nfe):
            calls: list[Node] = []
            network = counted(unlike(value, at), calls)
            found = refused(lambda network=network: way(method, network, X, GRID, noise=0), error, culprit)
            assert f"evaluation {at + 1}" in str(found)
            assert len(calls) == at + 1


def exploding(stage: float, step: float) -> Solver:
    """A method whose stage and step multiply the state by these numbers."""

    @solver(order=1, reference="a test", register=False)
    def explode(denoise: Any, x: Any, s: Node, t: Node, carry: Any, noise: Any) -> tuple[Any, Any]:
        return step * x + 0.0 * denoise(stage * x, s), None

    return explode


@pytest.mark.parametrize("way", [by_loop, by_plan])
def test_a_solver_that_diverges_is_named(way: Callable[..., Any]) -> None:
    """A state that overflows is the solver's fault, not the network's, and the message says which step."""
    x = np.sign(X)
    with np.errstate(over="ignore"):
        for terminal in ("none", "denoise"):
            refused(
                lambda terminal=terminal: way(exploding(1.0, 1e100), lambda x, node: 0.0 * x, x, GRID, terminal=terminal),
                NonFinite,
                "^the state became nan or inf in step 3 of explode, from Node.* to Node.*: the solver diverged$",
            )


@pytest.mark.parametrize("way", [by_loop, by_plan])
def test_a_stage_that_diverges_is_told_from_a_broken_network(way: Callable[..., Any]) -> None:
    x = 1e308 * np.sign(X)
    with np.errstate(over="ignore"):
        culprit = "^denoise returned nan or inf at step 0, evaluation 1, Node.*; its input was not finite: the solver diverged$"
        refused(lambda: way(exploding(10.0, 1.0), lambda x, node: x, x, GRID), NonFinite, culprit)


def test_errors_of_the_network_come_through_unchanged() -> None:
    def broken(x: Any, node: Node) -> Any:
        raise RuntimeError("out of memory")

    for way in (by_loop, by_plan):
        refused(lambda way=way: way(SOLVERS["ddim"], broken, X, GRID), RuntimeError, "^out of memory$")


# what is made before a run


@pytest.mark.parametrize(
    ("call", "error", "culprit"),
    [
        (lambda: uniform(VP(), 0), ValueError, "n = 0 is not a number of steps: give an integer of at least 1"),
        (lambda: uniform(VP(), -3), ValueError, "n = -3 is not a number of steps"),
        (lambda: uniform(VP(), True), ValueError, "n = True is not a number of steps"),
        (lambda: uniform(VP(), 2.5), ValueError, "n = 2.5 is not a number of steps"),
        (lambda: uniform(VP(), 8.0), ValueError, "n = 8.0 is not a number of steps"),
        (lambda: uniform("VP", 8), TypeError, "schedule = 'VP' is not a schedule"),
        (lambda: uniform(VP(), 8, end=0.0), ValueError, "stop short of the ends of the schedule"),
        (lambda: uniform(VP(), 8, start=2.0), ValueError, "t = 2.0 is outside VP: give 0 <= t <= 1"),
        (lambda: from_times(VP(), []), ValueError, r"grid has 0 node\(s\)"),
        (lambda: from_times(VP(), [0.9, math.nan]), ValueError, "t = nan is outside VP"),
        (lambda: from_times(VP(), [999, 500]), ValueError, "t = 999.0 is outside VP"),
        (lambda: SOLVERS["ddim"](eta=1.0), TypeError, "ddim has no option eta; its options: none"),
        (lambda: SOLVERS["dpm_solver_2"](rr=1.0, a=2), TypeError, "dpm_solver_2 has no option a, rr; its options: r"),
        (lambda: denoiser(lambda x, node: x, "x0"), ValueError, "prediction = 'x0' is not known: give one of denoised, eps"),
        (lambda: denoiser(LAW.score, "eps"), ValueError, "prediction = 'eps', but .* predicts 'score'"),
        (lambda: denoiser(LAW, "score"), TypeError, "function = .* is not callable"),
    ],
)
def test_what_cannot_be_made_is_refused(call: Callable[[], Any], error: type[Exception], culprit: str) -> None:
    refused(call, error, culprit)


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'steps'"):
        sample(SOLVERS["ddim"], LAW.denoised, X, GRID, steps=10)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="positional arguments"):
        sample(SOLVERS["ddim"], LAW.denoised, X, GRID, 3)  # type: ignore[call-overload]
