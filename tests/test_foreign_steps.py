"""Steps, solver classes and array libraries behind one interface: stand-ins with the calling conventions of RES4LYF, physicsnemo, sbi,
deepinv, skrample and JAX are right, their broken twins are flagged, and the packages themselves are held to their claims where they are."""

from __future__ import annotations

import math
import sys
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from scorebed import check_solver
from scorebed.solvers import VP
from scorebed.toy.foreign import Interface, as_candidate
from scorebed.toy.foreign.arrays import Arrays, arrays, bridged
from scorebed.toy.foreign.bare import bare
from scorebed.toy.foreign.kdiffusion import KDiffusionCandidate
from scorebed.toy.foreign.skrample import skrample_sampler
from scorebed.toy.foreign.steps import deepinv_step, looped, physicsnemo_step, sbi_step
from scorebed.toy.measure.sampler import measure
from scorebed.toy.measure.settings import smooth
from scorebed.toy.peers.entries_more import MORE
from scorebed.toy.peers.faces import installed
from scorebed.toy.peers.report import SLACK


def slope(candidate: Any, weak: bool = False, steps: tuple[int, ...] = (24, 48, 96)) -> float:
    """Its order, or its weak order, on our grid; by few steps, for all that is asked is whether it is right."""
    candidate.stochastic = weak
    result = measure(candidate, replace(smooth(candidate), steps=steps, finer=()))
    assert result.before is not None
    return float(result.before.slope)


def reaches(claim: float, candidate: Any, weak: bool = False) -> bool:
    return slope(candidate, weak) >= claim - SLACK


def two_stage(model: Any, x: Any, sigma: Any, sigma_next: Any, late: float = 0.0) -> Any:
    """RES4LYF's ``res_2s``: the exponential midpoint method in h = log(sigma/sigma_next)."""
    h = math.log(sigma / sigma_next)
    middle = sigma * math.exp(-0.5 * h)
    u = math.exp(-0.5 * h) * x - math.expm1(-0.5 * h) * model(x, sigma)
    return math.exp(-h) * x - math.expm1(-h) * model(u, middle + late * (sigma - middle))


def two_step(model: Any, x: Any, sigma: Any, sigma_next: Any, memory: Any, sign: float = 1.0) -> Any:
    """RES4LYF's ``res_2m``: the same order from the denoised of the step before."""
    h, denoised = math.log(sigma / sigma_next), model(x, sigma)
    mixed = denoised
    if memory is not None:
        before, last = memory
        mixed = denoised + sign * 0.5 * h / before * (denoised - last)
    return math.exp(-h) * x - math.expm1(-h) * mixed, (h, denoised)


def euler_on_a_flow(model: Any, x: Any, s: Any, t: Any) -> Any:
    return x + (t - s) * (x - model(x, s)) / s


def test_steps_from_a_level_to_the_next() -> None:
    report = check_solver(two_stage, order=2, kind="step", quick=True, only=("order", "batch", "dtype", "evaluations"))
    assert report.passed, report
    assert reaches(2, as_candidate(two_step, kind="step", library="numpy"))
    assert reaches(1, as_candidate(euler_on_a_flow, kind="flow-step", interface=Interface(schedules=False)))
    assert not reaches(2, as_candidate(lambda model, x, s, t: two_stage(model, x, s, t, 1.0), kind="step"))
    assert not reaches(2, as_candidate(lambda model, x, s, t, memory: two_step(model, x, s, t, memory, -1.0), kind="step"))


def test_a_step_that_draws() -> None:
    def ancestral(model: Any, x: Any, s: Any, t: Any, rng: Any, up: float = 1.0) -> Any:
        noise = up * t * math.sqrt(max(s * s - t * t, 0.0)) / s
        down = math.sqrt(max(t * t - (t * math.sqrt(max(s * s - t * t, 0.0)) / s) ** 2, 0.0))
        return x + (down - s) * (x - model(x, s)) / s + noise * rng.standard_normal(x.shape)

    assert reaches(1, as_candidate(ancestral, kind="step", library="numpy"), weak=True)
    assert not reaches(
        1, as_candidate(lambda model, x, s, t, rng: ancestral(model, x, s, t, rng, 0.9), kind="step", library="numpy"), weak=True
    )


class Heun:
    """As physicsnemo's solvers: made of the right hand side, asked with times of the batch."""

    def __init__(self, denoiser: Any, alpha: float = 1.0, averaged: bool = True) -> None:
        self.denoiser, self.alpha, self.averaged = denoiser, alpha, averaged

    def step(self, x: Any, t_cur: Any, t_next: Any) -> Any:
        h = (t_next - t_cur).reshape(-1, 1)
        first = self.denoiser(x, t_cur)
        second = self.denoiser(x + self.alpha * h * first, t_cur + self.alpha * h[:, 0])
        share = 0.5 / self.alpha if self.averaged else 1.0
        return x + h * ((1.0 - share) * first + share * second)


