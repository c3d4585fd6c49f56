"""Faults that schedulers are known for, each as a kind: configs half honoured, edits that vanish, timesteps ignored, entries refused."""

from __future__ import annotations

import inspect
import math
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from torch import Tensor

from scorebed.solvers import SOLVERS, VP, BrownianNoise, Solver, methods_on, trace
from scorebed.solvers.grid import uniform_lam
from scorebed.solvers.noise.by_sample import NoiseBySample

diffusers.utils.logging.set_verbosity_error()

from scorebed.gpu import ScorebedScheduler  # noqa: E402
from scorebed.gpu.diffusers.configs import TABLE  # noqa: E402
from scorebed.gpu.diffusers.run import evaluates_first  # noqa: E402

SD: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
MEANS = torch.tensor([[-1.0, 0.5], [1.0, 0.0], [0.3, -1.2]], dtype=torch.float64)
PLANNED = [s for s in methods_on().values() if s.nonlinear is None and evaluates_first(trace(s, uniform_lam(VP(), 3), "denoise"))]
ODES = [s for s in PLANNED if s.weak is None and s.inexact is None]


def denoised(x: Tensor, alpha: float, sigma: float) -> Tensor:
    """E[x0 | x] of an equal mixture of three Gaussians of variance 0.04."""
    total = alpha * alpha * 0.04 + sigma * sigma
    mean = torch.softmax(-((x[:, None] - alpha * MEANS) ** 2).sum(-1) / (2 * total), -1) @ MEANS
    return mean + alpha * 0.04 / total * (x - alpha * mean)


def states(n: int = 64, seed: int = 1) -> Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(x: Tensor, t: float, rho: float, kind: str, data: float = 0.0) -> Tensor:
    """What an exact network says of its input x, at the noise level rho that its timestep stands for."""
    alpha = 1.0 / math.hypot(rho, data or 1.0)
    sigma = rho * alpha
    d = denoised(x, alpha, sigma)
    if data:  # preconditioned: D = c_skip z + c_out F, z = x/alpha
        skip, out = data**2 / (rho**2 + data**2), rho * data / math.hypot(rho, data)
        return (d - skip * x / alpha) / (out if kind == "epsilon" else -out)
    eps = (x - alpha * d) / sigma
    return {"epsilon": eps, "v_prediction": alpha * eps - sigma * d, "sample": d}[kind]


def run(scheduler: Any, x: Tensor, level: Any, kind: str, data: float = 0.0) -> Tensor:
    """A pipeline's loop; ``level(t)`` is the noise level of a timestep."""
    for t in scheduler.timesteps:
        seen = scheduler.scale_model_input(x, t)
        x = scheduler.step(network(seen.double(), float(t), level(float(t)), kind, data), t, x).prev_sample
    return x


# configs


def test_a_shifted_table_is_honoured() -> None:
    """CogVideoX: the noise level of our state is that of which the network is told."""
    for theirs in (diffusers.CogVideoXDDIMScheduler, diffusers.CogVideoXDPMScheduler):
        for rescale in (False, True):
            made = theirs(**SD, snr_shift_scale=3.0, rescale_betas_zero_snr=rescale, prediction_type="v_prediction")
            own = ScorebedScheduler.from_config(made.config, solver="ddim")
            own.set_timesteps(6)
            for t in own.timesteps.tolist()[1:]:
                bar = float(made.alphas_cumprod[round(t)])
                assert own.schedule.node(round(t)).rho == pytest.approx(math.sqrt((1 - bar) / bar), rel=1e-3)
            torch.testing.assert_close(own.alphas_cumprod.double(), made.alphas_cumprod.double(), rtol=1e-4, atol=1e-6)


def svd(**options: Any) -> Any:
    return diffusers.EulerDiscreteScheduler(
        **SD, prediction_type="v_prediction", interpolation_type="linear", sigma_min=0.002, sigma_max=700.0, timestep_type="continuous",
        timestep_spacing="leading", steps_offset=1, use_karras_sigmas=True, **options,
    )  # fmt: skip


