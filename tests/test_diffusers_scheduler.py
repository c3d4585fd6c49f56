"""Our solvers as a diffusers scheduler: every Plan unrolled, diffusers' methods reproduced where right, configs, noise, dtypes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from scorebed.solvers import SOLVERS, VP, BrownianNoise, Solver, methods_on, sample, trace
from scorebed.solvers.grid import uniform_lam

diffusers.utils.logging.set_verbosity_error()

from scorebed.gpu.diffusers.run import after_a_leap, evaluates_first  # noqa: E402
from scorebed.gpu.diffusers.scheduler import ScorebedScheduler  # noqa: E402
from scorebed.gpu.network.wrap_table import TableSchedule  # noqa: E402

BETAS: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
MEANS = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
PLANNED = [s for s in methods_on().values() if s.nonlinear is None]
LATE = [s for s in PLANNED if not evaluates_first(trace(s, uniform_lam(VP(), 3), "denoise"))]


def denoised(x: Tensor, alpha: float, sigma: float) -> Tensor:
    """E[x0 | x] of a mixture of three Gaussians of variance 0.04."""
    total = alpha * alpha * 0.04 + sigma * sigma
    mean = torch.softmax(-((x[:, None] - alpha * MEANS) ** 2).sum(-1) / (2 * total), -1) @ MEANS
    return mean + alpha * 0.04 / total * (x - alpha * mean)


def predicted(x: Tensor, t: float, kind: str, table: TableSchedule | None) -> Tensor:
    """What an exact network says at timestep t of the table, or t/1000 of a flow."""
    alpha, sigma = (1 - t / 1000, t / 1000) if table is None else tuple(table.node(t))[1:3]
    d = denoised(x, alpha, sigma)
    if kind == "sample":
        return d
    eps = (x - alpha * d) / sigma
    return {"epsilon": eps, "v_prediction": alpha * eps - sigma * d, "flow_prediction": eps - d}[kind]


def start(n: int = 16, seed: int = 1) -> Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def run(scheduler: Any, x: Tensor, kind: str = "epsilon", **how: Any) -> Tensor:
    """A pipeline's loop."""
    flow = kind == "flow_prediction"
    table = None if flow else ScorebedScheduler.from_config({**BETAS, "prediction_type": kind}).schedule
    scheduler.set_timesteps(**how)
    for t in scheduler.timesteps:
        seen = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        x = scheduler.step(predicted(seen.double(), float(t), kind, table).to(x.dtype), t, x).prev_sample
    return x


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("n", [5, 20])
def test_theirs_where_theirs_is_right(kind: str, n: int) -> None:
    """ddim, dpmpp_2m and heun at the timesteps of DDIM (leading), DPM-Solver++(2M) and Heun (at integers) draw what these draw."""
    how: dict[str, Any] = {**BETAS, "prediction_type": kind}
    theirs = diffusers.DDIMScheduler(**how, clip_sample=False, steps_offset=1)
    expected = run(theirs, start(), kind, num_inference_steps=n)
    own = ScorebedScheduler.from_config(theirs.config, solver="ddim")
    assert float((run(own, start(), kind, num_inference_steps=n) - expected).abs().max()) < 1e-5
    assert own.timesteps.tolist() == theirs.timesteps.tolist()

    theirs = diffusers.DPMSolverMultistepScheduler(**how)
    expected = run(theirs, start(), kind, num_inference_steps=n)
    own = ScorebedScheduler.from_config(theirs.config, solver="dpmpp_2m")
    assert float((run(own, start(), kind, timesteps=theirs.timesteps.tolist()) - expected).abs().max()) < 1e-5
    assert len(own.timesteps) == n

    if kind != "sample":  # theirs has not implemented it
        theirs = diffusers.HeunDiscreteScheduler(**how)
        times = [round(999 * (1 - i / (n - 1))) for i in range(n)]
        theirs.set_timesteps(timesteps=times)
        top = float(theirs.sigmas[0])
        expected = run(theirs, start() * top, kind, timesteps=times)
        own = ScorebedScheduler.from_config(theirs.config, solver="heun")
        found = run(own, start() * top / math.hypot(top, 1.0), kind, timesteps=times)
        assert own.timesteps.tolist() == theirs.timesteps.tolist()
        assert float((found - expected).abs().max()) < 1e-5
        assert own.order == 2


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flows_are_theirs(shift: float) -> None:
    """On a flow our ddim is FlowMatchEuler and our heun FlowMatchHeun, on their own noise levels."""
    theirs = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    expected = run(theirs, start(), "flow_prediction", num_inference_steps=8)
    own = ScorebedScheduler.from_config(theirs.config, solver="ddim")
    assert float((run(own, start(), "flow_prediction", num_inference_steps=8) - expected).abs().max()) < 1e-4
    assert torch.allclose(own.sigmas, theirs.sigmas, atol=2e-6)
    assert own.config.prediction_type == "flow_prediction"

    theirs = diffusers.FlowMatchHeunDiscreteScheduler(shift=shift)
    expected = run(theirs, start(), "flow_prediction", num_inference_steps=8)
    levels = [float(s) for s in theirs.sigmas[::2]][:-1] if len(theirs.sigmas) % 2 else [float(s) for s in theirs.sigmas[:-1]][::2]
    own = ScorebedScheduler.from_config(theirs.config, solver="heun", shift=1.0)
    found = run(own, start(), "flow_prediction", timesteps=[1000 * s for s in levels])
    assert own.method.name == "heun_t"
    assert float((found - expected).abs().max()) < 1e-4