class Predictor:
    """As sbi's: Euler-Maruyama of the reverse SDE, from the potential's drift, diffusion and gradient."""

    def __init__(self, potential: Any, eta: float = 1.0, root: bool = True) -> None:
        self.potential, self.eta, self.power = potential, eta, 0.5 if root else 1.0
        self.drift, self.diffusion = potential.vector_field_estimator.drift_fn, potential.vector_field_estimator.diffusion_fn

    def __call__(self, theta: Any, t1: Any, t0: Any) -> Any:
        dt, g = t1 - t0, self.diffusion(theta, t1)
        back = self.drift(theta, t1) - 0.5 * (1.0 + self.eta**2) * g**2 * self.potential.gradient(theta, t1)
        return theta - back * dt + self.eta * g * torch.randn_like(theta) * dt**self.power


class EulerSolver:
    """As deepinv's: the SDE is turned round already, the noise comes from its own generator."""

    def __init__(self, timesteps: Any, half: bool = False) -> None:
        self.timesteps, self.share = timesteps, 0.5 if half else 1.0

    def step(self, sde: Any, t0: Any, t1: Any, x0: Any) -> tuple[Any, int]:
        dt = abs(t1 - t0)
        drift, diffusion = sde.discretize(x0, t0)
        return x0 + self.share * drift * dt + diffusion * torch.empty_like(x0).normal_() * dt**0.5, 1


@pytest.mark.parametrize(
    ("make", "cls", "claim", "wrong"),
    [
        (physicsnemo_step, Heun, {"order": 2}, {"averaged": False}),
        (physicsnemo_step, Heun, {"order": 2, "alpha": 0.5}, {"averaged": False}),
        (sbi_step, Predictor, {"weak": 1}, {"root": False}),
        (sbi_step, Predictor, {"weak": 1, "eta": 0.5}, {"root": False}),
        (deepinv_step, EulerSolver, {"weak": 1}, {"half": True}),
        (deepinv_step, EulerSolver, {"order": 1, "alpha": 0.0}, {"half": True}),
    ],
    ids=["physicsnemo", "physicsnemo midpoint", "sbi", "sbi eta", "deepinv", "deepinv flow"],
)
def test_stand_ins_of_solver_classes(make: Any, cls: Any, claim: dict[str, Any], wrong: dict[str, Any]) -> None:
    options = {key: value for key, value in claim.items() if key not in ("order", "weak")}
    for more, right in (({}, True), (wrong, False)):
        if wrong == {"averaged": False} and more and "alpha" in options:
            continue  # of the midpoint method the second slope alone is right
        candidate = KDiffusionCandidate(looped(make(cls, **options, **more)), library="torch", brownian=False)
        assert reaches(claim.get("weak") or claim["order"], candidate, "weak" in claim) is right, (cls, more)


def test_a_sampler_called_as_those_of_skrample(monkeypatch: pytest.MonkeyPatch) -> None:
    """A structured sampler is asked with state, prediction and step; a functional one runs; both see our nodes through the schedule."""

    class Schedule:
        def ipoints(self, t: Any) -> list[Any]:
            return [tuple(p) for p in self._points(1.0 - np.asarray(t, float))]  # type: ignore[attr-defined]

    class Adapter:
        def __init__(self, sampler: Any) -> None:
            self.sampler = sampler

        def sample_model(self, x: Any, model: Any, transform: Any, schedule: Any, steps: int, rng: Any = None) -> Any:
            points, last = schedule.ipoints(np.linspace(0.0, 1.0, steps + 1)), None
            for s, t in pairwise(points):
                denoised = model(x, *s)
                x, last = self.sampler.sample(x, denoised, s, t, last), (s, denoised)
            return x

    class DPM:
        weight = 0.5

        def sample(self, x: Any, denoised: Any, s: Any, t: Any, last: Any) -> Any:
            lam = [math.log(p[2] / p[1]) for p in (s, t)]
            if last is not None:
                before = lam[0] - math.log(last[0][2] / last[0][1])
                denoised = denoised + self.weight * (lam[1] - lam[0]) / before * (denoised - last[1])
            return t[1] / s[1] * x + (t[2] - s[2] * t[1] / s[1]) * denoised

    class Whole(DPM):
        weight = 1.0

    parts = {
        "scheduling": {"SkrampleSchedule": Schedule, "VariancePreserving": lambda: None},
        "sampling.models": {"DataModel": lambda: None},
        "sampling.interface": {"StructuredFunctionalAdapter": Adapter},
    }
    for name, members in parts.items():
        module = ModuleType(f"skrample.{name}")
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    vp: dict[str, Any] = {"schedule": VP(), "interface": Interface(schedules=False)}
    assert reaches(2, as_candidate(skrample_sampler(DPM()), **vp))
    assert not reaches(2, as_candidate(skrample_sampler(Whole()), **vp))


