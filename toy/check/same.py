r"""Which method of ours somebody's sampler is, and where it departs from one that it should be.

Of a model that depends on the node alone a run is linear in its state and in its evaluations: with D_j = e_j, the unit of row j + 1 of the
batch, the rows of every state that the model is shown, and of the result, are their coefficients. That is the ``Plan`` of the run, read
from outside, in x/alpha, where it does not matter how a library scales its states; it is held against the Plans of our methods on the same
grid, of uneven steps. Stochastic samplers are compared by the law of their result on two Gaussians.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from scorebed.solvers import SOLVERS, VP, Node, Schedule, Solver
from scorebed.solvers.state import alike
from scorebed.toy.check.finding import Finding
from scorebed.toy.foreign.candidate import Candidate
from scorebed.toy.foreign.solvers import SolverCandidate
from scorebed.toy.measure.manners import no_draws
from scorebed.toy.measure.sampler import affine
from scorebed.toy.measure.settings import bound
from scorebed.toy.measure.targets import pair

_STEPS = 6
_TOLERANCE = 1e-6
_CALLS = 64
DDIM_START, PUBLISHED = " (started by ddim)", " (published start)"


@dataclass(frozen=True)
class Reading:
    """``lams`` of the evaluations; ``inputs[j]`` the coefficients of x and of the evaluations before in the state that the j-th is shown;
    ``output`` those in the result. Of a stochastic method only ``output``: constant, slope and variance of the noise."""

    lams: tuple[float, ...]
    inputs: np.ndarray
    output: np.ndarray


def names() -> list[str]:
    """The methods that a sampler of R^d can be."""
    return [name for name, s in SOLVERS.items() if not s.spaces and s.nonlinear is None and "gaussian" in getattr(s, "on", ("gaussian",))]


def _grid(schedule: Schedule) -> list[Node]:
    return bound(schedule)[0].nodes(_STEPS)


def read(candidate: Candidate, grid: Sequence[Node]) -> Reading:
    """The Plan of a run, from outside."""
    if candidate.stochastic:
        constant, slope, noise, _, _ = affine(candidate, pair(), grid, dtype="float64", end="none")
        return Reading((), np.zeros((0, 0)), np.concatenate([constant, slope, noise]))
    lams: list[float] = []
    inputs: list[np.ndarray] = []
    x = np.zeros((_CALLS + 1, 1))
    x[0] = grid[0].alpha

    def denoise(y: Any, node: Node) -> Any:
        lams.append(node.lam)
        inputs.append(np.array(y.detach().cpu() if hasattr(y, "detach") else y, float)[:, 0] / node.alpha)
        if len(lams) > _CALLS:
            raise ValueError(f"more than {_CALLS} evaluations on {_STEPS} steps")
        unit = np.zeros((len(x), 1))
        unit[len(lams)] = 1.0
        return alike(unit, y)

    done = candidate.run(denoise, x, grid, draws=no_draws, dtype="float64", end="none")
    return Reading(tuple(lams), np.array(inputs)[:, : len(lams) + 1], done.x[: len(lams) + 1, 0] / done.end.alpha)


@lru_cache(maxsize=512)
def _ours(name: str, schedule: Any) -> Reading | None:
    """The reading of a method of ours, or of one whose memory DDIM fills; None for one that refuses the grid."""
    solver: Solver = SOLVERS[name.removesuffix(DDIM_START).removesuffix(PUBLISHED)]
    if name.endswith(DDIM_START):
        solver = replace(solver, start=SOLVERS["ddim"])
    if name.endswith(PUBLISHED):
        solver = solver(start="published")
    try:
        return read(SolverCandidate(solver), _grid(schedule))
    except (ValueError, RuntimeError, ArithmeticError):
        return None


def _variants(name: str) -> list[str]:
    return [name, *([name + DDIM_START, name + PUBLISHED] if SOLVERS[name].start is not None else [])]


def _off(a: Reading, b: Reading) -> float:
    """How far two readings of one shape lie apart; inf where the evaluations are others."""
    if len(a.lams) != len(b.lams) or not np.allclose(a.lams, b.lams, rtol=0.0, atol=1e-6):
        return np.inf
    return float(max(np.abs(a.output - b.output).max(), np.abs(a.inputs - b.inputs).max() if a.inputs.size else 0.0))


def _agree(a: Reading, b: Reading) -> int:
    """How many evaluations two readings have in common from the first on."""
    for j, (lam, other) in enumerate(zip(a.lams, b.lams, strict=False)):
        if abs(lam - other) > 1e-6 or np.abs(a.inputs[j, : j + 1] - b.inputs[j, : j + 1]).max() > _TOLERANCE:
            return j
    return min(len(a.lams), len(b.lams))


def departs(a: Reading, b: Reading, name: str, grid: Sequence[Node]) -> str:
    """Where the first reading departs from the second, that of ``name``, in words."""
    if not a.lams and not b.lams:
        parts = zip(
            ("the constant", "the coefficient of the state", "the noise"), np.split(a.output, 3), np.split(b.output, 3), strict=True
        )
        part, p, q = next((part, p, q) for part, p, q in parts if np.abs(p - q).max() > _TOLERANCE)
        i = int(np.abs(p - q).argmax())
        return f"{part} of the law on Gaussians is {p[i]:.6g} where {name} has {q[i]:.6g}"
    for j, (lam, other) in enumerate(zip(a.lams, b.lams, strict=False)):
        if abs(lam - other) > 1e-6:
            return f"evaluation {j + 1} is at lam = {lam:.4g} where {name} has {other:.4g}"
        if np.abs(a.inputs[j, : j + 1] - b.inputs[j, : j + 1]).max() > _TOLERANCE:
            step = sum(node.lam < lam - 1e-9 for node in grid)
            return f"step {max(step, 1)}, in the state of evaluation {j + 1}: {_coefficient(a.inputs[j], b.inputs[j], j + 1, name)}"
    if len(a.lams) != len(b.lams):
        return f"it makes {len(a.lams)} evaluations on {_STEPS} steps where {name} makes {len(b.lams)}"
    return f"step {_STEPS}, in the result: {_coefficient(a.output, b.output, len(a.output), name)}"


def _coefficient(a: np.ndarray, b: np.ndarray, known: int, name: str) -> str:
    i = int(np.abs(a[:known] - b[:known]).argmax())
    what = "the state" if i == 0 else f"evaluation {i}"
    ratio = f", {a[i] / b[i]:.6g} times it" if abs(b[i]) > 1e-12 else ""
    return f"the coefficient of {what} is {a[i]:.6g} where {name} has {b[i]:.6g}{ratio}"


def same_as(candidate: Candidate, name: str | None = None) -> Finding:
    """Whether it is the named method of ours, and where it departs; without a name, which of ours it is."""
    tried = f"coefficients of a run of {_STEPS} uneven steps" + ("" if name is None else f" against {name}")
    if not candidate.interface.grid or candidate.adaptive or (candidate.stochastic and not candidate.interface.draws):
        return Finding("same as", "skip", tried, "its coefficients on a grid of ours cannot be read")
    schedule: Any = candidate.schedule if candidate.schedule is not None else VP()
    grid = _grid(schedule)
    reading = read(candidate, grid)
    stochastic = bool(candidate.stochastic)
    if name is not None:
        if (SOLVERS[name].weak is not None) != stochastic:
            kinds = ("draws no noise", "draws noise")
            return Finding("same as", "fail", tried, f"{candidate.name} {kinds[stochastic]}, {name} {kinds[not stochastic]}", name)
        known = [(v, ours) for v in _variants(name) if (ours := _ours(v, schedule)) is not None]
        if not known:
            return Finding("same as", "skip", tried, f"{name} refuses this grid")
        best, ours = max(known, key=lambda pair: (_agree(reading, pair[1]), -_off(reading, pair[1])))
        if _off(reading, ours) < _TOLERANCE:
            return Finding("same as", "pass", tried, f"the same as {best}", name)
        words = f"departs: {departs(reading, ours, name, grid)}"
        return Finding("same as", "fail", tried, words, name, "two methods, or a slip: look at the coefficient that is named")
    found = [
        v
        for n in names()
        if (SOLVERS[n].weak is not None) == stochastic
        for v in _variants(n)
        if (ours := _ours(v, schedule)) is not None and _off(reading, ours) < _TOLERANCE
    ]
    if found:
        return Finding("same as", "note", tried, f"{'the law of ' if stochastic else ''}{', '.join(found)}")
    near = [] if stochastic else [(_agree(reading, ours), v, ours) for n in names() for v in _variants(n) if (ours := _ours(v, schedule))]
    most, like, nearest = max(near, key=lambda found: found[0], default=(0, "", reading))
    words = f"; up to there {like}: {departs(reading, nearest, like, grid)}" if most > 2 else ""
    return Finding("same as", "note", tried, f"none of ours{words}")
