r"""What a timestep means: the noise level of the network's input, and how its output becomes E[x0 | x].

    table     t = 0 … N - 1 of a table of betas; alpha² + sigma² = 1; eps, v or x0
    flow      t = N sigma, alpha = 1 - sigma; the velocity eps - x0; with ``invert_sigmas`` (Mochi) its clock runs the other way,
              t = N (1 - sigma), and the velocity is x0 - eps
    continuous  the table's states and prediction, told ln(rho)/4 with rho = sigma/alpha (Stable Video Diffusion)
    edm       z = x0 + rho eps, preconditioned (arXiv:2206.00364, eq. 7): told ln(rho)/4, or 2 atan(rho)/pi (Stable Audio)

For EDM preconditioning the state here is what its network takes, x = c_in z with c_in = 1/sqrt(rho² + s_d²); so alpha = c_in, sigma = rho
c_in, and pure noise is unit normal, as for the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scorebed.gpu.network.wrap import edm_numbers, linear, prediction_of
from scorebed.gpu.network.wrap_table import TableSchedule
from scorebed.solvers import Node, RectifiedFlow, Schedule
from scorebed.solvers.process import ScalarProcess

SHORT_OF_NOISE = 1e-6
"""A flow that starts at pure noise starts at sigma = 1 - 1e-6, where log-SNR is finite."""
SLACK = 0.02
"""How far beyond the ends of its table a network may be asked, relative to the noise level: others round theirs."""


@dataclass(frozen=True)
class Preconditioned(ScalarProcess):
    """alpha = 1/sqrt(t² + s_d²), sigma = t alpha, with t = rho."""

    sigma_data: float = 0.5
    t_min: float = 0.002
    t_max: float = 80.0

    def __post_init__(self) -> None:
        for name in ("sigma_data", "t_min", "t_max"):
            value = float(getattr(self, name))
            if not (math.isfinite(value) and value > 0.0):
                raise ValueError(f"{name.replace('t_', 'sigma_')} = {value!r} must be positive and finite")
            object.__setattr__(self, name, value)
        if self.t_min >= self.t_max:
            raise ValueError(f"sigma_min = {self.t_min} must lie below sigma_max = {self.t_max}")

    def node(self, t: float) -> Node:
        t = float(t)
        if not (math.isfinite(t) and t >= 0.0):
            raise ValueError(f"t = {t!r} is no noise level: give a number that is finite and not negative")
        alpha = 1.0 / math.hypot(t, self.sigma_data)
        return Node(t, alpha, t * alpha, -math.log(t) if t else math.inf, self)

    def at_lam(self, lam: float) -> Node:
        rho = math.exp(-float(lam))
        alpha = 1.0 / math.hypot(rho, self.sigma_data)
        return Node(rho, alpha, rho * alpha, float(lam), self)

    def f(self, t: float) -> float:
        """d log(alpha)/dt."""
        return -t / (t * t + self.sigma_data**2)

    def g2(self, t: float) -> float:
        """d sigma²/dt - 2 f sigma²."""
        return 2.0 * t / (t * t + self.sigma_data**2)


class Levels:
    """The schedule of a config, and its network's times and predictions. ``kind`` is one of those of the module's text.

    Raises:
        ValueError: unknown prediction, table or label, or ends that are no range.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.total = int(config["num_train_timesteps"])
        self.prediction = prediction_of(config["prediction_type"])
        self.label = config["noise_label"]
        if self.label not in ("log", "atan"):
            raise ValueError(f"noise_label = {self.label!r}: give 'log', ln(rho)/4, or 'atan', 2 atan(rho)/pi")
        self.inverted = bool(config["invert_sigmas"])
        if self.inverted and self.prediction != "flow":
            raise ValueError("invert_sigmas = True belongs to flows: give prediction_type='flow_prediction', or invert_sigmas=False")
        kind = config["timestep_type"]
        if kind not in ("discrete", "continuous", "edm"):
            raise ValueError(f"timestep_type = {kind!r}: give 'discrete', 'continuous' or 'edm'")
        self.schedule: Schedule
        if kind == "edm" or config["sigma_data"] is not None:
            if self.prediction not in ("eps", "v"):
                raise ValueError(f"prediction_type = {config['prediction_type']!r}: EDM preconditioning has 'epsilon' or 'v_prediction'")
            ends = [config[k] if config[k] is not None else default for k, default in (("sigma_min", 0.002), ("sigma_max", 80.0))]
            data = 0.5 if config["sigma_data"] is None else config["sigma_data"]
            self.kind, self.schedule = "edm", Preconditioned(float(data), float(ends[0]), float(ends[1]))
        elif self.prediction == "flow":
            self.kind, self.schedule = "flow", RectifiedFlow(t_min=1e-4, t_max=1.0 - SHORT_OF_NOISE)
        else:
            table = alphas_cumprod(config)
            self.total = len(table)
            self.schedule = TableSchedule(tuple(table), "nearest" if config["round_timesteps"] else "none")
            self.kind = "continuous" if kind == "continuous" else "table"

    @property
    def cleanest(self) -> Node:
        """The last level of training: t = 0 of a table, 1/N of a flow, sigma_min."""
        if self.kind == "flow":
            return self.schedule.node(1.0 / self.total)
        return self.schedule.node(self.schedule.t_min)

    def told(self, node: Node) -> float:
        """The timestep of a node."""
        if self.kind == "table":
            assert isinstance(self.schedule, TableSchedule)
            return self.schedule.time(node)
        if self.kind == "flow":
            return self.total * (1.0 - node.t if self.inverted else node.t)
        return 0.25 * math.log(node.rho) if self.label == "log" else 2.0 / math.pi * math.atan(node.rho)

    def node(self, timestep: float) -> Node:
        """The node of a timestep, the way back from ``told``.

        Returns:
            the Node on the schedule.

        Raises:
            ValueError: not finite, or beyond what the network knows.
        """
        t = float(timestep)
        if self.kind in ("table", "flow"):
            top = self.total - 1 if self.kind == "table" else self.total
            if not -1e-6 <= t <= top * (1.0 + 1e-6):
                raise ValueError(f"timestep = {timestep!r} is none of this network's: give 0 to {top}")
            share = 1.0 - t / self.total if self.inverted else t / self.total
            return self.schedule.node(t) if self.kind == "table" else self.at(share)
        if not math.isfinite(t) or (self.label == "atan" and not 0.0 < t < 1.0):
            raise ValueError(f"timestep = {timestep!r} is none of this network's, which is told {self.label} of its noise level")
        return self.at(math.exp(4.0 * t) if self.label == "log" else math.tan(0.5 * math.pi * t))

    def at(self, level: float) -> Node:
        """The node of a noise level as diffusers has it: sigma of a flow, else sigma/alpha.

        Returns:
            the Node on the schedule.

        Raises:
            ValueError: not positive, or beyond what the network knows.
        """
        value = float(level)
        if not (math.isfinite(value) and value > 0.0):
            raise ValueError(f"sigma = {level!r} is no noise level: give a positive number")
        if self.kind == "flow":
            if value > 1.0 + 1e-6:
                raise ValueError(f"sigma = {level!r} lies beyond the noise of a flow: give at most 1")
            return self.schedule.node(min(value, 1.0 - SHORT_OF_NOISE))
        if self.kind == "table":
            low, high = (self.schedule.node(t).rho for t in (0.0, self.total - 1.0))
            if not low * (1.0 - SLACK) <= value <= high * (1.0 + SLACK):
                raise ValueError(f"sigma = {level!r} lies beyond the table, which the network knows from {low:.4g} to {high:.4g}")
        return self.schedule.at_lam(-math.log(value))

    def level(self, node: Node) -> float:
        """What diffusers' ``sigmas`` have: sigma of a flow, or 1 - sigma where they are inverted; sigma/alpha of the others."""
        return abs(self.clean - node.sigma) if self.kind == "flow" else node.rho

    @property
    def clean(self) -> float:
        """The level of the data."""
        return 1.0 if self.inverted else 0.0

    def linear(self, node: Node) -> tuple[float, float]:
        """(a, b) with D = a x + b output."""
        if self.kind != "edm":
            a, b = linear(self.prediction, node)
            return a, -b if self.inverted else b
        assert isinstance(self.schedule, Preconditioned)
        c_skip, c_out, _ = edm_numbers(node.rho, self.schedule.sigma_data)
        return c_skip / node.alpha, c_out if self.prediction == "eps" else -c_out


