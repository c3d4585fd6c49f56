r"""Posterior samplers on a real network, against a long run of an asymptotically exact one.

A part of the pixels of a drawn image is seen, with noise r. The reference is split Gibbs (PnP-DM) over many levels with many inner steps,
from as many independent starts as there are samples; a second one, twice as long, says how far the first is from its own limit. Rows are

    mean     RMS over pixels of (mean − reference mean)/std, std the reference's root mean square over the pixels that are not seen
    spread   root mean square of the samples' std over the reference's, on the pixels that are not seen
    residual RMS of (y − A x0)/r; the posterior's own is near 1, or the network's floor
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from scorebed.solvers.inverse import METHODS, Method
from scorebed.solvers.state import NonFinite

COLUMNS = ("model", "method", "steps", "nfe", "vjp", "mean", "spread", "residual", "seconds")
DEFAULT = ("ddnm", "diffpir", "pigdm", "mmps", "dps", "pnp_dm")


@dataclass(frozen=True)
class Masked:
    """A network's own drawing behind a mask.

    Attributes:
        name: of the network (``gpu.models``), or the network itself.
        every: one pixel in so many is seen, at places drawn by ``seed``.
        noise: r, in the network's units.
        samples: n, of every method and of the reference.
    """

    name: Any = "galaxy-hsc-32"
    every: int = 4
    noise: float = 0.02
    samples: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if self.every < 2 or self.samples < 2 or not self.noise > 0.0:
            raise ValueError(
                f"every = {self.every}, samples = {self.samples}, noise = {self.noise}: give at least 2, 2 and a positive noise"
            )

    @cached_property
    def network(self) -> Any:
        from scorebed.gpu.models import load

        return load(self.name) if isinstance(self.name, str) else self.name

    @cached_property
    def model(self) -> Any:
        from scorebed.gpu.network.posterior import NetworkModel

        denoise = copy(self.network.denoise)
        denoise.grad = True
        return NetworkModel(denoise, self.network.shape)

    @cached_property
    def seen(self) -> np.ndarray:
        """The numbers of the pixels that are seen."""
        d = self.model.d
        return np.sort(np.random.default_rng(self.seed).choice(d, d // self.every, replace=False))

    @cached_property
    def operator(self) -> Any:
        from scorebed.solvers.operator import Linear

        return Linear(np.eye(self.model.d)[self.seen], self.noise**2, name="mask")

    @cached_property
    def y(self) -> Any:
        """What is seen of one drawing, (m,)."""
        import torch

        from scorebed.solvers import SOLVERS, sample

        net = self.network
        x0 = sample(SOLVERS["dpmpp_2m"], net.denoise, net.start(1, self.seed + 1), net.grid(40)).reshape(-1)
        fresh = torch.randn(len(self.seen), generator=torch.Generator().manual_seed(self.seed), dtype=x0.dtype)
        return x0[self.seen] + self.noise * fresh

    def run(self, method: Any, steps: int, seed: int = 0) -> dict[str, Any]:
        """``gpu.network.posterior.reconstruct`` from fresh starts."""
        from scorebed.gpu.network.posterior import reconstruct

        start = self.network.start(self.samples, seed + 2).reshape(self.samples, -1)
        return reconstruct(method, self.model, self.operator, self.y, start, self.network.grid(steps), seed)


@dataclass(frozen=True)
class Reference:
    """Mean (d,) and std (d,) of a long run; ``own`` is the distance of its mean from a run of twice its levels, in the unit of the rows,
    and ``chance`` what two exact sets of so many samples would differ by."""

    mean: np.ndarray
    std: np.ndarray
    own: float
    chance: float
    nfe: int


def reference(problem: Masked, levels: int = 60, inner: int = 6) -> Reference:
    """The long run, and one twice as long that it is held against; the longer one is returned."""
    short, long = (problem.run(METHODS["pnp_dm"](inner=inner), n, seed) for n, seed in ((levels, 11), (2 * levels, 12)))
    means, stds = zip(*(_moments(r["x0"]) for r in (short, long)), strict=True)
    unit = _unit(stds[1], problem.seen)
    off = float(np.sqrt(np.mean((means[0] - means[1]) ** 2))) / unit
    chance = float(np.sqrt(np.mean(stds[1] ** 2) * 2.0 / problem.samples)) / unit
    return Reference(means[1], stds[1], off, chance, int(long["nfe"]))


def _moments(x0: Any) -> tuple[np.ndarray, np.ndarray]:
    x = np.asarray(x0.detach().double().cpu())
    return x.mean(0), x.std(0, ddof=1)


def _unit(std: np.ndarray, seen: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.delete(std, seen) ** 2)))


def rows(
    problem: Masked,
    truth: Reference,
    methods: Sequence[str | Method] = DEFAULT,
    steps: Sequence[int] = (10, 40),
    tell: Callable[[int, int, str], object] | None = None,
    moments: dict[str, tuple[np.ndarray, np.ndarray]] | None = None,
) -> pd.DataFrame:
    """One row for each method and number of steps, in the order of ``COLUMNS``; ``moments`` takes mean and std by name."""
    out, cells = [], [(METHODS[m] if isinstance(m, str) else m, n) for m in methods for n in steps]
    for i, (method, n) in enumerate(cells):
        if tell is not None:
            tell(i, len(cells), f"{method.name}, {n} steps")
        out.append(
            {"model": problem.network.name, "method": method.name, "steps": n}
            | _row(problem, truth, method, n, {} if moments is None else moments)
        )
    return pd.DataFrame(out, columns=list(COLUMNS))


def _row(problem: Masked, truth: Reference, method: Method, n: int, moments: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    try:
        found = problem.run(method, n)
    except NonFinite:
        return dict.fromkeys(("mean", "spread", "residual"), math.inf) | {"nfe": problem.model.evaluations, "vjp": problem.model.products}
    mean, std = moments[method.name] = _moments(found["x0"])
    unit = _unit(truth.std, problem.seen)
    off = float(np.sqrt(np.mean((mean - truth.mean) ** 2))) / unit
    return {"mean": off, "spread": _unit(std, problem.seen) / unit} | {k: found[k] for k in ("nfe", "vjp", "residual", "seconds")}
