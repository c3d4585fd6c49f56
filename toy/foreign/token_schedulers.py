"""The schedulers of diffusers for tokens as samplers that ``check_discrete`` takes (``library="torch"``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Sampler = Callable[[Any, Any, Any], Any]


def amused(mask: int = 2, temperature: tuple[float, float] = (2.0, 0.0), schedule: str = "linear") -> Sampler:
    """``AmusedScheduler``: MaskGIT's confidence with Gumbel noise of a falling temperature."""

    def diffusers_amused(logits: Any, state: Any, times: Any) -> Any:
        import diffusers

        make: Any = diffusers.AmusedScheduler
        scheduler = make(mask_token_id=mask, masking_schedule=schedule)
        scheduler.set_timesteps(len(times) - 1, temperature=temperature)
        for i, step in enumerate(scheduler.timesteps):
            state = scheduler.step(logits(state, float(times[i])), int(step), state).prev_sample
        return state

    return diffusers_amused


def block_refinement(mask: int = 2, temperature: float = 1.0, threshold: float = 0.95) -> Sampler:
    """``BlockRefinementScheduler`` on one block of all tokens: the most confident of what was drawn is committed."""

    def diffusers_block_refinement(logits: Any, state: Any, times: Any) -> Any:
        import diffusers

        make: Any = diffusers.BlockRefinementScheduler
        scheduler = make(block_length=int(state.shape[1]), num_inference_steps=len(times) - 1, threshold=threshold)
        scheduler.set_timesteps(len(times) - 1, block_length=int(state.shape[1]))
        for i in range(len(times) - 1):
            made = scheduler.step(logits(state, float(times[i])), i, state, mask_token_id=mask, temperature=temperature)
            state = made.prev_sample
        return state

    return diffusers_block_refinement


def discrete_ddim(temperature: float = 1.0) -> Sampler:
    """``DiscreteDDIMScheduler``: D3PM's posterior of uniform noise, one step of equal ones that end at the data."""

    def diffusers_discrete_ddim(logits: Any, state: Any, times: Any) -> Any:
        import diffusers

        make: Any = diffusers.DiscreteDDIMScheduler
        s, t = map(float, times)
        steps = round(1.0 / (s - t))
        scheduler = make(num_inference_steps=steps)
        return scheduler.step(logits, round(steps * (1.0 - s)), state, temperature=temperature).prev_sample

    return diffusers_discrete_ddim