@pytest.mark.parametrize("name", ["lms_3", "ghvb_3", "deis_tab3", "dpm_solver_3", "ipndm_4", "rk4"])
def test_flows_from_pure_noise(name: str) -> None:
    """Methods whose variable is infinite at pure noise leave it by a step of DDIM, and are then well below Euler's error."""
    exact = run(ScorebedScheduler(prediction_type="flow_prediction", solver="rk4"), start(64), "flow_prediction", num_inference_steps=100)
    errors = []
    for chosen in (name, "ddim"):
        own = ScorebedScheduler(prediction_type="flow_prediction", solver=chosen)
        errors.append(float((run(own, start(64).float(), "flow_prediction", num_inference_steps=20) - exact).abs().median()))
    assert errors[0] < 0.2 * errors[1]


@pytest.mark.parametrize("name", ["heun", "dpmpp_2m", "churn"])
def test_a_leap_is_ddim_and_then_the_method(name: str) -> None:
    nodes = uniform_lam(VP(), 5)
    denoise = lambda u, node: denoised(u, node.alpha, node.sigma)  # noqa: E731
    x, method = start(4), SOLVERS[name]
    begun = sample(SOLVERS["ddim"], denoise, x, nodes[:2], terminal="none")
    expected = sample(method, denoise, begun, nodes[1:], noise=2)
    plan = after_a_leap(nodes[0], trace(method, nodes[1:], "denoise"))
    torch.testing.assert_close(plan.run(denoise, x, 2), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["seeds_3", "euler_maruyama", "sde_dpm_solver_1"])
def test_stochastic_methods_on_flows_keep_the_spread(name: str) -> None:
    """They draw other samples, but of the same standard deviations, to the Monte Carlo error of 512 samples and some bias of 20 steps."""
    how: dict[str, Any] = {"prediction_type": "flow_prediction", "seed": 0}
    exact = run(ScorebedScheduler(**how, solver="rk4"), start(512), "flow_prediction", num_inference_steps=50)
    found = run(ScorebedScheduler(**how, solver=name), start(512), "flow_prediction", num_inference_steps=20)
    assert float((found.std(0) / exact.std(0) - 1.0).abs().max()) < 0.15