class Array:
    """An array of another library: knows its own arithmetic, and NumPy only through ``__array__``."""

    __array_ufunc__ = None

    def __init__(self, value: Any) -> None:
        self.value = np.asarray(value)

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return np.array(self.value)

    def __iter__(self) -> Any:
        return map(Array, self.value)

    def _with(self, other: Any, do: Any) -> Array:
        return Array(do(self.value, other.value if isinstance(other, Array) else other))

    def __add__(self, other: Any) -> Array:
        return self._with(other, np.add)

    def __sub__(self, other: Any) -> Array:
        return self._with(other, np.subtract)

    def __mul__(self, other: Any) -> Array:
        return self._with(other, np.multiply)

    def __truediv__(self, other: Any) -> Array:
        return self._with(other, np.divide)


OTHER = Arrays(put=Array, traced=lambda value: False, ask=lambda *_: None, double=nullcontext, drawing=nullcontext, key=lambda seed: seed)


def test_functions_of_another_array_library() -> None:
    def euler(model: Any, x: Array, sigmas: Array, shift: float = 0.0) -> Array:
        for s, t in pairwise(sigmas):
            assert isinstance(x, Array)
            x = x + (t - s) * (x - model(x, s)) / (s + shift)
        return x

    assert check_solver(bridged(euler, OTHER), order=1, library="numpy", quick=True, only=("order", "dtype", "batch")).passed
    off = bridged(lambda model, x, sigmas: euler(model, x, sigmas, 0.1), OTHER)
    assert not reaches(1, as_candidate(off, library="numpy", kind="k-diffusion"))


def test_dlpack_is_taken_where_there_is_no_array_protocol() -> None:
    class Capsule:
        def __init__(self, tensor: torch.Tensor) -> None:
            self.tensor = tensor

        def __dlpack__(self, **options: Any) -> Any:
            return self.tensor.__dlpack__()

        def __dlpack_device__(self) -> Any:
            return self.tensor.__dlpack_device__()

    np.testing.assert_array_equal(Arrays.take(Capsule(torch.arange(3.0))), [0.0, 1.0, 2.0])


def test_an_unknown_library_is_told() -> None:
    with pytest.raises(ValueError, match="give 'numpy', 'torch' or 'jax'"):
        arrays("mlx")


def test_a_module_without_its_packages(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages above it are not run, and are whole again for who imports them afterwards."""
    folder = tmp_path / "heavy_package" / "part"
    folder.mkdir(parents=True)
    (tmp_path / "heavy_package" / "__init__.py").write_text("loaded = True\n", encoding="utf-8")
    (folder / "__init__.py").write_text("raise ImportError('asks for the world')\n", encoding="utf-8")
    (folder / "light.py").write_text("from .other import value\n", encoding="utf-8")
    (folder / "other.py").write_text("value = 3\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert bare("heavy_package.part.light").value == 3
    assert "heavy_package" not in sys.modules
    assert __import__("heavy_package").loaded
    with pytest.raises(ModuleNotFoundError, match="no_such_package is not installed"):
        bare("no_such_package.part.light")


REAL = [e for library in MORE if library in installed() for e in MORE[library]()]


def test_some_libraries_are_here() -> None:
    assert {"torchdiffeq", "torchsde"} <= set(installed())


@pytest.mark.parametrize(
    "entry", [e for e in REAL if e.name in ("midpoint", "heun", "HeunSolver (alpha=0)", "DPM (order=2)", "EulerMaruyama")]
)
def test_the_packages_themselves(entry: Any) -> None:
    assert reaches(entry.weak or entry.order, entry.peer.candidate(entry.stochastic), entry.stochastic)


def test_jax_itself_where_it_is() -> None:
    if "jax" not in installed_names():
        with pytest.raises(ModuleNotFoundError):
            as_candidate(lambda model, x, sigmas: x, library="jax")
        return
    from jax import jit, lax

    def scanned(model: Any, x: Any, sigmas: Any) -> Any:
        def body(y: Any, ends: Any) -> Any:
            return y + (ends[1] - ends[0]) * (y - model(y, ends[0])) / ends[0], None

        return jit(lambda y, levels: lax.scan(body, y, (levels[:-1], levels[1:]))[0])(x, sigmas)

    assert slope(as_candidate(scanned, library="jax")) == pytest.approx(1.0, abs=0.15)


def installed_names() -> set[str]:
    from importlib.util import find_spec

    return {name for name in ("jax",) if find_spec(name) is not None}


def test_what_was_given_is_what_is_said() -> None:
    """The name and the claims of a step reach the report."""
    made = as_candidate(two_stage, kind="step", order=2)
    assert (made.name, made.order, made.kind) == ("two_stage", 2, "k-diffusion")
    assert SimpleNamespace(**vars(made)).interface.both_ways
