r"""The noise levels that a diffusers config asks for, as a grid of our nodes.

Diffusion configs have a table of betas and space timesteps; flow configs have sigma = t/N and a shift,

    sigma ← shift sigma/(1 + (shift − 1) sigma),      or exp(mu)/(exp(mu) + 1/sigma − 1) where mu comes from the resolution;

EDM configs space sigma itself. Noise levels are named as in diffusers (``Levels.level``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.special import betaincinv

from scorebed.gpu.diffusers.levels import SHORT_OF_NOISE, Levels
from scorebed.solvers import Node
from scorebed.solvers import grid as grids

SPACINGS = ("linspace", "leading", "trailing")
TABLE_LEVELS = ("all", "dpm")
FLOW_LEVELS = ("match", "unipc", "dpm")
SPACED = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas")


def shifted(config: Mapping[str, Any], sigma: float, mu: float | None) -> float:
    """A flow's sigma after the config's shift.

    Returns:
        sigma after the shift; 0 stays 0.

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
    """The interior spaced as ``use_karras_sigmas``, ``use_exponential_sigmas``, ``use_beta_sigmas`` or ``use_lu_lambdas`` says, between
    ``sigma_max`` and ``sigma_min`` of the config, or else the ends as they are.

    Returns:
        levels of noise from high to low, as many as ``sigmas``.

    Raises:
        ValueError: the config asks for several spacings, or for one that is not known.
    """
    chosen = [key for key in SPACED if config[key]]
    if len(chosen) > 1:
        raise ValueError(f"{' and '.join(chosen)} are set: a grid has one spacing")
    if not chosen:
        return sigmas
    n = len(sigmas)
    first = float(sigmas[0] if config["sigma_max"] is None else config["sigma_max"])
    last = float(sigmas[-1] if config["sigma_min"] is None else config["sigma_min"])
    if n == 1:
        return [first]

    def between(to: Any, back: Any) -> list[float]:
        a, b = to(first), to(last)
        return [first, *(back(a + (b - a) * i / (n - 1)) for i in range(1, n - 1)), last]

    if config["use_karras_sigmas"]:
        return between(lambda s: s ** (1.0 / 7.0), lambda v: v**7.0)
    if config["use_beta_sigmas"]:  # arXiv:2407.12173: quantiles of Beta(0.6, 0.6)
        return [last + (first - last) * float(betaincinv(0.6, 0.6, 1.0 - i / (n - 1))) for i in range(n)]
    if config["use_exponential_sigmas"] or not flow:
        return between(math.log, math.exp)
    first = min(first, 1.0 - SHORT_OF_NOISE)
    return between(lambda s: math.log((1.0 - s) / s), lambda v: 1.0 / (1.0 + math.exp(v)))


def table_times(config: Mapping[str, Any], levels: Levels, n: int) -> list[float]:
    """n real-valued timesteps of the table, from noise to data (arXiv:2305.08891, table 2), none with a log-SNR below
    ``lambda_min_clipped``. ``table_levels = "dpm"``: the first n of n + 1, as DPM-Solver's and those modelled on it have them.

    Returns:
        n timesteps as floats, falling from noise to data.

    Raises:
        ValueError: unknown spacing, or n too large for it.
    """
    spacing, total = config["timestep_spacing"], levels.total
    if config["lambda_min_clipped"] > -math.inf:  # as DPM-Solver's clips it, at an integer
        total -= sum(1 for t in range(levels.total) if levels.schedule.node(float(t)).lam < config["lambda_min_clipped"])
    if config["table_levels"] not in TABLE_LEVELS:
        raise ValueError(f"table_levels = {config['table_levels']!r}: give one of {', '.join(TABLE_LEVELS)}")
    if config["table_levels"] == "dpm":
        if any(config[key] for key in SPACED):
            spacing = "linspace"  # whose ends are all that counts
        elif spacing in ("linspace", "leading"):
            return table_times({**config, "table_levels": "all"}, levels, n + 1)[:-1]
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
    levels: Levels,
    n: int | None,
    timesteps: Any = None,
    sigmas: Any = None,
    mu: float | None = None,
) -> list[Node]:
    """The nodes at which a run of n steps evaluates first, from noise to data: n of them, or as many as ``timesteps`` or ``sigmas`` has.

    A 0 at the end of a list stands for the data, which is no evaluation, whether of a table or of a flow.

    Returns:
        list of nodes from noise to data, without the end at the data.

    Raises:
        TypeError: a list that is none of numbers.
        ValueError: none or several of the three, an empty list, a number below 1, values that do not fall, or none of this network's.
    """
    given = {name: values for name, values in (("timesteps", timesteps), ("sigmas", sigmas)) if values is not None}
    if len(given) > 1 or (not given and n is None):
        raise ValueError("give num_inference_steps, or timesteps, or sigmas")
    if n is not None and (isinstance(n, bool) or int(n) != n or n < 1):
        raise ValueError(f"num_inference_steps = {n!r} must be an integer of at least 1")
    values: list[float] = []
    for name, listed in given.items():
        values = _numbers(name, listed)
        if n is not None and len(values) != n:
            raise ValueError(f"num_inference_steps = {n}, but {len(values)} values were given")
        ends = name == "sigmas" or levels.kind == "flow"
        last = float(levels.total) if name == "timesteps" and levels.inverted else 0.0
        if ends and len(values) > 1 and values[-1] == last:
            values = values[:-1]
    if timesteps is not None:
        return _falling([levels.node(t) for t in values])
    count = len(values) if values else int(n or 0)
    return _falling(_spaced(config, levels, count, values, mu))


