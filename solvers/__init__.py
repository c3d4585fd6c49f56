"""Methods for diffusion and flow models, on exact or learned denoisers.

Ground floor: ``process``, ``schedule``, ``grid``, ``model``, ``guide``, ``noise``, ``base``, ``sample``, ``plan``; ``space`` for states on
manifolds, ``weights`` for what steps multiply with. Then a family of methods per file in ``methods``; importing this package imports them
all and fills ``SOLVERS``. Every method is also an attribute of the package: ``solvers.dpmpp_2m``.
"""

import importlib
import pkgutil

from scorebed.solvers import equidistribution, methods, spacing
from scorebed.solvers.base import SOLVERS, Solver, UnknownSolver, alias, distinct, methods_on, solver
from scorebed.solvers.grid import GRIDS
from scorebed.solvers.model import PREDICTIONS, Denoiser, convert, denoiser, pointwise, predicts
from scorebed.solvers.noise import BrownianNoise, Noise
from scorebed.solvers.plan import NotLinear, Plan
from scorebed.solvers.plan.tape import trace
from scorebed.solvers.sample import NonFinite, Run, StepDone, StopSampling, sample
from scorebed.solvers.schedule import EDM, SCHEDULES, VE, VP, Cosine, Node, RectifiedFlow, Schedule, SubVP

for _module in pkgutil.iter_modules(methods.__path__):
    importlib.import_module(f"{methods.__name__}.{_module.name}")
globals().update(SOLVERS)  # a method that has its file's name would be hidden behind the file


def __getattr__(name: str) -> Solver:
    if name in SOLVERS:
        return SOLVERS[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "EDM",
    "GRIDS",
    "PREDICTIONS",
    "SCHEDULES",
    "SOLVERS",
    "VE",
    "VP",
    "BrownianNoise",
    "Cosine",
    "Denoiser",
    "Node",
    "Noise",
    "NonFinite",
    "NotLinear",
    "Plan",
    "RectifiedFlow",
    "Run",
    "Schedule",
    "Solver",
    "StepDone",
    "StopSampling",
    "SubVP",
    "UnknownSolver",
    "alias",
    "convert",
    "denoiser",
    "distinct",
    "equidistribution",
    "methods_on",
    "pointwise",
    "predicts",
    "sample",
    "solver",
    "spacing",
    "trace",
]
