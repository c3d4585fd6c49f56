"""Driving azula's samplers with an exact denoiser, on azula's own VP schedule, from t = 1 to t = 0 or on our grid of times."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from scorebed.solvers import Node
from scorebed.toy.peers.kdiffusion import drawn
from scorebed.toy.peers.schedulers import SHIPPED, Mode, Ran
from scorebed.toy.peers.truth import node


@dataclass
class Azula:
    """One sampler class with options."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    changed: type | None = None
    family: str = "azula"

    def run(
        self,
        n: int,
        initial: Callable[[Node], np.ndarray],
        denoise: Callable[[Any, Node], Any],
        mode: Mode = SHIPPED,
        noise: Any = None,
    ) -> Ran:
        """One run of n steps."""
        import torch

        module, noises = import_module("azula.sample"), import_module("azula.noise")

        dtype = torch.float64 if mode.wide else torch.float32
        schedule = noises.VPSchedule()
        calls = 0

        class Posterior:
            def __init__(self, mean: Any) -> None:
                self.mean = mean

        class Exact:
            def __init__(self) -> None:
                self.schedule = schedule

            def __call__(self, x: Any, t: Any, **_: Any) -> Posterior:
                nonlocal calls
                calls += 1
                alpha, sigma = (float(v) for v in schedule(t))
                d = denoise(np.asarray(x, dtype=float)[..., 0, 0], node(alpha, sigma))
                return Posterior(torch.tensor(d[..., None, None], dtype=x.dtype))

        found = self.changed or getattr(module, self.name)
        sampler = found(Exact(), steps=n, silent=True, dtype=dtype if mode.wide else None, **self.options)
        if mode.grid is not None:
            times = torch.tensor(_times(mode.grid(n)), dtype=dtype)
            sampler.__class__ = type(found.__name__, (found,), {"timesteps": property(lambda _: times)})
        ends = [node(*(float(v) for v in schedule(t))) for t in (sampler.timesteps[0], sampler.timesteps[-1])]
        x = torch.tensor(initial(ends[0])[..., None, None], dtype=dtype)
        with drawn(module, noise):
            out = sampler(x)
        return Ran(np.asarray(out, dtype=float)[..., 0, 0], ends[0], ends[1], calls)


def _times(rho: np.ndarray) -> np.ndarray:
    """t of azula's VP schedule with sigma/alpha = rho: sigma² = 1 − alpha² + 1e-6 gives alpha² = (1 + 1e-6)/(1 + rho²)."""
    log_alpha = 0.5 * (math.log1p(1e-6) - np.log1p(rho * rho))
    return np.asarray(np.sqrt(log_alpha / math.log(1e-3)))