def test_ddim_of_theirs_steps_elsewhere_under_linspace() -> None:
    """Their DDIM under ``linspace`` steps to t − N//n instead of the next timestep; ours goes where the next evaluation is."""
    theirs = diffusers.DDIMScheduler(**BETAS, clip_sample=False, timestep_spacing="linspace")
    expected = run(theirs, start(), num_inference_steps=8)
    own = ScorebedScheduler.from_config(theirs.config, solver="ddim")
    found = run(own, start(), timesteps=theirs.timesteps.tolist())
    assert float((found - expected).abs().max()) > 1e-3
    euler = diffusers.EulerDiscreteScheduler(**BETAS)
    euler.set_timesteps(timesteps=theirs.timesteps.tolist())
    top = float(euler.sigmas[0])
    expected = run(euler, start() * math.hypot(top, 1.0), timesteps=theirs.timesteps.tolist())
    assert float((found - expected).abs().max()) < 1e-4


@pytest.mark.parametrize("kind", ["epsilon", "flow_prediction"])
@pytest.mark.parametrize("name", ["linspace", "leading", "trailing", "karras_sigmas", "exponential_sigmas", "lu_lambdas"])
def test_every_spacing_is_a_grid_with_the_same_ends(kind: str, name: str) -> None:
    """All fall strictly, keep the number of noise levels, and karras and exponential levels are diffusers'."""
    spacing = {"timestep_spacing": name} if name in ("linspace", "leading", "trailing") else {f"use_{name}": True}
    own = ScorebedScheduler(**BETAS, **spacing, prediction_type=kind, solver="ddim")
    for n in (2, 3, 7, 50):
        own.set_timesteps(n)
        assert len(own.timesteps) == n
        assert (own.sigmas[:-1] > own.sigmas[1:]).all()
        assert float(own.sigmas[-1]) == 0.0
    if kind == "epsilon" and name in ("karras_sigmas", "exponential_sigmas"):
        theirs = diffusers.HeunDiscreteScheduler(**BETAS, **spacing)
        theirs.set_timesteps(7)
        own.set_timesteps(7)
        levels = torch.cat((theirs.sigmas[:1], theirs.sigmas[1:-1:2], theirs.sigmas[-1:]))
        torch.testing.assert_close(own.sigmas, levels, rtol=2e-3, atol=0.0)


@pytest.mark.parametrize("method", [s for s in PLANNED if s not in LATE], ids=lambda s: s.name)
def test_every_plan_unrolls_to_steps(method: Solver) -> None:
    """Each model call is one ``step``: a pipeline's loop gives what the Plan gives on the same nodes, multi-stage and multistep alike."""
    scheduler = ScorebedScheduler(**BETAS, solver=method.name, start="own", seed=5)
    scheduler.set_timesteps(6)
    plan = trace(method, scheduler.grid, "denoise")
    assert len(scheduler.timesteps) == plan.nfe
    x = start(4)
    found = run(scheduler, x, num_inference_steps=6)
    expected = plan.run(lambda u, node: denoised(u, node.alpha, node.sigma), x, BrownianNoise(5, tuple(x.shape), like=x))
    # the network is told its time in float32
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("method", LATE, ids=lambda s: s.name)
def test_a_method_that_moves_before_it_evaluates_is_refused(method: Solver) -> None:
    """A pipeline calls the network on its own latents first; such a method would be told another state than it asked for."""
    with pytest.raises(ValueError, match="moves the state before its first evaluation"):
        ScorebedScheduler(**BETAS, solver=method.name).set_timesteps(6)


def test_starts() -> None:
    """``auto`` starts second-order multistep methods with one DDIM step and keeps the full start where it matters."""
    counts = {}
    for name in ("dpmpp_2m", "dpmpp_3m", "unipc_3"):
        for kind in ("auto", "own", "ddim"):
            scheduler = ScorebedScheduler(**BETAS, solver=name, start=kind)
            scheduler.set_timesteps(8)
            counts[name, kind] = len(scheduler.timesteps)
    assert [counts["dpmpp_2m", k] for k in ("auto", "own", "ddim")] == [8, 9, 8]
    assert [counts["dpmpp_3m", k] for k in ("auto", "own", "ddim")] == [12, 12, 8]
    assert counts["unipc_3", "auto"] == counts["unipc_3", "own"] > counts["unipc_3", "ddim"]


