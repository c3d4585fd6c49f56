r"""The face of a diffusers scheduler, class or instance, fed with the exact prediction of a target.

A scheduler walks its own grid (``set_timesteps(n)``), or one that is put in place of its ``sigmas``. What its sample is at a step, and
which node the network should be asked at, depends on the family:

    scaled   x = x0 + rho eps; ``scale_model_input`` divides by sqrt(1 + rho²), and that ratio tells rho     (Euler, Heun, LMS, KDPM2, …)
    edm      x = x0 + sigma eps; the network's output is what ``precondition_outputs`` maps to x0            (EDM…, Cosine…)
    flow     x = (1 - sigma) x0 + sigma eps; the network predicts eps - x0                                   (FlowMatch…)
    vp       alpha² + sigma² = 1, rho in ``sigmas``                                                          (DPMSolver…, UniPC, DEIS, …)
    table    alpha² = ``alphas_cumprod[t]`` for an integer t                                                 (DDIM, DDPM, PNDM, …)
    sine     alpha and sigma in ``alphas`` and ``betas``                                                     (IPNDM)

``network="sigma"`` evaluates the exact prediction at the scheduler's own sigma; ``"time"`` at the timestep that it passes to the network,
where a real network is, so that the two differ by what rounding the timesteps costs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from scorebed.solvers import EDM, VP, Node, RectifiedFlow, Schedule
from scorebed.solvers.model import from_denoised
from scorebed.toy.check.candidate import CLEAN, Candidate, Denoise, Flow, Freedom, Own, Refused, host, parameters
from scorebed.toy.check.draws import Draws
from scorebed.toy.check.faces import seed_all, torch_generator

PREDICTS = {"epsilon": "eps", "sample": "denoised", "v_prediction": "v", "flow_prediction": "flow"}
_PLAIN = {"clip_sample": False, "clip_denoised": False, "thresholding": False}
"""Options that change samples for the sake of images; off unless asked for."""


class SchedulerCandidate(Candidate):
    """A diffusers scheduler.

    Args:
        made: the class, or an instance whose configuration is taken.
        prediction: ``eps``, ``denoised``, ``v`` or ``flow``; None is what the scheduler is configured for.
        network: ``"sigma"`` or ``"time"``, see the module.
        config: options of the scheduler.
        step: options of its ``step``.
        claims: ``order`` and ``weak``.
    """

    kind = "diffusers"

    def __init__(
        self,
        made: Any,
        name: str | None = None,
        *,
        prediction: str | None = None,
        network: str = "sigma",
        config: dict[str, Any] | None = None,
        step: dict[str, Any] | None = None,
        **claims: Any,
    ) -> None:
        if network not in ("sigma", "time"):
            raise ValueError(f"network = {network!r} is not known: give 'sigma' or 'time'")
        self.type = made if isinstance(made, type) else type(made)
        known = parameters(self.type)
        base = {} if isinstance(made, type) else {k: v for k, v in dict(made.config).items() if k in known}
        plain = {k: v for k, v in _PLAIN.items() if k in known}
        self.config = {**plain, **base, **(config or {})}
        if prediction is not None:
            names = {v: k for k, v in PREDICTS.items()}
            if prediction not in names:
                raise ValueError(f"prediction = {prediction!r} is not known: give one of {', '.join(names)}")
            self.config["prediction_type"] = names[prediction]
        self.network, self.step_options = network, dict(step or {})
        probe = self._build(4)
        self.family = _family(probe)
        self.prediction = _prediction(probe, self.family)
        free = self.family in ("scaled", "edm", "flow", "vp") and not hasattr(probe, "sigmas_up")  # further tables made from its own sigmas
        own = "zero" if self._nodes(probe)[-1].sigma == 0.0 else "last"
        ends = ("last", "zero") if free else (own,)
        schedule: Schedule = EDM() if self.family in ("scaled", "edm") else RectifiedFlow() if self.family == "flow" else VP()
        freedom = Freedom(grid=free, schedules=False, both_ways=False, ends=ends, own=True)
        super().__init__(name or self.type.__name__, library="torch", freedom=freedom, schedule=schedule, **claims)
        self.path = hasattr(probe, "noise_sampler")
        self.tabled = not probe.timesteps.dtype.is_floating_point or bool((probe.timesteps == probe.timesteps.round()).all())

    def _build(self, n: int | None, **config: Any) -> Any:
        made = self.type(**{**self.config, **config})
        if n is not None:
            made.set_timesteps(n)
        return made

    def own(self, n: int) -> Own:
        return Own(n, self._nodes(self._build(n)))

    def _nodes(self, scheduler: Any) -> list[Node]:
        """The nodes of its grid, doubled ones once."""
        if self.family in ("scaled", "edm", "flow", "vp"):
            levels = list(dict.fromkeys(float(s) for s in scheduler.sigmas))
            return [_node(self.family, s) for s in levels]
        if self.family == "sine":
            return [_of(float(a), float(b)) for a, b in zip(scheduler.alphas, scheduler.betas, strict=True)]
        times = list(dict.fromkeys(int(t) for t in scheduler.timesteps))
        return [_table(scheduler, t) for t in times] + [_last(scheduler, times[-1])]

    def _end(self, grid: Sequence[Node], end: str) -> Node:
        return grid[-1] if isinstance(grid, Own) else super()._end(grid, end)

    def _go(
        self, denoise: Denoise, x: Any, grid: Sequence[Node], seed: int, draws: Draws | None, end: str, start: tuple[int, Flow] | None
    ) -> Any:
        if isinstance(grid, Own):
            scheduler = self._build(grid.n)
        else:
            known = parameters(self.type)
            stop = {"final_sigmas_type": "sigma_min"} if end == "last" and "final_sigmas_type" in known else {}
            with self.aside():
                scheduler = self._inject(self._build(max(1, len(grid) - (end == "last")), **stop), grid, end)
        seed_all(seed)
        known = parameters(scheduler.step)
        options = {"generator": torch_generator(seed)} if "generator" in known else {}
        if draws is not None and hasattr(scheduler, "noise_sampler"):
            scheduler.noise_sampler = lambda a, b: x.new_tensor(draws(tuple(x.shape), (float(a), float(b))))
        if "noise_sampler_seed" in parameters(self.type) and draws is None:
            scheduler.noise_sampler_seed = seed
        for i, t in enumerate(scheduler.timesteps):
            scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
            with self.aside():
                out = self._predict(scheduler, denoise, x, scaled, i, t)
            x = scheduler.step(out, t, x, **options, **self.step_options).prev_sample
        return x

    def _predict(self, scheduler: Any, denoise: Denoise, x: Any, scaled: Any, i: int, t: Any) -> Any:
        """The network's output at the i-th call."""
        if self.family == "edm":
            node = _node("edm", float(scheduler.sigmas[i]))
            none, one = (scheduler.precondition_outputs(x, c + 0.0 * x, scheduler.sigmas[i]) for c in (0.0, 1.0))
            return (denoise(x, node) - none) / (one - none)
        if self.network == "time":
            node = self._at_time(scheduler, float(t))
            return from_denoised(denoise(scaled, node), scaled, node, self.prediction)
        if self.family == "scaled":
            ratio = float(scheduler.scale_model_input(x.new_ones(1).double(), t)[0])
            node = _node("scaled", math.sqrt(max(1.0 / ratio**2 - 1.0, 0.0)))
            d = denoise(x, node)
            norm = math.hypot(1.0, node.sigma)
            return from_denoised(d, x / norm, _of(1.0 / norm, node.sigma / norm), self.prediction)
        if self.family == "sine":
            node = _of(float(scheduler.alphas[i]), float(scheduler.betas[i]))
        elif self.family == "table":
            node = _table(scheduler, int(t))
        else:
            node = _node(self.family, float(scheduler.sigmas[i]))
        return from_denoised(denoise(x, node), x, node, self.prediction)

    def _at_time(self, scheduler: Any, t: float) -> Node:
        """Where a network is that is told the timestep t."""
        if self.family == "flow":
            return _node("flow", t / scheduler.config.num_train_timesteps)
        if self.family == "sine":
            return _of(math.cos(math.pi * t / 2), math.sin(math.pi * t / 2))
        bars = host(scheduler.alphas_cumprod)
        rho = math.exp(float(np.interp(t, np.arange(len(bars)), 0.5 * (np.log1p(-bars) - np.log(bars)))))
        return _node("vp", rho)

    def _inject(self, scheduler: Any, grid: Sequence[Node], end: str) -> Any:
        """The scheduler on our grid: its sigmas and timesteps replaced, doubled where it doubles its own."""
        import torch

        if not self.freedom.grid:
            raise Refused(f"{self.name} looks its nodes up in a table: it walks only its own grid")
        level = [node.sigma if self.family == "flow" else node.rho for node in grid] + ([0.0] if end == "zero" else [])
        n = len(level) - 1
        sigmas = torch.tensor(level, dtype=torch.float32)
        times = torch.tensor([_time(scheduler, self.family, s) for s in level[:-1]], dtype=torch.float32)
        calls = len(scheduler.timesteps)
        if calls >= 2 * n - 1 > n:  # a stage between any two nodes
            if hasattr(scheduler, "sigmas_interpol"):
                between = sigmas.log().lerp(sigmas.roll(1).log(), 0.5).exp()
                scheduler.sigmas_interpol = torch.cat([between[:1], between[1:].repeat_interleave(2), between[-1:]])
                scheduler.sigmas = torch.cat([sigmas[:1], sigmas[1:].repeat_interleave(2), sigmas[-1:]])
            else:
                scheduler.sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
            times = torch.cat([times[:1], times[1:].repeat_interleave(2)])
        elif calls not in (n, n - 1, n + 1):
            raise Refused(f"{self.name} calls the network {calls} times on {n} steps: its grid cannot be replaced")
        else:
            scheduler.sigmas = sigmas
        scheduler.timesteps, scheduler.num_inference_steps = times, n
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)
        if hasattr(scheduler, "get_order_list"):
            scheduler.order_list = scheduler.get_order_list(n)
        return scheduler


