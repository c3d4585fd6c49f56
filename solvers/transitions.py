r"""The transitions of a Plan: given the past, each step of a stochastic Plan is Gaussian, x_{i+1} ~ N(m_i, C_i C_iᵀ), exactly.

Between evaluations a Plan is linear in its draws, so the state after a step is m_i + Σ_j c_ij ξ_j with the draws ξ_j of that step, m_i a
function of the states so far. For a state of several components C_i is a matrix over components and draws, the same for every coordinate.
So means, standard deviations and log-probabilities of a roll-out, which reinforcement learning of samplers needs, are read off and not
estimated; a density exists where no draw of the step enters an evaluation of the same step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scorebed.solvers.model import Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.sample import Watched, WatchedNoise
from scorebed.solvers.state import Array, State, bare, parts


class NotGaussian(ValueError):
    """A step whose law, given the past, is no Gaussian: a draw of the step enters an evaluation of the same step."""


@dataclass(frozen=True)
class Transition:
    """One step of a roll-out.

    Attributes:
        s, t: the nodes.
        x, next: the states before and after, as the Plan has them.
        mean: E[next | past], of the state's shape.
        factor: C, shape (components, draws), the same for every coordinate; ``std`` is its only entry's size for one component.
        log_prob: log p(next | past) of each sample, shape (n,); None for a step without noise in some component, which has no density.
    """

    s: Any
    t: Any
    x: State
    next: State
    mean: State
    factor: np.ndarray
    log_prob: Array | None

    @property
    def covariance(self) -> np.ndarray:
        """C Cᵀ, over components."""
        return np.asarray(self.factor @ self.factor.T)

    @property
    def std(self) -> float:
        """The standard deviation of each entry, for states of one component."""
        return math.sqrt(float(self.covariance[0, 0]))


@dataclass
class _Value:
    """A register: what is known of it, and its coefficients on draws that are not."""

    known: Any
    draws: dict[int, float]


class Transitions:
    """A Plan with a model, step by step: ``rollout`` draws, ``score`` reads the log-probabilities of given states."""

    def __init__(self, plan: Any, model: Denoiser) -> None:
        self.plan, self.model = plan, model

    def rollout(self, x: State, noise: Noise | int | None = None) -> list[Transition]:
        """Run the Plan from ``x`` and say what every step was.

        Raises:
            NotGaussian: a draw of a step enters an evaluation of the same step.
        """
        return self._walk(x, WatchedNoise(noise, x, self.plan.grid[0]), None)

    def score(self, states: Sequence[State]) -> list[Transition]:
        """The transitions through given states, one for each node of the grid: the same means and log-probabilities as in the roll-out
        that made them, or those of another model through them.

        Args:
            states: x at every node, the first included; ``rollout`` gives them as ``x`` and ``next``.

        Raises:
            NotGaussian: as ``rollout``; or a step that draws twice and remembers one of its draws, which its state does not tell.
            ValueError: another number of states than the grid has nodes.
        """
        if len(states) != len(self.plan.grid):
            raise ValueError(f"states has {len(states)} entries for {len(self.plan.grid)} nodes: give the state at every node")
        return self._walk(states[0], None, states)

    def _walk(self, x: State, noise: Any, states: Sequence[State] | None) -> list[Transition]:
        watched, plan, found = Watched(self.model, self.plan.grid[0]), self.plan, list[Transition]()
        values: dict[int, Any] = {}
        count, last = 0, x

        def settle(value: _Value) -> Any:
            """The value with all its draws known."""
            missing = [k for k in value.draws if k not in values]
            if missing:
                raise NotGaussian(
                    f"{plan.solver}: a draw of step {len(found)} is used before the step ends: given the past it is no Gaussian"
                )
            out = value.known
            for k, c in value.draws.items():
                out = out + c * values[k] if c else out
            return out

        def evaluate(state: Any, node: Any) -> Any:
            made = watched(bare(tuple(settle(part) for part in parts(state))), node)
            return bare(tuple(_Value(part, {}) for part in parts(made)))

        drawn: dict[int, Any] = {}

        def draw(s: Any, t: Any) -> Any:
            nonlocal count
            made = parts(noise(s, t)) if noise is not None else (None,) * plan.grid[0].process.draws
            out = []
            for xi in made:
                drawn[count] = xi
                out.append(_Value(0.0 * parts(x)[0], {count: 1.0}))
                count += 1
            return bare(tuple(out))

        def combine(terms: list[tuple[float, _Value]]) -> _Value:
            known, draws = 0.0 * parts(x)[0], dict[int, float]()
            for c, value in terms:
                known = known + c * value.known
                for k, share in value.draws.items():
                    draws[k] = draws.get(k, 0.0) + c * share
            return _Value(known, draws)

        def step(i: int, state: Any) -> Any:
            nonlocal last
            pieces = parts(state)
            means = tuple(_resolved(piece, values) for piece in pieces)
            fresh = sorted({k for piece in pieces for k, c in piece.draws.items() if k not in values and c})
            factor = np.array([[piece.draws.get(k, 0.0) for k in fresh] for piece in pieces]).reshape(len(pieces), len(fresh))
            if states is None:
                values.update({k: drawn[k] for k in drawn})
                after = tuple(settle(piece) for piece in pieces)
            else:
                after = parts(states[i + 1])
                if len(fresh) == len(pieces) and np.linalg.matrix_rank(factor) == len(pieces):
                    inverse = np.linalg.inv(factor)
                    gaps = [a - m for a, m in zip(after, means, strict=True)]
                    for row, k in enumerate(fresh):
                        values[k] = sum(float(inverse[row, j]) * gap for j, gap in enumerate(gaps))
            log_prob = _log_density(means, after, factor)
            found.append(Transition(plan.grid[i], plan.grid[i + 1], last, bare(after), bare(means), factor, log_prob))
            last = bare(after)
            return bare(tuple(_Value(part, {}) for part in after))

        start = bare(tuple(_Value(part, {}) for part in parts(x)))
        plan.fold(start, evaluate, draw, combine, step)
        return found


def log_ratio(new: Sequence[Transition], old: Sequence[Transition]) -> Array:
    """log p_new(path) − log p_old(path) of each sample, (n,): the importance ratio of two policies on the states of ``old``.

    Args:
        new: ``score`` of the new model on the states that ``old`` went through.
        old: ``rollout`` of the old one.

    Raises:
        ValueError: a step without noise, or roll-outs of different length.
    """
    return _total(new, old, lambda a, b: a.log_prob - b.log_prob)


def kl(new: Sequence[Transition], old: Sequence[Transition]) -> Array:
    """Σ_steps KL(p_old(· | past) ‖ p_new(· | past)) of each sample, (n,), exactly: ½ |m_old − m_new|² in the metric of the noise, which two
    models of one Plan share. Its mean over roll-outs of ``old`` is the KL of the paths.

    Raises:
        ValueError: as ``log_ratio``.
    """
    return _total(new, old, lambda a, b: 0.5 * _square(parts(a.mean), parts(b.mean), np.linalg.inv(b.covariance)))


def _total(new: Sequence[Transition], old: Sequence[Transition], term: Any) -> Any:
    if len(new) != len(old) or not old:
        raise ValueError(f"new has {len(new)} steps, old has {len(old)}: give two policies on the same grid")
    for i, (a, b) in enumerate(zip(new, old, strict=True)):
        if a.log_prob is None or b.log_prob is None:
            raise ValueError(f"step {i} has no noise, and so no density: begin after it, or take a stochastic method")
    first, *rest = (term(a, b) for a, b in zip(new, old, strict=True))
    return sum(rest, first)


def _square(a: tuple[Any, ...], b: tuple[Any, ...], precision: np.ndarray) -> Any:
    """(a − b)ᵀ P (a − b) of each sample, over all entries."""
    gaps = [(one - other).reshape(one.shape[0], -1) for one, other in zip(a, b, strict=True)]
    return sum(float(precision[i, j]) * (gaps[i] * gaps[j]).sum(1) for i in range(len(gaps)) for j in range(len(gaps)))


def _resolved(value: _Value, values: dict[int, Any]) -> Any:
    """What is known of the value, older draws included."""
    out = value.known
    for k, c in value.draws.items():
        if k in values and c:
            out = out + c * values[k]
    return out


def _log_density(means: tuple[Any, ...], after: tuple[Any, ...], factor: np.ndarray) -> Any:
    """log N(after; means, C Cᵀ) of each sample, over all its entries."""
    covariance = factor @ factor.T
    if factor.shape[1] == 0 or np.linalg.matrix_rank(covariance) < len(means):
        return None
    square = _square(after, means, np.linalg.inv(covariance))
    entries, (_, log_det) = math.prod(means[0].shape[1:]), np.linalg.slogdet(2.0 * math.pi * covariance)
    return -0.5 * square - 0.5 * entries * float(log_det)
