"""Other people's samplers: how each kind is driven, and that the check and the scoreboard give one order."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from scorebed.solvers import SOLVERS, VP
from scorebed.solvers.space import Sphere
from scorebed.toy.check import as_candidate, check_solver
from scorebed.toy.foreign.azula import AzulaVP
from scorebed.toy.foreign.guard import quiet
from scorebed.toy.foreign.kdiffusion import sampling
from scorebed.toy.measure.manners import failures, reads, returned
from scorebed.toy.measure.sampler import measure
from scorebed.toy.measure.settings import bound, fine, own, smooth
from scorebed.toy.measure.targets import modes
from scorebed.toy.peers.agreement import compare, table
from scorebed.toy.peers.board import silence
from scorebed.toy.peers.entries import entries
from scorebed.toy.peers.entry import Entry
from scorebed.toy.peers.measure import entry_settings


@pytest.fixture(autouse=True)
def _silent() -> None:
    silence()


class AB2:
    """A right second-order Adams–Bashforth method in sigma/alpha, as a scheduler that nobody has seen before."""

    equal = False
    private = False

    def __init__(self) -> None:
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self.alphas_cumprod = torch.cumprod(1.0 - betas, 0)
        self.config = {"prediction_type": "epsilon"}

    def set_timesteps(self, n: int, device: Any = None) -> None:
        times = np.linspace(999.0, 0.0, n)
        levels = ((1.0 - self.alphas_cumprod) / self.alphas_cumprod).sqrt().numpy()
        self.sigmas = torch.tensor(np.append(np.interp(times, np.arange(1000), levels), 0.0), dtype=torch.float32)
        self.kept = self.sigmas.clone()
        self.timesteps = torch.tensor(times.round(), dtype=torch.int64)
        self.num_inference_steps, self.i, self.old = n, 0, None

    def step(self, eps: Any, t: Any, x: Any, return_dict: bool = True) -> Any:
        sigmas = self.kept if self.private else self.sigmas
        s, u = float(sigmas[self.i]), float(sigmas[self.i + 1])
        d = eps
        if self.old is not None:
            before, length = self.old
            d = 1.5 * eps - 0.5 * before if self.equal else eps + (u - s) / (2.0 * length) * (eps - before)
        self.old, self.i = (eps, u - s), self.i + 1
        return ((x * math.sqrt(1.0 + s * s) + (u - s) * d) / math.sqrt(1.0 + u * u),)


class Equal(AB2):
    """The weights 3/2 and -1/2 on steps of any length."""

    equal = True


class Deaf(AB2):
    """Follows a grid of its own, whatever its ``sigmas`` hold."""

    private = True


def test_a_right_scheduler_passes_and_equal_steps_are_named() -> None:
    only = ("order", "order, own grid", "formula", "same as")
    right = check_solver(AB2, order=2, quick=True, only=only)
    assert right.passed, str(right)
    assert right["order, own grid"].status == "note"
    assert "lms_2 (started by ddim)" in right["same as"].measured
    wrong = check_solver(Equal, order=2, quick=True, only=only)
    assert not wrong.passed
    assert wrong["order: 2 modes, uniform in rho^(1/3), 8 to 0.1"].status == "pass"
    assert "equal steps assumed" in str(wrong)
    assert "equal steps assumed" in wrong.verdict


def test_sigmas_that_are_not_read_are_noticed() -> None:
    report = check_solver(Deaf, order=2, quick=True, only=("order, own grid",))
    assert report["grid"].measured == "nothing changed"
    assert not as_candidate(Deaf).interface.grid
    assert as_candidate(AB2).way == "sigmas"  # type: ignore[attr-defined]
    assert report["order, own grid"].tried.startswith("8…256 steps against the exact flow, float64, ends: own")


def test_our_own_scheduler_is_measured_on_our_grid() -> None:
    from scorebed.gpu.diffusers.scheduler import ScorebedScheduler

    for name, order in (("ddim", 1), ("heun", 2), ("unipc_2", 3)):
        candidate = as_candidate(ScorebedScheduler(solver=name), order=order)
        assert candidate.way == "argument"  # type: ignore[attr-defined]
        result = measure(candidate, replace(smooth(candidate), steps=(24, 48, 96)))
        assert result.inside(order, below=0.1, above=0.1), f"{name}: {result}"


def test_schedulers_of_every_family_find_their_way() -> None:
    import diffusers

    ways = {
        "DPMSolverMultistepScheduler": ("vp", "hook"),
        "HeunDiscreteScheduler": ("scaled", "hook"),
        "EulerAncestralDiscreteScheduler": ("scaled", "sigmas"),
        "EDMEulerScheduler": ("edm", "hook"),
        "FlowMatchHeunDiscreteScheduler": ("flow", "sigmas"),
        "MiniMaxH3Scheduler": ("flow", "sigmas"),
        "DDIMScheduler": ("table", ""),
        "IPNDMScheduler": ("sine", ""),
        "DDPMWuerstchenScheduler": ("continuous", ""),
    }
    for name, (family, way) in ways.items():
        with quiet():
            candidate: Any = as_candidate(getattr(diffusers, name))
        assert (candidate.family, candidate.way) == (family, way), name
        assert candidate.interface.grid == bool(way)
    fine_table = fine(as_candidate(diffusers.DDIMScheduler)).nodes(16)
    assert np.diff([node.lam for node in fine_table]).min() > 0.0


def test_a_dynamic_shift_has_a_value() -> None:
    import diffusers

    shifted = as_candidate(diffusers.FlowMatchEulerDiscreteScheduler, config={"use_dynamic_shifting": True})
    plain = as_candidate(diffusers.FlowMatchEulerDiscreteScheduler)
    assert shifted.interface.grid
    assert shifted.own(4)[2].sigma > plain.own(4)[2].sigma


def test_methods_of_other_spaces_are_refused() -> None:
    with pytest.raises(TypeError, match="made for Sphere"):
        check_solver(SOLVERS["cf_4"](space=Sphere(2)))


def test_azulas_schedule_and_samplers() -> None:
    import azula.noise
    import azula.sample

    theirs, ours = azula.noise.VPSchedule(), AzulaVP()
    for t in (0.02, 0.3, 1.0):
        alpha, sigma = (float(v) for v in theirs(torch.tensor(t, dtype=torch.float64)))
        node = ours.node(t)
        assert node.alpha == pytest.approx(alpha, rel=1e-12)
        assert node.sigma == pytest.approx(sigma, rel=1e-9)
        assert ours.at_lam(node.lam).t == pytest.approx(t, rel=1e-9)
        h = 1e-5
        if t < 1.0:
            slope = (math.log(ours.node(t + h).alpha) - math.log(ours.node(t - h).alpha)) / (2 * h)
            assert ours.f(t) == pytest.approx(slope, rel=1e-6)
            growth = (ours.node(t + h).sigma ** 2 - ours.node(t - h).sigma ** 2) / (2 * h)
            assert ours.g2(t) == pytest.approx(growth - 2.0 * ours.f(t) * node.sigma**2, rel=1e-6)
    report = check_solver(azula.sample.HeunSampler, order=2, quick=True, only=("order", "batch"))
    assert report.kind == "azula"
    assert report.passed, str(report)
    made: Any = as_candidate(azula.sample.zABSampler(None, order=3, steps=5))
    assert made.options["order"] == 3


def test_a_sampler_that_takes_the_two_ends() -> None:
    candidate = as_candidate(sampling().sample_dpm_fast, kind="k-diffusion")
    assert not candidate.interface.grid
    assert [node.sigma for node in candidate.own(6)] == [80.0, 0.002]
    candidate.stochastic = False
    result = measure(candidate, replace(smooth(candidate), steps=(8, 16, 32)), 2)
    assert result.reaches(2)
    assert result.conditions.grid == "its own, 8 to 0.1"
    assert as_candidate(sampling().sample_dpm_adaptive, kind="k-diffusion").adaptive


def test_dtypes_are_conditions() -> None:
    import diffusers

    candidate = as_candidate(diffusers.DEISMultistepScheduler, config={"solver_order": 3})
    candidate.stochastic = False
    uneven = replace(bound(VP(), "diffusers")[0], steps=(64, 128, 256), finer=())
    wide, narrow = measure(candidate, uneven), measure(candidate, uneven.under(dtype="float32"))
    assert wide.reaches(3, below=0.3)
    assert not narrow.reaches(2)
    assert wide.conditions.differs(narrow.conditions) == ("dtype",)
    assert returned(candidate, "float32")[0] == "float32"
    assert str(own(candidate).conditions) == "2 modes, its own grid, float32, ends: own, network told the timestep"


def test_reads_of_the_adapter_are_not_the_schedulers() -> None:
    import diffusers

    few, many = (reads(as_candidate(diffusers.DPMSolverMultistepScheduler), n) for n in (8, 16))
    assert few[0] == many[0]  # those of its set_timesteps alone
    assert many[1] == 16
    few, many = (reads(as_candidate(AB2), n) for n in (8, 16))
    assert many[0]["__float__"] - few[0]["__float__"] == 16  # two levels in every step


def test_the_denoiser_is_asked_where_the_network_is() -> None:
    import diffusers

    candidate = as_candidate(diffusers.EulerDiscreteScheduler)
    grid = candidate.own(5)
    told = candidate.run(modes().denoised, modes().states(grid[0]), grid, network="timestep").nodes
    assert [node.rho for node in told] == pytest.approx([node.rho for node in grid[:-1]], rel=1e-3)
    ours = smooth(candidate).nodes(7)
    asked = candidate.run(modes().denoised, modes().states(ours[0]), ours, dtype="float64").nodes
    assert [node.rho for node in asked] == pytest.approx([node.rho for node in ours[:-1]], rel=1e-12)


AGREE = (
    *("DPMSolverMultistep (solver_order=3)", "DDIM", "FlowMatchHeunDiscrete"),
    *("sample_dpmpp_2m", "sample_euler_ancestral", "zABSampler (order=2)"),
)


@pytest.mark.parametrize("name", AGREE)
def test_the_check_and_the_scoreboard_give_one_order(name: str) -> None:
    entry = next(e for e in entries() if e.name == name)
    rows = compare(entry, _board(entry))
    assert all(r.agrees for r in rows), rows
    assert any(not r.differs for r in rows)
    assert "smooth" in {r.setting for r in rows} | {"smooth" if r.setting == "fine" else "" for r in rows}
    assert f"| {entry.library}: {name} | " in table(rows)


def _board(entry: Entry) -> dict[str, Any]:
    """What the scoreboard measures of an entry, its orders alone."""
    candidate = entry.peer.candidate(entry.stochastic)
    claim = entry.weak if entry.stochastic else entry.order
    wanted = {n: s for n, s in entry_settings(entry, candidate).items() if n in ("smooth", "uneven", "fine", "shipped")}
    with quiet():
        return {n: measure(candidate, s, claim or None).as_dict() for n, s in wanted.items()}


def test_what_is_late_is_no_hang() -> None:
    def slow(denoise: Any, x: Any, nodes: Any) -> Any:
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass
        return x

    kinds, tried = failures(as_candidate(slow), range(1, 33), 0.4)
    assert kinds == {}
    assert 1 <= len(tried) < 32
