r"""A sampler in the style of k-diffusion, ``sampler(model, x, sigmas, …)`` with ``model(x, sigma) -> denoised``, and k-diffusion's own.

State and sigma are those of arXiv:2206.00364, alpha = 1. Of k-diffusion only ``sampling.py`` is loaded: importing the package asks for
wandb, kornia and clip, which no sampler needs.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from scorebed.solvers import EDM, Node, RectifiedFlow, Schedule
from scorebed.toy.foreign.candidate import CLEAN, Candidate, Denoise, How, Interface, Own, host, parameters, source
from scorebed.toy.foreign.draws import Draws, Generator, seed_all

NAME = "scorebed_peers_k_diffusion"
HIGH, LOW = 80.0, 0.002
"""The ends of the grid that users walk, as in table 1 of arXiv:2206.00364."""


def origin() -> Path:
    """Where the installed ``sampling.py`` of k-diffusion is.

    Returns:
        the path of ``sampling.py``.

    Raises:
        ModuleNotFoundError: k-diffusion is not installed.
    """
    try:
        files = importlib.metadata.files("k-diffusion") or []
    except importlib.metadata.PackageNotFoundError:
        raise ModuleNotFoundError("k-diffusion is not installed", name="k_diffusion") from None
    return Path(str(next(f for f in files if f.name == "sampling.py").locate()))


@cache
def sampling() -> ModuleType:
    """k-diffusion's ``sampling.py`` as a module of its own."""
    package, utils = ModuleType(NAME), ModuleType(f"{NAME}.utils")
    utils.append_dims = lambda x, d: x[(...,) + (None,) * (d - x.ndim)]  # type: ignore[attr-defined]
    package.utils = utils  # type: ignore[attr-defined]
    package.__path__ = []
    sys.modules[NAME], sys.modules[utils.__name__] = package, utils
    spec = importlib.util.spec_from_file_location(f"{NAME}.sampling", origin())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"{NAME}.sampling"] = module
    spec.loader.exec_module(module)
    return module


def karras(n: int) -> list[Node]:
    """n levels from 80 to 0.002, uniform in the seventh root, and 0: what users of k-diffusion walk."""
    ramp = np.linspace(0.0, 1.0, n) if n > 1 else np.zeros(1)
    sigmas = (HIGH ** (1 / 7) + ramp * (LOW ** (1 / 7) - HIGH ** (1 / 7))) ** 7
    return [*(EDM().node(float(s)) for s in sigmas), CLEAN]


class KDiffusionCandidate(Candidate):
    """``sampler(model, x, sigmas, extra_args=…, callback=…, disable=…)``; alpha = 1, sigma the time.

    With ``end="zero"`` a 0 is appended to the sigmas, as the samplers of k-diffusion expect. A ``noise_sampler`` parameter is given our
    noise when draws are replaced; ``brownian`` says whether its default is a Brownian path over sigma (seen in its source by default)
    or independent draws. A sampler ``(model, x, sigma_min, sigma_max, n, …)`` makes its own grid of n steps, of 3 n evaluations; without n
    it chooses its steps by its tolerances. ``flow``: as ComfyUI hands such functions flow models ("CONST"): x = (1 − sigma) x0 + sigma eps.
    """

    kind = "k-diffusion"

    def __init__(
        self,
        sampler: Callable[..., Any],
        name: str | None = None,
        *,
        library: str = "torch",
        options: dict[str, Any] | None = None,
        brownian: bool | None = None,
        flow: bool = False,
        **claims: Any,
    ) -> None:
        places = parameters(sampler)
        ends = places[2:4] == ["sigma_min", "sigma_max"]
        interface = claims.pop("interface", None) or Interface(
            grid=not ends, schedules=False, ends=("none",) if ends else ("none", "zero"), both_ways=not ends, own=not flow, between=ends
        )
        self.clock: Schedule = RectifiedFlow() if flow else EDM()
        claims.setdefault("schedule", self.clock)
        super().__init__(str(name or getattr(sampler, "__name__", "sampler")), library=library, interface=interface, **claims)
        self.sampler, self.options, self.takes = sampler, dict(options or {}), frozenset(places)
        self.adaptive = self.interface.between and "n" not in places
        self.brownian = self.path = "BrownianTree" in source(sampler) if brownian is None else brownian

    @property
    def code(self) -> Any:
        return self.sampler

    def own(self, n: int, dtype: str = "float64 state", fine: bool = False, ends: tuple[float, float] | None = None) -> Own:
        return Own(n, [EDM().node(s) for s in ends or (HIGH, LOW)] if self.interface.between else karras(n))

    def _go(self, denoise: Denoise, x: Any, grid: Sequence[Node], how: How) -> Any:
        levels = [node.sigma for node in grid] + ([0.0] if how.end == "zero" and not isinstance(grid, Own) else [])
        floating = isinstance(x, np.ndarray) and x.dtype.kind == "f"
        sigmas = np.array(levels, x.dtype if floating else float) if self.library == "numpy" else self._levels(x, levels)

        def model(y: Any, sigma: Any, **_: Any) -> Any:
            with self.unwatched():
                level = float(np.ravel(host(sigma))[0])
                return denoise(y, CLEAN if level == 0.0 else self.clock.node(level))

        seed_all(how.seed)
        options: dict[str, Any] = {"disable": True} if "disable" in self.takes else {}
        if "noise_sampler" in self.takes and how.draws is not None:
            options["noise_sampler"] = self._sampler_of(how.draws, x)
        elif "noise_sampler" in self.takes and self.brownian:
            options["noise_sampler"] = self._tree(x, sigmas, how.seed)
        if "seed" in self.takes:
            options["seed"] = how.seed
        if "rng" in self.takes:
            options["rng"] = np.random.default_rng(how.seed) if how.draws is None else Generator(how.draws)
        options |= self.options
        if not self.interface.between:
            return self.sampler(model, x, sigmas, **options)
        n = getattr(grid, "n", len(grid) - 1)
        if self.adaptive:
            tolerance = 10.0 ** (-1.0 - n / 40.0)
            return self.sampler(model, x, levels[-1], levels[0], **{"rtol": tolerance, "atol": tolerance, **options})
        return self.sampler(model, x, levels[-1], levels[0], 3 * n, **options)

    @staticmethod
    def _levels(x: Any, levels: list[float]) -> Any:
        import torch

        return torch.tensor(levels, dtype=x.dtype if x.is_floating_point() else torch.float64, device=x.device)

    def _sampler_of(self, draws: Draws, x: Any) -> Callable[[Any, Any], Any]:
        def noise_sampler(a: Any, b: Any) -> Any:
            interval = (float(a), float(b)) if self.brownian else None
            return self.state(draws(tuple(x.shape), interval))

        return noise_sampler

    def _tree(self, x: Any, sigmas: Any, seed: int) -> Any:
        """The sampler's own Brownian tree with a seed: by default it has none, so that no two runs agree."""
        tree = getattr(self.sampler, "__globals__", {}).get("BrownianTreeNoiseSampler")
        if tree is None:
            return None
        positive = sigmas[sigmas > 0]
        return tree(x, positive.min(), positive.max(), seed=seed)
