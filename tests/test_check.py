"""check_solver: what is right passes, what is measured is what is so, and nothing that is checked can hang or break the check."""

import json
import math
import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from scorebed.analytic.output.moments import moments
from scorebed.solvers import SOLVERS, VP, grid, trace
from scorebed.toy.check import Candidate, Interface, Refused, as_candidate, check_solver, solver_test
from scorebed.toy.check.finding import Finding
from scorebed.toy.check.formula import exact, symptoms
from scorebed.toy.cli import main
from scorebed.toy.foreign.draws import Units
from scorebed.toy.foreign.guard import guarded
from scorebed.toy.measure.sampler import affine
from scorebed.toy.measure.settings import settings
from scorebed.toy.measure.targets import modes, product

REPRESENTATIVE = (
    *("euler", "heun_t", "lms_3", "rk4", "dpmpp_2m", "dpmpp_3m", "unipc_3", "deis_tab2", "dpm_solver_3", "exp_rk_4", "ipndm_3", "edict"),
    *("ddpm", "srk_2", "sa_solver", "dpmpp_2m_sde", "churn", "bogacki_shampine"),
)


def heun(denoise, x, nodes):
    """A newcomer's sampler: Heun in y = x/alpha over rho = sigma/alpha."""
    y = x / nodes[0].alpha
    for s, t in pairwise(nodes):
        rs, rt = s.sigma / s.alpha, t.sigma / t.alpha
        d = (y - denoise(s.alpha * y, s)) / rs
        ahead = y + (rt - rs) * d
        y = y + (rt - rs) * (d + (ahead - denoise(t.alpha * ahead, t)) / rt) / 2
    return nodes[-1].alpha * y


def ancestral(model, x, sigmas, seed=0):
    """A newcomer's ancestral sampler in the style of k-diffusion, in NumPy."""
    rng = np.random.default_rng(seed)
    for s, t in zip(map(float, sigmas), map(float, sigmas[1:]), strict=False):
        d = model(x, s)
        up = math.sqrt(max(t * t * (s * s - t * t) / (s * s), 0.0))
        down = math.sqrt(max(t * t - up * up, 0.0))
        x = d + (down / s) * (x - d)
        if t > 0.0:
            x = x + up * rng.standard_normal(x.shape)
    return x


def waits(model, x, sigmas):
    """An Euler sampler in torch that asks the device twice in every step."""
    import torch

    for s, t in pairwise(sigmas):
        d = (x - model(x, torch.full((len(x),), 1.0, dtype=x.dtype) * s)) / s
        if (t - s).abs().item() > 0 and bool(s != t):
            x = x + d * (t - s)
    return x


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_our_solvers_pass(name: str) -> None:
    report = check_solver(SOLVERS[name], quick=True)
    assert report.passed, str(report)
    assert report.cause is None


def test_a_newcomers_sampler() -> None:
    report = check_solver(heun, order=2, quick=True)
    assert report.passed, str(report)
    assert report.order is not None
    assert abs(report.order.slope - 2.0) < 0.1
    assert report["evaluations"].measured == "2 per step (32 for 16 steps)"
    assert report["bad input, NaN"].status == "note"
    assert check_solver(heun, quick=True, only=("order",)).order is not None  # without a claim the order is reported
    assert not check_solver(heun, order=3, quick=True, only=("order",)).passed


def test_a_stochastic_sampler_in_the_style_of_k_diffusion() -> None:
    report = check_solver(ancestral, weak=1, quick=True)
    assert report.kind == "k-diffusion"
    assert report.weak is not None, str(report)
    assert report.passed, str(report)
    assert abs(report.weak.slope - 1.0) < 0.15


def test_torch_and_waits() -> None:
    report = check_solver(waits, order=1, quick=True, library="torch")
    assert report.passed, str(report)
    assert report["host waits"].measured.startswith("2 per step (__bool__ 1, item 1)")


def test_diffusers_schedulers() -> None:
    diffusers = pytest.importorskip("diffusers")
    good = check_solver(diffusers.FlowMatchEulerDiscreteScheduler, order=1, quick=True)
    assert good.passed, str(good)
    cut = check_solver(
        diffusers.DPMSolverMultistepScheduler, order=3, config={"solver_order": 3}, quick=True, only=("order",), diagnosis=False
    )
    assert cut.kind == "diffusers"
    assert cut.order is not None
    for prediction in ("eps", "denoised", "v"):
        candidate = as_candidate(diffusers.DDIMScheduler, prediction=prediction)
        own = candidate.own(20)
        x = np.linspace(-1.0, 1.0, 5)[:, None]
        off = candidate.run(modes().denoised, x, own).x - modes().flow(x, own[0], own[-1])
        assert np.abs(off).max() < 0.3


