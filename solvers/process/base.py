r"""What every kind of forward law has in common: the clock, the points on it, and what a model of it predicts.

A ``Process`` knows how the state is noised. Kinds differ in what a state is, what a model gives, and what the clock is; a method says in
``on`` which kinds it is made for, and nothing else is asked of either.

    kind       state      a model gives     clock
    gaussian   x          denoised          lam = log(alpha/sigma)
    phase      (x, v)     x0, v0            integrated rate of the Langevin dynamics
    bridge     x          x0, x1            1 - t
    sequence   (x0, …)    x0, …             lam = log(alpha/sigma) of the schedule
    jump       integers   probabilities     the share alpha of tokens that have not jumped

One component is the bare array, several are a tuple; so for states, for predictions and for draws of noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from scorebed.solvers.state import State

KINDS = ("gaussian", "phase", "bridge", "sequence", "jump")
"""The kinds of process, as methods name them in ``on``."""
LINEAR = ("gaussian", "phase", "bridge", "sequence")
"""Those that are linear: what a method is on that asks the process for its transfers or rates, and nothing of alpha and sigma."""

P = TypeVar("P", bound="Point")


def as_floats(made: Any, *names: str) -> None:
    """Turn these fields of a frozen dataclass into Python floats: a NumPy scalar among them would spread to every coefficient."""
    for name in names:
        value = getattr(made, name)
        if type(value) is not float:
            object.__setattr__(made, name, float(value))


def positive(made: Any, *names: str) -> None:
    """Turn these fields of a frozen dataclass into Python floats; what is not positive and finite is refused."""
    as_floats(made, *names)
    for name in names:
        value = getattr(made, name)
        if not (math.isfinite(value) and value > 0.0):
            raise ValueError(f"{type(made).__name__}: {name} = {value!r} must be positive and finite")


def ordered(made: Any, low: str = "t_min", high: str = "t_max", most: float = math.inf) -> None:
    """Refuse fields of a dataclass that are not ``low`` < ``high`` <= ``most``."""
    name, least, greatest = type(made).__name__, getattr(made, low), getattr(made, high)
    if not least < greatest:
        raise ValueError(f"{name}: {low} = {least!r} must lie below {high} = {greatest!r}")
    if greatest > most:
        raise ValueError(f"{name}: {high} = {greatest!r} must not exceed {most:g}")


class Point:
    """One point of a process: its time ``t``, its ``clock`` and its ``process``. Grids, steps and keys of noise need no more."""

    __slots__ = ()
    t: float
    clock: float
    process: Any

    def toward(self: P, t: P, r: float) -> P:
        """The point at clock + r (t.clock - clock): r = 0 is here, r = 1 is ``t``.

        Returns:
            the point between, on the same process.

        Raises:
            ValueError: this point carries no process, or the clock is infinite at either end.
        """
        if not (math.isfinite(self.clock) and math.isfinite(t.clock)):
            raise ValueError(f"toward() needs a finite clock (lam of a schedule) at both ends, got {self.clock} and {t.clock}")
        if r == 0.0:
            return self
        if r == 1.0:
            return t
        return self.at(self.clock + r * (t.clock - self.clock))

    def at(self: P, clock: float) -> P:
        """The point of the same process at this clock.

        Returns:
            the point of the same process at ``clock``.

        Raises:
            ValueError: this point carries no process.
        """
        if self.process is None:
            raise ValueError("this point has process=None and knows no other: make it by process.node(t)")
        return cast(P, self.process.at(clock))

    def to(self, t: Any, eta: float = 0.0) -> Any:
        """The ``Transfer`` from here to ``t`` on a linear process: ``s.to(t)(z, model(z, s))`` is the step of DDIM, on every kind."""
        return self.process.transfer(self, t, eta)


@dataclass(frozen=True, slots=True)
class Instant(Point):
    """The point of a process that is not a schedule: what else holds there is asked of the process. Plain Python floats."""

    t: float
    clock: float
    process: Any = field(default=None, repr=False, compare=False)


@runtime_checkable
class Process(Protocol):
    """What a process offers. ``t_min`` and ``t_max`` bound the grids made on it by default.

    ``kind`` is what a method's ``on`` names, ``state`` the names of the components of the state, ``gives`` those of what a model predicts,
    ``draws`` how many arrays of noise an interval has. ``node(t)`` and ``at(clock)`` give its points. ``check`` refuses a state,
    ``check_output`` a prediction, that cannot be; ``noise(source, s, t)`` are the draws of a step from one keyed source of normals and
    uniforms (``solvers.noise``), which ``check_noise`` refuses where they cannot be; ``clean`` is the state that a prediction names.
    """

    @property
    def kind(self) -> str: ...
    @property
    def state(self) -> tuple[str, ...]: ...
    @property
    def gives(self) -> tuple[str, ...]: ...
    @property
    def draws(self) -> int: ...
    @property
    def t_min(self) -> float: ...
    @property
    def t_max(self) -> float: ...
    def node(self, t: float) -> Any: ...
    def at(self, clock: float) -> Any: ...
    def check(self, x: State, name: str = "x") -> None: ...
    def check_output(self, value: State, x: State, what: str) -> None: ...
    def noise(self, source: Any, s: Any, t: Any) -> State: ...
    def check_noise(self, value: Any, x: Any, where: str) -> None: ...
    def clean(self, prediction: State) -> State: ...


@runtime_checkable
class Stepped(Protocol):
    """A process that has no points but its steps: ``nearest(t)`` and ``nearest(clock=…)`` are the ones that a spacing goes through."""

    def nearest(self, t: float | None = None, clock: float | None = None) -> Any: ...
