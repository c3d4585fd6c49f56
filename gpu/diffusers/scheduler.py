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

What a pipeline does to the state between two calls counts, and it may begin anywhere (``run.Unrolled``). ``inverse=True`` runs from data to
noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers, SchedulerMixin
from torch import Tensor

from scorebed.gpu.diffusers.configs import adopted
from scorebed.gpu.diffusers.grid import nodes_of, with_a_first_step
from scorebed.gpu.diffusers.levels import Levels, betas
from scorebed.gpu.diffusers.noising import Noising
from scorebed.gpu.diffusers.plans import loaded, method_of, unroll
from scorebed.gpu.diffusers.stepping import ScorebedOutput as ScorebedOutput
from scorebed.gpu.diffusers.stepping import Stepping, keyed
from scorebed.gpu.network.wrap_table import TableSchedule, mismatch
from scorebed.solvers import SOLVERS, Node
from scorebed.solvers.plan import Plan


class ScorebedScheduler(Stepping, Noising, SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """Any solver with a Plan, on any diffusion, flow or EDM config of diffusers.

    Args:
        solver, solver_options: a name in ``solvers.SOLVERS``, and its options.
        plan: the file of a Plan, as ``scorebed tune`` and ``scorebed advise --out`` write it, which then is the method, its noise levels
            and their number; it ends where it was made to end.
        start: how a multistep method fills its memory: ``own`` (its one-step method of full order, a few more evaluations), ``ddim`` (one
            evaluation per step, as diffusers does), ``auto`` (ddim up to order 2, where it costs no order; own above).
        prediction_type: ``epsilon``, ``v_prediction``, ``sample`` or ``flow_prediction``; a config with ``shift``
            and no betas, as FlowMatch… has it, means the last.
        final_sigmas_type: ``zero`` (the last evaluation is the result) or ``sigma_min`` (the run ends at the table's last noise level).
        inverse: from data to noise, at the same noise levels.
        timestep_type: ``discrete``; ``continuous``: told ln(sigma/alpha)/4; ``edm``: that, with EDM preconditioning of ``sigma_data``,
            spaced by ``sigma_schedule`` and ``rho``.
        noise_label: ``log``, or ``atan`` for 2 atan(sigma/alpha)/pi instead.
        table_levels: N timesteps of a table (``all``), or the first N of N + 1 spaced alike, as DPM-Solver, DEIS, UniPC and SA-Solver
            have them (``dpm``).
        flow_levels: even levels of a flow as FlowMatchEuler (``match``), UniPC (``unipc``) or the others with ``use_flow_sigmas`` (``dpm``)
            have them.
        round_timesteps: hand over the nearest integer timesteps.
        seed: noise of stochastic methods keyed by (seed, sample, interval) instead of drawn from the pipeline's generator; a list is one
            seed for each sample.
        clip_sample, thresholding and what belongs to them: bounds on the denoised mean, as in diffusers.
        All others as in diffusers' schedulers.

    Raises:
        TypeError: a seed that is no integer.
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
        snr_shift_scale: float = 1.0,
        lambda_min_clipped: float = -float("inf"),
        timestep_type: str = "discrete",
        noise_label: str = "log",
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        sigma_data: float | None = None,
        sigma_schedule: str = "karras",
        rho: float = 7.0,
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
        table_levels: str = "all",
        flow_levels: str = "match",
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
        plan: str | None = None,
        start: str = "auto",
        inverse: bool = False,
        round_timesteps: bool = False,
        seed: int | Sequence[int] | None = None,
    ) -> None:
        if stochastic_sampling:
            raise ValueError("stochastic_sampling = True is not supported: choose a stochastic solver, e.g. solver='sde_dpmpp_1'")
        if final_sigmas_type not in ("zero", "sigma_min"):
            raise ValueError(f"final_sigmas_type = {final_sigmas_type!r}: give 'zero' or 'sigma_min'")
        if seed is not None:
            keyed(seed, torch.zeros(len(seed) if isinstance(seed, Sequence) else 1, 1))
        defaults = sorted(set(self.config.get("_use_default_values", [])) - {"solver"})
        self.register_to_config(_use_default_values=defaults)  # the solver stays in the config: it tells that it is ours
        self.levels = Levels(self.config)
        self.schedule, self.prediction = self.levels.schedule, self.levels.prediction
        twin = f"{solver}_t" if self.levels.kind == "flow" and f"{solver}_t" in SOLVERS else solver
        if plan is not None and (inverse or solver_options):
            raise ValueError("plan= is a whole run from noise to data: give it without inverse and solver_options")
        self.method = None if plan is not None else method_of(twin, dict(solver_options or {}), start)
        self._plan = None if plan is None else loaded(str(plan), self.levels)
        self.init_noise_sigma = 1.0
        self.num_inference_steps: int | None = None
        self.grid: list[Node] = []
        self.betas = torch.tensor(betas(self.config), dtype=torch.float32)
        self.alphas = 1.0 - self.betas
        self.alphas_cumprod, self.timesteps, self.sigmas = self.trained(self.levels)
        self._begin_index: int | None = None
        self._reset()

    @classmethod
    def from_config(cls, config: Any = None, return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """From the config of any scheduler; keyword arguments win over it.

        Returns:
            the scheduler, or with ``return_unused_kwargs`` a tuple of it and the unused arguments.

        Raises:
            ValueError: a class or a key that cannot be honoured.
        """
        if isinstance(config, Mapping):
            config = adopted(config, set(cls._get_init_keys(cls)), cls.__name__, kwargs)
        return super().from_config(config, return_unused_kwargs=return_unused_kwargs, **kwargs)

    @property
    def _settings(self) -> Any:
        return self.config

    def __len__(self) -> int:
        return int(self._settings.num_train_timesteps)

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
            TypeError, ValueError: as ``nodes_of``, or coefficients that are not finite.
        """
        if self._plan is not None:
            self._own_levels(self._plan, num_inference_steps, device, {"timesteps": timesteps, "sigmas": sigmas})
            return
        assert self.method is not None
        self.grid = nodes_of(self._settings, self.levels, num_inference_steps, timesteps, sigmas, mu)
        self.num_inference_steps = len(self.grid)
        if self._settings.inverse and timesteps is None and sigmas is None:
            self.grid = with_a_first_step(self.grid, self.levels)
        nodes = self._nodes = self._ends(list(self.grid))
        self._full = unroll(nodes, self.method, self._terminal)
        levels = [self.levels.level(node) for node in (nodes if self._settings.inverse else self.grid)]
        self._told([*levels, *([] if self._settings.inverse else [self._last()])], device)

    def _own_levels(self, plan: Plan, number: int | None, device: Any, others: Mapping[str, Any]) -> None:
        """The timesteps of a Plan, which nobody else chooses."""
        if given := [name for name, value in others.items() if value is not None]:
            raise ValueError(f"{' and '.join(given)} given with a plan, which has its own levels: give num_inference_steps={plan.nfe}")
        if number not in (None, plan.nfe):
            raise ValueError(f"num_inference_steps = {number}: the plan has {plan.nfe} evaluations, give num_inference_steps={plan.nfe}")
        self._full, self.num_inference_steps = plan, plan.nfe
        self.grid = self._nodes = list(plan.grid)
        self._told([self.levels.level(node) for node in plan.grid], device)

    def _told(self, levels: list[float], device: Any) -> None:
        """What a pipeline reads of the run that is unrolled."""
        self.sigmas = torch.tensor(levels)
        self._times = [self.levels.told(node) for node in self._full.nodes]
        dtype = torch.int64 if self._settings.round_timesteps else torch.float32
        self.timesteps = torch.tensor(self._times, dtype=dtype, device=device)
        self.order = max(1, round((self._full.nfe - 1) / max(1, len(self._nodes) - 1)))
        self._begin_index = None
        self._reset()

    @property
    def _terminal(self) -> str:
        return "denoise" if self._settings.final_sigmas_type == "zero" and not self._settings.inverse else "none"

    def _last(self) -> float:
        return self.levels.clean if self._terminal == "denoise" else self.levels.level(self._nodes[-1])

    def _ends(self, nodes: list[Node]) -> list[Node]:
        """The grid with the table's last level where the run ends, or begins, there."""
        if self._terminal == "denoise":
            return nodes
        end = self.levels.cleanest
        if end.lam > nodes[-1].lam:
            nodes.append(end)
        elif len(nodes) < 2:
            raise ValueError("one noise level, which is the last one too, leaves no step: give more, or final_sigmas_type='zero'")
        return nodes[::-1] if self._settings.inverse else nodes

    def mismatch(self) -> float:
        """The largest error in lam = log(alpha/sigma) that rounding this run's timesteps makes; 0 where they are real-valued."""
        return mismatch(self.schedule, self._full.nodes) if isinstance(self.schedule, TableSchedule) else 0.0
