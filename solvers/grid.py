"""Grids: strictly monotone lists of nodes, from noise to data unless ``start`` and ``end`` say otherwise.

``n`` is always the number of steps, so a grid has n + 1 nodes. ``start`` and ``end`` are times of the schedule and default to its
``t_max`` and ``t_min``; with start < end the grid runs towards noise. The nodes in between are uniform in

    uniform     t
    quadratic   sqrt(t)                          arXiv:2010.02502, appendix D.2
    uniform_lam lam = log(alpha/sigma)           arXiv:2206.00927
    karras      (sigma/alpha)^(1/rho)            arXiv:2206.00364, eq. 5

and in what ``solvers.spacing`` adds. ``GRIDS`` is the one registry of all; ``make`` builds a grid by its name, fitted to the data where the
kind can be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any, TypeVar

from scorebed.solvers.process import Point, Process, Stepped
from scorebed.solvers.schedule import Node, Schedule

Spacing = Callable[..., list[Node]]
"""``spacing(schedule, n, start=None, end=None, **options)``: n steps on a schedule."""
Kind = TypeVar("Kind", bound=Spacing)
Fit = Callable[[Sequence[float]], dict[str, Any]]
"""The options that fit a spacing to data whose covariance has these eigenvalues."""

GRIDS: dict[str, Spacing] = {}
"""Every kind of grid by name; each works without options too."""
_FITS: dict[str, Fit] = {}
_EVERYWHERE: set[str] = set()


def spacing(fit: Fit | None = None, *, everywhere: bool = False) -> Callable[[Kind], Kind]:
    """Enter a function in ``GRIDS`` under its name; ``fit`` gives the options that suit it to the variances of the data. ``everywhere``: it
    knows times and the clock only, and so spaces every kind of process; others need alpha and sigma, a ``Schedule``.

    Returns:
        decorator that enters the function in ``GRIDS``.
    """

    def enter(made: Kind) -> Kind:
        name = str(made.__name__)
        GRIDS[name] = made
        if everywhere:
            _EVERYWHERE.add(name)
        if fit is not None:
            _FITS[name] = fit
        return made

    return enter


def kinds_on(process: Any) -> list[str]:
    """The kinds of grid that space ``process``: all on a schedule, elsewhere those that know times and the clock only."""
    return [name for name, made in GRIDS.items() if isinstance(process, Schedule) or made.__name__ in _EVERYWHERE]


def make(
    kind: str, schedule: Schedule, n: int, start: float | None = None, end: float | None = None, *, variances: Sequence[float] | None = None
) -> list[Node]:
    """The grid of ``n`` steps by name.

    Args:
        kind: a key of ``GRIDS``.
        schedule, n, start, end: as for every spacing.
        variances: eigenvalues of the covariance of the data, to which the kinds that have such parameters are fitted; None leaves them at
            their defaults.

    Returns:
        list of n + 1 nodes from start to end.

    Raises:
        ValueError: an unknown name, a kind that is not for this process, or parameters for which the grid does not exist.
    """
    if kind not in GRIDS:
        raise ValueError(f"grid = {kind!r} is not known: give one of {', '.join(GRIDS)}")
    if isinstance(schedule, Process) and kind not in (on := kinds_on(schedule)):
        raise ValueError(f"grid = {kind!r} spaces alpha and sigma, which {type(schedule).__name__} has not: give one of {', '.join(on)}")
    return GRIDS[kind](schedule, n, start, end, **fitted(kind, variances))


def fitted(kind: str, variances: Sequence[float] | None) -> dict[str, Any]:
    """The options that suit a kind of grid to the variances of the data; none where it has no such options, or they are None."""
    return dict(_FITS[kind](variances)) if variances is not None and kind in _FITS else {}


def _interior(
    schedule: Any, n: int, start: float | None, end: float | None, between: Callable[[Any, Any, float], Any], *, everywhere: bool = False
) -> list[Any]:
    """The end nodes exactly, and ``between(first, last, i/n)`` in the interior; ``everywhere``: on every kind of process."""
    if not (everywhere and isinstance(schedule, Process) and not isinstance(schedule, type)):
        _made(schedule)
    if isinstance(n, bool) or not isinstance(n, Integral) or n < 1:
        raise ValueError(f"n = {n!r} is not a number of steps: give an integer of at least 1")
    first = schedule.node(schedule.t_max if start is None else start)
    last = schedule.node(schedule.t_min if end is None else end)
    check([first, last])  # bad ends are named here; their interior would only obscure them
    return check([first, *(between(first, last, i / n) for i in range(1, n)), last])


def _made(schedule: Schedule) -> Schedule:
    if isinstance(schedule, type) or not isinstance(schedule, Schedule):
        raise TypeError(f"schedule = {schedule!r} is not a schedule: give an instance such as VP()")
    return schedule


def _mix(a: float, b: float, r: float) -> float:
    return (1.0 - r) * a + r * b


def _near(process: Any, t: float) -> Any:
    """The node at t, or of the step nearest to it where a process has steps."""
    return process.nearest(t) if isinstance(process, Stepped) else process.node(t)


def _near_clock(point: Any, clock: float) -> Any:
    """The same by the clock, on the process of ``point``."""
    return point.process.nearest(clock=clock) if isinstance(point.process, Stepped) else point.at(clock)


@spacing(everywhere=True)
def uniform(schedule: Any, n: int, start: float | None = None, end: float | None = None) -> list[Node]:
    """n steps of equal length in t."""
    return _interior(schedule, n, start, end, lambda a, b, r: _near(schedule, _mix(a.t, b.t, r)), everywhere=True)


@spacing(everywhere=True)
def quadratic(schedule: Any, n: int, start: float | None = None, end: float | None = None) -> list[Node]:
    """n steps of equal length in sqrt(t): finer towards the data."""
    return _interior(
        schedule, n, start, end, lambda a, b, r: _near(schedule, _mix(math.sqrt(a.t), math.sqrt(b.t), r) ** 2), everywhere=True
    )


@spacing(everywhere=True)
def uniform_lam(schedule: Any, n: int, start: float | None = None, end: float | None = None) -> list[Node]:
    """n steps of equal length in lam, the half log-SNR; in the clock, on another process."""
    return _interior(schedule, n, start, end, lambda a, b, r: _near_clock(a, _mix(a.clock, b.clock, r)), everywhere=True)


@spacing()
def karras(schedule: Schedule, n: int, start: float | None = None, end: float | None = None, rho: float = 7.0) -> list[Node]:
    """n steps of equal length in (sigma/alpha)^(1/rho), on any schedule.

    Returns:
        list of n + 1 nodes from start to end.

    Raises:
        ValueError: ``rho`` is not positive, or as every grid.
    """
    if not (math.isfinite(rho) and rho > 0.0):
        raise ValueError(f"rho = {rho!r} must be positive and finite")
    return _interior(
        schedule, n, start, end, lambda a, b, r: schedule.at_lam(-rho * math.log(_mix(a.rho ** (1.0 / rho), b.rho ** (1.0 / rho), r)))
    )


def from_times(schedule: Any, times: Iterable[float]) -> list[Node]:
    """The grid at a user's own times, in their order."""
    schedule = schedule if isinstance(schedule, Process) and not isinstance(schedule, type) else _made(schedule)
    return check([schedule.node(float(t)) for t in times])


