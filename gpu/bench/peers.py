"""The same methods as others step them, for ``bench.py``: diffusers' schedulers and k-diffusion's samplers.

Each function gives back a callable that walks all steps of one run with the network's result lying ready, so that its time is the method's
own. Where a package is missing the entry is missing too.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

DIFFUSERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {"solver_order": 2, "final_sigmas_type": "sigma_min"}),
    "dpmpp_3m": ("DPMSolverMultistepScheduler", {"solver_order": 3, "final_sigmas_type": "sigma_min"}),
    "unipc_3": ("UniPCMultistepScheduler", {"solver_order": 3, "final_sigmas_type": "sigma_min"}),
    "ddpm": ("DDPMScheduler", {}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++", "final_sigmas_type": "sigma_min"}),
    "sa_solver": ("SASolverScheduler", {}),
}
"""Our name of a method, and the scheduler that does the same."""

KDIFFUSION = {
    "euler": "sample_euler",
    "dpmpp_2m": "sample_dpmpp_2m",
    "lms_4": "sample_lms",
    "dpmpp_2m_sde": "sample_dpmpp_2m_sde",
    "euler_ancestral": "sample_euler_ancestral",
}
"""Our name of a method, and the sampler that does the same."""


def diffusers_run(name: str, x: Tensor, value: Tensor, steps: int) -> Callable[[], Any] | None:
    """All steps of diffusers' scheduler for the method on the state ``x``, the network always answering ``value`` as eps."""
    if name not in DIFFUSERS or importlib.util.find_spec("diffusers") is None:
        return None
    import diffusers

    kind, options = DIFFUSERS[name]
    scheduler = getattr(diffusers, kind)(num_train_timesteps=1000, beta_schedule="scaled_linear", **options)
    generator = torch.Generator(x.device).manual_seed(0)
    takes = {"generator": generator} if name in ("ddpm", "dpmpp_2m_sde", "sa_solver") else {}

    def run() -> Tensor:
        scheduler.set_timesteps(steps, device=x.device)
        state = x
        for t in scheduler.timesteps:
            state = scheduler.step(value, t, state, **takes).prev_sample
        return state

    return run


def kdiffusion_run(name: str, module: Any, x: Tensor, value: Tensor, steps: int) -> Callable[[], Any] | None:
    """k-diffusion's sampler of the module ``module`` (its ``sampling.py``), the network always answering ``value`` as the denoised mean."""
    if name not in KDIFFUSION or module is None:
        return None
    sampler = getattr(module, KDIFFUSION[name])
    sigmas = torch.exp(torch.linspace(2.3, -3.0, steps + 1, device=x.device))
    return lambda: sampler(lambda y, sigma, **extra: value, x, sigmas, disable=True)
