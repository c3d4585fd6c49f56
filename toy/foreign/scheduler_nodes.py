r"""Which node a scheduler's state is at, and which one it tells the network.

scaled      x = x0 + rho eps; ``scale_model_input`` divides by sqrt(1 + rho²), and that ratio tells rho   (Euler, Heun, LMS, KDPM2, …)
edm         x = x0 + sigma eps; the network's output is what ``precondition_outputs`` maps to x0          (EDM…, Cosine…)
flow        x = (1 - sigma) x0 + sigma eps; the network predicts eps - x0                                 (FlowMatch…)
vp          alpha² + sigma² = 1, rho in ``sigmas``                                                        (DPMSolver…, UniPC, DEIS, …)
table       alpha² = ``alphas_cumprod[t]`` for an integer t                                               (DDIM, DDPM, PNDM, …)
sine        alpha and sigma in ``alphas`` and ``betas``                                                   (IPNDM)
continuous  alpha² = ``_alpha_cumprod(t)`` for a real t                                                   (DDPMWuerstchen)
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from scorebed.solvers import Node
from scorebed.toy.foreign.candidate import CLEAN, host


def family(s: Any) -> str:
    """The family of a scheduler whose timesteps are set."""
    import torch

    if hasattr(s, "precondition_outputs"):
        return "edm"
    config = getattr(s, "config", {})
    if hasattr(s, "sigmas"):
        flow = config.get("prediction_type") == "flow_prediction" or config.get("use_flow_sigmas") or not hasattr(s, "alphas_cumprod")
        if hasattr(s, "scale_model_input"):
            one = torch.ones(1, dtype=torch.float64)
            if abs(float(s.scale_model_input(one, s.timesteps[0])[0]) - 1.0) > 1e-3:
                return "scaled"
        if flow and float(max(s.sigmas)) <= 1.0 + 1e-6:
            return "flow"
        if hasattr(s, "alphas_cumprod") or hasattr(s, "sigmas"):
            return "vp"
    if hasattr(s, "alphas_cumprod"):
        return "table"
    if hasattr(s, "alphas") and hasattr(s, "betas"):
        return "sine"
    if hasattr(s, "_alpha_cumprod"):
        return "continuous"
    raise TypeError(f"{type(s).__name__} has neither sigmas nor alphas_cumprod: what its state is at a step is not known here")


def prediction(s: Any, family: str, names: Mapping[str, str]) -> str:
    """What its network predicts, in our words."""
    if family in ("flow", "edm"):
        return "flow"
    if family == "sine":  # it forms eps = sigma x + alpha v itself
        return "v"
    return names[getattr(s, "config", {}).get("prediction_type", "epsilon")]


def default(of: Any, option: str) -> Any:
    """The default of an option of a class."""
    return inspect.signature(of).parameters[option].default


def ascends(s: Any) -> bool:
    """Whether its time runs from noise at 0 to data at 1, so that its velocity is x0 - eps."""
    return len(s.timesteps) > 1 and float(s.timesteps[0]) < float(s.timesteps[-1])


def of(alpha: float, sigma: float) -> Node:
    """A node without schedule."""
    if sigma == 0.0:
        return CLEAN
    return Node(sigma, float(alpha), float(sigma), math.log(alpha / sigma) if alpha > 0.0 else -math.inf)


def at_level(family: str, sigma: float) -> Node:
    """The node of a state, from what ``sigmas`` holds."""
    if family in ("scaled", "edm"):
        return of(1.0, sigma)
    if family == "flow":
        return of(1.0 - sigma, sigma)
    return of(1.0 / math.hypot(1.0, sigma), sigma / math.hypot(1.0, sigma))


def in_table(s: Any, t: int) -> Node:
    """The node of a table's entry."""
    bar = float(s.alphas_cumprod[t])
    return of(math.sqrt(bar), math.sqrt(1.0 - bar))


def nodes(s: Any, family: str) -> list[Node]:
    """The nodes of its grid, doubled ones once."""
    if family in ("scaled", "edm", "flow", "vp"):
        return [at_level(family, v) for v in dict.fromkeys(float(v) for v in s.sigmas)]
    if family == "sine":
        return [of(float(a), float(b)) for a, b in zip(s.alphas, s.betas, strict=True)]
    if family == "continuous":
        return [_continuous(s, t) for t in s.timesteps]
    times = list(dict.fromkeys(int(t) for t in s.timesteps))
    return [in_table(s, t) for t in times] + [_last(s, times[-1])]


def _continuous(s: Any, t: Any) -> Node:
    bar = float(s._alpha_cumprod(t.reshape(1), "cpu"))
    return of(math.sqrt(bar), math.sqrt(1.0 - bar))


def _last(s: Any, t: int) -> Node:
    """Where the step from timestep t, the last one, ends."""
    before = int(s.previous_timestep(t)) if hasattr(s, "previous_timestep") else t - s.config.num_train_timesteps // s.num_inference_steps
    if before >= 0:
        return in_table(s, before)
    bar = float(getattr(s, "final_alpha_cumprod", 1.0))
    return of(math.sqrt(bar), math.sqrt(1.0 - bar))


def of_call(s: Any, family: str, i: int, t: Any, x: Any) -> Node:
    """The node of the state x at the i-th call of the network."""
    if family == "table":
        return in_table(s, int(t))
    if family == "sine":
        return of(float(s.alphas[i]), float(s.betas[i]))
    if family == "continuous":
        return _continuous(s, t)
    if family == "scaled":
        ratio = float(s.scale_model_input(x.new_ones(1).double(), t)[0])
        rho = math.sqrt(max(1.0 / ratio**2 - 1.0, 0.0))
        levels = np.concatenate([host(getattr(s, name)) for name in ("sigmas", "sigmas_interpol") if hasattr(s, name)])
        near = float(levels[np.abs(levels - rho).argmin()])
        return of(1.0, near if abs(near - rho) < 1e-5 * rho else rho)  # the ratio has lost digits where rho is small
    if len(s.sigmas) != len(s.timesteps) + 1:  # more calls than levels: only the timestep tells
        return told(s, family, t)
    index = getattr(s, "step_index", None)
    return at_level(family, float(s.sigmas[i if index is None else int(index)]))


def told(s: Any, family: str, t: Any) -> Node:
    """Where a network is that knows the timestep t alone: in a table between its entries, linearly in log(sigma/alpha)."""
    if family == "flow":
        return at_level("flow", 1.0 - float(t) if ascends(s) else float(t) / s.config.num_train_timesteps)
    bars = host(s.alphas_cumprod)
    if float(t) == int(t):
        return in_table(s, int(t))
    return at_level("vp", math.exp(float(np.interp(float(t), np.arange(len(bars)), 0.5 * (np.log1p(-bars) - np.log(bars))))))


def time(s: Any, family: str, sigma: float) -> float:
    """The real-valued timestep of a level of noise, so that no two nodes are rounded to one."""
    if family == "flow":
        return 1.0 - sigma if ascends(s) else sigma * float(s.config.num_train_timesteps)
    if family == "edm" or not hasattr(s, "alphas_cumprod"):
        return 0.25 * math.log(sigma)
    bars = host(s.alphas_cumprod)
    return float(np.interp(math.log(sigma), 0.5 * (np.log1p(-bars) - np.log(bars)), np.arange(len(bars))))
