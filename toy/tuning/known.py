"""What a schedule may be made from: a setting, a solver, training states with their trajectories, the spectrum of the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from scorebed.solvers import SOLVERS, Node, NonFinite, Solver, sample
from scorebed.solvers.grid import uniform_lam
from scorebed.solvers.spacing import align_gaussian
from scorebed.toy.tuning.caches import spectrum
from scorebed.toy.tuning.setting import Setting, distances

FINE = 80
"""Steps of the table of levels."""


@dataclass
class Known:
    """What a schedule may be made from: the setting, the solver, and training states with their trajectories.

    Attributes:
        setting, solver, steps: what runs.
        states, seed: of training; the seed is not that of the states on which schedules are judged.
        tried: how many schedules a search has run on the training states.
    """

    setting: Setting
    solver: Solver
    steps: int
    states: int = 24
    seed: int = 11
    tried: dict[str, int] = field(default_factory=dict)

    @cached_property
    def x(self) -> Any:
        return self.setting.draw(self.states, self.seed)

    @cached_property
    def answer(self) -> Any:
        return self.setting.answer(self.x)

    @cached_property
    def variances(self) -> np.ndarray:
        return spectrum(self.setting)

    @cached_property
    def fine(self) -> list[Node]:
        """The table of levels at which trajectories are known."""
        return self.levels(FINE)

    def levels(self, count: int) -> list[Node]:
        """Half of them equal steps of lam, half equal steps of arctan(rho/c)."""
        first, last = self.setting.ends
        c = math.sqrt(float(np.mean(self.variances)))
        both = [
            uniform_lam(self.setting.schedule, count // 2, first.t, last.t),
            align_gaussian(self.setting.schedule, count // 2, first.t, last.t, c=c),
        ]
        inner = sorted({round(node.lam, 9): node for grid in both for node in grid[1:-1]}.values(), key=lambda node: node.lam)
        return [first, *inner, last]

    @cached_property
    def path(self) -> tuple[np.ndarray, np.ndarray]:
        """States and denoised means along the table, (levels, states, entries)."""
        run = sample(SOLVERS["dpmpp_3m"], self.setting.denoise, self.x, self.fine, terminal="denoise", record=True)
        return tuple(np.stack([_flat(value) for value in values]) for values in (run.xs, run.denoised))  # type: ignore[return-value]

    def error(self, nodes: Sequence[Node], solver: Solver | None = None) -> float:
        """The mean log error on a grid over the training states, of the solver or of another one; inf where it diverges."""
        try:
            with np.errstate(all="ignore"):
                out = sample(solver or self.solver, self.setting.denoise, self.x, nodes, terminal="none", noise=0)
        except (NonFinite, ValueError, ZeroDivisionError, OverflowError):
            return math.inf
        return float(np.mean(np.log(distances(out, self.answer) + 1e-300)))

    def grid(self, inner: np.ndarray) -> list[Node]:
        """The grid whose steps of lam are in these proportions, given as logarithms."""
        first, last = self.setting.ends
        shares = np.cumsum(np.exp(inner - np.max(inner)))
        lams = first.lam + (last.lam - first.lam) * shares[:-1] / shares[-1]
        return [first, *(self.setting.schedule.at_lam(float(lam)) for lam in lams), last]


def _flat(value: Any) -> np.ndarray:
    made = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value, dtype=float)
    return made.reshape(len(made), -1)
