r"""Somebody's sampler behind one interface, with a list of what that leaves us free to choose.

A candidate is run on (denoise, x, grid) and gives back the state at the end. The end of a run, ``how.end``: ``"none"``, x at the last node
of the grid; ``"zero"``, x at sigma = 0 by the candidate's own last step; ``"denoised"``, E[x0 | x] at the last node.
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

from scorebed.solvers import Node, Schedule
from scorebed.toy.foreign.draws import Draws, replaced

Denoise = Callable[[Any, Node], Any]
Flow = Callable[[np.ndarray, Node, Node], np.ndarray]
CLEAN = Node(t=0.0, alpha=1.0, sigma=0.0, lam=math.inf)


class Own(list[Node]):
    """The grid that a candidate makes itself for ``n`` steps: the nodes it will walk, the last one where it ends. ``fine``: made from its
    table of timesteps drawn out to a hundred times as many."""

    def __init__(self, n: int, nodes: Sequence[Node], fine: bool = False) -> None:
        super().__init__(nodes)
        self.n, self.fine = n, fine


class Refused(RuntimeError):
    """The candidate cannot be run as asked; the message says why."""


@dataclass(frozen=True)
class Interface:
    """What a candidate's interface leaves to us.

    Attributes:
        grid: takes any grid that it is given; otherwise only its own.
        schedules: runs on any schedule; otherwise only on ``Candidate.schedule``.
        both_ways: may be run from data to noise.
        ends: which ends of a run it has, the usual one first.
        start: its first steps can be replaced by the exact flow.
        draws: its noise can be replaced draw by draw.
        own: has a grid of its own, ``Candidate.own(n)``, which its users walk.
        fine: looks its nodes up in a table that can be made fine.
        between: makes its own grid between two ends that it is given.
    """

    grid: bool = True
    schedules: bool = True
    both_ways: bool = True
    ends: tuple[str, ...] = ("none",)
    start: bool = False
    draws: bool = True
    own: bool = False
    fine: bool = False
    between: bool = False

    @property
    def steady(self) -> bool:
        """Whether its order can be measured under conditions of ours, not only as shipped."""
        return self.grid or self.fine or self.between


@dataclass(frozen=True)
class How:
    """How a run is made.

    Attributes:
        seed: of the noise.
        draws: what stands in for every standard normal, see ``draws.py``.
        end: one of ``Interface.ends``.
        dtype: ``float64``, of the state and, within the run, of whatever is named single precision; ``float64 state``, coefficients as the
            candidate computes them; ``float32``, both as shipped.
        start: (k, flow): the first k steps are taken by ``flow`` (only with ``Interface.start``).
        network: ``node``, the model is asked at the candidate's own alpha and sigma; ``timestep``, at the number that it hands over.
    """

    seed: int = 0
    draws: Draws | None = None
    end: str = "none"
    dtype: str = "float64 state"
    start: tuple[int, Flow] | None = None
    network: str = "node"


@dataclass
class Outcome:
    """What a run gave: ``x`` float64 on the host, at ``end``; ``raw`` as the candidate returned it; ``nodes`` of the evaluations;
    ``wrote``: whether it changed the state that it was given."""

    x: np.ndarray
    end: Node
    nfe: int
    nodes: list[Node] = field(default_factory=list)
    raw: Any = None
    denoised: bool = False
    wrote: bool = False


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
        kind: ``solver``, ``plan``, ``function``, ``k-diffusion``, ``diffusers``, ``azula`` or another library's name.
        library: ``numpy`` or ``torch``, what its state is made of.
        interface: what it leaves to us.
        schedule: the schedule it is bound to where it leaves no choice.
        order, weak: what it claims, or None.
        stochastic: whether it draws noise; None until measured.
        adaptive: chooses its own steps, so that it has no order on a refined grid.
        tabled: looks its nodes up in a table of integer timesteps.
        path: draws on overlapping intervals are increments of one Brownian path; otherwise distinct intervals are independent.
        remark: what its adapter noticed and a reader of the report should know, or "".
    """

    kind = "function"

    def __init__(
        self,
        name: str,
        *,
        library: str = "numpy",
        interface: Interface | None = None,
        schedule: Schedule | None = None,
        order: float | None = None,
        weak: float | None = None,
    ) -> None:
        if library not in ("numpy", "torch"):
            raise ValueError(f"library = {library!r} is not known: give 'numpy' or 'torch'")
        self.name, self.library, self.interface, self.schedule = name, library, interface or Interface(), schedule
        self.order, self.weak = order, weak
        self.stochastic: bool | None = None
        self.path = self.adaptive = self.tabled = False
        self.remark = ""
        self.watch: Any = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, library={self.library!r})"

    @property
    def code(self) -> Any:
        """The function or class whose source is the candidate's."""
        return type(self)

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """What the adapter itself does, not the candidate: waits for the device are not counted here."""
        if self.watch is None:
            yield
            return
        before, self.watch.on = self.watch.on, False
        try:
            yield
        finally:
            self.watch.on = before

    def own(self, n: int, dtype: str = "float64 state", fine: bool = False, ends: tuple[float, float] | None = None) -> Own:
        """The candidate's own grid of ``n`` steps, on a ``fine`` table or between two ``ends`` where it can. Only candidates with
        ``interface.own`` have one.

        Raises:
            Refused: always, where there is none.
        """
        raise Refused(f"{self.name} has no grid of its own: give it one")

    def state(self, x: np.ndarray, dtype: str = "float64", device: str = "cpu") -> Any:
        """A copy of ``x`` as an array of the candidate's library."""
        if self.library == "numpy":
            return np.array(x, dtype)
        import torch

        return torch.tensor(np.asarray(x), dtype=getattr(torch, dtype), device=device)

    def run(self, denoise: Denoise, x: Any, grid: Sequence[Node], *, end: str | None = None, **how: Any) -> Outcome:
        """Run the candidate.

        Args:
            denoise: (x, node) -> E[x0 | x] of the library of x.
            x: state at ``grid[0]``, (n, d); NumPy float64 is copied into the candidate's library, anything else goes as it is.
            grid: the nodes, or ``own(n)``.
            end: one of ``interface.ends``; None is the usual one.
            how: the other fields of ``How``.

        Returns:
            the Outcome: final state as a NumPy array, its end node, evaluations and nodes asked.

        Raises:
            Refused: an end that it does not have.
            TypeError: it returned no state.
        """
        end = end or self.interface.ends[0]
        if end not in self.interface.ends:
            raise Refused(f"{self.name} cannot end at {end!r}, only at {', '.join(self.interface.ends)}")
        made = How(end=end, **how)
        counted = Counted(denoise)
        given = self.state(x, made.dtype.split()[0]) if isinstance(x, np.ndarray) and x.dtype == np.float64 else x
        kept = np.array(host(given))
        with ExitStack() as stack:
            stack.enter_context(np.errstate(all="ignore"))
            if made.draws is not None:
                stack.enter_context(replaced(made.draws))
            if made.dtype == "float64":
                stack.enter_context(single_is_double())
            raw = self._go(counted, given, grid, made)
        _check_returned(self.name, raw)
        wrote = not np.array_equal(host(given), kept, equal_nan=True)
        return Outcome(host(raw), self._end(grid, end), len(counted.nodes), counted.nodes, raw, end == "denoised", wrote)

    def _end(self, grid: Sequence[Node], end: str) -> Node:
        return CLEAN if end == "zero" and not isinstance(grid, Own) else grid[-1]

    def _go(self, denoise: Denoise, x: Any, grid: Sequence[Node], how: How) -> Any:
        raise NotImplementedError


def _check_returned(name: str, raw: Any) -> None:
    if isinstance(raw, tuple | list | dict) or raw is None:
        article = "None" if raw is None else f"a {type(raw).__name__}" + (f" of {len(raw)}" if len(raw) else "")
        first = ": return the state alone" if raw is not None else ": does it end with a return?"
        raise TypeError(f"{name} returns {article}, not a state{first}")
    if not hasattr(raw, "shape"):
        raise TypeError(f"{name} returns {type(raw).__name__}, not an array")
    if "complex" in str(getattr(raw, "dtype", "")):
        raise TypeError(f"{name} returns complex numbers ({raw.dtype}) for a real state: hand complex data over as pairs of reals")


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
    """The names of a callable's parameters; none where it has no signature."""
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


def source(function: Any) -> str:
    """The source of a function, or nothing where there is none."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return ""