def check(nodes: Sequence[Any]) -> list[Any]:
    """The nodes as a list, if they make a grid.

    Returns:
        the nodes as a list, in their order.

    Raises:
        TypeError: not a sequence of ``Node``.
        ValueError: fewer than two nodes, a value that is not finite or out of range, nodes of different processes, or times and lam that
            are not strictly monotone. The message names the node.
    """
    if isinstance(nodes, str) or not hasattr(nodes, "__iter__"):
        raise TypeError(f"grid = {nodes!r} is not a list of nodes: make one with solvers.grid")
    nodes = list(nodes)
    for i, node in enumerate(nodes):
        if not isinstance(node, Point):
            raise TypeError(f"grid[{i}] = {node!r} is not a Node: make the grid with solvers.grid.from_times(schedule, times)")
        if isinstance(node, Node):
            _check_scalar(i, node)
        if node.process != nodes[0].process:
            raise ValueError(f"grid[{i}] belongs to {node.process}, grid[0] to {nodes[0].process}: a grid lies on one process")
    if len(nodes) < 2:
        raise ValueError(f"grid has {len(nodes)} node(s), that is no step: give at least 2 nodes")
    towards_data = nodes[-1].clock > nodes[0].clock
    for i, (s, t) in enumerate(pairwise(nodes)):
        if s.t == t.t or s.clock == t.clock or (t.clock > s.clock) != towards_data or (t.t < s.t) != towards_data:
            clock = "lam" if isinstance(s, Node) else "clock"
            raise ValueError(
                f"grid is not strictly monotone between nodes {i} and {i + 1}: t {s.t} -> {t.t}, {clock} {s.clock} -> {t.clock}; "
                "remove duplicates and sort the times"
            )
    return nodes


def _check_scalar(i: int, node: Node) -> None:
    """Refuse a node of a schedule that is no place for a step."""
    if not all(map(math.isfinite, (node.t, node.alpha, node.sigma, node.lam))) or node.alpha <= 0.0 or node.sigma <= 0.0:
        raise ValueError(
            f"grid[{i}] = {node} needs finite values with alpha > 0 and sigma > 0: stop short of the ends of the schedule "
            "(the step to sigma = 0 is terminal='denoise')"
        )
    if abs(math.log(node.alpha / node.sigma) - node.lam) > 1e-8 * max(1.0, abs(node.lam)):
        raise ValueError(f"grid[{i}] = {node} has lam other than log(alpha/sigma) = {math.log(node.alpha / node.sigma)}")
