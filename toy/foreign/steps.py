r"""One step of somebody's sampler, told where it is and where it goes: ``step(model, x, s, t) -> x at t``, as candidates.

``model(x, level) -> E[x0 | x]``; s and t are levels of noise, scalars of the state's library. A step with a fifth argument ``memory`` is
handed None at first, then what it gave back as the second of two. Steps of RES4LYF and of most ports are of this kind.
A run of steps is a sampler in the style of k-diffusion, so all that is measured of those is measured of these.

Classes of libraries that hold a step become one by the functions below:

    physicsnemo    ``Solver(rhs).step(x, t_cur, t_next)``, rhs = (x − D)/t on x = x0 + t eps
    sbi            ``Predictor(potential)(theta, t1, t0)``, with drift, diffusion and gradient of the score
    deepinv        ``solver.step(sde, t0, t1, x)``, the SDE already turned round: x + drift |t1 − t0| + …
    torchsde       one call of ``sdeint`` on the reverse SDE with drawn increments
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from scorebed.toy.foreign.candidate import parameters

Step = Callable[..., Any]


def looped(step: Step) -> Callable[..., Any]:
    """The sampler ``(model, x, sigmas)`` that takes the step from each level to the next.

    Args:
        step: (model, x, s, t), with ``memory``, ``rng`` or ``seed`` by name where it takes them.

    Returns:
        function (model, x, sigmas) -> x at the last level.
    """
    places = parameters(step)
    remembers = "memory" in places

    def sampler(model: Any, x: Any, sigmas: Any, **options: Any) -> Any:
        memory: Any = None
        for s, t in pairwise(sigmas):
            if remembers:
                x, memory = step(model, x, s, t, memory=memory, **options)
            else:
                x = step(model, x, s, t, **options)
        return x

    sampler.__name__ = getattr(step, "__name__", type(step).__name__)
    sampler.__wrapped__ = step  # type: ignore[attr-defined]
    names = ["model", "x", "sigmas", *(name for name in ("rng", "seed") if name in places)]
    taken = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    sampler.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
    return sampler


def physicsnemo_step(solver: type, **options: Any) -> Step:
    """A step of a solver of ``physicsnemo.diffusion.samplers``: x = x0 + t eps, dx/dt = (x − D)/t.

    Args:
        solver: the class, ``HeunSolver``.
        options: of its constructor.

    Returns:
        function (model, x, sigma, sigma_next) -> the next state.
    """

    def step(model: Any, x: Any, s: Any, t: Any) -> Any:
        def rhs(y: Any, time: Any) -> Any:
            return (y - model(y, time[0])) / time.reshape(-1, *[1] * (y.ndim - 1))

        many = x.new_ones(len(x))
        return solver(rhs, **options).step(x, s * many, t * many)

    step.__name__ = solver.__name__
    return step


class _Potential:
    """What sbi's predictors ask of a potential: the forward SDE dx = sqrt(2 t) dW and the score of its marginals."""

    device = "cpu"

    def __init__(self, model: Any) -> None:
        self.model, self.vector_field_estimator = model, self

    def drift_fn(self, x: Any, t: Any) -> Any:
        return 0.0 * x

    def diffusion_fn(self, x: Any, t: Any) -> Any:
        return (2.0 * t) ** 0.5

    def gradient(self, x: Any, t: Any) -> Any:
        return (self.model(x, t) - x) / t**2


def sbi_step(predictor: type, **options: Any) -> Step:
    """A step of a predictor of ``sbi.samplers.score.predictors``.

    Args:
        predictor: the class, ``EulerMaruyama``.
        options: of its constructor, ``eta=0.5``.

    Returns:
        function (model, x, sigma, sigma_next) -> the next state.
    """

    def step(model: Any, x: Any, s: Any, t: Any) -> Any:
        return predictor(_Potential(model), **options)(x, s, t)

    step.__name__ = predictor.__name__
    return step


class _Reverse:
    """What deepinv's solvers ask of an SDE: of variance exploding with sigma(t) = t, turned round, with a share ``alpha`` of its noise."""

    device = "cpu"

    def __init__(self, model: Any, x: Any, alpha: float) -> None:
        self.model, self.share, self.dtype = model, alpha, x.dtype

    def sigma_t(self, t: Any) -> Any:
        return t

    def scale_t(self, t: Any) -> Any:
        return t.new_ones(())

    def alpha(self, t: Any) -> Any:
        return t.new_tensor(self.share)

    def score(self, x: Any, t: Any) -> Any:
        return (self.model(x, t) - x) / t**2

    def discretize(self, x: Any, t: Any) -> tuple[Any, Any]:
        return (1.0 + self.share) * t * self.score(x, t), (2.0 * self.share * t) ** 0.5


def deepinv_step(solver: type, alpha: float = 1.0, **options: Any) -> Step:
    """A step of a solver of ``deepinv.sampling.sde_solver``.

    Args:
        solver: the class, ``HeunSolver``.
        alpha: the SDE's share of noise, 0 for the flow.
        options: of the constructor, ``eta=0.5``.

    Returns:
        function (model, x, sigma, sigma_next) -> the next state.
    """

    def step(model: Any, x: Any, s: Any, t: Any) -> Any:
        made = solver(timesteps=x.new_tensor([float(s), float(t)]), **options)
        return made.step(_Reverse(model, x, alpha), s, t, x)[0]

    step.__name__ = solver.__name__
    return step


def torchsde_reverse_step(method: str) -> Step:
    """A step of a method of torchsde on the reverse SDE in u = −t: dx = 2 (D − x)/t du + sqrt(2 t) dW.

    Args:
        method: the name that ``torchsde.sdeint`` takes.

    Returns:
        function (model, x, sigma, sigma_next) -> the next state.
    """
    from scorebed.toy.foreign.sde import torchsde_step

    calculus = "ito" if method in ("euler", "milstein", "srk") else "stratonovich"
    made = torchsde_step(method, calculus, library="torch")

    def step(model: Any, x: Any, s: Any, t: Any) -> Any:
        import torch

        h = float(s - t)
        first, second = torch.randn_like(x), torch.randn_like(x)
        dw = h**0.5 * first
        dz = 0.5 * h * dw + (h**3 / 12.0) ** 0.5 * second

        def drift(y: Any, u: float) -> Any:
            return 2.0 * (model(y, y.new_tensor(-u)) - y) / -u

        def diffusion(y: Any, u: float) -> Any:
            return (-2.0 * u) ** 0.5 * torch.ones_like(y)

        return made(drift, diffusion, x, -float(s), -float(t), dw, dz)

    step.__name__ = f"torchsde_{method}"
    return step
