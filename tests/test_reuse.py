"""Reuse: a cached, late or parallel method is a Plan, of the order it claims, with the error predicted; wrong rules are caught."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from scorebed import SOLVERS, check_cache, sample, trace
from scorebed.analytic import GaussianMixture
from scorebed.analytic.output.error import flow_error, flow_rms, plan_distance
from scorebed.analytic.output.moments import moments
from scorebed.solvers import methods_on
from scorebed.solvers.cache_rules import Threshold, expected, fbcache, seacache, teacache
from scorebed.solvers.parallel import late, parareal, picard, rounds
from scorebed.solvers.reuse import Cache, cached, every, reuse, switched
from scorebed.toy.cli import main
from scorebed.toy.measure.convergence import order_of, rms
from scorebed.toy.properties.cases import cases, modes
from scorebed.toy.studies.stability import real_interval
from scorebed.toy.tuning.caches import threshold_for, twin_error

CASE, LAW = cases()[0], modes()
HOWS: list[dict[str, Any]] = [
    {"order": 1},
    {"order": 2},
    {"order": 3},
    {"order": 3, "shape": "taylor"},
    {"order": 2, "what": "eps"},
    {"order": 2, "lag": 1},
]


def nodes(n: int) -> Any:
    return CASE.nodes(n)


def slope(plans: Any, counts: tuple[int, ...] = (32, 64, 128)) -> float:
    errors = []
    for n in counts:
        x = CASE.states(nodes(n)[0])
        errors.append(rms(plans(n).run(LAW.denoised, x) - LAW.flow(x, nodes(n)[0], nodes(n)[-1])))
    return order_of(counts, errors, 1e-13).slope


@pytest.mark.parametrize("how", HOWS, ids=str)
@pytest.mark.parametrize("name", ["ddim", "dpmpp_3m", "heun"])
def test_a_cached_method_has_the_order_it_claims(name: str, how: dict[str, Any]) -> None:
    """min(order of the method, number of values); TaylorSeer at most 2."""
    method = cached(SOLVERS[name], 2, **how)
    measured = slope(lambda n: trace(method, nodes(n)), (64, 128, 256) if name == "ddim" else (32, 64, 128))
    assert method.order - 0.35 <= measured <= method.order + 0.5
    assert trace(method, nodes(32)).nfe < trace(SOLVERS[name], nodes(32)).nfe


def test_the_right_extrapolation_has_what_taylors_has_not() -> None:
    """Differences in a Taylor series stay at O(h²) however many there are; Newton's form does not."""
    taylor = slope(lambda n: trace(cached(SOLVERS["unipc_3"], 2, order=4, shape="taylor"), nodes(n)))
    newton = slope(lambda n: trace(cached(SOLVERS["unipc_3"], 2, order=4), nodes(n)))
    assert taylor < 2.4
    assert newton > 3.5


