"""The only loop: from the first node of a grid to the last, and the terminal rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, Literal, overload

from scorebed.solvers import grid as grids
from scorebed.solvers.base import Solver, Space, advance
from scorebed.solvers.levels import by_sample, on_own_grids
from scorebed.solvers.memory import own
from scorebed.solvers.model import MAPS, Denoiser
from scorebed.solvers.noise import BrownianNoise, Noise
from scorebed.solvers.noise.by_sample import NoiseBySample, noise_from
from scorebed.solvers.process import Point
from scorebed.solvers.state import NonFinite, State, check_alike, is_finite, parts

TERMINALS = ("denoise", "none")
"""``denoise``: one more evaluation, x0 = D(x, last node), the DDIM step to sigma = 0; on a Space, which D may leave, the move from x by the
tangent part of D - x, projected. ``none``: x at the last node."""


class StopSampling(Exception):
    """Raise it in a callback to end the run there: its result is the state after that step, and no terminal rule follows."""


@dataclass
class Run:
    """A recorded run. ``xs[i]`` is the state at ``nodes[i]``; ``denoised[i]`` the first evaluation of step i, made at
    ``denoised_nodes[i]``, with the terminal evaluation last; ``nfe`` counts all evaluations.

    Adaptive methods evaluate parts of the batch, and ``denoised`` then holds those. ``seed`` is that of the noise, given or fresh;
    None where nothing was drawn, or by a ``Noise`` of the caller's. ``stopped``: a callback ended the run at the last of ``nodes``."""

    x: State
    nodes: list[Any]
    xs: list[State] = field(default_factory=list)
    denoised: list[State] = field(default_factory=list)
    denoised_nodes: list[Any] = field(default_factory=list)
    nfe: int = 0
    seed: int | tuple[int, ...] | None = None
    stopped: bool = False


@dataclass(frozen=True)
class StepDone:
    """What a callback is told after step ``index`` (from 0) from ``s`` to ``t``; the arrays are copies."""

    index: int
    s: Any
    t: Any
    x: State
    denoised: State | None
    nfe: int


def check_step(x: State, i: int, name: str, nodes: Sequence[Any]) -> None:
    """Refuse a state that is not finite after step ``i`` of the solver called ``name``."""
    if not is_finite(x):
        raise NonFinite(f"the state became nan or inf in step {i} of {name}, from {nodes[i]} to {nodes[i + 1]}: the solver diverged")


def check_mark(denoise: Any, takes: str) -> None:
    """Refuse a model that is marked (``solvers.predicts``) as another than a method takes; a few-step map must be marked as one.

    Raises:
        ValueError: a posterior mean where a map is asked for, a map where a posterior mean is, or another prediction.
    """
    marked = getattr(denoise, "prediction", "denoised")
    if marked == takes:
        return
    if takes in MAPS:
        raise ValueError(f"this method takes a few-step map, but denoise is a {marked!r} model: mark a map by solvers.predicts({takes!r})")
    if marked in MAPS:
        raise ValueError(f"denoise is a few-step map ({marked!r}) and no posterior mean: give it to a method with takes = {marked!r}")
    raise ValueError(f"denoise predicts {marked!r}, not 'denoised': wrap it, solvers.model.denoiser(f, {marked!r})")


class Watched:
    """A model that counts its calls, lets no bad value through, and shares no memory with the loop (``solvers.memory``).

    ``start`` is a node of the process that it belongs to; ``takes`` what the method asks of a model, as ``Solver.takes``.
    """

    def __init__(self, denoise: Denoiser, start: Point, takes: str = "denoised") -> None:
        if not callable(denoise):
            raise TypeError(f"denoise = {denoise!r} is not callable: give a function of (x, node)")
        check_mark(denoise, takes)
        self.process = start.process
        self.denoise, self.nfe, self.step = denoise, 0, 0
        self.first: tuple[Any, State] | None = None
        self.pointwise = getattr(denoise, "pointwise", False)
        if hasattr(denoise, "take"):
            self.take = lambda rows: partial(self._ask, denoise.take(rows))

    def __call__(self, x: State, node: Any, *to: Any) -> State:
        return self._ask(self.denoise, x, node, *to)

    def _ask(self, denoise: Callable[..., State], x: State, node: Any, *to: Any) -> State:
        value = denoise(own(x), node, *to)
        self.nfe += 1
        where = f"at step {self.step}, evaluation {self.nfe}, {node}"
        self.process.check_output(value, x, f"denoise(x, node) {where}")
        if not is_finite(value):
            cause = "" if is_finite(x) else "; its input was not finite: the solver diverged"
            raise NonFinite(f"denoise returned nan or inf {where}{cause}")
        value = own(value)
        if self.first is None:
            self.first = (node, value)
        return value


