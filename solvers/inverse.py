r"""Inverse problems: an operator y = A(x0) + n, n ~ N(0, r² I), a model of x0 conditioned on y, and the registry of posterior samplers.

Every method for them is made of the same few things, which ``Conditioned`` holds: D(x, t) = E[x0 | x_t], its vector-Jacobian product
J^T v, and A, A^T, A^+, r. A method is a *guide*, a model made of a model, which every solver of the catalogue runs with,

    D̃(x, t) = D + (sigma²/alpha) g(x, t),     g in place of ∇ log p(y | x_t),

or a sampler with a loop of its own. Both are called ``METHODS[name](**options).run(conditioned, x, nodes, noise)``.
"""

from __future__ import annotations

import inspect
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from scorebed.solvers.base import SOLVERS, Solver
from scorebed.solvers.model import Array, Denoiser, predicts
from scorebed.solvers.noise import BrownianNoise, fresh_seed
from scorebed.solvers.operator import Linear, Operator
from scorebed.solvers.sample import sample
from scorebed.solvers.schedule import Node
from scorebed.solvers.state import alike


class Draws(Protocol):
    """A ``Noise`` that also gives fresh unit normals, one array after the other, to methods that go over a level more than once."""

    def __call__(self, s: Node, t: Node) -> Array: ...
    def next(self) -> Array: ...


class Sequential(BrownianNoise):
    """Keyed noise with ``next()``: the k-th array depends on (seed, sample, k) alone, so that a batch may be split anywhere."""

    count = 0

    def next(self) -> Array:
        """The next unit normals, of the state's shape."""
        values = self._draw(b"sequence", struct.pack("<QQ", self.seed, self.count)).reshape(self.shape)
        self.count += 1
        if self._like is None:
            return values
        return alike(values, self._like)


@dataclass(frozen=True)
class Conditioned:
    """A model and an observation: all that a posterior sampler is made of.

    Attributes:
        model: (x, node) -> E[x0 | x_t]; ``model.vjp(x, node, v)`` gives J^T v, where a method asks for it.
        operator: ``Linear``, or what has its ``__call__``, ``vjp`` and ``variance``.
        y: the observation (m,), or one for each sample (n, m).
    """

    model: Any
    operator: Any
    y: Array

    def __post_init__(self) -> None:
        if not callable(self.model):
            raise TypeError(f"model = {self.model!r} is not callable: give a function of (x, node)")
        marked = getattr(self.model, "prediction", "denoised")
        if marked != "denoised":
            raise ValueError(f"model predicts {marked!r}, not 'denoised': wrap it, solvers.model.denoiser(f, {marked!r})")
        m = getattr(self.operator, "m", None)
        shape = tuple(getattr(self.y, "shape", ()))
        if m is None or not callable(self.operator):
            raise TypeError(f"operator = {self.operator!r} is not an operator: give Linear(A, variance), or an object with its methods")
        if not shape or shape[-1] != m:
            raise ValueError(f"y has shape {shape}, but the operator gives {m} numbers: give ({m},) or (n, {m})")
        if not bool((self.y - self.y == 0).all()):
            raise ValueError("y holds nan or inf: give finite numbers")

    def denoised(self, x: Array, node: Node) -> Array:
        """D(x, node)."""
        return self.model(x, node)

    def vjp(self, x: Array, node: Node, v: Array) -> Array:
        """J^T v, J = ∂D/∂x."""
        product = getattr(self.model, "vjp", None)
        if product is None:
            raise TypeError("this method needs the model's vector-Jacobian product: give a model with vjp(x, node, v)")
        return product(x, node, v)

    def residual(self, denoised: Array) -> Array:
        """y − A(D)."""
        return self.y - self.operator(denoised)


Run = Callable[..., Array]


