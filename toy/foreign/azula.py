"""azula's samplers with an exact denoiser, on azula's own VP schedule, from t = 1 to t = 0 or on our grid of times."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from scorebed.solvers import Node
from scorebed.toy.foreign.candidate import Candidate, Denoise, How, Interface, Own, parameters
from scorebed.toy.foreign.draws import seed_all

_OURS = ("self", "denoiser", "steps", "silent", "dtype", "device")


@dataclass(frozen=True)
class AzulaVP:
    """azula's ``VPSchedule``: alpha = a^{t²}, sigma² = 1 − alpha² + b², with a = b = 1e-3."""

    t_min: float = 0.0
    t_max: float = 1.0
    a: float = 1e-3
    b: float = 1e-3

    def node(self, t: float) -> Node:
        alpha = math.exp(math.log(self.a) * t * t)
        sigma = math.sqrt(-math.expm1(2.0 * math.log(self.a) * t * t) + self.b**2)
        return Node(t, alpha, sigma, math.log(alpha / sigma), self)

    def at_lam(self, lam: float) -> Node:
        """alpha² (1 + e^{-2 lam}) = 1 + b²."""
        log_alpha = 0.5 * (math.log1p(self.b**2) - math.log1p(math.exp(-2.0 * lam)))
        return self.node(math.sqrt(max(log_alpha / math.log(self.a), 0.0)))

    def f(self, t: float) -> float:
        return 2.0 * math.log(self.a) * t

    def g2(self, t: float) -> float:
        return -2.0 * self.f(t) * (1.0 + self.b**2)


class AzulaCandidate(Candidate):
    """A sampler of azula.

    Args:
        made: the class, or an instance whose class and options are taken.
        options: of its constructor.
    """

    kind = "azula"

    def __init__(self, made: Any, name: str | None = None, *, options: Mapping[str, Any] | None = None, **claims: Any) -> None:
        self.type = made if isinstance(made, type) else type(made)
        known = {name for base in self.type.__mro__ for name in parameters(vars(base).get("__init__", base))} - set(_OURS)
        kept = {} if isinstance(made, type) else {k: v for k, v in vars(made).items() if k in known}
        self.options = {**kept, **(options or {})}
        interface = Interface(schedules=False, both_ways=False, own=True)
        super().__init__(name or self.type.__name__, library="torch", interface=interface, schedule=AzulaVP(), **claims)

    @property
    def code(self) -> Any:
        return self.type

    def _sampler(self, denoise: Any, n: int, dtype: Any) -> Any:
        return self.type(denoise, steps=n, silent=True, dtype=dtype, **self.options)

    def own(self, n: int, dtype: str = "float64 state", fine: bool = False, ends: tuple[float, float] | None = None) -> Own:
        import torch

        times = self._sampler(None, n, torch.float32 if dtype == "float32" else torch.float64).timesteps
        return Own(n, [AzulaVP().node(float(t)) for t in times])

    def _go(self, denoise: Denoise, x: Any, grid: Sequence[Node], how: How) -> Any:
        import torch

        schedule = import_module("azula.noise").VPSchedule()

        class Posterior:
            def __init__(self, mean: Any) -> None:
                self.mean = mean

        class Exact:
            def __init__(self) -> None:
                self.schedule = schedule

            def __call__(self, y: Any, t: Any, **_: Any) -> Posterior:
                return Posterior(denoise(y[..., 0, 0], AzulaVP().node(float(t)))[..., None, None])

        seed_all(how.seed)
        sampler = self._sampler(Exact(), getattr(grid, "n", len(grid) - 1), x.dtype)
        if not isinstance(grid, Own):
            times = torch.tensor([node.t for node in grid], dtype=x.dtype)
            sampler.__class__ = type(self.type.__name__, (self.type,), {"timesteps": property(lambda _: times)})
        return sampler(x[..., None, None])[..., 0, 0]