def test_continuous_timesteps_are_honoured() -> None:
    """Stable Video Diffusion is told ln(sigma)/4 at levels far beyond its table: the same timesteps, and samples of the law."""
    theirs = svd()
    theirs.set_timesteps(25)
    own = ScorebedScheduler.from_config(theirs.config, solver="ddim")
    own.set_timesteps(25)
    torch.testing.assert_close(own.timesteps, theirs.timesteps, rtol=0.0, atol=1e-5)
    torch.testing.assert_close(own.sigmas, theirs.sigmas, rtol=1e-5, atol=0.0)
    x = states(500)
    expected = run(theirs, x * float(theirs.init_noise_sigma), lambda t: math.exp(4 * t), "v_prediction")
    # the start differs by what of the data is left at sigma = 700
    torch.testing.assert_close(run(own, x, lambda t: math.exp(4 * t), "v_prediction"), expected, rtol=0.0, atol=2e-2)
    better = ScorebedScheduler.from_config(theirs.config, solver="dpmpp_2m")
    better.set_timesteps(25)
    found = run(better, x, lambda t: math.exp(4 * t), "v_prediction")
    assert float((found[:, None] - MEANS).norm(dim=-1).amin(1).mean()) < 0.3
    noised = own.add_noise(x, states(500, 3), own.timesteps[:1])
    assert float(noised.std()) == pytest.approx(1.0, abs=0.05)
    with pytest.raises(ValueError, match="none of this network's"):
        own.add_noise(x, states(500, 3), torch.tensor([math.inf]))
    other = diffusers.EulerDiscreteScheduler(timestep_type="continuous")  # which theirs reads for v only
    assert ScorebedScheduler.from_config(other.config).levels.kind == "table"


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("spacing", ["karras", "exponential"])
def test_edm_configs_are_honoured(kind: str, spacing: str) -> None:
    """Levels, labels and preconditioning of EDM: our ddim is their Euler, in a state that the network takes as it is."""
    theirs = diffusers.EDMEulerScheduler(prediction_type=kind, sigma_schedule=spacing, sigma_data=0.6)
    theirs.set_timesteps(12)
    own = ScorebedScheduler.from_config(theirs.config, solver="ddim")
    own.set_timesteps(12)
    torch.testing.assert_close(own.timesteps, theirs.timesteps, rtol=0.0, atol=1e-5)
    torch.testing.assert_close(own.sigmas, theirs.sigmas, rtol=1e-5, atol=1e-7)
    x, top = states(), 80.0
    z = x * math.hypot(top, 0.6)
    expected = run(theirs, z, lambda t: math.exp(4 * t), kind, 0.6)
    found = run(own, x, lambda t: math.exp(4 * t), kind, 0.6)
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=1e-3, atol=1e-3)
    solver = diffusers.EDMDPMSolverMultistepScheduler(prediction_type=kind, sigma_schedule=spacing, sigma_data=0.6)
    made = ScorebedScheduler.from_config(solver.config, solver="dpmpp_2m")
    made.set_timesteps(12)
    torch.testing.assert_close(made.timesteps, own.timesteps)


def test_labels_of_stable_audio_are_honoured() -> None:
    theirs = diffusers.CosineDPMSolverMultistepScheduler(prediction_type="v_prediction")
    theirs.set_timesteps(10)
    own = ScorebedScheduler.from_config(theirs.config, solver="dpmpp_2m")
    own.set_timesteps(10)
    torch.testing.assert_close(own.timesteps, theirs.timesteps.float(), rtol=0.0, atol=1e-5)
    found = run(own, states(500), lambda t: math.tan(math.pi * t / 2), "v_prediction", 1.0)
    assert float((found[:, None] - MEANS).norm(dim=-1).amin(1).mean()) < 0.3
    assert own.levels.node(float(own.timesteps[3])).rho == pytest.approx(float(own.sigmas[3]), rel=1e-4)


