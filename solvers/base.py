r"""What a solver is: a step, its claims, and the registry.

A step moves x from node s to node t,

    step(denoise, x, s, t, carry, noise) -> (x_t, carry),

with Python-float coefficients and +, -, float * on arrays. ``carry`` is the method's memory, None before the first step. A multistep method
may name a ``start``: in its first ``starts`` steps that one-step method moves x, and its own step only fills the memory. So a body says
what it does with the memory it has, and nothing about starting.

``order``, ``weak`` and ``strong`` are claims; properties test them. What can be counted (evaluations, memory, draws) the Plan shows.

``on`` names the kinds of process that the method is made for (``solvers.process``); a grid of another kind is refused. What is true of one
kind only is asked of ``methods_on(kind)``.

A method that moves in a ``Space`` takes it as ``method(space=Sphere(2))``. It claims the kinds of space of its ``spaces``; without one it
is a method of R^d. The space is where the method moves and not one of its ``options``.
"""

from __future__ import annotations

import importlib
import inspect
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from functools import partial
from typing import Any, Literal, get_args, get_origin, get_type_hints

from scorebed.solvers.model import MAPS, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.process import KINDS
from scorebed.solvers.state import State

Carry = Any
Space = Any
"""A ``solvers.space`` space; what its methods are is said there."""
Step = Callable[..., tuple[State, Carry]]
Begin = Literal["own", "ddim", "published"]
"""How a multistep method begins, while its memory fills."""
_STEP_ARGUMENTS = ("denoise", "x", "s", "t", "carry", "noise")
_SPACE_METHODS = ("exp", "move", "log", "transport", "project", "tangent", "noise", "check")


