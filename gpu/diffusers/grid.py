r"""The noise levels that a diffusers config asks for, as a grid of our nodes.

Diffusion configs have a table of betas (``TableSchedule``), flow configs have sigma = t/N and a shift,

    sigma ← shift sigma/(1 + (shift − 1) sigma),      or exp(mu)/(exp(mu) + 1/sigma − 1) where mu comes from the resolution.

Noise levels are named as in diffusers: ``sigma`` is sigma/alpha of the table, and t/N of a flow. A flow that starts at pure noise starts at
sigma = 1 − 1e-6, where log-SNR is finite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from scorebed.gpu.network.wrap_table import TableSchedule
from scorebed.solvers import Node, RectifiedFlow, Schedule
from scorebed.solvers import grid as grids

SHORT_OF_NOISE = 1e-6
SPACINGS = ("linspace", "leading", "trailing")


def betas(config: Mapping[str, Any]) -> list[float]:
    """The table of a diffusion config, in float64.

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
    """Products of 1 − beta; ``rescale_betas_zero_snr`` shifts and stretches their roots to end at 0 (arXiv:2305.08891, Alg. 1)."""
    table, product = [], 1.0
    for beta in betas(config):
        product *= 1.0 - beta
        table.append(product)
    if config["rescale_betas_zero_snr"]:
        first, last = math.sqrt(table[0]), math.sqrt(table[-1])
        table = [((math.sqrt(a) - last) * first / (first - last)) ** 2 for a in table]
    return table


def schedule_of(config: Mapping[str, Any]) -> Schedule:
    """The schedule of a config: a rectified flow where the network predicts the flow, else the table."""
    if config["prediction_type"] == "flow_prediction":
        return RectifiedFlow(t_min=1e-4, t_max=1.0 - SHORT_OF_NOISE)
    return TableSchedule(tuple(alphas_cumprod(config)), "nearest" if config["round_timesteps"] else "none")


def shifted(config: Mapping[str, Any], sigma: float, mu: float | None) -> float:
    """A flow's sigma after the config's shift.

    Raises:
        ValueError: dynamic shifting without ``mu``.
    """
    if not config["use_dynamic_shifting"]:
        return float(config["shift"] * sigma / (1.0 + (config["shift"] - 1.0) * sigma))
    if mu is None:
        raise ValueError("the config has use_dynamic_shifting: give set_timesteps(…, mu=…)")
    factor = math.exp(mu) if config["time_shift_type"] == "exponential" else mu
    return factor / (factor + (1.0 / sigma - 1.0)) if sigma > 0.0 else 0.0


def respaced(config: Mapping[str, Any], sigmas: list[float], flow: bool) -> list[float]:
    """The same ends with the interior spaced as ``use_karras_sigmas``, ``use_exponential_sigmas`` or ``use_lu_lambdas`` says."""
    n, first, last = len(sigmas), sigmas[0], sigmas[-1]
    if n < 3:
        return sigmas

    def between(to: Any, back: Any) -> list[float]:
        a, b = to(first), to(last)
        return [first, *(back(a + (b - a) * i / (n - 1)) for i in range(1, n - 1)), last]

    if config["use_karras_sigmas"]:
        return between(lambda s: s ** (1.0 / 7.0), lambda v: v**7.0)
    if config["use_exponential_sigmas"]:
        return between(math.log, math.exp)
    if config["use_lu_lambdas"]:
        if not flow:
            return between(math.log, math.exp)
        first = min(first, 1.0 - SHORT_OF_NOISE)
        return between(lambda s: math.log((1.0 - s) / s), lambda v: 1.0 / (1.0 + math.exp(v)))
    return sigmas