def test_noise_by_generator_and_by_seed() -> None:
    """A generator's noise is reproducible; a seed's belongs to the sample, whatever the batch, and is the noise of ``sample``."""

    def with_generator(seed: int) -> Tensor:
        scheduler, x = ScorebedScheduler(**BETAS, solver="sde_dpmpp_1"), start(4)
        scheduler.set_timesteps(6)
        generator = torch.Generator().manual_seed(seed)
        for t in scheduler.timesteps:
            x = scheduler.step(predicted(x, float(t), "epsilon", scheduler.schedule), t, x, generator=generator, return_dict=False)[0]
        return x

    assert torch.equal(with_generator(0), with_generator(0))
    assert not torch.equal(with_generator(0), with_generator(1))
    seeded = [run(ScorebedScheduler(**BETAS, solver="sde_dpmpp_1", seed=s), start(4), num_inference_steps=6) for s in (3, 3, 4)]
    part = run(ScorebedScheduler(**BETAS, solver="sde_dpmpp_1", seed=3), start(4)[:2], num_inference_steps=6)
    assert torch.equal(seeded[0], seeded[1])
    assert not torch.equal(seeded[0], seeded[2])
    torch.testing.assert_close(seeded[0][:2], part)
    scheduler = ScorebedScheduler(**BETAS, solver="sde_dpmpp_1")
    scheduler.set_timesteps(6)
    expected = sample(SOLVERS["sde_dpmpp_1"], lambda u, node: denoised(u, node.alpha, node.sigma), start(4), scheduler.grid, noise=3)
    torch.testing.assert_close(seeded[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 0.25), (torch.bfloat16, 0.25), (torch.float32, 4.0)])
@pytest.mark.parametrize("name", ["dpmpp_2m", "heun"])
def test_half_precision_states_keep_float32_registers(dtype: torch.dtype, bound: float, name: str) -> None:
    """Dtype in is dtype out. A half state is rounded where it goes out, not where it is kept: after 160 steps the error is that of one
    rounding, 0.12 eps in the median here; with registers in half precision it is above 0.7 and grows with the steps."""
    exact = run(ScorebedScheduler(**BETAS, solver=name), start(256), num_inference_steps=160)
    found = run(ScorebedScheduler(**BETAS, solver=name), start(256).to(dtype), num_inference_steps=160)
    assert found.dtype == dtype
    # the median: a sample near the border of two components may go to the other one
    assert float((found.double() - exact).abs().median()) < bound * torch.finfo(dtype).eps


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-7), (torch.float16, 0.01)])
def test_what_a_pipeline_does_to_the_state_counts(dtype: torch.dtype, close: float) -> None:
    """A replaced state and one changed in place are both what the solver goes on from; an untouched one is the run itself."""
    outs = []
    for change in ("none", "copy", "replace", "in place"):
        scheduler, x = ScorebedScheduler(**BETAS, solver="dpmpp_2m"), start(4).to(dtype)
        scheduler.set_timesteps(6)
        for i, t in enumerate(scheduler.timesteps):
            x = scheduler.step(predicted(x.double(), float(t), "epsilon", scheduler.schedule).to(dtype), t, x).prev_sample
            if i == 3 and change != "none":
                y = x if change == "in place" else x.clone()
                x = y if change == "copy" else y.add_(0.3) if change == "in place" else y + 0.3
        outs.append(x)
    torch.testing.assert_close(outs[0], outs[1], rtol=0.0, atol=close)
    assert float((outs[0] - outs[2]).abs().max()) > 0.03
    torch.testing.assert_close(outs[2], outs[3], rtol=0.0, atol=close)


def test_inference_mode_changes_nothing() -> None:
    found = []
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found.append(run(ScorebedScheduler(**BETAS, solver="heun"), start(4).half(), num_inference_steps=5))
    assert torch.equal(found[0], found[1])


