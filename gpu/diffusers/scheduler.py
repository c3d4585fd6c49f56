r"""Our solvers as a scheduler of diffusers, for unmodified pipelines:

    pipe.scheduler = ScorebedScheduler.from_config(pipe.scheduler.config, solver="dpmpp_2m")

A pipeline's loop is "network output in, next network input out". A Plan is unrolled to exactly that: each ``step`` takes the evaluation
that the Plan waits for, runs its sums and draws up to the next evaluation, and gives back that one's input; the last one gives the result.
So methods of several evaluations have more timesteps than steps, and multistep methods keep their memory in registers.

States have alpha² + sigma² = 1 (or alpha + sigma = 1 for flows) whatever the method, so ``init_noise_sigma`` is 1 and
``scale_model_input`` does nothing. N inference steps are N noise levels and the step to sigma = 0, which is the last evaluation itself:
N − 1 steps of the solver, then x0 = D. Timesteps are real-valued; networks that look them up take ``round_timesteps=True``, at the cost
``mismatch()`` tells.

Runge-Kutta methods step in the variable that diffusers calls sigma: sigma/alpha on a table of betas, t on a flow (``heun`` there is
``heun_t``), since flows start at pure noise, where sigma/alpha is infinite. Of the other methods the first step from there is DDIM's, and
the method begins after it: on 20 steps of a flow that takes lms_3 from an error of 8 to 8e-4. One that would still take differences of
huge numbers is refused.

Where diffusers' own schedulers do something else on the same noise levels: DDIM with spacing ``linspace`` or ``trailing`` steps to
t − N//n, not to the next timestep; DDIM with ``clip_sample`` clips D but not the eps it steps with (here eps follows D); Heun and Euler
interpolate sigma, not log sigma, between timesteps; solvers of order above 1 start with a first-order step, which caps order 3 at 2
(``start``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers, SchedulerMixin
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from scorebed.gpu.diffusers.grid import nodes_of, schedule_of
from scorebed.gpu.diffusers.run import Unrolled, after_a_leap, evaluates_first
from scorebed.gpu.network.wrap import linear, prediction_of
from scorebed.gpu.network.wrap_table import TableSchedule, mismatch
from scorebed.solvers import SOLVERS, BrownianNoise, Node, Solver, trace
from scorebed.solvers.plan import Evaluate, Plan

STARTS = ("auto", "own", "ddim")
NOISE = 1e3
"""From above this sigma/alpha, pure noise to three digits, the first step is DDIM's (``after_a_leap``)."""
GAIN = 1e3
"""The largest sum of |coefficients| in a network input or the result of a Plan that is taken. States are of order 1, so a larger one means
differences of large numbers."""


@dataclass
class ScorebedOutput(BaseOutput):
    """``prev_sample``: the network's next input, or the result; ``pred_original_sample``: E[x0 | x] of this evaluation
    (the solver remembers it: do not write into it)."""

    prev_sample: Tensor
    pred_original_sample: Tensor


class ScorebedScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """Any solver with a Plan, on any diffusion or flow config of diffusers.

    Args:
        solver, solver_options: a name in ``solvers.SOLVERS``, and its options.
        start: how a multistep method fills its memory: ``own`` (its one-step method of full order, a few more evaluations), ``ddim`` (one
            evaluation per step, as diffusers does), ``auto`` (ddim up to order 2, where it costs no order; own above).
        prediction_type: ``epsilon``, ``v_prediction``, ``sample`` or ``flow_prediction``; a config with ``shift``
            and no betas, as FlowMatch… has it, means the last.
        final_sigmas_type: ``zero`` (the last evaluation is the result) or ``sigma_min`` (the run ends at the table's last noise level).
        round_timesteps: hand over the nearest integer timesteps.
        seed: noise of stochastic methods keyed by (seed, sample, interval) instead of drawn from the pipeline's generator.
        clip_sample, thresholding and what belongs to them: bounds on the denoised mean, as in diffusers.
        All others as in diffusers' schedulers.

    Raises:
        ValueError: unknown solver, option or prediction, a solver without a Plan, or a config that cannot be honoured.
    """

    _compatibles = [e.name for e in KarrasDiffusionSchedulers] + ["FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"]
    ignore_for_config: list[str] = []  # noqa: RUF012 (diffusers' own attribute)
    order = 1

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: Sequence[float] | None = None,
        prediction_type: str = "epsilon",
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
        rescale_betas_zero_snr: bool = False,
        use_karras_sigmas: bool = False,
        use_exponential_sigmas: bool = False,
        use_beta_sigmas: bool = False,
        use_lu_lambdas: bool = False,
        final_sigmas_type: str = "zero",
        clip_sample: bool = False,
        clip_sample_range: float = 1.0,
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        shift: float = 1.0,
        use_dynamic_shifting: bool = False,
        time_shift_type: str = "exponential",
        shift_terminal: float | None = None,
        base_shift: float | None = 0.5,
        max_shift: float | None = 1.15,
        base_image_seq_len: int = 256,
        max_image_seq_len: int = 4096,
        invert_sigmas: bool = False,
        stochastic_sampling: bool = False,
        solver: str = "dpmpp_2m",
        solver_options: Mapping[str, Any] | None = None,
        start: str = "auto",
        round_timesteps: bool = False,
        seed: int | None = None,
    ) -> None:
        for name, value in (("use_beta_sigmas", use_beta_sigmas), ("invert_sigmas", invert_sigmas)):
            if value:
                raise ValueError(f"{name} = True is not supported: choose another spacing, from_config(…, {name}=False)")
        if stochastic_sampling:
            raise ValueError("stochastic_sampling = True is not supported: choose a stochastic solver, e.g. solver='sde_dpmpp_1'")
        if final_sigmas_type not in ("zero", "sigma_min"):
            raise ValueError(f"final_sigmas_type = {final_sigmas_type!r}: give 'zero' or 'sigma_min'")
        self.prediction = prediction_of(prediction_type)
        twin = f"{solver}_t" if self.prediction == "flow" and f"{solver}_t" in SOLVERS else solver
        self.method = _method(twin, dict(solver_options or {}), start)
        self.schedule = schedule_of(self.config)
        self.init_noise_sigma = 1.0
        self.num_inference_steps: int | None = None
        self.grid: list[Node] = []
        if isinstance(self.schedule, TableSchedule):
            self.alphas_cumprod = torch.tensor(self.schedule.alphas_cumprod, dtype=torch.float32)
        self.timesteps = torch.arange(num_train_timesteps - 1, -1, -1, dtype=torch.float32)
        self.sigmas = torch.empty(0)
        self._begin_index: int | None = None
        self._reset()

    @classmethod
    def from_config(cls, config: Any = None, return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """From the config of any scheduler; keyword arguments win over it."""
        if isinstance(config, Mapping):
            held = dict(config)
            if "sigma_data" in held:
                raise ValueError("the config wants EDM preconditioning (sigma_data): use gpu.edm_denoiser on the network instead")
            if ("shift" in held and "beta_start" not in held) or held.get("use_flow_sigmas"):  # FlowMatch…, or a solver set to flows
                kwargs.setdefault("prediction_type", "flow_prediction")
                kwargs.setdefault("shift", held.get("flow_shift", held.get("shift", 1.0)))
            known = set(cls._get_init_keys(cls))
            config = {k: v for k, v in held.items() if k in known or k.startswith("_")}
            config.pop("_use_default_values", None)
            if "solver" in kwargs and kwargs["solver"] != held.get("solver"):
                config.pop("solver_options", None)  # they belong to the other solver
        return super().from_config(config, return_unused_kwargs=return_unused_kwargs, **kwargs)

    @property
    def _settings(self) -> Any:
        return self.config

    def __len__(self) -> int:
        return int(self._settings.num_train_timesteps)

    @property
    def begin_index(self) -> int | None:
        """Where in ``timesteps`` the run begins; set by image-to-image pipelines."""
        return self._begin_index

    @property
    def step_index(self) -> int | None:
        """How many evaluations have been taken, counted from the first timestep; None before the first."""
        return None if self._run is None else self._offset + self._run.taken

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Begin at this index of ``timesteps``, which must be where a step begins."""
        self._begin_index = int(begin_index)
        self._reset()

    def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
        """The sample itself: states are the network's own."""
        return sample

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
    ) -> None:
        """Unroll the solver on N noise levels: the config's own, or those at ``timesteps`` or ``sigmas`` (as diffusers names them).

        Raises:
            ValueError: as ``nodes_of``, or coefficients that are not finite.
        """
        self.grid = nodes_of(self._settings, self.schedule, num_inference_steps, _listed(timesteps), _listed(sigmas), mu)
        self.num_inference_steps = len(self.grid)
        levels = [self._level(node) for node in self.grid]
        nodes = list(self.grid)
        if self._settings.final_sigmas_type == "sigma_min":
            end = self.schedule.node(0.0 if isinstance(self.schedule, TableSchedule) else 1.0 / self._settings.num_train_timesteps)
            if end.lam > nodes[-1].lam:
                nodes.append(end)
            elif len(nodes) < 2:
                raise ValueError("final_sigmas_type = 'sigma_min' and one noise level leave no step: give more, or 'zero'")
        self._full, self._nodes = self._unroll(nodes, self.method), nodes
        self.sigmas = torch.tensor([*levels, 0.0 if self._terminal == "denoise" else self._level(nodes[-1])])
        self._times = [self._told(node) for node in self._full.nodes]
        dtype = torch.int64 if self._settings.round_timesteps else torch.float32
        self.timesteps = torch.tensor(self._times, dtype=dtype, device=device)
        self.order = max(1, round((self._full.nfe - 1) / max(1, len(nodes) - 1)))
        self._begin_index = None
        self._reset()

    @property
    def _terminal(self) -> str:
        return "denoise" if self._settings.final_sigmas_type == "zero" else "none"

    def _unroll(self, nodes: list[Node], method: Solver) -> Plan:
        if len(nodes) == 1:
            return Plan(method.name, tuple(nodes), (Evaluate(nodes[0], 0),), (0,), 1, ())
        if nodes[0].rho > NOISE and not method.name.endswith("_t") and (len(nodes) > 2 or self._terminal == "denoise"):
            return after_a_leap(nodes[0], self._unroll(nodes[1:], method))
        plan = trace(method, nodes, self._terminal)
        if not evaluates_first(plan):
            raise ValueError(
                f"{method.name} moves the state before its first evaluation, but a pipeline evaluates first: run solvers.sample"
            )
        if (gain := max(float(abs(plan.output).sum()), float(abs(plan.inputs).sum(axis=1).max()))) > GAIN:
            raise ValueError(
                f"{method.name} takes differences of terms {gain:.0e} times the state on this grid, which starts at sigma/alpha = "
                f"{nodes[0].rho:.3g}: take a method in the denoised form (ddim, dpmpp_2m, unipc_2), or start at less noise"
            )
        return plan

    def _level(self, node: Node) -> float:
        return node.rho if isinstance(self.schedule, TableSchedule) else node.sigma

    def _told(self, node: Node) -> float:
        if isinstance(self.schedule, TableSchedule):
            return self.schedule.time(node)
        return self._settings.num_train_timesteps * node.t

    def mismatch(self) -> float:
        """The largest error in lam = log(alpha/sigma) that rounding this run's timesteps makes; 0 where they are real-valued."""
        return mismatch(self.schedule, self._full.nodes) if isinstance(self.schedule, TableSchedule) else 0.0

    def _reset(self) -> None:
        self._run: Unrolled | None = None
        self._offset = 0

    def _begin(self, timestep: Any) -> Plan:
        """The Plan from where the pipeline begins, which may be a later step of the grid."""
        if self.num_inference_steps is None:
            raise ValueError("call set_timesteps before step")
        index = self._begin_index
        if index is None:
            told = float(timestep)
            near = [abs(t - told) for t in self._times]
            index = min(range(len(near)), key=near.__getitem__)
            if near[index] > 1e-3:
                raise ValueError(f"timestep = {told} is none of this run's; the first is {self._times[0]}")
        self._offset, rest = index, len(self._times) - index
        if index == 0:
            return self._full
        here = self._full.nodes[index]
        for j, node in enumerate(self._nodes):
            for method in (self.method, replace(self.method, start=SOLVERS["ddim"]) if self.method.start else self.method):
                if node == here and (j + 1 < len(self._nodes) or self._terminal == "denoise"):
                    plan = self._unroll(self._nodes[j:], method)
                    if plan.nfe == rest:
                        return plan
        raise ValueError(
            f"{self.method.name} cannot begin at timestep {index} of {len(self._times)}: that is inside a step, or its memory would be "
            "missing; change the strength, or use start='ddim' or a one-step solver"
        )

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

        Raises:
            ValueError: before ``set_timesteps``, after the last timestep, where the shapes differ, or an ``eta`` other than 0.
        """
        if eta:
            raise ValueError(f"eta = {eta!r}: take a stochastic solver instead, e.g. solver='ddim_eta', solver_options={{'eta': {eta!r}}}")
        if self._run is None:
            self._run = Unrolled(self._begin(timestep))
        run = self._run
        if run.done:
            raise ValueError(f"all {len(self._times)} timesteps are taken: call set_timesteps for another run")
        if model_output.ndim > 1 and model_output.shape[1] == 2 * sample.shape[1]:
            model_output = model_output.chunk(2, dim=1)[0]  # the other half is a learned variance
        if model_output.shape != sample.shape:
            raise ValueError(f"model_output has shape {tuple(model_output.shape)}, sample {tuple(sample.shape)}: they must be equal")

        def normals(s: Node, t: Node, like: Tensor) -> Tensor:
            if self._settings.seed is not None:
                return BrownianNoise(self._settings.seed, tuple(like.shape), like=like)(s, t)
            return randn_tensor(like.shape, generator=generator, device=like.device, dtype=like.dtype)

        x = run.input(sample, normals)
        a, b = linear(self.prediction, run.node)
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

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """alpha x0 + sigma noise at each sample's timestep (real-valued)."""
        alpha, sigma = self._levels(timesteps, original_samples)
        return alpha * original_samples + sigma * noise

    def scale_noise(self, sample: Tensor, timestep: Tensor, noise: Tensor) -> Tensor:
        """``add_noise`` by the name that flow pipelines use."""
        return self.add_noise(sample, noise, timestep)

    def get_velocity(self, sample: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """v = alpha noise − sigma x0."""
        alpha, sigma = self._levels(timesteps, sample)
        return alpha * noise - sigma * sample

    def _levels(self, timesteps: Any, like: Tensor) -> tuple[Tensor, Tensor]:
        times = timesteps.reshape(-1).tolist() if isinstance(timesteps, Tensor) else [float(timesteps)]
        unit = 1.0 if isinstance(self.schedule, TableSchedule) else 1.0 / self._settings.num_train_timesteps
        nodes = [self.schedule.node(t * unit) for t in times]
        shape = (-1, *([1] * (like.ndim - 1)))
        return like.new_tensor([n.alpha for n in nodes]).reshape(shape), like.new_tensor([n.sigma for n in nodes]).reshape(shape)


def _listed(values: Any) -> list[float] | None:
    return None if values is None else [float(v) for v in values]


def _method(name: str, options: dict[str, Any], start: str) -> Solver:
    if name not in SOLVERS:
        raise ValueError(f"solver = {name!r} is not known: give one of {', '.join(SOLVERS)}")
    if start not in STARTS:
        raise ValueError(f"start = {start!r}: give one of {', '.join(STARTS)}")
    method = SOLVERS[name](**options)
    if method.nonlinear is not None:
        raise ValueError(f"solver = {name!r} has no Plan ({method.nonlinear}), so it cannot be a scheduler: run solvers.sample instead")
    if method.start is not None and (start == "ddim" or (start == "auto" and method.order <= 2)):
        return replace(method, start=SOLVERS["ddim"])
    return method
