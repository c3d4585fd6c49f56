"""The room of torch: solvers run batched on torch tensors, on any device, and exact scores at the size of real data sets.

    gpu.run(solver, denoise, x, grid, noise=seed)        any solver or Plan, in place, one fused pass per step
    gpu.Runner, gpu.Graph                                the same, kept for many batches; the whole loop in one CUDA graph
    gpu.GaussianMixture                                  exact mixtures of very many components
    gpu.guided, gpu.parallel.run                         classifier-free guidance in one call; several processes, one batch
    gpu.wrap, gpu.edm_denoiser                           any network as a denoiser
    gpu.Brownian, gpu.start, gpu.weighted_sum            the noise of ``solvers.noise`` on a device; start states; the fused pass itself

The packages ``solvers``, ``analytic`` and ``toy`` work without this one and without torch; when they load they import neither. Other
names are loaded when they are asked for, so that no part needs what another does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# at once: the function has its file's name, which would take its place whenever that file is imported first
from gpu.wrap import edm_denoiser, wrap

if TYPE_CHECKING:
    from gpu import parallel
    from gpu.execute import function, run
    from gpu.fused import weighted_sum
    from gpu.graph import Graph
    from gpu.guidance import Guided, guided
    from gpu.mixture import GaussianMixture
    from gpu.noise import Brownian, start
    from gpu.prediction import predicting
    from gpu.program import Program
    from gpu.runner import Runner

_HOME = {
    "Brownian": "noise",
    "GaussianMixture": "mixture",
    "Graph": "graph",
    "Guided": "guidance",
    "Program": "program",
    "Runner": "runner",
    "function": "execute",
    "guided": "guidance",
    "predicting": "prediction",
    "run": "execute",
    "start": "noise",
    "weighted_sum": "fused",
}

__all__ = [
    "Brownian",
    "GaussianMixture",
    "Graph",
    "Guided",
    "Program",
    "Runner",
    "edm_denoiser",
    "function",
    "guided",
    "parallel",
    "predicting",
    "run",
    "start",
    "weighted_sum",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name == "parallel":
        return importlib.import_module("gpu.parallel")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