def _family(scheduler: Any) -> str:
    import torch

    if hasattr(scheduler, "precondition_outputs"):
        return "edm"
    config = getattr(scheduler, "config", {})
    if hasattr(scheduler, "sigmas"):
        if "FlowMatch" in type(scheduler).__name__ or config.get("prediction_type") == "flow_prediction" or config.get("use_flow_sigmas"):
            return "flow"
        if hasattr(scheduler, "scale_model_input"):
            one = torch.ones(1, dtype=torch.float64)
            if abs(float(scheduler.scale_model_input(one, scheduler.timesteps[0])[0]) - 1.0) > 1e-3:
                return "scaled"
        if hasattr(scheduler, "alphas_cumprod"):
            return "vp"
    if hasattr(scheduler, "alphas_cumprod"):
        return "table"
    if hasattr(scheduler, "alphas") and hasattr(scheduler, "betas"):
        return "sine"
    raise TypeError(f"{type(scheduler).__name__} has neither sigmas nor alphas_cumprod: what its state is at a step is not known here")


def _prediction(scheduler: Any, family: str) -> str:
    if family in ("flow", "edm"):
        return "flow"
    if family == "sine":  # it forms eps = sigma x + alpha v itself
        return "v"
    return PREDICTS[getattr(scheduler, "config", {}).get("prediction_type", "epsilon")]