@dataclass(frozen=True)
class Method:
    """A posterior sampler.

    Attributes:
        run: (conditioned, x, nodes, noise) -> x0, from x ~ N(0, sigma²) at the first node.
        make: for a guide, (conditioned, noise) -> the guided model; None for a sampler with its own loop.
        reference: paper and equation.
        exact: where theory says that the limit of small steps samples p(x0 | y) exactly, in words; "" where it does not say so anywhere.
        linear: whether A has to be linear.
        particles: whether samples interact, so that the output is no function of its own draws alone.
    """

    name: str
    run: Run = field(repr=False)
    make: Callable[..., Denoiser] | None = field(repr=False)
    reference: str
    exact: str = ""
    linear: bool = True
    particles: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, **options: Any) -> Method:
        """The same method with other options; for a guide also ``solver``, a name of ``SOLVERS`` or a ``Solver``.

        Returns:
            the Method with these options, named by them.

        Raises:
            TypeError: an option that the method does not have.
        """
        if unknown := options.keys() - self.options.keys():
            known = ", ".join(self.options) or "none"
            raise TypeError(f"{self.name} has no option {', '.join(sorted(unknown))}; its options: {known}")
        label = ", ".join(f"{k}={getattr(v, 'name', v)!r}" for k, v in options.items())
        made = None if self.make is None else partial(self.make, **{k: v for k, v in options.items() if k != "solver"})
        merged = {**self.options, **options}
        return replace(self, name=f"{self.name}({label})", run=partial(self.run, **options), make=made, options=merged)


METHODS: dict[str, Method] = {}
"""Every posterior sampler by name."""


def _options(function: Callable[..., Any]) -> dict[str, Any]:
    return {k: p.default for k, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY}


def _enter(method: Method) -> Method:
    if method.name in METHODS:
        raise ValueError(f"a posterior sampler called {method.name!r} is registered already")
    METHODS[method.name] = method
    return method


def guide(
    *, reference: str, exact: str = "", linear: bool = True, solver: str = "ddpm", register: bool = True
) -> Callable[[Callable[..., Denoiser]], Method]:
    """Make (conditioned, noise, *, options) -> guided model a ``Method``, run by ``solver`` unless told otherwise."""

    def enter(make: Callable[..., Denoiser]) -> Method:
        def run(c: Conditioned, x: Array, nodes: Sequence[Node], noise: Draws, *, solver: str | Solver = solver, **options: Any) -> Array:
            chosen = SOLVERS[solver] if isinstance(solver, str) else solver
            return sample(chosen, predicts("denoised")(make(c, noise, **options)), x, nodes, noise=noise)

        name = getattr(make, "__name__", "guide")
        made = Method(name, run, make, reference, exact, linear, False, {"solver": solver, **_options(make)})
        return _enter(made) if register else made

    return enter


def sampler(
    *, reference: str, exact: str = "", linear: bool = True, particles: bool = False, register: bool = True
) -> Callable[[Run], Method]:
    """Make (conditioned, x, nodes, noise, *, options) -> x0 a ``Method``."""

    def enter(run: Run) -> Method:
        made = Method(getattr(run, "__name__", "sampler"), run, None, reference, exact, linear, particles, _options(run))
        return _enter(made) if register else made

    return enter


def posterior(method: Method | str, c: Conditioned, x: Array, nodes: Sequence[Node], noise: Draws | int | None = None) -> Array:
    """Run a posterior sampler from the state ``x`` (n, d) at the first of ``nodes``; returns x0, (n, d).

    Args:
        method: a ``Method`` or its name.
        c: the conditioned model: denoiser, operator and observation.
        noise: a seed, or a ``Draws``; None is a fresh seed at every call.

    Returns:
        samples of x0, (n, d).

    Raises:
        ValueError: an unknown name, or a nonlinear operator where A has to be linear.
    """
    if isinstance(method, str):
        if method not in METHODS:
            raise ValueError(f"method = {method!r} is not known: give one of {', '.join(METHODS)}")
        method = METHODS[method]
    if method.linear and not isinstance(c.operator, Linear):
        raise ValueError(f"{method.name} needs a linear operator, and {c.operator!r} is none: use dps, daps or red_diff")
    if hasattr(c.operator, "like"):
        c = replace(c, operator=c.operator.like(x))
    drawn: Draws = noise if callable(noise) else Sequential(fresh_seed() if noise is None else int(noise), tuple(x.shape), like=x)
    return method.run(c, x, nodes, drawn)


__all__ = ["METHODS", "Conditioned", "Draws", "Linear", "Method", "Operator", "Sequential", "guide", "posterior", "sampler"]
