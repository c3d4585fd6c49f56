"""Laws of solvers as objects: the registry, the decorator that fills it, and options."""

from __future__ import annotations

import copy
import dataclasses
import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from scorebed import solvers
from scorebed.solvers import SOLVERS, VP, Node, Solver, methods_on, sample, solver, trace
from scorebed.solvers.base import advance
from scorebed.solvers.grid import uniform
from scorebed.toy.properties.exact import other_values

GRID = uniform(VP(), 6, end=0.05)
X = np.random.default_rng(1).standard_normal((4, 2))
WITH_OPTIONS = [(s, option) for s in methods_on().values() for option in s.options]


def bent(x: Any, node: Node) -> Any:
    return np.tanh(node.alpha / (0.3 * node.alpha**2 + node.sigma**2) * x)


def still(denoise: Any, x: Any, s: Node, t: Node, carry: Any, noise: Any) -> tuple[Any, Any]:
    """A step that goes nowhere."""
    return x, None


@pytest.fixture
def registry() -> Any:
    """The registry, put back afterwards."""
    before = dict(SOLVERS)
    yield SOLVERS
    SOLVERS.clear()
    SOLVERS.update(before)


# what every entry has


@pytest.mark.parametrize("name", list(SOLVERS))
def test_entries_are_named_documented_and_exported(name: str) -> None:
    method = SOLVERS[name]
    assert method.name == name == method.step.__name__
    assert getattr(solvers, name) is method
    assert len(method.reference.split()) >= 2, "a reference says where the formula can be looked up: source and place"
    assert len((method.step.__doc__ or "").split()) >= 3, "a step's docstring is its formula, or says whose formula it varies"


@pytest.mark.parametrize("name", list(SOLVERS))
def test_claims_are_consistent(name: str) -> None:
    method = SOLVERS[name]
    assert method.order >= 1
    assert (method.weak is None) or method.order == max(1, int(method.weak))
    assert (method.strong is None) or method.weak is not None
    if method.start is not None:
        assert method.start.start is None
        assert method.start.order >= method.order - 1, "one first step of local error h^p is allowed, no less"


@pytest.mark.parametrize("name", [name for name, s in methods_on().items() if s.start is not None])
def test_the_start_moves_x_in_the_first_steps_and_the_body_in_the_others(name: str) -> None:
    method, x, memory = SOLVERS[name], X, None
    carry = None
    assert method.start is not None
    assert method.start.order >= method.order - 1
    for i, (s, t) in enumerate(pairwise(GRID)):
        moved, memory = method.step(bent, x, s, t, memory, lambda s, t: X)
        started, _ = method.start.step(bent, x, s, t, None, lambda s, t: X)
        x, carry = advance(method, bent, x, s, t, carry, lambda s, t: X)
        np.testing.assert_array_equal(x, started if i < method.starts else moved)


def test_solvers_are_immutable_values() -> None:
    for method in SOLVERS.values():
        for field in dataclasses.fields(Solver):
            with pytest.raises(AttributeError):
                setattr(method, field.name, None)
        assert copy.deepcopy(method) == method
        assert {method: 1}[method] == 1


# the decorator


def test_decorating_registers_under_the_functions_name(registry: dict[str, Solver]) -> None:
    count = len(registry)
    made = solver(order=1, reference="here")(still)
    assert made.step is still
    assert registry["still"] is made
    assert list(registry)[-1] == "still"
    assert len(registry) == count + 1
    assert (made.name, made.order, made.reference) == ("still", 1, "here")
    assert made.weak is made.strong is made.start is made.nonlinear is None
    assert made.options == {}


def test_claims_are_kept(registry: dict[str, Solver]) -> None:
    made = solver(order=2, weak=2, strong=0.5, reference="here", start=SOLVERS["ddim"], starts=2, nonlinear="why not")(still)
    assert (made.order, made.weak, made.strong, made.start, made.nonlinear) == (2, 2, 0.5, SOLVERS["ddim"], "why not")


def test_register_false_leaves_the_registry_alone() -> None:
    before = dict(SOLVERS)
    made = solver(order=1, reference="here", register=False)(still)
    assert before == SOLVERS
    np.testing.assert_array_equal(sample(made, bent, X, GRID, terminal="none"), X)


