"""How the samplers of each library are put behind one interface, and where they are found; nothing is imported before it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from scorebed.solvers import VP
from scorebed.toy.foreign import Candidate, as_candidate
from scorebed.toy.foreign.bare import bare
from scorebed.toy.foreign.candidate import Interface
from scorebed.toy.foreign.kdiffusion import KDiffusionCandidate, sampling

PACKAGES = {
    "diffusers": "diffusers",
    "k-diffusion": "k_diffusion",
    "azula": "azula",
    "torchdiffeq": "torchdiffeq",
    "flow-matching": "flow_matching",
    "torchsde": "torchsde",
    "sbi": "sbi",
    "deepinv": "deepinv",
    "physicsnemo": "physicsnemo",
    "skrample": "skrample",
}
"""Libraries, and the names they are imported under."""
DISTRIBUTIONS = {"physicsnemo": "nvidia-physicsnemo"}
"""Names under which they are installed, where these are others."""
LIBRARIES = tuple(PACKAGES)
FLOWS = ("torchdiffeq", "flow-matching")
_NEMO = {
    "EulerSolver": "euler",
    "HeunSolver": "heun",
    "EDMStochasticEulerSolver": "edm_stochastic_euler",
    "EDMStochasticHeunSolver": "edm_stochastic_heun",
}


def installed() -> tuple[str, ...]:
    """The libraries that are here."""
    return tuple(name for name, package in PACKAGES.items() if find_spec(package) is not None)


def found(library: str, name: str) -> Any:
    """The class or function of that name; of torchdiffeq, flow-matching and torchsde the name itself, which is what their calls take.

    Returns:
        class, function or name.

    Raises:
        ModuleNotFoundError: the library, or something its samplers need, is not installed.
    """
    if library == "k-diffusion":
        return getattr(sampling(), name)
    if library in (*FLOWS, "torchsde"):
        return name
    if library == "skrample":
        parts = [import_module(f"skrample.sampling.{part}") for part in ("structured", "functional")]
        return next(getattr(part, name) for part in parts if hasattr(part, name))
    places: dict[str, Callable[[], Any]] = {
        "diffusers": lambda: import_module("diffusers"),
        "azula": lambda: import_module("azula.sample"),
        "sbi": lambda: bare("sbi.samplers.score.predictors"),
        "deepinv": lambda: bare("deepinv.sampling.sde_solver"),
        "physicsnemo": lambda: bare(f"physicsnemo.diffusion.samplers.{_NEMO[name]}"),
    }
    return getattr(places[library](), name)


def face(library: str, name: str, made: Any, options: Mapping[str, Any], step: Mapping[str, Any]) -> Candidate:
    """The sampler as a candidate.

    Args:
        library: one of ``LIBRARIES``.
        name: what the board calls it.
        made: the class or function, as ``found`` gives it.
        options: of the sampler.
        step: of every ``step`` of a scheduler.

    Returns:
        the candidate, as ``check_solver`` takes it.
    """
    if library == "diffusers":
        return as_candidate(made, name=name, kind="diffusers", config=dict(options), step=dict(step))
    if library in ("k-diffusion", "azula"):
        return as_candidate(made, name=name, kind=library, library="torch", options=dict(options))
    if library in FLOWS:
        from scorebed.toy.foreign import velocity

        solve = velocity.torchdiffeq_solver if library == "torchdiffeq" else velocity.flow_matching_solver
        return as_candidate(solve(made, **options), name=name, kind="velocity", library="torch")
    if library == "skrample":
        return _skrample(name, made, options)
    from scorebed.toy.foreign import steps

    makers: dict[str, Callable[..., Any]] = {"sbi": steps.sbi_step, "deepinv": steps.deepinv_step, "physicsnemo": steps.physicsnemo_step}
    one = steps.torchsde_reverse_step(made) if library == "torchsde" else makers[library](made, **options)
    loose = None if library == "physicsnemo" else Interface(schedules=False)  # the others divide by sigma = 0 at the end
    return KDiffusionCandidate(steps.looped(one), name, library="torch", brownian=False, interface=loose)


def _skrample(name: str, made: Any, options: Mapping[str, Any]) -> Candidate:
    from scorebed.toy.foreign.functions import FunctionCandidate
    from scorebed.toy.foreign.skrample import skrample_sampler

    return FunctionCandidate(skrample_sampler(made(**options)), name, schedule=VP(), interface=Interface(schedules=False))
