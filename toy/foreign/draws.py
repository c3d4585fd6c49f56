r"""Standard normals that a candidate asks for, under our hand.

A candidate draws its noise in one of four ways: it asks a noise function that it is given, a generator that it is given, NumPy's global
generator, or torch's. ``replaced`` stands in for all of them, so that the k-th draw of a run can be a unit array: of a method that is
linear in its draws this gives the coefficient of each one, and with them exact moments of its output without Monte Carlo.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.solvers import Node
from scorebed.solvers.noise import Noise

Interval = tuple[float, float]
Draws = Callable[[tuple[int, ...], Interval | None], np.ndarray]
"""(shape, interval of the clock or None) -> standard normals. None: a draw with no address, independent of all others."""


class Recorder:
    """Draws zeros and writes down what was asked for."""

    def __init__(self) -> None:
        self.asked: list[Interval | None] = []

    def __call__(self, shape: tuple[int, ...], interval: Interval | None) -> np.ndarray:
        self.asked.append(interval)
        return np.zeros(shape)


class Units:
    r"""Unit draws: the cell j of the noise is 1 in row ``first + j`` of the batch and 0 elsewhere.

    A draw with no address has a cell of its own, and so has each interval, as with the noise of ``solvers`` where overlapping intervals are
    independent. With ``path`` draws on intervals are normalised increments of one path, Σ_j sqrt(|cell_j|/|interval|) e_j over the cells
    inside, so that overlapping intervals are correlated as those of a Brownian motion are.
    """

    def __init__(self, asked: list[Interval | None], first: int = 1, path: bool = False) -> None:
        self.first, self.free, self.path = first, 0, path
        addressed = [interval for interval in asked if interval is not None]
        if path:
            self.cells = list(pairwise(sorted({end for interval in addressed for end in interval})))
        else:
            self.cells = list(dict.fromkeys((min(i), max(i)) for i in addressed))
        self.size = first + len(self.cells) + len(asked) - len(addressed)
        self.rows = {cell: first + j for j, cell in enumerate(self.cells)}

    def __call__(self, shape: tuple[int, ...], interval: Interval | None) -> np.ndarray:
        out = np.zeros(shape)
        if interval is None:
            row = self.first + len(self.cells) + self.free
            self.free += 1
            if row >= self.size:
                raise RuntimeError("more draws than in the run before: the number of draws depends on the draws")
            out[row] = 1.0
            return out
        low, high = min(interval), max(interval)
        if not self.path:
            out[self.rows[low, high]] = 1.0
            return out
        for (a, b), row in self.rows.items():
            if low <= a and b <= high:
                out[row] = math.sqrt((b - a) / (high - low))
        return out


class Paired:
    """Draws made of others: the k-th of each ``per`` draws of a step is c times the first plus sqrt(1 - c²) times itself."""

    def __init__(self, draws: Draws, per: int, c: float) -> None:
        self.draws, self.per, self.c, self.count = draws, per, c, 0
        self.first: Any = None

    def __call__(self, shape: tuple[int, ...], interval: Interval | None) -> np.ndarray:
        value = self.draws(shape, interval)
        place, self.count = self.count % self.per, self.count + 1
        if place == 0:
            self.first = value
            return value
        return self.c * self.first + math.sqrt(1.0 - self.c**2) * value


class Generator(np.random.Generator):
    """A NumPy generator whose normals come from ``draws``; everything else is as usual."""

    def __init__(self, draws: Draws, seed: int = 0) -> None:
        super().__init__(np.random.PCG64(seed))
        self.draws = draws

    def standard_normal(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        values = self.draws(_shape(size), None).astype(dtype)
        if out is not None:
            out[...] = values
            return out
        return values

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        return loc + scale * self.draws(_shape(size) if size is not None else np.broadcast(loc, scale).shape, None)


def _shape(size: Any) -> tuple[int, ...]:
    return () if size is None else (int(size),) if isinstance(size, int | np.integer) else tuple(int(n) for n in size)


@contextmanager
def replaced(draws: Draws) -> Iterator[None]:
    """Within this, normals of NumPy's global generator and of torch (where it is loaded) come from ``draws``."""
    with ExitStack() as stack:
        stack.enter_context(_numpy(draws))
        if "torch" in sys.modules:
            stack.enter_context(_torch_mode(draws))
        yield


@contextmanager
def _numpy(draws: Draws) -> Iterator[None]:
    changed = {
        "standard_normal": lambda size=None: draws(_shape(size), None),
        "randn": lambda *shape: draws(shape, None),
        "normal": lambda loc=0.0, scale=1.0, size=None: loc + scale * draws(_shape(size), None),
        "default_rng": lambda seed=None: seed if isinstance(seed, np.random.Generator) else Generator(draws),
    }
    before = {name: getattr(np.random, name) for name in changed}
    try:
        for name, value in changed.items():
            setattr(np.random, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(np.random, name, value)


def _torch_mode(draws: Draws) -> Any:
    import torch
    from torch.overrides import TorchFunctionMode

    class Mode(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = dict(kwargs or {})
            if func is torch.randn:
                shape = kwargs.pop("size", args[0] if len(args) == 1 and not isinstance(args[0], int) else args)
                options = {k: v for k, v in kwargs.items() if k in ("dtype", "device")}
                return torch.tensor(draws(_shape(shape), None), **{"dtype": torch.get_default_dtype(), **options})
            if func is torch.randn_like:
                like = args[0]
                options = {k: v for k, v in kwargs.items() if k in ("dtype", "device") and v is not None}
                return torch.tensor(draws(tuple(like.shape), None), **{"dtype": like.dtype, "device": like.device, **options})
            if func in (torch.Tensor.normal_, torch.normal):
                if func is torch.Tensor.normal_:
                    mean, std = ([*args[1:], kwargs.get("mean", 0.0), kwargs.get("std", 1.0)] + [1.0])[:2]
                    return args[0].copy_(mean + std * torch.tensor(draws(tuple(args[0].shape), None), dtype=args[0].dtype))
                mean, std = args[0], args[1] if len(args) > 1 else kwargs.get("std", 1.0)
                size = kwargs.get("size", args[2] if len(args) > 2 else getattr(mean, "shape", getattr(std, "shape", ())))
                return mean + std * torch.tensor(draws(_shape(size), None), dtype=getattr(mean, "dtype", torch.get_default_dtype()))
            return func(*args, **kwargs)

    return Mode()


def as_noise(draws: Draws, x: Any) -> Noise:
    """``draws`` as a ``Noise``: the interval between two nodes in the clock (sigma/alpha)²."""

    def noise(s: Node, t: Node) -> Any:
        value = draws(tuple(x.shape), (min(s.rho, t.rho) ** 2, max(s.rho, t.rho) ** 2))
        return value.astype(x.dtype) if isinstance(x, np.ndarray) else x.new_tensor(value)

    return noise


def seed_all(seed: int) -> None:
    """Seed the global generators, for a candidate that takes no seed."""
    np.random.seed(seed)  # noqa: NPY002
    if "torch" in sys.modules:
        import torch

        torch.manual_seed(seed)


def torch_generator(seed: int) -> Any:
    """A torch generator of this seed."""
    import torch

    return torch.Generator().manual_seed(seed)