def test_ends_and_spacings_are_honoured() -> None:
    """The user's sigma_min and sigma_max, and quantiles of Beta(0.6, 0.6), as Euler has them."""
    for spacing in ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"):
        for ends in ({}, {"sigma_min": 0.05, "sigma_max": 10.0}):
            theirs = diffusers.EulerDiscreteScheduler(**SD, **{spacing: True}, **ends)
            theirs.set_timesteps(9)
            own = ScorebedScheduler.from_config(theirs.config, solver="ddim")
            own.set_timesteps(9)
            torch.testing.assert_close(own.sigmas, theirs.sigmas, rtol=1e-3, atol=1e-6)
    beyond = diffusers.EulerDiscreteScheduler(**SD, use_karras_sigmas=True, sigma_max=700.0)
    with pytest.raises(ValueError, match="beyond the table"):
        ScorebedScheduler.from_config(beyond.config).set_timesteps(9)
    with pytest.raises(ValueError, match="one spacing"):
        ScorebedScheduler(use_karras_sigmas=True, use_beta_sigmas=True).set_timesteps(4)


def test_clipped_log_snr_is_honoured() -> None:
    own = ScorebedScheduler(beta_schedule="squaredcos_cap_v2", lambda_min_clipped=-5.1)
    own.set_timesteps(5)
    free = ScorebedScheduler(beta_schedule="squaredcos_cap_v2")
    free.set_timesteps(5)
    assert free.grid[0].lam < -8.0 < -5.2 < own.grid[0].lam < -5.0


@pytest.mark.parametrize("name", ["UniPCMultistep", "DPMSolverMultistep", "DPMSolverSinglestep", "DEISMultistep", "SASolver"])
@pytest.mark.parametrize("shift", [1.0, 3.0, 7.0])
def test_flows_of_other_classes_have_their_own_levels(name: str, shift: float) -> None:
    """Wan's and Sana's schedulers: shifted once, with the data as one of n + 1 even levels."""
    theirs = getattr(diffusers, f"{name}Scheduler")(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=shift)
    own = ScorebedScheduler.from_config(theirs.config, solver="ddim")
    for n in (4, 15):
        theirs.set_timesteps(n)
        own.set_timesteps(n)
        torch.testing.assert_close(own.sigmas[:-1], theirs.sigmas[:-1], rtol=0.0, atol=2e-6)
    with pytest.raises(ValueError, match="of which one can be"):
        ScorebedScheduler.from_config({**theirs.config, "use_karras_sigmas": True})


def test_flows_without_a_shift_are_known_by_their_class() -> None:
    theirs = diffusers.LTXEulerAncestralRFScheduler()
    theirs.set_timesteps(5)
    own = ScorebedScheduler.from_config(theirs.config, solver="ddim")
    own.set_timesteps(5)
    assert own.levels.kind == "flow"
    torch.testing.assert_close(own.timesteps, theirs.timesteps, rtol=0.0, atol=2e-3)


def test_every_class_of_diffusers_is_honoured_or_refused_by_name() -> None:
    from scorebed.gpu.diffusers import configs

    taken = 0
    for name in dir(diffusers):
        kind = getattr(diffusers, name) if name.endswith("Scheduler") else None
        if not (isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)) or kind is diffusers.SchedulerMixin:
            continue
        try:
            made = kind()
        except Exception:  # needs arguments, or another package
            assert name not in (*configs.TABLE, *configs.FLOW, *configs.EDM, *configs.INVERSE) or name == "DPMSolverSDEScheduler"
            continue
        if name in (*configs.TABLE, *configs.FLOW, *configs.EDM, *configs.INVERSE):
            own = ScorebedScheduler.from_config(made.config, solver="ddim")
            own.set_timesteps(5)
            taken += 1
            continue
        if name != "FlowMapEulerDiscreteScheduler":  # just made, its config has the keys of a FlowMatchHeun and no name
            with pytest.raises(ValueError, match="LCMScheduler" if name == "TCDScheduler" else name):  # the same keys
                ScorebedScheduler.from_config(made.config)
        with pytest.raises(ValueError, match=name):
            ScorebedScheduler.from_config({**made.config, "_class_name": name})
    assert taken >= 23
    with pytest.raises(ValueError, match="MyScheduler is no scheduler"):
        ScorebedScheduler.from_config({"_class_name": "MyScheduler"})
    with pytest.raises(ValueError, match="warp = 2"):
        ScorebedScheduler.from_config({**SD, "warp": 2})
    with pytest.raises(ValueError, match="log_linear"):
        ScorebedScheduler.from_config(diffusers.EulerDiscreteScheduler(interpolation_type="log_linear").config)
    assert ScorebedScheduler.from_config({**SD, "tensor_format": None}).config.beta_end == 0.012