def _node(family: str, sigma: float) -> Node:
    """The node of a sample, from what ``sigmas`` holds."""
    if sigma == 0.0:
        return CLEAN
    if family in ("scaled", "edm"):
        return _of(1.0, sigma)
    if family == "flow":
        return _of(1.0 - sigma, sigma)
    return _of(1.0 / math.hypot(1.0, sigma), sigma / math.hypot(1.0, sigma))


def _of(alpha: float, sigma: float) -> Node:
    if sigma == 0.0:
        return CLEAN
    return Node(sigma, alpha, sigma, math.log(alpha / sigma) if alpha > 0.0 else -math.inf)


def _table(scheduler: Any, t: int) -> Node:
    bar = float(scheduler.alphas_cumprod[t])
    return _of(math.sqrt(bar), math.sqrt(1.0 - bar))


def _last(scheduler: Any, t: int) -> Node:
    """Where the step from timestep t, the last one, ends."""
    if hasattr(scheduler, "previous_timestep"):
        before = int(scheduler.previous_timestep(t))
    else:
        before = t - scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    if before >= 0:
        return _table(scheduler, before)
    bar = float(getattr(scheduler, "final_alpha_cumprod", 1.0))
    return _of(math.sqrt(bar), math.sqrt(1.0 - bar))


def _time(scheduler: Any, family: str, sigma: float) -> float:
    """The real-valued timestep of a level of noise, so that no two nodes are rounded to one."""
    if family == "flow":
        return sigma * float(scheduler.config.num_train_timesteps)
    if family == "edm" or not hasattr(scheduler, "alphas_cumprod"):
        return 0.25 * math.log(sigma)
    bars = host(scheduler.alphas_cumprod)
    return float(np.interp(math.log(sigma), 0.5 * (np.log1p(-bars) - np.log(bars)), np.arange(len(bars))))