@dataclass(frozen=True)
class Solver:
    """A method with its claims.

    Attributes:
        order: claimed order of the global error; for a stochastic method, of its weak error rounded down, and at least 1.
        weak, strong: claimed weak and strong orders of a stochastic method, None for a deterministic one.
        reference: paper and equation.
        start: the one-step method that moves x in the first ``starts`` steps, while a multistep method's memory fills.
        nonlinear: why the method cannot be unrolled into a Plan, or None.
        inexact: why the method does not follow a constant denoiser exactly, or None.
        published: the method with the start of the authors' code, where that is not the body with the evaluations that there are.
        begins: which start this is; see ``started``.
        alias_of: the registered method that this is another name of, or None.
        spaces: the kinds of Space that the method claims, by the names of their classes; none for a method of R^d.
        on: the kinds of process that the method is made for.
        takes: what the model must give, ``denoised`` (what the process ``gives``), or a few-step map: ``endpoint`` or ``map``.
    """

    name: str
    step: Step
    order: int
    weak: float | None = None
    strong: float | None = None
    reference: str = ""
    start: Solver | None = None
    nonlinear: str | None = None
    inexact: str | None = None
    spaces: tuple[str, ...] = ()
    on: tuple[str, ...] = ("gaussian",)
    starts: int = 0
    alias_of: str | None = None
    published: Solver | None = None
    begins: Begin = "own"
    takes: str = "denoised"

    def __post_init__(self) -> None:
        step = self.step
        while isinstance(step, partial):
            step = step.func
        claim = f"order {self.order}" if self.weak is None else f"weak order {self.weak:g}"
        text = f"{self.name}: {claim}; {self.reference}\n\n{inspect.cleandoc(step.__doc__ or '')}"
        object.__setattr__(self, "__doc__", text.strip())  # ``help(solver)`` shows the formula

    def _keywords(self) -> dict[str, Any]:
        parameters = inspect.signature(self.step).parameters.items()
        return {k: p.default for k, p in parameters if k not in _STEP_ARGUMENTS and p.kind is p.KEYWORD_ONLY}

    @property
    def options(self) -> dict[str, Any]:
        """The options of the step and their values; not where it moves."""
        return {k: value for k, value in self._keywords().items() if not (k == "space" and self.spaces)}

    @property
    def space(self) -> Space | None:
        """Where the method moves; None is R^d."""
        return self._keywords().get("space") if self.spaces else None

    def claims(self, space: Space) -> bool:
        """Whether the method claims this space; a product of spaces where it claims every factor."""
        parts = getattr(space, "spaces", None)
        if parts is not None:
            return all(self.claims(part) for part in parts)
        return any(kind.__name__ in self.spaces for kind in type(space).__mro__)

    @property
    def choices(self) -> dict[str, tuple[Any, ...]]:
        """What an option declared as a ``Literal`` may be."""
        step = self.step
        while isinstance(step, partial):
            step = step.func
        return {k: get_args(hint) for k, hint in get_type_hints(step).items() if get_origin(hint) is Literal}

    def __reduce__(self) -> Any:
        """By name where it is registered; else the claims as they are and the step by how it came to be (``_packed``)."""
        if SOLVERS.get(self.name) is self:
            return _registered, (self.name,)
        return _unpacked, ({f.name: _packed(self.step) if f.name == "step" else getattr(self, f.name) for f in fields(self)},)

    def __call__(self, **options: Any) -> Solver:
        """The same method with other options, ``dpm_solver_2(r=0.6)``; a multistep method with another start, ``unipc_3(start="ddim")``.

        Returns:
            the Solver with these options.

        Raises:
            TypeError: an option that the method does not have, or a ``space`` that is not a Space.
            ValueError: a value that is none of the option's choices, a number that is not finite, or a Space that is not claimed.
        """
        if not options:
            return self
        if "start" in options:
            return self.started(options.pop("start"))(**options)
        unknown = options.keys() - self._keywords().keys()
        if unknown:
            known = (", ".join(self.options) or "none") + (", and space" if self.spaces else "")
            raise TypeError(f"{self.name} has no option {', '.join(sorted(unknown))}; its options: {known}")
        if self.spaces and options.get("space") is not None:
            self._check_space(options["space"])
        # coefficients are Python's: a float32 state times a number of NumPy would be float64
        options = {k: v.item() if getattr(v, "ndim", None) == 0 and hasattr(v, "item") else v for k, v in options.items()}
        for k, value in options.items():
            if k in self.choices and value not in self.choices[k]:
                raise ValueError(f"{self.name}: {k} = {value!r} must be one of {', '.join(map(repr, self.choices[k]))}")
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{self.name}: {k} = {value!r} must be finite")
        return replace(self, name=self._label(options), step=partial(self.step, **options))

    def _label(self, options: dict[str, Any]) -> str:
        """The name with the values of the options."""
        shown = {k: v for k, v in {**self._keywords(), **options}.items() if k in self.options or v is not None}
        shown |= {"start": self.begins} if self.begins != "own" else {}
        values = ", ".join(f"{k}={v!r}" for k, v in shown.items())
        return self.name.split("(")[0] + (f"({values})" if values else "")

    def started(self, how: Begin) -> Solver:
        """A multistep method with another start, and what is left of its order.

            own         a one-step method of full order, at some evaluations more: keeps the order
            ddim        DDIM in the first steps, one evaluation each
            published   as the authors' code begins: the formula of lower order for the evaluations that there are

        The first step of the two latter has an error of O(h²), once, so that the order is at most 2; at a few evaluations in all they may
        still be better, since nothing is spent on the start. Methods made of others (``unic``, ``heavy_ball``, ``compose``) begin as these.

        Returns:
            the Solver with that start, its order as the start leaves it.

        Raises:
            TypeError: the method has no start.
            ValueError: another ``how``, or a start that has been chosen already.
        """
        if how not in get_args(Begin):
            raise ValueError(f"{self.name}: start = {how!r} must be one of {', '.join(map(repr, get_args(Begin)))}")
        if how == self.begins:
            return self
        if self.begins != "own":
            raise ValueError(
                f"{self.name} begins by start = {self.begins!r} already: choose once, {self.name.split('(')[0]}(start={how!r})"
            )
        made = getattr(self.step, "made", None)
        if self.start is None and made is not None and any(_starts(part) for part in made[1]):
            factory, parts, options = made
            again: Solver = factory(*(part.started(how) if _starts(part) else part for part in parts), **options)
            again = replace(again, reference=self.reference, begins=how)
        elif self.start is None:
            raise TypeError(f"{self.name} has no start to choose: it begins by itself, with the evaluations that there are")
        elif how == "ddim":
            first = SOLVERS["ddim"]
            on = tuple(kind for kind in self.on if kind in first.on)
            again = replace(self, start=first, order=min(self.order, 2), on=on, begins=how)
        else:
            body = self.published or replace(self, start=None, starts=0, order=min(self.order, 2))
            step = partial(body.step, **self.step.keywords) if self.published and isinstance(self.step, partial) else body.step
            again = replace(body, name=self.name, step=step, reference=self.reference, alias_of=self.alias_of, begins=how)
        return replace(again, name=replace(again, name=self.name)._label({}))

    def _check_space(self, space: Any) -> None:
        if isinstance(space, type) or not all(callable(getattr(space, name, None)) for name in _SPACE_METHODS):
            raise TypeError(f"{self.name}: space = {space!r} is not a Space: give one of solvers.space, e.g. Sphere(2)")
        if not self.claims(space):
            raise ValueError(f"{self.name}: space = {space!r} is not among the spaces that it moves in: {', '.join(self.spaces)}")


def _starts(part: Any) -> bool:
    return isinstance(part, Solver) and part.start is not None


