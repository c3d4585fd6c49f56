"""What is advised or tuned: a model, its schedule and range, and states to try it on; by name, or somebody's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scorebed.solvers import SOLVERS, Denoiser, Node, Schedule, denoiser, sample
from scorebed.solvers.grid import uniform_lam
from scorebed.toy.problems.registry import PROBLEMS
from scorebed.toy.tuning.pull import Pull, law_pull, network_pull

Array = Any
_TEACHER, _LEVELS, _AGREE = "dpmpp_3m", (80, 160, 320), 7e-4
"""A method of order 3, whose error is a seventh of what it changes when the steps are halved: so the answers are right to 1e-4."""


@dataclass(frozen=True)
class Setting:
    """A model and the range it runs over.

    Attributes:
        name: for tables and records.
        denoise: E[x0 | x] as a function of (x, node).
        schedule: of the grids; ``start`` and ``end`` are its times, None the schedule's own ends.
        draw: (n, seed) -> states at the first node.
        exact: (x, first, last) -> where the flow takes x, where that is closed; None: a long run answers.
        variances: eigenvalues of the covariance of the data, for grids that fit themselves to it; None where nobody knows.
        pull: (x, node) -> (D, v -> Jᵀ v) with J = ∂D/∂x, for a search by gradient; None where nobody can tell.
    """

    name: str
    denoise: Denoiser
    schedule: Schedule
    draw: Callable[[int, int], Array]
    start: float | None = None
    end: float | None = None
    exact: Callable[[Array, Node, Node], Array] | None = None
    variances: Sequence[float] | None = None
    pull: Pull | None = None

    @property
    def ends(self) -> tuple[Node, Node]:
        """The first and the last node."""
        first = self.schedule.t_max if self.start is None else self.start
        last = self.schedule.t_min if self.end is None else self.end
        return self.schedule.node(first), self.schedule.node(last)

    def answer(self, x: Array, *, confirmed: bool = True) -> Array:
        """Where the flow takes the states x: by the closed map, else by a long run.

        Args:
            x: states at the first node.
            confirmed: a run of 80, 160 or 320 steps, for each state as many as half of them confirm; else one of 80, which was right to
                3e-4 on every network here and takes a third of the time: enough for states that only move numbers.

        Returns:
            states at the last node, of the shape of x.
        """
        first, last = self.ends
        if self.exact is not None:
            return self.exact(x, first, last)
        out, rows, before = 1.0 * x, np.arange(len(x)), None
        for n in _LEVELS if confirmed else _LEVELS[:1]:
            grid = uniform_lam(self.schedule, n, first.t, last.t)
            found = sample(SOLVERS[_TEACHER], self.denoise, x[rows], grid, terminal="none")
            out[rows] = found
            if before is not None:
                still = np.flatnonzero(distances(found, before) >= _AGREE)
                rows, found = rows[still], found[still]
            if not len(rows):
                break
            before = found
        return out


def distances(x: Array, y: Array) -> np.ndarray:
    """The RMS distance of each sample; shape (n,)."""
    gap = np.asarray(x.detach().cpu() if hasattr(x, "detach") else x, dtype=float) - np.asarray(
        y.detach().cpu() if hasattr(y, "detach") else y, dtype=float
    )
    return np.asarray(np.sqrt(np.mean(gap.reshape(len(gap), -1) ** 2, axis=1)))


def own(
    function: Any,
    *,
    schedule: Schedule,
    shape: Sequence[int],
    prediction: str = "denoised",
    library: str = "numpy",
    name: str = "own",
) -> Setting:
    """The setting of somebody's own model.

    Args:
        function: (x, node) -> its prediction, for states (n, *shape).
        schedule: of its process; runs go from ``t_max`` to ``t_min``.
        shape: of one sample.
        prediction: what it predicts, one of ``PREDICTIONS``.
        library: "numpy" or "torch", float32, the kind of state that it takes.
        name: for tables and records.

    Returns:
        the Setting of the model.

    Raises:
        ValueError: an unknown prediction or library.
    """
    if library not in ("numpy", "torch"):
        raise ValueError(f"library = {library!r} is not known: give numpy or torch")
    top, pull = schedule.node(schedule.t_max), None
    if library == "torch":
        from scorebed.gpu.models.own import GradFree

        pull = network_pull(denoiser(function, prediction))
        function = GradFree(function)

    def draw(n: int, seed: int) -> Array:
        x = top.sigma * np.random.default_rng(seed).standard_normal((n, *shape))
        if library == "numpy":
            return x
        import torch

        return torch.from_numpy(x).float()

    return Setting(name=name, denoise=denoiser(function, prediction), schedule=schedule, draw=draw, pull=pull)


def named(name: str, end: float | None = None) -> Setting:
    """The setting of an exact problem or of a pretrained network.

    Args:
        name: of ``PROBLEMS``, or of ``gpu.models``.
        end: the time where runs end; None takes the problem's or network's own.

    Returns:
        the Setting of the named problem or network.

    Raises:
        ValueError: an unknown name; the message says what there is.
    """
    if name in PROBLEMS:
        problem = PROBLEMS[name]
        if problem.space is not None or problem.process.kind != "gaussian":
            raise ValueError(f"model = {name!r} is a problem of another kind: give one of R^d, or a network")
        first, last = problem.ends
        return Setting(
            name=name,
            denoise=problem.model,
            schedule=problem.process,
            draw=problem.draw,
            start=first.t,
            end=last.t if end is None else end,
            exact=lambda x, s, t: problem.exact(x, s, t).x,
            variances=tuple(map(float, np.linalg.eigvalsh(np.asarray(problem.target.covariance())))),
            pull=law_pull(problem.model),
        )
    from scorebed.gpu import models

    if name not in models.names():
        raise ValueError(
            f"model = {name!r} is not known: give a problem ({', '.join(PROBLEMS)}) or a network ({', '.join(models.names())})"
        )
    network = models.load(name)
    pull = network_pull(network.denoise.keeping() if hasattr(network.denoise, "keeping") else network.denoise)
    return Setting(name=name, denoise=network.denoise, schedule=network.schedule, draw=network.start, end=end, pull=pull)
