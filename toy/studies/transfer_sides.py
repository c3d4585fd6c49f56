"""The two sides of a transfer study: a network, and the exact targets that stand in for it.

A side is a ``Setting``, which any process makes the same: what is random in it is said by a seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any, ParamSpec, Protocol, TypeVar

import cloudpickle
import numpy as np

from scorebed.solvers import SOLVERS, Denoiser, Node, Schedule, sample
from scorebed.toy.studies.transfer_targets import TARGETS, Recipe, Target, build

NETWORK = "network"
DRAWN = "dpmpp_2m"
"""The method of the network's own samples."""
_OTHER = 1_000_003  # the draws' seed is that of the study plus this

P = ParamSpec("P")
R = TypeVar("R")


class Network(Protocol):
    """What a study asks of a network; ``gpu.models.Pretrained`` has it."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def schedule(self) -> Schedule: ...
    @property
    def denoise(self) -> Denoiser: ...
    def grid(self, n: int) -> list[Node]: ...
    def start(self, n: int, seed: int = 0, *, dtype: Any = ...) -> Any: ...


@dataclass(frozen=True)
class Setting:
    """One side of a study: the network, a target that stands in for it or ``NETWORK``, and the states."""

    network: Held
    target: str
    seed: int
    n: int


class Held:
    """A network on its way to another process: by its name where it is one of ``gpu.models``, else as it is pickled; it arrives once."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._data: bytes | None = None

    def __reduce__(self) -> Any:
        if type(self.network).__module__ == "scorebed.gpu.models.pretrained":
            return _named, (self.network.name, marks(self.network))
        self._data = self._data or cloudpickle.dumps(self.network)
        return _arrived, (self._data,)


@lru_cache(maxsize=2)
def _arrived(data: bytes) -> Held:
    return Held(cloudpickle.loads(data))


@lru_cache(maxsize=2)
def _named(name: str, wanted: tuple[str, ...]) -> Held:
    from scorebed.gpu.models import load

    network = load(name)
    if marks(network) != wanted:
        raise ValueError(f"the network is not the {name} that is loaded by that name: give jobs=1")
    return Held(network)


def alone(call: Callable[P, R]) -> Callable[P, R]:
    """The function with one thread of PyTorch: sums are then the same to the bit wherever it runs."""

    @wraps(call)
    def single(*args: P.args, **kwargs: P.kwargs) -> R:
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.no_grad():
                return call(*args, **kwargs)
        finally:
            torch.set_num_threads(threads)

    return single


@alone
def marks(network: Network) -> tuple[str, ...]:
    """What tells a network from another on any machine: what it says of two states at two nodes, along a few directions, to two digits."""
    import torch

    nodes, x = network.grid(2), network.start(2, 0, dtype=torch.float64)
    said = np.concatenate([network.denoise(nodes[i].sigma * x, nodes[i]).double().cpu().numpy().ravel() for i in (1, 2)])
    size = float(np.sqrt(np.mean(said**2))) or 1.0
    along = np.random.default_rng(0).standard_normal((8, said.size)) @ (said / (size * math.sqrt(said.size)))
    return (f"{math.log(size):.3f}", *(f"{value:.2f}" for value in along))


@lru_cache(maxsize=4)
def _built(recipe: Recipe, target: str, shape: tuple[int, ...], seed: int, draws: bytes | None) -> Target:
    points = None if draws is None else np.frombuffer(bytearray(draws)).reshape(-1, math.prod(shape))
    return build(target, shape, seed, points)


def side(setting: Setting, draws: Mapping[str, Any] | None) -> tuple[str, Denoiser]:
    """What a side is called, and its denoiser."""
    network = setting.network.network
    if setting.target == NETWORK:
        return network.name, network.denoise
    data = None if draws is None else np.ascontiguousarray(draws["draws"], np.float64).tobytes()
    made = _built(TARGETS[setting.target], setting.target, tuple(network.shape), setting.seed, data)
    return made.description, made.denoise


def start(setting: Setting) -> Any:
    """The initial states."""
    import torch

    return setting.network.network.start(setting.n, setting.seed, dtype=torch.float64)


@alone
def own_samples(network: Held, count: int, seed: int) -> dict[str, Any]:
    """``count`` samples (count, d) that the network draws: dpmpp_2m, 24 steps, from states the study does not use."""
    import torch

    one = network.network
    x, nodes = one.start(count, seed + _OTHER, dtype=torch.float32), one.grid(24)
    parts = [sample(SOLVERS[DRAWN], one.denoise, x[i : i + 64], nodes).double().flatten(1).cpu().numpy() for i in range(0, count, 64)]
    return {"draws": np.concatenate(parts)}


@alone
def described(setting: Setting, draws: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a side is, in a line."""
    return {"text": side(setting, draws)[0]}