def test_moments_are_those_of_the_plan() -> None:
    setting = next(s for s in settings(as_candidate(SOLVERS["srk_2"])) if s.linear_flow)
    nodes = setting.nodes(9)
    law = setting.target.law
    constant, slope, noise, _, _ = affine(as_candidate(SOLVERS["srk_2"]), law, nodes)
    mean, covariance = moments(trace(SOLVERS["srk_2"], nodes), law)
    first = nodes[0]
    begin = first.alpha**2 * np.diag(law.covariance()) + first.sigma**2
    assert np.allclose(constant + slope * first.alpha * law.mean(), mean, rtol=1e-11)
    assert np.allclose(slope**2 * begin + noise, np.diag(covariance), rtol=1e-11)


def test_fast_targets_are_the_targets() -> None:
    for fast in (modes(), product()):
        for t in (1.0, 0.4, 0.01):
            node = VP().node(t)
            x = np.random.default_rng(0).standard_normal((20, fast.d))
            assert np.allclose(fast.denoised(x, node), fast.law.denoised(x, node), rtol=1e-12, atol=1e-13)


def test_draws_of_one_path_add_up() -> None:
    units = Units([(1.0, 4.0), (2.0, 4.0), (1.0, 2.0)], path=True)
    whole, upper, lower = (units((units.size, 1), interval) for interval in ((1.0, 4.0), (2.0, 4.0), (1.0, 2.0)))
    assert np.allclose(math.sqrt(3.0) * whole, math.sqrt(2.0) * upper + lower)
    apart = Units([(1.0, 4.0), (2.0, 4.0)])
    assert float((apart((apart.size, 1), (1.0, 4.0)) * apart((apart.size, 1), (2.0, 4.0))).sum()) == 0.0


def test_step_responses() -> None:
    s, t = VP().at_lam(0.1), VP().at_lam(0.3)
    lam = np.linspace(s.lam, t.lam, 20001)
    for kappa in (1.0, 1.7, 5.0):
        weight = t.alpha * kappa * np.exp(-kappa * (t.lam - lam))
        for power, value in enumerate(exact(s, t, kappa)):
            assert abs(np.trapezoid(weight * (lam - s.lam) ** power, lam) - value) < 1e-9


@pytest.mark.parametrize("name", ["heun", "midpoint_t", "dpmpp_3m", "unipc_2", "deis_tab3", "ddpm", "dpmpp_sde"])
def test_right_formulas_have_no_symptoms(name: str) -> None:
    candidate = as_candidate(SOLVERS[name])
    assert symptoms(candidate, candidate.weak or candidate.order or 1) == []


def endless(denoise, x, nodes):
    """Runs on for ever where two nodes coincide."""
    for s, t in pairwise(nodes):
        while s.lam == t.lam:
            pass
        x = (t.sigma / s.sigma) * x - t.alpha * math.expm1(s.lam - t.lam) * denoise(x, s)
    return x


def test_a_hang_is_seen_and_stopped() -> None:
    from scorebed.toy.check.robust import bad_input

    found = {f.name: f for f in bad_input(as_candidate(endless), patience=0.5)}
    assert found["bad input, duplicate nodes"].status == "fail"
    assert "no answer" in found["bad input, duplicate nodes"].measured


def test_guard() -> None:
    began = time.perf_counter()
    assert guarded(lambda: 3, 5.0).value == 3
    assert isinstance(guarded(lambda: 1 / 0, 5.0).error, ZeroDivisionError)
    assert guarded(lambda: all(True for _ in iter(int, 1)), 0.2).hung
    assert time.perf_counter() - began < 60.0


def raises(denoise, x, nodes):
    raise KeyError("no such thing")


def batch_norm(denoise, x, nodes):
    for s, t in pairwise(nodes):
        d = denoise(x, s)
        x = (t.sigma / s.sigma) * x - t.alpha * math.expm1(s.lam - t.lam) * d * (1.0 + 1e-3 * np.std(d))
    return x


def doubles(denoise, x, nodes):
    for s, t in pairwise(nodes):
        x = np.float64(t.sigma / s.sigma) * x - np.float64(t.alpha * math.expm1(s.lam - t.lam)) * denoise(x, s)
    return x


def runs_out(denoise, x, nodes):
    if len(nodes) == 8:
        raise IndexError("memory of a step that never was")
    return heun(denoise, x, nodes)


def hidden(denoise, x, nodes, factor=1.0):
    """Ancestral steps with a generator that nobody can seed."""
    rng = np.random.Generator(np.random.PCG64())
    for s, t in pairwise(nodes):
        h = t.lam - s.lam
        kick = t.sigma * math.sqrt(-math.expm1(-2.0 * h)) * rng.standard_normal(x.shape)
        x = (t.sigma / s.sigma * math.exp(-h)) * x - t.alpha * math.expm1(-2.0 * h) * denoise(x, s) + kick
    return factor * x


def too_wide(denoise, x, nodes):
    return hidden(denoise, x, nodes, factor=1.3)


