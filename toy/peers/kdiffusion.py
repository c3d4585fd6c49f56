r"""Driving k-diffusion's samplers with an exact denoiser.

Only ``sampling.py`` is loaded: importing the package asks for wandb, kornia and clip, which no sampler needs. State and sigma are those of
arXiv:2206.00364, alpha = 1.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path as File
from types import ModuleType
from typing import Any

import numpy as np

from scorebed.solvers import Node
from scorebed.toy.peers.affine import Path
from scorebed.toy.peers.schedulers import SHIPPED, Mode, Ran
from scorebed.toy.peers.truth import node

NAME = "scorebed_peers_k_diffusion"


def source() -> File:
    """Where the installed ``sampling.py`` is.

    Raises:
        ModuleNotFoundError: k-diffusion is not installed.
    """
    try:
        files = importlib.metadata.files("k-diffusion") or []
    except importlib.metadata.PackageNotFoundError:
        raise ModuleNotFoundError("k-diffusion is not installed", name="k_diffusion") from None
    return File(str(next(f for f in files if f.name == "sampling.py").locate()))


@cache
def sampling() -> ModuleType:
    """k-diffusion's ``sampling.py`` as a module of its own."""
    package, utils = ModuleType(NAME), ModuleType(f"{NAME}.utils")
    utils.append_dims = lambda x, d: x[(...,) + (None,) * (d - x.ndim)]  # type: ignore[attr-defined]
    package.utils = utils  # type: ignore[attr-defined]
    package.__path__ = []
    sys.modules[NAME], sys.modules[utils.__name__] = package, utils
    spec = importlib.util.spec_from_file_location(f"{NAME}.sampling", source())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"{NAME}.sampling"] = module
    spec.loader.exec_module(module)
    return module


class _Drawn:
    """torch with our normals."""

    def __init__(self, module: Any, noise: Any) -> None:
        self._module, self._noise = module, noise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def randn_like(self, x: Any) -> Any:
        return self._noise(x.shape, x.dtype)


@contextmanager
def drawn(module: Any, noise: Any) -> Iterator[None]:
    """``torch.randn_like`` of a module answers with our normals, for the time of a ``with``."""
    kept = module.torch
    if noise is not None:
        module.torch = _Drawn(kept, noise)
    try:
        yield
    finally:
        module.torch = kept


@dataclass
class Sampler:
    """One ``sample_*`` with options. ``brownian``: its default noise is a Brownian path in sigma. ``free``: it takes no grid of nodes."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    brownian: bool = False
    free: str | None = None
    edit: Callable[[ModuleType], Any] | None = None
    changed: Callable[..., Any] | None = None
    family: str = "ve"

    def sigmas(self, n: int, mode: Mode) -> np.ndarray:
        """The nodes: ours, or Karras's from 80 to 0.002 and then 0, as in the paper's table 1."""
        if mode.grid is not None:
            return mode.grid(n)
        if self.free:
            return np.array([80.0, 0.002])
        ramp = np.linspace(0.0, 1.0, n) if n > 1 else np.zeros(1)
        low, high = 0.002 ** (1 / 7), 80.0 ** (1 / 7)
        return np.append((high + ramp * (low - high)) ** 7, 0.0)

    def run(
        self,
        n: int,
        initial: Callable[[Node], np.ndarray],
        denoise: Callable[[Any, Node], Any],
        mode: Mode = SHIPPED,
        noise: Any = None,
    ) -> Ran:
        """One run of n steps; for ``dpm_fast`` of 3 n evaluations."""
        import torch

        module = sampling()
        dtype = torch.float64 if mode.wide else torch.float32
        values = self.sigmas(n, mode)
        low, high = (values[-1] or values[-2]), values[0]
        first, last = node(1.0, float(values[0])), node(1.0, float(low if self.free else values[-1]))
        x = torch.tensor(initial(first)[..., None, None], dtype=dtype)
        calls = 0

        def model(y: Any, sigma: Any, **_: Any) -> Any:
            nonlocal calls
            calls += 1
            at = node(1.0, float(sigma.flatten()[0]))
            return torch.tensor(denoise(np.asarray(y, dtype=float)[..., 0, 0], at)[..., None, None], dtype=y.dtype)

        options = dict(self.options)
        if self.brownian and noise is not None:
            options["noise_sampler"] = Path(noise, x)
        sampler = self.changed or getattr(module, self.name)
        before = torch.get_default_dtype()
        if mode.wide:
            torch.set_default_dtype(torch.float64)
        try:
            with drawn(module, noise):
                if self.free == "fast":
                    x = sampler(model, x, float(low), float(high), 3 * n, disable=True, **options)
                elif self.free == "adaptive":
                    tol = 10.0 ** (-1.0 - n / 40.0)
                    x = sampler(model, x, float(low), float(high), disable=True, rtol=tol, atol=tol, **options)
                else:
                    x = sampler(model, x, torch.tensor(values, dtype=dtype), disable=True, **options)
        finally:
            torch.set_default_dtype(before)
        return Ran(np.asarray(x, dtype=float)[..., 0, 0], first, last, calls)