@pytest.mark.parametrize("name", [n for n in methods_on(aliases=False) if SOLVERS[n].nonlinear is None])
def test_making_all_evaluations_is_the_method(name: str) -> None:
    plan = trace(SOLVERS[name], nodes(4))
    again = reuse(plan, [True] * plan.nfe)
    assert again.nfe == plan.nfe
    np.testing.assert_array_equal(again.output, plan.output)
    np.testing.assert_allclose(trace(cached(SOLVERS[name], 1), nodes(4)).output, plan.output, rtol=0, atol=1e-12)
    np.testing.assert_allclose(late(plan, 0).output, plan.output, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rule", [teacache(0.05), fbcache(0.1), seacache(0.2, LAW.denoised), teacache(0.05, (2.0, 0.5, 0.0))])
def test_a_run_with_a_rule_is_the_plan_of_its_decisions(rule: Threshold) -> None:
    plan, x = trace(SOLVERS["dpmpp_2m"], nodes(24)), CASE.draw(20)
    cache = Cache(LAW.denoised, rule.fresh(), order=2, what="eps")
    ran = plan.run(cache, x)
    assert 3 < sum(cache.made) < plan.nfe
    made = reuse(plan, cache.made, order=2, what="eps")
    assert made.nfe == sum(cache.made)
    np.testing.assert_allclose(made.run(LAW.denoised, x), ran, rtol=0, atol=1e-12)
    again = cache.fresh()
    plan.run(again, x)
    assert again.made == cache.made


def test_held_eps_with_ddim_is_ddim_with_longer_steps() -> None:
    plan = trace(SOLVERS["ddim"], nodes(12))
    longer = trace(SOLVERS["ddim"], nodes(12)[::3])
    np.testing.assert_allclose(reuse(plan, every(3), what="eps").output, longer.output, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("n", "order", "interval"), [(2, 1, 1.0), (3, 1, 2 / 3), (2, 2, 2 / 3), (3, 2, 0.4), (2, 3, 4 / 9)])
def test_the_stability_interval_shrinks(n: int, order: int, interval: float) -> None:
    """Of DDIM in rho, from 2: held over n steps to 2/n, extrapolated further."""
    method = cached(SOLVERS["ddim"], n, order=order, what="eps", by="rho")
    assert real_interval(method, period=n) == pytest.approx(interval, abs=1e-6)
    assert real_interval(method, period=2 * n) == pytest.approx(interval, abs=1e-6)


PLANS = {
    "held": lambda plan: reuse(plan, every(2), what="eps"),
    "extrapolated": lambda plan: reuse(plan, every(3, 2), order=2),
    "late": lambda plan: late(plan, 1),
    "picard": lambda plan: picard(plan, 3, 5),
}


@pytest.mark.parametrize("kind", PLANS)
def test_the_predicted_error_is_the_measured_one(kind: str) -> None:
    variances = np.array([4.0, 1.0, 0.3, 0.01])
    for name in ("ddim", "dpmpp_2m"):
        plan = PLANS[kind](trace(SOLVERS[name], nodes(16)))
        assert twin_error(plan, variances, 4000) == pytest.approx(flow_rms(plan, variances), rel=0.05)
        wrong = reuse(trace(SOLVERS[name], nodes(16)), every(2), what="eps", lag=1)
        assert not math.isclose(twin_error(wrong, variances, 4000), flow_rms(plan, variances), rel_tol=0.05)


def test_the_predicted_error_holds_for_noise_and_means() -> None:
    """A stochastic Plan, cached, on a Gaussian off the origin: moments and flow error agree with their definition."""
    v, mu = np.array([0.5, 2.0]), np.array([1.0, -2.0])
    law = GaussianMixture(np.ones(1), mu[None], v[None])
    plan = reuse(trace(SOLVERS["ddpm"], nodes(10)), every(2))
    x = law.sample(60_000, 0, plan.grid[0])
    ran = plan.run(law.denoised, x, noise=1)
    mean, covariance = moments(plan, law)
    np.testing.assert_allclose(ran.mean(0), mean, atol=0.03)
    np.testing.assert_allclose(np.cov(ran.T), covariance, atol=0.05)
    measured = np.sqrt(np.mean((ran - law.flow(x, plan.grid[0], plan.grid[-1])) ** 2, axis=0))
    np.testing.assert_allclose(measured, flow_error(plan, v, mu), rtol=0.02)


def test_late_evaluations_run_at_once_and_cost_an_order() -> None:
    for delay in (1, 2):
        plan = trace(SOLVERS["dpmpp_2m"], nodes(32))
        assert rounds(late(plan, delay)) == math.ceil(plan.nfe / (delay + 1))
        assert slope(lambda n, d=delay: late(trace(SOLVERS["dpmpp_2m"], nodes(n)), d)) == pytest.approx(1.0, abs=0.35)


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m", "ddpm"])
@pytest.mark.parametrize("window", [None, 4])
def test_picard_ends_at_the_plan_and_nears_it(name: str, window: int | None) -> None:
    plan, x = trace(SOLVERS[name], nodes(8)), CASE.draw(10)
    right = plan.run(LAW.denoised, x, noise=3)
    gaps = [rms(picard(plan, k, window).run(LAW.denoised, x, noise=3) - right) for k in (1, 2, 4, 9)]
    assert gaps[0] > gaps[1] > gaps[2] >= gaps[3]
    assert gaps[3] < 1e-12
    assert rounds(picard(plan, 2)) < rounds(plan) == plan.nfe


def test_parareal_ends_at_the_fine_method() -> None:
    grid, x = nodes(6), CASE.draw(10)
    fine = [s.toward(t, i / 4) for s, t in pairwise(grid) for i in range(4)] + [grid[-1]]
    right = sample(SOLVERS["heun"], LAW.denoised, x, fine, terminal="none")
    plans = [parareal(SOLVERS["ddim"], SOLVERS["heun"], grid, inner=4, sweeps=k) for k in (1, 2, 6)]
    gaps = [rms(plan.run(LAW.denoised, x) - right) for plan in plans]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-12
    assert rounds(plans[0]) < 2 * 24 // 2


def test_models_are_switched_by_level() -> None:
    asked: list[str] = []

    def model(name: str) -> Any:
        return lambda x, node: (asked.append(name), LAW.denoised(x, node))[1]

    run = switched([model("small"), model("large")], [0.0])
    sample(SOLVERS["ddim"], run, CASE.draw(2), nodes(10), terminal="none")
    assert asked == sorted(asked, reverse=True)
    assert set(asked) == {"small", "large"}
    with pytest.raises(ValueError, match="growing"):
        switched([model("a"), model("b"), model("c")], [1.0, 0.0])


@pytest.mark.parametrize("filtered", [False, True])
def test_a_threshold_keeps_its_tolerance(filtered: bool) -> None:
    variances = [4.0, 1.0, 0.1]
    plan = trace(SOLVERS["dpmpp_2m"], nodes(30))
    counts = []
    for tolerance in (0.1, 0.01):
        threshold, keep, cost = threshold_for(plan, tolerance, variances, filtered=filtered, order=2)
        assert cost <= tolerance
        assert plan_distance(reuse(plan, keep, order=2), plan, variances) == pytest.approx(cost)
        law = GaussianMixture(np.ones(1), np.zeros((1, 3)), np.array([variances]))
        rule = seacache(threshold, law.denoised) if filtered else teacache(threshold)
        cache = Cache(law.denoised, rule, order=2)
        plan.run(cache, law.sample(4000, 0, plan.grid[0]))
        assert abs(sum(cache.made) - sum(keep)) <= 1  # the rule on states decides as expected
        counts.append(sum(keep))
    assert counts[0] < counts[1] <= plan.nfe
    with pytest.raises(ValueError, match="tolerance = 0"):
        threshold_for(plan, 0.0, variances)


def _by_hand(stale: bool = False, equal: bool = False) -> Any:
    """DDIM with every second eps extrapolated from two, written as people write it."""

    def run(denoise: Any, x: np.ndarray, grid: Any) -> np.ndarray:
        past: list[tuple[float, np.ndarray]] = []
        for i, (s, t) in enumerate(pairwise(grid)):
            if i < 2 or i % 2 == 1:
                eps = (x - s.alpha * denoise(x, s)) / s.sigma
                past.append((float(i) if equal else s.lam, eps))
            else:
                (a, e1), (b, e2) = (past[-3], past[-2]) if stale and len(past) > 2 else past[-2:]
                u = float(i) if equal else s.lam
                eps = e2 + (u - b) / (b - a) * (e2 - e1)
            x = t.alpha * (x - s.sigma * eps) / s.alpha + t.sigma * eps
        return x

    return run


CLAIM: dict[str, Any] = {"solver": "ddim", "every": 2, "order": 2, "what": "eps"}


def test_a_right_cache_passes() -> None:
    found = check_cache(_by_hand(), **CLAIM)
    assert found.passed, str(found)
    assert check_cache(cached(SOLVERS["dpmpp_2m"], 3, order=2), "dpmpp_2m", every=3, order=2).passed


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        (_by_hand(stale=True), "stale by one"),
        (_by_hand(equal=True), "wrong spacing"),
        (cached(SOLVERS["ddim"], 2, order=2, what="denoised"), "other prediction held"),
        (cached(SOLVERS["ddim"], 2, order=1, what="eps"), "fewer values"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_wrong_cache_is_caught_and_named(wrong: Any, cause: str) -> None:
    found = check_cache(wrong, **CLAIM)
    assert not found.passed
    assert found.cause == cause, str(found)
    assert found["states"].status == "fail"
    assert found["error on a Gaussian"].status == "fail"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Cache(LAW.denoised, every(2), order=0), "order = 0"),
        (lambda: Cache(LAW.denoised, every(2), by="time"), "by = 'time'"),
        (lambda: Cache(LAW.denoised, every(2), what="noise"), "what = 'noise'"),
        (lambda: every(0), "n = 0"),
        (lambda: reuse(trace(SOLVERS["ddim"], nodes(4)), [True]), "1 entries for the 4"),
        (lambda: reuse(trace(SOLVERS["ddim"], nodes(2)), [False, True]), "nothing yet"),
        (lambda: teacache(-1.0), "threshold = -1"),
        (lambda: cached(SOLVERS["dormand_prince"]), "no Plan"),
        (lambda: parareal(SOLVERS["ddpm"], SOLVERS["ddim"], nodes(2), inner=2, sweeps=1), "draws noise"),
        (lambda: picard(trace(SOLVERS["ddim"], nodes(2)), 0), "n = 0"),
        (lambda: flow_rms(trace(SOLVERS["ddim"], nodes(2)), [-1.0]), "variances"),
        (lambda: check_cache(cached(SOLVERS["ddim"]), what="noise"), "what = 'noise'"),
    ],
)
def test_wrong_use_is_told(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_expected_decisions_begin_with_an_evaluation() -> None:
    plan = trace(SOLVERS["ddim"], nodes(6))
    assert expected(teacache(1e9), plan.nodes, [1.0]) == [True] + [False] * 5
    assert all(expected(teacache(0.0), plan.nodes, [1.0]))


def test_the_command(tmp_path: Path) -> None:
    run = CliRunner()
    done = run.invoke(main, ["cache", "--model", "mixture1d", "--steps", "12", "--states", "16", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert {"cache.csv", "cache.png"} <= {path.name for path in tmp_path.iterdir()}
    assert "every 2, hold" in done.output
    assert run.invoke(main, ["cache", "--solver", "nobody"]).exit_code == 2
    assert run.invoke(main, ["cache", "--model", "nothing", "--out", str(tmp_path / "other")]).exit_code == 2
