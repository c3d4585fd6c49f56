"""Grids under another shift, rounded, on another's clock, and timesteps that do not belong to their levels."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.toy.conform.conventions import CONVENTIONS, shifted
from scorebed.toy.museum.grids_steps import flow
from scorebed.toy.museum.registry import exhibit


def half(values: list[float]) -> list[float]:
    """Through bfloat16: eight significant bits."""
    mantissa, exponent = np.frexp(np.array(values))
    return [float(v) for v in np.ldexp(np.round(np.ldexp(mantissa, 8)), exponent - 8)]


@exhibit(
    "check_grid",
    "LBH-123-AI/Comfyui_Minimax_h3_latent_Upscaler#8",
    "levels are made with the default shift 12, the model runs with 6",
    named="wrong shift",
)
def shift_of_another_model(mended: bool) -> dict[str, Any]:
    return {"sigmas": flow(8, 6.0 if mended else 12.0), "shift": 6.0, "steps": 8}


@exhibit("check_grid", "vllm-project/vllm-omni#5302", "mu = 0.675 where the checkpoint asks for 2.05", named="wrong shift")
def wrong_mu(mended: bool) -> dict[str, Any]:
    return {"sigmas": flow(30, math.exp(2.05 if mended else 0.675)), "shift": math.exp(2.05), "steps": 30}


@exhibit(
    "check_grid",
    "leejet/stable-diffusion.cpp#1697",
    "schedulers that work on levels leave the flow's shift out",
    named="shift not applied",
    also=("Tencent-Hunyuan/HunyuanVideo#212",),
)
def shift_left_out(mended: bool) -> dict[str, Any]:
    return {"sigmas": flow(8, 3.0 if mended else 1.0), "shift": 3.0, "steps": 8}


@exhibit(
    "check_grid",
    "bghira/SimpleTuner#892",
    "the timesteps are shifted, the levels they stand for are not",
    named="timesteps of other levels",
    also=("bghira/SimpleTuner#905",),
)
def timesteps_shifted_alone(mended: bool) -> dict[str, Any]:
    levels = flow(25, 3.0 if mended else 1.0)
    return {"sigmas": levels, "timesteps": [1000.0 * shifted(v, 1.0 if mended else 3.0) for v in levels[:-1]], "steps": 25}


@exhibit(
    "check_grid",
    "leejet/stable-diffusion.cpp#1908",
    "audio is advanced by the slope of its clock against the picture's: about twice too far in 4 steps",
    named="audio: clean end missing",
)
def slope_of_a_clock(mended: bool) -> dict[str, Any]:
    video, audio = flow(4, 12.0), flow(4, 3.0)
    went = [1.0]
    for s, t in pairwise(video):
        went.append(went[-1] + 4.0 / (4.0 - 3.0 * s) ** 2 * (t - s))  # d tau_audio/d tau_video, rho being 4 times smaller
    return {"sigmas": {"video": video, "audio": audio if mended else went}, "shift": {"video": 12.0, "audio": 3.0}, "steps": 4}


@exhibit("check_grid", "Comfy-Org/ComfyUI#16001", "the grid is made in the dtype of the latents, bfloat16", named="rounded to bfloat16")
def grid_in_half(mended: bool) -> dict[str, Any]:
    levels = flow(40, 5.0)
    return {"sigmas": levels if mended else [*dict.fromkeys(half(levels))], "shift": 5.0}


@exhibit(
    "check_grid",
    "huggingface/diffusers#9405",
    "timesteps go to the network in bfloat16: 750 becomes 752",
    named="timesteps rounded to bfloat16",
    also=("kohya-ss/musubi-tuner#729",),
)
def timesteps_in_half(mended: bool) -> dict[str, Any]:
    levels = flow(28, 3.0)
    told = [1000.0 * v for v in levels[:-1]]
    return {"sigmas": levels, "timesteps": told if mended else half(told), "shift": 3.0, "steps": 28}


@exhibit(
    "check_grid",
    "Stability-AI/stablediffusion#226",
    "the network is told the index of the step in place of its timestep",
    named="timesteps of other levels",
)
def index_of_the_step(mended: bool) -> dict[str, Any]:
    told = [float(t) for t in range(981, 0, -20)]
    levels = [*map(CONVENTIONS["index"].to_rho, told), 0.0]
    return {"sigmas": levels, "timesteps": told if mended else [float(i) for i in range(49, -1, -1)], "convention": "sigma", "steps": 50}


@exhibit(
    "check_grid",
    "huggingface/lerobot#4075",
    "a processor that counts time down from noise is handed time that counts up",
    named="timesteps reversed",
)
def other_direction_of_time(mended: bool) -> dict[str, Any]:
    levels = flow(10)
    return {"sigmas": levels, "timesteps": [1000.0 * (v if mended else 1.0 - v) for v in levels[:-1]], "steps": 10}


@exhibit(
    "check_grid",
    "primepake/splitmeanflow#2",
    "t = 1 is data for the teacher and noise for the student",
    named="reversed",
)
def other_direction_of_levels(mended: bool) -> dict[str, Any]:
    return {"sigmas": flow(10) if mended else flow(10)[::-1], "convention": "flow", "steps": 10}
