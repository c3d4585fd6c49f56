"""check_map: exact maps pass on every process and law, planted faults fail and are named, and what cannot be judged is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import scorebed
from scorebed.analytic import GaussianMixture, RotatedProduct
from scorebed.analytic.heat import HeatMixture
from scorebed.analytic.process.maps import FlowMap
from scorebed.analytic.process.reflow import Reflow
from scorebed.solvers import EDM, SCHEDULES, VP, RectifiedFlow, predicts
from scorebed.solvers.space import Sphere
from scorebed.toy.check.maps import check_map
from scorebed.toy.problems.lines import modes

F = FlowMap(modes())
PRODUCT = RotatedProduct(np.array([[0.8, -0.6], [0.6, 0.8]]), [modes(), GaussianMixture([1.0], [0.3], 0.2)])


@pytest.mark.parametrize("process", SCHEDULES.values(), ids=lambda p: p.__name__)
@pytest.mark.parametrize("kind", ["endpoint", "map"])
def test_exact_maps_pass(kind: str, process: Any) -> None:
    report = check_map(getattr(F, kind), process())
    assert report, str(report)
    assert report.kind.startswith(f"few-step map, {kind}")
    assert max(report.errors) < 1e-9
    assert len(report.times) == {"endpoint": 5, "map": 10}[kind]


@pytest.mark.parametrize("law", [GaussianMixture([1.0], [[0.5, -1.0]], [[[1.0, 0.3], [0.3, 0.2]]]), PRODUCT], ids=["gaussian", "product"])
def test_in_several_dimensions_too(law: Any) -> None:
    assert check_map(FlowMap(law), VP())
    assert check_map(FlowMap(law).endpoint, RectifiedFlow())


def test_on_a_space() -> None:
    law = HeatMixture(Sphere(2), [1.0], [[0.0, 0.0, 1.0]], 0.2)
    process = EDM(sigma_min=0.1, sigma_max=1.5)
    assert check_map(FlowMap(law).map, process)
    still = check_map(predicts("map")(lambda x, s, t: x), process, law=law)
    assert still.cause == "returns its input"


def ddim(x: Any, s: Any, t: Any) -> Any:
    return t.sigma / s.sigma * x + (t.alpha - t.sigma / s.sigma * s.alpha) * modes().denoised(x, s)


MAPS: dict[str, Any] = {
    "one DDIM step in place of the map": ddim,
    "one Euler step in place of the map": lambda x, s, t: x + (t.t - s.t) * F.velocity(x, s),
    "s and t exchanged": lambda x, s, t: F(x, t, s),
    "goes to the data, not to t": lambda x, s, t: F(x, s),
    "returns its input": lambda x, s, t: x,
    "wrong sign of the average velocity": lambda x, s, t: 2.0 * x - F(x, s, t),
    "average velocity in place of the state": F.average_velocity,
    "state divided by alpha": lambda x, s, t: F(x, s, t) / t.alpha,
    "scaled by 1.1": lambda x, s, t: 1.1 * F(x, s, t),
    "goes 0.9 of the way": lambda x, s, t: x + 0.9 * (F(x, s, t) - x),
    "a map of another flow": FlowMap(GaussianMixture([0.5, 0.5], [-1.0, 1.0], [0.3, 0.3])).map,
}


@pytest.mark.parametrize("cause", MAPS)
def test_a_fault_of_a_map_is_named(cause: str) -> None:
    report = check_map(MAPS[cause], VP(), law=modes())
    assert not report, str(report)
    assert report.cause == cause, str(report)
    assert cause in str(report)


ENDPOINTS: dict[str, Any] = {
    "posterior mean in place of the map": lambda x, s: modes().denoised(x, s),
    "noise in place of data": lambda x, s: (x - s.alpha * F(x, s)) / s.sigma,
    "time of another schedule (EDM)": lambda x, s: F(x, EDM().node(s.t)),
    "input divided by alpha": lambda x, s: F(x / s.alpha, s),
    "shifted by 0.2 standard deviations": lambda x, s: F(x, s) + 0.2 * modes().covariance()[0, 0] ** 0.5,
}


@pytest.mark.parametrize("cause", ENDPOINTS)
def test_a_fault_of_an_endpoint_is_named(cause: str) -> None:
    report = check_map(ENDPOINTS[cause], VP(), law=modes())
    assert not report, str(report)
    assert report.cause == cause, str(report)


def test_which_identity_fails_is_told() -> None:
    """A boundary that is not kept, points of one path sent apart, and a wrong velocity, each by the line that is about it."""
    rough = check_map(lambda x, s, t: F(x, s, t) + 0.05, VP(), law=modes(), tolerance=0.01)
    assert rough["boundary"].status == "fail"
    mean = check_map(predicts("endpoint")(lambda x, s: modes().denoised(x, s)), VP(), law=modes())
    assert {f.name for f in mean.failures} == {"consistency", "average velocity", "error"}
    assert float(mean["spread"].measured) < 0.8
    step = check_map(predicts("map")(ddim), VP(), law=modes())
    assert step["velocity"].status == "pass"  # short DDIM steps are the flow
    assert step["semigroup"].status == "fail"


def test_without_a_law_the_identities_decide() -> None:
    good = check_map(lambda x, s, t: F(x, s, t), VP())
    assert good
    assert good["error"].status == "skip"
    assert not check_map(lambda x, s, t: ddim(x, s, t), VP())
    assert not check_map(lambda x, s, t: x + 1.0, VP(), d=2)


def test_average_velocities_times_and_torch_are_taken_as_they_are() -> None:
    torch = pytest.importorskip("torch")
    process = RectifiedFlow()

    def mean_flow(x: Any, s: float, t: float) -> Any:
        a, b = process.node(s), process.node(t)
        return torch.as_tensor(F.average_velocity(x.numpy(), a, b))

    assert check_map(mean_flow, process, law=modes(), gives="velocity", times=True, library="torch")
    assert check_map(lambda x, s: F.average_velocity(x, s, process.node(0.0)), process, law=modes(), gives="velocity")
    assert check_map(predicts("average")(lambda x, s, t: F.average_velocity(x, s, t)), process, law=modes())
    wrong = check_map(lambda x, s, t: F.velocity(x, s), process, law=modes(), gives="velocity")
    assert wrong.cause == "one Euler step in place of the map"


def test_what_does_not_run_is_said_and_nothing_else_is_tried() -> None:
    def crash(x: Any, s: Any, t: Any) -> Any:
        raise KeyError("mine")

    for model, words in ((crash, "KeyError"), (lambda x, s, t: x * np.nan, "nan or inf"), (lambda x, s, t: x[:2], "shape")):
        report = check_map(model, VP(), law=modes())
        assert not report
        assert words in report["runs"].measured
        assert len(report.findings) == 1
    mixed = check_map(lambda x, s, t: F(x, s, t) + 1e-3 * x.mean(0), VP(), law=modes())
    assert mixed["batch"].status == "fail"
    plain = json.loads(json.dumps(mixed.as_dict()))
    assert plain["passed"] is False


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"model": 3}, TypeError, "model = 3 is not callable"),
        ({"model": F.map, "process": VP}, TypeError, "is no schedule"),
        ({"model": F.map, "process": "VP"}, TypeError, "is no schedule"),
        ({"model": modes().denoised}, ValueError, "predicts 'denoised', no few-step map"),
        ({"model": Reflow(modes(), VP().node(0.9), VP().node(0.1)).model}, ValueError, "predicts 'velocity', no few-step map"),
        ({"model": F.map, "kind": "draw"}, ValueError, "kind = 'draw'"),
        ({"model": lambda *a: a[0]}, ValueError, "give kind='endpoint'"),
        ({"model": F.map, "kind": "teacher"}, ValueError, "kind = 'teacher'"),
        ({"model": F.map, "library": "jax"}, ValueError, "library = 'jax'"),
        ({"model": F.map, "gives": "eps"}, ValueError, "gives = 'eps'"),
        ({"model": F.map, "law": 3}, TypeError, "has no flow"),
        ({"model": F.map, "nodes": 2}, ValueError, "at least 3 nodes"),
        ({"model": F.map, "samples": 2.5}, ValueError, "give whole numbers"),
        ({"model": F.map, "tolerance": -1.0}, ValueError, "tolerance = -1.0 must be positive"),
    ],
)
def test_bad_input_is_refused(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        check_map(**({"process": VP()} | arguments))


def test_it_is_exported() -> None:
    assert scorebed.check_map is check_map
