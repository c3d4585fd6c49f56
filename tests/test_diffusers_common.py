"""What diffusers asks of every scheduler of its own, asked of ours for seven configurations: configs that travel, attributes that clients
read, steps, noising."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.utils import logging
from diffusers.utils.testing_utils import CaptureLogger
from torch import Tensor

diffusers.utils.logging.set_verbosity_error()

from scorebed.gpu import ScorebedScheduler  # noqa: E402

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
CONFIGS: dict[str, dict[str, Any]] = {
    "default": {},
    "ddim on SD's table": {**SD, "solver": "ddim", "timestep_spacing": "leading", "steps_offset": 1},
    "unipc_3, karras": {**SD, "solver": "unipc_3", "use_karras_sigmas": True, "start": "ddim"},
    "heun, v": {**SD, "solver": "heun", "prediction_type": "v_prediction"},
    "stochastic": {"solver": "sde_dpmpp_1", "beta_schedule": "squaredcos_cap_v2", "clip_sample": True},
    "flow": {"prediction_type": "flow_prediction", "shift": 3.0, "solver": "dpmpp_2m"},
    "zero SNR, trailing": {**SD, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction"},
}
N = 10


@pytest.fixture(params=CONFIGS, ids=list(CONFIGS))
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"num_train_timesteps": 1000, **CONFIGS[request.param]}


def picture(seed: int = 0) -> Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def stepped(scheduler: ScorebedScheduler, index: int = 0, **options: Any) -> Tensor:
    scheduler.set_timesteps(N)
    x = scheduler.scale_model_input(picture(), scheduler.timesteps[index])
    made: Tensor = scheduler.step(0.1 * x, scheduler.timesteps[index], x, generator=torch.manual_seed(0), **options).prev_sample
    return made


def whole(scheduler: ScorebedScheduler) -> Tensor:
    scheduler.set_timesteps(N)
    x, generator = picture(), torch.manual_seed(0)
    for t in scheduler.timesteps:
        x = scheduler.step(0.1 * scheduler.scale_model_input(x, t), t, x, generator=generator).prev_sample
    return x


def plain(config: Any) -> dict[str, Any]:
    return {k: v for k, v in config.items() if k not in ("_diffusers_version", "_class_name")}


@pytest.mark.parametrize("index", [0, 1, 5, N - 1])
def test_saved_and_loaded_it_steps_the_same(config: dict[str, Any], index: int, tmp_path: Path) -> None:
    made = ScorebedScheduler(**config)
    made.save_config(tmp_path)
    again = ScorebedScheduler.from_pretrained(tmp_path)
    assert torch.equal(stepped(made, index), stepped(again, index))
    assert torch.equal(whole(made), whole(again))
    made.save_pretrained(tmp_path / "b")
    assert json.loads((tmp_path / "b" / "scheduler_config.json").read_text(encoding="utf-8"))["_class_name"] == "ScorebedScheduler"


def test_configs_travel_through_every_compatible_class(config: dict[str, Any]) -> None:
    """To another class and back it is the same config, key for key, and the same run; nothing but keys of others is added."""
    made = ScorebedScheduler(**config)
    assert len(made.compatibles) >= 12
    own = set(ScorebedScheduler._get_init_keys(ScorebedScheduler))
    for other in made.compatibles:
        assert other is not None
        if other is ScorebedScheduler:
            continue
        between = other.from_config(made.config)
        back = ScorebedScheduler.from_config(between.config)
        assert {k: v for k, v in plain(back.config).items() if k in made.config} == plain(made.config), other.__name__
        assert not {k for k in back.config if k not in made.config} & own, other.__name__
        assert torch.equal(whole(back), whole(made)), other.__name__


@pytest.mark.parametrize("name", ["DDIM", "EulerDiscrete", "DPMSolverMultistep", "FlowMatchEulerDiscrete"])
def test_defaults_of_another_class_are_what_its_config_says(name: str) -> None:
    """DDIM's own defaults, leading and clipped, are honoured, and kept on the way through a third class."""
    theirs = getattr(diffusers, f"{name}Scheduler")()
    own = ScorebedScheduler.from_config(theirs.config)
    for key in ("timestep_spacing", "clip_sample", "steps_offset", "shift", "final_sigmas_type"):
        if key in theirs.config:
            assert own.config[key] == theirs.config[key], key
    back = ScorebedScheduler.from_config(diffusers.HeunDiscreteScheduler.from_config(own.config).config)
    assert torch.equal(whole(back), whole(own))


def test_kwargs_win_and_unused_ones_come_back(config: dict[str, Any]) -> None:
    made = ScorebedScheduler.from_config(ScorebedScheduler(**config).config, solver="ddim", seed=3)
    assert (made.config.solver, made.config.seed) == ("ddim", 3)
    _, unused = ScorebedScheduler.from_config(made.config, return_unused_kwargs=True, another=4)
    assert unused["another"] == 4