def test_bounds_on_the_denoised_mean() -> None:
    """``clip_sample`` and ``thresholding`` bound every denoised mean, and so the result."""
    free = run(ScorebedScheduler(**BETAS, solver="dpmpp_2m"), start(), num_inference_steps=8)
    clipped = run(ScorebedScheduler(**BETAS, solver="dpmpp_2m", clip_sample=True, clip_sample_range=0.5), start(), num_inference_steps=8)
    thresholded = run(ScorebedScheduler(**BETAS, solver="dpmpp_2m", thresholding=True), start(), num_inference_steps=8)
    assert float(free.abs().max()) > 1.2
    assert float(clipped.abs().max()) <= 0.5
    assert float(thresholded.abs().max()) <= 1.0


def test_noising_is_the_schedule() -> None:
    """add_noise and get_velocity at real-valued timesteps, one for each sample, as diffusers has them at integers; scale_noise on flows."""
    theirs, own = diffusers.DDPMScheduler(**BETAS), ScorebedScheduler(**BETAS)
    x, noise, times = start(3), start(3, seed=2), torch.tensor([3, 500, 999])
    torch.testing.assert_close(own.add_noise(x, noise, times), theirs.add_noise(x, noise, times), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(own.get_velocity(x, noise, times), theirs.get_velocity(x, noise, times), rtol=1e-4, atol=1e-5)
    between = own.add_noise(x, noise, torch.tensor([3.5, 500.5, 998.5]))
    assert not torch.allclose(between, own.add_noise(x, noise, times), atol=1e-5)
    flow = ScorebedScheduler(prediction_type="flow_prediction")
    torch.testing.assert_close(flow.scale_noise(x, torch.tensor([250.0]), noise), 0.75 * x + 0.25 * noise)


def test_configs_travel(tmp_path: Path) -> None:
    """Saved and loaded, to and from diffusers' own schedulers, with options; every option of the constructor survives."""
    made = ScorebedScheduler(**BETAS, solver="dpm_solver_2", solver_options={"r": 0.6}, prediction_type="v_prediction", seed=4, start="own")
    made.save_pretrained(tmp_path)
    again = ScorebedScheduler.from_pretrained(tmp_path)
    assert {k: v for k, v in again.config.items() if not k.startswith("_")} == {
        k: v for k, v in made.config.items() if not k.startswith("_")
    }
    assert torch.equal(
        run(made, start(), "v_prediction", num_inference_steps=5), run(again, start(), "v_prediction", num_inference_steps=5)
    )
    back = diffusers.EulerDiscreteScheduler.from_config(made.config)
    assert (back.config.beta_end, back.config.prediction_type) == (0.012, "v_prediction")
    assert made in (made,)
    assert len(made) == 1000
    assert ScorebedScheduler.from_config(back.config, solver="heun").method.name == "heun"
    flows = diffusers.UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0)
    assert ScorebedScheduler.from_config(flows.config).config.shift == 3.0