class Registry(dict[str, Solver]):
    """Methods by name, in the order of definition; a name that is none is told what it may have meant."""

    def __missing__(self, name: str) -> Solver:
        raise UnknownSolver(name, self)


class UnknownSolver(KeyError):
    """No method of this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(name)
        bare = {_letters(one): one for one in reversed(list(known))}
        close = get_close_matches(_letters(str(name)), bare, n=4, cutoff=0.6)
        self.close = [bare[one] for one in close]

    def __str__(self) -> str:
        if self.args[0] == "auto":
            return "'auto' is chosen for a model and a budget: scorebed.advise(model, nfe).best, or scorebed sample --solver auto"
        meant = f"did you mean {' or '.join(map(repr, self.close))}?" if self.close else "`scorebed solvers --claims` lists all"
        return f"{self.args[0]!r} is no solver: {meant}"


def _letters(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "").replace("++", "pp")


SOLVERS: dict[str, Solver] = Registry()
"""Every method by name, in the order of definition; other names of a method (``alias_of``) are entries too."""


def methods_on(kind: str = "gaussian", aliases: bool = True, takes: str = "denoised") -> dict[str, Solver]:
    """The registered methods made for this kind of process and of model, by name; without ``aliases`` each method once."""
    some = {name: method for name, method in SOLVERS.items() if kind in method.on and method.takes == takes}
    return {name: method for name, method in some.items() if aliases or method.alias_of is None}


def distinct() -> dict[str, Solver]:
    """The registered methods, each once, by its first name."""
    return {name: method for name, method in SOLVERS.items() if method.alias_of is None}


def alias(
    name: str, of: Solver, *, reference: str, formula: str, published: Solver | None = None, on: tuple[str, ...] | None = None
) -> Solver:
    """Another name for ``of``, under which another paper derived it: the same step, claims and start. Measured once, under ``of``;
    ``published`` as in ``Solver``, where that paper begins otherwise, ``on`` the kinds of process that it speaks of, if not all.

    Returns:
        the Solver entered under ``name``.

    Raises:
        ValueError: the name is taken.
    """

    def step(denoise: Denoiser, x: State, s: Any, t: Any, carry: Carry, noise: Noise) -> tuple[State, Carry]:
        return of.step(denoise, x, s, t, carry, noise)

    step.__name__, step.__doc__ = name, f"{formula}  Equal to ``{of.name}``."
    step.__module__ = sys._getframe(1).f_globals["__name__"]  # its family is the file that gives the name
    if name in SOLVERS:
        raise ValueError(f"a solver called {name!r} is registered already")
    SOLVERS[name] = replace(
        of, name=name, step=step, reference=reference, alias_of=of.name, published=published or of.published, on=on or of.on
    )
    return SOLVERS[name]


def _registered(name: str) -> Solver:
    return SOLVERS[name]


def remade(step: Step, factory: Callable[..., Solver], *args: Any, **options: Any) -> Step:
    """Note on a step made inside ``factory`` the call that makes it again in another process: ``factory(*args, **options)``."""
    step.made = (factory, args, options)  # type: ignore[attr-defined]
    return step


def _packed(step: Any) -> tuple[Any, ...]:
    """What another process can make the step of: the name of a decorated function means its solver, so pickle cannot find it itself."""
    if isinstance(step, partial):
        return "options", _packed(step.func), step.keywords
    name, module = getattr(step, "__qualname__", ""), sys.modules.get(getattr(step, "__module__", None) or "")
    owner = SOLVERS.get(getattr(step, "__name__", ""))
    if owner is not None and owner.step is step:
        return "registered", owner.name
    if getattr(getattr(module, name, None), "step", None) is step:
        return "decorated", step.__module__, name
    return ("made", *step.made) if hasattr(step, "made") else ("function", step)


def _unpacked(claims: dict[str, Any]) -> Solver:
    return Solver(**{**claims, "step": _step_of(*claims["step"])})


def _step_of(kind: str, *what: Any) -> Step:
    if kind == "options":
        return partial(_step_of(*what[0]), **what[1])
    if kind == "registered":
        return SOLVERS[what[0]].step
    if kind == "decorated":
        decorated: Solver = getattr(importlib.import_module(what[0]), what[1])
        return decorated.step
    if kind == "made":
        factory, args, options = what
        again: Solver = factory(*args, **options)
        return again.step
    step: Step = what[0]
    return step


def solver(
    *,
    order: int,
    reference: str,
    weak: float | None = None,
    strong: float | None = None,
    start: Solver | None = None,
    starts: int = 0,
    published: Solver | None = None,
    nonlinear: str | None = None,
    inexact: str | None = None,
    spaces: tuple[str, ...] = (),
    on: tuple[str, ...] = ("gaussian",),
    takes: str = "denoised",
    register: bool = True,
) -> Callable[[Step], Solver]:
    """Make a step function a ``Solver`` of the function's name and enter it in ``SOLVERS``, which enrols it in every property.

    Args:
        order, weak, strong, reference, start, starts, published, nonlinear, inexact, spaces, on, takes: the claims, as in ``Solver``.
        register: False leaves it out of the registry (an experiment, a deliberately broken copy).

    Returns:
        The decorator.

    Raises:
        TypeError: the function is not a step.
        ValueError: a claim that cannot be, or a name already taken.
    """

    def make(step: Step) -> Solver:
        name = getattr(step, "__name__", "solver")
        parameters = inspect.signature(step).parameters
        options = [p for k, p in parameters.items() if k not in _STEP_ARGUMENTS]
        shaped = tuple(parameters)[: len(_STEP_ARGUMENTS)] == _STEP_ARGUMENTS
        if not shaped or any(p.kind is not p.KEYWORD_ONLY or p.default is p.empty for p in options):
            raise TypeError(f"{name} must take ({', '.join(_STEP_ARGUMENTS)}, *, option=default, ...), got {inspect.signature(step)}")
        if isinstance(order, bool) or not isinstance(order, int) or order < 1:
            raise ValueError(f"{name}: order = {order!r} must be an integer of at least 1")
        for claim, value in (("weak", weak), ("strong", strong)):
            if value is not None and not 0.0 < value < math.inf:
                raise ValueError(f"{name}: {claim} = {value!r} must be positive, or None for a deterministic method")
        if strong is not None and weak is None:
            raise ValueError(f"{name}: a strong order without a weak one; give both or none")
        if start is not None and start.start is not None:
            raise ValueError(f"{name}: start = {start.name} is itself a multistep method; give a one-step method")
        if starts < 0 or (start is None) != (starts == 0):
            raise ValueError(f"{name}: starts = {starts!r} steps with start = {start and start.name}: give both or none")
        if takes not in ("denoised", *MAPS):
            raise ValueError(f"{name}: takes = {takes!r} is not known: give 'denoised', or {' or '.join(map(repr, MAPS))}")
        if bool(spaces) and "space" not in parameters:
            raise TypeError(f"{name}: spaces = {spaces!r}, but the step has no option space: add the keyword space=None")
        if not isinstance(on, tuple) or not on or not all(kind in KINDS for kind in on):
            raise ValueError(f"{name}: on = {on!r} must be a tuple of kinds of process, of {', '.join(KINDS)}")
        if start is not None and not set(on) <= set(start.on):
            raise ValueError(f"{name}: start = {start.name} is on {start.on}, the method on {on}: give a start for all of them")
        made = Solver(
            name, step, order, weak, strong, reference, start, nonlinear, inexact, spaces, on, starts, published=published, takes=takes
        )
        if register:
            if name in SOLVERS:
                raise ValueError(f"a solver called {name!r} is registered already")
            SOLVERS[name] = made
        return made

    return make


class _Shared:
    """A model that knows its value at (x, s), where a body and its start both begin: made once for both."""

    def __init__(self, denoise: Denoiser, x: State, s: Any, value: State) -> None:
        self.denoise, self.x, self.s, self.value = denoise, x, s, value
        self.begun = False

    def __call__(self, x: State, node: Any) -> State:
        first, self.begun = not self.begun, True
        return self.value if first and x is self.x and node is self.s else self.denoise(x, node)


def _pair(solver: Solver, result: Any) -> tuple[State, Carry]:
    """What a step returned, if it is a pair: an array of two rows would unpack as one."""
    if not (isinstance(result, tuple) and len(result) == 2):
        raise TypeError(f"{solver.name} returned a {type(result).__name__}: a step returns the pair (x_t, carry)")
    return result


def advance(solver: Solver, denoise: Denoiser, x: State, s: Any, t: Any, carry: Carry, noise: Noise) -> tuple[State, Carry]:
    """One step of the method.

    In the first ``starts`` steps the start moves x and the body fills the memory; both evaluate first at (x, s), once for both. The carry
    of a method with a start is the pair (steps done, memory).

    Returns:
        (state at t, carry for the next step).
    """
    if solver.start is None:
        return _pair(solver, solver.step(denoise, x, s, t, carry, noise))
    done, memory = carry or (0, None)
    if done >= solver.starts:
        x_t, memory = _pair(solver, solver.step(denoise, x, s, t, memory, noise))
        return x_t, (done, memory)
    value = denoise(x, s)
    _, memory = _pair(solver, solver.step(_Shared(denoise, x, s, value), x, s, t, memory, noise))
    x_t, _ = _pair(solver.start, solver.start.step(_Shared(denoise, x, s, value), x, s, t, None, noise))
    return x_t, (done + 1, memory)