def betas(config: Mapping[str, Any]) -> list[float]:
    """The table of a diffusion config, in float64.

    Returns:
        one beta for each training timestep.

    Raises:
        ValueError: unknown ``beta_schedule``.
    """
    n, kind = int(config["num_train_timesteps"]), config["beta_schedule"]
    low, high = float(config["beta_start"]), float(config["beta_end"])
    if config["trained_betas"] is not None:
        return [float(b) for b in config["trained_betas"]]
    if kind == "linear":
        return [low + (high - low) * i / max(n - 1, 1) for i in range(n)]
    if kind == "scaled_linear":
        return [(math.sqrt(low) + (math.sqrt(high) - math.sqrt(low)) * i / max(n - 1, 1)) ** 2 for i in range(n)]
    if kind == "sigmoid":  # arXiv:2202.00512's code and DDPMScheduler: sigmoid of -6 … 6
        return [low + (high - low) / (1.0 + math.exp(6.0 - 12.0 * i / max(n - 1, 1))) for i in range(n)]
    if kind == "squaredcos_cap_v2":  # arXiv:2102.09672, eq. 17, capped at 0.999

        def bar(t: float) -> float:
            return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

        return [min(1.0 - bar((i + 1) / n) / bar(i / n), 0.999) for i in range(n)]
    raise ValueError(f"beta_schedule = {kind!r} is not known: give linear, scaled_linear, squaredcos_cap_v2, sigmoid, or trained_betas")


def alphas_cumprod(config: Mapping[str, Any]) -> list[float]:
    """Products of 1 − beta; ``snr_shift_scale`` s divides the signal-to-noise ratio by s (CogVideoX); ``rescale_betas_zero_snr`` shifts and
    stretches their roots to end at 0 (arXiv:2305.08891, Alg. 1).

    Returns:
        one ᾱ = ∏(1 − beta) for each training timestep, falling.

    Raises:
        ValueError: a scale that is not positive.
    """
    table, product, scale = [], 1.0, float(config["snr_shift_scale"])
    if not (math.isfinite(scale) and scale > 0.0):
        raise ValueError(f"snr_shift_scale = {scale!r} must be positive and finite")
    for beta in betas(config):
        product *= 1.0 - beta
        table.append(product / (scale + (1.0 - scale) * product))
    if config["rescale_betas_zero_snr"]:
        first, last = math.sqrt(table[0]), math.sqrt(table[-1])
        table = [((math.sqrt(a) - last) * first / (first - last)) ** 2 for a in table]
    return table
