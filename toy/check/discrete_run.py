"""A sampler of tokens as a stochastic map: its law from a state, exactly where its draws can be followed, else with the noise of sampling.

    mine(logits, state, times)          draws by numpy.random or torch, which are answered here (``toy.foreign.tokens``)
    mine(logits, state, times, draw)    draw(p): one value for each row of p
    step(logits, state, (s, t))         one step: logits (B, L, S) are what the model says of the state at s

Where two steps at once have the law of one step after the other, the sampler is Markov, and the law of n steps is made of those of single
steps from every state. Where it does
more with uniform numbers than to compare them with probabilities, runs are counted.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.analytic.finite import Known, TableLaw, total_variation
from scorebed.solvers import Solver
from scorebed.toy.foreign.asked import Asked
from scorebed.toy.foreign.threshold import Continuous
from scorebed.toy.foreign.tokens import Seeded, Source, answered, courses
from scorebed.toy.problems.jump_law import output_table

Sampler = Callable[..., Any]
_MOST = 3000
_SAME = 1e-6


@dataclass(frozen=True)
class Law:
    """A law of outputs as a table of the alphabet; ``noise`` is the total variation that sampling costs on average, 0 where it is exact."""

    table: np.ndarray
    noise: float = 0.0

    def off(self, other: np.ndarray) -> float:
        return total_variation(self.table, other)


@dataclass
class Candidate:
    """A sampler to be checked, in NumPy or torch; or a method of ours.

    Attributes:
        sampler: as the module says, or a ``Solver`` of kind "jump".
        library: "numpy" or "torch".
        samples: runs that are counted, where the law is not exact.
        kinds: what the draws were asked for, after a run.
    """

    sampler: Sampler | Solver
    library: str = "numpy"
    samples: int = 40_000
    seed: int = 0
    kinds: set[str] = field(default_factory=set)
    exact: bool = True
    markov: bool | None = None
    long: int = 99
    stepwise: bool = False
    mask_logit: float | None = None
    models: dict[int, Known] = field(default_factory=dict)
    seen: list[np.ndarray] = field(default_factory=list)
    _kept: dict[Any, Law] = field(default_factory=dict)

    @property
    def ours(self) -> bool:
        return isinstance(self.sampler, Solver)

    def run(self, law: TableLaw, x: np.ndarray, times: Sequence[float], source: Source) -> np.ndarray:
        """What the sampler makes of the states x (B, L), its draws from the source."""
        assert not isinstance(self.sampler, Solver)
        logits, extra = self._tools(law, source)
        self.seen.clear()
        out: Any = self._given(x)
        with np.errstate(all="ignore"):
            if self.stepwise:
                for pair in pairwise(times):
                    out = self._given(self._checked(self.sampler(logits(out, pair[0]), out, pair, *extra), x, law))
            else:
                out = self.sampler(logits, out, list(times) if self.library == "numpy" else _tensor(np.array(times)), *extra)
        self.kinds |= source.kinds
        return self._checked(out, x, law)

    def look(self, law: TableLaw, times: Sequence[float], start: np.ndarray) -> None:
        """Find out whether the sampler asks the model, or makes one step with what the model says of the state."""
        if isinstance(self.sampler, Solver):
            return
        x = self._given(np.argwhere(start > 0.0)[:1])
        with answered(Seeded(self.seed)) as source, np.errstate(all="ignore"):
            logits, extra = self._tools(law, source)
            asked = Asked(logits, logits(x, float(times[0])))
            try:
                self.sampler(asked, x, tuple(map(float, times[:2])), *extra)
            except Exception:  # it is run again, and then says what is wrong
                self.stepwise = asked.touched and not asked.calls
            else:
                self.stepwise = not asked.calls
        self.markov = True if self.stepwise else None

    def _given(self, x: np.ndarray) -> Any:
        return np.array(x) if self.library == "numpy" else _tensor(np.array(x))

    def _tools(self, law: TableLaw, source: Source) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The model and, for a sampler that takes it, ``draw``."""
        process = law.process
        known = self.models.setdefault(id(law), Known(law))

        def logits(state: Any, t: float | None = None) -> Any:
            if t is None and not process.absorbing:
                raise ValueError("logits(state, t) needs the time on a process without a mask")
            node = process.node(0.5 if t is None else min(max(float(t), 0.0), process.t_max))
            there = np.asarray(state)
            self.seen.append(there)
            process.check(there, "state")
            with np.errstate(divide="ignore"):
                value = np.log(known(there, node))
            if self.mask_logit is not None:
                value = np.concatenate([value, np.full((*value.shape[:-1], 1), self.mask_logit)], -1)
            return value if self.library == "numpy" else _tensor(value)

        def draw(p: Any) -> Any:
            q = np.asarray(p, dtype=np.float64)
            value = source.choose(q.reshape(-1, q.shape[-1])).reshape(q.shape[:-1])
            return value if self.library == "numpy" else _tensor(value)

        return logits, (draw,) if _wants_draw(self.sampler) else ()

    @staticmethod
    def _checked(out: Any, x: np.ndarray, law: TableLaw) -> np.ndarray:
        """States, or what is wrong with them."""
        out, most = np.asarray(out), law.process.alphabet - 1
        if out.shape != x.shape:
            raise ValueError(f"it returned shape {out.shape}: give the states {x.shape}")
        if out.dtype.kind not in "iu" or out.min() < 0 or out.max() > most:
            raise ValueError(f"it returned {out.dtype} from {out.min()} to {out.max()}: give integers from 0 to {most}")
        return out.astype(np.int64)

    def law(self, law: TableLaw, times: Sequence[float], start: np.ndarray) -> Law:
        """The law of the output along ``times`` from the law ``start``, a table of the alphabet."""
        key = (id(law), tuple(times), start.tobytes())
        if key not in self._kept:
            self._kept[key] = self._law(law, list(times), start)
        return self._kept[key]

    def _law(self, law: TableLaw, times: list[float], start: np.ndarray) -> Law:
        if isinstance(self.sampler, Solver):
            return Law(output_table(self.sampler, Known(law), start, [law.process.node(t) for t in times]))
        if self.exact and (self.markov or len(times) < self.long):
            try:
                if len(times) == 2:
                    return self._whole(law, times, start)
                if self.markov is None:
                    self.markov = self._composes(law, times, start)
                if not self.markov:
                    return self._whole(law, times, start)
                for s, t in pairwise(times):
                    start = self._whole(law, [s, t], start).table
                return Law(start)
            except Continuous:
                self.exact = False
            except OverflowError:
                self.long = min(self.long, len(times))
        return self._counted(law, times, start)

    def on_the_way(self, law: TableLaw, times: Sequence[float], start: np.ndarray, at: int) -> Law:
        """The law of the states that the model is asked about for the ``at``-th time, counted over runs; all of the last if it is not."""
        self._counted(law, list(times), start)
        x = self.seen[min(at, len(self.seen) - 1)]
        table = np.bincount(np.ravel_multi_index(tuple(x.T), start.shape), minlength=start.size).reshape(start.shape) / len(x)
        return Law(table, 1.0 / math.sqrt(len(x)))

    def _composes(self, law: TableLaw, times: list[float], start: np.ndarray) -> bool:
        """Whether two steps, run at once, have the law of one after the other; not where half of the way ends like the whole of it."""
        two = [times[0], times[len(times) // 2], times[-1]]
        half = self._whole(law, two[:2], start)
        if half.off(self._whole(law, [two[0], two[2]], start).table) < _SAME:
            return False
        return self._whole(law, two, start).off(self._whole(law, two[1:], half.table).table) < _SAME

    def _whole(self, law: TableLaw, times: list[float], start: np.ndarray) -> Law:
        """Every course of one call, from every state that ``start`` has."""
        table = np.zeros(start.shape)
        for x in np.argwhere(start > 0.0):
            table += start[tuple(x)] * self._from(law, times, x)
        return Law(table)

    def _from(self, law: TableLaw, times: list[float], x: np.ndarray) -> np.ndarray:
        key = (id(law), tuple(times), tuple(x))
        if key not in self._kept:
            table = np.zeros((law.process.alphabet,) * law.d)
            for y, weight in courses(lambda source: self.run(law, x[None], times, source), most=_MOST).items():
                table[y] += weight
            self._kept[key] = Law(table)
        return self._kept[key].table

    def _counted(self, law: TableLaw, times: list[float], start: np.ndarray) -> Law:
        n = self.samples
        rng = np.random.Generator(np.random.PCG64(self.seed))
        x = np.stack(np.unravel_index(rng.choice(start.size, n, p=start.ravel() / start.sum()), start.shape), -1)
        with answered(Seeded(self.seed + len(times))) as source:
            ends = self.run(law, x, times, source)
        table = np.bincount(np.ravel_multi_index(tuple(ends.T), start.shape), minlength=start.size).reshape(start.shape) / n
        return Law(table, float(np.sqrt(table * (1.0 - table) / (2.0 * math.pi * n)).sum()))


def _wants_draw(sampler: Any) -> bool:
    try:
        return "draw" in inspect.signature(sampler).parameters
    except (TypeError, ValueError):
        return False


def _tensor(value: Any) -> Any:
    import torch

    return torch.tensor(np.ascontiguousarray(value))
