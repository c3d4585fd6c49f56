"""The room of torch: solvers run batched on torch tensors, on any device, and exact scores at the size of real data sets.

    gpu.run(solver, denoise, x, grid, noise=seed)        any solver or Plan, in place, one fused pass per step
    gpu.Runner, gpu.Graph                                the same, kept for many batches; the whole loop in one CUDA graph
    gpu.many                                             very many trajectories of a Plan on an exact mixture, one kernel
    gpu.export, gpu.save_onnx                            the whole loop as a program that needs torch alone, or ONNX
    gpu.GaussianMixture, gpu.HeatMixture                 exact mixtures of very many components, and on circles, boxes, spheres, SO(3)
    gpu.LinearLaw                                        exact laws of phase space and of bridges
    gpu.guided, gpu.parallel.run         classifier-free guidance in one call; several processes, one batch
    gpu.cached                                           blocks of a network that are held, or extrapolated, now and then
    gpu.wrap, gpu.edm_denoiser           any network as a denoiser
    gpu.ScorebedScheduler                                any solver as a scheduler of diffusers
    gpu.Brownian, gpu.start, gpu.weighted_sum            the noise of ``solvers.noise`` on a device; start states; the fused pass itself

The packages ``solvers``, ``analytic`` and ``toy`` work without this one and without torch; when they load they import neither. Other
names are loaded when they are asked for, so that no part needs what another does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scorebed.gpu.diffusers.scheduler import ScorebedScheduler
    from scorebed.gpu.heat import HeatMixture
    from scorebed.gpu.linear import LinearLaw
    from scorebed.gpu.mixture import GaussianMixture
    from scorebed.gpu.network.cache import cached
    from scorebed.gpu.network.guidance import Guided, guided
    from scorebed.gpu.network.wrap import edm_denoiser, wrap
    from scorebed.gpu.noise import Brownian, start
    from scorebed.gpu.plan import parallel
    from scorebed.gpu.plan.backend import weighted_sum
    from scorebed.gpu.plan.execute import run
    from scorebed.gpu.plan.export import export, save_onnx
    from scorebed.gpu.plan.function import function
    from scorebed.gpu.plan.graph import Graph
    from scorebed.gpu.plan.many import many
    from scorebed.gpu.plan.prediction import predicting
    from scorebed.gpu.plan.program import Program
    from scorebed.gpu.plan.runner import Runner

_HOME = {
    "Brownian": "noise",
    "GaussianMixture": "mixture",
    "Graph": "plan.graph",
    "Guided": "network.guidance",
    "Program": "plan.program",
    "Runner": "plan.runner",
    "HeatMixture": "heat",
    "LinearLaw": "linear",
    "ScorebedScheduler": "diffusers.scheduler",
    "cached": "network.cache",
    "edm_denoiser": "network.wrap",
    "export": "plan.export",
    "save_onnx": "plan.export",
    "function": "plan.function",
    "guided": "network.guidance",
    "many": "plan.many",
    "predicting": "plan.prediction",
    "run": "plan.execute",
    "start": "noise",
    "weighted_sum": "plan.backend",
    "wrap": "network.wrap",
}

__all__ = [
    "Brownian",
    "GaussianMixture",
    "Graph",
    "Guided",
    "HeatMixture",
    "LinearLaw",
    "Program",
    "Runner",
    "ScorebedScheduler",
    "cached",
    "edm_denoiser",
    "export",
    "function",
    "guided",
    "many",
    "parallel",
    "predicting",
    "run",
    "save_onnx",
    "start",
    "weighted_sum",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name == "parallel":
        return importlib.import_module("scorebed.gpu.plan.parallel")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