@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
def test_spacings_are_those_of_their_class(spacing: str) -> None:
    """The levels of each class that has a table, up to its rounding of timesteps; some leave out the last of N + 1."""
    seen = set()
    for kind in (getattr(diffusers, name) for name in (*TABLE, "DPMSolverMultistepInverseScheduler")):
        if "timestep_spacing" not in inspect.signature(kind.__init__).parameters or kind is diffusers.DPMSolverSDEScheduler:
            continue
        more = {} if "CogVideoX" in kind.__name__ else {**SD, "skip_prk_steps": True} if kind is diffusers.PNDMScheduler else SD
        theirs = kind(**{**more, "timestep_spacing": spacing, "steps_offset": 1})
        own = ScorebedScheduler.from_config(theirs.config, solver="ddim")
        for scheduler in (theirs, own):
            scheduler.set_timesteps(7)
        if "KDPM2" in kind.__name__ or ("Inverse" in kind.__name__ and spacing != "linspace"):  # stages between; 0 is where data are
            continue
        told = sorted(set(theirs.timesteps.tolist()))
        torch.testing.assert_close(torch.sort(own.timesteps).values.double(), torch.tensor(told).double(), rtol=0.0, atol=0.6)
        seen.add(own.config.table_levels)
    assert seen == {"all", "dpm"}


# inversion


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m", "heun", "unipc_2"])
def test_inversion_is_the_flow_backwards(name: str) -> None:
    """From data to noise and back again, as many steps as asked for; what is lost falls with them, and noised data are as wide as noise."""
    errors = []
    for n in (25, 50, 100, 200):
        theirs = diffusers.DDIMInverseScheduler(**SD, clip_sample=False)
        back = ScorebedScheduler.from_config(theirs.config, solver=name)
        assert back.config.inverse
        forth = ScorebedScheduler.from_config(theirs.config, solver=name, inverse=False, final_sigmas_type="sigma_min")
        back.set_timesteps(n)
        forth.set_timesteps(timesteps=[forth.levels.told(node) for node in back.grid if node.lam < back.levels.cleanest.lam])
        assert (back.timesteps[:-1] <= back.timesteps[1:]).all()
        assert len(back.timesteps) in (n * back.order, n * back.order + 1)  # unipc's corrector has the last word
        data = MEANS[torch.arange(64) % 3] + 0.2 * states()
        level = lambda t, s=forth: s.schedule.node(t).rho  # noqa: E731
        noise = run(back, data, level, "epsilon")
        errors.append(float((run(forth, noise, level, "epsilon") - data).abs().median()))
        assert float(noise.std()) == pytest.approx(1.0, abs=0.2 if n > 50 else 0.6)
    assert errors[3] < (0.015 if name == "ddim" else 0.006)
    assert errors[3] < errors[0] / (2.0 if name == "ddim" else 8.0)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("n", [2, 5, 50])
def test_inversion_ends_where_a_run_begins(spacing: str, n: int) -> None:
    """At the level of theirs, and of our run from noise of as many steps, whose other levels it passes too."""
    theirs = diffusers.DDIMInverseScheduler(**SD, timestep_spacing=spacing)
    back, forth = (ScorebedScheduler.from_config(theirs.config, solver="ddim", **more) for more in ({}, {"inverse": False}))
    for scheduler in (theirs, back, forth):
        scheduler.set_timesteps(n)
    end = back.levels.told(back._full.grid[-1])
    assert end == pytest.approx(float(theirs.timesteps[-1]), abs=1e-3)
    assert end == pytest.approx(float(forth.timesteps[0]), abs=1e-3)
    told = [*back.timesteps.tolist(), end]
    assert all(min(abs(t - own) for own in told) < 1e-3 for t in forth.timesteps.tolist())
    assert len(back.timesteps) == n


