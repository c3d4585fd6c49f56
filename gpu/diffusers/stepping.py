"""A scheduler's run, one call of the network at a time: which timestep comes, where the run begins, and what the network's output makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from scorebed.gpu.diffusers.levels import Levels
from scorebed.gpu.diffusers.plans import entry, steps_begin
from scorebed.gpu.diffusers.run import Unrolled
from scorebed.solvers import Node, Solver
from scorebed.solvers.noise.by_sample import noise_from
from scorebed.solvers.plan import Plan


@dataclass
class ScorebedOutput(BaseOutput):
    """``prev_sample``: the network's next input, or the result; ``pred_original_sample``: E[x0 | x] of this evaluation."""

    prev_sample: Tensor
    pred_original_sample: Tensor


class Stepping:
    """``step`` and what belongs to it, over the Plan that ``set_timesteps`` unrolled."""

    levels: Levels
    method: Solver | None
    num_inference_steps: int | None
    _full: Plan
    _nodes: list[Node]
    _times: list[float]
    _terminal: Any
    _settings: Any
    _begin_index: int | None

    @property
    def begin_index(self) -> int | None:
        """Where in ``timesteps`` the run begins; set by image-to-image pipelines."""
        return self._begin_index

    @property
    def step_index(self) -> int | None:
        """How many evaluations have been taken, counted from the first timestep; None before the first."""
        return None if self._run is None else self._offset + self._run.taken

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Begin at this index of ``timesteps``; it may be anywhere."""
        self._begin_index = int(begin_index)
        self._reset()

    def _reset(self) -> None:
        self._run: Unrolled | None = None
        self._offset = self._began = 0

    def _close(self, a: float, b: float) -> bool:
        """Whether two timesteps of this run are one, to the rounding of the tensors that carry them."""
        return abs(a - b) <= 1e-6 + 1e-4 * (max(self._times) - min(self._times))

    def _begin(self, timestep: float) -> Unrolled:
        """The run from where the pipeline begins, which may be a later step of the grid, or inside one."""
        if self.num_inference_steps is None:
            raise ValueError("call set_timesteps before step")
        index = self._begin_index
        if index is None:
            found = [i for i, t in enumerate(self._times) if self._close(t, timestep)]
            if not found:
                raise ValueError(f"timestep = {timestep} is none of this run's; the first is {self._times[0]}")
            index = next((i for i in found if i in steps_begin(self._full)), found[0])
        if not 0 <= index < len(self._times):
            raise ValueError(f"begin_index = {index} is none of the {len(self._times)} timesteps")
        plan, begin = entry(self._full, self._nodes, self.method, self._terminal, index)
        self._offset = index - begin
        return Unrolled(plan, begin)

    def _current(self, timestep: Any, sample: Tensor) -> Unrolled:
        """The run that this call belongs to: the one under way, or a new one where its first timestep comes again.

        Returns:
            the Unrolled run of this call.

        Raises:
            ValueError: timesteps that differ by sample, that are not the next one's, or a state of another shape.
        """
        told = _one(timestep)
        run = self._run
        if run is not None and not run.done and self._close(told, self._times[self._offset + run.taken]):
            if run.shape not in (None, sample.shape):
                raise ValueError(f"sample has shape {tuple(sample.shape)}, the run under way {tuple(run.shape or ())}: call set_timesteps")
            return run
        if run is not None and run.done:
            raise ValueError(f"all {len(self._times)} timesteps are taken: call set_timesteps for another run")
        if run is not None and not self._close(told, self._times[self._began]):
            raise ValueError(
                f"timestep = {told} is not the next one, which is {self._times[self._offset + run.taken]}: hand over every timestep of "
                "the run, or set those that you want, set_timesteps(timesteps=…)"
            )
        self._run = made = self._begin(told)
        self._began = self._offset + made.taken
        return made

    def step(
        self,
        model_output: Tensor,
        timestep: Any,
        sample: Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        return_dict: bool = True,
        eta: float = 0.0,
        use_clipped_model_output: bool | None = None,
    ) -> ScorebedOutput | tuple[Tensor, Tensor]:
        """The network's output at ``sample`` in, its next input out; after the last timestep, the result.

        ``sample`` counts: what a pipeline did to it (an inpainting mask, a callback) is what the solver goes on from. Registers are
        float32 at least; what goes out has the dtype of ``sample``. ``eta`` and ``use_clipped_model_output`` are what some pipelines hand
        to every scheduler: the noise of a method is its own option here, and eps always follows the bounded mean.

        Returns:
            ScorebedOutput, or (next input, denoised mean) without ``return_dict``; both have the dtype of ``sample``.

        Raises:
            ValueError: before ``set_timesteps``, a timestep that is not the next one, shapes that differ, or an ``eta`` other than 0.
        """
        if eta:
            raise ValueError(f"eta = {eta!r}: take a stochastic solver instead, e.g. solver='ddim_eta', solver_options={{'eta': {eta!r}}}")
        if model_output.ndim > 1 and model_output.shape[1] == 2 * sample.shape[1]:
            model_output = model_output.chunk(2, dim=1)[0]  # the other half is a learned variance
        if model_output.shape != sample.shape:
            raise ValueError(f"model_output has shape {tuple(model_output.shape)}, sample {tuple(sample.shape)}: they must be equal")
        run = self._current(timestep, sample)

        def normals(s: Node, t: Node, like: Tensor) -> Tensor:
            if self._settings.seed is not None:
                return keyed(self._settings.seed, like)(s, t)
            return randn_tensor(like.shape, generator=generator, device=like.device, dtype=like.dtype)

        x = run.input(sample, normals)
        a, b = self.levels.linear(run.node)
        denoised = self._bounded(a * x + b * model_output.to(x.dtype))
        out = run.answer(denoised, normals, sample.dtype)
        return ScorebedOutput(out, denoised.to(sample.dtype)) if return_dict else (out, denoised.to(sample.dtype))

    def _bounded(self, denoised: Tensor) -> Tensor:
        if self._settings.thresholding:  # arXiv:2205.11487, section 2.3
            flat = denoised.abs().flatten(1).float()
            bound = torch.quantile(flat, self._settings.dynamic_thresholding_ratio, dim=1).clamp(1.0, self._settings.sample_max_value)
            bound = bound.to(denoised.dtype).reshape(-1, *([1] * (denoised.ndim - 1)))
            return denoised.clamp(-bound, bound) / bound
        if self._settings.clip_sample:
            return denoised.clamp(-self._settings.clip_sample_range, self._settings.clip_sample_range)
        return denoised


def _one(timestep: Any) -> float:
    """The timestep as a number; a vector where all samples have the same.

    Returns:
        the timestep as one float.

    Raises:
        ValueError: a vector of different ones.
    """
    if isinstance(timestep, Tensor) and timestep.ndim:
        if timestep.numel() == 0 or bool((timestep != timestep.reshape(-1)[0]).any()):
            raise ValueError(
                f"timestep = {timestep.tolist()} differs by sample: a run has one noise level at a time (gpu.run takes a grid each)"
            )
        timestep = timestep.reshape(-1)[0]
    return float(timestep)


def keyed(seed: Any, like: Tensor) -> Any:
    """The noise of a seed, or of one for each sample.

    Returns:
        the Noise, a function (s, t) -> normals of the shape of ``like``.

    Raises:
        TypeError: what is no integer, nor a list of integers.
        ValueError: a seed out of range, or another number of seeds than samples.
    """
    if callable(seed):
        raise TypeError(f"seed = {seed!r} is no integer: give one, or one for each sample")
    return noise_from(seed, like)