@pytest.mark.parametrize("betas", [np.array([0.1, 0.3]), [0.1, 0.2, 0.3]], ids=["array", "list"])
def test_trained_betas_travel(config: dict[str, Any], betas: Any, tmp_path: Path) -> None:
    made = ScorebedScheduler(**config, trained_betas=betas)
    made.save_pretrained(tmp_path)
    again = ScorebedScheduler.from_pretrained(tmp_path)
    assert made.betas.tolist() == again.betas.tolist() == pytest.approx(list(betas), rel=1e-6)
    if made.levels.kind == "table":
        made.set_timesteps(1)
        assert float(made.timesteps.max()) <= len(betas) - 1


def test_what_clients_read_is_there(config: dict[str, Any]) -> None:
    """betas, alphas and alphas_cumprod as DDPM has them; timesteps and sigmas of training before a run is set."""
    made = ScorebedScheduler(**config)
    table = {k: v for k, v in config.items() if k.startswith("beta_") or k == "rescale_betas_zero_snr"}
    theirs = diffusers.DDPMScheduler(**table)
    if not config.get("rescale_betas_zero_snr"):
        torch.testing.assert_close(made.betas, theirs.betas, rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(made.alphas, theirs.alphas, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(made.alphas_cumprod, theirs.alphas_cumprod, rtol=2e-3, atol=1e-6)
    assert made.alphas_cumprod.shape == made.betas.shape == (1000,)
    assert len(made) == 1000
    assert made.timesteps.shape == (1000,)
    assert made.sigmas.shape == (1001,)
    assert (made.timesteps[:-1] > made.timesteps[1:]).all()
    assert (made.sigmas[:-1] > made.sigmas[1:]).all()
    assert float(made.init_noise_sigma) == 1.0
    assert made.num_inference_steps is None
    assert made.step_index is None
    assert made.begin_index is None


def test_the_public_interface(config: dict[str, Any]) -> None:
    made = ScorebedScheduler(**config)
    for name in ("init_noise_sigma", "scale_model_input", "step", "set_timesteps", "add_noise", "order", "timesteps", "config"):
        assert hasattr(made, name), name
    x = picture()
    assert made.scale_model_input(x, 0.0).shape == x.shape
    assert f"{type(made).__name__}" in repr(made)


def test_timesteps(config: dict[str, Any]) -> None:
    """As many as evaluations, on the device asked for, falling but for repeated stages; sigmas one for each level and the end."""
    made = ScorebedScheduler(**config)
    for n in (1, 2, 5, 25, 100):
        made.set_timesteps(n, device="cpu")
        assert made.num_inference_steps == n
        assert len(made.timesteps) >= n
        assert made.timesteps.device.type == "cpu"
        assert (made.timesteps[:-1] >= made.timesteps[1:]).all()
        assert len(made.sigmas) == n + 1
        assert float(made.sigmas[-1]) == 0.0


def test_step_shape_and_outputs(config: dict[str, Any]) -> None:
    """Two steps of the state's shape; a tuple is the output in order."""
    made, x = ScorebedScheduler(**config), picture()
    made.set_timesteps(N)
    first = made.step(0.1 * x, made.timesteps[0], x, generator=torch.manual_seed(0)).prev_sample
    second = made.step(0.1 * first, made.timesteps[1], first, generator=torch.manual_seed(0)).prev_sample
    assert first.shape == second.shape == x.shape
    held = {}
    for return_dict in (True, False):
        made.set_timesteps(N)
        held[return_dict] = made.step(0.1 * x, made.timesteps[0], x, generator=torch.manual_seed(0), return_dict=return_dict)
    assert isinstance(held[False], tuple)
    assert torch.equal(held[True].prev_sample, held[False][0])
    assert torch.equal(held[True].pred_original_sample, held[False][1])
    assert torch.equal(held[True][0], held[False][0])


def test_noise_is_added_at_every_timestep(config: dict[str, Any]) -> None:
    made, x, noise = ScorebedScheduler(**config), picture(), picture(1)
    made.set_timesteps(N)
    for t in (made.timesteps[5][None], made.timesteps[[0, 3, 5, 9]]):
        noised = made.add_noise(made.scale_model_input(x, 0.0), noise, t)
        assert noised.shape == x.shape
        alpha = (noised - made.add_noise(0 * x, noise, t)) / x
        sigma = made.add_noise(0 * x, noise, t) / noise
        total = alpha + sigma if made.levels.kind == "flow" else alpha.square() + sigma.square()
        torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-3, atol=1e-3)


def test_attributes_are_looked_up_right(config: dict[str, Any]) -> None:
    made = ScorebedScheduler(**config)
    made.dummy_attribute = 5
    made.register_to_config(test_attribute=5)
    logger = logging.get_logger("diffusers.configuration_utils")
    logger.setLevel(30)
    try:
        with CaptureLogger(logger) as said:
            assert made.dummy_attribute == 5
            assert made.config.test_attribute == 5
            assert hasattr(made, "save_pretrained")
        assert said.out == ""
    finally:
        logger.setLevel(40)
    with pytest.raises(AttributeError, match="'ScorebedScheduler' object has no attribute 'does_not_exist'"):
        made.does_not_exist  # noqa: B018


def test_a_whole_run_is_finite_and_the_same_again(config: dict[str, Any]) -> None:
    made = ScorebedScheduler(**config)
    first = whole(made)
    assert torch.isfinite(first).all()
    assert torch.equal(whole(made), first)
    assert made.step_index == len(made.timesteps)
