"""Grids with a step too few or too many, the wrong end, or levels out of order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from scorebed.solvers import EDM
from scorebed.solvers.grid import karras
from scorebed.toy.conform.conventions import CONVENTIONS, shifted
from scorebed.toy.museum.registry import exhibit

_SD = CONVENTIONS["index"].to_rho  # sigma/alpha at an index of Stable Diffusion's table


def flow(n: int, shift: float = 1.0, last: float | None = None) -> list[float]:
    """n levels from 1 to ``last`` (1/n), shifted, and 0."""
    return [*(shifted(float(t), shift) for t in np.linspace(1.0, 1.0 / n if last is None else last, n)), 0.0]


def _karras(n: int) -> list[float]:
    return [*(node.rho for node in karras(EDM(), n - 1)), 0.0]


@exhibit(
    "check_grid",
    "vllm-project/vllm-omni#7197",
    "N levels from 1 to 0 make N − 1 evaluations",
    named="one step missing",
    also=("vllm-project/vllm-omni#7219", "sgl-project/sglang#33552", "vllm-project/vllm-omni#4470"),
)
def levels_for_steps(mended: bool) -> dict[str, Any]:
    return {"sigmas": [shifted(float(t), 12.0) for t in np.linspace(1.0, 0.0, 9 if mended else 8)], "shift": 12.0, "steps": 8}


@exhibit("check_grid", "Comfy-Org/ComfyUI#9247", "a scheduler node gives one step less than was asked for", named="one step missing")
def scheduler_node(mended: bool) -> dict[str, Any]:
    return {"sigmas": _karras(30 if mended else 29), "steps": 30}


@exhibit("check_grid", "patil-suraj/stable-diffusion-jax#6", "51 timesteps for 50 steps", named="one step too many")
def one_more(mended: bool) -> dict[str, Any]:
    told = [float(t) for t in range(981, 0, -20)]
    return {"timesteps": told if mended else [*told, 0.0], "convention": "index", "steps": 50}


@exhibit(
    "check_grid",
    "verl-project/verl-omni#279",
    "timesteps are recorded on a grid of n − 1 points, levels on one of n",
    named="timesteps and levels differ in number",
)
def stale_mapping(mended: bool) -> dict[str, Any]:
    levels = flow(15, 3.0)
    told = levels[:-1] if mended else flow(14, 3.0)[:-1]
    return {"sigmas": levels, "timesteps": [1000.0 * v for v in told], "shift": 3.0, "steps": 15}


@exhibit(
    "check_grid",
    "huggingface/diffusers#13243",
    "sigma_min is stored after the shift, so the end of the grid is shifted twice",
    named="last level wrong",
    also=("huggingface/diffusers#13962", "bghira/SimpleTuner#2760", "vllm-project/vllm-omni#7576"),
)
def sigma_min_after_the_shift(mended: bool) -> dict[str, Any]:
    last = 1e-3 if mended else shifted(1e-3, 3.0)
    return {"sigmas": flow(28, 3.0, last), "shift": 3.0, "steps": 28, "last": shifted(1e-3, 3.0)}


@exhibit(
    "check_grid",
    "NVIDIA/TensorRT-Model-Connect#473",
    "sigma_min is one over the steps of the run, not of the training",
    named="last level wrong",
)
def sigma_min_of_the_run(mended: bool) -> dict[str, Any]:
    shift = math.exp(2.05)
    return {"sigmas": flow(30, shift, 1e-3 if mended else 1.0 / 30), "shift": shift, "steps": 30, "last": shifted(1e-3, shift)}


@exhibit(
    "check_grid",
    "apple/coreai-models#190",
    "the static shift's grid stops at 0.08 and jumps from there to 0",
    named="last level wrong",
)
def jump_at_the_end(mended: bool) -> dict[str, Any]:
    return {"sigmas": flow(28, 3.0, 0.003 if mended else 0.0289), "shift": 3.0, "steps": 28, "last": shifted(0.003, 3.0)}


@exhibit(
    "check_grid",
    "huggingface/diffusers#12934",
    "levels that a distilled model prescribes are stretched to a terminal 0.1",
    named="last level wrong",
)
def stretched_levels(mended: bool) -> dict[str, Any]:
    given = [1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875]
    scale = (1.0 - given[-1]) / (1.0 - 0.1)
    return {"sigmas": [*(given if mended else [1.0 - (1.0 - v) / scale for v in given]), 0.0], "steps": 8, "last": 0.421875}


@exhibit(
    "check_grid",
    "huggingface/diffusers#14572",
    "one step with a terminal shift divides 0 by 0",
    named="not finite",
    also=("huggingface/diffusers#14411", "sgl-project/sglang#24708"),
)
def one_stretched_step(mended: bool) -> dict[str, Any]:
    with np.errstate(invalid="ignore"):
        only = 1.0 if mended else float(1.0 - np.float64(0.0) / np.float64(0.0))
    return {"sigmas": [only, 0.0], "convention": "flow", "steps": 1}


@exhibit(
    "check_grid",
    "lllyasviel/ControlNet#587",
    "the last alpha is that of the table, not 1: what is left of the noise stays",
    named="clean end missing",
    also=("huggingface/diffusers#6068",),
)
def last_alpha(mended: bool) -> dict[str, Any]:
    levels = [_SD(float(t)) for t in range(981, 0, -20)]
    return {"sigmas": [*levels, 0.0 if mended else _SD(0.0)], "steps": 50}


@exhibit(
    "check_grid",
    "huggingface/diffusers#13411",
    "levels that rise are taken without complaint",
    named="not monotone",
    also=("huggingface/diffusers#13466",),
)
def rising_level(mended: bool) -> dict[str, Any]:
    return {"sigmas": [1.0, 0.8, 0.5, 0.2, 0.0] if mended else [1.0, 0.2, 0.8, 0.5, 0.0], "convention": "flow"}


@exhibit(
    "check_grid",
    "huggingface/diffusers#12771",
    "timesteps cut to integers: the first ten are one number",
    named="repeated level",
    also=("huggingface/diffusers#14718", "huggingface/diffusers#10738"),
)
def integer_timesteps(mended: bool) -> dict[str, Any]:
    real = [999.0, 998.903, 998.802, 998.696, 998.583, 998.2, 996.9, 990.3, 961.7, 860.2, 610.4, 240.8, 12.5]
    return {"timesteps": real if mended else [float(int(t)) for t in real], "convention": "index"}
