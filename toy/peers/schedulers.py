r"""Driving a diffusers scheduler with an exact network, at the scheduler's own alpha and sigma.

A scheduler keeps its state in one of a few coordinates (``family``), which fixes alpha and sigma of the state at node i:

    vp     alpha, sigma from ``sigmas[i]`` by the scheduler's own ``_sigma_to_alpha_sigma_t``
    ve     alpha = 1, sigma = ``sigmas[i]``; the network sees x / sqrt(sigma² + 1)
    edm    as ve, with the preconditioning of arXiv:2206.00364
    flow   alpha = 1 − sigma, sigma = ``sigmas[i]``
    table  alpha² = ``alphas_cumprod[t]``, integer t
    crash  iPNDM's own arrays of alphas and betas

The network knows only the timestep it is handed (``ideal=False``), as a trained one does: it looks alpha and sigma up in the training
table, between its entries linearly in log(sigma/alpha). With ``ideal=True`` it knows the scheduler's sigma, which takes rounded timesteps
out.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scorebed.solvers import Node
from scorebed.toy.peers.double import double
from scorebed.toy.peers.truth import as_output, node

TABLE = 1 << 17
"""Entries of the fine table that takes the rounding of integer timesteps out: a power of two, so that equal steps stay equal."""


@dataclass(frozen=True)
class Mode:
    """How a scheduler is run.

    Attributes:
        wide: its code computes in float64.
        ideal: the network knows the scheduler's sigma instead of the rounded timestep.
        grid: sigma/alpha of the nodes to walk, or None for the scheduler's own.
        fine: the table has ``TABLE`` entries instead of 1000, and the run ends at an eighth of it (only for ``table``).
    """

    wide: bool = False
    ideal: bool = False
    grid: Callable[[int], np.ndarray] | None = None
    fine: bool = False


SHIPPED = Mode()
WIDE = Mode(wide=True)
IDEAL = Mode(wide=True, ideal=True)


def karras(n: int, high: float = 8.0, low: float = 0.1, power: float = 3.0) -> np.ndarray:
    """n + 1 nodes of sigma/alpha, uniform in its cube root: smooth, and not uniform in any variable that a method uses."""
    r = np.linspace(0.0, 1.0, n + 1)
    return np.asarray((high ** (1 / power) + r * (low ** (1 / power) - high ** (1 / power))) ** power)


def even(n: int, high: float = 8.0, low: float = 0.1) -> np.ndarray:
    """n + 1 nodes uniform in log(sigma/alpha)."""
    return np.exp(np.linspace(math.log(high), math.log(low), n + 1))


@dataclass
class Ran:
    """One run: the state, where it started and where it ended, and the calls of the network."""

    x: np.ndarray
    first: Node
    last: Node
    calls: int


@dataclass
class Drive:
    """One scheduler class with options.

    Attributes:
        step: keyword arguments of every ``step``.
        edit: called with the scheduler after ``set_timesteps``; what mended copies use.
        changed: a subclass to use instead of the class of that name.
    """

    name: str
    family: str
    options: Mapping[str, Any] = field(default_factory=dict)
    step: Mapping[str, Any] = field(default_factory=dict)
    edit: Callable[[Any], None] | None = None
    changed: type | None = None
    tail: int = 1

    @property
    def scheduler(self) -> type:
        import diffusers

        return self.changed or getattr(diffusers, self.name)

    @property
    def module(self) -> str:
        import diffusers

        return str((self.changed or getattr(diffusers, self.name)).__module__)

    def made(self, n: int, mode: Mode) -> Any:
        """A scheduler with n steps set."""
        options = dict(self.options)
        if mode.fine and self.family == "table":
            options["num_train_timesteps"] = TABLE
            scale = 1000 / TABLE
            for end in ("beta_start", "beta_end"):
                options[end] = scale * options.get(end, self._default(end))
        if mode.grid is not None and self.family in ("vp", "ve") and self._default("use_karras_sigmas") is not None:
            options["use_karras_sigmas"] = True
            for other in ("use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas"):
                options.pop(other, None)
        s = self.scheduler(**options)
        if mode.grid is not None:
            self._inject(s, n, mode.grid)
        elif self.name == "ScoreSdeVeScheduler":
            s.set_timesteps(n)
            s.set_sigmas(n)
        else:
            s.set_timesteps(n)
        if mode.grid is not None and hasattr(s, "set_begin_index"):
            s.set_begin_index(0)
        if self.edit is not None:
            self.edit(s)
        return s

    def _default(self, option: str) -> Any:
        import inspect

        found = inspect.signature(self.scheduler).parameters.get(option)
        return None if found is None else found.default

    def _inject(self, s: Any, n: int, grid: Callable[[int], np.ndarray]) -> None:
        """n nodes of our own; the last step, to the scheduler's own last sigma, is not taken."""
        import torch

        rho = grid(n - 1)
        if self._default("use_karras_sigmas") is None and self.family == "ve":
            s.set_timesteps(n)
            s.sigmas = torch.tensor(np.append(rho, 0.0))
            return
        if self.family in ("vp", "ve"):
            s._convert_to_karras = lambda in_sigmas, num_inference_steps=None: rho.copy()
            s.set_timesteps(n)
            if getattr(s.config, "use_flow_sigmas", False) and float(s.sigmas[0]) > 1.0:
                s.sigmas = s.sigmas / (1.0 + s.sigmas)
        elif self.family == "edm":
            s._compute_karras_sigmas = lambda ramp, *_, **__: torch.tensor(rho)
            s.set_timesteps(n)
        elif self.family == "flow":
            sigma = rho / (1.0 + rho)
            s.set_timesteps(n)
            full = torch.tensor(np.append(sigma, 0.0))
            two = len(s.sigmas) > n + 1
            s.sigmas = torch.cat([full[:1], full[1:-1].repeat_interleave(2), full[-1:]]) if two else full
            times = full[:-1] * 1000.0
            if self.name == "MiniMaxH3Scheduler":
                times = 1.0 - full[:-1]
            s.timesteps = torch.cat([times[:1], times[1:].repeat_interleave(2)]) if two else times
        else:
            raise ValueError(f"{self.name} takes no grid")

    def node_at(self, s: Any, i: int, t: Any) -> Node:
        """alpha and sigma of the state before call i."""
        if self.family == "table":
            if i >= len(s.timesteps):
                return self._end(s)
            a = float(s.alphas_cumprod[int(t)])
            return node(math.sqrt(a), math.sqrt(1.0 - a))
        if self.family == "wuerstchen":
            import torch

            a = float(s._alpha_cumprod(torch.as_tensor(s.timesteps[min(i, len(s.timesteps) - 1)]).reshape(1), "cpu"))
            return node(math.sqrt(a), math.sqrt(1.0 - a))
        if self.family == "crash":
            return node(float(s.alphas[i]), float(s.betas[i]))
        sigma = float(s.sigmas[min(i, len(s.sigmas) - 1)])
        if not getattr(s, "state_in_first_order", True):
            if getattr(s, "mid_point_sigma", None) is not None:
                sigma = float(s.mid_point_sigma)
            elif hasattr(s, "sigmas_interpol"):
                shift = 1 if "Ancestral" in self.name else 0
                sigma = float(s.sigmas_interpol[i - shift])
        if self.family == "flow" or getattr(s.config, "use_flow_sigmas", False):
            return node(1.0 - sigma, sigma)
        if self.family == "vp":
            alpha = 1.0 / math.sqrt(sigma * sigma + 1.0)
            return node(alpha, sigma * alpha)
        return node(1.0, sigma)

    def _end(self, s: Any) -> Node:
        a = getattr(s, "final_alpha_cumprod", None)
        a = 1.0 if a is None else float(a)
        return node(math.sqrt(a), math.sqrt(1.0 - a))

    def seen(self, s: Any, t: Any, own: Node) -> Node:
        """alpha and sigma that a trained network knows from the timestep."""
        if self.family in ("edm", "crash", "wuerstchen"):
            return own
        if self.family == "flow" or getattr(s.config, "use_flow_sigmas", False):
            sigma = 1.0 - float(t) if self.name == "MiniMaxH3Scheduler" else float(t) / s.config.num_train_timesteps
            return node(1.0 - sigma, sigma)
        a = np.asarray(s.alphas_cumprod, dtype=float)
        if float(t) == int(t):
            return node(math.sqrt(a[int(t)]), math.sqrt(1.0 - a[int(t)]))
        log_rho = 0.5 * np.log((1.0 - a) / a)
        rho = math.exp(float(np.interp(float(t), np.arange(len(a)), log_rho)))
        alpha = 1.0 / math.sqrt(1.0 + rho * rho)
        return node(alpha, rho * alpha)

    def output(self, s: Any, denoise: Callable[[Any, Node], Any], x: Any, t: Any, own: Node, mode: Mode) -> np.ndarray:
        """What the exact network returns for the state x before a step."""
        scaled = s.scale_model_input(x, t) if self.family != "wuerstchen" and hasattr(s, "scale_model_input") else x
        wide = np.asarray(x, dtype=float)
        if self.family == "edm":
            d = denoise(wide, own)
            sd, sigma = s.config.sigma_data, own.sigma
            root = math.sqrt(sigma * sigma + sd * sd)
            sign = -1.0 if s.config.prediction_type == "v_prediction" else 1.0
            return np.asarray((d - (sd / root) ** 2 * wide) / (sign * sigma * sd / root))
        kind = {"flow": "flow", "crash": "v_prediction", "wuerstchen": "epsilon"}.get(self.family) or s.config.prediction_type
        if self.family == "ve":
            at = own if mode.ideal else self.seen(s, t, own)
            if mode.ideal:
                alpha = 1.0 / math.sqrt(1.0 + at.sigma * at.sigma)
                at = node(alpha, at.sigma * alpha)
                wide = wide * alpha
            else:
                wide = np.asarray(scaled, dtype=float)
        else:
            at = own if mode.ideal or (self.family == "table" and mode.fine) else self.seen(s, t, own)
            wide = np.asarray(scaled, dtype=float)
        value = as_output(denoise(wide, at), wide, at, kind)
        if self.name == "MiniMaxH3Scheduler":
            value = -value
        return np.asarray(value)

    def run(
        self,
        n: int,
        initial: Callable[[Node], np.ndarray],
        denoise: Callable[[Any, Node], Any],
        mode: Mode = SHIPPED,
        noise: Any = None,
        calls: int | None = None,
        tail: int | None = None,
    ) -> Ran:
        """One run of n steps from ``initial(first node)``; states of shape (batch, d) are shown to the scheduler as (batch, d, 1, 1)."""
        import torch

        module = importlib.import_module(self.module)
        with ExitStack() as stack:
            if mode.wide:
                stack.enter_context(double(self.module, *_helpers(self.module)))
            s = self.made(n, mode)
            first = self.node_at(s, 0, s.timesteps[0])
            start = initial(first)
            x = torch.tensor(start[..., None, None], dtype=torch.float64 if mode.wide else torch.float32)
            if noise is not None:
                stack.enter_context(_noise(module, s, noise, x))
            times = list(s.timesteps)
            if self.family == "wuerstchen":
                times = [t.expand(len(x)) for t in times[:-1]]
            skip = tail if tail is not None else (self.tail if mode.grid is not None else 0)
            if mode.fine and self.family == "table":
                times = [t for t in times if float(t) > TABLE / 8 - 1]
                last_t = times[-1]
                times = times[:-1]
            elif skip:
                times = times[: len(times) - skip]
            old: Any = None
            for i, t in enumerate(times):
                if calls is not None and i >= calls:
                    break
                index = getattr(s, "step_index", None)
                own = self.node_at(s, i if index is None else int(index), t)
                out = torch.tensor(self.output(s, lambda y, at: denoise(y[..., 0, 0], at)[..., None, None], x, t, own, mode), dtype=x.dtype)
                extra = dict(self.step)
                if self.name == "CogVideoXDPMScheduler":
                    back = times[i - 1] if i > 0 else None
                    x, old = s.step(out, old, t, back, x, return_dict=False, **extra)
                    continue
                if self.name == "UnCLIPScheduler":
                    extra["prev_timestep"] = int(s.timesteps[i + 1]) if i + 1 < len(s.timesteps) else None
                result = s.step(out, t, x, return_dict=False, **extra)
                x = result[0]
            done = len(times)
            index = getattr(s, "step_index", None)
            if mode.fine and self.family == "table":
                last = self.node_at(s, 0, last_t)
            elif self.family == "table":
                last = self._end(s) if done == len(s.timesteps) else self.node_at(s, 0, s.timesteps[done])
            else:
                last = self.node_at(s, done if index is None else int(index), None)
            return Ran(np.asarray(x, dtype=float)[..., 0, 0], first, last, done)


def _helpers(module: str) -> list[str]:
    """Other modules that a scheduler borrows from and that also name float32."""
    return ["diffusers.schedulers.scheduling_flow_match_euler_discrete"] if module.endswith("ltx_euler_ancestral_rf") else []


def _noise(module: Any, s: Any, noise: Any, x: Any) -> Any:
    """Our normals instead of the scheduler's, for the time of a ``with``."""
    from contextlib import contextmanager

    from scorebed.toy.peers.affine import Path

    @contextmanager
    def patched() -> Any:
        kept = getattr(module, "randn_tensor", None)
        if kept is not None:
            module.randn_tensor = lambda shape, **__: noise(shape, x.dtype)
        if hasattr(s, "noise_sampler"):
            s.noise_sampler = Path(noise, x)
        try:
            yield
        finally:
            if kept is not None:
                module.randn_tensor = kept

    return patched()
