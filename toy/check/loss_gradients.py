"""Expected gradients of losses on exact batches, their zero, their noise, and a tiny network trained by them; torch inside."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scorebed.gpu.losses import Kind

_LEVELS = (-2.0, -1.0, 0.0, 1.0)
"""lam of s."""
_MEAN, _VARIANCE = (0.6, -0.4), (0.8, 0.25)
Loss = Callable[..., Any]
Pair = tuple[float, float]


def fit(value: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """The factor by which ``other`` is nearest to ``value``, and the distance over the size of ``value``."""
    size = float(np.linalg.norm(other))
    factor = float((value * other).sum()) / size**2 if size > 0.0 else 0.0
    return factor, float(np.linalg.norm(value - factor * other)) / max(float(np.linalg.norm(value)), 1e-300)


class Bench:
    """Students and batches at pairs of times of one process; (s, t) ``pairs``."""

    def __init__(self, process: Any, weight: Callable[[float, float], float] | None, spacing: float, samples: int, seed: int) -> None:
        from scorebed.gpu.losses import GaussianWorld

        self.process, self.weight, self.spacing, self.samples, self.seed = process, weight, spacing, samples, seed
        self.world = GaussianWorld(process, _MEAN, _VARIANCE)
        self.world.at(process.t_max)  # its refusal
        self.pairs = [(process.at_lam(lam).t, process.at_lam(lam + spacing).t) for lam in _LEVELS]
        self.longest = max(s for s, _ in self.pairs)

    def weigh(self, s: float, t: float) -> float:
        """w(s, t)."""
        if self.weight is not None:
            return self.weight(s, t)
        node = self.process.node(s)
        return float(0.3 + 2.0 * node.sigma / (node.alpha + node.sigma))

    def student(self, kind: Kind, theta: Any) -> Any:
        """The student of a kind at these parameters."""
        import torch

        from scorebed.gpu.losses import Generator, MapStudent

        made: Any = Generator(self.world) if kind.gives == "generator" else MapStudent(self.world, kind.gives, self.longest)
        with torch.no_grad():
            made.theta.copy_(torch.as_tensor(np.asarray(theta, np.float64)))
        return made

    def width(self, kind: Kind) -> int:
        return {"generator": 2, "endpoint": 4}.get(kind.gives, 5)

    def thetas(self, kind: Kind) -> np.ndarray:
        """A few students that are off."""
        return 0.3 * np.clip(np.random.default_rng(self.seed).standard_normal((2, self.width(kind))), -1.2, 1.2)

    def batch(self, kind: Kind, student: Any, pairs: Sequence[Pair], seed: int, samples: int, exact: bool) -> Any:
        from scorebed.gpu.losses.world import batch

        made = batch(self.world, pairs, samples, 1000 * self.seed + seed, self.weigh, exact)
        made.fake = student.made if kind.gives == "generator" else None
        return made

    def gradient(
        self, loss: Loss, kind: Kind, theta: Any, pairs: Sequence[Pair], seed: int = 0, samples: int | None = None, exact: bool = True
    ) -> np.ndarray:
        """Of the mean of the loss over a batch, in the student's parameters; 0 where none reaches them. What is one number of a batch gets
        a batch for each pair.

        Returns:
            gradient of the mean loss, (parameters,); 0 where none is reached.

        Raises:
            TypeError: a loss that gives no tensor.
            ValueError: one of another shape than (B,) or a number.
        """
        import torch

        if kind.pooled and len(pairs) > 1:
            return np.mean([self.gradient(loss, kind, theta, [pair], seed, samples, exact) for pair in pairs], axis=0)
        student = self.student(kind, theta)
        n = samples or (min(self.samples, 128) if kind.pooled else self.samples)
        b = self.batch(kind, student, pairs, seed, n, exact)
        value = loss(student, b)
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"the loss returned a {type(value).__name__}: give a tensor, a value for each sample or their mean")
        if value.ndim > 0 and value.shape not in ((len(b.x0),), (len(b.x0), 1)):
            raise ValueError(f"the loss returned shape {tuple(value.shape)}: give a value for each of {len(b.x0)} samples, or their mean")
        if not value.requires_grad:
            return np.zeros(self.width(kind))
        (slope,) = torch.autograd.grad(value.mean(), student.theta, allow_unused=True)
        return np.zeros(self.width(kind)) if slope is None else np.asarray(slope.numpy())

    def gradients(self, loss: Loss, kind: Kind, pairs: int | None = None) -> np.ndarray:
        """At every student and pair, (students, pairs, parameters)."""
        return np.array([[self.gradient(loss, kind, theta, [pair]) for pair in self.pairs[:pairs]] for theta in self.thetas(kind)])

    def recognise(self, loss: Loss, kind: str | None, called: str) -> tuple[Kind, str]:
        """The kind of a loss, and how it is known.

        Returns:
            (the Kind, a phrase that says how it is known).

        Raises:
            ValueError: a loss that runs as none.
        """
        from scorebed.gpu.losses import KINDS

        if kind is not None:
            return KINDS[kind], f"{kind}, as was said"
        if called in KINDS:
            return KINDS[called], f"{called}, by its name"
        values: dict[str, np.ndarray] = {}
        for one in KINDS.values():
            try:
                values[one.name] = self.gradients(loss, one)
            except Exception:  # it asks its student, or its batch, for what this kind has not
                continue
        values = {key: value for key, value in values.items() if np.isfinite(value).all() and value.any()}
        best: tuple[float, str] = (math.inf, "")
        for faults in (False, True):
            for key, value in values.items():
                one = KINDS[key]
                variants = [partial(one.loss, fault=fault) for fault in one.faults] if faults else [one.loss]
                best = min(best, *((fit(value, self.gradients(variant, one))[1], key) for variant in variants))
            if best[0] < 1e-3:
                break
        if not best[1]:
            raise ValueError(f"loss = {called} runs as none of {', '.join(KINDS)} with a gradient: give its kind, and see why it fails")
        return KINDS[best[1]], f"{best[1]}, by its gradient ({best[0]:.1g} away)"

    def total(self, loss: Loss, kind: Kind, theta: Any) -> np.ndarray:
        """The expected gradient over all pairs."""
        return self.gradient(loss, kind, theta, self.pairs)

    def solve(self, loss: Loss, kind: Kind) -> tuple[np.ndarray | None, bool]:
        """The zero of the expected gradient near the map, and whether descent converges to it."""
        theta, h = 0.15 * np.random.default_rng((self.seed, 5)).standard_normal(self.width(kind)), 1e-4
        for _ in range(16):  # Newton; the gradient of most losses is linear in an affine student
            value = self.total(loss, kind, theta)
            steps = [(self.total(loss, kind, theta + h * e) - value) / h for e in np.eye(len(theta))]
            slopes = np.array(steps).T
            move = np.linalg.lstsq(slopes, -value, rcond=1e-10)[0]
            theta = theta + move * min(1.0, 1.0 / max(1e-300, float(np.abs(move).max())))
            if np.abs(move).max() < 1e-6:
                break
        if not np.abs(theta).max() < 5.0 or not np.abs(move).max() < 1e-6:
            return None, False
        return theta, bool(np.linalg.eigvals(slopes).real.min() > -1e-6 * np.abs(slopes).max())

    def error(self, kind: Kind, theta: Any) -> float:
        """RMS distance from the exact map over the pairs, in standard deviations of the law; of a generator, of mean and spread."""
        return self.distance(kind, self.student(kind, theta))

    def distance(self, kind: Kind, student: Any, optimum: Any = None) -> float:
        """The same of any student, from the exact map, from another ``optimum``, or, of a generator, from the data's mean ("point")."""
        import torch

        with torch.no_grad():
            b = self.batch(kind, self.student(kind, np.zeros(self.width(kind))), self.pairs, 0, self.samples, True)
            if kind.gives == "generator":  # its law: the sign of z has no say
                made, root_v = student(b.z), torch.sqrt(self.world.variance)
                spread = 0.0 if optimum == "point" else 1.0
                flat = torch.cat([(made.mean(0) - self.world.mean) / root_v, made.std(0, unbiased=False) / root_v - spread])
            else:
                t = 0.0 * b.t if kind.gives == "endpoint" else b.t
                value = student(b.x, b.s) if kind.gives == "endpoint" else student.as_state(b.x, b.s, t)
                goal = self.world.flow(b.x, b.s, t) if optimum is None else optimum(b.x, b.s)
                flat = ((value - goal) / self.world.spread(t)).ravel()
        return float(torch.sqrt((flat * flat).mean()))

    def noise(self, loss: Loss, kind: Kind) -> tuple[float, float, float]:
        """(|expected gradient| of a student that is off, standard deviation of one sample's there, the same at the exact map)."""
        theta, m = self.thetas(kind)[0], 8
        size, spreads, count = float(np.linalg.norm(self.total(loss, kind, theta))), [], m * (1 if kind.pooled else len(self.pairs))
        for at in (theta, 0.0 * theta):
            draws = np.array([self.gradient(loss, kind, at, self.pairs, i + 1, m, False) for i in range(12)])
            spreads.append(math.sqrt(count * float(draws.var(0, ddof=1).sum())))
        return size, spreads[0], spreads[1]

    def train(self, loss: Loss, kind: Kind, steps: int) -> tuple[float, float]:
        """Distance of a tiny network from the closed optimum of the loss, before and after training by Adam.

        Returns:
            (distance before, distance after), RMS.

        Raises:
            ValueError: a loss whose closed optimum is its own minimiser, and that has none.
        """
        import torch

        from scorebed.gpu.losses import GaussianWorld, Network

        network = Network(self.world.d, kind.gives, self.longest, seed=self.seed)
        optimum: Any = "point" if kind.optimum == "point" else None
        if kind.optimum == "trained":
            theta, _ = self.solve(loss, kind)
            if theta is None:
                raise ValueError("the loss has no minimiser near the map, so that no network can come near it")
            optimum = self.student(kind, theta)
        before = self.distance(kind, network, optimum)
        optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
        rng = np.random.default_rng((self.seed, 7))
        for i in range(steps):
            pairs = self.pairs[i % len(self.pairs) :][:1] if kind.pooled else self.pairs
            b = self.batch(kind, self.student(kind, np.zeros(self.width(kind))), pairs, i + 1, 128 // len(pairs), False)
            if kind.gives == "generator":  # its law, as a Gaussian, from many draws
                with torch.no_grad():
                    made = network(torch.as_tensor(rng.standard_normal((512, self.world.d))))
                b.fake = GaussianWorld(self.process, made.mean(0), made.var(0) + 1e-6)
            optimiser.param_groups[0]["lr"] = 5e-3 * 0.5 * (1.0 + math.cos(math.pi * i / steps))
            optimiser.zero_grad()
            loss(network, b).mean().backward()
            optimiser.step()
        return before, self.distance(kind, network, optimum)
