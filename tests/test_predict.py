"""Laws of parameterisations: each is what its definition says, every pair converts both ways, in NumPy and torch; marks keep them apart."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorebed.solvers import EDM, PREDICTIONS, SCHEDULES, VP, Cosine, Node, RectifiedFlow, convert, denoiser, predicts, sample, solver
from scorebed.solvers.grid import uniform_lam
from scorebed.solvers.model import from_denoised, to_denoised
from scorebed.toy.properties.strategies import nodes, seeds

BACKENDS = ["float64", "float32", "torch.float64", "torch.float32"]
ROUND_OFF = {"float64": 2.0**-52, "float32": 2.0**-23}


def array(values: np.ndarray, backend: str) -> Any:
    """``values`` as an array of one of ``BACKENDS``."""
    if backend.startswith("torch."):
        import torch

        return torch.as_tensor(values, dtype=getattr(torch, backend.removeprefix("torch.")))
    return values.astype(backend)


def draws(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((4, 3)), rng.standard_normal((4, 3))


def definitions(x0: Any, eps: Any, node: Node) -> dict[str, Any]:
    """What each prediction is for a pair (x0, eps), in the words of its paper."""
    return {
        "denoised": x0,
        "eps": eps,
        "score": -eps / node.sigma,
        "v": node.alpha * eps - node.sigma * x0,
        "flow": eps - x0,
    }


def test_definitions_cover_every_prediction() -> None:
    assert set(definitions(0.0, 0.0, VP().node(0.5))) == set(PREDICTIONS)


@pytest.mark.parametrize("backend", BACKENDS)
@given(node=nodes(), seed=seeds())
def test_predictions_are_what_they_are_called(backend: str, node: Node, seed: int) -> None:
    """x = alpha x0 + sigma eps, so the prediction that knows x0 and eps is known, and leads back to x0."""
    x0, eps = draws(seed)
    x = array(node.alpha * x0 + node.sigma * eps, backend)
    unit = ROUND_OFF[backend.removeprefix("torch.")] * (np.abs(x0).max() + np.abs(eps).max())
    for prediction, truth in definitions(x0, eps, node).items():
        found = from_denoised(array(x0, backend), x, node, prediction)
        assert found.dtype == x.dtype
        # x0, x and eps are rounded; what divides them by sigma or alpha magnifies that
        magnified = {"denoised": 1.0, "score": (1.0 + node.sigma) / node.sigma**2}.get(prediction, (1.0 + node.sigma) ** 2 / node.sigma)
        assert np.abs(np.asarray(found) - truth).max() <= 8.0 * unit * magnified
        back = to_denoised(array(truth, backend), x, node, prediction)
        assert back.dtype == x.dtype
        assert np.abs(np.asarray(back) - x0).max() <= 8.0 * unit * (1.0 + node.rho)


@pytest.mark.parametrize("backend", BACKENDS)
@given(node=nodes(), seed=seeds(), source=st.sampled_from(PREDICTIONS))
def test_every_pair_converts_both_ways(backend: str, node: Node, seed: int, source: str) -> None:
    """convert(·, b, a) undoes convert(·, a, b), whatever the value: these maps are bijections, not only right on true pairs."""
    value, x = draws(seed)
    unit = ROUND_OFF[backend.removeprefix("torch.")]
    given_value, given_x = array(value, backend), array(x, backend)
    slope = {  # dD / d prediction
        "denoised": 1.0,
        "eps": node.rho,
        "score": node.rho * node.sigma,
        "v": node.sigma / (node.alpha**2 + node.sigma**2),
        "flow": node.sigma / (node.alpha + node.sigma),
    }
    assert convert(given_value, given_x, node, source, source) is given_value
    for target in PREDICTIONS:
        there = convert(given_value, given_x, node, source, target)
        back = convert(there, given_x, node, target, source)
        assert there.dtype == back.dtype == given_value.dtype
        assert tuple(there.shape) == value.shape
        # the way passes through D; round-off enters at the size of the largest term there
        sizes = [
            slope[source] * np.abs(value).max(),
            slope[target] * np.abs(np.asarray(there)).max(),
            np.abs(x).max() * (1.0 + 1.0 / node.alpha),
        ]
        assert np.abs(np.asarray(back) - value).max() <= 16.0 * unit * sum(sizes) / slope[source]


@given(node=nodes(), mean=st.floats(-3.0, 3.0), std=st.floats(0.1, 2.0), at=st.floats(-4.0, 4.0))
def test_tweedie_on_a_gaussian(node: Node, mean: float, std: float, at: float) -> None:
    """On N(mean, std²) score and posterior mean are both known in closed form; one is the other's prediction."""
    variance = node.alpha**2 * std**2 + node.sigma**2
    x = np.array([node.alpha * mean + at * math.sqrt(variance)])
    score = -(x - node.alpha * mean) / variance
    denoised = (node.sigma**2 * mean + node.alpha * std**2 * x) / variance
    slack = 1e-13 * (1.0 + np.abs(x).max()) * (1.0 + node.rho) * (1.0 + 1.0 / node.sigma**2)
    np.testing.assert_allclose(from_denoised(denoised, x, node, "score"), score, rtol=1e-12, atol=slack)
    np.testing.assert_allclose(
        to_denoised(score, x, node, "score"), denoised, rtol=1e-12, atol=1e-13 * (1.0 + abs(mean)) * (1.0 + node.rho)
    )


