r"""A plain function ``f(denoise, x, nodes)`` as a candidate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scorebed.solvers import Node
from scorebed.solvers.noise import BrownianNoise
from scorebed.toy.foreign.candidate import Candidate, Denoise, How, Interface, parameters
from scorebed.toy.foreign.draws import Draws, Generator, as_noise, seed_all, torch_generator


class FunctionCandidate(Candidate):
    """A plain ``f(denoise, x, nodes)``, with any of ``noise``, ``rng``, ``generator``, ``seed`` where it draws noise.

    ``noise(s, t)`` gives unit normals, ``rng`` is a NumPy generator, ``generator`` a torch one.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str | None = None,
        *,
        library: str = "numpy",
        end: str = "none",
        options: dict[str, Any] | None = None,
        **claims: Any,
    ) -> None:
        interface = claims.pop("interface", None) or Interface(ends=(end,))
        super().__init__(str(name or getattr(function, "__name__", "function")), library=library, interface=interface, **claims)
        self.function, self.options = function, dict(options or {})
        self.takes = frozenset(parameters(function))

    @property
    def code(self) -> Any:
        return self.function

    def _go(self, denoise: Denoise, x: Any, grid: Sequence[Node], how: How) -> Any:
        return self.function(denoise, x, list(grid), **{**self._noise(x, how.seed, how.draws), **self.options})

    def _noise(self, x: Any, seed: int, draws: Draws | None) -> dict[str, Any]:
        out: dict[str, Any] = {}
        if "noise" in self.takes:
            out["noise"] = as_noise(draws, x) if draws is not None else BrownianNoise(seed, tuple(x.shape), like=x)
        if "rng" in self.takes:
            out["rng"] = Generator(draws) if draws is not None else np.random.default_rng(seed)
        if "seed" in self.takes:
            out["seed"] = seed
        if "generator" in self.takes:
            out["generator"] = torch_generator(seed) if self.library == "torch" else np.random.default_rng(seed)
        if not out:
            seed_all(seed)
        return out
