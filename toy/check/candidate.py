r"""What is checked: somebody's sampler behind one face, with a list of what it leaves us free to choose.

A candidate is run on (denoise, x, grid) and gives back the state at the end. ``faces.py`` has the faces of our ``Solver``, of a sampler in
the style of k-diffusion, ``sampler(model, x, sigmas, …)`` with ``model(x, sigma) -> denoised`` and alpha = 1, and of a plain function
``f(denoise, x, nodes)``; ``scheduler.py`` has that of a diffusers scheduler. ``as_candidate`` finds the one that fits. Another library is
added by a subclass of ``Candidate`` with ``_go``.

The end of a run. ``"last"``: x at the last node of the grid. ``"zero"``: x at sigma = 0, by the candidate's own last step. ``"denoised"``:
E[x0 | x] at the last node.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scorebed.solvers import Node, Schedule, Solver
from scorebed.toy.check.draws import Draws, replaced

Denoise = Callable[[Any, Node], Any]
Flow = Callable[[np.ndarray, Node, Node], np.ndarray]
CLEAN = Node(t=0.0, alpha=1.0, sigma=0.0, lam=math.inf)


class Own(list[Node]):
    """The grid that a candidate makes itself for ``n`` steps: the nodes it will walk, the last one where it ends."""

    def __init__(self, n: int, nodes: Sequence[Node]) -> None:
        super().__init__(nodes)
        self.n = n


class Refused(RuntimeError):
    """The candidate cannot be run as asked; the message says why."""


@dataclass(frozen=True)
class Freedom:
    """What a candidate leaves to us.

    Attributes:
        grid: takes any grid that it is given; otherwise only its own.
        schedules: runs on any schedule; otherwise only on ``Candidate.schedule``.
        both_ways: may be run from data to noise.
        ends: which ends of a run it has, the usual one first.
        start: its first steps can be replaced by the exact flow.
        draws: its noise can be replaced draw by draw.
        own: has a grid of its own, ``Candidate.own(n)``, which its users walk and which is measured first.
    """

    grid: bool = True
    schedules: bool = True
    both_ways: bool = True
    ends: tuple[str, ...] = ("last",)
    start: bool = False
    draws: bool = True
    own: bool = False


@dataclass
class Outcome:
    """What a run gave: ``x`` float64 on the host, at ``end``; ``raw`` as the candidate returned it; ``nodes`` of the evaluations."""

    x: np.ndarray
    end: Node
    nfe: int
    nodes: list[Node] = field(default_factory=list)
    raw: Any = None
    denoised: bool = False


class Counted:
    """The denoiser as the candidate sees it; counts its calls and remembers their nodes."""

    def __init__(self, denoise: Denoise) -> None:
        self.denoise, self.nodes = denoise, []  # type: ignore[var-annotated]

    def __call__(self, x: Any, node: Node) -> Any:
        self.nodes.append(node)
        return self.denoise(x, node)


class Candidate:
    """Somebody's sampler.

    Attributes:
        name: for tables.
        kind: ``solver``, ``function``, ``k-diffusion``, ``diffusers`` or another library's name.
        library: ``numpy`` or ``torch``, what its state is made of.
        freedom: what it leaves to us.
        schedule: the schedule it is bound to where it leaves no choice.
        order, weak: what it claims, or None.
        stochastic: whether it draws noise; None until measured.
        adaptive: chooses its own steps, so that it has no order on a refined grid.
        tabled: looks its nodes up in a table of integer timesteps.
        path: draws on overlapping intervals are increments of one Brownian path; otherwise distinct intervals are independent.
    """

    kind = "function"

    def __init__(
        self,
        name: str,
        *,
        library: str = "numpy",
        freedom: Freedom | None = None,
        schedule: Schedule | None = None,
        order: float | None = None,
        weak: float | None = None,
    ) -> None:
        if library not in ("numpy", "torch"):
            raise ValueError(f"library = {library!r} is not known: give 'numpy' or 'torch'")
        self.name, self.library, self.freedom, self.schedule = name, library, freedom or Freedom(), schedule
        self.order, self.weak = order, weak
        self.stochastic: bool | None = None
        self.path = False
        self.adaptive = self.tabled = False
        self.watch: Any = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, library={self.library!r})"

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What the face itself does, not the candidate: waits for the device are not counted here."""
        if self.watch is None:
            yield
            return
        before, self.watch.on = self.watch.on, False
        try:
            yield
        finally:
            self.watch.on = before

    def own(self, n: int) -> Own:
        """The candidate's own grid of ``n`` steps. Only candidates with ``freedom.own`` have one."""
        raise Refused(f"{self.name} has no grid of its own: give it one")

    def state(self, x: np.ndarray, dtype: str = "float64", device: str = "cpu") -> Any:
        """``x`` as an array of the candidate's library."""
        if self.library == "numpy":
            return np.asarray(x, dtype)
        import torch

        return torch.tensor(np.asarray(x), dtype=getattr(torch, dtype), device=device)

    def run(
        self,
        denoise: Denoise,
        x: Any,
        grid: Sequence[Node],
        *,
        seed: int = 0,
        draws: Draws | None = None,
        end: str | None = None,
        double: bool = False,
        start: tuple[int, Flow] | None = None,
    ) -> Outcome:
        """Run the candidate.

        Args:
            denoise: (x, node) -> E[x0 | x] of the library of x.
            x: state at ``grid[0]``, (n, d); NumPy float64 is turned into the candidate's library, anything else goes as it is.
            grid: the nodes, or ``own(n)``.
            seed: of the noise.
            draws: what stands in for every standard normal, see ``draws.py``.
            end: one of ``freedom.ends``; None is the usual one.
            double: within the run, single precision is double precision wherever the candidate asks for it by name.
            start: (k, flow): the first k steps are taken by ``flow`` (only with ``freedom.start``).
        """
        end = end or self.freedom.ends[0]
        if end not in self.freedom.ends:
            raise Refused(f"{self.name} cannot end at {end!r}, only at {', '.join(self.freedom.ends)}")
        counted = Counted(denoise)
        state = self.state(x) if isinstance(x, np.ndarray) and x.dtype == np.float64 else x
        with ExitStack() as stack:
            stack.enter_context(np.errstate(all="ignore"))
            if draws is not None:
                stack.enter_context(replaced(draws))
            if double:
                stack.enter_context(single_is_double())
            raw = self._go(counted, state, grid, seed, draws, end, start)
        if raw is None:
            raise TypeError(f"{self.name} returned None, not a state")
        return Outcome(host(raw), self._end(grid, end), len(counted.nodes), counted.nodes, raw, end == "denoised")

    def _end(self, grid: Sequence[Node], end: str) -> Node:
        return CLEAN if end == "zero" else grid[-1]

    def _go(
        self, denoise: Denoise, x: Any, grid: Sequence[Node], seed: int, draws: Draws | None, end: str, start: tuple[int, Flow] | None
    ) -> Any:
        raise NotImplementedError