@pytest.mark.parametrize("name", list(SCHEDULES))
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_wrapped_networks_sample_alike(name: str, prediction: str) -> None:
    """A network of any parameterisation, wrapped, gives the samples of the denoiser it stands for."""
    from scorebed.solvers import dpmpp_2m

    def mean(x: Any, node: Node) -> Any:
        return np.tanh(node.alpha * x / (node.sigma**2 + 0.1))

    def network(x: Any, node: Node) -> Any:
        return from_denoised(mean(x, node), x, node, prediction)

    schedule = SCHEDULES[name]()
    grid = uniform_lam(schedule, 12)
    x = grid[0].sigma * np.linspace(-2.0, 2.0, 6)[:, None]
    direct = sample(dpmpp_2m, mean, x, grid)
    np.testing.assert_allclose(sample(dpmpp_2m, denoiser(network, prediction), x, grid), direct, rtol=1e-7, atol=1e-7)


def test_wrapping_calls_the_network_once_with_what_it_was_given() -> None:
    calls: list[tuple[Any, Node]] = []

    def network(x: Any, node: Node) -> Any:
        calls.append((x, node))
        return 0.5 * x

    x, node = np.ones((2, 3)), Cosine().node(0.4)
    wrapped = denoiser(network, "v")
    np.testing.assert_allclose(wrapped(x, node), to_denoised(0.5 * x, x, node, "v"), rtol=0.0, atol=0.0)
    ((seen, at),) = calls
    assert seen is x
    assert at is node
    assert wrapped.prediction == "denoised"  # type: ignore[attr-defined]


def test_arguments_are_not_written_to() -> None:
    node = VP().node(0.4)
    for prediction in PREDICTIONS:
        value, x = np.ones((2, 2)), np.full((2, 2), 3.0)
        to_denoised(value, x, node, prediction)
        from_denoised(value, x, node, prediction)
        assert np.all(value == 1.0)
        assert np.all(x == 3.0)


# marks


class Law:
    @predicts("score")
    def score(self, x: Any, node: Node) -> Any:
        return -x

    @predicts("denoised")
    def denoised(self, x: Any, node: Node) -> Any:
        return 0.5 * x

    def unmarked(self, x: Any, node: Node) -> Any:
        return 0.5 * x


def test_marks_travel_with_functions_and_bound_methods() -> None:
    assert predicts("v")(lambda x, node: x).prediction == "v"  # type: ignore[attr-defined]
    assert Law.score.prediction == Law().score.prediction == "score"  # type: ignore[attr-defined]


def test_a_mark_that_contradicts_is_refused() -> None:
    with pytest.raises(ValueError, match=r"prediction = 'eps', but .*score.* predicts 'score'"):
        denoiser(Law().score, "eps")
    with pytest.raises(ValueError, match=r"prediction = 'denoised', but .*score.* predicts 'score'"):
        denoiser(Law().score)
    with pytest.raises(ValueError, match=r"prediction = 'v', but .*predicts 'denoised'"):
        denoiser(denoiser(Law().unmarked, "eps"), "v")