def test_a_taken_name_is_refused(registry: dict[str, Solver]) -> None:
    solver(order=1, reference="here")(still)
    with pytest.raises(ValueError, match="a solver called 'still' is registered already"):
        solver(order=1, reference="here")(still)


@pytest.mark.parametrize("order", [0, -1, 1.5, 2.0, True, None, "2"])
def test_orders_that_cannot_be_are_refused(order: Any) -> None:
    with pytest.raises(ValueError, match=f"still: order = {re.escape(repr(order))} must be an integer of at least 1"):
        solver(order=order, reference="here", register=False)(still)


@pytest.mark.parametrize(
    ("claims", "culprit"),
    [
        ({"strong": 1.0}, "still: a strong order without a weak one"),
        ({"weak": 0.0}, "still: weak = 0.0 must be positive"),
        ({"weak": -1}, "still: weak = -1 must be positive"),
        ({"weak": 1, "strong": float("nan")}, "still: strong = nan must be positive"),
        ({"start": SOLVERS["dpmpp_2m"]}, "still: start = dpmpp_2m is itself a multistep method"),
    ],
)
def test_other_claims_that_cannot_be_are_refused(claims: dict[str, Any], culprit: str) -> None:
    with pytest.raises(ValueError, match=culprit):
        solver(order=1, reference="here", register=False, **claims)(still)


