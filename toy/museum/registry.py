r"""What an exhibit is: a public defect as a minimal case, the check that must find it unaided, and a mended twin that must not be flagged.

    @exhibit("check_solver", "huggingface/diffusers#1512", "the second slope is divided by the level before", named="heun", order=2)
    def heun_slope(mended: bool): ...        # the sampler, broken or mended

``subject(False)`` is the defect, ``subject(True)`` the same thing with the one line mended; both are handed to the same check with the same
options, and nothing tells the check what to look for. ``named`` are words of the report by which a reader knows the fault.
"""

from __future__ import annotations

import importlib
import pkgutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

CHECKS: dict[str, Callable[..., Any]] = {}
"""How each check is called with what an exhibit hands over; a file of this folder may enter one by ``CHECKS["check_…"] = …``."""


def _solver(subject: Any, **options: Any) -> Any:
    from scorebed.toy.check.solver import check_solver

    return check_solver(subject, **{"quick": True, **options})


def _grid(subject: dict[str, Any], **options: Any) -> Any:
    from scorebed.toy.conform.grid import check_grid

    return check_grid(**subject, **options)


def _likelihood(subject: Any, **options: Any) -> Any:
    from scorebed.toy.check.likelihood import check_likelihood

    return check_likelihood(subject, **options)


def _posterior(subject: Any, **options: Any) -> Any:
    from scorebed.toy.check.posterior import check_posterior

    return check_posterior(subject, **{"steps": 30, "samples": 2500, "joint": 0, **options})


def _sde(subject: Any, **options: Any) -> Any:
    from scorebed.toy.check.sde import check_sde_solver

    return check_sde_solver(subject, **options)


def _conform(subject: dict[str, Any], **options: Any) -> Any:
    from scorebed.toy.conform.judge import judge

    return judge(subject, **options)


CHECKS |= {
    "check_solver": _solver,
    "check_grid": _grid,
    "check_likelihood": _likelihood,
    "check_posterior": _posterior,
    "check_sde_solver": _sde,
    "conform": _conform,
}


@dataclass(frozen=True)
class Exhibit:
    """A public defect.

    Attributes:
        name: of the exhibit.
        check: the check that finds it, one of ``CHECKS``.
        thread: where it was told: ``owner/repository#number``, or ``toy/PEERS.md#key`` for what this house found in a library.
        fault: what was written, in one line.
        named: words that the report of the broken one must hold.
        subject: ``subject(mended)`` is what is checked.
        also: further threads of the same defect.
        options: of the check, alike for both.
    """

    name: str
    check: str
    thread: str
    fault: str
    named: str
    subject: Callable[[bool], Any] = field(repr=False)
    also: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where the thread is to be read: its address, or a place of this repository."""
        if self.thread.startswith("toy/"):
            return self.thread
        place, _, number = self.thread.partition("#")
        return f"https://github.com/{place}/issues/{number}"

    def look(self, mended: bool = False, **options: Any) -> Any:
        """The report of the check on the defect, or on its twin."""
        return CHECKS[self.check](self.subject(mended), **{**self.options, **options})

    def run(self, **options: Any) -> Seen:
        """Look at both."""
        began = time.perf_counter()
        broken = self.look(False, **options)
        seconds = time.perf_counter() - began
        twin = self.look(True, **options)
        said = words(broken)
        return Seen(self, not broken.passed, bool(said) and self.named in said, not twin.passed, seconds, said, words(twin))


@dataclass(frozen=True)
class Seen:
    """What a check said of an exhibit.

    Attributes:
        found: the defect fails the check.
        named: and its report holds the words that name it.
        flagged: the mended twin fails it, which it must not.
        seconds: that finding it took.
        said, twin_said: what failed, and why.
    """

    exhibit: Exhibit
    found: bool
    named: bool
    flagged: bool
    seconds: float
    said: str
    twin_said: str

    @property
    def right(self) -> bool:
        return self.found and self.named and not self.flagged


def words(report: Any) -> str:
    """What fails in a report, and the causes it names, in one line."""
    causes = [str(c) for c in getattr(report, "causes", [])[:2]]
    diagnosis = getattr(report, "diagnosis", None)
    symptoms = [f"{s.part}: {s.like or f'{s.ratio:.3g} times'}" for s in diagnosis.symptoms[:2]] if diagnosis is not None else []
    failed = [f for f in report.findings if f.status == "fail"]
    first = [f"{f.name}: {f.measured}" for f in failed[:3]]
    return "; ".join([*causes, *symptoms, *first, *(f.detail for f in failed[:1] if f.detail)]) if failed else ""


EXHIBITS: dict[str, Exhibit] = {}
"""Every exhibit by its name; ``load()`` fills it."""


def exhibit(
    check: str, thread: str, fault: str, *, named: str, also: tuple[str, ...] = (), **options: Any
) -> Callable[[Callable[[bool], Any]], Exhibit]:
    """Make a function of ``mended`` an ``Exhibit`` of its name, and enter it.

    Returns:
        a decorator that turns the function into an Exhibit and registers it.

    Raises:
        ValueError: the name is taken, or the check is not known.
    """

    def make(subject: Callable[[bool], Any]) -> Exhibit:
        name = subject.__name__
        if name in EXHIBITS:
            raise ValueError(f"exhibit {name} is registered already: {EXHIBITS[name].thread}")
        if check not in CHECKS:
            raise ValueError(f"exhibit {name}: check = {check!r} is not known: give one of {', '.join(CHECKS)}")
        EXHIBITS[name] = Exhibit(name, check, thread, fault, named, subject, also, options)
        return EXHIBITS[name]

    return make


def load() -> dict[str, Exhibit]:
    """Import every file of this folder, which fills ``EXHIBITS``."""
    import scorebed.toy.museum as package

    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
        importlib.import_module(f"scorebed.toy.museum.{module}")
    return EXHIBITS