def test_a_mark_that_agrees_is_welcome() -> None:
    x, node = np.ones((1, 2)), VP().node(0.5)
    np.testing.assert_array_equal(denoiser(Law().score, "score")(x, node), to_denoised(-x, x, node, "score"))
    np.testing.assert_array_equal(denoiser(Law().denoised)(x, node), 0.5 * x)
    np.testing.assert_array_equal(denoiser(functools.partial(Law().unmarked), "eps")(x, node), to_denoised(0.5 * x, x, node, "eps"))
    assert denoiser(denoiser(Law().unmarked, "eps"))(x, node).shape == (1, 2)


# refusals


@pytest.mark.parametrize("bad", ["x0", "epsilon", "", "Denoised", None, 1])
def test_unknown_predictions_are_refused(bad: Any) -> None:
    x, node = np.ones((1, 2)), VP().node(0.5)
    calls = [
        lambda: to_denoised(x, x, node, bad),
        lambda: from_denoised(x, x, node, bad),
        lambda: convert(x, x, node, bad, "eps"),
        lambda: convert(x, x, node, "eps", bad),
        lambda: convert(x, x, node, bad, bad),
        lambda: denoiser(lambda x, node: x, bad),
        lambda: predicts(bad),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="is not known: give one of denoised, eps, score, v, flow") as caught:
            call()
        assert f"prediction = {bad!r}" in str(caught.value)


@pytest.mark.parametrize("bad", [None, 3, "mixture", np.ones(2)], ids=["None", "int", "str", "array"])
def test_what_cannot_be_called_is_refused(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"is not callable: give a function of \(x, node\)"):
        denoiser(bad, "eps")


@pytest.mark.parametrize("prediction", ["eps", "score"])
@pytest.mark.parametrize("schedule", [Cosine(), RectifiedFlow()], ids=["Cosine", "RectifiedFlow"])
def test_eps_and_score_say_nothing_at_alpha_zero(schedule: Any, prediction: str) -> None:
    x, node = np.ones((1, 2)), schedule.node(1.0)
    with pytest.raises(ValueError, match=f"'{prediction}' and 'denoised' do not determine each other at alpha = 0.0, sigma = 1"):
        to_denoised(x, x, node, prediction)
    assert np.all(np.isfinite(from_denoised(x, x, node, prediction)))


@pytest.mark.parametrize("prediction", ["v", "flow"])
@pytest.mark.parametrize("schedule", [Cosine(), RectifiedFlow()], ids=["Cosine", "RectifiedFlow"])
def test_v_and_flow_determine_the_mean_at_alpha_zero(schedule: Any, prediction: str) -> None:
    x0, eps = draws(3)
    node = schedule.node(1.0)
    np.testing.assert_allclose(to_denoised(definitions(x0, eps, node)[prediction], eps, node, prediction), x0, atol=1e-14)


@pytest.mark.parametrize("prediction", ["eps", "score", "v", "flow"])
@pytest.mark.parametrize("schedule", [VP(), EDM(), RectifiedFlow()], ids=["VP", "EDM", "RectifiedFlow"])
def test_nothing_is_determined_at_sigma_zero(schedule: Any, prediction: str) -> None:
    x, node = np.ones((1, 2)), schedule.node(0.0)
    with pytest.raises(ValueError, match=f"'{prediction}' and 'denoised' do not determine each other at alpha = 1.0, sigma = 0.0"):
        from_denoised(x, x, node, prediction)
    assert np.all(np.isfinite(to_denoised(x, x, node, prediction)))
    assert from_denoised(x, x, node, "denoised") is x


def test_sample_refuses_a_marked_function_of_another_kind() -> None:
    """The mark's purpose: a score handed over as a denoiser is an error, and the message says how to wrap it."""

    @solver(order=1, reference="a test", register=False)
    def still(denoise: Any, x: Any, s: Node, t: Node, carry: Any, noise: Any) -> tuple[Any, Any]:
        return denoise(x, s), None

    with pytest.raises(ValueError, match=r"denoise predicts 'score', not 'denoised': wrap it, solvers.model.denoiser\(f, 'score'\)"):
        sample(still, Law().score, np.ones((1, 2)), uniform_lam(VP(), 2))