class WatchedNoise:
    """A seed or a noise as a noise that lets no bad value through; without either, one of a fresh seed. ``seed`` is that of its draws.

    A ``BrownianNoise`` is a source, from which the process draws; any other function gives the draws themselves.
    """

    def __init__(self, noise: Noise | int | Sequence[int] | None, x: State, start: Point) -> None:
        self.process, self.x = start.process, parts(x)[0]
        self.noise: Any = noise_from(noise, self.x)
        self.seed: int | tuple[int, ...] | None = None

    def __call__(self, s: Any, t: Any) -> State:
        keyed = isinstance(self.noise, BrownianNoise | NoiseBySample)
        value = self.process.noise(self.noise, s, t) if keyed else self.noise(s, t)
        self.seed = (self.noise.seed if isinstance(self.noise, BrownianNoise) else self.noise.seeds) if keyed else None
        self.process.check_noise(value, self.x, f"on [{s.t}, {t.t}]")
        return own(value)


def check_run(solver: Solver, grid: Sequence[Any], terminal: str) -> list[Any]:
    """The grid, if this solver can walk it and end it with this rule."""
    if not isinstance(solver, Solver):
        raise TypeError(f"solver = {solver!r} is not a Solver: take one from solvers.SOLVERS or make one with @solver")
    if terminal not in TERMINALS:
        raise ValueError(f"terminal = {terminal!r} is not known: give one of {', '.join(TERMINALS)}")
    nodes = grids.check(grid)
    kind = nodes[0].process.kind
    if kind not in solver.on:
        raise ValueError(f"{solver.name} is made for {', '.join(solver.on)} processes, but this grid lies on a {kind} process")
    if nodes[-1].clock < nodes[0].clock:
        if terminal == "denoise":
            raise ValueError("terminal = 'denoise' ends a grid at its cleanest node, but this grid runs towards noise: use terminal='none'")
        if solver.weak is not None:
            raise ValueError(f"{solver.name} is stochastic and runs from noise to data, but this grid runs towards noise")
    if solver.takes == "map" and terminal == "denoise":
        raise ValueError(f"{solver.name} takes a map f(x, s, t), which ends where it is sent: use terminal='none'")
    if solver.space is not None:
        check_clock(nodes, solver.space)
    return nodes


def check_clock(nodes: Sequence[Any], space: Space) -> None:
    """Refuse nodes with alpha other than 1: the state is where a Brownian motion of the space is after the time sigma²."""
    for i, node in enumerate(nodes):
        if node.alpha != 1.0:
            raise ValueError(f"grid[{i}] = {node}: {space!r} knows no multiple of a point, give a schedule with alpha = 1 (EDM or VE)")


def end(solver: Solver, denoise: Denoiser, x: State, node: Any) -> State:
    """The terminal rule ``denoise``."""
    denoised, space = node.process.clean(denoise(x, node)), solver.space
    return denoised if space is None else space.project(space.move(x, space.tangent(x, denoised - x)))


def loop(
    solver: Solver,
    denoise: Denoiser,
    x: State,
    nodes: Sequence[Any],
    noise: Noise,
    terminal: str,
    after: Callable[[int, State, Any], tuple[State, Any]],
    pairs: Callable[[list[tuple[Any, Any]]], Iterable[tuple[Any, Any]]] = iter,
) -> State:
    """The loop itself. ``after(i, x, carry)`` sees each step's result and gives back what goes on: a check, a record, or a trace."""
    carry = None
    for i, (s, t) in enumerate(pairs(list(pairwise(nodes)))):
        x, carry = after(i, *advance(solver, denoise, x, s, t, carry, noise))
    return end(solver, denoise, x, nodes[-1]) if terminal == "denoise" else x


class Unrolled:
    """A solver on a grid of its own, to be walked whole: what ``sample`` asks of a Plan."""

    def run(self, denoise: Any, x: Any, noise: Any = None) -> Any:
        """The end of the run from the state ``x``."""
        raise NotImplementedError