def table_times(config: Mapping[str, Any], n: int) -> list[float]:
    """n real-valued timesteps of the table, from noise to data (arXiv:2305.08891, table 2).

    Raises:
        ValueError: unknown spacing, or n too large for it.
    """
    total, spacing = int(config["num_train_timesteps"]), config["timestep_spacing"]
    if spacing == "linspace":
        return [(total - 1) * (1.0 - i / (n - 1)) for i in range(n)] if n > 1 else [float(total - 1)]
    if spacing == "trailing":
        return [total - 1 - i * total / n for i in range(n)]
    if spacing == "leading":
        ratio = total // n
        if ratio < 1:
            raise ValueError(f"num_inference_steps = {n} exceeds the {total} timesteps that 'leading' spacing divides")
        return [float(min(i * ratio + int(config["steps_offset"]), total - 1)) for i in reversed(range(n))]
    raise ValueError(f"timestep_spacing = {spacing!r} is not known: give one of {', '.join(SPACINGS)}")


def nodes_of(
    config: Mapping[str, Any],
    schedule: Schedule,
    n: int | None,
    timesteps: Sequence[float] | None,
    sigmas: Sequence[float] | None,
    mu: float | None,
) -> list[Node]:
    """The nodes at which a run of n steps evaluates first, from noise to data: n of them, or as many as ``timesteps`` or ``sigmas`` has.

    Raises:
        ValueError: none or several of the three, a number below 1, values that do not fall, or outside the schedule.
    """
    given = [what for what in (timesteps, sigmas) if what is not None]
    if len(given) > 1 or (not given and n is None):
        raise ValueError("give num_inference_steps, or timesteps, or sigmas")
    if n is not None and (isinstance(n, bool) or int(n) != n or n < 1):
        raise ValueError(f"num_inference_steps = {n!r} must be an integer of at least 1")
    if given and n is not None and len(given[0]) != n:
        raise ValueError(f"num_inference_steps = {n}, but {len(given[0])} values were given")
    flow = not isinstance(schedule, TableSchedule)
    total = int(config["num_train_timesteps"])
    if timesteps is not None:
        times = [float(t) for t in timesteps]
        nodes = [_flow(schedule, t / total) for t in times] if flow else [schedule.node(t) for t in times]
        return _falling(nodes)
    if flow:
        if sigmas is None:
            assert n is not None
            low, high = (_static(config, i / total) for i in (1, total))
            sigmas = [high + (low - high) * i / (n - 1) for i in range(n)] if n > 1 else [high]
        levels = [shifted(config, float(s), mu) for s in sigmas]
        if config["shift_terminal"]:
            stretch = (1.0 - levels[-1]) / (1.0 - float(config["shift_terminal"]))
            levels = [1.0 - (1.0 - s) / stretch for s in levels]
        return _falling([_flow(schedule, s) for s in respaced(config, levels, flow)])
    if sigmas is not None:
        levels = [float(s) for s in sigmas]
        if levels[-1] == 0.0:  # diffusers' lists end with the sigma of the last step
            levels = levels[:-1]
        return _falling([schedule.at_lam(-math.log(s)) for s in levels])
    assert n is not None
    nodes = [schedule.node(t) for t in table_times(config, int(n))]
    if any(config[f"use_{kind}"] for kind in ("karras_sigmas", "exponential_sigmas", "lu_lambdas")):
        inner = respaced(config, [node.rho for node in nodes], flow)
        nodes = [nodes[0], *(schedule.at_lam(-math.log(s)) for s in inner[1:-1]), *nodes[1:][-1:]]
    return _falling(nodes)


def _static(config: Mapping[str, Any], sigma: float) -> float:
    """The ends of the default flow grid are those of the shifted table, and are then shifted with the rest, as FlowMatchEuler's are."""
    return sigma if config["use_dynamic_shifting"] else shifted(config, sigma, None)


def _flow(schedule: Schedule, sigma: float) -> Node:
    return schedule.node(min(sigma, 1.0 - SHORT_OF_NOISE))


def _falling(nodes: list[Node]) -> list[Node]:
    if len(nodes) > 1 and grids.check(nodes)[-1].lam < nodes[0].lam:
        raise ValueError("timesteps and sigmas must fall, from noise to data")
    return nodes
