r"""The faces of our ``Solver``, of a plain function, and of a sampler in the style of k-diffusion."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.solvers import EDM, Node, Solver, sample
from scorebed.solvers.base import advance
from scorebed.solvers.methods.adaptive import ADAPTIVE
from scorebed.solvers.methods.scipy_integrators import BLACK_BOX
from scorebed.solvers.noise import BrownianNoise, Noise
from scorebed.toy.check.candidate import CLEAN, Candidate, Denoise, Flow, Freedom, host, parameters, source
from scorebed.toy.check.draws import Draws, Generator


class SolverCandidate(Candidate):
    """Our ``Solver``, run by ``sample``."""

    kind = "solver"

    def __init__(self, solver: Solver) -> None:
        both = solver.weak is None
        freedom = Freedom(both_ways=both, ends=("last", "zero"), start=True)
        super().__init__(solver.name, freedom=freedom, order=None if solver.weak else solver.order, weak=solver.weak)
        self.solver, self.stochastic = solver, solver.weak is not None
        self.adaptive = solver.nonlinear in (ADAPTIVE, BLACK_BOX)

    def _go(
        self, denoise: Denoise, x: Any, grid: Sequence[Node], seed: int, draws: Draws | None, end: str, start: tuple[int, Flow] | None
    ) -> Any:
        noise = as_noise(draws, x) if draws is not None else seed
        if start is None or self.solver.nonlinear is not None:
            return sample(self.solver, denoise, x, grid, noise=noise, terminal="none" if end == "last" else "denoise")
        drawn = noise if callable(noise) else BrownianNoise(noise, tuple(x.shape), like=x)
        carry, (k, flow) = None, start
        for i, (s, t) in enumerate(pairwise(grid)):
            x_t, carry = advance(self.solver, denoise, x, s, t, carry, drawn)
            x = flow(x, s, t) if i < k else x_t
        return x if end == "last" else denoise(x, grid[-1])


def as_noise(draws: Draws, x: Any) -> Noise:
    """``draws`` as a ``Noise``: the interval between two nodes in the clock (sigma/alpha)²."""

    def noise(s: Node, t: Node) -> Any:
        value = draws(tuple(x.shape), (min(s.rho, t.rho) ** 2, max(s.rho, t.rho) ** 2))
        return value.astype(x.dtype) if isinstance(x, np.ndarray) else x.new_tensor(value)

    return noise


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
        end: str = "last",
        options: dict[str, Any] | None = None,
        **claims: Any,
    ) -> None:
        freedom = claims.pop("freedom", None) or Freedom(ends=(end,))
        super().__init__(str(name or getattr(function, "__name__", "function")), library=library, freedom=freedom, **claims)
        self.function, self.options = function, dict(options or {})
        self.takes = frozenset(parameters(function))

    def _go(
        self, denoise: Denoise, x: Any, grid: Sequence[Node], seed: int, draws: Draws | None, end: str, start: tuple[int, Flow] | None
    ) -> Any:
        options = {**self._noise(x, seed, draws), **self.options}
        return self.function(denoise, x, list(grid), **options)

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


def seed_all(seed: int) -> None:
    """Seed the global generators, for a candidate that takes no seed."""
    np.random.seed(seed)  # noqa: NPY002
    if "torch" in sys.modules:
        import torch

        torch.manual_seed(seed)


def torch_generator(seed: int) -> Any:
    import torch

    return torch.Generator().manual_seed(seed)


class KDiffusionCandidate(Candidate):
    """``sampler(model, x, sigmas, extra_args=…, callback=…, disable=…)`` with ``model(x, sigma) -> denoised``; alpha = 1, sigma the time.

    With ``end="zero"`` a 0 is appended to the sigmas, as the samplers of k-diffusion expect. A ``noise_sampler`` parameter is given our
    noise when draws are replaced; ``brownian`` says whether its default is a Brownian path over sigma (found in its source by default)
    or independent draws.
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
        **claims: Any,
    ) -> None:
        freedom = claims.pop("freedom", None) or Freedom(schedules=False, ends=("last", "zero"))
        claims.setdefault("schedule", EDM())
        super().__init__(str(name or getattr(sampler, "__name__", "sampler")), library=library, freedom=freedom, **claims)
        self.sampler, self.options = sampler, dict(options or {})
        self.takes = frozenset(parameters(sampler))
        self.brownian = self.path = "BrownianTree" in source(sampler) if brownian is None else brownian

    def _go(
        self, denoise: Denoise, x: Any, grid: Sequence[Node], seed: int, draws: Draws | None, end: str, start: tuple[int, Flow] | None
    ) -> Any:
        levels = [node.sigma for node in grid] + ([0.0] if end == "zero" else [])
        floating = isinstance(x, np.ndarray) and x.dtype.kind == "f"
        sigmas = np.array(levels, x.dtype if floating else float) if self.library == "numpy" else self._levels(x, levels)

        def model(y: Any, sigma: Any, **_: Any) -> Any:
            with self.aside():
                level = float(np.ravel(host(sigma))[0])
                return denoise(y, self.node(level))

        seed_all(seed)
        options: dict[str, Any] = {"disable": True} if "disable" in self.takes else {}
        if "noise_sampler" in self.takes and draws is not None:
            options["noise_sampler"] = self._sampler_of(draws, x)
        elif "noise_sampler" in self.takes and self.brownian:
            options["noise_sampler"] = self._tree(x, sigmas, seed)
        if "seed" in self.takes:
            options["seed"] = seed
        if "rng" in self.takes:
            options["rng"] = np.random.default_rng(seed) if draws is None else Generator(draws)
        return self.sampler(model, x, sigmas, **{**options, **self.options})

    @staticmethod
    def _levels(x: Any, levels: list[float]) -> Any:
        import torch

        return torch.tensor(levels, dtype=x.dtype if x.is_floating_point() else torch.float64, device=x.device)

    def node(self, sigma: float) -> Node:
        return CLEAN if sigma == 0.0 else EDM().node(sigma)

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