# edits


@pytest.mark.parametrize("method", ODES, ids=lambda s: s.name)
def test_what_is_done_to_a_state_counts_for_every_method(method: Solver) -> None:
    """With a constant network the flow is a straight line in sigma: moved by delta at level s, the end moves by delta sigma_end/s, whether
    the method goes on from the state itself, from an older one, or from a stage. In half precision and inference mode too."""
    for dtype, mode in ((torch.float64, torch.no_grad), (torch.float16, torch.inference_mode)):
        for index in (1, 3, 4):
            with mode():
                ends = []
                for delta in (0.0, 0.25):
                    own = ScorebedScheduler(**SD, solver=method.name, final_sigmas_type="sigma_min", prediction_type="sample")
                    own.set_timesteps(6)
                    x = states(3).to(dtype)
                    for i, t in enumerate(own.timesteps):
                        if i == index:
                            level, before = own._run.node.sigma, x.clone()
                            x += delta
                            moved = (x - before).double()
                        x = own.step(torch.full_like(x, 0.3), t, x).prev_sample
                    ends.append(x.double())
            wanted = moved * own._nodes[-1].sigma / level
            torch.testing.assert_close(ends[1] - ends[0], wanted, rtol=1e-6, atol=1e-6 if dtype == torch.float64 else 1e-3)


def test_a_state_of_another_shape_is_refused() -> None:
    own = ScorebedScheduler(**SD, solver="dpmpp_2m")
    own.set_timesteps(4)
    own.step(states(2), own.timesteps[0], states(2))
    with pytest.raises(ValueError, match=r"sample has shape \(1, 2\)"):
        own.step(states(1), own.timesteps[1], states(1))


# timesteps


def test_timesteps_are_checked() -> None:
    """Every one, in order: skipped, repeated or vectors of different ones are refused, a vector of equal ones is one; a run that was broken
    off begins again with its first."""
    own, x = ScorebedScheduler(**SD, solver="dpmpp_2m"), states(4)
    own.set_timesteps(8)
    whole = x
    for t in own.timesteps:
        whole = own.step(0.1 * whole, t, whole).prev_sample
    with pytest.raises(ValueError, match="are taken"):
        own.step(x, own.timesteps[0], x)
    own.set_timesteps(8)
    y = own.step(0.1 * x, own.timesteps[0], x).prev_sample
    for wrong in (own.timesteps[2], own.timesteps[4], 3.0):
        with pytest.raises(ValueError, match="not the next one, which is"):
            own.step(0.1 * y, wrong, y)
    with pytest.raises(ValueError, match="differs by sample"):
        own.step(0.1 * y, own.timesteps[[1, 1, 1, 2]], y)
    y = own.step(0.1 * y, own.timesteps[1].expand(4), y).prev_sample
    assert own.step_index == 2
    y = x  # broken off: the first timestep again
    for t in own.timesteps:
        y = own.step(0.1 * y, t, y).prev_sample
    assert torch.equal(y, whole)
    own.set_timesteps(timesteps=own.timesteps[::2].tolist())
    for t in own.timesteps:
        y = own.step(0.1 * y, t, y).prev_sample


@pytest.mark.parametrize("name", ["heun", "dpmpp_2m", "unipc_3"])
def test_a_thousand_timesteps_are_told_apart(name: str) -> None:
    for options in ({}, {"prediction_type": "flow_prediction", "shift": 5.0}, {"sigma_data": 0.5}):
        own, x = ScorebedScheduler(solver=name, **options), torch.zeros(1, 2)
        own.set_timesteps(400)
        for t in own.timesteps:
            x = own.step(x, t, x).prev_sample


# entries


