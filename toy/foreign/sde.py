"""Methods of other libraries for general SDEs, as the step that ``check_sde_solver`` takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def torchsde_step(method: str, calculus: str = "ito", library: str = "numpy") -> Callable[..., Any]:
    """One step of a method of torchsde, on Brownian increments (and areas) that are given to it.

    Args:
        method: the name that ``torchsde.sdeint`` takes: euler, milstein, srk, heun, midpoint, euler_heun, reversible_heun.
        calculus: "ito" or "stratonovich".
        library: of the states, "numpy" or "torch".

    Returns:
        step(drift, diffusion, x, t0, t1, dw, dz) -> x at t1.

    Raises:
        ImportError: torchsde is not installed.
    """
    import torch
    import torchsde

    class Given(torchsde.BaseBrownian):
        """The increment of the one interval that is asked for."""

        levy_area_approximation = "space-time"
        dtype = property(lambda self: self.dw.dtype)
        device = property(lambda self: self.dw.device)
        shape = property(lambda self: self.dw.shape)

        def __init__(self, dw: Any, dz: Any) -> None:
            super().__init__()
            self.dw, self.dz = dw, dz

        def __call__(self, ta: Any, tb: Any = None, return_U: bool = False, return_A: bool = False) -> Any:
            return (self.dw, self.dz) if return_U else self.dw

        def __repr__(self) -> str:
            return "given increments"

    def step(drift: Any, diffusion: Any, x: Any, t0: float, t1: float, dw: Any, dz: Any) -> Any:
        start, *drawn = (torch.from_numpy(a.copy()) if library == "numpy" else a for a in (x, dw, dz))
        given, times = Given(*drawn), torch.tensor([t0, t1], dtype=torch.float64)
        with torch.no_grad():
            out = torchsde.sdeint(
                _torch_equation(drift, diffusion, calculus), start, times, bm=given, method=method, dt=t1 - t0, options=_options(method)
            )
        return out[-1].numpy() if library == "numpy" else out[-1]

    step.__name__ = f"torchsde {method}"
    return step


def torchsde_run(method: str, calculus: str = "ito") -> Callable[..., Any]:
    """A whole run of a method of torchsde with its own Brownian motion, for ``check_sde_solver(..., kind="run", backward=False)``.

    Args:
        method: the name that ``torchsde.sdeint`` takes.
        calculus: "ito" or "stratonovich".

    Returns:
        run(drift, diffusion, x0, t0, t1, steps, seed) -> ends, for NumPy states of shape (n,); t0 < t1, as torchsde has it.

    Raises:
        ImportError: torchsde is not installed.
    """
    import torch
    import torchsde

    def run(drift: Any, diffusion: Any, x0: Any, t0: float, t1: float, steps: int, seed: int) -> Any:
        start, times = torch.from_numpy(x0)[:, None], torch.tensor([t0, t1], dtype=torch.float64)
        area = "space-time" if method == "srk" else "none"
        drawn = torchsde.BrownianInterval(
            t0, t1, size=start.shape, dtype=start.dtype, entropy=seed, dt=(t1 - t0) / steps, levy_area_approximation=area
        )
        given = {"bm": drawn, "method": method, "dt": (t1 - t0) / steps, "options": _options(method)}
        with torch.no_grad():
            return torchsde.sdeint(_torch_equation(drift, diffusion, calculus), start, times, **given)[-1, :, 0].numpy()

    run.__name__ = f"torchsde {method}, own noise"
    return run


def _options(method: str) -> dict[str, Any]:
    return {"grad_free": True} if method == "milstein" else {}


def _torch_equation(drift: Any, diffusion: Any, calculus: str) -> Any:
    import torch

    class Equation(torch.nn.Module):
        noise_type, sde_type = "diagonal", calculus

        def f(self, t: Any, y: Any) -> Any:
            return drift(y, float(t))

        def g(self, t: Any, y: Any) -> Any:
            return diffusion(y, float(t))

    return Equation()


def diffrax_step(solver: Any, calculus: str = "ito", additive: bool = False) -> Callable[..., Any]:
    """One step of a solver of diffrax, on Brownian increments (and areas) that are given to it.

    Args:
        solver: an instance, ``diffrax.ItoMilstein()``.
        calculus: "ito" or "stratonovich", what its terms mean to it.
        additive: whether it is made for diffusions that do not depend on the state, and refuses others.

    Returns:
        step(drift, diffusion, x, t0, t1, dw, dz) -> x at t1, for NumPy states; each state of the batch has its own path.

    Raises:
        ImportError: diffrax is not installed.
        ValueError: an unknown calculus.
    """
    if calculus not in ("ito", "stratonovich"):
        raise ValueError(f"calculus = {calculus!r} is not known: give 'ito' or 'stratonovich'")
    from importlib import import_module

    from scorebed.toy.foreign.arrays import arrays

    diffrax, jax, of = import_module("diffrax"), import_module("jax"), arrays("jax")
    plain, area = diffrax.BrownianIncrement, diffrax.SpaceTimeLevyArea
    with_area = getattr(solver, "minimal_levy_area", plain) is not plain

    class Given(diffrax.AbstractBrownianPath):  # type: ignore[name-defined]
        """The increment of the one interval that is asked for."""

        made: Any
        t0: Any
        t1: Any
        levy_area: Any = area if with_area else plain

        @property
        def shape(self) -> Any:
            return jax.ShapeDtypeStruct(self.made.W.shape, self.made.W.dtype)

        def evaluate(self, t0: Any, t1: Any = None, left: bool = True, use_levy: bool = False) -> Any:
            return self.made if use_levy else self.made.W

    now: dict[str, Any] = {}  # the coefficients of the equation that is being solved: what is compiled asks for them by name

    def asked(name: str) -> Any:
        def answer(time: Any, value: Any) -> Any:
            times, states = np.broadcast_arrays(np.asarray(time), np.asarray(value))
            out = np.empty(states.shape, states.dtype)
            for one in np.unique(times):
                out[times == one] = now[name](states[times == one], float(one))
            return out

        @jax.custom_jvp
        def field(t: Any, y: Any) -> Any:
            like = jax.ShapeDtypeStruct(jax.numpy.shape(y), y.dtype)
            return jax.pure_callback(answer, like, jax.numpy.asarray(t, y.dtype), y, vmap_method="broadcast_all")

        def tangent(primals: Any, tangents: Any) -> Any:
            (t, y), (dt, dy) = primals, tangents
            small = 1e-5
            along = (field(t, y + small) - field(t, y - small)) * dy + (field(t + small, y) - field(t - small, y)) * dt
            return field(t, y), along / (2.0 * small)

        field.defjvp(tangent)
        free = additive and name == "diffusion"
        return lambda t, y, args: field(jax.numpy.asarray(t, y.dtype), jax.numpy.zeros((), y.dtype) if free else y)

    def one(y: Any, w: Any, shared: Any, t0: Any, t1: Any) -> Any:
        given = {"dt": t1 - t0, "W": w}
        made = area(**given, H=shared) if with_area else plain(**given)
        terms = diffrax.MultiTerm(diffrax.ODETerm(asked("drift")), diffrax.ControlTerm(asked("diffusion"), Given(made, t0, t1)))
        return solver.step(terms, t0, t1, y, None, solver.init(terms, t0, t1, y, None), made_jump=False)[0]

    compiled = jax.jit(jax.vmap(one, in_axes=(0, 0, 0, None, None)))

    def step(drift: Any, diffusion: Any, x: Any, t0: float, t1: float, dw: Any, dz: Any) -> Any:
        h = t1 - t0
        now.update(drift=drift, diffusion=diffusion)
        with of.double():
            columns = (of.put(a[:, 0]) for a in (x, dw, (dz - 0.5 * h * dw) / h))
            return of.take(compiled(*columns, of.put(t0), of.put(t1)))[:, None]

    step.__name__ = f"diffrax {type(solver).__name__}"
    return step