def with_a_first_step(grid: list[Node], levels: Levels) -> list[Node]:
    """The grid, and where it ends at the last level of training one more level just before.

    An inverse run of as many steps as asked for then reaches the levels of a run of that many steps, and no other ones: theirs steps from
    the data to that level first, which is where the data are taken to be here.

    Returns:
        the grid, with one node more where it ends at the last level.
    """
    end = levels.cleanest
    if grid[-1].lam < end.lam or len(grid) < 2:
        return grid
    near = levels.schedule.at_lam(end.lam - min(math.log(1.5), 0.5 * (end.lam - grid[-2].lam)))
    return [*grid[:-1], near, grid[-1]]


def _spaced(config: Mapping[str, Any], levels: Levels, n: int, sigmas: list[float], mu: float | None) -> list[Node]:
    """n nodes spaced by the config, or at ``sigmas`` before the shift."""
    if levels.kind == "flow":
        raw = sigmas or _flow_levels(config, levels.total, n)
        moved = [shifted(config, s, mu) for s in raw]
        if config["shift_terminal"]:
            stretch = (1.0 - moved[-1]) / (1.0 - float(config["shift_terminal"]))
            moved = [1.0 - (1.0 - s) / stretch for s in moved]
        return [levels.at(s) for s in respaced(config, moved, True)]
    if sigmas:
        return [levels.at(s) for s in sigmas]
    if levels.kind == "edm":
        return [levels.at(s) for s in _edm_levels(config, levels, n)]
    nodes = [levels.schedule.node(t) for t in table_times(config, levels, n)]
    if not any(config[key] for key in SPACED):
        return nodes
    inner = respaced(config, [node.rho for node in nodes], False)
    ends = {0: config["sigma_max"], n - 1: config["sigma_min"]}
    return [nodes[i] if ends.get(i, 0.0) is None else levels.at(s) for i, s in enumerate(inner)]


def _edm_levels(config: Mapping[str, Any], levels: Levels, n: int) -> list[float]:
    first, last, rho = levels.schedule.t_max, levels.schedule.t_min, float(config["rho"])
    if config["sigma_schedule"] not in ("karras", "exponential"):
        raise ValueError(f"sigma_schedule = {config['sigma_schedule']!r}: give 'karras' or 'exponential'")
    if n == 1:
        return [first]
    if config["sigma_schedule"] == "exponential":
        return [first * (last / first) ** (i / (n - 1)) for i in range(n)]
    a, b = first ** (1.0 / rho), last ** (1.0 / rho)
    return [(a + (b - a) * i / (n - 1)) ** rho for i in range(n)]


def _flow_levels(config: Mapping[str, Any], total: int, n: int) -> list[float]:
    """Even levels, before the shift. ``match``: between the ends of the shifted table, as FlowMatchEuler has it; ``unipc`` and ``dpm``: as
    these schedulers have it with ``use_flow_sigmas``, where the data is one of n + 1 even levels.

    Returns:
        n levels as floats, from noise to data.

    Raises:
        ValueError: ``flow_levels`` is none of the three.
    """
    kind = config["flow_levels"]
    if kind not in FLOW_LEVELS:
        raise ValueError(f"flow_levels = {kind!r}: give one of {', '.join(FLOW_LEVELS)}")
    if kind == "unipc":
        return [1.0 - (1.0 - 1.0 / total) * i / n for i in range(n)]
    if kind == "dpm":
        return [(1.0 - 1.0 / total) * (1.0 - i / n) for i in range(n)]
    low, high = (i / total if config["use_dynamic_shifting"] else shifted(config, i / total, None) for i in (1, total))
    return [high + (low - high) * i / (n - 1) for i in range(n)] if n > 1 else [high]


def _numbers(name: str, values: Any) -> list[float]:
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        raise TypeError(f"{name} = {values!r}: give a list of numbers that fall, from noise to data")
    listed = list(values)
    try:
        if any(isinstance(v, str | bytes | bool) for v in listed):
            raise TypeError
        out = [float(v) for v in listed]
    except (TypeError, ValueError):
        raise TypeError(f"{name} = {listed!r}: give a list of numbers that fall, from noise to data") from None
    if not out:
        raise ValueError(f"{name} is empty: give at least one value")
    return out


def _falling(nodes: Sequence[Node]) -> list[Node]:
    if len(nodes) > 1 and grids.check(list(nodes))[-1].lam < nodes[0].lam:
        raise ValueError("timesteps and sigmas must fall, from noise to data")
    return list(nodes)
