"""Samplers of tokens of other libraries as ``check_discrete`` takes them (``library="torch"``): of diffusers and of flow_matching.

``module`` is where a class is taken from, by default the installed one: a mended copy may stand for it (``toy.peers.mend``).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

Sampler = Callable[[Any, Any, Any], Any]


def _made(name: str, module: Any, library: str = "diffusers") -> Any:
    return getattr(module or import_module(library), name)


def amused(mask: int = 2, temperature: tuple[float, float] = (2.0, 0.0), schedule: str = "linear", module: Any = None) -> Sampler:
    """``AmusedScheduler``: MaskGIT's confidence with Gumbel noise of a falling temperature."""

    def diffusers_amused(logits: Any, state: Any, times: Any) -> Any:
        scheduler = _made("AmusedScheduler", module)(mask_token_id=mask, masking_schedule=schedule)
        scheduler.set_timesteps(len(times) - 1, temperature=temperature)
        for i, step in enumerate(scheduler.timesteps):
            state = scheduler.step(logits(state, float(times[i])), int(step), state).prev_sample
        return state

    return diffusers_amused


def block_refinement(mask: int = 2, temperature: float = 1.0, threshold: float = 0.95, module: Any = None) -> Sampler:
    """``BlockRefinementScheduler`` on one block of all tokens: the most confident of what was drawn is committed."""

    def diffusers_block_refinement(logits: Any, state: Any, times: Any) -> Any:
        make = _made("BlockRefinementScheduler", module)
        scheduler = make(block_length=int(state.shape[1]), num_inference_steps=len(times) - 1, threshold=threshold)
        scheduler.set_timesteps(len(times) - 1, block_length=int(state.shape[1]))
        for i in range(len(times) - 1):
            made = scheduler.step(logits(state, float(times[i])), i, state, mask_token_id=mask, temperature=temperature)
            state = made.prev_sample
        return state

    return diffusers_block_refinement


def discrete_ddim(temperature: float | None = 1.0, module: Any = None) -> Sampler:
    """``DiscreteDDIMScheduler``: D3PM's posterior of uniform noise, one of equal steps to the data; None leaves its temperature."""

    def diffusers_discrete_ddim(logits: Any, state: Any, times: Any) -> Any:
        s, t = map(float, times)
        steps = round(1.0 / (s - t))
        scheduler = _made("DiscreteDDIMScheduler", module)(num_inference_steps=steps)
        how = {} if temperature is None else {"temperature": temperature}
        return scheduler.step(logits, round(steps * (1.0 - s)), state, **how).prev_sample

    return diffusers_discrete_ddim


def entropy_bound(bound: float = 0.1, temperature: tuple[float, float] = (0.8, 0.4), module: Any = None) -> Sampler:
    """``EntropyBoundScheduler``: in every step all are drawn, the surest kept, the others made uniform noise."""

    def diffusers_entropy_bound(logits: Any, state: Any, times: Any) -> Any:
        n = len(times) - 1
        make = _made("EntropyBoundScheduler", module)
        scheduler = make(entropy_bound=bound, t_max=temperature[0], t_min=temperature[1], num_inference_steps=n)
        scheduler.set_timesteps(n)
        for i in range(n):
            state = scheduler.step(logits(state, float(times[i])), i, state).prev_sample
        return state

    return diffusers_entropy_bound


def vq_diffusion(size: int, trained: int | None = None, module: Any = None) -> Sampler:
    """``VQDiffusionScheduler``: D3PM's posterior of uniform noise under masks, of ``trained`` steps or as many as are made."""

    def diffusers_vq_diffusion(logits: Any, state: Any, times: Any) -> Any:
        import torch

        n = len(times) - 1
        scheduler = _made("VQDiffusionScheduler", module)(num_vec_classes=size + 1, num_train_timesteps=trained or n)
        scheduler.set_timesteps(n)
        for step in scheduler.timesteps:
            told = torch.log_softmax(logits(state, (float(step) + 1.0) / (trained or n)), -1).movedim(-1, 1).clamp(min=-70.0)
            state = scheduler.step(told, int(step), state).prev_sample
        return state

    return diffusers_vq_diffusion


def vq_matrices(size: int, steps: int) -> np.ndarray:
    """The matrices of ``VQDiffusionScheduler``, (T, S + 1, S + 1): to itself a, to each value b, to the mask c, which stays."""
    scheduler = _made("VQDiffusionScheduler", None)(num_vec_classes=size + 1, num_train_timesteps=steps)
    a, b, c = (np.exp(np.asarray(v, dtype=np.float64)) for v in (scheduler.log_at, scheduler.log_bt, scheduler.log_ct))
    q = np.zeros((steps, size + 1, size + 1))
    q[:, :size, :size] = a[:, None, None] * np.eye(size) + b[:, None, None]
    q[:, :size, size], q[:, size, size] = c[:, None], 1.0
    return np.asarray(q / q.sum(-1, keepdims=True))


class _Reached(Exception):
    """The state after the first step."""


def flow_euler(values: int, power: float = 1.0, free: float = 0.0, source: Any = None, module: Any = None) -> Sampler:
    """One step of ``MixtureDiscreteEulerSolver`` of flow_matching, κ = (1 − t)^power of our t; ``values`` of the alphabet, mask included.

    Its last step draws x0 whatever the end of its grid, so that a step before it is made as the first of two.

    Returns:
        sampler of one step, for ``check_discrete``.
    """

    def flow_matching_euler(logits: Any, state: Any, times: Any) -> Any:
        import torch

        paths: Any = import_module("flow_matching.path")
        wrappers: Any = import_module("flow_matching.utils")
        schedulers, p = import_module("flow_matching.path.scheduler"), torch.softmax(logits[:], -1)
        answers = [torch.cat([p, p.new_zeros((*p.shape[:-1], values - p.shape[-1]))], -1)]

        class Model(wrappers.ModelWrapper):
            def forward(self, x: Any, t: Any, **extras: Any) -> Any:
                if not answers:
                    raise _Reached(x)
                return answers.pop()

        path = paths.MixtureDiscreteProbPath(scheduler=schedulers.PolynomialConvexScheduler(n=power))
        make = _made("MixtureDiscreteEulerSolver", module, "flow_matching.solver")
        law = None if source is None else torch.tensor(source)
        solver = make(model=Model(None), path=path, vocabulary_size=values, source_distribution_p=law)
        grid = [1.0 - float(times[0]), 1.0 - float(times[1])]
        grid += [1.0] if grid[1] < 1.0 else []
        try:
            return solver.sample(x_init=state, step_size=None, time_grid=torch.tensor(grid, dtype=torch.float64), div_free=free)
        except _Reached as reached:
            return reached.args[0]

    return flow_matching_euler