@pytest.mark.parametrize("method", ODES, ids=lambda s: s.name)
def test_a_run_may_begin_anywhere(method: Solver) -> None:
    """At every timestep, inside steps too, with a constant network: on the straight line to the end, whatever memory is missing."""
    for start in ("auto", "ddim", "own"):
        own = ScorebedScheduler(**SD, solver=method.name, final_sigmas_type="sigma_min", prediction_type="sample", start=start)
        own.set_timesteps(6)
        for index in range(len(own.timesteps)):
            own.set_begin_index(index)
            x, node = states(3), own._full.nodes[index]
            z = x
            for t in own.timesteps[index:]:
                z = own.step(torch.full_like(z, 0.3), t, z).prev_sample
            end = own._nodes[-1]
            line = end.alpha * 0.3 + end.sigma / node.sigma * (x - node.alpha * 0.3)
            torch.testing.assert_close(z, line, rtol=0.0, atol=1e-5)
            assert own.step_index == len(own.timesteps)


@pytest.mark.parametrize(
    ("name", "start"), [("unipc_2", "auto"), ("unipc_3", "auto"), ("lms_4", "auto"), ("unic_dpmpp_2m", "ddim"), ("hb_dpmpp_2m", "ddim")]
)
def test_image_to_image_is_never_refused(name: str, start: str) -> None:
    """As pipelines do it, for every strength; the error of what is left is that of a whole run."""
    schedule, table = ScorebedScheduler(**SD).schedule, {**SD, "timestep_spacing": "leading", "steps_offset": 1}
    level = lambda t: schedule.node(t).rho  # noqa: E731
    data = MEANS[torch.arange(64) % 3] + 0.2 * states()
    for n in (10, 50):
        errors = []
        for strength in (1.0, 0.75, 0.3, 0.1, 0.05):
            own = ScorebedScheduler(**table, solver=name, start=start)
            own.set_timesteps(n)
            skipped = max(n - int(n * strength), 0) * own.order
            rest = own.timesteps[skipped:]
            if not int(n * strength) or not len(rest):
                continue
            own.set_begin_index(skipped)
            x = own.add_noise(data, states(64, 2), rest[:1])
            dense = [float(rest[0]) * (1 - i / 60) for i in range(60)]
            exact = run_from(ScorebedScheduler(**table, solver="rk4"), dense, x, level)
            for t in rest:
                x = own.step(network(x, float(t), level(float(t)), "epsilon"), t, x).prev_sample
            errors.append(float((x - exact).abs().median()))
        assert max(errors) < 2.0 * errors[0] + 1e-3, (n, errors)


def run_from(scheduler: Any, times: list[float], x: Tensor, level: Any) -> Tensor:
    scheduler.set_timesteps(timesteps=times)
    return run(scheduler, x, level, "epsilon")


def test_a_loop_over_later_timesteps_begins_where_a_step_does() -> None:
    """Heun's 701 stands there twice: the one that begins a step is meant."""
    own = ScorebedScheduler(**SD, timestep_spacing="leading", steps_offset=1, solver="heun")
    own.set_timesteps(10)
    assert own.timesteps[3] == own.timesteps[4] == 701.0
    x = states(4)
    for t in own.timesteps[4:]:
        x = own.step(0.1 * x, t, x).prev_sample
    assert own.step_index == len(own.timesteps)
    own.set_begin_index(40)
    with pytest.raises(ValueError, match="begin_index = 40"):
        own.step(x, own.timesteps[0], x)


# lists