@pytest.mark.parametrize("kind", ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"])
@pytest.mark.parametrize("rescale", [False, True])
def test_tables_are_theirs(kind: str, rescale: bool) -> None:
    own = ScorebedScheduler(beta_schedule=kind, rescale_betas_zero_snr=rescale)
    theirs = diffusers.DDPMScheduler(beta_schedule=kind, rescale_betas_zero_snr=rescale)
    torch.testing.assert_close(own.alphas_cumprod, theirs.alphas_cumprod, rtol=2e-3, atol=1e-6)
    x = run_finite(own)
    assert torch.isfinite(x).all()


def run_finite(scheduler: ScorebedScheduler) -> Tensor:
    scheduler.set_timesteps(8)
    x = start(3)
    for t in scheduler.timesteps:
        x = scheduler.step(predicted(x, float(t), "epsilon", scheduler.schedule), t, x).prev_sample
    return x


def test_one_step_and_final_sigmas() -> None:
    """One inference step is one evaluation, D itself. ``sigma_min`` ends at the table's last noise level instead of 0."""
    own = ScorebedScheduler(**BETAS)
    found = run(own, start(), num_inference_steps=1)
    node = own.schedule.node(999.0)
    torch.testing.assert_close(found, denoised(start(), node.alpha, node.sigma), rtol=1e-4, atol=1e-4)
    ends = ScorebedScheduler(**BETAS, timestep_spacing="leading", steps_offset=1, final_sigmas_type="sigma_min", solver="ddim")
    ends.set_timesteps(5)
    assert len(ends.timesteps) == 5
    assert float(ends.sigmas[-1]) == pytest.approx(ends.schedule.node(0.0).rho)


def test_rounded_timesteps_are_integers_and_their_cost_is_told() -> None:
    own = ScorebedScheduler(**BETAS, solver="heun", use_karras_sigmas=True, round_timesteps=True)
    own.set_timesteps(12)
    assert own.timesteps.dtype == torch.int64
    assert own.mismatch() > 1e-3
    real = ScorebedScheduler(**BETAS, solver="heun", use_karras_sigmas=True)
    real.set_timesteps(12)
    assert real.mismatch() < 1e-12
    assert any(t % 1.0 for t in real.timesteps.tolist())
    assert float((run(own, start(), num_inference_steps=12) - run(real, start(), num_inference_steps=12)).abs().max()) > 1e-4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"solver": "dpm"}, "solver = 'dpm' is not known"),
        ({"solver": "dormand_prince"}, "no Plan"),
        ({"start": "euler"}, "start = 'euler'"),
        ({"prediction_type": "noise"}, "prediction = 'noise'"),
        ({"beta_schedule": "exp2"}, "beta_schedule"),
        ({"noise_label": "sqrt"}, "noise_label"),
        ({"timestep_type": "real"}, "timestep_type"),
        ({"snr_shift_scale": 0.0}, "snr_shift_scale"),
        ({"sigma_data": 0.5, "prediction_type": "sample"}, "EDM preconditioning"),
        ({"sigma_data": 0.5, "sigma_min": 2.0, "sigma_max": 1.0}, "sigma_min"),
        ({"invert_sigmas": True}, "invert_sigmas"),
        ({"stochastic_sampling": True}, "stochastic_sampling"),
        ({"final_sigmas_type": "none"}, "final_sigmas_type"),
    ],
)
def test_bad_configs_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ScorebedScheduler(**options)
    with pytest.raises(TypeError, match="no option"):
        ScorebedScheduler(solver="heun", solver_options={"r": 1.0})


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({}, "give num_inference_steps"),
        ({"num_inference_steps": 0}, "at least 1"),
        ({"num_inference_steps": 2.5}, "at least 1"),
        ({"timesteps": [5, 7]}, "must fall"),
        ({"timesteps": [7, 7]}, "monotone"),
        ({"timesteps": [7, 5], "sigmas": [2.0, 1.0]}, "give num_inference_steps"),
        ({"timesteps": [7, 5], "num_inference_steps": 3}, "2 values"),
    ],
)
def test_bad_runs_are_named(how: dict[str, Any], words: str) -> None:
    own = ScorebedScheduler(**BETAS)
    with pytest.raises(ValueError, match="set_timesteps before step"):
        own.step(start(), 999, start())
    with pytest.raises(ValueError, match=words):
        own.set_timesteps(**how)
    with pytest.raises(ValueError, match="mu"):
        ScorebedScheduler(prediction_type="flow_prediction", use_dynamic_shifting=True).set_timesteps(3)
    with pytest.raises(ValueError, match="denoised form"):
        ScorebedScheduler(**BETAS, solver="deis_rho_kutta", timestep_type="continuous").set_timesteps(sigmas=[900.0, 0.01])
    own.set_timesteps(2)
    with pytest.raises(ValueError, match="none of this run's"):
        own.step(start(), 400.3, start())
    with pytest.raises(ValueError, match="model_output has shape"):
        own.step(start()[:3], own.timesteps[0], start())
    with pytest.raises(ValueError, match="solver='ddim_eta'"):
        own.step(start(), own.timesteps[0], start(), eta=0.5)
    own.set_timesteps(1)
    own.step(start(), own.timesteps[0], start())
    with pytest.raises(ValueError, match="are taken"):
        own.step(start(), own.timesteps[0], start())