@overload
def sample(solver: Unrolled, denoise: Denoiser, x: State, *, noise: Noise | int | Sequence[int] | None = ...) -> State: ...
@overload
def sample(
    solver: Solver,
    denoise: Denoiser,
    x: State,
    grid: Sequence[Any],
    *,
    noise: Noise | int | Sequence[int] | None = ...,
    terminal: str = ...,
    record: Literal[False] = ...,
    callback: Callable[[StepDone], State | None] | None = ...,
    progress: bool = ...,
) -> State: ...
@overload
def sample(
    solver: Solver,
    denoise: Denoiser,
    x: State,
    grid: Sequence[Any],
    *,
    noise: Noise | int | Sequence[int] | None = ...,
    terminal: str = ...,
    record: Literal[True],
    callback: Callable[[StepDone], State | None] | None = ...,
    progress: bool = ...,
) -> Run: ...
def sample(
    solver: Solver | Unrolled,
    denoise: Denoiser,
    x: State,
    grid: Sequence[Any] | None = None,
    *,
    noise: Noise | int | Sequence[int] | None = None,
    terminal: str = "denoise",
    record: bool = False,
    callback: Callable[[StepDone], State | None] | None = None,
    progress: bool = False,
) -> State | Run:
    """Run ``solver`` along ``grid`` from the state ``x`` at its first node.

    Args:
        solver: the method; or a Plan, which has its grid and its end with it, and is walked as ``Plan.run`` does.
        denoise: (x, node) -> E[x0 | x], an array of x's shape and dtype.
        x: state of shape (..., d), NumPy or torch, floating point; its first axis counts samples.
        grid: strictly monotone nodes (``solvers.grid``); or a list of grids, one for each sample, which then runs on its own (states of one
            array; without ``record``, ``callback`` and ``progress``).
        noise: for stochastic methods: a seed, a list of seeds, one for each sample, or a ``Noise``; None is a fresh seed at every call,
            which ``Run.seed`` tells, so that a loop of calls draws new noise each time. The same seed gives the same samples.
        terminal: ``"denoise"`` (one more evaluation, x0 = D(x, last)) or ``"none"`` (x at the last node).
        record: give back a ``Run`` with trajectory, denoised trajectory and evaluation count, instead of the final array.
        callback: called with a ``StepDone`` after every step. It may return another state, of the same kind, from which the method goes on
            as from a start, since what it remembers belongs to the old one; None goes on. It may raise ``StopSampling``.
        progress: show a progress bar.

    Returns:
        The final array, or a ``Run`` if ``record``.

    Raises:
        TypeError: an argument of the wrong kind (integer state, a denoiser that is not callable or changes the dtype).
        ValueError: a bad grid, shape, terminal rule or parameterisation.
        NonFinite: nan or inf from the denoiser, the noise, or a diverging state; its ``run`` holds the states before.
    """
    if isinstance(solver, Unrolled):
        if grid is not None or terminal != "denoise" or record or callback is not None or progress:
            raise ValueError("a Plan has its own grid and end, and is walked whole: give sample(plan, denoise, x, noise=…)")
        return solver.run(denoise, x, noise)
    if grid is None:
        raise TypeError("grid = None is not a list of nodes: make one with solvers.grid")
    if by_sample(grid):
        if record or callback is not None or progress:
            raise ValueError("grids of each sample are run one after the other: without record, callback and progress")
        return on_own_grids(lambda d, y, g, z: sample(solver, d, y, g, noise=z, terminal=terminal), denoise, x, grid, noise)
    nodes = check_run(solver, grid, terminal)
    nodes[0].process.check(x)
    if solver.space is not None:
        solver.space.check(x)
    watched, drawn = Watched(denoise, nodes[0], solver.takes), WatchedNoise(noise, x, nodes[0])
    if callback is not None and not callable(callback):
        raise TypeError(f"callback = {callback!r} is not callable: give a function of one StepDone")
    x = own(x)
    run = Run(x, nodes[:1], [x])

    def after(i: int, x_t: State, carry: Any) -> tuple[State, Any]:
        check_alike(x_t, x, f"the state after step {i} of {solver.name}")
        check_step(x_t, i, solver.name, nodes)
        first, watched.first, watched.step = watched.first, None, i + 1
        run.x, run.nfe, run.seed = x_t, watched.nfe, drawn.seed
        if record:
            run.nodes.append(nodes[i + 1])
            run.xs.append(x_t)
            if first is not None:
                run.denoised_nodes.append(first[0])
                run.denoised.append(first[1])
        if callback is not None:
            done = StepDone(i, nodes[i], nodes[i + 1], own(x_t), None if first is None else own(first[1]), watched.nfe)
            other = callback(done)
            if other is not None:
                x_t, carry = replaced(other, i), None
        return x_t, carry

    def replaced(other: State, i: int) -> State:
        what = f"the state that the callback returned after step {i}"
        check_alike(other, x, what)
        if not is_finite(other):
            raise NonFinite(f"{what} has nan or inf entries")
        if solver.space is not None:
            solver.space.check(other, what)
        run.x = own(other)
        if record:
            run.xs[-1] = run.x
        return run.x

    try:
        run.x = loop(solver, watched, x, nodes, drawn, terminal, after, _bar(solver.name) if progress else iter)
    except NonFinite as error:
        error.run = run
        raise
    except StopSampling:
        run.stopped = True
        return run if record else run.x
    run.nfe, run.seed = watched.nfe, drawn.seed
    if record and terminal == "denoise":
        run.denoised_nodes.append(nodes[-1])
        run.denoised.append(run.x if watched.first is None else watched.first[1])
    return run if record else run.x


def _bar(name: str) -> Callable[[list[tuple[Any, Any]]], Iterable[tuple[Any, Any]]]:
    from rich.console import Console
    from rich.progress import track

    return lambda steps: track(steps, description=name, transient=True, console=Console(stderr=True))