def test_noise_that_cannot_be_held_is_sampled() -> None:
    report = check_solver(hidden, weak=1, quick=True, only=("weak order", "noise", "batch"))
    assert report["moments"].status == "pass", str(report)
    assert report["noise"].status == "fail"
    assert report["batch"].status == "skip"
    assert check_solver(too_wide, weak=1, quick=True, only=("weak order",))["moments"].status == "fail"


def any_noise(denoise, x, nodes):
    rng = np.random.Generator(np.random.PCG64())
    return heun(denoise, x, nodes) + 0.01 * rng.standard_normal(x.shape)


@pytest.mark.parametrize(
    ("candidate", "only", "name"),
    [
        (raises, None, "runs"),
        (batch_norm, ("batch",), "batch"),
        (doubles, ("dtype",), "dtype"),
        (runs_out, ("finite",), "finite"),
        (any_noise, ("noise",), "noise"),
    ],
    ids=["raises", "batch", "dtype", "finite", "noise"],
)
def test_each_check_can_fail(candidate: Any, only: Any, name: str) -> None:
    assert check_solver(candidate, only=only)[name].status in ("fail", "note")
    assert name == "runs" or check_solver(heun, only=only, weak=None).passed


def test_report(tmp_path: Any) -> None:
    report = check_solver(replace(SOLVERS["dpmpp_3m"], start=SOLVERS["ddim"], name="crude"), quick=True, only=("order", "evaluations"))
    assert report.cause == "start-up"
    assert not report.passed
    text = str(report)
    for word in ("FAIL", "start-up", "claimed 3", "the order is back"):
        assert word in text
    paths = report.save(tmp_path)
    assert [p.name for p in paths] == ["check.json", "check.png", "check.svg"]
    read = json.loads(paths[0].read_text())
    assert read["cause"] == "start-up"
    assert read["passed"] is False
    assert read["findings"][0]["name"] == "runs"
    with pytest.raises(KeyError, match="no finding"):
        report["nothing"]
    assert str(check_solver(SOLVERS["ddim"], only=("order",), quick=True))  # twice the same
    again = [check_solver(SOLVERS["ddim"], only=("order",), quick=True).findings for _ in range(2)]
    assert again[0] == again[1]


def test_pytest_helper() -> None:
    solver_test(heun, order=2, quick=True, only=("order",))()
    with pytest.raises(AssertionError, match="lower than claimed"):
        solver_test(heun, order=3, quick=True, only=("order",), diagnosis=False)()


def test_own_subclass() -> None:
    class Mine(Candidate):
        def _go(self, denoise, x, grid, how):
            return heun(denoise, x, grid)

    made = Mine("mine", interface=Interface(schedules=False), schedule=VP(), order=2)
    assert check_solver(made, quick=True, only=("order",)).passed
    with pytest.raises(Refused, match="no grid of its own"):
        made.own(5)
    with pytest.raises(Refused, match="cannot end at 'zero'"):
        made.run(modes().denoised, np.zeros((2, 1)), grid.uniform(VP(), 4), end="zero")


def test_our_own_methods_go_by_name() -> None:
    assert check_solver("heun", quick=True).name == "heun"
    with pytest.raises(KeyError, match="did you mean 'heun'"):
        check_solver("hen")


@pytest.mark.parametrize(
    ("bad", "match"),
    [(3, "no sampler"), (int, "is a class"), (lambda x: x, "takes"), (dict, "is a class")],
)
def test_what_is_no_sampler(bad: Any, match: str) -> None:
    with pytest.raises(TypeError, match=match):
        as_candidate(bad)


def test_bad_claims() -> None:
    with pytest.raises(ValueError, match="order = -1 must be positive"):
        check_solver(heun, order=-1)
    with pytest.raises(ValueError, match="status = 'maybe'"):
        Finding("a", "maybe", "b", "c")


SAMPLER = """
def sample(denoise, x, nodes):
    for s, t in zip(nodes, nodes[1:]):
        d = denoise(x, s)
        x = (t.sigma / s.sigma) * x + (t.alpha - s.alpha * t.sigma / s.sigma) * d
    return x
"""


def test_command(tmp_path: Any) -> None:
    place = tmp_path / "mysampler.py"
    place.write_text(SAMPLER)
    run = CliRunner().invoke
    good = run(main, ["check", f"{place}:sample", "--order", "1", "--quick", "--out", str(tmp_path / "out")])
    assert good.exit_code == 0, good.output
    assert "PASSED: sample" in good.output
    assert (tmp_path / "out" / "check.json").exists()
    assert run(main, ["check", f"{place}:sample", "--order", "2", "--quick"]).exit_code == 1
    for wrong in (["check", "nowhere"], ["check", "no.such.module:x"], ["check", f"{place}:other"], ["check", "heun", "--kind", "odd"]):
        assert run(main, wrong).exit_code == 2