def no_carry(denoise: Any, x: Any, s: Any, t: Any, noise: Any) -> Any: ...
def renamed(model: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any: ...
def reordered(x: Any, denoise: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any: ...
def positional(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any, r: float = 0.5) -> Any: ...
def without_default(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any, *, r: float) -> Any: ...
def open_ended(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any, **options: Any) -> Any: ...
def nothing() -> Any: ...


@pytest.mark.parametrize("step", [no_carry, renamed, reordered, positional, without_default, open_ended, nothing], ids=lambda f: f.__name__)
def test_what_is_not_a_step_is_refused(step: Any) -> None:
    with pytest.raises(TypeError, match=rf"{step.__name__} must take \(denoise, x, s, t, carry, noise, \*, option=default, ...\), got \("):
        solver(order=1, reference="here", register=False)(step)


@pytest.mark.parametrize("start", [{"start": SOLVERS["ddim"]}, {"starts": 1}, {"start": SOLVERS["ddim"], "starts": -1}])
def test_a_start_says_for_how_many_steps(start: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"still: starts = .* steps with start = .*: give both or none"):
        solver(order=1, reference="here", register=False, **start)(still)


def test_the_body_and_the_start_share_the_evaluation_at_the_state_and_no_other() -> None:
    def body(factor: float) -> Any:
        def step(denoise: Any, x: Any, s: Node, t: Node, carry: Any, noise: Any) -> Any:
            return denoise(factor * x if factor != 1.0 else x, s), None

        return solver(order=1, reference="here", start=SOLVERS["ddim"], starts=1, register=False)(step)

    for factor, calls in ((1.0, 1), (2.0, 2)):
        run = sample(body(factor), bent, X, GRID[:2], terminal="none", record=True)
        assert run.nfe == calls
        np.testing.assert_array_equal(run.x, sample(SOLVERS["ddim"], bent, X, GRID[:2], terminal="none"))


def test_a_step_returns_a_pair() -> None:
    """An array of two rows would unpack as one."""

    @solver(order=1, reference="here", register=False)
    def forgetful(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any:
        return denoise(x, s)

    with pytest.raises(TypeError, match=r"forgetful returned a ndarray: a step returns the pair \(x_t, carry\)"):
        sample(forgetful, bent, X[:2], GRID)


def test_a_state_of_another_shape_or_dtype_is_the_solvers_fault() -> None:
    for change, error, culprit in (
        (lambda x: x[:1], ValueError, r"the state after step 0 of wrong has shape \(1, 2\), the state has \(4, 2\)"),
        (lambda x: np.float64(0.5) * x, TypeError, "the state after step 0 of wrong has dtype float64, the state has float32"),
    ):
        made = solver(order=1, reference="here", register=False)(_wrong(change))
        with pytest.raises(error, match=culprit):
            sample(made, bent, X.astype(np.float32), GRID)


def _wrong(change: Any) -> Any:
    def wrong(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any:
        return change(denoise(x, s)), None

    return wrong


# options


@pytest.mark.parametrize(("method", "option"), WITH_OPTIONS, ids=lambda v: getattr(v, "name", v))
def test_options_reach_the_step(method: Solver, option: str) -> None:
    """A bound option is what the step gets, in the loop and in the Plan; that it matters there is the law ``options`` of toy.properties."""
    value, other = method.options[option], other_values(method)[option]
    changed = method(**{option: other})
    assert changed.options == {**method.options, option: other}
    assert method.options[option] == value, "the original is as it was"
    assert f"{option}={other!r}" in changed.name
    assert changed.name.startswith(f"{method.name}(")
    for claim in ("order", "weak", "strong", "reference", "start", "nonlinear"):
        assert getattr(changed, claim) == getattr(method, claim)

    def step(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any:
        return method.step(denoise, x, s, t, carry, noise, **{option: other})

    by_hand = dataclasses.replace(method, step=step)
    found = sample(changed, bent, X, GRID, noise=1)
    np.testing.assert_array_equal(found, sample(by_hand, bent, X, GRID, noise=1))
    np.testing.assert_array_equal(sample(method(**{option: value}), bent, X, GRID, noise=1), sample(method, bent, X, GRID, noise=1))
    if method.nonlinear is None:
        plan = trace(changed, GRID, "denoise")
        assert plan.solver == changed.name
        np.testing.assert_allclose(plan.run(bent, X, noise=1), found, rtol=1e-12, atol=1e-12)


def test_there_are_options_to_test() -> None:
    assert ("dpm_solver_2", "r") in [(s.name, option) for s, option in WITH_OPTIONS]
    two = SOLVERS["dpm_solver_2"]
    assert np.abs(sample(two(r=0.7), bent, X, GRID) - sample(two, bent, X, GRID)).max() > 1e-4


def test_options_compose_and_the_last_word_counts() -> None:
    @solver(order=1, reference="here", register=False)
    def scaled(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any, *, a: float = 1.0, b: float = 2.0) -> Any:
        return a * x + b * denoise(x, s), None

    assert scaled.options == {"a": 1.0, "b": 2.0}
    one_by_one, at_once = scaled(b=3.0)(a=0.5), scaled(a=0.5, b=3.0)
    assert one_by_one.options == at_once.options == {"a": 0.5, "b": 3.0}
    assert one_by_one.name == at_once.name == "scaled(a=0.5, b=3.0)"
    one_step = GRID[:2]
    truth = 0.5 * X + 3.0 * bent(X, GRID[0])
    for method in (one_by_one, at_once, scaled(a=7.0)(b=3.0)(a=0.5)):
        np.testing.assert_allclose(sample(method, bent, X, one_step, terminal="none"), truth, rtol=1e-15)
        np.testing.assert_allclose(trace(method, one_step).output, [0.5, 3.0], rtol=1e-15)
    np.testing.assert_allclose(sample(scaled, bent, X, one_step, terminal="none"), X + 2.0 * bent(X, GRID[0]), rtol=1e-15)


def test_no_options_is_the_solver_itself() -> None:
    assert SOLVERS["ddim"]() is SOLVERS["ddim"]


@pytest.mark.parametrize("method", methods_on().values(), ids=lambda s: s.name)
def test_unknown_options_are_refused(method: Solver) -> None:
    known = ", ".join(method.options) or "none"
    with pytest.raises(TypeError, match=f"{method.name} has no option nonsense; its options: {known}"):
        method(nonsense=1)
    for argument in ("denoise", "x", "s", "t", "carry", "noise"):  # arguments of every step are not options
        with pytest.raises(TypeError, match=f"has no option {argument}"):
            method(**{argument: 1})
    with pytest.raises(TypeError, match="positional"):
        method(bent, X)  # type: ignore[call-arg]
