r"""Networks trained at N integer timesteps, as a schedule with real-valued times.

A table of alphas_cumprod gives lam_i = log(alpha_i/sigma_i) at t = 0 … N − 1, alpha² + sigma² = 1. Between the entries lam is linear in t,
as the log sigma of k-diffusion and diffusers is, so that a node at any lam has a real-valued t. Most networks embed the timestep by sines
and take it as it is. ``rounding="nearest"`` hands over the nearest integer instead, for networks that look it up: then the network is asked
about another noise level than that of its input, and no solver's error falls below what that costs. ``mismatch`` says how far off it is in
lam, ``rounding_cost`` what it does to the answer.

Below t = 0 and above t = N − 1 lam goes on with the slope of the last interval; the network is told the end.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from scorebed.solvers import Denoiser, Node
from scorebed.solvers.process import ScalarProcess

LEAST = 2.0**-24
"""What stands for an alphas_cumprod of 0 (zero terminal signal), as in diffusers; or a quarter of the entry before, if that is less."""


@dataclass(frozen=True)
class TableSchedule(ScalarProcess):
    """The schedule of a table of alphas_cumprod.

    Raises:
        ValueError: fewer than two entries, not strictly falling, or outside (0, 1) but for a last one of 0.
    """

    alphas_cumprod: tuple[float, ...] = field(repr=False)
    rounding: Literal["none", "nearest"] = "none"
    _lam: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        table = tuple(float(a) for a in self.alphas_cumprod)
        if len(table) < 2:
            raise ValueError(f"alphas_cumprod has {len(table)} entries: give at least two")
        if table[-1] == 0.0:
            table = (*table[:-1], min(LEAST, 0.25 * table[-2]))
        if not all(0.0 < a < 1.0 for a in table) or any(b >= a for a, b in pairwise(table)):
            raise ValueError("alphas_cumprod must fall strictly and lie between 0 and 1 (a last entry of 0 stands for a tiny one)")
        if self.rounding not in ("none", "nearest"):
            raise ValueError(f"rounding = {self.rounding!r}: give 'none' or 'nearest'")
        object.__setattr__(self, "alphas_cumprod", table)
        object.__setattr__(self, "_lam", tuple(0.5 * (math.log(a) - math.log1p(-a)) for a in table))

    @property
    def t_min(self) -> float:
        return 0.0

    @property
    def t_max(self) -> float:
        return float(len(self._lam) - 1)

    def _slope(self, i: int) -> float:
        return self._lam[i + 1] - self._lam[i]

    def _interval(self, t: float) -> int:
        return min(max(math.floor(t), 0), len(self._lam) - 2)

    def node(self, t: float) -> Node:
        """The node at the real-valued timestep ``t``."""
        t = float(t)
        if not math.isfinite(t):
            raise ValueError(f"t = {t!r} is not a timestep: give a finite number")
        i = self._interval(t)
        if t == i:
            return self._make(t, self._lam[i])
        return self._make(t, self._lam[i] + (t - i) * self._slope(i))

    def at_lam(self, lam: float) -> Node:
        lam = float(lam)
        if not math.isfinite(lam):
            raise ValueError(f"lam = {lam!r} has no timestep: give a finite number")
        i = bisect_left(self._lam, -lam, key=lambda v: -v)  # the table falls
        i = min(max(i - 1, 0), len(self._lam) - 2)
        return self._make(i + (lam - self._lam[i]) / self._slope(i), lam)

    def _make(self, t: float, lam: float) -> Node:
        def root(z: float) -> float:  # sqrt of 1/(1 + e^z)
            return math.exp(-0.5 * (max(z, 0.0) + math.log1p(math.exp(-abs(z)))))

        return Node(t, root(-2.0 * lam), root(2.0 * lam), lam, self)

    def f(self, t: float) -> float:
        """d log(alpha)/dt = sigma² dlam/dt."""
        return self.node(t).sigma ** 2 * self._slope(self._interval(t))

    def g2(self, t: float) -> float:
        """−2 sigma² dlam/dt."""
        return -2.0 * self.f(t)

    def time(self, node: Node) -> float:
        """What the network is told at a node: its t, kept in the table, and rounded if so chosen."""
        t = min(max(node.t, 0.0), self.t_max)
        return float(math.floor(t + 0.5)) if self.rounding == "nearest" else t


def mismatch(schedule: TableSchedule, nodes: Iterable[Node]) -> float:
    """The largest |lam(told) − lam(node)|: how far off in log-SNR the network is asked; 0 where the times are real-valued."""
    return max(abs(schedule.node(schedule.time(node)).lam - node.lam) for node in nodes)


def rounding_cost(exact: Denoiser, rounded: Denoiser, states: Sequence[tuple[Tensor, Node]]) -> float:
    """The largest rms difference of two wrappings of one network over pairs (state, node), relative to the rms of the first."""
    worst = 0.0
    for x, node in states:
        kept, moved = exact(x, node), rounded(x, node)
        worst = max(worst, float(torch.linalg.vector_norm(kept - moved) / torch.linalg.vector_norm(kept)))
    return worst