def host(x: Any) -> np.ndarray:
    """A state as float64 on the host."""
    if hasattr(x, "detach"):
        x = x.detach().cpu().double().numpy() if x.dtype.is_floating_point else x.detach().cpu().numpy()
    return np.asarray(x, float)


@contextmanager
def single_is_double() -> Iterator[None]:
    """Within this, ``np.float32`` and ``torch.float32`` name their double counterparts, so that rounding by name does not happen."""
    with ExitStack() as stack:
        places: list[tuple[Any, str, Any]] = [(np, "float32", np.float64), (np, "single", np.float64)]
        if "torch" in sys.modules:
            import torch

            places += [(torch, "float32", torch.float64), (torch, "float", torch.float64), (torch.Tensor, "float", torch.Tensor.double)]
            default = torch.get_default_dtype()
            torch.set_default_dtype(torch.double)
            stack.callback(torch.set_default_dtype, default)
        for place, name, value in places:
            stack.callback(setattr, place, name, getattr(place, name))
            setattr(place, name, value)
        yield


def parameters(function: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


def source(function: Any) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return ""


def uses_torch(obj: Any) -> bool:
    """Whether the module that defines ``obj`` imports torch, as far as its names tell."""
    names = getattr(obj, "__globals__", None) or vars(sys.modules.get(getattr(type(obj), "__module__", ""), type(obj)))
    return any(getattr(v, "__name__", "").partition(".")[0] == "torch" for v in list(names.values()) if inspect.ismodule(v))


def is_scheduler(obj: Any) -> bool:
    return callable(getattr(obj, "set_timesteps", None)) and callable(getattr(obj, "step", None))


def as_candidate(
    obj: Any,
    *,
    name: str | None = None,
    kind: str | None = None,
    library: str | None = None,
    order: float | None = None,
    weak: float | None = None,
    **options: Any,
) -> Candidate:
    """Somebody's sampler as a ``Candidate``.

    Args:
        obj: a ``Candidate``, a ``Solver``, a step ``(denoise, x, s, t, carry, noise)``, a function ``(model, x, sigmas, …)`` or
            ``(denoise, x, nodes)``, or a diffusers scheduler (class or instance).
        kind: ``solver``, ``k-diffusion``, ``function`` or ``diffusers`` where the parameters do not tell.
        library: ``numpy`` or ``torch``; None is torch where the sampler's module imports it.
        order, weak: claims; None takes those that the candidate makes.
        options: passed on to the candidate's class.

    Raises:
        TypeError: nothing of all that.
    """
    made = _make(obj, name, kind, library, options)
    if order is not None:
        made.order = order
    if weak is not None:
        made.weak = weak
    return made


def _make(obj: Any, name: str | None, kind: str | None, library: str | None, options: dict[str, Any]) -> Candidate:
    from scorebed.toy.check.faces import FunctionCandidate, KDiffusionCandidate, SolverCandidate

    if isinstance(obj, Candidate):
        return obj
    if isinstance(obj, Solver) or kind == "solver":
        return SolverCandidate(obj)
    if kind == "diffusers" or (kind is None and is_scheduler(obj)):
        from scorebed.toy.check.scheduler import SchedulerCandidate

        return SchedulerCandidate(obj, name, **options)
    if not callable(obj):
        raise TypeError(
            f"candidate = {obj!r} is no sampler: give a Solver, a function (denoise, x, nodes) or (model, x, sigmas), or a scheduler"
        )
    if isinstance(obj, type):
        raise TypeError(f"candidate = {obj!r} is a class without set_timesteps and step: give an instance or a function")
    places = parameters(obj)
    if places[:6] == ["denoise", "x", "s", "t", "carry", "noise"]:
        return SolverCandidate(Solver(name or obj.__name__, obj, order=1, weak=options.get("weak")))
    library = library or ("torch" if uses_torch(obj) else "numpy")
    if kind == "k-diffusion" or (kind is None and any("sigma" in p for p in places[2:3])):
        return KDiffusionCandidate(obj, name, library=library, **options)
    if len(places) < 3:
        raise TypeError(f"candidate {name or obj!r} takes {places}: give a function of (denoise, x, nodes) or (model, x, sigmas)")
    return FunctionCandidate(obj, name, library=library, **options)
