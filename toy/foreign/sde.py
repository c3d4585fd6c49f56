"""Methods of other libraries for general SDEs, as the step that ``check_sde_solver`` takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def torchsde_step(method: str, calculus: str = "ito") -> Callable[..., Any]:
    """One step of a method of torchsde, on Brownian increments (and areas) that are given to it.

    Args:
        method: the name that ``torchsde.sdeint`` takes: euler, milstein, srk, heun, midpoint, euler_heun, reversible_heun.
        calculus: "ito" or "stratonovich".

    Returns:
        step(drift, diffusion, x, t0, t1, dw, dz) -> x at t1, for NumPy states.

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

    class Equation(torch.nn.Module):
        noise_type, sde_type = "diagonal", calculus

        def __init__(self, drift: Any, diffusion: Any) -> None:
            super().__init__()
            self.drift, self.diffusion = drift, diffusion

        def f(self, t: Any, y: Any) -> Any:
            return self.drift(y, float(t))

        def g(self, t: Any, y: Any) -> Any:
            return self.diffusion(y, float(t))

    options = {"grad_free": True} if method == "milstein" else {}

    def step(drift: Any, diffusion: Any, x: Any, t0: float, t1: float, dw: Any, dz: Any) -> Any:
        start, given = torch.from_numpy(x.copy()), Given(torch.from_numpy(dw.copy()), torch.from_numpy(dz.copy()))
        times = torch.tensor([t0, t1], dtype=torch.float64)
        with torch.no_grad():
            out = torchsde.sdeint(Equation(drift, diffusion), start, times, bm=given, method=method, dt=t1 - t0, options=options)
        return out[-1].numpy()

    step.__name__ = f"torchsde {method}"
    return step
