"""check_rollout: every stochastic one-evaluation method passes, planted faults are named, their mended twins pass."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from scorebed import SOLVERS, VP, RectifiedFlow, check_rollout, grid, trace
from scorebed.analytic import GaussianMixture
from scorebed.analytic.output.moments import moments


def port(fault: str = "") -> Any:
    """A roll-out of Flow-SDE as training code has it: velocity, sigmas, a step with its log-probability; one line of it may be wrong."""

    def rollout(velocity: Any, x: np.ndarray, nodes: Any, noise: Any) -> Any:
        states, logs, level = [x], [], 0.7
        for s, t in pairwise(nodes):
            sigma, after, dt = s.t, t.t, t.t - s.t
            v = velocity(x, t if fault == "model asked at the wrong node" else s)
            at = after if fault == "sigma at the wrong end" else sigma
            std = level * math.sqrt(at / (1.0 - at))
            drift = std**2
            if fault == "std for variance":
                drift = std
            if fault == "missing drift":
                drift = 0.0
            if fault == "sign of the drift correction":
                drift = -drift
            if fault == "sign of dt":
                v = -v
            base = x - sigma * v if fault == "sign of dt" else x + (1.0 - sigma) * v
            eps = x + (1.0 - sigma) * (-v) if fault == "sign of dt" else base
            mean = x + dt * v + 0.5 * drift * dt * eps / sigma
            root = -dt if fault == "dt for sqrt(dt) in the noise" else math.sqrt(-dt)
            xi = np.random.default_rng().standard_normal(x.shape) if fault == "generator ignored" else noise(s, t)
            if fault == "depends on the batch":
                xi = (xi - xi.mean(0)) / xi.std(0)
            x = mean + std * root * xi
            told = std * root
            if fault == "sigma at the wrong end in the log-probability":
                told *= math.sqrt(after / (1.0 - after) * (1.0 - sigma) / sigma)
            if fault == "sqrt(dt) left out of the log-probability":
                told = std
            square = ((x - mean) ** 2).sum(1)
            log = -square / (2.0 * (told if fault == "std for variance in the log-probability" else told**2))
            log = log - x.shape[1] * math.log(told * (1.0 if fault == "2π left out of the log-probability" else math.sqrt(2.0 * math.pi)))
            if fault == "mean over the entries for their sum":
                log = log / x.shape[1]
            states.append(x)
            logs.append(log)
        return states, logs

    return rollout


FAULTS = (
    *("sign of dt", "missing drift", "sign of the drift correction", "std for variance", "sigma at the wrong end", "generator ignored"),
    *("dt for sqrt(dt) in the noise", "model asked at the wrong node", "depends on the batch", "mean over the entries for their sum"),
    *("2π left out of the log-probability", "std for variance in the log-probability", "sqrt(dt) left out of the log-probability"),
    "sigma at the wrong end in the log-probability",
)


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_named(fault: str) -> None:
    report = check_rollout(port(fault), prediction="flow")
    assert not report.passed, report
    assert report.causes[0] == fault, report


def test_the_mended_twin_passes() -> None:
    report = check_rollout(port(), prediction="flow")
    assert report.passed, report
    assert all(f.status == "pass" for f in report.findings), report
    assert not report.causes


@pytest.mark.parametrize("name", ["flow_cps", "flow_dance", "flow_precise", "ddpm"])
def test_methods_of_the_catalogue_pass(name: str) -> None:
    report = check_rollout(name)
    assert report.passed, report
    assert report["log-probability"].status == "pass"


def test_other_schedules_and_steps_and_generators() -> None:
    """A step alone, on VP, with a generator for the whole batch: law and log-probabilities hold, the batch is told."""

    def step(model: Any, x: np.ndarray, s: Any, t: Any, rng: Any) -> Any:
        h = t.lam - s.lam
        mean = (t.sigma / s.sigma) * math.exp(-h) * x - t.alpha * math.expm1(-2.0 * h) * model(x, s)
        std = t.sigma * math.sqrt(-math.expm1(-2.0 * h))
        x = mean + std * rng.standard_normal(x.shape)
        return x, -0.5 * ((x - mean) / std) ** 2 - math.log(std * math.sqrt(2.0 * math.pi))

    report = check_rollout(step, schedule=VP())
    assert report.passed, report
    assert report["batch"].status == "note"
    assert check_rollout(step, schedule=VP(), by_sample=True).causes == ["draws by batch, not by sample"]


def test_torch_code_is_called_as_it_is() -> None:
    torch = pytest.importorskip("torch")

    def step(velocity: Any, x: Any, s: Any, t: Any, generator: Any) -> Any:
        std = 0.7 * (s.t / (1.0 - s.t)) ** 0.5
        v = velocity(x, s)
        mean = x * (1.0 + std**2 / (2.0 * s.t) * (t.t - s.t)) + v * (1.0 + std**2 * (1.0 - s.t) / (2.0 * s.t)) * (t.t - s.t)
        std = std * (s.t - t.t) ** 0.5
        x = mean + std * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        return x, torch.distributions.Normal(mean, std).log_prob(x).sum(1)

    report = check_rollout(step, prediction="flow", library="torch")
    assert report.passed, report


def test_the_angle_of_cps_by_the_step_does_not_converge() -> None:
    """Named by the check; and on a Gaussian no number of steps brings the variance of the output to the data's."""
    assert check_rollout(SOLVERS["flow_cps"](per="step")).causes == ["noise does not shrink with the step"]
    law = GaussianMixture([1.0], [[0.0]], 0.25)

    def off(per: str, n: int) -> float:
        nodes = grid.uniform_lam(RectifiedFlow(), n, 0.99, 0.01)
        _, got = moments(trace(SOLVERS["flow_cps"](per=per), nodes), law)
        return abs(float(got[0, 0]) / float(law.marginal(nodes[-1]).covariance()[0, 0]) - 1.0)

    kept, lost = ([off(per, n) for n in (20, 80, 320)] for per in ("lam", "step"))
    assert kept[2] < kept[1] < kept[0]
    assert kept[2] < 0.3 * kept[1]
    assert min(lost) > 0.1


def test_transitions_of_a_plan_may_be_handed_back() -> None:
    """The library's own roll-out, called as somebody else's sampler."""

    def own(model: Any, x: np.ndarray, nodes: Any, seeds: list[int]) -> Any:
        return trace(SOLVERS["flow_precise"], nodes).transitions(model).rollout(x, seeds)

    assert check_rollout(own, steps=10).passed


def test_wrong_use_is_told() -> None:
    with pytest.raises(ValueError, match="ddim draws nothing"):
        check_rollout("ddim")
    with pytest.raises(TypeError, match="not callable"):
        check_rollout(3)
    with pytest.raises(ValueError, match="prediction = 'velocity'"):
        check_rollout("ddpm", prediction="velocity")
    with pytest.raises(TypeError, match=r"sampler takes \(model, x, nodes, key\)"):
        check_rollout(lambda model, x, nodes, key: x)
    with pytest.raises(TypeError, match="sampler takes"):
        check_rollout(lambda model, x: x)
    with pytest.raises(KeyError, match="ddpn"):
        check_rollout("ddpn")
    assert check_rollout(lambda model, x, nodes, noise: [x * float("nan")] * len(nodes)).cause == "not finite"
    report = check_rollout(lambda model, x, nodes, noise: x)
    assert report.cause == "it raised"
    assert "one state for every node" in report.findings[-1].measured
