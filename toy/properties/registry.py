"""What a property is: a function of a solver that raises ``Broken`` where the solver does not keep it.

A property that says nothing about some solvers gives the reason, so that the solver × property table has no unexplained hole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scorebed.solvers import Solver
from scorebed.solvers.methods.adaptive import ADAPTIVE
from scorebed.solvers.methods.sde_dpm import FREEZES_EPS


class Broken(AssertionError):
    """The solver breaks the property; the message says by how much."""


@dataclass(frozen=True)
class Property:
    """``check(solver)`` raises ``Broken``; ``exempt(solver)`` gives the reason why the property does not speak of this solver, or None.

    ``kind`` is the kind of process that it is about, ``takes`` the kind of model; methods made for others are exempt.
    """

    name: str
    check: Callable[[Solver], None]
    exempt: Callable[[Solver], str | None]
    kind: str = "gaussian"
    takes: tuple[str, ...] = ("denoised",)

    def __call__(self, solver: Solver) -> None:
        reason = self.exempt(solver)
        if reason is not None:
            raise ValueError(f"the property {self.name!r} does not speak of {solver.name}: {reason}")
        self.check(solver)


PROPERTIES: dict[str, Property] = {}
"""Every property by name."""


def prop(
    exempt: Callable[[Solver], str | None] = lambda solver: None, *, kind: str = "gaussian", takes: tuple[str, ...] = ("denoised",)
) -> Callable[[Callable[[Solver], None]], Property]:
    """Enter a check in ``PROPERTIES`` under the function's name, for the methods on this ``kind`` of process and of model."""

    def make(check: Callable[[Solver], None]) -> Property:
        name = check.__name__
        PROPERTIES[name] = Property(name, check, any_of(lambda solver: elsewhere(solver, kind, takes), exempt), kind, takes)
        return PROPERTIES[name]

    return make


def elsewhere(solver: Solver, kind: str, takes: tuple[str, ...]) -> str | None:
    """The exemption of properties about one kind of process and of model: methods made for others."""
    if kind not in solver.on:
        return f"not on {kind} processes"
    return None if solver.takes in takes else "takes a few-step map" if "denoised" in takes else "takes no few-step map"


def stochastic(solver: Solver) -> str | None:
    """The exemption of properties about deterministic methods."""
    return "draws noise" if solver.weak is not None else None


def deterministic(solver: Solver) -> str | None:
    """The exemption of properties about stochastic methods, which read the Plan."""
    return "draws no noise" if solver.weak is None else solver.nonlinear


def unplanned(solver: Solver) -> str | None:
    """The exemption of properties that read the Plan."""
    return solver.nonlinear


def chooses_steps(solver: Solver) -> str | None:
    """The exemption of properties about the order on a refined grid."""
    return solver.nonlinear if solver.nonlinear == ADAPTIVE else black_box(solver)


def black_box(solver: Solver) -> str | None:
    """The exemption of exact and of costly properties for other libraries' integrators."""
    return solver.nonlinear if (solver.nonlinear or "").startswith("black box") else None


def inexact(solver: Solver) -> str | None:
    """The exemption of properties about a constant denoiser."""
    return solver.inexact


def moved_by_shifts(solver: Solver) -> str | None:
    """The exemption of equivariance under shifts: eps does not change where data and state are shifted together, x and the score do."""
    return None if solver.inexact == FREEZES_EPS else solver.inexact


def any_of(*exemptions: Callable[[Solver], str | None]) -> Callable[[Solver], str | None]:
    """The first reason that one of the exemptions gives."""
    return lambda solver: next((reason for exempt in exemptions if (reason := exempt(solver)) is not None), None)


def require(kept: bool, solver: Solver, what: str) -> None:
    """Raise ``Broken`` unless ``kept``."""
    if not kept:
        raise Broken(f"{solver.name}: {what}")
