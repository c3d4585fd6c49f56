"""Which adapter fits somebody's sampler."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from scorebed.solvers import SOLVERS, Plan, Solver
from scorebed.toy.foreign.arrays import arrays, bridged
from scorebed.toy.foreign.candidate import Candidate, parameters
from scorebed.toy.foreign.functions import FunctionCandidate
from scorebed.toy.foreign.kdiffusion import KDiffusionCandidate
from scorebed.toy.foreign.solvers import PlanCandidate, SolverCandidate
from scorebed.toy.foreign.steps import looped
from scorebed.toy.foreign.velocity import VelocityCandidate


def imports(obj: Any, package: str) -> bool:
    """Whether the module that defines ``obj`` imports the package, as far as its names tell."""
    names = getattr(inspect.unwrap(obj), "__globals__", None) or vars(sys.modules.get(getattr(type(obj), "__module__", ""), type(obj)))
    return any(getattr(v, "__name__", "").partition(".")[0] == package for v in list(names.values()) if inspect.ismodule(v))


def as_candidate(
    obj: Any,
    *,
    name: str | None = None,
    kind: str | None = None,
    library: str | None = None,
    order: float | None = None,
    weak: float | None = None,
    **options: Any,
) -> Candidate:
    """Somebody's sampler as a ``Candidate``.

    Args:
        obj: a ``Candidate``, a ``Solver`` or its name, a ``Plan``, a step ``(denoise, x, s, t, carry, noise)``, a function
            ``(model, x, sigmas, …)``, ``(model, x, sigma_min, sigma_max, …)`` or ``(denoise, x, nodes)``, a scheduler of diffusers or a
            sampler of azula, class or instance.
        kind: ``solver``, ``k-diffusion``, ``function``, ``diffusers`` or ``azula`` where the parameters do not tell; ``comfy-flow``, a
            sampler in the style of k-diffusion on a flow model, as ComfyUI runs it; ``step``, one step ``(model, x, s, t)`` from a level
            to the next, and ``flow-step``, the same on a flow model; ``velocity``, a solver ``(velocity, x, times)`` of flow matching.
        library: ``numpy``, ``torch`` or ``jax``; None is torch or jax where the sampler's module imports it.
        order, weak: claims; None takes those that the candidate makes.
        options: passed on to the candidate's class.

    Returns:
        the Candidate that runs the sampler.

    Raises:
        TypeError: nothing of all that.
        UnknownSolver: a name that no method of ours has.
    """
    made = _make(obj, name, kind, library, options)
    if order is not None:
        made.order = order
    if weak is not None:
        made.weak = weak
    return made


def _make(obj: Any, name: str | None, kind: str | None, library: str | None, options: dict[str, Any]) -> Candidate:
    if isinstance(obj, Candidate):
        return obj
    if isinstance(obj, Plan):
        return PlanCandidate(obj, name)
    if isinstance(obj, str):
        obj = SOLVERS[obj]
    if isinstance(obj, Solver) or kind == "solver":
        return SolverCandidate(obj)
    if kind == "azula" or (kind is None and any(base.__module__.startswith("azula.") for base in _lineage(obj))):
        from scorebed.toy.foreign.azula import AzulaCandidate

        return AzulaCandidate(obj, name, **options)
    if kind == "diffusers" or (kind is None and callable(getattr(obj, "set_timesteps", None)) and callable(getattr(obj, "step", None))):
        from scorebed.toy.foreign.diffusers import SchedulerCandidate

        return SchedulerCandidate(obj, name, **options)
    if not callable(obj):
        raise TypeError(
            f"candidate = {obj!r} is no sampler: give a Solver, a function (denoise, x, nodes) or (model, x, sigmas), or a scheduler"
        )
    if isinstance(obj, type):
        raise TypeError(f"candidate = {obj!r} is a class without set_timesteps and step: give an instance or a function")
    places = parameters(obj)
    if places[:6] == ["denoise", "x", "s", "t", "carry", "noise"]:
        return SolverCandidate(Solver(name or obj.__name__, obj, order=1, weak=options.get("weak")))
    library = library or next((name for name in ("torch", "jax") if imports(obj, name)), "numpy")
    if kind in ("step", "flow-step"):
        obj, name = looped(obj), name or getattr(obj, "__name__", None)
        kind = "k-diffusion" if kind == "step" else "comfy-flow"
    if library == "jax":
        obj, library = bridged(obj, arrays("jax")), "numpy"
    if kind == "velocity":
        return VelocityCandidate(obj, name, library=library, **options)
    if kind == "comfy-flow":
        return KDiffusionCandidate(obj, name, library=library, flow=True, **options)
    if kind == "k-diffusion" or (kind is None and any("sigma" in p for p in places[2:3])):
        return KDiffusionCandidate(obj, name, library=library, **options)
    if len(places) < 3:
        raise TypeError(f"candidate {name or obj!r} takes {places}: give a function of (denoise, x, nodes) or (model, x, sigmas)")
    return FunctionCandidate(obj, name, library=library, **options)


def _lineage(obj: Any) -> tuple[type, ...]:
    return (obj if isinstance(obj, type) else type(obj)).__mro__