@pytest.mark.parametrize("kind", ["epsilon", "flow_prediction"])
def test_lists_of_levels_follow_one_rule(kind: str) -> None:
    own = ScorebedScheduler(**SD, solver="ddim", prediction_type=kind)
    top = 0.9 if kind == "flow_prediction" else 10.0
    for how, error, words in (
        ({"timesteps": []}, ValueError, "timesteps is empty"),
        ({"sigmas": []}, ValueError, "sigmas is empty"),
        ({"timesteps": "999"}, TypeError, "list of numbers"),
        ({"sigmas": ["1.0", "0.5"]}, TypeError, "list of numbers"),
        ({"sigmas": 3.0}, TypeError, "list of numbers"),
        ({"timesteps": [500, -1]}, ValueError, "timestep = -1"),
        ({"timesteps": [2000, 500]}, ValueError, "timestep = 2000"),
        ({"sigmas": [top, -0.1]}, ValueError, "sigma = -0.1"),
        ({"sigmas": [top, 0.0, 0.0]}, ValueError, "sigma = 0"),
        ({"sigmas": [0.0]}, ValueError, "sigma = 0"),
        ({"sigmas": [math.nan, 0.1]}, ValueError, "sigma = nan"),
        ({"sigmas": [100.0, 0.5]}, ValueError, "lies beyond"),
        ({"sigmas": [0.3, top]}, ValueError, "must fall"),
    ):
        with pytest.raises(error, match=words):
            own.set_timesteps(**how)
    own.set_timesteps(sigmas=[top, 0.5, 0.0])
    assert len(own.timesteps) == 2
    own.set_timesteps(sigmas=np.array([top, 0.5]))
    assert len(own.timesteps) == 2
    own.set_timesteps(sigmas=torch.tensor([top, 0.5]))
    if kind == "flow_prediction":
        own.set_timesteps(timesteps=[900, 500, 0])
        assert len(own.timesteps) == 2


# odds and ends


def test_each_sample_gets_its_own_noise() -> None:
    own, x = ScorebedScheduler(**SD), torch.zeros(8, 3)
    with pytest.raises(ValueError, match="its own noise"):
        own.add_noise(x, torch.randn(1, 3), torch.full((8,), 500.0))
    with pytest.raises(ValueError, match="3 timesteps for 8"):
        own.add_noise(x, torch.randn(8, 3), torch.full((3,), 500.0))
    for wrong in (-3.0, 1500.0):
        with pytest.raises(ValueError, match="none of this network's"):
            own.add_noise(x, torch.randn(8, 3), torch.full((8,), wrong))


def test_networks_that_look_their_timestep_up() -> None:
    """Rounded timesteps are integers, in a pipeline and in gpu.wrap."""
    from scorebed import gpu
    from scorebed.solvers import grid, sample

    table = torch.nn.Embedding(1000, 2)
    own = ScorebedScheduler(round_timesteps=True)
    denoise = gpu.wrap(lambda x, t: 0.1 * x + table(t), own.schedule, "eps")
    assert sample(SOLVERS["ddim"], denoise, torch.ones(3, 2), grid.uniform_lam(own.schedule, 3)).shape == (3, 2)
    own.set_timesteps(4)
    assert own.timesteps.dtype == torch.int64


def test_one_seed_for_each_sample() -> None:
    """A sample has the noise of its seed, alone or in a batch: in the scheduler, in gpu.run and in sample."""
    from scorebed import gpu
    from scorebed.solvers import sample

    def drawn(seed: Any, x: Tensor) -> Tensor:
        own = ScorebedScheduler(**SD, solver="sde_dpmpp_1", seed=seed)
        own.set_timesteps(5)
        for t in own.timesteps:
            x = own.step(0.1 * x, t, x).prev_sample
        return x

    x, seeds = states(3), [7, 3, 7]
    whole = drawn(seeds, x)
    for i, seed in enumerate(seeds):
        torch.testing.assert_close(whole[i : i + 1], drawn(seed, x[i : i + 1]))
    nodes, method = uniform_lam(VP(), 5), SOLVERS["ddpm"]
    smooth = lambda y, node: 0.5 * torch.tanh(y)  # noqa: E731
    truth = torch.cat([gpu.run(method, smooth, x[i : i + 1], nodes, noise=seed) for i, seed in enumerate(seeds)])
    for found in (
        gpu.run(method, smooth, x, nodes, noise=seeds),
        gpu.run(method, smooth, x, nodes, noise=np.array(seeds), chunk=2),
        sample(method, smooth, x, nodes, noise=NoiseBySample(seeds, x.shape, like=x)),
    ):
        torch.testing.assert_close(found, truth, rtol=1e-12, atol=1e-12)
    one = NoiseBySample([5], (1, 2))(nodes[0], nodes[1])
    np.testing.assert_array_equal(one, BrownianNoise(5, (1, 2))(nodes[0], nodes[1]))
    with pytest.raises(ValueError, match="2 seeds for 3 samples"):
        gpu.run(method, smooth, x, nodes, noise=[1, 2])
