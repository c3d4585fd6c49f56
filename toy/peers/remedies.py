"""Mended copies of peers' classes that take more than a few words: subclasses made at run time."""

from __future__ import annotations

import math
import sys
from typing import Any

from scorebed.solvers.weights.multistep import adams_weights


def one_path(base: Any) -> Any:
    """DPM-Solver++ (SDE, single step of order 2) with the noise of the stage kept as part of the noise of the step.

    In the clock e^{2λ} the noise of a step is a Brownian increment; the stage's is its first part, so the two have the correlation
    a, a² = (e^{2 h_0} − 1)/(e^{2 h} − 1), h_0 = λ_stage − λ_s, h = λ_t − λ_s.

    Returns:
        a subclass of ``base`` whose stage and step share one noise path.
    """

    class OnePath(base):
        def dpm_solver_first_order_update(self, model_output: Any, *args: Any, sample: Any = None, noise: Any = None, **kwargs: Any) -> Any:
            self.stage_noise = noise
            return super().dpm_solver_first_order_update(model_output, *args, sample=sample, noise=noise, **kwargs)

        def singlestep_dpm_solver_second_order_update(
            self, model_output_list: Any, *args: Any, sample: Any = None, noise: Any = None, **kwargs: Any
        ) -> Any:
            lam = [-math.log(float(self.sigmas[self.step_index + k])) for k in (-1, 0, 1)]
            share = math.expm1(2 * (lam[1] - lam[0])) / math.expm1(2 * (lam[2] - lam[0]))
            joint = math.sqrt(share) * self.stage_noise + math.sqrt(1.0 - share) * noise
            return super().singlestep_dpm_solver_second_order_update(model_output_list, *args, sample=sample, noise=joint, **kwargs)

    OnePath.__module__ = base.__module__
    return OnePath


def skips_empty_steps(base: Any) -> Any:
    """A scheduler that returns the state where a step has no length."""

    class Skips(base):
        def step(self, model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
            if self.step_index is not None and self.sigmas[self.step_index] == self.sigmas[self.step_index + 1]:
                self._step_index += 1
                return (sample,)
            return super().step(model_output, timestep, sample, *args, **kwargs)

    Skips.__module__ = base.__module__
    return Skips


def adams_in_rho(base: Any) -> Any:
    """PNDM with the Adams-Bashforth weights of the steps in rho = sigma/alpha, in which the DDIM transfer is a straight line."""

    class InRho(base):
        def step_plms(self, model_output: Any, timestep: Any, sample: Any, return_dict: bool = True) -> Any:
            stride = self.config.num_train_timesteps // self.num_inference_steps
            t = int(timestep)
            kept: list[Any] = getattr(self, "ets", [])[-3:] if self.counter else []
            self.ets = [*kept, model_output]

            def rho(k: int) -> float:
                a = float(self.alphas_cumprod[k] if k >= 0 else self.final_alpha_cumprod)
                return math.sqrt((1.0 - a) / a)

            nodes = [rho(t + i * stride) for i in range(len(self.ets))]
            weights = adams_weights(nodes, rho(t - stride))
            eps = sum(w * e for w, e in zip(weights, reversed(self.ets), strict=True))
            self.counter += 1
            return (self._get_prev_sample(sample, t, t - stride, eps),)

    InRho.__module__ = base.__module__
    return InRho


def clean_first_step(base: Any) -> Any:
    """iPNDM whose first step takes D = α x − σ v from the network's v instead of (x − σ ε)/α at α = 0."""

    class Clean(base):
        def step(self, model_output: Any, timestep: Any, sample: Any, return_dict: bool = True) -> Any:
            first = self.step_index is None
            out = super().step(model_output, timestep, sample, return_dict=False)
            if not first:
                return out
            alpha, sigma, eps = self.alphas[0], self.betas[0], self.ets[-1]
            return (self.alphas[1] * (alpha * sample - sigma * model_output) + self.betas[1] * eps,)

    Clean.__module__ = base.__module__
    return Clean


def churns_on_the_flow(base: Any) -> Any:
    """Heun on the rectified flow whose churn stays on it.

    From (1 − σ) x0 + σ ε to σ̂ = σ (1 + γ) the state is scaled by r = (1 − σ̂)/(1 − σ) before noise of variance σ̂² − r² σ² is added; the
    denoised state, not the velocity, is kept from before the noise.

    Returns:
        a subclass of ``base`` whose churn stays on the flow.
    """
    from diffusers.utils.torch_utils import randn_tensor

    class OnTheFlow(base):
        def step(self, model_output: Any, timestep: Any, sample: Any, s_churn: float = 0.0, **kwargs: Any) -> Any:
            if self.step_index is None:
                self._init_step_index(timestep)
            i = self.step_index
            if self.state_in_first_order:
                sigma, after = self.sigmas[i], self.sigmas[i + 1]
                hat = sigma * (1.0 + min(s_churn / (len(self.sigmas) - 1), 2**0.5 - 1.0))
                r = (1.0 - hat) / (1.0 - sigma)
                draw = getattr(sys.modules[base.__module__], "randn_tensor", randn_tensor)
                z = draw(sample.shape, dtype=sample.dtype)
                self.sample = r * sample + (hat**2 - (r * sigma) ** 2).clamp(min=0.0) ** 0.5 * z
                self.prev_derivative, self.dt = (self.sample - (sample - sigma * model_output)) / hat, after - hat
                out = self.sample + self.dt * self.prev_derivative
            else:
                out = self.sample + self.dt * 0.5 * (self.prev_derivative + model_output)
                self.dt = None
            self._step_index += 1
            return (out,)

    OnTheFlow.__module__ = base.__module__
    return OnTheFlow


def honest_timesteps(base: Any) -> Any:
    """Euler with ``interpolation_type="log_linear"`` that hands the network the timesteps of its own sigmas."""
    import numpy as np
    import torch

    class Honest(base):
        def set_timesteps(self, num_inference_steps: int, *args: Any, **kwargs: Any) -> None:
            super().set_timesteps(num_inference_steps, *args, **kwargs)
            table = np.log(np.array(((1 - self.alphas_cumprod) / self.alphas_cumprod) ** 0.5))
            self.timesteps = torch.tensor([float(self._sigma_to_t(np.array(float(s)), table)) for s in self.sigmas[:-1]])

    Honest.__module__ = base.__module__
    return Honest


def spends_every_evaluation(base: Any) -> Any:
    """A scheduler of n evaluations that makes n steps: one node more, and no empty step at the end."""

    class Spends(base):
        def set_timesteps(self, num_inference_steps: int, *args: Any, **kwargs: Any) -> None:
            super().set_timesteps(num_inference_steps + 1, *args, **kwargs)
            for name in ("timesteps", "sigmas"):
                setattr(self, name, getattr(self, name)[:-1])

    Spends.__module__ = base.__module__
    return Spends
